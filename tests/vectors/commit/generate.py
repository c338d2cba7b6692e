"""Writes the golden vectors of the commit format from `docs/spec/commit.md` alone; it imports nothing of Muniment.

    python tests/vectors/commit/generate.py [FOLDER]

Nothing in them is random: keys, times and the headers of the sealed streams are fixed, so the same bytes come out each time.
(Fixed headers are for vectors only. To push under a chosen header, a state is made as for pulling: the two are the same.)

    vectors.json       what a reader gets from the good commits, and why it must refuse the others
    good/<id>/         three commits, each after the one before; the third discloses fields
    good/<id>.keys     their keyrings, as they are inside of keys.age
    bad/<name>/        files that take the place of those of the first commit
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import rfc8785
from blake3 import blake3
from nacl import bindings as sodium
from nacl.signing import SigningKey

HERE = Path(__file__).parent
FIRST, SECOND, THIRD = (
    "20261121T101112Z-abcdefg2",
    "20261122T101112Z-zzzzzzz7",
    "20261123T101112Z-22222222",
)
SIGNER, OTHER_SIGNER = SigningKey(b"\x07" * 32), SigningKey(b"\x08" * 32)
MIB, CHUNK = 1 << 20, 1500
TEXT = b"muniment " * 100
# A zstd frame of TEXT and an LZ4 frame of it twice, made once: other versions may compress otherwise.
ZSTD = bytes.fromhex("28b52ffd608402850000486d756e696d656e7420010078599523")
LZ4 = bytes.fromhex(
    "04224d18684008070000000000004c190000009f6d756e696d656e74200900ffffffffffffed506d656e742000000000"
)


def jcs(value):
    return rfc8785.dumps(value)


def derive(purpose, secret):
    return blake3(secret, derive_key_context=f"muniment 2026-11-21 {purpose}").digest()


def stream(key, plain, label, tag=3):
    """One message: all of the vectors are small."""
    header = hashlib.sha256(label.encode()).digest()[:24]
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    return header + sodium.crypto_secretstream_xchacha20poly1305_push(state, plain, None, tag)


def padded(plain, unit):
    """Section 3, for streams of one message."""
    n = max(len(plain) + 41, 512)
    e = n.bit_length() - 1
    granule = 1 << (e - e.bit_length())
    n = -(-n // granule) * granule
    n = -(-n // unit) * unit
    return plain + bytes(n - 41 - len(plain))


def tar_header(number, size):
    block = bytearray(512)
    block[:8] = b"%08d" % number
    block[100:124] = b"0000600\0" + b"0000000\0" * 2
    block[124:148] = b"%011o\0" % size + b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = b"0"
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def commitments(key, record):
    found = {}
    for name, value in record.items():
        label = bytes([len(name)]) + name.encode()
        found[name] = blake3(
            label + jcs(value), key=derive("field salt", key + name.encode())
        ).digest()
    return found


def fields_digest(found):
    return blake3(b"\x02" + b"".join(bytes([len(name)]) + name.encode() + found[name] for name in sorted(found))).digest()  # fmt: skip


def tree(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return blake3(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()


def public(signer):
    raw = bytes(signer.verify_key)
    wire = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + raw
    key_id = "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")
    return {"algorithm": "ed25519", "key_id": key_id, "public_key": base64.b64encode(raw).decode()}


def sign(manifest, signer=SIGNER, context=b"muniment-commit-manifest/1\n"):
    unsigned = {name: value for name, value in manifest.items() if name != "signature"}
    value = base64.b64encode(signer.sign(context + jcs(unsigned)).signature).decode()
    return jcs(unsigned | {"signature": {"algorithm": "ed25519", "value": value}})


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def commit_cid(files):
    """The UnixFS directory of files of one block each, in the profile unixfs-v1-2025."""
    links = b""
    for name in sorted(files):
        data = files[name]
        cid = b"\x01\x55\x12\x20" + hashlib.sha256(data).digest()
        links += field(2, field(1, cid) + field(2, name.encode()) + varint(3 << 3) + varint(len(data)))  # fmt: skip
    node = links + field(1, b"\x08\x01")
    root = b"\x01\x70\x12\x20" + hashlib.sha256(node).digest()
    return "b" + base64.b32encode(root).decode().lower().rstrip("=")


class Commit:
    """A commit of `entries`: (record, packed content); `disclose` returns the `files` of its manifest."""

    def __init__(self, commit_id, chain, entries, disclose=None):
        self.id, self.chain, self.disclose = commit_id, chain, disclose
        self.keys = [hashlib.sha256(f"{commit_id} {n}".encode()).digest() for n in range(len(entries))]  # fmt: skip
        self.records, self.members, self.sealed_records, self.fields = [], [], [], []
        offset = 0
        for number, (record, packed) in enumerate(entries):
            key = self.keys[number]
            member = stream(derive("content key", key), padded(packed, 512), f"{commit_id} content {number}")  # fmt: skip
            if record["kind"] == "file" and record["size"] and "content" not in record:
                compression = {ZSTD: "zstd", LZ4: "lz4"}.get(packed, "none")
                place = {
                    "offset": offset + 512,
                    "packed_size": len(packed),
                    "sealed_size": len(member),
                }
                record = record | {"content": {"compression": compression, **place}}  # noqa: PLW2901
            self.members.append(member)
            self.records.append(record)
            self.fields.append(commitments(key, record))
            self.sealed_records.append(self.seal_record(number, jcs(record)))
            offset += 512 + len(member)

    def seal_record(self, number, plain):
        return stream(derive("record key", self.keys[number]), padded(plain, 256), f"{self.id} record {number}")  # fmt: skip

    @property
    def leaves(self):
        return [blake3(b"\0" + fields_digest(f) + blake3(m).digest()).digest() for f, m in zip(self.fields, self.members, strict=True)]  # fmt: skip

    def tar(self):
        return b"".join(tar_header(n, len(m)) + m for n, m in enumerate(self.members)) + bytes(1024)

    def records_sealed(self):
        out = b"muniment-records/1\n" + len(self.members).to_bytes(8, "big")
        for found, member, sealed in zip(
            self.fields, self.members, self.sealed_records, strict=True
        ):
            out += fields_digest(found) + blake3(member).digest() + len(sealed).to_bytes(4, "big")
        return out + b"".join(self.sealed_records)

    def keyring(self):
        name, count = self.id.encode(), len(self.keys).to_bytes(8, "big")
        return b"muniment-keys/1\n" + bytes([len(name)]) + name + count + b"".join(self.keys)

    def files(self, tar=None, records=None, change=lambda manifest: None, signer=SIGNER):
        """All sealed files, with a manifest that fits them but for `change`."""
        tar = self.tar() if tar is None else tar
        chunks = [tar[at : at + CHUNK] for at in range(0, len(tar), CHUNK)]
        files = {f"{self.id}_a{chr(97 + n)}": chunk for n, chunk in enumerate(chunks)}
        files["records.sealed"] = self.records_sealed() if records is None else records
        manifest = {
            "format": "muniment-commit/1",
            "commit_id": self.id,
            "created_at": "2026-11-21T10:11:12Z",
            "organization": {"id": "example", "name": "An Exämple"},
            "chain": self.chain,
            "merkle": {"algorithm": "blake3-rfc9162", "leaf_count": len(self.members), "root": f"blake3:{tree(self.leaves).hex()}"},
            "packaging": {"format": "tar+split+par2", "tar_bytes": len(tar), "chunk_bytes": CHUNK,
                          "chunk_count": len(chunks), "chunk_prefix": self.id + "_", "par2": None},
            "sealed": [{"name": name, "size": len(data), "sha256": f"sha256:{hashlib.sha256(data).hexdigest()}",
                        "blake3": f"blake3:{blake3(data).hexdigest()}"} for name, data in sorted(files.items())],
            "keys": {"signer": public(signer)},
            "software": {"name": "vectors", "version": "1"},
        }  # fmt: skip
        if self.disclose:
            manifest["files"] = self.disclose(self)
        change(manifest)
        return files | {"manifest.json": sign(manifest, signer)}

    def previous(self):
        manifest = self.files()["manifest.json"]
        return {"commit_id": self.id, "manifest_sha256": f"sha256:{hashlib.sha256(manifest).hexdigest()}", "merkle_root": f"blake3:{tree(self.leaves).hex()}"}  # fmt: skip

    def index(self, plains):
        files = self.files()
        return {
            "commit_id": self.id,
            "commit_cid": commit_cid(files),
            "manifest_sha256": hashlib.sha256(files["manifest.json"]).hexdigest(),
            "merkle_root": tree(self.leaves).hex(),
            "leaves": [
                {"file_key": key.hex(), "leaf": leaf.hex(), "fields_digest": fields_digest(found).hex(),
                 "ciphertext_digest": blake3(member).hexdigest(), "record": record, "plaintext_hex": plain.hex()}
                for key, leaf, found, member, record, plain in zip(self.keys, self.leaves, self.fields, self.members, self.records, plains, strict=True)
            ],
        }  # fmt: skip


def entry(kind, path, **more):
    return {"kind": kind, "path_hex": path.hex(), "mode": 0o640, "mtime_ns": "1600000000123456789", "ctime_ns": "-5"} | more  # fmt: skip


def file(path, data, **more):
    facts = {"size": len(data), "blake3": blake3(data).hexdigest(), "media_type": "text/plain"}
    return entry("file", path, **facts | more)


FIRST_ENTRIES = [
    (entry("directory", b"d", mode=0o755), b""),
    (file(b"d/empty", b""), b""),
    (file(b"d/lz4", TEXT + TEXT), LZ4),
    (file(b"d/none", b"hello\n"), b"hello\n"),
    (file(b"d/odd \xff\n", TEXT, media_type="application/octet-stream"), ZSTD),
    (entry("symlink", b"link", target_hex=b"d/none".hex()), b""),
]
FIRST_PLAINS = [b"", b"", TEXT + TEXT, b"hello\n", TEXT, b""]


def first(entries=None):
    return Commit(FIRST, {"sequence": 1, "previous": None}, entries or FIRST_ENTRIES)


def second():
    before = first()
    place = before.records[4]["content"] | {"commit_id": FIRST, "leaf": 4, "key_hex": derive("content key", before.keys[4]).hex()}  # fmt: skip
    chain = {"sequence": 2, "previous": before.previous()}
    return Commit(
        SECOND, chain, [(file(b"copy", TEXT, content=place), b""), (file(b"own", b"1"), b"1")]
    )


def disclosed(commit, hide=lambda number: ()):
    """Section 7: all fields of all leaves, but `content` and those that `hide` names."""
    files = []
    for number, (key, record) in enumerate(zip(commit.keys, commit.records, strict=True)):
        hidden = {"content", *hide(number)} & record.keys()
        shown = {name: value for name, value in record.items() if name not in hidden}
        salts = {name: derive("field salt", key + name.encode()).hex() for name in shown}
        hides = {name: commit.fields[number][name].hex() for name in hidden}
        files.append({"leaf": number, "fields": shown, "salts": salts, "hidden": hides})
    return files


HIDDEN = [(), ("size", "blake3"), ("size", "path_hex", "mtime_ns"), ("kind",), ("blake3",), ("target_hex",)]  # fmt: skip


def third():
    """All kinds of leaves, shown whole and in part; of the last, nothing is shown."""
    before = second()
    nothing = tuple(file(b"x", b"x"))
    entries = [*FIRST_ENTRIES, (file(b"secret", b"secret\n"), b"secret\n")]
    hide = [*HIDDEN, nothing]
    return Commit(THIRD, {"sequence": 3, "previous": before.previous()}, entries, lambda commit: disclosed(commit, lambda number: hide[number]))  # fmt: skip


def with_entries(entries):
    """The first commit of other entries: everything fits, but what they say."""
    return first(entries).files()


def with_disclosed(change=lambda files: None, entries=None):
    """The first commit with its fields disclosed, but for a change."""
    commit = first(entries)
    files = disclosed(commit)
    change(files)
    return commit.files(change=lambda manifest: manifest.update(files=files))


def changed_entries(number, **changes):
    """The entries of the first commit with a record that was always so; places of contents fit."""
    entries = list(FIRST_ENTRIES)
    record = entries[number][0] | changes
    entries[number] = ({name: value for name, value in record.items() if value is not ...}, entries[number][1])  # fmt: skip
    return entries


def show_content(files):
    key, record = first().keys[3], first().records[3]
    files[3]["hidden"].pop("content")
    files[3]["fields"]["content"] = record["content"]
    files[3]["salts"]["content"] = derive("field salt", key + b"content").hex()


def hide_and_show(files):
    files[3]["hidden"]["mode"] = first().fields[3]["mode"].hex()


def resealed(number, plain):
    """The first commit with other bytes in one sealed record."""
    commit = first()
    commit.sealed_records[number] = commit.seal_record(number, plain)
    return commit.files()


def changed_record(number, **changes):
    """The first commit with a record that was always so: its commitments fit."""
    entries = list(FIRST_ENTRIES)
    record = first().records[number] | changes
    entries[number] = ({name: value for name, value in record.items() if value is not ...}, entries[number][1])  # fmt: skip
    return first(entries).files()


def with_content(number, **changes):
    return changed_record(number, content=first().records[number]["content"] | changes)


def with_member(number, member):
    commit = first()
    commit.members[number] = member
    return commit.files()


def with_manifest(path, value):
    def change(manifest):
        *above, last = path.split(".")
        part = manifest
        for name in above:
            part = part[int(name)] if isinstance(part, list) else part[name]
        if value is ...:
            del part[last]
        else:
            part[last] = value

    return first().files(change=change)


def with_manifest_bytes(rewrite):
    files = first().files()
    return files | {"manifest.json": rewrite(files["manifest.json"])}


def with_tar(at, data):
    tar = bytearray(first().tar())
    tar[at : at + len(data)] = data
    return first().files(tar=bytes(tar))


def content_sealed(number, plain, tag=3):
    """A member of these padded bytes, which the leaf binds."""
    return with_member(number, stream(derive("content key", first().keys[number]), plain, "bad", tag))  # fmt: skip


def doubled():
    commit, rows = first(), first()
    commit.fields.append(commit.fields[-1])
    commit.members.append(commit.members[-1])
    commit.sealed_records.append(commit.sealed_records[-1])
    root = f"blake3:{tree(rows.leaves).hex()}"
    return commit.files(change=lambda manifest: manifest["merkle"].update(root=root))


def bad():
    """Name, rule of section 8, the words of it that matter, and the files."""
    good = first()
    table, record = bytearray(good.records_sealed()), good.records[3]
    swapped = first()
    swapped.sealed_records[0], swapped.sealed_records[1] = swapped.sealed_records[1::-1]
    turned = first()
    turned.members[0], turned.members[1] = turned.members[1::-1]
    other_tar = turned.tar()
    short = bytes(table[:-1])
    padding = padded(b"hello\n", 512)
    yield "manifest-line-feed", 1, "not canonical", with_manifest_bytes(lambda data: data + b"\n")
    yield "manifest-blanks", 1, "not canonical", with_manifest_bytes(lambda data: json.dumps(json.loads(data), sort_keys=True, ensure_ascii=False).encode())  # fmt: skip
    yield "manifest-order", 1, "not canonical", with_manifest_bytes(lambda data: json.dumps(dict(sorted(json.loads(data).items(), reverse=True)), ensure_ascii=False, separators=(",", ":")).encode())  # fmt: skip
    yield "manifest-duplicate-name", 1, "not canonical", with_manifest_bytes(lambda data: data.replace(b'"leaf_count":6', b'"leaf_count":6,"leaf_count":6'))  # fmt: skip
    yield "manifest-escape", 1, "not canonical", with_manifest_bytes(lambda data: data.replace("ä".encode(), b"\\u00e4"))  # fmt: skip
    yield "manifest-float", 1, "not canonical", with_manifest_bytes(lambda data: data.replace(b'"leaf_count":6', b'"leaf_count":6.0'))  # fmt: skip
    yield "manifest-unknown-member", 1, "unknown member", with_manifest("more", 1)
    yield "manifest-missing-member", 1, "missing member", with_manifest("software", ...)
    yield "manifest-other-format", 1, "another format", with_manifest("format", "muniment-commit/2")
    yield "manifest-no-such-day", 1, "out of range", with_manifest("created_at", "2026-02-30T10:11:12Z")  # fmt: skip
    yield "manifest-id-line-feed", 1, "out of range", with_manifest("organization.id", "example\n")
    yield "manifest-no-leaves", 1, "out of range", with_manifest("merkle.leaf_count", 0)
    yield "chain-second-without-previous", 1, "contradictory", with_manifest("chain.sequence", 2)
    yield "signature-changed-claim", 2, "does not verify", with_manifest_bytes(lambda data: data.replace(b'"id":"example"', b'"id":"another"'))  # fmt: skip
    yield "signature-without-context", 2, "does not verify", good.files() | {"manifest.json": sign(json.loads(good.files()["manifest.json"]), context=b"")}  # fmt: skip
    yield "signature-other-signer", 2, "another signer", good.files(signer=OTHER_SIGNER)
    yield "id-of-another-commit", 3, "another name", {"manifest.json": second().files()["manifest.json"]}  # fmt: skip
    yield "sealed-unsorted", 4, "unsorted", good.files(change=lambda manifest: manifest["sealed"].reverse())  # fmt: skip
    yield "sealed-twice", 4, "duplicate", good.files(change=lambda manifest: manifest["sealed"].append(manifest["sealed"][-1]))  # fmt: skip
    yield "sealed-foreign-name", 4, "another name", good.files(change=lambda manifest: manifest["sealed"].append(manifest["sealed"][-1] | {"name": "zzz"}))  # fmt: skip
    yield "sealed-without-a-chunk", 4, "not the chunks", good.files(change=lambda manifest: manifest["sealed"].pop(1))  # fmt: skip
    yield "sealed-without-records", 4, "no records", good.files(change=lambda manifest: manifest["sealed"].pop())  # fmt: skip
    yield "chunk-missing", 5, "missing", good.files() | {f"{FIRST}_ab": None}
    yield "chunk-cut", 5, "another size", good.files() | {f"{FIRST}_ab": good.tar()[CHUNK : 2 * CHUNK - 1]}  # fmt: skip
    yield "chunk-changed", 5, "another digest", good.files() | {f"{FIRST}_ab": good.tar()[CHUNK : 2 * CHUNK - 1] + b"\1"}  # fmt: skip
    yield "records-magic", 6, "magic", good.files(records=b"M" + bytes(table[1:]))
    yield "records-count", 6, "count", good.files(records=bytes(table[:26]) + b"\5" + bytes(table[27:]))  # fmt: skip
    yield "records-short", 6, "do not add up", good.files(records=short)
    yield "records-root", 6, "another root", with_manifest("merkle.root", "blake3:" + "0" * 64)
    yield "records-last-leaf-doubled", 6, "another root", doubled()
    yield "tar-header", 7, "header", with_tar(265, b"root")
    yield "tar-end", 7, "wrong end", with_tar(len(good.tar()) - 1, b"\1")
    yield "tar-members-swapped", 7, "not its digest", good.files(tar=other_tar)
    yield "record-of-another-leaf", 8, "does not decrypt", swapped.files()
    yield "record-not-canonical", 8, "not canonical", resealed(3, jcs(record).replace(b":", b": ", 1))  # fmt: skip
    yield "record-unknown-field", 8, "not allowed", changed_record(3, more=1)
    yield "record-field-of-another-kind", 8, "not allowed", changed_record(0, target_hex="61")
    yield "record-without-digest", 8, "missing", changed_record(3, blake3=...)
    yield "record-path-up", 8, "not clean", changed_record(3, path_hex=b"../x".hex())
    yield "record-path-line-feed", 8, "not hex", changed_record(3, path_hex="61\n")
    yield "record-not-committed", 8, "other commitments", resealed(3, jcs(record | {"mode": 0o666}))
    yield "records-same-path", 8, "the same path", with_entries(changed_entries(4, path_hex=b"d/none".hex()))  # fmt: skip
    yield "records-out-of-order", 8, "out of order", with_entries(changed_entries(0, path_hex=b"e".hex()))  # fmt: skip
    yield "records-out-of-order-by-length", 8, "out of order", with_entries(changed_entries(4, path_hex=b"d/non".hex()))  # fmt: skip
    yield "disclosed-too-few", 8, "not every leaf", with_disclosed(lambda files: files.pop())
    yield "disclosed-out-of-order", 8, "not in order", with_disclosed(lambda files: files.reverse())
    yield "disclosed-unknown-member", 1, "unknown member", with_disclosed(lambda files: files[3].update(more=1))  # fmt: skip
    yield "disclosed-salt-not-hex", 1, "out of range", with_disclosed(lambda files: files[3]["salts"].update(mode="00"))  # fmt: skip
    yield "disclosed-leaf-below-0", 1, "out of range", with_disclosed(lambda files: files[0].update(leaf=-1))  # fmt: skip
    yield "disclosed-other-value", 8, "other commitments", with_disclosed(lambda files: files[3]["fields"].update(mode=0o666))  # fmt: skip
    yield "disclosed-other-salt", 8, "other commitments", with_disclosed(lambda files: files[3]["salts"].update(mode="00" * 32))  # fmt: skip
    yield "disclosed-other-commitment", 8, "other commitments", with_disclosed(lambda files: files[3]["hidden"].update(content="00" * 32))  # fmt: skip
    yield "disclosed-without-salt", 8, "no salt", with_disclosed(lambda files: files[3]["salts"].pop("mode"))  # fmt: skip
    yield "disclosed-salt-of-nothing", 8, "a salt too many", with_disclosed(lambda files: files[3]["salts"].update(content="00" * 32))  # fmt: skip
    yield "disclosed-shown-and-hidden", 8, "both", with_disclosed(hide_and_show)
    yield "disclosed-content", 8, "content is shown", with_disclosed(show_content)
    yield "disclosed-field-left-out", 8, "missing", with_disclosed(lambda files: (files[3]["fields"].pop("mode"), files[3]["salts"].pop("mode")))  # fmt: skip
    yield "disclosed-unknown-field", 8, "not allowed", with_disclosed(entries=changed_entries(3, more=1))  # fmt: skip
    yield "disclosed-unknown-field-hidden", 8, "not allowed", with_disclosed(lambda files: (files[0]["fields"].pop("more"), files[0]["salts"].pop("more"), files[0]["hidden"].update(more=first(changed_entries(0, more=1)).fields[0]["more"].hex())), changed_entries(0, more=1))  # fmt: skip
    yield "disclosed-field-of-another-kind", 8, "not allowed", with_disclosed(entries=changed_entries(0, target_hex="61"))  # fmt: skip
    yield "disclosed-kind-of-other-fields", 8, "another kind", with_disclosed(entries=changed_entries(0, kind="symlink"))  # fmt: skip
    yield "disclosed-kind-unknown", 8, "another kind", with_disclosed(entries=changed_entries(0, kind="pipe"))  # fmt: skip
    yield "disclosed-without-digest", 8, "missing", with_disclosed(entries=changed_entries(3, blake3=...))  # fmt: skip
    yield "disclosed-path-up", 8, "not clean", with_disclosed(entries=changed_entries(3, path_hex=b"../x".hex()))  # fmt: skip
    yield "disclosed-path-too-long", 8, "not clean", with_disclosed(entries=changed_entries(3, path_hex="64" * 4097))  # fmt: skip
    yield "disclosed-path-capitals", 8, "not hex", with_disclosed(entries=changed_entries(3, path_hex="64" + "2F"))  # fmt: skip
    yield "disclosed-mode", 8, "out of range", with_disclosed(entries=changed_entries(3, mode=4096))
    yield "disclosed-mode-as-text", 8, "no number", with_disclosed(entries=changed_entries(3, mode="416"))  # fmt: skip
    yield "disclosed-mode-true", 8, "no number", with_disclosed(entries=changed_entries(3, mode=True))  # fmt: skip
    yield "disclosed-size-below-0", 8, "out of range", with_disclosed(entries=changed_entries(1, size=-1, content=0))  # fmt: skip
    yield "disclosed-time-beyond-64-bits", 8, "out of range", with_disclosed(entries=changed_entries(0, mtime_ns=str(2**63)))  # fmt: skip
    yield "disclosed-time-leading-zero", 8, "out of range", with_disclosed(entries=changed_entries(0, mtime_ns="01"))  # fmt: skip
    yield "disclosed-media-type-parameters", 8, "out of range", with_disclosed(entries=changed_entries(3, media_type="text/plain; charset=utf-8"))  # fmt: skip
    yield "disclosed-target-zero-byte", 8, "a zero byte", with_disclosed(entries=changed_entries(5, target_hex=b"a\0".hex()))  # fmt: skip
    yield "disclosed-content-of-a-folder", 8, "not allowed", with_disclosed(entries=changed_entries(0, content=0))  # fmt: skip
    yield "disclosed-content-of-an-empty-file", 8, "not allowed", with_disclosed(entries=changed_entries(1, content=0))  # fmt: skip
    yield "disclosed-without-content", 8, "missing", with_disclosed(lambda files: files[3]["hidden"].pop("content"))  # fmt: skip
    yield "disclosed-same-path", 8, "the same path", with_disclosed(entries=changed_entries(4, path_hex=b"d/none".hex()))  # fmt: skip
    yield "disclosed-paths-out-of-order", 8, "out of order", with_disclosed(entries=changed_entries(0, path_hex=b"e".hex()))  # fmt: skip
    yield "disclosed-empty-file-of-another-digest", 9, "another digest", with_disclosed(entries=changed_entries(1, blake3="00" * 32))  # fmt: skip
    yield "record-empty-file-of-another-digest", 9, "another digest", with_entries(changed_entries(1, blake3="00" * 32))  # fmt: skip
    yield "content-other-key", 9, "does not decrypt", with_member(3, stream(bytes(32), padding, "bad"))  # fmt: skip
    yield "content-padding", 9, "padding", content_sealed(3, padding[:-1] + b"\1")
    yield "content-tag", 9, "another tag", content_sealed(3, padding, tag=0)
    yield "content-digest", 9, "another digest", content_sealed(3, padded(b"jello\n", 512))
    yield "content-size", 9, "another size", changed_record(3, size=7)
    yield "content-not-a-frame", 9, "does not decompress", content_sealed(4, padded(ZSTD[:-1] + b"\7", 512))  # fmt: skip
    yield "content-frame-too-long", 9, "more than its size", changed_record(4, size=len(TEXT) - 1)
    yield "content-elsewhere", 10, "not its member", with_content(3, offset=good.records[2]["content"]["offset"])  # fmt: skip
    yield "content-longer-than-its-member", 10, "not its member", with_content(3, sealed_size=1024)


def write(folder):
    """Write everything below `folder`; returns the index."""
    commits = {FIRST: first(), SECOND: second(), THIRD: third()}
    for commit in commits.values():
        put(folder / "good" / commit.id, commit.files())
        put(folder / "good", {f"{commit.id}.keys": commit.keyring()})
    cases, usual = [], first().files()
    for name, rule, why, files in bad():
        differing = {file: data for file, data in files.items() if usual.get(file) != data}
        put(folder / "bad" / name, {file: data for file, data in differing.items() if data is not None})  # fmt: skip
        removed = sorted(file for file, data in differing.items() if data is None)
        cases.append({"name": name, "rule": rule, "why": why, "replaces": sorted(set(differing) - set(removed)), "removes": removed})  # fmt: skip
    index = {
        "about": "Golden vectors of the format muniment-commit/1, written by generate.py from docs/spec/commit.md.",
        "signer": public(SIGNER),
        "good": [
            commits[FIRST].index(FIRST_PLAINS),
            commits[SECOND].index([TEXT, b"1"]),
            commits[THIRD].index([*FIRST_PLAINS, b"secret\n"]),
        ],
        "bad": cases,
    }
    text = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
    put(folder, {"vectors.json": text.encode()})
    return index


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
