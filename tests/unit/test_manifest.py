"""The manifest: what is signed, and refusal of all that rules 1, 2 and 4 of docs/spec/commit.md name."""

import base64
import json
import re

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive import manifest as manifests
from muniment.archive.signing import SigningKey
from muniment.errors import FormatError, SignatureError

KEY, OTHER = SigningKey(b"\7" * 32), SigningKey(b"\x08" * 32)
ID, BEFORE = "20261121T101112Z-abcdefg2", "20261120T101112Z-abcdefg2"
SHA, B3 = "sha256:" + "ab" * 32, "blake3:" + "cd" * 32


def sealed_file(name, size):
    return {"name": name, "size": size, "sha256": SHA, "blake3": B3}


def plain():
    """A manifest that is right, without its signature."""
    return {
        "format": "muniment-commit/1",
        "commit_id": ID,
        "created_at": "2026-11-21T10:11:12Z",
        "organization": {"id": "example", "name": "An Exämple"},
        "chain": {"sequence": 2, "previous": {"commit_id": BEFORE, "manifest_sha256": SHA, "merkle_root": B3}},
        "merkle": {"algorithm": "blake3-rfc9162", "leaf_count": 3, "root": B3},
        "packaging": {"format": "tar+split+par2", "tar_bytes": 2560, "chunk_bytes": 1000, "chunk_count": 3,
                      "chunk_prefix": ID + "_", "par2": {"block_bytes": 4, "recovery_blocks": 1}},
        "sealed": [sealed_file(ID + ".par2", 4), sealed_file(ID + ".vol0+1.par2", 4), sealed_file(ID + "_aa", 1000),
                   sealed_file(ID + "_ab", 1000), sealed_file(ID + "_ac", 560), sealed_file("records.sealed", 99)],
        "keys": {"signer": {"algorithm": "ed25519", "key_id": KEY.verify_key.key_id,
                            "public_key": base64.b64encode(bytes(KEY.verify_key)).decode()}},
        "software": {"name": "a test", "version": "1"},
    }  # fmt: skip


def signed(value, key=KEY):
    signature = key.sign(b"muniment-commit-manifest/1\n" + rfc8785.dumps(value))
    member = {"algorithm": "ed25519", "value": base64.b64encode(signature).decode()}
    return rfc8785.dumps(value | {"signature": member})


def changed(path, value):
    """The manifest with one value changed, or removed where it is `...`."""
    result = plain()
    *above, last = path.split(".")
    part = result
    for name in above:
        part = part[int(name)] if isinstance(part, list) else part[name]
    if value is ...:
        del part[last]
    else:
        part[int(last) if isinstance(part, list) else last] = value
    return result


def test_a_right_manifest_is_read_and_its_signature_holds():
    manifest = manifests.decode(signed(plain()))
    assert bytes(manifests.verify_signature(manifest, KEY.verify_key)) == bytes(KEY.verify_key)
    assert manifests.verify_signature(manifest, [OTHER.verify_key, KEY.verify_key])
    assert manifests.verify_signature(manifest)
    assert manifest.chunks == [ID + "_aa", ID + "_ab", ID + "_ac"]
    assert manifest.root == bytes.fromhex("cd" * 32)


def test_writing_gives_the_bytes_that_were_read():
    data = signed(plain())
    assert manifests.sign(manifests.decode(data), KEY) == data


def disclosed(fields):
    return {
        "leaf": 0,
        "fields": fields,
        "salts": dict.fromkeys(fields, "ab" * 32),
        "hidden": {},
    }


def test_files_may_be_disclosed_and_are_signed():
    files = [disclosed({"path_hex": "61", "size": 3})]
    data = signed(plain() | {"files": files})
    manifest = manifests.decode(data)
    manifests.verify_signature(manifest, KEY.verify_key)
    assert manifests.sign(manifest, KEY) == data


@pytest.mark.parametrize(
    "files",
    [
        {},
        [1],
        [{"leaf": 0}],
        [disclosed({"size": 1.5})],
        [disclosed({"size": 1 << 53})],
        [disclosed({"size": {"é": 1}})],
        [disclosed({"size": [{"b": {"c": 0.5}}]})],
        [disclosed({"é": 1})],
        [disclosed({}) | {"more": 1}],
        [disclosed({}) | {"leaf": -1}],
    ],
)
def test_disclosed_files_are_canonical_too(files):
    # The writer of JSON puts these numbers as RFC 8785 would; our restrictions forbid them all the same.
    value = json.loads(signed(plain())) | {"files": files}
    data = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    with pytest.raises(FormatError, match="manifest"):
        manifests.decode(data.encode())


@pytest.mark.parametrize("member", sorted({*plain(), "signature"}))
def test_every_member_is_required(member):
    value = json.loads(signed(plain()))
    del value[member]
    with pytest.raises(FormatError, match="manifest"):
        manifests.decode(rfc8785.dumps(value))


@pytest.mark.parametrize("path", ["", "organization", "chain", "chain.previous", "merkle", "packaging", "packaging.par2", "sealed.0", "keys", "keys.signer", "software", "signature"])  # fmt: skip
def test_nothing_unknown_hides_anywhere(path):
    value = json.loads(signed(plain()))
    part = value
    for name in filter(None, path.split(".")):
        part = part[int(name)] if isinstance(part, list) else part[name]
    part["more"] = 1
    with pytest.raises(FormatError, match="manifest"):
        manifests.decode(rfc8785.dumps(value))


WRONG = [
    ("format", "muniment-commit/2"), ("format", "muniment-commit/1\n"), ("commit_id", "20261121T101112Z-ABCDEFG2"),
    ("commit_id", ID + "\n"), ("commit_id", "../" + ID), ("commit_id", "20261321T101112Z-abcdefg2"),
    ("created_at", "2026-11-21T10:11:12"), ("created_at", "2026-11-21T10:11:12+00:00"), ("created_at", "2026-11-21T10:11:12.5Z"),
    ("created_at", "2026-02-30T10:11:12Z"), ("created_at", "2026-11-21T10:11:12Z\n"), ("created_at", "٢٠٢٦-11-21T10:11:12Z"),
    ("organization.id", ""), ("organization.id", "-x"), ("organization.id", "X"), ("organization.id", "a" * 64),
    ("organization.id", "a\n"), ("organization.name", ""), ("organization.name", "x" * 201), ("organization.name", None),
    ("chain.sequence", 0), ("chain.sequence", 1), ("chain.sequence", -1), ("chain.previous", None),
    ("chain.previous.merkle_root", SHA), ("chain.previous.manifest_sha256", "sha256:" + "AB" * 32),
    ("chain.previous.manifest_sha256", SHA + "\n"), ("merkle.algorithm", "sha256"), ("merkle.leaf_count", 0),
    ("merkle.leaf_count", 100_000_000), ("merkle.root", "cd" * 32), ("merkle.root", B3[:-2]), ("merkle.root", B3 + "\n"),
    ("packaging.format", "tar"), ("packaging.tar_bytes", 0), ("packaging.tar_bytes", 2561), ("packaging.tar_bytes", 3560),
    ("packaging.chunk_bytes", 0), ("packaging.chunk_bytes", 1001), ("packaging.chunk_count", 2), ("packaging.chunk_count", 4),
    ("packaging.chunk_count", 2**53 - 1), ("packaging.chunk_prefix", ""), ("packaging.chunk_prefix", "../x_"),
    ("packaging.chunk_prefix", BEFORE + "_"), ("packaging.par2", None), ("packaging.par2.block_bytes", 0),
    ("packaging.par2.recovery_blocks", 0), ("packaging.par2.recovery_blocks", ...), ("sealed", []), ("sealed", {}),
    ("sealed.2.size", 999), ("sealed.2.size", -1), ("sealed.4.size", 1000), ("sealed.2.sha256", "ab" * 32),
    ("sealed.2.blake3", SHA), ("sealed.0.name", "../x"), ("sealed.0.name", "keys.age"), ("sealed.0.name", "manifest.json"),
    ("sealed.0.name", ""), ("sealed.0.name", ID + "_ad"), ("sealed.0.name", ID + ".vol0+1.par3"), ("sealed.5.name", "records.unsealed"),
    ("sealed.5.name", "records.sealed\n"), ("keys.signer.algorithm", "rsa"), ("software.name", ""), ("software.version", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"), WRONG, ids=[f"{path}={value!r:.30}" for path, value in WRONG]
)
def test_values_out_of_range_and_contradictions_are_refused(path, value):
    with pytest.raises(FormatError, match="manifest"):
        manifests.decode(signed(changed(path, value)))


def test_huge_packaging_costs_nothing():
    huge = plain()
    huge["packaging"] |= {"chunk_bytes": 1, "tar_bytes": 2**53 - 1, "chunk_count": 2**53 - 1}
    with pytest.raises(FormatError, match="no part of a commit"):
        manifests.decode(signed(huge))


@pytest.mark.parametrize(
    "names",
    [
        [0, 1, 2, 3, 4, 4, 5],
        [1, 0, 2, 3, 4, 5],
        [0, 1, 2, 4, 3, 5],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 4, 5],
        [2, 3, 4, 5],
    ],
)
def test_lists_of_sealed_files_are_sorted_distinct_and_complete(names):
    value = plain()
    value["sealed"] = [value["sealed"][index] for index in names]
    with pytest.raises(FormatError, match="manifest"):
        manifests.decode(signed(value))


def test_without_parity_no_parity_file_is_named():
    value = plain()
    value["packaging"]["par2"] = None
    value["sealed"] = value["sealed"][2:]
    assert manifests.decode(signed(value)).packaging.par2 is None


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda data: data + b"\n",
        lambda data: json.dumps(json.loads(data), sort_keys=True, ensure_ascii=False).encode(),
        lambda data: json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode(),
        lambda data: data.replace(b'"leaf_count":3', b'"leaf_count":3.0'),
        lambda data: data.replace(b'"leaf_count":3', b'"leaf_count":03'),
        lambda data: data.replace(b'"leaf_count":3', b'"leaf_count":3e0'),
        lambda data: data.replace(b'"leaf_count":3', b'"leaf_count":3,"leaf_count":3'),
        lambda data: data.replace(b"a test", b"\\u0061 test"),
        lambda data: data.replace(b'{"chain":', b'{"commit_id":"' + ID.encode() + b'","chain":', 1),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data[:-1],
    ],
)
def test_other_bytes_of_the_same_manifest_are_refused(rewrite):
    data = signed(plain())
    assert rewrite(data) != data
    with pytest.raises(FormatError, match="manifest"):
        manifests.decode(rewrite(data))


CLAIMS = [
    ("chain.sequence", 3), ("created_at", "2026-11-21T10:11:13Z"), ("organization.name", "Another"), ("software.version", "2"),
    ("merkle.root", "blake3:" + "ef" * 32), ("chain.previous.merkle_root", "blake3:" + "ef" * 32), ("sealed.5.size", 98),
    ("sealed.2.sha256", "sha256:" + "ef" * 32), ("packaging.par2.block_bytes", 8),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), CLAIMS, ids=[path for path, _ in CLAIMS])
def test_every_claim_is_signed(path, value):
    forged = changed(path, value) | {"signature": json.loads(signed(plain()))["signature"]}
    manifest = manifests.decode(rfc8785.dumps(forged))
    with pytest.raises(SignatureError, match="does not verify"):
        manifests.verify_signature(manifest)


def test_a_signature_by_another_key_is_named():
    value = plain()
    value["keys"]["signer"] |= {
        "key_id": OTHER.verify_key.key_id,
        "public_key": base64.b64encode(bytes(OTHER.verify_key)).decode(),
    }
    manifest = manifests.decode(signed(value, OTHER))
    manifests.verify_signature(manifest)  # whole, but whose?
    with pytest.raises(SignatureError, match=re.escape(f"by {OTHER.verify_key.key_id}, expected")):
        manifests.verify_signature(manifest, KEY.verify_key)
    with pytest.raises(SignatureError, match="expected no key"):
        manifests.verify_signature(manifest, [])
    with pytest.raises(SignatureError, match="does not verify"):
        manifests.verify_signature(manifests.decode(signed(plain(), OTHER)))


def test_a_signature_without_the_context_does_not_hold():
    bare = base64.b64encode(KEY.sign(rfc8785.dumps(plain()))).decode()
    forged = plain() | {"signature": {"algorithm": "ed25519", "value": bare}}
    with pytest.raises(SignatureError, match="does not verify"):
        manifests.verify_signature(manifests.decode(rfc8785.dumps(forged)))


@pytest.mark.parametrize(
    "text", ["", "AA==", "A" * 43, "!" * 44, "A" * 42 + "B=", "A" * 43 + "=\n", "Ä" * 44]
)
def test_keys_and_signatures_have_one_writing(text):
    value = changed("keys.signer.public_key", text)
    with pytest.raises((FormatError, SignatureError)):
        manifests.verify_signature(manifests.decode(signed(value)))
    forged = plain() | {"signature": {"algorithm": "ed25519", "value": text}}
    with pytest.raises(FormatError, match="signature"):
        manifests.verify_signature(manifests.decode(rfc8785.dumps(forged)))


def test_a_key_id_of_another_key_is_refused():
    value = changed("keys.signer.key_id", OTHER.verify_key.key_id)
    with pytest.raises(SignatureError, match="but its public key is"):
        manifests.verify_signature(manifests.decode(signed(value)))


@given(st.data())
def test_every_changed_bit_is_refused(data):
    good = signed(plain())
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises((FormatError, SignatureError)):
        manifests.verify_signature(manifests.decode(bytes(bad)))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(FormatError):
        manifests.decode(data)
