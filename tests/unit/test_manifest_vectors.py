"""The golden vectors of the commit format: Muniment and the standalone reader give what they say, and refuse what they must."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.file_digests import digest_file
from muniment.archive import contents, verify
from muniment.archive import record as records
from muniment.archive.commit_dag import commit_dag
from muniment.archive.commit_source import TarView, read_manifest, read_records
from muniment.archive.disclosure import fields_digest
from muniment.archive.keyring import Keyring
from muniment.archive.manifest import Previous
from muniment.archive.merkle import leaf_hash
from muniment.archive.signing import VerifyKey
from muniment.errors import FormatError, IntegrityError, MissingDataError, SignatureError

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/vectors/commit"
INDEX = json.loads((VECTORS / "vectors.json").read_text())
FIRST = INDEX["good"][0]["commit_id"]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


standalone = load(ROOT / "standalone/muniment_commit.py")
SIGNER = VerifyKey(standalone.unbase64(INDEX["signer"]["public_key"], 32, 0, "the signer"))

WHAT_MUNIMENT_SAYS = {
    "manifest-unknown-member": (FormatError, "unknown field `more`"),
    "manifest-missing-member": (FormatError, "missing required field `software`"),
    "manifest-other-format": (FormatError, "the manifest is not valid"),
    "manifest-no-such-day": (FormatError, "a time that does not exist"),
    "manifest-id-line-feed": (FormatError, "the manifest is not valid"),
    "manifest-no-leaves": (FormatError, "the manifest is not valid"),
    "manifest-float": (FormatError, "the manifest is not"),
    "chain-second-without-previous": (FormatError, "chain is contradictory"),
    "signature-changed-claim": (SignatureError, "does not verify"),
    "signature-without-context": (SignatureError, "does not verify"),
    "signature-other-signer": (SignatureError, "was signed by"),
    "id-of-another-commit": (IntegrityError, "the manifest is that of commit"),
    "sealed-unsorted": (FormatError, "not sorted by name"),
    "sealed-twice": (FormatError, "a name is there twice"),
    "sealed-foreign-name": (FormatError, "no part of a commit: 'zzz'"),
    "sealed-without-a-chunk": (FormatError, "does not name"),
    "sealed-without-records": (FormatError, "does not name"),
    "chunk-missing": (MissingDataError, "_ab of commit .* is missing"),
    "chunk-cut": (IntegrityError, "_ab has 1499 bytes, expected 1500"),
    "chunk-changed": (IntegrityError, "_ab is damaged"),
    "records-magic": (FormatError, "does not begin as it should"),
    "records-count": (FormatError, "has 5 leaves, but the manifest 6"),
    "records-short": (FormatError, "adds up to"),
    "records-root": (IntegrityError, "Merkle root over records"),
    "records-last-leaf-doubled": (IntegrityError, "Merkle root over records"),
    "tar-header": (FormatError, "header of member 0"),
    "tar-end": (FormatError, "does not end behind its last member"),
    "tar-members-swapped": (IntegrityError, "member 0 of the tar is not the one"),
    "record-of-another-leaf": (IntegrityError, "record 0 does not open"),
    "record-not-canonical": (FormatError, "record 3 is not canonical"),
    "record-unknown-field": (FormatError, "record 3 is not valid"),
    "record-field-of-another-kind": (FormatError, "record 0: target_hex belongs to links"),
    "record-without-digest": (FormatError, "record 3 of kind file lacks the field blake3"),
    "record-path-up": (FormatError, "record 3 has a path that is not clean"),
    "record-path-line-feed": (FormatError, "record 3 is not valid"),
    "record-not-committed": (IntegrityError, "record 3 is not the one that its leaf binds"),
    "records-same-path": (FormatError, "leaves 3 and 4 have the same path b'd/none'"),
    "records-out-of-order": (FormatError, "leaf 1 is out of order"),
    "records-out-of-order-by-length": (FormatError, "leaf 4 is out of order"),
    "record-empty-file-of-another-digest": (FormatError, "record 1 is of an empty file, but"),
    "disclosed-too-few": (FormatError, "disclosed files are not exactly its leaves"),
    "disclosed-out-of-order": (FormatError, "disclosed files are not exactly its leaves"),
    "disclosed-unknown-member": (FormatError, "unknown field `more`"),
    "disclosed-salt-not-hex": (FormatError, "the manifest is not valid"),
    "disclosed-leaf-below-0": (FormatError, "the manifest is not valid"),
    "disclosed-other-value": (IntegrityError, "fields of leaf 3 are not those"),
    "disclosed-other-salt": (IntegrityError, "fields of leaf 3 are not those"),
    "disclosed-other-commitment": (IntegrityError, "fields of leaf 3 are not those"),
    "disclosed-without-salt": (FormatError, "fields and salts that do not fit"),
    "disclosed-salt-of-nothing": (FormatError, "fields and salts that do not fit"),
    "disclosed-shown-and-hidden": (FormatError, "fields and salts that do not fit"),
    "disclosed-content": (FormatError, "shows its content"),
    "disclosed-field-left-out": (FormatError, "not have the fields of its kind"),
    "disclosed-unknown-field": (FormatError, "unknown field `more`"),
    "disclosed-unknown-field-hidden": (FormatError, "not have the fields of its kind"),
    "disclosed-field-of-another-kind": (FormatError, "not have the fields of its kind"),
    "disclosed-kind-of-other-fields": (FormatError, "not have the fields of its kind"),
    "disclosed-kind-unknown": (FormatError, "leaf 0, .* is not valid"),
    "disclosed-without-digest": (FormatError, "not have the fields of its kind"),
    "disclosed-path-up": (FormatError, "a path that is not clean"),
    "disclosed-path-too-long": (FormatError, "leaf 3, .* is not valid"),
    "disclosed-path-capitals": (FormatError, "leaf 3, .* is not valid"),
    "disclosed-mode": (FormatError, "leaf 3, .* is not valid"),
    "disclosed-mode-as-text": (FormatError, "leaf 3, .* is not valid"),
    "disclosed-mode-true": (FormatError, "leaf 3, .* is not valid"),
    "disclosed-size-below-0": (FormatError, "leaf 1, .* is not valid"),
    "disclosed-time-beyond-64-bits": (FormatError, "a time that does not fit 64 bits"),
    "disclosed-time-leading-zero": (FormatError, "leaf 0, .* is not valid"),
    "disclosed-media-type-parameters": (FormatError, "leaf 3, .* is not valid"),
    "disclosed-target-zero-byte": (FormatError, "a link target with a zero byte"),
    "disclosed-content-of-a-folder": (FormatError, "a content where it must not"),
    "disclosed-content-of-an-empty-file": (FormatError, "a content where it must not"),
    "disclosed-without-content": (FormatError, "none where it must"),
    "disclosed-same-path": (FormatError, "leaves 3 and 4 have the same path"),
    "disclosed-paths-out-of-order": (FormatError, "leaf 1 is out of order"),
    "disclosed-empty-file-of-another-digest": (FormatError, "of an empty file, but"),
    "content-other-key": (IntegrityError, "content of leaf 3 does not open"),
    "content-padding": (FormatError, "content of leaf 3 has padding that is not zero"),
    "content-tag": (FormatError, "content of leaf 3 has a message of tag 0"),
    "content-digest": (IntegrityError, "content of leaf 3 has another digest"),
    "content-size": (IntegrityError, "content of leaf 3 has 6 bytes, expected 7"),
    "content-not-a-frame": (IntegrityError, "content of leaf 4"),
    "content-frame-too-long": (FormatError, "content of leaf 4 holds more than its 899 bytes"),
    "content-elsewhere": (FormatError, "places its content elsewhere"),
    "content-longer-than-its-member": (FormatError, "places its content elsewhere"),
}


@pytest.fixture
def commits(tmp_path):
    return shutil.copytree(VECTORS / "good", tmp_path / "commits")


def test_the_generator_writes_these_bytes_again(tmp_path):
    load(VECTORS / "generate.py").write(tmp_path)
    ours = {path.relative_to(VECTORS): path.read_bytes() for path in VECTORS.rglob("*") if path.is_file()}  # fmt: skip
    for path in [path for path in ours if path.suffix in (".py", ".pyc")]:
        del ours[path]
    assert ours == {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}  # fmt: skip


@pytest.mark.parametrize("expected", INDEX["good"], ids=["first", "second", "disclosed"])
def test_a_reader_gets_what_the_index_says(expected, commits, check_commit):
    commit_id = expected["commit_id"]
    leaves = expected["leaves"]
    keyring = Keyring.decode((commits / f"{commit_id}.keys").read_bytes(), commit_id, len(leaves))
    with CommitFolder(commits / commit_id) as folder:
        manifest = read_manifest(folder)
        table, tar = read_records(folder, manifest), TarView(folder, manifest)
        assert manifest.root.hex() == expected["merkle_root"]
        for number, leaf in enumerate(leaves):
            key = bytes.fromhex(leaf["file_key"])
            assert keyring.key(number) == key
            assert table.fields_digest(number).hex() == leaf["fields_digest"]
            assert table.ciphertext_digest(number).hex() == leaf["ciphertext_digest"]
            assert leaf_hash(table.fields_digest(number), table.ciphertext_digest(number)).hex() == leaf["leaf"]  # fmt: skip
            record = verify.check_record(table, number, key, table.sealed_record(number))
            assert json.loads(records.encode(records.fields(record))) == leaf["record"]
            archived = records.to_archived(record, commit_id, number)
            if archived.place and archived.place.commit_id == commit_id:
                read = tar.reader(archived.place.offset)
                plain = contents.open_content(read, records.content_key(key), archived.place, archived.scanned.size, archived.digest, what="x")  # fmt: skip
                assert b"".join(plain).hex() == leaf["plaintext_hex"]
    digests = [digest_file(path) for path in sorted((commits / commit_id).iterdir())]
    assert str(commit_dag(digests).root) == expected["commit_cid"]
    reports = check_commit(commits / commit_id, signer=SIGNER, keyring=keyring)
    assert sum(report.leaves for report in reports) == len(leaves)


@pytest.mark.parametrize("number", [1, 2])
def test_each_follows_the_one_before(number, commits, check_commit):
    before, after = INDEX["good"][number - 1 : number + 1]
    known = Previous(before["commit_id"], f"sha256:{before['manifest_sha256']}", f"blake3:{before['merkle_root']}")  # fmt: skip
    check_commit(commits / after["commit_id"], previous=known, check_chain=True)


def test_disclosed_fields_are_those_of_the_records(commits):
    expected = INDEX["good"][2]
    with CommitFolder(commits / expected["commit_id"]) as folder:
        files = read_manifest(folder).files
    assert len(files) == len(expected["leaves"])
    for file, leaf in zip(files, expected["leaves"], strict=True):
        assert file.fields.items() <= leaf["record"].items()
        assert file.fields.keys() | file.hidden.keys() == leaf["record"].keys()
        assert fields_digest(file).hex() == leaf["fields_digest"]
    assert files[0].fields == expected["leaves"][0]["record"]
    assert files[-1].fields == {}


def test_a_copy_out_of_a_commit_of_another_organisation_is_refused(commits, check_commit):
    first, second = (expected["commit_id"] for expected in INDEX["good"][:2])
    path = commits / first / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"id":"example"', b'"id":"another"'))
    keyring = Keyring.decode((commits / f"{second}.keys").read_bytes(), second)
    with pytest.raises(FormatError, match="is of organisation 'another', not 'example'"):
        check_commit(commits / second, keyring=keyring)


def spoil(commits, case):
    folder = commits / FIRST
    for name in case["removes"]:
        (folder / name).unlink()
    for name in case["replaces"]:
        shutil.copy(VECTORS / "bad" / case["name"] / name, folder / name)
    return folder


@pytest.mark.parametrize("case", INDEX["bad"], ids=lambda case: case["name"])
def test_muniment_refuses_what_it_must(case, commits, check_commit):
    keyring = Keyring.decode((commits / f"{FIRST}.keys").read_bytes(), FIRST)
    usual = (FormatError, "the manifest is not canonical")
    error, message = WHAT_MUNIMENT_SAYS.get(case["name"], usual)
    with pytest.raises(error, match=message):
        check_commit(
            spoil(commits, case), signer=SIGNER, keyring=keyring if needs_keys(case) else None
        )


def needs_keys(case):
    """Rules 1 to 7, and what is disclosed, are for everybody: they must hold without any key."""
    return case["rule"] > 7 and not case["name"].startswith("disclosed-")


@pytest.mark.parametrize("case", INDEX["bad"], ids=lambda case: case["name"])
def test_the_standalone_reader_refuses_it_by_the_same_rule(case, commits, capsys):
    arguments = ["verify", str(spoil(commits, case)), "--signer", SIGNER.key_id]
    if needs_keys(case):
        arguments += ["--keys", str(commits / f"{FIRST}.keys")]
    assert standalone.main(arguments) == 1
    assert capsys.readouterr().err.endswith(f"(rule {case['rule']})\n")


def test_the_standalone_reader_takes_the_good_ones(commits, capsys):
    first, second, third = (commits / expected["commit_id"] for expected in INDEX["good"])
    chain = [
        (first, []),
        (second, ["--previous", str(first)]),
        (third, ["--previous", str(second)]),
    ]
    for folder, more in chain:
        keys = str(commits / f"{folder.name}.keys")
        assert standalone.main(["verify", str(folder), "--keys", keys, "--signer", SIGNER.key_id, *more]) == 0  # fmt: skip
        assert capsys.readouterr().out.endswith("VERIFIED\n")
