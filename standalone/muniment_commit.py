#!/usr/bin/env python3
# ruff: noqa: T201, B905, RUF007  (it is a program that prints, and it runs on Python 3.9)
"""Verify and open a Muniment commit, without Muniment.

This one file reads the whole of the format `muniment-commit/1`. It was written from its
specification alone (`docs/spec/commit.md`) and shares no line with the software that writes
commits. Its parts name the section of the specification that they follow, and "rule N" is always
rule N of section 8, "What a reader MUST reject". It needs Python 3.9 or newer on a POSIX system,
and the libraries blake3, pynacl, zstandard and lz4: see README.md beside it.

Exit codes: 0 verified, 1 rejected, 2 the question itself could not be asked.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fnmatch
import functools
import hashlib
import importlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple

try:
    from blake3 import blake3
    from nacl import bindings as sodium
    from nacl.exceptions import CryptoError
    from nacl.signing import VerifyKey
except ImportError as error:  # pragma: no cover
    print(f"UNUSABLE: {error}: pip install blake3 pynacl zstandard lz4", file=sys.stderr)
    sys.exit(2)

MIB = 1 << 20
SAFE_INT = 2**53 - 1
MAX_MANIFEST = 64 * MIB
RECORDS_MAGIC = b"muniment-records/1\n"
KEYRING_MAGIC = b"muniment-keys/1\n"
ERASED_KEY = bytes(32)


class Rejected(Exception):  # noqa: N818  (it is a verdict)
    """The commit breaks the specification; the message names what is wrong and the rule."""


class Absent(Rejected):
    """A content lies in a commit that is not here: everything else can be checked."""


class Unusable(Exception):  # noqa: N818
    """The question cannot be asked: a wrong argument, a missing program, an unreadable folder."""


def need(holds: object, rule: object, what: str) -> None:
    """Reject the commit unless `holds`; `what` says what is wrong."""
    if not holds:
        raise Rejected(f"{what} (rule {rule})")


def show(raw: bytes | str) -> str:
    """Make foreign bytes safe for a terminal: what does not print becomes an escape."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# --- Canonical JSON, and the shapes of its values -------------------------------------------------


def canonical(value: object) -> bytes:
    """Write JCS (RFC 8785) of values whose names are ASCII and whose numbers are integers."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def parse_canonical(data: bytes, rule: int, what: str) -> dict[str, Any]:
    """Parse one JSON object and require that `data` is its canonical form."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = dict(pairs)
        if len(names) != len(pairs) or not all(name.isascii() for name in names):
            raise ValueError("a duplicate name, or one that is not ASCII")
        return names

    def integer(digits: str) -> int:
        if len(digits) > 17 or abs(int(digits)) > SAFE_INT:
            raise ValueError("a number out of range")
        return int(digits)

    def refuse(text: str) -> object:
        raise ValueError(f"{text[:20]} is not an integer")

    try:
        hooks: Any = {"parse_int": integer, "parse_float": refuse, "parse_constant": refuse}
        value = json.loads(data.decode(), object_pairs_hook=members, **hooks)
        same = canonical(value) == data
    except (ValueError, RecursionError) as error:
        raise Rejected(f"{what} is not canonical JSON: {show(str(error))} (rule {rule})") from None
    need(same, rule, f"{what} is not written in the canonical form of JSON")
    if not isinstance(value, dict):
        raise Rejected(f"{what} is not a JSON object (rule {rule})")
    return value


def conform(value: Any, shape: Any, rule: int, what: str) -> None:  # noqa: ANN401
    """Require a shape: regular expression, (low, high), (None, else), [items], {members}, {...}."""
    if isinstance(shape, dict) and ... in shape:  # any names; None takes any value
        need(isinstance(value, dict), rule, f"{what} is not an object")
        for name, item in value.items() if shape[...] else ():
            conform(item, shape[...], rule, f"{what}.{show(name)}")
    elif isinstance(shape, dict):
        good = isinstance(value, dict) and value.keys() == shape.keys()
        need(good, rule, f"{what} must have exactly the members {', '.join(sorted(shape))}")
        for name, inner in shape.items():
            conform(value[name], inner, rule, f"{what}.{name}")
    elif isinstance(shape, list):
        need(isinstance(value, list), rule, f"{what} is not a list")
        for number, item in enumerate(value):
            conform(item, shape[0], rule, f"{what}[{number}]")
    elif isinstance(shape, tuple) and shape[0] is None:
        if value is not None:
            conform(value, shape[1], rule, what)
    elif isinstance(shape, tuple):
        good = type(value) is int and shape[0] <= value <= shape[1]
        need(good, rule, f"{what} is not a number from {shape[0]} to {shape[1]}")
    else:
        match = isinstance(value, str) and re.fullmatch(shape, value)
        need(match, rule, f"{what} is not as specified")


# --- Section 2: the manifest ----------------------------------------------------------------------

COMMIT_ID = r"[0-9]{8}T[0-9]{6}Z-[a-z2-7]{8}"
SHA256, BLAKE3 = r"sha256:[0-9a-f]{64}", r"blake3:[0-9a-f]{64}"
KEY_ID, BASE64 = r"SHA256:[A-Za-z0-9+/]{43}", r"[A-Za-z0-9+/]+={0,2}"
COUNT, NATURAL, HEX32 = (1, SAFE_INT), (0, SAFE_INT), r"[0-9a-f]{64}"
PREVIOUS = {"commit_id": COMMIT_ID, "manifest_sha256": SHA256, "merkle_root": BLAKE3}
PAR2 = {"block_bytes": COUNT, "recovery_blocks": COUNT}
SEALED = {"name": r"[A-Za-z0-9_.+-]+", "size": NATURAL, "sha256": SHA256, "blake3": BLAKE3}
DISCLOSED = {"leaf": NATURAL, "fields": {...: None}, "salts": {...: HEX32}, "hidden": {...: HEX32}}
MANIFEST = {
    "format": "muniment-commit/1",
    "commit_id": COMMIT_ID,
    "created_at": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
    "organization": {"id": r"[a-z0-9][a-z0-9-]{0,62}", "name": r"(?s).{1,200}"},
    "chain": {"sequence": COUNT, "previous": (None, PREVIOUS)},
    "merkle": {"algorithm": "blake3-rfc9162", "leaf_count": (1, 99_999_999), "root": BLAKE3},
    "packaging": {
        "format": r"tar\+split\+par2",
        "tar_bytes": COUNT,
        "chunk_bytes": COUNT,
        "chunk_count": COUNT,
        "chunk_prefix": COMMIT_ID + "_",
        "par2": (None, PAR2),
    },
    "sealed": [SEALED],
    "keys": {"signer": {"algorithm": "ed25519", "key_id": KEY_ID, "public_key": BASE64}},
    "software": {"name": r"(?s).{1,100}", "version": r"(?s).{1,100}"},
    "signature": {"algorithm": "ed25519", "value": BASE64},
}


def unbase64(text: str, size: int, rule: int, what: str) -> bytes:
    """Decode padded base64 of exactly `size` bytes, written in the one canonical way."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    good = len(raw) == size and base64.b64encode(raw).decode() == text
    need(good, rule, f"{what} is not {size} bytes in base64")
    return raw


def fingerprint(public_key: bytes) -> str:
    """Name an Ed25519 key as OpenSSH does: SHA-256 over the key in SSH's wire form."""
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", public_key))
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")


def signer_fingerprint(text: str) -> str:
    """Read `--signer`: a fingerprint, or a public key line (`ssh-ed25519 AAAA... comment`)."""
    if re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", text):
        return text
    words = text.split()
    if len(words) >= 2 and words[0] == "ssh-ed25519":
        try:
            wire = base64.b64decode(words[1], validate=True)
        except ValueError:
            wire = b""
        if len(wire) == 51 and wire[:19] == b"\0\0\0\x0bssh-ed25519\0\0\0\x20":
            return fingerprint(wire[19:])
    raise Unusable("--signer takes SHA256:<43 characters> or a line 'ssh-ed25519 AAAA...'")


def check_times(manifest: dict[str, Any]) -> None:
    """Require that the two times of a manifest exist in the calendar."""
    times = re.sub("[-:]", "", manifest["created_at"]), manifest["commit_id"][:16]
    for text in times:
        try:
            datetime.strptime(text, "%Y%m%dT%H%M%SZ")  # noqa: DTZ007  (never computed with)
        except ValueError:
            raise Rejected(f"there is no time {text} (rule 1)") from None


def check_manifest(manifest: dict[str, Any], signer: str | None) -> None:
    """Check rules 1 and 2: the manifest's form, its signature, and whose signature that is."""
    conform(manifest.get("files", []), [DISCLOSED], 1, "manifest.files")
    required = {name: value for name, value in manifest.items() if name != "files"}
    conform(required, MANIFEST, 1, "manifest")
    check_times(manifest)
    chain, key = manifest["chain"], manifest["keys"]["signer"]
    first = chain["sequence"] == 1
    need((chain["previous"] is None) == first, 1, "chain.previous is null exactly for sequence 1")
    prefix = manifest["commit_id"] + "_"
    need(manifest["packaging"]["chunk_prefix"] == prefix, 1, f"chunk_prefix is not {prefix}")
    public_key = unbase64(key["public_key"], 32, 1, "public_key")
    need(key["key_id"] == fingerprint(public_key), 1, "key_id is not that of public_key")
    signature = unbase64(manifest["signature"]["value"], 64, 1, "signature.value")
    unsigned = {name: value for name, value in manifest.items() if name != "signature"}
    signed = b"muniment-commit-manifest/1\n" + canonical(unsigned)
    try:
        VerifyKey(public_key).verify(signed, signature)
    except (CryptoError, ValueError):
        raise Rejected("the signature of manifest.json does not verify (rule 2)") from None
    need(signer in (None, key["key_id"]), 2, f"signed by {key['key_id']}, expected {signer}")


# --- Section 1 and rule 4: which files are sealed -------------------------------------------------


def chunk_suffix(number: int) -> str:
    """Name chunks as GNU split does: aa to yz, then zaaa to zyzz, then zzaaaa, and so on."""
    width = 2
    while number >= 25 * 26 ** (width - 1):
        number -= 25 * 26 ** (width - 1)
        width += 1
    letters = (chr(ord("a") + number // 26**place % 26) for place in reversed(range(width)))
    return "z" * (width - 2) + "".join(letters)


def check_sealed_list(manifest: dict[str, Any]) -> None:
    """Check rule 4: the sealed files are those of a commit, and the chunks make up the tar."""
    packaging, prefix = manifest["packaging"], manifest["packaging"]["chunk_prefix"]
    sizes = {entry["name"]: entry["size"] for entry in manifest["sealed"]}
    names = [entry["name"] for entry in manifest["sealed"]]
    need(all(a < b for a, b in zip(names, names[1:])), 4, "sealed is unsorted or repeats a name")
    need("records.sealed" in sizes, 4, "sealed is without records.sealed")
    count, chunk_bytes = packaging["chunk_count"], packaging["chunk_bytes"]
    need(count < len(names), 4, f"sealed does not hold {count} chunks")
    chunks = [prefix + chunk_suffix(number) for number in range(count)]
    for number, name in enumerate(chunks):
        left = packaging["tar_bytes"] - number * chunk_bytes
        size = chunk_bytes if number < count - 1 else left
        good = 0 < size <= chunk_bytes and sizes.get(name) == size
        need(good, 4, f"sealed does not hold {name} with the size that packaging gives it")
    parity = set(sizes) - set(chunks) - {"records.sealed"}
    for name in sorted(parity):
        pattern = re.escape(prefix[:-1]) + r"(\.vol[0-9]+\+[0-9]+)?\.par2"
        need(re.fullmatch(pattern, name), 4, f"sealed names {name}, which is no part of a commit")
    need((packaging["par2"] is None) == (not parity), 4, "packaging.par2 and the files disagree")


# --- Section 6: the Merkle tree -------------------------------------------------------------------


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Compute the root of the tree of RFC 9162, section 2.1, in memory of O(log n)."""
    peaks: list[bytes] = []  # roots of full subtrees, as the binary digits of the count so far
    for count, leaf in enumerate(leaves):
        peaks.append(leaf)
        while count & 1:
            right, left = peaks.pop(), peaks.pop()
            peaks.append(blake3(b"\x01" + left + right).digest())
            count >>= 1  # noqa: PLW2901  (each trailing 1 is a subtree that is now full)
    root = peaks.pop()
    while peaks:
        root = blake3(b"\x01" + peaks.pop() + root).digest()
    return root


def derive(purpose: str, secret: bytes) -> bytes:
    """Derive a key or a salt from a file's key (section 5)."""
    return blake3(secret, derive_key_context=f"muniment 2026-11-21 {purpose}").digest()


def label(name: str) -> bytes:
    """Write a field's name behind its length."""
    return bytes([len(name)]) + name.encode()


def commitment(name: str, value: object, salt: bytes) -> bytes:
    """Commit to one field under its salt."""
    return blake3(label(name) + canonical(value), key=salt).digest()


def fields_digest(commitments: dict[str, bytes]) -> bytes:
    """Bind the commitments to all fields of one record."""
    return blake3(
        b"\x02" + b"".join(label(n) + commitments[n] for n in sorted(commitments))
    ).digest()


# --- A commit's directory -------------------------------------------------------------------------


class Leaf(NamedTuple):
    """One entry of records.sealed: two digests, and the place of the sealed record."""

    number: int
    fields_digest: bytes
    ciphertext_digest: bytes
    record_at: int
    record_size: int


class Commit:
    """A commit's directory whose manifest holds by rules 1 to 4; its files are not read yet."""

    def __init__(self, folder: str, signer: str | None = None) -> None:
        self.folder = os.path.abspath(folder)
        if not os.path.isdir(folder):
            raise Unusable(f"{show(folder)} is no directory")
        with self.open("manifest.json") as file:
            self.manifest_bytes = file.read(MAX_MANIFEST + 1)
        need(len(self.manifest_bytes) <= MAX_MANIFEST, 1, "manifest.json has more than 64 MiB")
        self.manifest = parse_canonical(self.manifest_bytes, 1, "manifest.json")
        check_manifest(self.manifest, signer)
        check_sealed_list(self.manifest)
        self.id: str = self.manifest["commit_id"]
        self.organization: str = self.manifest["organization"]["id"]
        self.leaf_count: int = self.manifest["merkle"]["leaf_count"]
        name = os.path.basename(self.folder)
        named = not re.fullmatch(COMMIT_ID, name) or name == self.id  # else it has another name
        need(named, 3, f"the directory is named {name}, the commit in it {self.id}")

    def open(self, name: str) -> BinaryIO:
        """Open one sealed file, which must be a regular file (a pipe would block for ever)."""
        try:
            file = os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise Rejected(f"{name} cannot be read: {error.strerror} (rule 5)") from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise Rejected(f"{name} is not a regular file (rule 5)")
        return os.fdopen(file, "rb")

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes of a sealed file."""
        with self.open(name) as file:
            file.seek(offset)
            data = file.read(size)
        need(len(data) == size, 5, f"{name} ends early")
        return data

    def read_tar(self, offset: int, size: int, rule: int = 7) -> bytes:
        """Read exactly `size` bytes of the tar, which is the chunks one behind the other."""
        packaging = self.manifest["packaging"]
        inside = 0 <= offset <= packaging["tar_bytes"] - size
        need(inside, rule, f"bytes {offset} to {offset + size} are outside of the tar")
        parts = []
        while size > 0:
            number, start = divmod(offset, packaging["chunk_bytes"])
            part = min(size, packaging["chunk_bytes"] - start)
            name = packaging["chunk_prefix"] + chunk_suffix(number)
            parts.append(self.read(name, start, part))
            offset, size = offset + part, size - part
        return b"".join(parts)

    def check_sealed_file(self, entry: dict[str, Any]) -> None:
        """Check rule 5 for one sealed file: its size and both digests."""
        name, sha256, b3 = entry["name"], hashlib.sha256(), blake3()
        with self.open(name) as file:
            size = os.fstat(file.fileno()).st_size
            need(size == entry["size"], 5, f"{name} has {size} bytes, expected {entry['size']}")
            for data in iter(functools.partial(file.read, MIB), b""):
                sha256.update(data)
                b3.update(data)
        need("sha256:" + sha256.hexdigest() == entry["sha256"], 5, f"{name} has another SHA-256")
        need("blake3:" + b3.hexdigest() == entry["blake3"], 5, f"{name} has another BLAKE3")

    def leaves(self) -> Iterator[Leaf]:
        """Walk the table of records.sealed (section 5) and check that its lengths add up."""
        with self.open("records.sealed") as file:
            magic = file.read(len(RECORDS_MAGIC))
            need(magic == RECORDS_MAGIC, 6, "records.sealed does not begin as it must")
            count = int.from_bytes(file.read(8), "big")
            need(count == self.leaf_count, 6, f"records.sealed has {count} leaves")
            record_at = file.tell() + 68 * count
            for index in range(count):
                row = file.read(68)
                need(len(row) == 68, 6, "records.sealed ends within its table")
                size = int.from_bytes(row[64:], "big")
                need(41 <= size <= 65_536, 6, f"leaf {index}: a sealed record of {size} bytes")
                yield Leaf(index, row[:32], row[32:64], record_at, size)
                record_at += size
            end = os.fstat(file.fileno()).st_size
            need(record_at == end, 6, f"records.sealed has {end} bytes, its lengths {record_at}")

    def check_records(self) -> None:
        """Check records.sealed by its digest (rule 5), its root, and the disclosed fields."""
        entries = self.manifest["sealed"]
        self.check_sealed_file(next(e for e in entries if e["name"] == "records.sealed"))
        hashes = (blake3(b"\0" + e.fields_digest + e.ciphertext_digest) for e in self.leaves())
        leaves = (leaf.digest() for leaf in hashes)
        root = "blake3:" + merkle_root(leaves).hex()
        expected = self.manifest["merkle"]["root"]
        need(root == expected, 6, f"records.sealed gives the root {root}, signed is {expected}")
        self.check_disclosed()

    def check_disclosed(self) -> None:
        """Check that the fields that a manifest discloses are those of its leaves (rule 8)."""
        if "files" not in self.manifest:
            return
        files = self.manifest["files"]
        need(len(files) == self.leaf_count, 8, "files does not list every leaf")
        order = PathOrder()
        for leaf, file in zip(self.leaves(), files):
            what = f"files[{leaf.number}]"
            need(file["leaf"] == leaf.number, 8, f"{what} is not that of its leaf")
            same = fields_digest(disclosed_commitments(file, what)) == leaf.fields_digest
            need(same, 8, f"{what} does not have the fields that its leaf commits to")
            order.check(leaf.number, file["fields"])

    def ciphertext_digest(self, index: int) -> bytes:
        """Look up the digest of one leaf's member."""
        need(index < self.leaf_count, 10, f"commit {self.id} has no leaf {index}")
        return self.read("records.sealed", len(RECORDS_MAGIC) + 8 + 68 * index + 32, 32)


# --- Section 4: the tar ---------------------------------------------------------------------------


def tar_header(index: int, size: int) -> bytes:
    """Write the one header that the member of a leaf may have."""
    octal = b"%011o\0" % size
    header = bytearray(512)
    header[:8] = b"%08d" % index
    header[100:124] = b"0000600\0" + b"0000000\0" * 2  # mode, uid, gid
    header[124:136] = octal if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    header[136:148] = b"%011o\0" % 0  # mtime
    header[148:156] = b" " * 8  # the checksum is taken with itself as spaces
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def member_size(commit: Commit, index: int, offset: int, rule: int = 7) -> int:
    """Read the header at `offset`, which must be exactly that of leaf `index`; return the size."""
    header = commit.read_tar(offset, 512, rule)
    field = header[124:136]
    binary = field[0] == 0x80
    size = int.from_bytes(field[1:], "big") if binary else 0
    if re.fullmatch(rb"[0-7]{11}\0", field):
        size = int(field[:11], 8)
    good = 0 < size <= SAFE_INT and size % 512 == 0 and header == tar_header(index, size)
    need(good, rule, f"leaf {index}: the tar has not its header at byte {offset}")
    return size


class Member:
    """The bytes of one member, read in order and hashed on the way."""

    def __init__(self, commit: Commit, index: int, offset: int, size: int) -> None:
        self.commit, self.index, self.offset, self.size = commit, index, offset, size
        self.hash = blake3()

    def read(self, size: int) -> bytes:
        """Read the next `size` bytes."""
        data = self.commit.read_tar(self.offset, size)
        self.hash.update(data)
        self.offset += size
        return data

    def skip(self) -> None:
        """Read everything, for the digest alone."""
        for left in range(self.size, 0, -MIB):
            self.read(min(left, MIB))

    def check_digest(self, expected: bytes) -> None:
        """Check rule 7 once all bytes are read."""
        good = self.hash.digest() == expected
        need(good, 7, f"leaf {self.index}: its member in the tar has another digest")


# --- Section 3: the sealed stream -----------------------------------------------------------------


def unseal(
    key: bytes, read: Callable[[int], bytes], size: int, rule: int, what: str
) -> Iterator[bytes]:
    """Decrypt a stream of `size` bytes, message by message (1 MiB each but the last)."""
    need(size >= 24 + 17, rule, f"{what} is too short for a sealed stream")
    full = size == 24 + 17 or (size - 24) % (MIB + 17) != 17
    need(full, rule, f"{what} ends in an empty message behind others")
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, read(24), key)
    left = size - 24
    while left > 0:
        length = min(left, MIB + 17)
        left -= length
        need(length >= 17, rule, f"{what} ends within a message")
        try:
            message, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, read(length))
        except CryptoError:
            raise Rejected(f"{what} does not decrypt: wrong key or bytes (rule {rule})") from None
        need(tag == (0 if left else 3), rule, f"{what} has a message with tag {tag} in its place")
        yield message


def unpad(messages: Iterable[bytes], size: int, what: str) -> Iterator[bytes]:
    """Pass on the first `size` bytes and require that all others are zero (rule 9)."""
    for message in messages:
        data, padding = message[:size], message[size:]
        size -= len(data)
        need(padding.count(0) == len(padding), 9, f"{what} has a padding that is not zero")
        if data:
            yield data
    need(size == 0, 9, f"{what} is shorter than its packed_size")


def decompress(method: str, pieces: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Decompress in slices of 1 KiB, so that even a bomb makes no more than 32 MiB at once."""
    if method == "none":
        yield from pieces
        return
    if method == "zstd":
        module: Any = importlib.import_module("zstandard")
        new_decoder, failure = module.ZstdDecompressor().decompressobj, module.ZstdError
    else:
        module = importlib.import_module("lz4.frame")
        new_decoder, failure = module.LZ4FrameDecompressor, RuntimeError
    decoder: Any = None
    frames = 0
    for data in (piece[at : at + 1024] for piece in pieces for at in range(0, len(piece), 1024)):
        while data:
            if decoder is None:
                need(method == "zstd" or frames == 0, 9, f"{what}: bytes behind its LZ4 frame")
                decoder = new_decoder()
                frames += 1
            try:
                output = decoder.decompress(data)
            except failure as error:
                raise Rejected(f"{what} does not decompress: {show(str(error))} (rule 9)") from None
            data = b""  # noqa: PLW2901
            if decoder.eof:
                data, decoder = decoder.unused_data or b"", None  # noqa: PLW2901
            yield output
    need(decoder is None, 9, f"{what} ends within a compressed frame")


# --- Section 7: records and contents --------------------------------------------------------------

HEX = r"([0-9a-f]{2}){1,4096}"
TIME = r"0|-?[1-9][0-9]{0,18}"
ALL = {"path_hex": HEX, "mode": (0, 4095), "mtime_ns": TIME, "ctime_ns": TIME}
MEDIA_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
FILE = {"size": NATURAL, "blake3": HEX32, "media_type": f"{MEDIA_NAME}/{MEDIA_NAME}"}
KINDS: dict[str, dict[str, object]] = {
    "directory": {"kind": "directory", **ALL},
    "symlink": {"kind": "symlink", **ALL, "target_hex": HEX},
    "file": {"kind": "file", **ALL, **FILE},
}
CONTENT = {
    "compression": "none|zstd|lz4",
    "offset": NATURAL,
    "packed_size": NATURAL,
    "sealed_size": NATURAL,
}
COPY = {**CONTENT, "commit_id": COMMIT_ID, "leaf": NATURAL, "key_hex": HEX32}


def check_record(record: dict[str, Any], what: str) -> None:
    """Check that a record has the fields of its kind, and values in range (rule 8)."""
    kind = record.get("kind")
    need(isinstance(kind, str) and kind in KINDS, 8, f"{what} has no known kind")
    shape = dict(KINDS[str(kind)])
    if kind == "file" and record.get("size") != 0:
        content = record.get("content")
        copy = isinstance(content, dict) and "key_hex" in content
        shape["content"] = COPY if copy else CONTENT
    conform(record, shape, 8, what)
    check_values(record, what)


def check_values(fields: dict[str, Any], what: str) -> None:
    """Check what the shape of a field does not say (rule 8)."""
    path = bytes.fromhex(fields.get("path_hex", "2d"))
    plain = b"\0" not in path and not {b"", b".", b".."} & set(path.split(b"/"))
    need(plain, 8, f"{what} has the path {show(path)}, which is not a plain relative path")
    target = bytes.fromhex(fields.get("target_hex", ""))
    need(b"\0" not in target, 8, f"{what} links to {show(target)}, which holds a zero byte")
    for name in ("mtime_ns", "ctime_ns"):
        fits = -(2**63) <= int(fields.get(name, 0)) < 2**63
        need(fits, 8, f"{what} has a time that does not fit 64 bits")
    empty = blake3().hexdigest()
    good = fields.get("size") != 0 or fields.get("blake3", empty) == empty
    need(good, 9, f"{what} is of an empty file, but with another digest")


def disclosed_commitments(file: dict[str, Any], what: str) -> dict[str, bytes]:
    """Compute the commitments of one leaf from its disclosed fields, and check their form."""
    fields, salts, hidden = file["fields"], file["salts"], file["hidden"]
    need(fields.keys() == salts.keys(), 8, f"{what}: the fields and their salts do not fit")
    need(not fields.keys() & hidden.keys(), 8, f"{what} both shows and hides a field")
    need("content" not in fields, 8, f"{what} shows its content, which may hold a key")
    names = (fields.keys() | hidden.keys()) - {"content"}
    kind = next((kind for kind, shape in KINDS.items() if shape.keys() == names), "none")
    need(kind in KINDS, 8, f"{what} does not have the fields of any kind")
    shape, content = KINDS[kind], "content" in hidden
    conform(fields, {name: shape[name] for name in fields}, 8, f"{what}.fields")
    check_values(fields, f"{what}.fields")
    expected = kind == "file" and fields.get("size", content) > 0
    need(content == expected, 8, f"{what} has a content where it must not, or none where it must")
    shown = {n: commitment(n, fields[n], bytes.fromhex(salts[n])) for n in fields}
    return shown | {name: bytes.fromhex(value) for name, value in hidden.items()}


def open_record(commit: Commit, leaf: Leaf, file_key: bytes) -> dict[str, Any]:
    """Decrypt the record of a leaf and prove that it is the one under the root (rule 8)."""
    what = f"leaf {leaf.number}: its record"
    with commit.open("records.sealed") as sealed:
        sealed.seek(leaf.record_at)
        messages = unseal(derive("record key", file_key), sealed.read, leaf.record_size, 8, what)
        text = b"".join(messages).rstrip(b"\0")
    record = parse_canonical(text, 8, what)
    check_record(record, what)
    salts = {name: derive("field salt", file_key + name.encode()) for name in record}
    commitments = {name: commitment(name, record[name], salts[name]) for name in record}
    same = fields_digest(commitments) == leaf.fields_digest
    need(same, 8, f"{what} is not the one that its leaf commits to")
    return record


class PathOrder:
    """The leaves of a commit are in the order of their paths, and no path is there twice (rule 8)."""

    def __init__(self) -> None:
        self.last, self.leaf = b"", -1

    def check(self, leaf: int, fields: dict[str, Any]) -> None:
        """Check the next leaf, unless its path is not known."""
        if "path_hex" not in fields:
            return
        path = bytes.fromhex(fields["path_hex"])
        same = f"leaves {self.leaf} and {leaf} have the same path, {show(path)}"
        need(path != self.last, 8, same)
        need(path > self.last, 8, f"leaf {leaf} has the path {show(path)}, out of order")
        self.last, self.leaf = path, leaf


Finder = Callable[[str], Commit]


def open_content(
    commit: Commit, leaf: Leaf, file_key: bytes, record: dict[str, Any], find: Finder
) -> Iterator[bytes]:
    """Yield the bytes of a file; whoever uses them must go to the end, where the digests are."""
    if "content" not in record:  # a folder, a link, an empty file
        return
    content, what = record["content"], f"leaf {leaf.number}: its content"
    index, key, digest = leaf.number, derive("content key", file_key), leaf.ciphertext_digest
    if "key_hex" in content:  # a copy: the bytes lie in the member of another leaf
        commit, index = find(content["commit_id"]), content["leaf"]
        key = bytes.fromhex(content["key_hex"])
        digest = commit.ciphertext_digest(index)
    offset, size = content["offset"], content["sealed_size"]
    good = member_size(commit, index, offset - 512, rule=10) == size
    need(good, 10, f"{what} is not the member of leaf {index} of commit {commit.id}")
    member = Member(commit, index, offset, size)
    packed = unpad(unseal(key, member.read, size, 9, what), content["packed_size"], what)
    plain, left = blake3(), record["size"]
    for data in decompress(content["compression"], packed, what):
        left -= len(data)
        need(left >= 0, 9, f"{what} decompresses to more than {record['size']} bytes")
        plain.update(data)
        yield data
    member.check_digest(digest)
    need(left == 0, 9, f"{what} decompresses to {left} bytes less than its size")
    need(plain.hexdigest() == record["blake3"], 9, f"{what} has another BLAKE3 than its record")


def finder(home: Commit, folder: str | None) -> Finder:
    """Find other commits by id in `folder` (else beside `home`), each checked before its use."""
    place = folder or os.path.dirname(home.folder)

    @functools.lru_cache(maxsize=64)
    def find(commit_id: str) -> Commit:
        if commit_id == home.id:
            return home
        path = os.path.join(place, commit_id)
        if not os.path.isdir(path):
            raise Absent(f"a content lies in commit {commit_id}, which is not in {show(place)}")
        try:
            commit = Commit(path)
            same = commit.organization == home.organization
            need(same, 10, f"it is of {commit.organization}, not of {home.organization}")
            commit.check_records()
        except Rejected as error:
            raise Rejected(f"commit {commit_id}: {error}") from None
        return commit

    return find


# --- Keys -----------------------------------------------------------------------------------------


def read_bounded(file: Any, limit: int, what: str) -> bytes:  # noqa: ANN401
    """Read to the end, but no more than `limit` bytes."""
    data: bytes = file.read(limit + 1)
    if len(data) > limit:
        raise Rejected(f"{what} is longer than that of this commit can be")
    return data


def raw_identity(secret: bytes) -> str:
    """Write a raw X25519 secret of 32 bytes as an age identity: Bech32 (BIP 173)."""
    prefix, letters = "age-secret-key-", "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = int.from_bytes(secret, "big") << 4  # 52 letters of 5 bits
    values = [bits >> place & 31 for place in range(255, -1, -5)]
    check = 1
    head = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    for value in [*head, *values, 0, 0, 0, 0, 0, 0]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= term if top >> bit & 1 else 0
    values += [(check ^ 1) >> place & 31 for place in range(25, -1, -5)]
    return (prefix + "1" + "".join(letters[value] for value in values)).upper()


def age_decrypt(path: str, identity: str, limit: int) -> bytes:
    """Open keys.age with pyrage if it can, else with the program `age` (docs/spec/keys.md)."""
    with open(identity, "rb") as file:
        secret = read_bounded(file, MIB, "the identity file")
    if len(secret) == 32:
        secret = raw_identity(secret).encode()
    lines = [line.strip() for line in secret.decode("ascii", "replace").splitlines()]
    with open(path, "rb") as file:
        sealed = read_bounded(file, 65_552 + limit + 16 * -(-limit // 65_536), "keys.age")
    try:
        pyrage: Any = importlib.import_module("pyrage")
        from_str = pyrage.x25519.Identity.from_str
        identities = [from_str(line) for line in lines if line and not line.startswith("#")]
    except Exception:  # noqa: BLE001  (absent, or an identity that only `age` understands)
        identities = []
    if identities:
        try:
            return bytes(pyrage.decrypt(sealed, identities))
        except pyrage.DecryptError as error:
            raise Unusable(f"keys.age does not open with this identity: {error}") from None
    try:
        command = ["age", "-d", "-i", "-", path]
        age = subprocess.run(command, input=secret, stdout=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise Unusable("to open keys.age, install pyrage or the program age") from None
    if age.returncode != 0:
        raise Unusable("keys.age does not open with this identity")
    return age.stdout


def read_keyring(commit: Commit, arguments: argparse.Namespace) -> bytes | None:
    """Read the keys (32 bytes a leaf) from `--keys` or `--identity`; None without either."""
    name = commit.id.encode()
    start = KEYRING_MAGIC + bytes([len(name)]) + name + commit.leaf_count.to_bytes(8, "big")
    size, limit = len(start) + 32 * commit.leaf_count, 280 + 32 * commit.leaf_count
    if arguments.keys:
        with open(arguments.keys, "rb") as file:
            data = read_bounded(file, size, "the keyring")
    elif arguments.identity:
        data = age_decrypt(os.path.join(commit.folder, "keys.age"), arguments.identity, limit)
    else:
        return None
    if not data.startswith(start) or len(data) != size:
        raise Rejected(f"the keyring is not that of commit {commit.id}, or is damaged")
    return data[len(start) :]


def key_of(keys: bytes, leaf: Leaf) -> bytes:
    """Look up a file's key in the keyring."""
    return keys[32 * leaf.number : 32 * leaf.number + 32]


# --- The commands ---------------------------------------------------------------------------------


def check_chain(commit: Commit, previous: Commit) -> None:
    """Check rule 3: `previous` is the commit before, in id, manifest digest, root and sequence."""
    before = {
        "commit_id": previous.id,
        "manifest_sha256": "sha256:" + hashlib.sha256(previous.manifest_bytes).hexdigest(),
        "merkle_root": previous.manifest["merkle"]["root"],
    }
    same = previous.organization == commit.organization
    need(same, 3, f"{previous.id} is a commit of {previous.organization}")
    chain, sequence = commit.manifest["chain"], previous.manifest["chain"]["sequence"] + 1
    need(chain["previous"] == before, 3, f"the commit before {commit.id} is not {previous.id}")
    number = chain["sequence"]
    need(number == sequence, 3, f"the sequence is {number}, after {previous.id} it is {sequence}")


class Tally:
    """What became of the leaves' contents."""

    def __init__(self) -> None:
        self.opened = self.erased = 0
        self.absent: list[str] = []


def check_members(commit: Commit, keys: bytes | None, find: Finder) -> Tally:
    """Check rules 7 to 10 for every leaf."""
    tally, offset, order = Tally(), 0, PathOrder()
    for leaf in commit.leaves():
        size = member_size(commit, leaf.number, offset)
        key = key_of(keys, leaf) if keys else ERASED_KEY
        if key == ERASED_KEY:
            tally.erased += 1
            member = Member(commit, leaf.number, offset + 512, size)
            member.skip()
            member.check_digest(leaf.ciphertext_digest)
        else:
            try:
                check_leaf(commit, leaf, key, (offset + 512, size), find, order)
                tally.opened += 1
            except Absent as error:
                tally.absent.append(f"leaf {leaf.number}: {error}")
        offset += 512 + size
    tar_bytes = commit.manifest["packaging"]["tar_bytes"]
    good = offset + 1024 == tar_bytes and not any(commit.read_tar(offset, 1024))
    need(good, 7, "the tar does not end behind its last member with 1,024 zero bytes")
    return tally


def check_leaf(
    commit: Commit,
    leaf: Leaf,
    file_key: bytes,
    place: tuple[int, int],
    find: Finder,
    order: PathOrder,
) -> None:
    """Open the record and the content of one leaf, whose member lies at `place` (rules 7 to 10)."""
    record, what = open_record(commit, leaf, file_key), f"leaf {leaf.number}: its member"
    order.check(leaf.number, record)
    content = record.get("content", {})
    if content and "key_hex" not in content:
        named = (content["offset"], content["sealed_size"])
        need(named == place, 10, f"{what} lies at {place}, its record says {named}")
    else:  # its own member must be empty: a stream of nothing but padding
        member = Member(commit, leaf.number, *place)
        key = derive("content key", file_key)
        for _ in unpad(unseal(key, member.read, member.size, 9, what), 0, what):
            pass
        member.check_digest(leaf.ciphertext_digest)
    if content:
        for _ in open_content(commit, leaf, file_key, record, find):
            pass


def open_commit(arguments: argparse.Namespace) -> Commit:
    """Open the commit that a command is about, by the signer whom the user expects, if any."""
    signer = signer_fingerprint(arguments.signer) if arguments.signer else None
    return Commit(arguments.folder, signer)


def signer_line(commit: Commit, arguments: argparse.Namespace) -> str:
    """Say who signed, and whether that is anything more than a claim."""
    compared = "as expected" if arguments.signer else "NOT COMPARED, see --signer"
    return f"{commit.manifest['keys']['signer']['key_id']} ({compared})"


def verify(arguments: argparse.Namespace) -> None:
    """Check the whole commit, and with keys also every record and content."""
    commit = open_commit(arguments)
    organization, chain = commit.manifest["organization"], commit.manifest["chain"]
    print(f"commit     {commit.id}, number {chain['sequence']} of {organization['id']}")
    print(f"signer     {signer_line(commit, arguments)}")
    if arguments.previous:
        previous = Commit(arguments.previous)
        check_chain(commit, previous)
        print(f"chain      continues {previous.id}")
    else:
        print("chain      not compared, see --previous")
    for entry in commit.manifest["sealed"]:
        commit.check_sealed_file(entry)
    print(f"sealed     {len(commit.manifest['sealed'])} files")
    commit.check_records()
    print(f"tree       {commit.leaf_count} leaves, root {commit.manifest['merkle']['root']}")
    keys = read_keyring(commit, arguments)
    if "files" in commit.manifest:
        print(f"files      the disclosed fields are those of the {commit.leaf_count} leaves")
    tally = check_members(commit, keys, finder(commit, arguments.commits))
    if keys is None:
        print("contents   not opened, see --identity")
    elif not tally.opened and not tally.absent:
        raise Unusable(f"the keyring says that all {tally.erased} keys were erased: none is left")
    else:
        print(f"contents   {tally.opened} opened")
    if keys is not None and tally.erased:
        print(f"erased     {tally.erased}, NOT VERIFIED: the keyring, which is not signed, says so")
    for what in tally.absent:
        print(f"contents   NOT CHECKED: {what}")
    print("VERIFIED")


def keyed_leaves(commit: Commit, arguments: argparse.Namespace) -> Iterator[tuple[Leaf, bytes]]:
    """Yield every leaf with its key, once the tree is checked."""
    commit.check_records()
    keys = read_keyring(commit, arguments)
    if keys is None:
        raise Unusable("give --identity or --keys")
    for leaf in commit.leaves():
        yield leaf, key_of(keys, leaf)


def list_records(arguments: argparse.Namespace) -> None:
    """Print one line a leaf: number, kind, mode, size, time, path."""
    commit, order = open_commit(arguments), PathOrder()
    for leaf, key in keyed_leaves(commit, arguments):
        if key == ERASED_KEY:
            print(f"{leaf.number:8} erased")
            continue
        record = open_record(commit, leaf, key)
        order.check(leaf.number, record)
        arrow = f" -> {show(bytes.fromhex(record['target_hex']))}" if "target_hex" in record else ""
        path = show(bytes.fromhex(record["path_hex"])) + arrow
        facts = f"{record['kind']:9} {record['mode']:04o} {record.get('size', 0):12}"
        print(f"{leaf.number:8} {facts} {record['mtime_ns']:>20} {path}")


class Target:
    """The folder that is restored into; nothing is followed or written outside of it."""

    def __init__(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)
        self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def folder(self, parts: list[bytes]) -> int:
        """Open a folder below the target, made where missing, through no link (rule 11)."""
        here = os.dup(self.root)
        for part in parts:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=here)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                below = os.open(part, flags, dir_fd=here)
            finally:
                os.close(here)
            here = below
        return here

    def restore(self, record: dict[str, Any], content: Iterable[bytes]) -> None:
        """Restore one record that is no folder; refuse where anything stands already."""
        *parents, name = bytes.fromhex(record["path_hex"]).split(b"/")
        folder = self.folder(parents)
        try:
            if record["kind"] == "symlink":
                self.link(name, record, folder)
            else:
                self.write(name, record, content, folder)
        finally:
            os.close(folder)

    def link(self, name: bytes, record: dict[str, Any], folder: int) -> None:
        """Restore a symbolic link, which may point anywhere: nothing here ever follows it."""
        os.symlink(bytes.fromhex(record["target_hex"]), name, dir_fd=folder)
        times = (int(record["mtime_ns"]),) * 2
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def write(
        self, name: bytes, record: dict[str, Any], content: Iterable[bytes], folder: int
    ) -> None:
        """Restore a file; what turns out to be wrong at the end is removed again."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(file, "wb") as output:
                for data in content:
                    output.write(data)
                output.flush()
                self.finish(file, record)
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise

    def finish(self, file: int, record: dict[str, Any]) -> None:
        """Set mode and time; set-uid and set-gid are left out: the owner is another now."""
        os.fchmod(file, record["mode"] & 0o1777)
        os.utime(file, ns=(int(record["mtime_ns"]),) * 2)
        os.fsync(file)

    def finish_folders(self, folders: dict[bytes, dict[str, Any]]) -> None:
        """Set the folders' modes and times, the deepest first, once nothing more goes in."""
        for path in sorted(folders, key=lambda path: -path.count(b"/")):
            folder = self.folder(path.split(b"/"))
            self.finish(folder, folders[path])
            os.close(folder)


def extract(arguments: argparse.Namespace) -> None:
    """Restore what matches; what fails is named and left out, and all the rest restored."""
    commit, folders, done, failures = open_commit(arguments), {}, 0, []
    order = PathOrder()
    find, target = finder(commit, arguments.commits), Target(arguments.target)
    for leaf, key in keyed_leaves(commit, arguments):
        if key == ERASED_KEY:
            print(f"leaf {leaf.number}: erased, says the keyring")
            continue
        try:
            record = open_record(commit, leaf, key)
            order.check(leaf.number, record)
            path = bytes.fromhex(record["path_hex"])
            if not fnmatch.fnmatchcase(os.fsdecode(path), arguments.path):
                continue
            if record["kind"] == "directory":
                os.close(target.folder(path.split(b"/")))
                folders[path] = record
            else:
                target.restore(record, open_content(commit, leaf, key, record, find))
            done += 1
        except (Rejected, OSError) as error:
            failures.append(f"leaf {leaf.number}: {show(str(error))}")
            print(f"not restored: {failures[-1]}", file=sys.stderr)
    target.finish_folders(folders)
    print(f"{done} restored into {show(arguments.target)}")
    if failures:
        raise Rejected(f"{len(failures)} not restored, the first of them: {failures[0]}")
    if done == 0:
        raise Rejected("nothing was restored: no file that could be opened matches")


def open_file(arguments: argparse.Namespace) -> None:
    """Open one file with its own key: prove its record and content, and write it if asked."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", arguments.file_key):
        raise Unusable("--file-key takes 64 hex digits")
    commit = open_commit(arguments)
    commit.check_records()
    leaf = next((leaf for leaf in commit.leaves() if leaf.number == arguments.leaf), None)
    if leaf is None:
        raise Unusable(f"commit {commit.id} has the leaves 0 to {commit.leaf_count - 1}")
    key = bytes.fromhex(arguments.file_key)
    record = open_record(commit, leaf, key)
    content = open_content(commit, leaf, key, record, finder(commit, arguments.commits))
    with open(arguments.output, "xb") if arguments.output else open(os.devnull, "wb") as output:
        try:
            output.writelines(content)
        except BaseException:
            if arguments.output:
                os.unlink(arguments.output)
            raise
    print(json.dumps(record, indent=2))
    print(f"path       {show(bytes.fromhex(record['path_hex']))}")
    print(f"signer     {signer_line(commit, arguments)}")
    print(f"VERIFIED   leaf {leaf.number} of commit {commit.id}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=str(run.__doc__).split("\n", maxsplit=1)[0])
        sub.add_argument("folder", metavar="DIR", help="the commit's directory")
        sub.add_argument("--commits", metavar="FOLDER", help="where other commits lie (beside DIR)")
        sub.add_argument("--signer", metavar="KEY", help="expected: SHA256:... or ssh-ed25519 ...")
        sub.set_defaults(run=run)
        return sub

    check = command("verify", verify)
    check.add_argument("--previous", metavar="DIR", help="the commit before, to check the chain")
    restore = command("extract", extract)
    restore.add_argument("target", metavar="TARGET", help="the folder to restore into")
    restore.add_argument("--path", metavar="GLOB", default="*", help="only these (* also takes /)")
    for sub in (check, command("list", list_records), restore):
        keys = sub.add_mutually_exclusive_group()
        keys.add_argument("--identity", metavar="FILE", help="age identity that opens keys.age")
        keys.add_argument("--keys", metavar="KEYRING", help="keys.age, opened already")
    one = command("file", open_file)
    one.add_argument("--leaf", type=int, required=True, metavar="N")
    one.add_argument("--file-key", required=True, metavar="HEX")
    one.add_argument("--output", metavar="FILE", help="write the content to this new file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = parse_arguments(argv)
    try:
        arguments.run(arguments)
    except Rejected as error:
        print(f"REJECTED: {error}", file=sys.stderr)
        return 1
    except (Unusable, OSError, ImportError) as error:
        print(f"UNUSABLE: {show(str(error))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
