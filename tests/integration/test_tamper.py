"""Tampering with a real commit: every changed byte is found, and every forgery is refused by what is wrong with it.

The forger of the second half has the owner's signing key, or is the owner: what the signature does not hold, the format must.
"""

import base64
import hashlib
import json
import os
import random
import shutil

import pytest
import rfc8785
from blake3 import blake3

from muniment.adapters.calendars import HttpCalendar, trusted_calendars
from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.commit_store import EmbeddedCommitStore
from muniment.adapters.header_sources import ListedHeaders
from muniment.adapters.verifying import verify_commit
from muniment.archive import ots, tarball, timestamps
from muniment.archive import record as records
from muniment.archive.commit_source import check_file, read_manifest
from muniment.archive.keyring import Keyring, open_keyring
from muniment.archive.manifest import (
    SIGNATURE_CONTEXT,
    TIMESTAMP_NAME,
    Previous,
    decode,
    verify_signature,
)
from muniment.archive.merkle import MerkleTree, node_hash
from muniment.archive.signing import SigningKey
from muniment.errors import (
    FormatError,
    IntegrityError,
    KeyUnavailableError,
    MissingDataError,
    SignatureError,
)
from muniment.tasks.timestamp_checks import manifest_digest, read_proof
from muniment.testing.bitcoin_node import LocalChain, no_work
from muniment.testing.calendar import LocalCalendar

HEAD = len(b"muniment-records/1\n") + 8


def first_of(commits):
    """The commit of more files."""
    return max(commits.iterdir(), key=lambda path: (path / "records.sealed").stat().st_size)


def flips(size, rng):
    """One random bit in every byte."""
    return ((at, 1 << rng.randrange(8)) for at in range(size))


# --- Every byte -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_changed_byte_of_every_sealed_file_is_found(small):
    path = first_of(small)
    rng = random.Random(7)  # any bits will do
    total = 0
    with CommitFolder(path) as folder:
        manifest = read_manifest(folder)
        assert {file.name for file in manifest.sealed} == set(os.listdir(path)) - {"manifest.json", "keys.age"}  # fmt: skip
        for file in manifest.sealed:
            check_file(folder, file)
            with open(path / file.name, "r+b", buffering=0) as raw:
                data = raw.read()
                for at, bit in flips(len(data), rng):
                    os.pwrite(raw.fileno(), bytes([data[at] ^ bit]), at)
                    with pytest.raises(IntegrityError, match="is damaged"):
                        check_file(folder, file)
                    os.pwrite(raw.fileno(), data[at : at + 1], at)
                    total += 1
            check_file(folder, file)
    assert total > 100_000


def test_every_changed_bit_of_the_manifest_is_found(small):
    data = (first_of(small) / "manifest.json").read_bytes()
    signer = verify_signature(decode(data))
    for at in range(len(data)):
        for bit in (0x01, 0x20, 0x80):
            bad = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            with pytest.raises((FormatError, SignatureError)):
                verify_signature(decode(bad), signer)


def test_every_changed_byte_of_the_keyring_is_found(small, small_home):
    path = first_of(small)
    data = (path / "keys.age").read_bytes()
    good = Keyring.decode(open_keyring(data, small_home.archive.identities), path.name)
    accepted = []
    for at in range(len(data)):
        for bit in (0x01, 0x80):
            bad = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            try:
                opened = open_keyring(bad, small_home.archive.identities)
            except (FormatError, KeyUnavailableError):
                continue
            assert Keyring.decode(opened, path.name).encode() == good.encode()
            accepted.append((at, bit))
    assert accepted == []


def proofs(path):
    """The proof in a commit's folder with one bit changed, in each of its bytes."""
    data = (path / TIMESTAMP_NAME).read_bytes()
    for at in range(len(data)):
        for bit in (0x01, 0x80):
            (path / TIMESTAMP_NAME).write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])  # fmt: skip
            yield at
    (path / TIMESTAMP_NAME).write_bytes(data)


def said_of(path, headers, calendar_for=lambda _uri: None):
    """What is said of the proof in a commit's folder, after its calendars were asked; None: it is refused."""
    with CommitFolder(path) as folder:
        try:
            proof = timestamps.upgrade(read_proof(folder), calendar_for).detached
            return timestamps.verify(proof, manifest_digest(folder), headers, least_work=no_work)
        except IntegrityError:
            return None


def test_a_changed_byte_of_a_proof_is_refused_or_proves_nothing(small):
    """Whoever changes a proof gets no other time out of it: at best, one that is still open or that nobody can check.

    Only a promise that a block has made good already may change unnoticed: it is no part of what is proven.
    """
    path, chain = first_of(small), LocalChain()
    manifest = hashlib.sha256((path / "manifest.json").read_bytes()).digest()
    with LocalCalendar(chain) as calendar:
        trusted = trusted_calendars([calendar.url], 20)
        promise = timestamps.stamp(manifest, [HttpCalendar(calendar.url, 20)], bytes(16))
        calendar.mine()
        headers = ListedHeaders({1: chain.headers[1]}, "a file")
        complete = timestamps.upgrade(promise, trusted).detached
        (path / TIMESTAMP_NAME).write_bytes(promise.serialize())
        assert isinstance(said_of(path, headers), timestamps.Waiting)
        assert isinstance(said_of(path, headers, trusted), timestamps.Verified)
        for at in proofs(path):
            assert not isinstance(said_of(path, headers, trusted), timestamps.Verified), at
    (path / TIMESTAMP_NAME).write_bytes(complete.serialize())
    whole = said_of(path, headers)
    assert isinstance(whole, timestamps.Verified)
    found = [(at, said_of(path, headers)) for at in proofs(path)]
    head = len(ots.MAGIC) + 2 + len(manifest)
    assert {said for at, said in found if at < head} == {None}
    assert {said for _at, said in found if isinstance(said, timestamps.Verified)} == {whole}
    kept = {at for at, said in found if said == whole}
    promises = [p.attestation for p in complete.timestamp.paths if isinstance(p.attestation, ots.Pending)]  # fmt: skip
    assert len(kept) <= sum(len(ots.serialize_item(promise)) + 1 for promise in promises)


def test_verification_names_every_damaged_and_missing_file(small):
    path = first_of(small)
    names = sorted(set(os.listdir(path)) - {"manifest.json", "keys.age", "records.sealed"})
    for name in names[:-1]:
        data = bytearray((path / name).read_bytes())
        data[len(data) // 2] ^= 4
        (path / name).write_bytes(data)
    (path / names[-1]).unlink()
    with CommitFolder(path) as folder:
        report = verify_commit(folder, worker_count=1)
    assert sorted(report.damaged) == names
    with pytest.raises(IntegrityError, match=f"commit {path.name}: .* more"):
        report.require_whole()


def test_a_whole_commit_verifies_with_and_without_keys(small, small_home):
    for commit_id in small_home.ids:
        with CommitFolder(small / commit_id) as folder:
            blind = verify_commit(folder, worker_count=1, expected_signer=small_home.archive.verify_key)  # fmt: skip
            full = verify_commit(folder, worker_count=1, keyring=small_home.keyring(commit_id))
        blind.require_whole()
        full.require_whole()
        assert blind.contents == 0
        assert full.leaves == blind.leaves == len(small_home.keyring(commit_id))
        assert full.contents > 0


def test_names_that_are_missing_renamed_swapped_or_links(small, check_commit):
    path = first_of(small)
    first, second = f"{path.name}_aa", f"{path.name}_ab"
    changes = [
        ((path / first).unlink, MissingDataError, first),
        ((path / "records.sealed").unlink, MissingDataError, "records.sealed"),
        ((path / "manifest.json").unlink, MissingDataError, "manifest.json"),
        (lambda: (path / first).rename(path / f"{path.name}_zz"), MissingDataError, first),
        (lambda: swap(path / first, path / second), IntegrityError, first),
        (lambda: link_away(path / first), MissingDataError, first),
        (lambda: os.truncate(path / second, 700), IntegrityError, second),
        (lambda: path.rename(path.with_name("20200101T000000Z-aaaaaaaa")), IntegrityError, "manifest is that of"),
    ]  # fmt: skip
    copy = path.with_name("kept")
    shutil.copytree(path, copy)
    for change, error, what in changes:
        change()
        found = next(p for p in small.iterdir() if p.name in (path.name, "20200101T000000Z-aaaaaaaa"))  # fmt: skip
        with pytest.raises(error, match=what):
            check_commit(found)
        shutil.rmtree(found)
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(copy, path)
    check_commit(path)


def swap(one, two):
    one.rename(one.with_name("x"))
    two.rename(one)
    one.with_name("x").rename(two)


def link_away(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def test_a_pipe_in_place_of_a_file_does_not_block(small, check_commit):
    path = first_of(small)
    (path / "records.sealed").unlink()
    os.mkfifo(path / "records.sealed")
    with pytest.raises(MissingDataError, match="not a regular file"):
        check_commit(path)


# --- The manifest without the key -----------------------------------------------------------------


def root_of(rows):
    return "blake3:" + MerkleTree([blake3(b"\0" + f + c).digest() for f, c, _ in rows]).root.hex()


class Forgery:
    """A copy of the second commit in pieces, to be changed, put together again and signed."""

    def __init__(self, small, home, which=1):
        self.home, self.id = home, home.ids[which]
        self.path = small / self.id
        self.data = json.loads((self.path / "manifest.json").read_bytes())
        self.keyring = home.keyring(self.id)

    def read(self, name):
        return (self.path / name).read_bytes()

    def write(self, name, data):
        (self.path / name).write_bytes(data)
        for file in self.data["sealed"]:
            if file["name"] == name:
                file |= {"size": len(data), "sha256": f"sha256:{hashlib.sha256(data).hexdigest()}", "blake3": f"blake3:{blake3(data).hexdigest()}"}  # fmt: skip
        return self

    def save(self, key=None):
        """Write the manifest, signed by `key`; without one, with the signature that it had."""
        if key is not None:
            unsigned = {name: value for name, value in self.data.items() if name != "signature"}
            signature = key.sign(SIGNATURE_CONTEXT + rfc8785.dumps(unsigned))
            self.data["signature"]["value"] = base64.b64encode(signature).decode()
        (self.path / "manifest.json").write_bytes(rfc8785.dumps(self.data))
        return self.path

    @property
    def rows(self):
        """(fields digest, ciphertext digest, sealed record) of each leaf."""
        data, count = self.read("records.sealed"), self.data["merkle"]["leaf_count"]
        at, rows = HEAD + 68 * count, []
        for leaf in range(count):
            row = data[HEAD + 68 * leaf : HEAD + 68 * leaf + 68]
            size = int.from_bytes(row[64:], "big")
            rows.append((row[:32], row[32:64], data[at : at + size]))
            at += size
        return rows

    def write_rows(self, rows, *, root=True):
        """Write `records.sealed` anew, with a fitting root if wished."""
        table = b"".join(f + c + len(r).to_bytes(4, "big") for f, c, r in rows)
        head = b"muniment-records/1\n" + len(rows).to_bytes(8, "big")
        self.data["merkle"]["leaf_count"] = len(rows)
        if root:
            self.data["merkle"]["root"] = root_of(rows)
        return self.write("records.sealed", head + table + b"".join(r for _, _, r in rows))

    @property
    def tar(self):
        count = self.data["packaging"]["chunk_count"]
        return b"".join(map(self.read, tarball.chunk_names(self.id + "_", count)))

    @property
    def members(self):
        tar, at, members = self.tar, 0, []
        for _ in range(self.data["merkle"]["leaf_count"]):
            size = tarball.size_in_header(tar[at : at + 512])
            members.append(tar[at + 512 : at + 512 + size])
            at += 512 + size
        return members

    def write_tar(self, tar):
        assert len(tar) == self.data["packaging"]["tar_bytes"]
        size = self.data["packaging"]["chunk_bytes"]
        for index, name in enumerate(tarball.chunk_names(self.id + "_", -(-len(tar) // size))):
            self.write(name, tar[index * size : index * size + size])
        return self

    def write_members(self, members):
        parts = [tarball.header(leaf, len(member)) + member for leaf, member in enumerate(members)]
        return self.write_tar(b"".join(parts) + tarball.TRAILER)


@pytest.fixture
def forgery(small, small_home):
    return Forgery(small, small_home)


@pytest.fixture
def first(small, small_home):
    return Forgery(small, small_home, 0)


def set_in(data, path, value):
    *above, last = path.split(".")
    for name in above:
        data = data[name]
    assert data[last] != value
    data[last] = value


CLAIMS = {
    "created_at": "2020-01-01T00:00:00Z",
    "organization.id": "another",
    "chain.sequence": 3,
    "chain.previous.manifest_sha256": "sha256:" + "0" * 64,
    "chain.previous.merkle_root": "blake3:" + "0" * 64,
    "chain.previous.commit_id": "20200101T000000Z-aaaaaaaa",
    "packaging.par2.recovery_blocks": 3,
    "merkle.root": "blake3:" + "0" * 64,
    "merkle.leaf_count": 1,
    "software.version": "9",
}


@pytest.mark.parametrize("path", CLAIMS)
def test_without_the_key_no_claim_can_be_changed(path, forgery, check_commit):
    set_in(forgery.data, path, CLAIMS[path])
    with pytest.raises(SignatureError, match="does not verify: it was changed"):
        check_commit(forgery.save())


def test_a_signature_does_not_move_to_another_commit(forgery, first, check_commit):
    """A root (and all else) replayed under another commit's id."""
    data = forgery.data | {"merkle": first.data["merkle"], "signature": first.data["signature"]}
    forgery.data = data
    with pytest.raises(SignatureError, match="does not verify"):
        check_commit(forgery.save())
    shutil.copy(first.path / "manifest.json", forgery.path / "manifest.json")
    with pytest.raises(IntegrityError, match=f"the manifest is that of commit {first.id}"):
        check_commit(forgery.path)


def test_a_packaging_of_another_commit_is_refused(forgery, first, check_commit):
    forgery.data["packaging"] = first.data["packaging"]
    with pytest.raises(FormatError, match="chunk prefix"):
        check_commit(forgery.save(forgery.home.archive.signing_key))


def test_a_stripped_signature_is_refused(forgery, check_commit):
    del forgery.data["signature"]
    with pytest.raises(FormatError, match="has no signature"):
        check_commit(forgery.save())


def test_a_right_signature_by_another_key_is_refused(forgery, check_commit):
    thief = SigningKey(b"\x21" * 32)
    expected = forgery.home.archive.verify_key
    with pytest.raises(SignatureError, match="does not verify"):
        check_commit(forgery.save(thief), signer=expected)
    forgery.data["keys"]["signer"] |= {"key_id": thief.verify_key.key_id, "public_key": base64.b64encode(bytes(thief.verify_key)).decode()}  # fmt: skip
    with pytest.raises(SignatureError, match=r"was signed by .* expected"):
        check_commit(forgery.save(thief), signer=expected)


# --- The format with the key ----------------------------------------------------------------------


def refuse(forgery, check_commit, error, match, *, keys=True):
    path = forgery.save(forgery.home.archive.signing_key)
    with pytest.raises(error, match=match):
        check_commit(path, signer=forgery.home.archive.verify_key, keyring=forgery.keyring if keys else None)  # fmt: skip


def test_the_forger_can_put_it_together_again(forgery, first, check_commit):
    for one in (forgery, first):
        one.write_rows(one.rows).write_members(one.members)
        check_commit(one.save(one.home.archive.signing_key), keyring=one.keyring)


def test_the_last_leaf_doubled(first, check_commit):
    rows = first.rows
    if len(rows) % 2 == 0:
        rows = rows[:-1]
    first.write_rows([*rows, rows[-1]], root=False)
    first.data["merkle"]["root"] = root_of(rows)
    refuse(first, check_commit, IntegrityError, "Merkle root over records.sealed", keys=False)


def test_nodes_as_leaves(first, check_commit):
    leaves = [blake3(b"\0" + f + c).digest() for f, c, _ in first.rows]
    pairs = [leaves[at : at + 2] for at in range(0, len(leaves) - 1, 2)]
    fewer = [(left, right, b"x" * 536) for left, right in pairs]
    first.write_rows(fewer, root=False)
    assert node_hash(*pairs[0]) != blake3(b"\0" + b"".join(pairs[0])).digest()
    refuse(first, check_commit, IntegrityError, "Merkle root over records.sealed", keys=False)


def test_a_list_of_leaves_cut_short(first, check_commit):
    first.write_rows(first.rows[:-1], root=False)
    refuse(first, check_commit, IntegrityError, "Merkle root over records.sealed", keys=False)


def test_a_list_of_leaves_cut_short_with_its_root(first, check_commit):
    first.write_rows(first.rows[:-1])
    refuse(first, check_commit, FormatError, "the tar does not end behind its last member", keys=False)  # fmt: skip


def test_a_leaf_count_that_is_not_the_tables(first, check_commit):
    first.data["merkle"]["leaf_count"] += 1
    refuse(first, check_commit, FormatError, "leaves, but the manifest", keys=False)


def test_records_swapped_between_leaves(first, check_commit):
    rows = first.rows
    (f0, c0, r0), (f1, c1, r1) = rows[:2]
    rows[:2] = [(f0, c0, r1), (f1, c1, r0)]
    refuse(first.write_rows(rows), check_commit, IntegrityError, "record 0 does not open")


def test_whole_leaves_swapped(first, check_commit):
    rows = first.rows
    rows[:2] = rows[1::-1]
    refuse(first.write_rows(rows), check_commit, IntegrityError, "member 0 of the tar is not the one", keys=False)  # fmt: skip


def test_contents_swapped_between_leaves(first, check_commit):
    members = first.members
    same = [leaf for leaf, member in enumerate(members) if len(member) == len(members[0])]
    other = same[1]
    members[0], members[other] = members[other], members[0]
    first.write_members(members)
    refuse(first, check_commit, IntegrityError, "member 0 of the tar is not the one", keys=False)
    rows = first.rows
    rows[0], rows[other] = (rows[0][0], rows[other][1], rows[0][2]), (rows[other][0], rows[0][1], rows[other][2])  # fmt: skip
    refuse(first.write_rows(rows), check_commit, IntegrityError, "member 0 does not open|content of leaf 0 does not open")  # fmt: skip


def test_a_record_written_anew_is_not_the_one_that_the_leaf_binds(first, check_commit):
    """Somebody with the file's key changes its name, but not the commitments."""
    rows, key = first.rows, first.keyring.key(0)
    record, _ = records.open_record(key, rows[0][2], what="x")
    changed = records.fields(record.__class__(**{name: getattr(record, name) for name in record.__struct_fields__} | {"path_hex": "61"}))  # fmt: skip
    rows[0] = (rows[0][0], rows[0][1], records.seal(key, changed))
    refuse(first.write_rows(rows), check_commit, IntegrityError, "record 0 is not the one that its leaf binds")  # fmt: skip


def test_chunks_swapped_in_name_and_manifest(first, check_commit):
    aa, ab = first.id + "_aa", first.id + "_ab"
    a, b = first.read(aa), first.read(ab)
    size = min(len(a), len(b))
    first.write(aa, b[:size] + a[size:]).write(ab, a[:size] + b[size:])
    refuse(first, check_commit, FormatError, "the tar's header of member", keys=False)


def test_an_extra_sealed_entry(forgery, check_commit):
    for name in (f"{forgery.id}_zz", "a.txt", "keys.age", "manifest.json", f"{forgery.id}.vol9+9.par2x"):  # fmt: skip
        entry = {"name": name, "size": 1, "sha256": "sha256:" + "0" * 64, "blake3": "blake3:" + "0" * 64}  # fmt: skip
        forgery.data["sealed"] = sorted([*forgery.data["sealed"], entry], key=lambda file: file["name"])  # fmt: skip
        refuse(forgery, check_commit, FormatError, "names a file that is no part of a commit", keys=False)  # fmt: skip
        forgery.data["sealed"].remove(entry)


def test_a_missing_chunk_in_the_manifest(first, check_commit):
    first.data["sealed"] = [file for file in first.data["sealed"] if not file["name"].endswith("_ab")]  # fmt: skip
    refuse(first, check_commit, FormatError, "does not name records.sealed and all", keys=False)


@pytest.mark.parametrize("part", range(8))
def test_a_tar_header_that_is_not_the_one(part, forgery, check_commit):
    tar = bytearray(forgery.tar)
    at = [0, 100, 110, 140, 156, 157, 265, 500][part]
    tar[at] ^= 1
    # With a right checksum, too: other tools would read it, and a reader of ours must not.
    tar[148:156] = b"%06o\0 " % (sum(tar[:148]) + sum(b" " * 8) + sum(tar[156:512]))
    refuse(forgery.write_tar(bytes(tar)), check_commit, FormatError, "header of member 0, at byte 0", keys=False)  # fmt: skip


def test_a_tar_with_bytes_in_its_end(forgery, check_commit):
    tar = bytearray(forgery.tar)
    tar[-1] = 1
    refuse(forgery.write_tar(bytes(tar)), check_commit, FormatError, "does not end behind", keys=False)  # fmt: skip


# --- Chain and keyring ----------------------------------------------------------------------------


def previous_of(first):
    manifest = first.read("manifest.json")
    return Previous(first.id, f"sha256:{hashlib.sha256(manifest).hexdigest()}", first.data["merkle"]["root"])  # fmt: skip


def test_the_chain_holds_by_id_digest_and_root(forgery, first, check_commit):
    known = previous_of(first)
    check_commit(forgery.path, previous=known, check_chain=True)
    check_commit(first.path, previous=None, check_chain=True)
    wrong = [
        None,
        Previous("20200101T000000Z-aaaaaaaa", known.manifest_sha256, known.merkle_root),
        Previous(known.commit_id, "sha256:" + "0" * 64, known.merkle_root),
        Previous(known.commit_id, known.manifest_sha256, "blake3:" + "0" * 64),
    ]
    for previous in wrong:
        with pytest.raises(IntegrityError, match="the chain does not hold"):
            check_commit(forgery.path, previous=previous, check_chain=True)
    with pytest.raises(IntegrityError, match="the chain does not hold"):
        check_commit(first.path, previous=known, check_chain=True)


def test_a_commit_before_that_was_written_again_breaks_the_chain(forgery, first, check_commit):
    first.data["software"]["version"] = "0"
    first.save(first.home.archive.signing_key)
    check_commit(first.path)  # whole by itself
    with pytest.raises(IntegrityError, match="the chain does not hold"):
        check_commit(forgery.path, previous=previous_of(first), check_chain=True)


def test_a_sequence_out_of_order_is_refused(forgery, monkeypatch):
    archive = forgery.home.archive
    store = EmbeddedCommitStore(forgery.path.parents[1])
    monkeypatch.setitem(archive.__dict__, "store", store)
    assert archive.previous_of(forgery.id).commit_id == forgery.home.ids[0]
    forgery.data["chain"]["sequence"] = 7
    forgery.save(archive.signing_key)
    with pytest.raises(IntegrityError, match="is number 7, but the one before it number 1"):
        archive.previous_of(forgery.id)


def test_a_keyring_of_another_commit_is_refused(forgery, first, check_commit):
    shutil.copy(first.path / "keys.age", forgery.path / "keys.age")
    opened = open_keyring(forgery.read("keys.age"), forgery.home.archive.identities)
    with pytest.raises(FormatError, match=f"expected the keyring of commit {forgery.id}"):
        Keyring.decode(opened, forgery.id)
    count = len(forgery.keyring)
    other = Keyring(forgery.id, b"".join(first.keyring.key(leaf % len(first.keyring)) for leaf in range(count)))  # fmt: skip
    with pytest.raises(IntegrityError, match="record 0 does not open"):
        check_commit(forgery.path, keyring=other)
