"""Records: commitments, sealing, and refusal of all that section 7 of docs/spec/commit.md does not allow."""

import json
import os

import pytest
import rfc8785
from blake3 import blake3
from hypothesis import assume, given
from hypothesis import strategies as st

from muniment.archive import record as records
from muniment.archive import sealed_stream as streams
from muniment.archive.catalog import ContentPlace, Kind, ScannedFile
from muniment.errors import FormatError, IntegrityError

KEY = bytes(range(32))
ID = "20261121T101112Z-abcdefg2"
BASE = {"ctime_ns": "2", "kind": "directory", "mode": 0o755, "mtime_ns": "1", "path_hex": "61"}
CONTENT = {"compression": "none", "offset": 512, "packed_size": 5, "sealed_size": 512}
FILE = BASE | {"kind": "file", "blake3": "ab" * 32, "media_type": "text/plain", "size": 5, "content": CONTENT}  # fmt: skip
COPY = FILE | {"content": CONTENT | {"commit_id": ID, "key_hex": "cd" * 32, "leaf": 3}}
EMPTY = {name: value for name, value in FILE.items() if name != "content"} | {
    "size": 0,
    "blake3": blake3().hexdigest(),
}
LINK = BASE | {"kind": "symlink", "target_hex": "2e2e2f61"}


def sealed(plain):
    if not isinstance(plain, bytes):
        plain = rfc8785.dumps(plain)
    return streams.seal(records.record_key(KEY), plain, streams.RECORD_UNIT, streams.RECORD_LEAST)


def opened(plain):
    return records.open_record(KEY, sealed(plain), what="record 0")


def without(record, name):
    return {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize("plain", [BASE, FILE, COPY, EMPTY, LINK])
def test_records_that_the_specification_allows(plain):
    record, fields = opened(plain)
    assert records.encode(fields) == rfc8785.dumps(plain)
    assert [name for name, _ in fields] == sorted(plain)
    assert record.path == b"a"


CHANGES = {
    "an unknown field": FILE | {"more": 1},
    "an unknown field in content": FILE | {"content": CONTENT | {"more": 1}},
    "an unknown kind": BASE | {"kind": "fifo"},
    "no kind": without(BASE, "kind"),
    "no mode": without(BASE, "mode"),
    "no ctime": without(BASE, "ctime_ns"),
    "a mode too large": BASE | {"mode": 0o10000},
    "a mode below 0": BASE | {"mode": -1},
    "a mode as text": BASE | {"mode": "493"},
    "a mode as float": json.dumps(BASE | {"mode": 493.0}, sort_keys=True, separators=(",", ":")).encode(),
    "null": BASE | {"blake3": None},
    "a time as number": BASE | {"mtime_ns": 1},
    "a time with a leading zero": BASE | {"mtime_ns": "01"},
    "a time of minus zero": BASE | {"mtime_ns": "-0"},
    "a time with a plus": BASE | {"mtime_ns": "+1"},
    "a time with a blank": BASE | {"mtime_ns": " 1"},
    "a time with a line feed": BASE | {"mtime_ns": "1\n"},
    "a time beyond 64 bits": BASE | {"mtime_ns": "9223372036854775808"},
    "a change time beyond 64 bits": BASE | {"ctime_ns": "-9999999999999999999"},
    "a time in other digits": BASE | {"mtime_ns": "١"},
    "an odd path": BASE | {"path_hex": "6"},
    "a path in capitals": BASE | {"path_hex": "6A"},
    "no path": BASE | {"path_hex": ""},
    "a path with a line feed": BASE | {"path_hex": "61\n"},
    "a path too long": BASE | {"path_hex": "61" * 4097},
    "a digest on a folder": BASE | {"blake3": "ab" * 32},
    "a size on a folder": BASE | {"size": 0},
    "a type on a link": LINK | {"media_type": "text/plain"},
    "content on a folder": BASE | {"content": CONTENT},
    "content on a link": LINK | {"content": CONTENT},
    "a file without a size": without(FILE, "size"),
    "a file without a digest": without(FILE, "blake3"),
    "a file without a type": without(FILE, "media_type"),
    "a file without content": without(FILE, "content"),
    "an empty file with content": FILE | {"size": 0, "blake3": blake3().hexdigest()},
    "an empty file with another digest": EMPTY | {"blake3": "ab" * 32},
    "a size below 0": FILE | {"size": -1},
    "a size beyond 53 bits": json.dumps(FILE | {"size": 1 << 53}, sort_keys=True, separators=(",", ":")).encode(),
    "a digest in capitals": FILE | {"blake3": "AB" * 32},
    "a short digest": FILE | {"blake3": "ab" * 31},
    "a digest with a line feed": FILE | {"blake3": "ab" * 32 + "\n"},
    "a type without a slash": FILE | {"media_type": "text"},
    "an empty type": FILE | {"media_type": ""},
    "a type with a blank": FILE | {"media_type": " text/plain"},
    "a type with a line feed": FILE | {"media_type": "text/plain\n"},
    "an unknown compression": FILE | {"content": CONTENT | {"compression": "gzip"}},
    "an offset below 0": FILE | {"content": CONTENT | {"offset": -512}},
    "a copy without a key": FILE | {"content": without(COPY["content"], "key_hex")},
    "a copy without a leaf": FILE | {"content": without(COPY["content"], "leaf")},
    "a copy without a commit": FILE | {"content": without(COPY["content"], "commit_id")},
    "a copy of a commit by another name": FILE | {"content": COPY["content"] | {"commit_id": "../" + ID}},
    "a copy of a commit with a line feed": FILE | {"content": COPY["content"] | {"commit_id": ID + "\n"}},
    "a link without a target": without(LINK, "target_hex"),
    "an empty target": LINK | {"target_hex": ""},
    "a target with a zero byte": LINK | {"target_hex": "6100"},
    "a target too long": LINK | {"target_hex": "61" * 4097},
    "a target on a file": FILE | {"target_hex": "61"},
    "no JSON": b"hello",
    "nothing": b"",
    "a list": b"[]",
    "blanks": rfc8785.dumps(BASE).replace(b":", b": "),
    "another order": json.dumps(dict(sorted(BASE.items(), reverse=True)), separators=(",", ":")).encode(),
    "a name twice": rfc8785.dumps(BASE)[:-1] + b',"path_hex":"61"}',
    "an escape": rfc8785.dumps(BASE).replace(b"directory", b"d\\u0069rectory"),
    "an escaped name": rfc8785.dumps(BASE).replace(b'"kind"', b'"k\\u0069nd"'),
    "bytes behind the zeros": rfc8785.dumps(BASE) + b"\0\0x",
    "a blank behind": rfc8785.dumps(BASE) + b" ",
    "a zero within": rfc8785.dumps(BASE).replace(b"directory", b"directory\0"),
    "depth": b'{"content":' * 5000,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_records_that_must_be_refused(name):
    with pytest.raises(FormatError, match="record 0"):
        opened(CHANGES[name])


@pytest.mark.parametrize("path", [b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/.", b"./a", b"a\0b", b"/", b"a/..", b"\0"])  # fmt: skip
def test_paths_that_are_not_clean_are_refused(path):
    with pytest.raises(FormatError, match="path that is not clean"):
        opened(BASE | {"path_hex": path.hex()})


@pytest.mark.parametrize(
    "path", [b"...", b"..a", b"a/..b/.c", b"\xff\xfe", b"a\nb", b" ", b"a" * 4096]
)
def test_odd_paths_that_are_clean_are_read(path):
    assert opened(BASE | {"path_hex": path.hex()})[0].path == path


@given(st.binary(max_size=300))
def test_any_plaintext_is_refused_or_canonical(plain):
    assume(not plain.endswith(b"\0"))
    try:
        _, fields = opened(plain)
    except FormatError:
        return
    assert records.encode(fields) == plain


def test_a_record_opens_under_its_own_key_only():
    for other in (bytes(32), records.record_key(KEY), records.content_key(KEY)):
        with pytest.raises(IntegrityError, match="does not open"):
            records.open_record(other, sealed(FILE), what="record 0")


def test_commitments_are_those_of_the_specification():
    record_fields = records.fields(opened(FILE)[0])
    out = b"\x02"
    for name in sorted(FILE):
        label = bytes([len(name)]) + name.encode()
        salt = blake3(KEY + name.encode(), derive_key_context="muniment 2026-11-21 field salt")
        value = rfc8785.dumps(FILE[name])
        out += label + blake3(label + value, key=salt.digest()).digest()
    assert records.fields_digest(KEY, record_fields) == blake3(out).digest()
    assert records.record_key(KEY) == blake3(KEY, derive_key_context="muniment 2026-11-21 record key").digest()  # fmt: skip
    assert records.content_key(KEY) == blake3(KEY, derive_key_context="muniment 2026-11-21 content key").digest()  # fmt: skip


@given(st.sampled_from([BASE, FILE, COPY, LINK]), st.data())
def test_every_field_and_the_key_are_bound(plain, data):
    record, fields = opened(plain)
    before = records.fields_digest(KEY, fields)
    name = data.draw(st.sampled_from(["ctime_ns", "mode", "mtime_ns", "path_hex"]))
    changed = opened(plain | {name: 7 if name == "mode" else "77"})[1]
    assert records.fields_digest(KEY, changed) != before
    assert records.fields_digest(bytes(32), fields) != before
    assert records.fields_digest(KEY, fields[:-1]) != before
    assert len({records.field_salt(KEY, name) for name, _ in fields}) == len(fields)
    assert record.path


components = st.binary(min_size=1, max_size=30).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in (b".", b"..")
)
times = st.integers(-records.NANOSECONDS_MAX, records.NANOSECONDS_MAX)


@given(
    st.builds(
        ScannedFile,
        path=st.lists(components, min_size=1, max_size=4).map(b"/".join),
        kind=st.sampled_from(Kind),
        size=st.integers(0, 1 << 50),
        mode=st.integers(0, 0o7777),
        mtime_ns=times,
        ctime_ns=times,
        inode=st.just(0),
        target=st.none(),
    ),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(["none", "zstd", "lz4"]),
)
def test_what_was_scanned_comes_back(scanned, digest, compression):
    if scanned.kind is Kind.SYMLINK:
        scanned = scanned._replace(size=0, target=b"../x\xff")
    elif scanned.kind is Kind.DIRECTORY:
        scanned = scanned._replace(size=0)
    is_file = scanned.kind is Kind.FILE
    digest = digest if scanned.size else blake3().digest()
    content = records.Content(compression, 512, scanned.size, 1024) if scanned.size else None
    built = records.build(scanned, digest if is_file else None, "text/plain", content)
    again, _ = records.open_record(KEY, records.seal(KEY, records.fields(built)), what="x")
    archived = records.to_archived(again, ID, 9)
    assert archived.scanned == scanned
    assert archived.digest == (digest if is_file else None)
    place = ContentPlace(ID, 9, 512, 1024, scanned.size, compression)
    assert archived.place == (place if content else None)


def test_sizes_of_records_tell_little():
    sizes = {len(sealed(BASE | {"path_hex": os.urandom(length).replace(b"/", b"x").replace(b"\0", b"x").hex()})) for length in range(1, 100)}  # fmt: skip
    assert len(sizes) == 1
