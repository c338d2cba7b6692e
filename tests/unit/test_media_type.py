"""Media types: by extension, by content, and always in the form of RFC 6838."""

import re

import puremagic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.archive.media_type import HEAD_BYTES, PATTERN, _has_magic, media_type


@pytest.mark.parametrize(
    ("path", "head", "expected"),
    [
        (b"a/b.txt", b"\x89PNG\r\n\x1a\n", "text/plain"),
        (b"a/B.PDF", b"", "application/pdf"),
        (b"a/b", b"", "application/octet-stream"),
        (b"a/b", b"hello", "text/plain"),
        (b"a/b", "grüße".encode(), "text/plain"),
        (b"a/b", ("x" * (HEAD_BYTES - 1) + "ü").encode()[:HEAD_BYTES], "text/plain"),
        (b"a/b", b"\0\x81\x9f" * 10, "application/octet-stream"),
        (b"a/b", b'<?xml version="1.0"?>', "text/xml"),
        (b"a/b", b"%PDF-1.7\n", "application/pdf"),
        (b"a/b", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        (b"a/.txt", b"", "application/octet-stream"),
        (b"a.txt/b", b"", "application/octet-stream"),
        (b"a/b.\xff\xfe", b"hello", "text/plain"),
        (b"a/b.txt\n", b"\0", "application/octet-stream"),
    ],
)
def test_types_of_known_files(path, head, expected):
    assert media_type(path, head) == expected


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=HEAD_BYTES))
@example(b"cabinet", b"MSCF\0\0\0\0")
@example(b"cabinet", b"ISc(\0\0\0\0")
def test_every_type_has_the_form_of_rfc_6838(path, head):
    assert re.fullmatch(PATTERN, media_type(path, head))


def test_every_signature_that_is_known_gives_a_type_of_that_form():
    """The library's table has types with blanks and without any: none may get into a record."""
    for signature in puremagic.magic_header_array:
        if signature.byte_match and signature.offset < HEAD_BYTES:
            head = bytes(signature.offset) + signature.byte_match + bytes(64)
            assert re.fullmatch(PATTERN, media_type(b"x", head)), signature


def test_nothing_that_puremagic_knows_is_passed_over():
    rows = [*puremagic.magic_header_array, *puremagic.magic_footer_array]
    for row in rows:
        before = bytes(row.offset) if row.offset > 0 else b""
        after = bytes(max(0, -row.offset - len(row.byte_match))) if row.offset < 0 else b"\0"
        assert _has_magic(before + row.byte_match + after), row
    assert not _has_magic(bytes(range(7, 250)) * 8)
