"""The gateway's parts, on input that nobody would send who means well."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.gateway_names import LinkTable, RecordFolder
from muniment.content import dnslink
from muniment.content.cid import CID, RAW
from muniment.content.dag_scope import EntityBytes, parse_entity_bytes, select_blocks
from muniment.content.denylist import BlockedError, Denylist
from muniment.content.gateway_path import (
    ContentPath,
    encode_segments,
    parse_content_path,
    split_path,
)
from muniment.content.tar_stream import tar_stream
from muniment.content.unixfs import symlink_node
from muniment.content.unixfs.node import PBLink, encode_directory
from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions
from muniment.entrypoints.gateway.messages import HttpError, Request, read_scope
from muniment.entrypoints.gateway.negotiation import Format, negotiate, parse_ranges
from muniment.errors import FormatError, NotFoundError, UsageError
from muniment.testing.block_store import MemoryBlockStore

HELLO = b"hello\n"
HELLO_CID = CID.of(RAW, HELLO)


class Tree:
    """A store, and a gateway over it."""

    def __init__(self, **options):
        self.store = MemoryBlockStore()
        self.store.put(HELLO_CID, HELLO)
        self.gateway = Gateway(self.store, GatewayOptions(**options))

    def folder(self, **names):
        return self.links([PBLink(cid, name.encode(), 1) for name, cid in names.items()])

    def links(self, links):
        block = encode_directory(links)
        self.store.put(CID.of(0x70, block), block)
        return CID.of(0x70, block)

    def symlink(self, target):
        cid, block = symlink_node(target)
        self.store.put(cid, block)
        return cid

    def ask(self, target, method="GET", **headers):
        path, _, query = target.partition("?")
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.gateway.respond(Request(method, path, query, headers))
        return answer.status, dict(answer.headers), answer.first + b"".join(answer.rest or ())


@pytest.fixture
def tree():
    return Tree()


@pytest.mark.parametrize("path", ["", "/", "/ipfs", "/ipfs/", "/ipld/x", "/ipfs/a%0d%0ab", "/ipfs/a b", "/ipfs/%", "/ipfs/ä", "/" * 9000])  # fmt: skip
def test_other_paths_are_no_content_paths(path):
    with pytest.raises(FormatError):
        parse_content_path(path)


def test_an_escaped_slash_separates_nothing():
    assert parse_content_path("/ipfs/x//a%2Fb/./../").segments == (b"a/b", b".", b"..")


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5))
def test_names_survive_the_url(names):
    segments = tuple(names)
    assert split_path(encode_segments(segments))[0] == segments
    assert encode_segments(segments).isascii()


def test_too_many_names_are_refused():
    with pytest.raises(FormatError):
        split_path("/a" * 257)


@given(st.from_regex(r"([a-z0-9]+-{0,3}[a-z0-9]+\.){1,3}[a-z]+", fullmatch=True))
def test_domains_survive_their_label(domain):
    if len(domain.replace("-", "--")) <= dnslink.MAX_LABEL_CHARS:
        assert dnslink.uninline(dnslink.inline(domain)) == domain


@pytest.mark.parametrize("domain", ["", "a", "1.2.3.4", "a..b", "-a.b", "a b.c", "a/b.c", "x" * 300 + ".org", "ä.org"])  # fmt: skip
def test_other_text_is_no_domain(domain):
    with pytest.raises(FormatError):
        dnslink.check_domain(domain)


def test_the_first_link_of_a_domain_holds():
    texts = ["spf", "dnslink=/other/x", "dnslink=/ipns/b", "dnslink=/ipfs/a"]
    assert dnslink.find_link(texts) == "/ipfs/a"
    assert dnslink.find_link(texts[:2]) is None


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", None),
        ("text/html,application/xhtml+xml,*/*;q=0.8", None),
        ("application/vnd.ipld.raw", Format.RAW),
        ("text/html;q=0.5, application/vnd.ipld.car;q=0.9", Format.CAR),
        ("application/vnd.ipld.raw;q=0", None),
        ("*/*, application/json", None),
        ("image/png, application/vnd.ipld.dag-json", Format.DAG_JSON),
        (",;=;,", None),
    ],
)
def test_the_best_type_wins(accept, expected):
    assert negotiate(Request("GET", "/", "", {"accept": accept})).format is expected


@given(st.text(max_size=100))
def test_any_accept_and_range_can_be_read(text):
    request = Request("GET", "/", "", {"accept": text, "range": "bytes=" + text})
    negotiate(request)
    try:
        spans = parse_ranges(request, 10, '"x"')
    except HttpError as error:
        assert error.status == 416  # noqa: PT017
    else:
        assert all(0 <= span.offset < span.end <= 10 for span in spans)


@given(st.integers(-20, 20), st.integers(-20, 20) | st.none(), st.integers(0, 10))
def test_entity_bytes_are_what_a_slice_is(first, last, size):
    bounds = EntityBytes(first, last).within(size)
    start = first if first >= 0 else max(size + first, 0)
    stop = size if last is None else (last if last >= 0 else last + size) + 1
    expected = list(range(size))[start : max(stop, 0)]
    assert (list(range(*bounds)) if bounds else []) == expected


@pytest.mark.parametrize("text", ["", "1", ":", "*:1", "1:2:3", "a:b", "1:--2", "9" * 30 + ":*"])
def test_other_text_is_no_range_of_an_entity(text):
    with pytest.raises(FormatError):
        parse_entity_bytes(text)


def scope(**changes):
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
    } | changes


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"query_string": b"a" * 5000}, 414),
        ({"query_string": b"a&" * 100}, 400),
        ({"headers": [(b"a", b"b")] * 200}, 431),
        ({"headers": [(b"a", b"b" * 9000)]}, 431),
    ],
)
def test_requests_that_are_too_large_are_refused(changes, status):
    with pytest.raises(HttpError) as caught:
        read_scope(scope(**changes))
    assert caught.value.status == status


def test_a_request_is_ascii_whatever_came():
    request = read_scope(scope(raw_path=b"/ipfs/\xc4\x85 \r\n", query_string=b"a=\xff"))
    assert request.path == "/ipfs/%C4%85%20%0D%0A"
    assert request.query == "a=%FF"


class TestContent:
    def test_names_are_escaped_in_listings(self, tree):
        root = tree.links(
            [PBLink(HELLO_CID, b"<script>\"'&.txt", 1), PBLink(HELLO_CID, b"\xff\n", 1)]
        )
        text = tree.ask(f"/ipfs/{root}/")[2].decode()
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert f'href="/ipfs/{root}/%FF%0A"' in text

    def test_headers_hold_no_line_breaks(self, tree):
        root = tree.links([PBLink(HELLO_CID, b"a\r\nx: y", 1)])
        for target in (f"/ipfs/{root}/a%0D%0Ax:%20y", f"/ipfs/{HELLO_CID}?filename=a%0D%0Ab%22"):
            status, headers, _ = tree.ask(target)
            assert status == 200
            assert not any("\r" in value or "\n" in value for value in headers.values())

    def test_redirects_stay_here(self, tree):
        inner = tree.folder(x=HELLO_CID)
        root = tree.links([PBLink(inner, b"/evil.example", 1)])
        location = tree.ask(f"/ipfs/{root}//%2Fevil.example")[1]["location"]
        assert location == f"/ipfs/{root}/%2Fevil.example/"

    def test_text_is_called_what_it_is(self, tree):
        for data, expected in (
            (b'{"a": 1}', "application/json"),
            (b"[1,", "text/plain; charset=utf-8"),
            (b"[" * 100_000, "text/plain; charset=utf-8"),
            (b"<!DOCTYPE html><p>", "text/html; charset=utf-8"),
            (b"<svg xmlns=", "image/svg+xml"),
            (b"\x89PNG\r\n\x1a\n" + bytes(20), "image/png"),
            (b"", "application/octet-stream"),
        ):
            cid = CID.of(RAW, data)
            tree.store.put(cid, data)
            assert tree.ask(f"/ipfs/{cid}")[1]["content-type"] == expected

    def test_json_only_if_it_is(self, tree):
        assert tree.ask(f"/ipfs/{HELLO_CID}?format=json")[0] == 406
        assert tree.ask(f"/ipfs/{HELLO_CID}", accept="application/json")[0] == 406
        assert tree.ask(f"/ipfs/{HELLO_CID}", accept="application/json, text/plain, */*")[0] == 200

    def test_head_is_get_without_a_body(self, tree):
        root = tree.folder(a=HELLO_CID)
        for target in (f"/ipfs/{HELLO_CID}", f"/ipfs/{root}/", f"/ipfs/{HELLO_CID}?format=raw"):
            status, headers, body = tree.ask(target, "HEAD")
            assert (status, headers) == tree.ask(target)[:2]
            assert body == b""

    def test_a_directory_that_is_none_is_refused(self, tree):
        bad = CID.of(0x70, b"junk")
        tree.store.put(bad, b"junk")
        for query in ("", "?format=car", "?format=tar"):
            assert tree.ask(f"/ipfs/{bad}/{query}")[0] == 400
        assert tree.ask(f"/ipfs/{bad}/?format=raw")[2] == b"junk"

    def test_a_trustless_gateway_serves_only_what_can_be_verified(self):
        tree = Tree(deserialized=False)
        assert tree.ask(f"/ipfs/{HELLO_CID}")[0] == 406
        assert tree.ask(f"/ipfs/{HELLO_CID}?format=tar")[0] == 406
        assert tree.ask(f"/ipfs/{HELLO_CID}?format=raw")[2] == HELLO

    def test_what_takes_too_long_is_ended(self):
        tree = Tree(time_limit_s=-1)
        status, headers, _ = tree.ask(f"/ipfs/{HELLO_CID}")
        assert (status, headers["retry-after"]) == (504, "10")

    def test_a_defect_is_no_traceback(self, tree, caplog):
        def get(cid):
            raise ZeroDivisionError("secret")

        tree.store.get = get
        status, _, body = tree.ask(f"/ipfs/{HELLO_CID}")
        assert status == 500
        assert b"secret" not in body
        assert "secret" in caplog.text


class TestTar:
    def extract(self, tree, root):
        return b"".join(tar_stream(root, "root", tree.store.get))

    def names(self, data):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return archive.getnames()

    @pytest.mark.parametrize(
        "name", [b"..", b"../x", b"a/../../x", b"/../../etc/x", b".", b"a\0b", b""]
    )
    def test_names_that_lead_outside_end_it(self, tree, name):
        with pytest.raises(FormatError, match="outside"):
            self.extract(tree, tree.links([PBLink(HELLO_CID, name, 1)]))

    def test_nothing_is_written_through_a_symbolic_link(self, tree):
        link = tree.symlink(b"/etc")
        for name in (b"link/passwd", b"x/../link", b"link"):
            entries = [PBLink(link, b"link", 1), PBLink(HELLO_CID, name, 1)]
            with pytest.raises(FormatError):
                self.extract(tree, tree.links(entries))

    def test_names_of_any_bytes_and_length_are_kept(self, tree):
        root = tree.links([PBLink(HELLO_CID, b"n" * 300, 1), PBLink(HELLO_CID, b"\xff", 1)])
        assert self.names(self.extract(tree, root)) == ["root", "root/" + "n" * 300, "root/\udcff"]


class TestWalks:
    def test_a_dag_of_equal_links_is_sent_once(self, tree):
        root = HELLO_CID
        for _ in range(40):  # 2^40 ways to the bottom
            root = tree.folder(a=root, b=root)
        blocks = list(select_blocks([], root, tree.store.get, "all"))
        assert len(blocks) == 41

    def test_a_dag_without_end_is_not_followed(self, tree):
        root = HELLO_CID
        for _ in range(1100):
            root = tree.folder(a=root)
        with pytest.raises(FormatError, match="levels"):
            list(select_blocks([], root, tree.store.get, "all"))

    def test_a_missing_block_is_no_end_of_a_car(self, tree):
        missing = CID.of(RAW, b"missing")
        root = tree.folder(a=HELLO_CID, b=missing)
        with pytest.raises(NotFoundError):
            list(select_blocks([], root, tree.store.get, "all"))
        assert tree.ask(f"/ipfs/{root}?format=car")[0] == 404


class TestDenylist:
    def blocked(self, rules, path):
        """Return the status that a path is blocked with, or None."""
        denylist = Denylist()
        denylist.add(rules.encode())
        try:
            denylist.check_path(parse_content_path(path))
        except BlockedError as error:
            return error.status
        return None

    V0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"

    def test_a_cid_blocks_its_hash_under_every_codec(self):
        v1 = CID.parse(self.V0).to_v1()
        for rule in (f"/ipfs/{self.V0}", f"/ipfs/{v1}"):
            assert self.blocked(rule, f"/ipfs/{self.V0}") == 410
            assert self.blocked(rule, f"/ipfs/{v1}")
            assert not self.blocked(rule, f"/ipfs/{v1}/path")

    def test_paths_and_prefixes(self):
        root = f"/ipfs/{self.V0}"
        assert self.blocked(f"{root}/a%20b", f"{root}/a%20b/")
        assert not self.blocked(f"{root}/a", f"{root}/ab")
        assert self.blocked(f"{root}/a*", f"{root}/ab")
        assert self.blocked(f"{root}/*", root)

    def test_the_last_rule_holds(self):
        rules = f"/ipfs/{self.V0}/a*\n!/ipfs/{self.V0}/ab*\n/ipfs/{self.V0}/abc"
        expected = {"a": True, "ab": False, "abc": True, "abcd": False, "x": False}
        for name, outcome in expected.items():
            assert self.blocked(rules, f"/ipfs/{self.V0}/{name}") == (410 if outcome else None)

    def test_names_and_domains(self):
        assert self.blocked("/ipns/Example.org/a*", "/ipns/example.org/abc")
        assert not self.blocked("/ipns/example.org", "/ipns/example.net")

    def test_the_published_hashes(self):  # the example of IPIP-383
        rules = """version: 1
name: example
---
//QmX9dhRcQcKUw3Ws8485T5a9dtjrSCQaUAHnG4iK9i4ceM
//d9d295bde21f422d471a90f2a37ec53049fdf3e5fa3ee2e8f20e10003da429e7 status=451
//3f8b9febd851873b3774b937cce126910699ceac56e72e64b866f8e258d09572
"""
        assert self.blocked(rules, "/ipfs/QmVTF1yEejXd9iMgoRTFDxBv7HAz9kuZcQNBzHrceuK9HR")
        second = "/ipfs/bafybeiefwqslmf6zyyrxodaxx4vwqircuxpza5ri45ws3y5a62ypxti42e"
        assert self.blocked(rules, second) == 451
        assert self.blocked(rules, f"{second}/path")
        assert not self.blocked(rules, f"{second}/path2")

    def test_blocks_are_not_served_by_another_way(self):
        denylist = Denylist()
        denylist.add(f"/ipfs/{HELLO_CID} status=451".encode())
        tree = Tree(denylist=denylist)
        root = tree.folder(a=HELLO_CID)
        for target in (f"/ipfs/{HELLO_CID}", f"/ipfs/{root}/a", f"/ipfs/{root}?format=car"):
            assert tree.ask(target)[0] == 451
        assert tree.ask(f"/ipfs/{root}/")[0] == 200

    @pytest.mark.parametrize("line", ["x", "/ipfs/", "/ipfs/x", "/other/x", "//x", "//QmInvalid0", "version: 2\n---\n"])  # fmt: skip
    def test_what_is_no_rule_is_refused(self, line):
        with pytest.raises(FormatError):
            Denylist().add(line.encode())

    @given(st.binary(max_size=100))
    def test_any_bytes_are_rules_or_refused(self, data):
        denylist = Denylist()
        try:
            denylist.add(data)
        except FormatError:
            return
        denylist.check_block(HELLO_CID)


class TestNames:
    def test_names_in_circles_are_refused(self):
        tree = Tree(
            dnslinks=LinkTable({"a.example": "/ipns/b.example", "b.example": "/ipns/a.example"})
        )
        assert tree.ask("/ipns/a.example/")[0] == 502

    def test_a_link_to_nonsense_is_refused(self):
        tree = Tree(dnslinks=LinkTable({"a.example": "/ipfs/nonsense", "b.example": "/nonsense"}))
        assert tree.ask("/ipns/a.example/")[0] == 400
        assert tree.ask("/ipns/b.example/")[0] == 502

    def test_a_file_that_no_name_names_is_refused(self, tmp_path):
        (tmp_path / "nonsense.ipns-record").write_bytes(b"")
        with pytest.raises(UsageError, match="not called by an IPNS name"):
            RecordFolder(tmp_path)
        with pytest.raises(UsageError, match="cannot read"):
            RecordFolder(tmp_path / "missing")

    def test_a_path_is_written_as_it_is_read(self):
        path = ContentPath("ipfs", "bafkqaaa", ("ą".encode(), b"b c"))
        assert str(path) == "/ipfs/bafkqaaa/%C4%85/b%20c"
        assert parse_content_path(str(path)) == path
