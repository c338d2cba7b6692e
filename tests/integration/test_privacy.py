"""What everybody may see of a commit says nothing about what is in it (promise 3)."""

import base64
import json
import os
import urllib.parse

import pytest
from blake3 import blake3

NAMES = ["Zeugin-Vernehmung", "caso-4711-testimony.docx", "übersicht.odt", "fotografía.jpeg"]
SIZES = [48_611, 73_177, 12_347, 91_003]


def fill(home, seed, names, sizes):
    for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
        data = blake3(f"{seed} {index}".encode()).digest(length=size)
        folder = home.source / f"{name[:5]}-{seed}"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        os.utime(folder / name, ns=(1_600_000_000_000_000_000 + index,) * 2)
    os.symlink(f"{names[0]}-{seed}", home.source / f"link-{seed}")


def forms(fact):
    """A fact in every writing that it could leak in."""
    raw = fact if isinstance(fact, bytes) else str(fact).encode()
    wanted = {raw, raw.hex().encode(), raw.hex().upper().encode(), urllib.parse.quote(raw).encode()}
    for shift in range(3):  # inside of longer base64, at any of the three alignments
        wanted.add(base64.b64encode(bytes(shift) + raw)[4 : -4 or None])
    wanted.add(json.dumps(raw.decode("utf-8", "replace"))[1:-1].encode())
    return {form for form in wanted if len(form) >= 5}


def number_forms(number, *, width=3):
    wanted = {str(number).encode(), b"%x" % number, b"%o" % number}
    for order in ("little", "big"):
        wanted |= {number.to_bytes(size, order) for size in (4, 8) if number < 1 << 8 * size}
    return {form for form in wanted if len(form) > width}


def public_files(home, commit_id):
    """The names and bytes of all that others hold of a commit."""
    return [(path.name.encode(), path.read_bytes()) for path in sorted(home.path(commit_id).iterdir())]  # fmt: skip


def occurrences(files, fact_forms):
    return [(name, form) for name, data in files for form in fact_forms if form in data or form in name]  # fmt: skip


def test_no_fact_about_a_file_is_in_the_public_bytes(home):
    fill(home, "geheim", NAMES, SIZES)
    home.run()
    files = public_files(home, home.ids[0])
    facts = 0
    for archived in home.archive.catalog.files_of(home.ids[0]):
        scanned = archived.scanned
        texts = [scanned.path, *(part for part in scanned.path.split(b"/") if len(part) > 3)]
        if scanned.target:
            texts.append(scanned.target)
        if archived.digest:
            texts += [archived.digest, archived.media_type]
        for text in texts:
            facts += 1
            assert occurrences(files, forms(text)) == []
        numbers = [scanned.mtime_ns, scanned.ctime_ns]
        if archived.digest:
            numbers += [scanned.size]
        for number in numbers:
            facts += 1
            assert occurrences([f for f in files if not is_noise(f)], number_forms(number)) == []
            assert occurrences(files, {form for form in number_forms(number) if len(form) > 6}) == []  # fmt: skip
    assert facts > 40


def is_noise(file):
    """Large ciphertext holds any four bytes by chance; its structure is looked at by other tests."""
    name, data = file
    return b"_" in name or name.endswith(b".par2") or len(data) > 50_000


def test_no_key_of_a_file_is_in_the_public_bytes(home):
    fill(home, "geheim", NAMES, SIZES)
    home.run()
    files = public_files(home, home.ids[0])
    keyring = home.keyring()
    for leaf in range(len(keyring)):
        assert occurrences(files, forms(keyring.key(leaf))) == []


def shape(value):
    """A manifest without what must differ between any two commits."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return value if isinstance(value, int) else type(value).__name__


@pytest.mark.parametrize("change", ["names", "content", "sizes within their buckets"])
def test_two_archives_that_differ_inside_look_alike_outside(change, make_home, tmp_path):
    names, sizes, seed = NAMES, SIZES, "geheim"
    if change == "names":
        names = [
            "Andere Notiz-x",
            "Beweis-und-mehr-davon.docx",
            "ünwichtig.odt",
            "ganz anders.jpeg",
        ]
    elif change == "content":
        seed = "public"
    else:
        sizes = [size - 97 for size in SIZES]
    homes = [make_home(tmp_path / "one"), make_home(tmp_path / "two")]
    fill(homes[0], "geheim", NAMES, SIZES)
    fill(homes[1], seed, names, sizes)
    seen = []
    for home in homes:
        home.run()
        path = home.path()
        listing = sorted((file.name.replace(path.name, "ID"), file.stat().st_size) for file in path.iterdir() if file.name != "keys.age")  # fmt: skip
        tar = b"".join(file.read_bytes() for file in sorted(path.glob("*_*")))
        headers = [tar[at : at + 512] for at in members(tar)]
        manifest = json.loads((path / "manifest.json").read_bytes())
        seen.append((listing, headers, shape(manifest)))
        home.archive.close()
    assert seen[0] == seen[1]


def members(tar):
    at = 0
    while tar[at : at + 1] != b"\0":
        yield at
        at += 512 + int(tar[at + 124 : at + 135], 8)


def test_an_empty_file_a_folder_and_a_tiny_file_look_alike(home):
    home.write(empty=b"", tiny=b"x" * 300, copy=b"x" * 300)
    (home.source / "folder").mkdir()
    os.symlink("tiny", home.source / "link")
    home.run()
    tar = b"".join(file.read_bytes() for file in sorted(home.path().glob("*_*")))
    sizes = {int(tar[at + 124 : at + 135], 8) for at in members(tar)}
    assert sizes == {512}
    table = (home.path() / "records.sealed").read_bytes()
    rows = [table[27 + 68 * leaf :][:68] for leaf in range(6)]
    assert (
        len({int.from_bytes(row[64:], "big") for row in rows}) <= 2
    )  # `content` makes a record longer
    assert len({row[32:64] for row in rows}) == 6
