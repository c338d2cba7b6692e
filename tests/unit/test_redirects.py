"""The `_redirects` file: the format of specs.ipfs.tech/http-gateways/web-redirects-file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.content.redirects import MAX_FILE_BYTES, Redirect, find_redirect, parse_redirects
from muniment.errors import FormatError


def answer(text, path, query=""):
    return find_redirect(parse_redirects(text.encode()), path, query)


@pytest.mark.parametrize(
    ("rule", "path", "expected"),
    [
        ("/a /b", "/a", Redirect(301, "/b")),
        ("  /a \t /b   302  ", "/a/", Redirect(302, "/b")),
        ("/a/:x/:y /:y/:x/:x 200", "/a/1/2", Redirect(200, "/2/1/1")),
        ("/a/* /b/:splat", "/a/1/2", Redirect(301, "/b/1/2")),
        ("/* /index.html 404", "/", Redirect(404, "/index.html")),
        ("/a /b/:unknown", "/a", Redirect(301, "/b/:unknown")),
        ("/a https://example.net/x 308", "/a", Redirect(308, "https://example.net/x")),
        ("/a /b", "/a/b", None),
        ("/a/:x /b", "/a", None),
        ("# /a /b\n\n/a /c", "/a", Redirect(301, "/c")),
        ("/a /first\r\n/a /second", "/a", Redirect(301, "/first")),
    ],
)
def test_the_first_rule_that_matches_holds(rule, path, expected):
    assert answer(rule, path) == expected


@pytest.mark.parametrize(
    ("rule", "query", "target"),
    [
        ("/a /b", "x=1&x=2", "/b?x=1&x=2"),
        ("/a /b?x=0&y=0#here", "x=1", "/b?y=0&x=1#here"),
        ("/a /b?x=0", "", "/b?x=0"),
    ],
)
def test_redirects_keep_the_query(rule, query, target):
    assert answer(rule, "/a", query).target == target


@pytest.mark.parametrize(
    "line",
    [
        "/a", "/a /b 301 x", "/a /b 301!", "/a /b 500", "/a /b ٣٠١", "a /b", "/a b", "/a //evil.example/", "/a*/b /c",
        "/*/b /c", "/ab* /c", "/:x/:x /c", "/a javascript:alert(1)", "/a ftp://example.net/", "/a https://example.net/ 200",
        "/a http:///x", "/a /b\x7f",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(line):
    with pytest.raises(FormatError, match="line 1: "):
        parse_redirects(line.encode())


def test_what_is_too_large_is_refused():
    parse_redirects(b"#" * MAX_FILE_BYTES)
    with pytest.raises(FormatError, match="redirects file size cannot exceed"):
        parse_redirects(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(FormatError, match="rules"):
        parse_redirects(b"/a /b\n" * 1025)


@given(st.binary(max_size=200), st.text("/ab:*%", max_size=20))
def test_any_bytes_are_rules_or_refused(data, path):
    try:
        rules = parse_redirects(data)
    except FormatError:
        return
    find_redirect(rules, path, "a=1")
