"""The standalone reader against commits that a small writer builds here, by the specification alone."""

import ast
import base64
import hashlib
import importlib.util
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import lz4.frame
import pyrage
import pytest
import rfc8785
import zstandard
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium
from nacl.signing import SigningKey

PROGRAM = Path(__file__).parents[2] / "standalone" / "muniment_commit.py"
_spec = importlib.util.spec_from_file_location("muniment_commit", PROGRAM)
reader = importlib.util.module_from_spec(_spec)
sys.modules["muniment_commit"] = reader
_spec.loader.exec_module(reader)

MIB = 1 << 20
ID, ID2 = "20261121T101112Z-abcdefg2", "20261122T101112Z-zzzzzzz7"
SIGNER = SigningKey(b"\x07" * 32)
MESSAGE, FINAL = 0, 3


# --- The writer -----------------------------------------------------------------------------------


def jcs(value):
    return rfc8785.dumps(value)


def derive(purpose, secret):
    return blake3(secret, derive_key_context=f"muniment 2026-11-21 {purpose}").digest()


def stream(key, plain, tags=None, cut=MIB):
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    out = [sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)]
    messages = [plain[at : at + cut] for at in range(0, len(plain), cut)] or [b""]
    tags = tags or [MESSAGE] * (len(messages) - 1) + [FINAL]
    for message, tag in zip(messages, tags, strict=True):
        out.append(sodium.crypto_secretstream_xchacha20poly1305_push(state, message, None, tag))
    return b"".join(out)


def measure(length):
    return 24 + length + 17 * max(1, -(-length // MIB))


def padded(plain, unit, least):
    """Padme, then whole units, then a length that a stream can have."""
    n = max(measure(len(plain)), least)
    e = n.bit_length() - 1
    granule = 1 << (e - e.bit_length())
    n = -(-n // granule) * granule
    n = -(-n // unit) * unit
    while True:
        whole, rest = divmod(n - 24, MIB + 17)
        length = whole * MIB + max(rest - 17, 0)
        if measure(length) == n and length >= len(plain):
            return plain + bytes(length - len(plain))
        n += unit


def header(number, size):
    info = tarfile.TarInfo(f"{number:08d}")
    info.mode, info.size = 0o600, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def tree(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return blake3(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()


def commit_fields(key, record):
    out = b"\x02"
    for name in sorted(record):
        label = bytes([len(name)]) + name.encode()
        salt = derive("field salt", key + name.encode())
        out += label + blake3(label + jcs(record[name]), key=salt).digest()
    return blake3(out).digest()


def digests(data):
    return {
        "sha256": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "blake3": f"blake3:{blake3(data).hexdigest()}",
    }


PACK = {"none": bytes, "zstd": zstandard.ZstdCompressor().compress, "lz4": lz4.frame.compress}


class Build:
    """One commit in the making. A test may replace any method or change any part before `save`."""

    def __init__(
        self, parent, entries, commit_id=ID, chunk_bytes=200_000, sequence=1, previous=None
    ):
        self.id, self.folder, self.chunk_bytes = commit_id, Path(parent) / commit_id, chunk_bytes
        self.keys = [
            hashlib.sha256(f"{commit_id} {n}".encode()).digest() for n in range(len(entries))
        ]
        self.places, self.fields, self.members, self.sealed_records, self.records = (
            [],
            [],
            [],
            [],
            [],
        )
        offset = 0
        for number, entry in enumerate(entries):
            member, record = self.member(number, entry, offset + 512)
            self.places.append((offset + 512, len(member)))
            self.members.append(member)
            record = self.record(number, record)
            self.records.append(record)
            self.fields.append(self.commit(number, record))
            self.sealed_records.append(self.seal_record(number, record))
            offset += 512 + len(member)
        self.tar = bytearray(self.pack_tar())
        self.table = bytearray(self.pack_records())
        self.root = tree(
            [
                blake3(b"\0" + f + blake3(m).digest()).digest()
                for f, m in zip(self.fields, self.members, strict=True)
            ]
        )
        self.chain = {"sequence": sequence, "previous": previous}

    def record(self, number, record):
        return record

    def commit(self, number, record):
        return commit_fields(self.keys[number], record)

    def pack(self, entry):
        return PACK[entry.get("compression", "none")](entry["data"])

    def pad(self, packed):
        return padded(packed, 512, 512)

    def seal_content(self, key, packed):
        return stream(key, self.pad(packed))

    def seal_record(self, number, record):
        return stream(derive("record key", self.keys[number]), padded(jcs(record), 256, 512))

    def member(self, number, entry, offset):
        kind = entry.get("kind", "file")
        record = {"kind": kind, "path_hex": entry["path"].hex(), "mode": entry.get("mode", 0o640),
                  "mtime_ns": str(entry.get("mtime_ns", 1_600_000_000_123_456_789)), "ctime_ns": "-5"}  # fmt: skip
        packed = b""
        if kind == "symlink":
            record["target_hex"] = entry["target"].hex()
        if kind == "file":
            data = entry["data"]
            record |= {
                "size": len(data),
                "blake3": blake3(data).hexdigest(),
                "media_type": "text/plain",
            }
            if "copy_of" in entry:
                other, leaf = entry["copy_of"]
                content = dict(other.records[leaf]["content"])
                record["content"] = content | {"commit_id": other.id, "leaf": leaf, "key_hex": derive("content key", other.keys[leaf]).hex()}  # fmt: skip
            elif data:
                packed = self.pack(entry)
        member = self.seal_content(derive("content key", self.keys[number]), packed)
        if packed:
            record["content"] = {"compression": entry.get("compression", "none"), "offset": offset,
                                 "packed_size": len(packed), "sealed_size": len(member)}  # fmt: skip
        return member, record

    def pack_tar(self):
        return b"".join(header(n, len(m)) + m for n, m in enumerate(self.members)) + bytes(1024)

    def pack_records(self):
        out = b"muniment-records/1\n" + len(self.members).to_bytes(8, "big")
        for fields, member, sealed in zip(
            self.fields, self.members, self.sealed_records, strict=True
        ):
            out += fields + blake3(member).digest() + len(sealed).to_bytes(4, "big")
        return out + b"".join(self.sealed_records)

    def manifest(self):
        chunks = [
            bytes(self.tar[at : at + self.chunk_bytes])
            for at in range(0, len(self.tar), self.chunk_bytes)
        ]
        self.files = {f"{self.id}_a{chr(97 + n)}": chunk for n, chunk in enumerate(chunks)}
        self.files["records.sealed"] = bytes(self.table)
        self.files |= {f"{self.id}.par2": b"index", f"{self.id}.vol0+1.par2": b"parity"}
        public = bytes(SIGNER.verify_key)
        wire = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + public
        key_id = "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")
        return {
            "format": "muniment-commit/1", "commit_id": self.id, "created_at": "2026-11-21T10:11:12Z",
            "organization": {"id": "example", "name": "An Exämple"}, "chain": self.chain,
            "merkle": {"algorithm": "blake3-rfc9162", "leaf_count": len(self.members), "root": f"blake3:{self.root.hex()}"},
            "packaging": {"format": "tar+split+par2", "tar_bytes": len(self.tar), "chunk_bytes": self.chunk_bytes,
                          "chunk_count": len(chunks), "chunk_prefix": self.id + "_", "par2": {"block_bytes": 4, "recovery_blocks": 1}},
            "sealed": [{"name": name, "size": len(data), **digests(data)} for name, data in sorted(self.files.items())],
            "keys": {"signer": {"algorithm": "ed25519", "key_id": key_id, "public_key": base64.b64encode(public).decode()}},
            "software": {"name": "a test", "version": "1"},
        }  # fmt: skip

    def save(self, change=lambda manifest: None):
        manifest = self.manifest()
        change(manifest)
        signed = b"muniment-commit-manifest/1\n" + jcs(manifest)
        value = base64.b64encode(SIGNER.sign(signed).signature).decode()
        manifest.setdefault("signature", {"algorithm": "ed25519", "value": value})
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, data in {**self.files, "manifest.json": jcs(manifest)}.items():
            (self.folder / name).write_bytes(data)
        self.keyring_path = self.folder.parent / f"{self.id}.keys"
        self.keyring_path.write_bytes(self.keyring())
        return self

    def keyring(self):
        name = self.id.encode()
        count = len(self.keys).to_bytes(8, "big")
        return b"muniment-keys/1\n" + bytes([len(name)]) + name + count + b"".join(self.keys)

    def link(self):
        data = (self.folder / "manifest.json").read_bytes()
        return {"commit_id": self.id, "manifest_sha256": digests(data)["sha256"], "merkle_root": f"blake3:{self.root.hex()}"}  # fmt: skip


ALL_FIELDS = ("kind", "path_hex", "mode", "mtime_ns", "ctime_ns", "size", "blake3", "media_type", "content", "target_hex")  # fmt: skip
SMALL = [{"path": b"a.txt", "data": b"hello"}]
MIXED = [
    {"path": b"d", "kind": "directory", "mode": 0o555, "mtime_ns": 1_500_000_000_000_000_001},
    {"path": b"d/a", "data": b"text " * 1000, "compression": "zstd"},
    {"path": b"d/empty", "data": b""},
    {"path": b"d/f/l\xff\x1b[31m", "data": b"lz4 " * 50_000, "compression": "lz4", "mode": 0o4755},
    {"path": b"d/link", "kind": "symlink", "target": b"../d/a"},
    {"path": b"e", "data": bytes(range(256)) * 12_288},
]


def run(capsys, *arguments):
    code = reader.main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return code, out.out, out.err


def deep(capsys, build, *more):
    return run(capsys, "verify", build.folder, "--keys", build.keyring_path, *more)


def rejected(capsys, build, rule):
    code, out, err = deep(capsys, build)
    assert code == 1, (out, err)
    assert err.startswith("REJECTED: "), err
    assert err.count("\n") == 1
    assert err.endswith(f"(rule {rule})\n"), err
    assert "VERIFIED" not in out


@pytest.fixture
def mixed(tmp_path):
    return Build(tmp_path, MIXED).save()


# --- What must be accepted ------------------------------------------------------------------------


def test_a_commit_verifies_without_keys(mixed, capsys):
    code, out, err = run(capsys, "verify", mixed.folder)
    assert (code, err) == (0, "")
    assert "NOT COMPARED" in out
    assert "not opened" in out
    assert out.endswith("VERIFIED\n")


def test_a_commit_verifies_deeply_with_keys_and_the_expected_signer(mixed, capsys):
    key_id = mixed.manifest()["keys"]["signer"]["key_id"]
    wire = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(SIGNER.verify_key)
    for signer in (key_id, f"ssh-ed25519 {base64.b64encode(wire).decode()} someone@example"):
        code, out, err = deep(capsys, mixed, "--signer", signer)
        assert (code, err) == (0, "")
        assert "6 opened\nVERIFIED" in out
        assert "as expected" in out


@pytest.mark.parametrize("size", [1, 470, 471, 472, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 5])
def test_contents_of_every_length_about_a_message(size, tmp_path, capsys):
    build = Build(tmp_path, [{"path": b"f", "data": b"x" * size}], chunk_bytes=700_001).save()
    assert deep(capsys, build)[0] == 0


def test_extract_restores_bytes_modes_times_links_and_folders(mixed, tmp_path, capsys):
    target = tmp_path / "out"
    code, _, err = run(capsys, "extract", mixed.folder, target, "--keys", mixed.keyring_path)
    assert (code, err) == (0, "")
    for entry in MIXED:
        path = os.path.join(os.fsencode(target), entry["path"])
        info = os.lstat(path)
        assert info.st_mtime_ns == entry.get("mtime_ns", 1_600_000_000_123_456_789)
        if entry.get("kind") == "symlink":
            assert os.readlink(path) == entry["target"]
            continue
        assert stat.S_IMODE(info.st_mode) == entry.get("mode", 0o640) & 0o1777
        if "data" in entry:
            with open(path, "rb") as file:
                assert file.read() == entry["data"]


def test_extract_takes_only_what_the_pattern_names(mixed, tmp_path, capsys):
    command = ("extract", mixed.folder, tmp_path / "out", "--keys", mixed.keyring_path, "--path")
    assert run(capsys, *command, "d/a*")[0] == 0
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["d", "a"]
    assert run(capsys, *command, "nothing")[0] == 1


def test_list_escapes_what_a_terminal_would_obey(mixed, capsys):
    code, out, _ = run(capsys, "list", mixed.folder, "--keys", mixed.keyring_path)
    assert code == 0
    assert len(out.splitlines()) == len(MIXED)
    assert "\x1b" not in out
    assert r"d/f/l\xff\x1b[31m" in out
    assert "d/link -> ../d/a" in out


def test_a_links_target_holds_no_zero_byte(tmp_path, capsys):
    rejected(capsys, Build(tmp_path, [{"path": b"l", "kind": "symlink", "target": b"x\0y"}]).save(), 8)  # fmt: skip


def test_a_copy_is_found_in_its_own_commit_and_in_another(tmp_path, capsys):
    first = Build(tmp_path, MIXED).save()
    entries = [*SMALL, {"path": b"copy", "data": MIXED[1]["data"], "copy_of": (first, 1)}]
    second = Build(tmp_path, entries, ID2, sequence=2, previous=first.link()).save()
    assert deep(capsys, second, "--previous", first.folder)[0] == 0
    assert deep(capsys, second, "--commits", tmp_path)[0] == 0
    (tmp_path / "empty").mkdir()
    code, out, _ = deep(capsys, second, "--commits", tmp_path / "empty")
    assert code == 0  # everything but this content was checked, and that is said
    assert "1 opened\ncontents   NOT CHECKED: leaf 1: a content lies in commit " + ID in out
    absent = tmp_path / "absent"
    command = ("extract", second.folder, absent, "--keys", second.keyring_path)
    code, _, err = run(capsys, *command, "--commits", tmp_path / "empty")
    assert (code, ID in err, [path.name for path in absent.iterdir()]) == (1, True, ["a.txt"])
    command = ("extract", second.folder, tmp_path / "out", "--keys", second.keyring_path)
    assert run(capsys, *command)[0] == 0
    assert (tmp_path / "out/copy").read_bytes() == MIXED[1]["data"]


def test_one_file_opens_with_its_own_key_and_no_other(mixed, tmp_path, capsys):
    command = ("file", mixed.folder, "--leaf", 1, "--output", tmp_path / "text", "--file-key")
    for wrong in (mixed.keys[2], derive("content key", mixed.keys[1]), bytes(32)):
        assert run(capsys, *command, wrong.hex())[0] == 1
        assert not (tmp_path / "text").exists()
    code, out, _ = run(capsys, *command, mixed.keys[1].hex())
    assert (code, (tmp_path / "text").read_bytes()) == (0, MIXED[1]["data"])
    assert "VERIFIED" in out
    assert run(capsys, *command, mixed.keys[1].hex())[0] == 2  # the output exists
    assert run(capsys, *command, "1234")[0] == 2
    assert run(capsys, *command, mixed.keys[1].hex(), "--signer", "SHA256:" + "A" * 43)[0] == 1


def test_one_file_needs_only_the_chunks_that_hold_it(mixed, capsys):
    for name in mixed.files:
        if name not in ("records.sealed", f"{ID}_aa"):
            (mixed.folder / name).unlink()
    for leaf, code in ((1, 0), (5, 1)):
        command = ("file", mixed.folder, "--leaf", leaf, "--file-key", mixed.keys[leaf].hex())
        assert run(capsys, *command)[0] == code


def test_erased_keys_are_reported_and_are_not_an_error(mixed, tmp_path, capsys):
    mixed.keys[1] = bytes(32)
    mixed.keyring_path.write_bytes(mixed.keyring())
    code, out, _ = deep(capsys, mixed)
    assert code == 0
    assert "5 opened\nerased     1, NOT VERIFIED" in out
    assert "1 erased" in run(capsys, "list", mixed.folder, "--keys", mixed.keyring_path)[1]
    command = ("extract", mixed.folder, tmp_path / "out", "--keys", mixed.keyring_path)
    assert run(capsys, *command)[0] == 0
    assert not (tmp_path / "out/d/a").exists()
    mixed.keys[:] = [bytes(32)] * len(MIXED)
    mixed.keyring_path.write_bytes(mixed.keyring())
    code, out, err = deep(capsys, mixed)
    assert (code, "VERIFIED" in out) == (2, False)  # nothing is wrong, and nothing was opened
    assert "all 6 keys were erased" in err


@pytest.mark.parametrize("with_pyrage", [True, False])
def test_the_keyring_opens_with_an_age_identity(with_pyrage, mixed, tmp_path, capsys, monkeypatch):
    secret = bytes(range(32))
    text = reader.raw_identity(secret)
    identity = pyrage.x25519.Identity.from_str(text)
    (mixed.folder / "keys.age").write_bytes(pyrage.encrypt(mixed.keyring(), [identity.to_public()]))
    (tmp_path / "id").write_text(f"# mine\n{identity}\n")
    (tmp_path / "raw").write_bytes(secret)
    (tmp_path / "other").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    if not with_pyrage:  # then the program `age` does it
        monkeypatch.setitem(sys.modules, "pyrage", None)
    for name, code in (("id", 0), ("raw", 0), ("other", 2), ("missing", 2)):
        assert run(capsys, "verify", mixed.folder, "--identity", tmp_path / name)[0] == code
    (mixed.folder / "keys.age").write_bytes(b"rubbish")
    assert run(capsys, "verify", mixed.folder, "--identity", tmp_path / "id")[0] == 2
    (mixed.folder / "keys.age").write_bytes(bytes(70_000))
    assert run(capsys, "verify", mixed.folder, "--identity", tmp_path / "id")[0] == 1


def test_a_raw_secret_is_the_identity_of_the_vectors():
    vectors = json.loads((PROGRAM.parents[1] / "tests/vectors/keys/keys.json").read_text())
    secret = bytes.fromhex(vectors["identity"]["secret_hex"])
    assert reader.raw_identity(secret) == vectors["identity"]["identity"]


def test_the_tar_is_one_that_tar_reads(mixed):
    with tarfile.open(fileobj=io.BytesIO(bytes(mixed.tar))) as tar:
        assert [(m.name, m.size) for m in tar] == [
            (f"{n:08d}", s) for n, (_, s) in enumerate(mixed.places)
        ]
    info = tarfile.TarInfo("00000007")
    info.mode, info.size = 0o600, 8**11 + 512
    gnu, ours = info.tobuf(tarfile.GNU_FORMAT), reader.tar_header(7, 8**11 + 512)
    assert ours[124:136] == gnu[124:136]
    assert reader.tar_header(7, 8**11 - 512)[124:136] == b"77777777000\0"
    assert tarfile.TarInfo.frombuf(ours, "ascii", "strict").size == 8**11 + 512


def test_chunk_names_are_those_of_split(tmp_path):
    (tmp_path / "data").write_bytes(bytes(700))
    subprocess.run(["split", "-b", "1", "data", "x"], cwd=tmp_path, check=True)
    names = sorted(path.name[1:] for path in tmp_path.glob("x*"))
    assert [reader.chunk_suffix(number) for number in range(700)] == names
    assert reader.chunk_suffix(650 + 16_899) == "zyzz"
    assert reader.chunk_suffix(650 + 16_900) == "zzaaaa"


def test_the_root_has_the_shape_of_rfc_9162():
    for count in range(1, 40):
        leaves = [blake3(bytes([n])).digest() for n in range(count)]
        assert reader.merkle_root(leaves) == tree(leaves)


# --- What must be rejected ------------------------------------------------------------------------


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_byte_counts(step, tmp_path, capsys):
    build = Build(tmp_path, SMALL).save()
    for name in sorted([*build.files, "manifest.json"]):
        path = build.folder / name
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), step):
            data[at] ^= 1 << at % 8
            path.write_bytes(data)
            assert reader.main(["verify", str(build.folder)]) == 1, (name, at)
            data[at] ^= 1 << at % 8
        path.write_bytes(data)
        assert reader.main(["verify", str(build.folder)]) == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("part", "rules"), [("tar", "79"), ("table", "68")])
def test_bytes_count_even_where_the_signer_lies(part, rules, step, tmp_path, capsys):
    build = Build(tmp_path, SMALL)
    data = getattr(build, part)
    for at in range(0, len(data), step):
        data[at] ^= 1 << at % 8
        code, _, err = deep(capsys, build.save())
        assert code == 1, at
        assert err[-3] in rules, (at, err)
        data[at] ^= 1 << at % 8
    assert deep(capsys, build.save())[0] == 0


def set_at(manifest, path, value):
    *parents, last = path.split(".")
    for name in parents:
        manifest = manifest[int(name) if name.isdigit() else name]
    manifest[last] = value


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("format", "muniment-commit/2", 1),
        ("extra", 1, 1),
        ("commit_id", "20261121T101112Z-ABCDEFG2", 1),
        ("commit_id", "20261321T101112Z-abcdefg2", 1),
        ("commit_id", 5, 1),
        ("created_at", "2026-02-30T10:11:12Z", 1),
        ("created_at", "2026-11-21T10:11:12+00:00", 1),
        ("organization.id", "-x", 1),
        ("organization.name", "", 1),
        ("organization.extra", "", 1),
        ("organization", None, 1),
        ("chain.sequence", 0, 1),
        ("chain.sequence", True, 1),
        ("chain.sequence", 2, 1),
        ("chain.previous", {}, 1),
        ("merkle.algorithm", "sha256", 1),
        ("merkle.leaf_count", 0, 1),
        ("merkle.leaf_count", 100_000_000, 1),
        ("merkle.leaf_count", 5, 6),
        ("merkle.root", "blake3:" + "0" * 64, 6),
        ("merkle.root", "0" * 64, 1),
        ("packaging.format", "zip", 1),
        ("packaging.chunk_bytes", 0, 1),
        ("packaging.chunk_bytes", 99_999, 4),
        ("packaging.chunk_count", 10, 4),
        ("packaging.chunk_count", 2**53 - 1, 4),
        ("packaging.chunk_count", 1, 4),
        ("packaging.tar_bytes", 1, 4),
        ("packaging.chunk_prefix", ID2 + "_", 1),
        ("packaging.par2", None, 4),
        ("sealed.0.name", "../x", 1),
        ("sealed.0.name", ID + ".txt", 4),
        ("sealed.0.name", ID + ".vol1.par2.exe", 4),
        ("sealed.0.size", -1, 1),
        ("sealed.0.size", 99, 5),
        ("sealed.0.sha256", "sha256:" + "0" * 64, 5),
        ("sealed.0.blake3", "blake3:" + "0" * 64, 5),
        ("sealed", [], 4),
        ("sealed", {}, 1),
        ("keys.signer.public_key", base64.b64encode(bytes(32)).decode(), 1),
        ("keys.signer.public_key", "AAAA", 1),
        ("keys.signer.key_id", "SHA256:" + "A" * 43, 1),
        ("software", {"name": "x"}, 1),
        ("files", {}, 1),
        ("files", [1], 1),
        ("organization.id", "example\n", 1),
        ("created_at", "2026-11-21T10:11:12Z\n", 1),
        ("signature", {"algorithm": "ed25519", "value": "AAAA"}, 1),
        ("signature", {"algorithm": "ed25519", "value": base64.b64encode(bytes(64)).decode()}, 2),
        ("signature", {"algorithm": "none", "value": ""}, 1),
    ],
)
def test_a_signed_manifest_may_not_say(path, value, rule, tmp_path, capsys):
    build = Build(tmp_path, MIXED).save(lambda manifest: set_at(manifest, path, value))
    rejected(capsys, build, rule)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda sealed: sealed.reverse(), 4),
        (lambda sealed: sealed.insert(0, sealed[0]), 4),
        (lambda sealed: sealed.pop(), 4),
        (lambda sealed: sealed.pop(2), 4),
    ],
)
def test_a_list_of_sealed_files_may_not_be(change, rule, mixed, capsys):
    mixed.save(lambda manifest: change(manifest["sealed"]))
    rejected(capsys, mixed, rule)


def test_a_manifest_lacks_nothing(mixed, capsys):
    for name in list(mixed.manifest()):
        mixed.save(lambda manifest, name=name: manifest.pop(name))
        rejected(capsys, mixed, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: json.dumps(
            dict(reversed(json.loads(data).items())), separators=(",", ":")
        ).encode(),
        lambda data: data.replace(b'"sequence":1', b'"sequence":1,"sequence":1'),
        lambda data: data.replace(b'"sequence":1', b'"sequence":1.0'),
        lambda data: data.replace(b'"sequence":1', b'"sequence":1e0'),
        lambda data: data.replace(b'"sequence":1', b'"sequence":-0'),
        lambda data: data.replace(b'"sequence":1', b'"sequence":NaN'),
        lambda data: data.replace(b'"sequence":1', b'"sequence":' + b"9" * 10_000),
        lambda data: data.replace(b'"sequence":1', b'"sequence":9007199254740992'),
        lambda data: data.replace("ä".encode(), rb"\u00e4"),
        lambda data: data.replace("ä".encode(), rb"\ud800"),
        lambda data: data.replace("ä".encode(), b"\xff"),
        lambda data: data.replace(b'"files"', '"filés"'.encode()),
        lambda data: b"[" * 200_000,
        lambda data: b"[]",
        lambda data: b"",
    ],
)
def test_a_manifest_in_other_bytes_is_no_manifest(change, mixed, capsys):
    path = mixed.folder / "manifest.json"
    data = path.read_bytes()
    if change(data) == data:
        change = lambda data: data + b" "  # noqa: E731
    path.write_bytes(change(data))
    rejected(capsys, mixed, 1)


def test_a_manifest_is_no_longer_than_64_mib(mixed, capsys):
    with open(mixed.folder / "manifest.json", "r+b") as file:
        file.truncate(64 * MIB + 1)
    rejected(capsys, mixed, 1)


def test_another_signer_name_or_predecessor(mixed, tmp_path, capsys):
    code, _, err = deep(capsys, mixed, "--signer", "SHA256:" + "A" * 43)
    assert (code, err[-9:]) == (1, "(rule 2)\n")
    assert deep(capsys, mixed, "--signer", "nonsense")[0] == 2
    for previous in (mixed.link(), {**mixed.link(), "merkle_root": "blake3:" + "0" * 64}):
        for sequence in (2, 3):
            after = Build(tmp_path, SMALL, ID2, sequence=sequence, previous=previous).save()
            code, _, err = deep(capsys, after, "--previous", mixed.folder)
            assert code == (0 if sequence == 2 and previous == mixed.link() else 1)
    after = Build(tmp_path, SMALL, ID2, sequence=2, previous=mixed.link())
    after.save(lambda manifest: manifest["organization"].update(id="another"))
    code, _, err = deep(capsys, after, "--previous", mixed.folder)
    assert (code, err[-9:]) == (1, "(rule 3)\n")
    assert "is a commit of example" in err


def test_a_directory_of_another_name_goes_by_the_manifest(mixed, tmp_path, capsys):
    for name, code in (("evidence", 0), (ID2, 1)):
        mixed.folder = mixed.folder.rename(tmp_path / name)
        assert deep(capsys, mixed)[0] == code
    rejected(capsys, mixed, 3)


def test_a_copy_out_of_a_commit_of_somebody_else_is_refused(tmp_path, capsys):
    first = Build(tmp_path, MIXED).save(lambda m: m["organization"].update(id="another"))
    entries = [{"path": b"copy", "data": MIXED[1]["data"], "copy_of": (first, 1)}]
    code, _, err = deep(capsys, Build(tmp_path, entries, ID2).save())
    assert code == 1
    assert f"commit {ID}: it is of another, not of example (rule 10)" in err


# --- Disclosed fields -----------------------------------------------------------------------------


def disclosed(build, hide=("content",)):
    """What `files` says of every leaf."""
    files = []
    for number, record in enumerate(build.records):
        salts = {name: derive("field salt", build.keys[number] + name.encode()) for name in record}
        hidden = {}
        for name in record.keys() & set(hide):
            label = bytes([len(name)]) + name.encode()
            hidden[name] = blake3(label + jcs(record[name]), key=salts[name]).hexdigest()
        shown = {name: value for name, value in record.items() if name not in hidden}
        files.append(
            {
                "leaf": number,
                "fields": shown,
                "salts": {name: salts[name].hex() for name in shown},
                "hidden": hidden,
            }
        )
    return files


@pytest.mark.parametrize("hide", [("content",), ("content", "path_hex", "kind"), ALL_FIELDS])
def test_disclosed_fields_are_compared_without_any_key(hide, tmp_path, capsys):
    build = Build(tmp_path, MIXED)
    build.save(lambda manifest: manifest.update(files=disclosed(build, hide)))
    code, out, _ = run(capsys, "verify", build.folder)
    assert code == 0
    assert "the disclosed fields are those of the 6 leaves" in out


def other(leaf, part, name, value):
    def change(files):
        files[leaf][part][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (other(1, "fields", "path_hex", b"d/b".hex()), 8),
        (other(1, "fields", "size", 5001), 8),
        (other(1, "fields", "mode", 4096), 8),
        (other(1, "fields", "path_hex", b"../up".hex()), 8),
        (other(1, "salts", "size", "00" * 32), 8),
        (other(1, "salts", "size", "00"), 1),
        (other(1, "salts", "more", "00" * 32), 8),
        (other(1, "hidden", "content", "00" * 32), 8),
        (other(1, "hidden", "size", "00" * 32), 8),
        (other(1, "hidden", "more", "00" * 32), 8),
        (other(0, "hidden", "content", "00" * 32), 8),
        (lambda files: files[1]["hidden"].clear(), 8),
        (lambda files: files[1].update(leaf=2), 8),
        (lambda files: files[1].update(more=1), 1),
        (lambda files: files[1].pop("hidden"), 1),
        (lambda files: files.pop(), 8),
        (lambda files: files.append(files[-1]), 8),
        (lambda files: files.reverse(), 8),
        (lambda files: files.clear(), 8),
    ],
)
def test_disclosed_fields_are_those_of_the_leaves(change, rule, tmp_path, capsys):
    build = Build(tmp_path, MIXED)
    files = disclosed(build)
    change(files)
    rejected(capsys, build.save(lambda manifest: manifest.update(files=files)), rule)


def test_content_is_never_disclosed(tmp_path, capsys):
    build = Build(tmp_path, MIXED)
    files = disclosed(build, hide=())
    rejected(capsys, build.save(lambda manifest: manifest.update(files=files)), 8)


def test_files_missing_cut_or_no_files(mixed, capsys):
    for name in [*mixed.files, "manifest.json"]:
        path = mixed.folder / name
        path.unlink()
        rejected(capsys, mixed, 5)
        os.mkfifo(path)
        rejected(capsys, mixed, 5)
        path.unlink()
        path.mkdir()
        rejected(capsys, mixed, 5)
        path.rmdir()
        mixed.save()


def test_swapped_chunks(tmp_path, capsys):
    build = Build(tmp_path, MIXED)
    a, b = build.tar[:200_000], build.tar[200_000:400_000]
    build.tar[:400_000] = b + a
    rejected(capsys, build.save(), 7)


def test_swapped_members_and_records(tmp_path, capsys):
    entries = [{"path": b"a", "data": b"1"}, {"path": b"b", "data": b"2"}]
    build = Build(tmp_path, entries)
    size = 512 + build.places[0][1]
    build.tar[512:size], build.tar[size + 512 : 2 * size] = (
        build.tar[size + 512 : 2 * size],
        build.tar[512:size],
    )
    rejected(capsys, build.save(), 9)
    code, _, err = run(capsys, "verify", build.folder)
    assert (code, err[-9:]) == (1, "(rule 7)\n")
    build = Build(tmp_path, entries)
    build.sealed_records.reverse()
    build.table = build.pack_records()
    rejected(capsys, build.save(), 8)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table[:-1],
        lambda table: table + b"\0",
        lambda table: table[:50],
        lambda table: table[:10],
        lambda table: b"muniment-records/2\n" + table[19:],
        lambda table: table[:19] + (7).to_bytes(8, "big") + table[27:],
        lambda table: table[:91] + (40).to_bytes(4, "big") + table[95:],
        lambda table: table[:91] + (2**32 - 1).to_bytes(4, "big") + table[95:],
    ],
)
def test_a_table_of_records_that_does_not_add_up(change, mixed, capsys):
    mixed.table = bytearray(change(bytes(mixed.table)))
    rejected(capsys, mixed.save(), 6)


def test_a_tar_with_another_end(tmp_path, capsys):
    for tail in (bytes(512), bytes(1536), bytes(1023) + b"x"):
        build = Build(tmp_path, SMALL)
        build.tar = build.tar[:-1024] + tail
        rejected(capsys, build.save(), 7)


@pytest.mark.parametrize(
    ("plain", "tags", "cut"),
    [
        (bytes(471), [MESSAGE], MIB),
        (bytes(471), [1], MIB),
        (bytes(471), [2], MIB),
        (bytes(454), [MESSAGE, FINAL], 300),
        (bytes(454), [FINAL, FINAL], 300),
        (bytes(2 * MIB + 437), [MESSAGE, MESSAGE, MESSAGE], MIB),
        (bytes(2 * MIB + 437), [MESSAGE, FINAL, FINAL], MIB),
        (bytes(2 * MIB + 437), [FINAL, MESSAGE, FINAL], MIB),
        (bytes(2 * MIB + 437), [2, MESSAGE, FINAL], MIB),
    ],
)
def test_streams_in_another_form(plain, tags, cut, tmp_path, capsys):
    class Other(Build):
        def seal_content(self, key, packed):
            return stream(key, packed + plain[len(packed) :], tags, cut)

    build = Other(tmp_path, SMALL)
    assert len(build.members[0]) % 512 == 0  # else the tar would be rejected, not the stream
    rejected(capsys, build.save(), 9)


def test_only_the_empty_plaintext_ends_in_an_empty_message():
    key = bytes(32)
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    data = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)
    for message, tag in ((bytes(MIB), MESSAGE), (b"", FINAL)):
        data += sodium.crypto_secretstream_xchacha20poly1305_push(state, message, None, tag)
    with pytest.raises(reader.Rejected, match="ends in an empty message behind others"):
        list(reader.unseal(key, io.BytesIO(data).read, len(data), 9, "it"))
    for plain in (b"", bytes(MIB)):
        data = stream(key, plain)
        opened = reader.unseal(key, io.BytesIO(data).read, len(data), 9, "it")
        assert b"".join(opened) == plain


def test_padding_is_zero_and_empty_members_are_empty(tmp_path, capsys):
    class Other(Build):
        def pad(self, packed):
            return super().pad(packed)[:-1] + b"x"

    rejected(capsys, Other(tmp_path, SMALL).save(), 9)
    rejected(capsys, Other(tmp_path, [{"path": b"e", "data": b""}]).save(), 9)
    rejected(capsys, Other(tmp_path, [{"path": b"d", "kind": "directory"}]).save(), 9)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize(
    "change",
    [
        lambda packed: packed[:-1],
        lambda packed: packed + b"x" * 10,
        lambda packed: b"x" * len(packed),
        lambda packed: PACK["zstd"](b"y" * 999),
        lambda packed: PACK["lz4"](b"y" * 1001),
        lambda packed: PACK["zstd"](bytes(1 << 28)),
        lambda packed: PACK["lz4"](bytes(1 << 26)),
    ],
)
def test_contents_that_do_not_decompress_to_their_size(compression, change, tmp_path, capsys):
    class Other(Build):
        def pack(self, entry):
            return change(super().pack(entry))

    entry = {"path": b"f", "data": b"y" * 1000, "compression": compression}
    rejected(capsys, Other(tmp_path, [entry]).save(), 9)


def test_zstd_may_have_many_frames_and_lz4_one(tmp_path, capsys):
    class Twice(Build):
        def pack(self, entry):
            half = PACK[entry["compression"]](entry["data"][:500])
            return half + half

    for compression, code in (("zstd", 0), ("lz4", 1)):
        entry = {"path": b"f", "data": b"y" * 1000, "compression": compression}
        assert deep(capsys, Twice(tmp_path, [entry]).save())[0] == code


def put(**values):
    return lambda record: {k: v for k, v in {**record, **values}.items() if v is not None}


def content(**values):
    def change(record):
        return {**record, "content": {**record["content"], **values}}

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (put(kind="socket"), 8),
        (put(kind=None), 8),
        (put(kind="directory"), 8),
        (put(extra=1), 8),
        (put(target_hex="00"), 8),
        (put(mode=4096), 8),
        (put(mode=True), 8),
        (put(mode=None), 8),
        (put(mtime_ns=5), 8),
        (put(mtime_ns="-0"), 8),
        (put(mtime_ns="01"), 8),
        (put(mtime_ns="5\n"), 8),
        (put(path_hex="61\n"), 8),
        (put(mtime_ns="1" * 30), 8),
        (put(mtime_ns=str(2**63)), 8),
        (put(ctime_ns=str(-(2**63) - 1)), 8),
        (put(size="5"), 8),
        (put(size=0), 8),
        (put(size=0, content=None), 9),
        (put(size=4), 9),
        (put(size=6), 9),
        (put(blake3="0" * 64), 9),
        (put(media_type="text"), 8),
        (put(content=None), 8),
        (put(content=[]), 8),
        (put(path_hex=""), 8),
        (put(path_hex="zz"), 8),
        (put(path_hex="2E"), 8),
        (put(path_hex=b"/etc/passwd".hex()), 8),
        (put(path_hex=b"../x".hex()), 8),
        (put(path_hex=b"a/../../x".hex()), 8),
        (put(path_hex=b"a/./x".hex()), 8),
        (put(path_hex=b"a//x".hex()), 8),
        (put(path_hex=b"a/".hex()), 8),
        (put(path_hex=b"a\0b".hex()), 8),
        (put(path_hex=(b"a" * 4097).hex()), 8),
        (content(compression="gzip"), 8),
        (content(offset=0), 10),
        (content(offset=511), 10),
        (content(offset=513), 10),
        (content(offset=2**53 - 1), 10),
        (content(sealed_size=1024), 10),
        (content(packed_size=4), 9),
        (content(packed_size=6), 9),
        (content(packed_size=10_000), 9),
        (content(leaf=0), 8),
        (content(commit_id=ID, leaf=0, key_hex="0" * 64), 9),
        (content(commit_id=ID, leaf=1, key_hex="0" * 64), 9),
        (content(commit_id="../x", leaf=0, key_hex="0" * 64), 8),
    ],
)
def test_a_record_may_not_say(change, rule, tmp_path, capsys):
    class Other(Build):
        def record(self, number, record):
            return change(record)

    rejected(capsys, Other(tmp_path, SMALL).save(), rule)


@pytest.mark.parametrize("values", [{"sealed_size": 1024}, {"sealed_size": 511}, {"offset": 1024}, {"leaf": 2}, {"leaf": 9}])  # fmt: skip
def test_a_copy_names_a_member_exactly(values, tmp_path, capsys):
    class Other(Build):
        def record(self, number, record):
            return content(**values)(record) if record["path_hex"] == b"copy".hex() else record

    first = Build(tmp_path, MIXED).save()
    entry = {"path": b"copy", "data": MIXED[1]["data"], "copy_of": (first, 1)}
    rejected(capsys, Other(tmp_path, [*SMALL, entry], ID2).save(), 10)


def test_a_record_is_what_its_leaf_commits_to(tmp_path, capsys):
    class Other(Build):
        def commit(self, number, record):
            return super().commit(number, {**record, "path_hex": b"elsewhere".hex()})

    rejected(capsys, Other(tmp_path, SMALL).save(), 8)


def test_a_record_is_canonical(tmp_path, capsys):
    class Other(Build):
        def seal_record(self, number, record):
            plain = json.dumps(record).encode()
            return stream(derive("record key", self.keys[number]), padded(plain, 256, 512))

    rejected(capsys, Other(tmp_path, SMALL).save(), 8)


def test_keyrings_of_something_else(mixed, tmp_path, capsys):
    good = mixed.keyring()
    for bad in (
        b"",
        good[:-1],
        good + b"\0",
        good.replace(ID.encode(), ID2.encode()),
        b"x" + good[1:],
    ):
        mixed.keyring_path.write_bytes(bad)
        assert deep(capsys, mixed)[0] == 1
    mixed.keys.reverse()
    mixed.keyring_path.write_bytes(mixed.keyring())
    rejected(capsys, mixed, 8)
    mixed.keyring_path.unlink()
    assert deep(capsys, mixed)[0] == 2


# --- Restoring from a commit that means harm ------------------------------------------------------


def restore(capsys, tmp_path, entries):
    build = Build(tmp_path, entries).save()
    target = tmp_path / "safe" / "target"
    result = run(capsys, "extract", build.folder, target, "--keys", build.keyring_path)
    return target, result


@pytest.mark.parametrize("link", [b"/etc/passwd", b"..", b"../x", b"a/../../x", b"\xff"])
def test_a_link_may_point_anywhere(link, tmp_path, capsys):
    entries = [*SMALL, {"path": b"out", "kind": "symlink", "target": link}]
    target, (code, _, _) = restore(capsys, tmp_path, entries)
    assert code == 0
    assert os.readlink(os.fsencode(target / "out")) == link


@pytest.mark.parametrize("link", [b".", b"d", b"./d/e", b"nowhere", b"..", b"/tmp"])
def test_nothing_is_written_through_a_link(link, tmp_path, capsys):
    entries = [
        *SMALL,
        {"path": b"link", "kind": "symlink", "target": link},
        {"path": b"link", "data": b"2"},
        {"path": b"link", "kind": "directory"},
        {"path": b"link/x", "data": b"1"},
        {"path": b"link", "kind": "symlink", "target": b"a.txt"},
    ]
    target, (code, out, _) = restore(capsys, tmp_path, entries)
    assert code == 1
    assert "2 restored" in out
    assert os.readlink(target / "link") == os.fsdecode(link)
    assert sorted(path.name for path in target.iterdir()) == ["a.txt", "link"]


def test_a_link_that_was_there_already_is_not_followed(tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "safe/target").mkdir(parents=True)
    (tmp_path / "safe/target/d").symlink_to(outside)
    entries = [{"path": b"d", "kind": "directory", "mode": 0o777}, {"path": b"d/x", "data": b"1"}]
    _, (code, _, _) = restore(capsys, tmp_path, entries)
    assert code == 1
    assert list(outside.iterdir()) == []


def test_existing_files_stay_as_they_are(tmp_path, capsys):
    (tmp_path / "safe/target").mkdir(parents=True)
    (tmp_path / "safe/target/a.txt").write_bytes(b"mine")
    target, (code, _, err) = restore(capsys, tmp_path, [*SMALL, {"path": b"b", "data": b"x"}])
    assert code == 1
    assert "a.txt" in err
    assert (target / "a.txt").read_bytes() == b"mine"
    assert (target / "b").read_bytes() == b"x"


def test_a_damaged_file_is_left_out_and_the_rest_restored(tmp_path, capsys):
    build = Build(tmp_path, [*SMALL, {"path": b"b", "data": b"x" * 3 * MIB}])
    build.tar[-1100] ^= 1
    build.save()
    command = ("extract", build.folder, tmp_path / "out", "--keys", build.keyring_path)
    code, _, err = run(capsys, *command)
    assert code == 1
    assert "leaf 1: its content does not decrypt" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]


# --- The program itself ---------------------------------------------------------------------------


def test_the_program_imports_nothing_of_muniment():
    names = set()
    for node in ast.walk(ast.parse(PROGRAM.read_text(), feature_version=(3, 9))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"blake3", "nacl"}


def test_the_program_runs_by_itself(mixed):
    command = [sys.executable, "-I", str(PROGRAM)]
    done = subprocess.run(
        [*command, "verify", str(mixed.folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("VERIFIED\n")
    environment = {"PYTHONIOENCODING": "ascii"}
    listing = [
        sys.executable,
        str(PROGRAM),
        "list",
        str(mixed.folder),
        "--keys",
        str(mixed.keyring_path),
    ]
    assert (
        subprocess.run(listing, capture_output=True, check=False, env=environment).returncode == 0
    )
    for arguments in ([], ["verify"], ["verify", "/nowhere"], ["list", str(mixed.folder)]):
        failed = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert failed.returncode == 2
        assert "Traceback" not in failed.stderr


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=40)
@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), JSON))
def test_canonical_json_is_that_of_rfc_8785(value):
    data = rfc8785.dumps(value)
    assert reader.canonical(value) == data
    assert reader.parse_canonical(data, 1, "it") == value


@given(
    st.binary(max_size=60)
    | st.text(alphabet='{}[]":,0123456789-eE.\\u tfn', max_size=40).map(str.encode)
)
def test_any_bytes_are_canonical_json_or_rejected(data):
    try:
        value = reader.parse_canonical(data, 1, "it")
    except reader.Rejected:
        return
    assert rfc8785.dumps(value) == data
