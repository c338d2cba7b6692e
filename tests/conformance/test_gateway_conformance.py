"""The gateway over the public fixtures, held to the HTTP gateway specifications of the IPFS project (specs.ipfs.tech/http-gateways).

`make conformance` runs the project's own suite; this is ours, so that every run of the tests holds the same promises.
"""

import io
import tarfile

import pytest

from muniment.content.car import CarReader
from muniment.content.cid import CID
from muniment.content.dag_pb import decode_node
from muniment.content.ipns import parse_name, verify_record
from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions
from muniment.entrypoints.gateway.messages import Request
from muniment.testing.block_store import MemoryBlockStore
from muniment.testing.gateway import FIXTURES, NO_FIXTURES, Fixtures

pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=NO_FIXTURES)

LISTING = "bafybeig6ka5mlwkl4subqhaiatalkcleo4jgnr3hqwvpmsqfca27cijp3i"
CACHE = "bafybeib3ffl2teiqdncv3mkz4r23b5ctrwkzrrhctdbne6iboayxuxk5ui"
FILES = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"
RAW_DIR = "bafybeie72edlprgtlwwctzljf6gkn2wnlrddqjbkxo3jomh4n7omwblxly"
MISSING_BLOCK = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk"
HAMT = "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"
TWO_FILES = "bafybeietjm63oynimmv5yyqay33nui4y4wx6u3peezwetxgiwvfmelutzu"
MIXED = "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu"
DAG_CBOR = "bafyreibs4utpgbn7uqegmd2goqz4bkyflre2ek2iwv743fhvylwi4zeeim"
DAG_JSON = "baguqeeram5ujjqrwheyaty3w5gdsmoz6vittchvhk723jjqxk7hakxkd47xq"
SYMLINK = "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt"
HELLO = "bafkqabtimvwgy3yk"
IMMUTABLE = "public, max-age=29030400, immutable"
V1_V2 = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w"
V2 = "k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f"
GATEWAY_CACHE_NAME = "k51qzi5uqu5dlxdsdu5fpuu7h69wu4ohp32iwm9pdt9nq3y5rpn3ln9j12zfhe"


@pytest.fixture(scope="module")
def fixtures():
    return Fixtures()


@pytest.fixture(scope="module")
def gateway(fixtures):
    store = MemoryBlockStore()
    fixtures.load(store)
    hosts = {"example.com": True}
    return Gateway(
        store, GatewayOptions(hosts=hosts, records=fixtures.records, dnslinks=fixtures.link_table)
    )


@pytest.fixture
def ask(gateway):
    """Ask for a target; returns status, headers and body."""

    def ask(target, *, method="GET", host="127.0.0.1", scheme="http", **headers):
        path, _, query = target.partition("?")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, path, query, {"host": host, **named}, scheme)
        response = gateway.respond(request)
        return (
            response.status,
            dict(response.headers),
            response.first + b"".join(response.rest or ()),
        )

    return ask


def car_cids(body):
    """Return the CIDs in a CAR, whose blocks are all verified."""
    return [str(cid) for cid, _ in CarReader(io.BytesIO(body))]


class TestFiles:
    def test_a_file_comes_with_what_caches_need(self, ask):
        path = f"/ipfs/{CACHE}/root2/root3/root4/index.html"
        status, headers, body = ask(path)
        assert (status, body) == (200, b"hello\n")
        assert headers["cache-control"] == IMMUTABLE
        assert headers["x-ipfs-path"] == path
        roots = headers["x-ipfs-roots"].split(",")
        assert len(roots) == 5
        assert roots[0] == CACHE
        assert headers["etag"] == f'"{roots[-1]}"'
        assert headers["content-type"] == "text/html; charset=utf-8"

    def test_the_target_of_a_link_is_no_data(self, ask):
        assert ask(f"/ipfs/{SYMLINK}/bar?format=dag-json")[0] == 406

    @pytest.mark.parametrize("condition", ["{}", "W/{}", '"a", "b", {}', "*"])
    def test_what_the_client_has_is_not_sent_again(self, ask, condition):
        path = f"/ipfs/{CACHE}/root2/root3/root4/"
        etag = ask(path)[1]["etag"]
        assert etag.strip('"') == ask(path)[1]["x-ipfs-roots"].split(",")[-1]
        status, _, body = ask(path, if_none_match=condition.format(etag))
        assert (status, body) == (304, b"")

    @pytest.mark.parametrize(
        ("path", "uri"),
        [
            (f"/ipfs/{LISTING}/", f"ipfs://{LISTING}/"),
            (f"/ipfs/{SYMLINK}/bar", "ipfs://bafybeid7rpbh2clkm6tj2zuq6oq4lyvmo5b6y7mf23h4kaqlfq4ulz4zje/bar"),
            (f"/ipfs/{LISTING}/%C4%85/%C4%99/file-%C5%BA%C5%82.txt", f"ipfs://{LISTING}/%C4%85/%C4%99/file-%C5%BA%C5%82.txt"),
            (f"/ipns/{V1_V2}", f"ipns://{V1_V2}"),
            ("/ipns/DNSLink-Test.example.org/", "ipns://dnslink-test.example.org/"),
        ],
    )  # fmt: skip
    def test_content_says_its_address(self, ask, path, uri):
        assert ask(path)[1]["ipfs-uri"] == uri

    @pytest.mark.parametrize(
        ("condition", "status"), [("{}", 200), ("*", 200), ('"other", {}', 200), ('"other"', 412), ("W/{}", 412)]
    )  # fmt: skip
    def test_only_the_version_that_the_client_insists_on(self, ask, condition, status):
        path = f"/ipfs/{CACHE}/root2/root3/root4/"
        etag = ask(path)[1]["etag"]
        assert ask(path, if_match=condition.format(etag))[0] == status

    def test_a_directory_has_a_slash_at_its_end(self, ask):
        status, headers, _ = ask(f"/ipfs/{LISTING}/%C4%85/%C4%99?x=1")
        assert (status, headers["location"]) == (301, f"/ipfs/{LISTING}/%C4%85/%C4%99/?x=1")

    def test_a_listing_links_everything(self, ask):
        _, headers, body = ask(f"/ipfs/{LISTING}/%C4%85/%C4%99/")
        text = body.decode()
        assert headers["etag"].startswith('"DirIndex-')
        assert headers["cache-control"] != IMMUTABLE
        assert (
            f'<a href="/ipfs/{LISTING}/%C4%85/%C4%99/file-%C5%BA%C5%82.txt">file-źł.txt</a>' in text
        )
        assert f'<a href="/ipfs/{LISTING}/%C4%85/%C4%99/..">..</a>' in text
        assert "?filename=file-%25C5%25BA%25C5%2582.txt" in text
        assert b'">..</a>' not in ask(f"/ipfs/{LISTING}/")[2]

    def test_a_listing_runs_no_script(self, ask):
        _, headers, body = ask(f"/ipfs/{LISTING}/")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert b"<script" not in body

    def test_content_that_shares_an_origin_is_sandboxed(self, ask):
        path = "/root2/root3/root4/index.html"
        shared = ask(f"/ipfs/{CACHE}{path}")[1]["content-security-policy"].split()
        assert "sandbox" in shared
        assert "allow-same-origin" not in shared
        own = ask(path, host=f"{CACHE}.ipfs.example.com")[1]
        assert "content-security-policy" not in own

    def test_a_symbolic_link_is_its_target(self, ask):
        assert ask(f"/ipfs/{SYMLINK}/bar")[2] == b"foo"

    def test_escaped_names_are_found(self, ask):
        root = "bafybeig675grnxcmshiuzdaz2xalm6ef4thxxds6o6ypakpghm5kghpc34"
        path = "Portugal%252C+Espa%C3%B1a=Peninsula%20Ib%C3%A9rica.txt"
        status, headers, _ = ask(f"/ipfs/{root}/{path}")
        assert status == 200
        assert headers["x-ipfs-path"] == f"/ipfs/{root}/{path}"

    @pytest.mark.parametrize(
        ("target", "status"),
        [
            (f"/ipfs/{LISTING}/i-do-not-exist", 404),
            ("/ipfs/QmYzfKSE55XCjD1MW128RfciAf2DViABhEiXfgVFMabSjN", 404),
            ("/ipfs/QmInvalidCID", 400),
            ("/ipfs/", 400),
            ("/", 404),
            (f"/ipfs/{LISTING}/%zz", 400),
            (f"/ipfs/{LISTING}?format=zip", 400),
        ],
    )
    def test_what_is_wrong_gets_its_status(self, ask, target, status):
        assert ask(target)[0] == status

    @pytest.mark.parametrize("asked", ["..%2Fa.txt", "..%5Ca.txt"])
    def test_a_download_has_a_name_and_no_path(self, ask, asked):
        disposition = ask(f"/ipfs/{FILES}/ascii.txt?filename={asked}")[1]["content-disposition"]
        assert disposition == 'inline; filename=".._a.txt"'

    def test_capitals_say_the_same(self, ask):
        assert ask(f"/ipfs/{FILES.upper()}/ascii.txt")[2] == ask(f"/ipfs/{FILES}/ascii.txt")[2]
        assert ask(f"/ipns/{V1_V2.upper()}/x")[1]["location"] == f"/ipns/{V1_V2}/x"
        assert ask(f"/ipfs/B{FILES[1:]}/ascii.txt")[0] == 400

    def test_only_what_is_here_if_the_client_says_so(self, ask):
        missing = "/ipfs/QmYzfKSE55XCjD1MW128RfciAf2DViABhEiXfgVFMabSjN"
        assert ask(missing, cache_control="only-if-cached", method="HEAD")[0] == 412
        assert ask(f"/ipfs/{CACHE}/?format=raw", cache_control="only-if-cached")[0] == 200

    def test_other_methods_are_refused(self, ask):
        status, headers, _ = ask(f"/ipfs/{HELLO}", method="POST")
        assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert ask(f"/ipfs/{HELLO}", method="OPTIONS")[1]["access-control-allow-origin"] == "*"

    def test_no_service_worker_for_all_roots(self, ask):
        assert ask(f"/ipfs/{HELLO}", service_worker="script")[0] == 400


class TestRanges:
    PATH = f"/ipfs/{FILES}/ascii.txt"

    @pytest.mark.parametrize("value", ["Bytes=0-3", "bytes=0-3,", "bytes=,, 0-3"])
    def test_a_range_as_the_standard_lets_it_be_written(self, ask, value):
        status, headers, body = ask(self.PATH, range=value)
        assert (status, len(body)) == (206, 4)
        assert headers["content-range"].startswith("bytes 0-3/")

    def test_an_empty_file_has_no_parts(self, ask):
        assert ask("/ipfs/bafkqaaa", range="bytes=0-9")[::2] == (200, b"")

    @pytest.mark.parametrize(
        ("value", "first", "end"),
        [("bytes=6-16", 6, 17), ("bytes=-3", 28, 31), ("bytes=30-", 30, 31)],
    )
    def test_one_range(self, ask, value, first, end):
        whole = ask(self.PATH)[2]
        status, headers, body = ask(self.PATH, range=value)
        assert (status, body) == (206, whole[first:end])
        assert headers["content-range"] == f"bytes {first}-{end - 1}/31"
        assert headers["content-length"] == str(end - first)

    def test_several_ranges(self, ask):
        whole = ask(self.PATH)[2]
        status, headers, body = ask(self.PATH, range="bytes=6-16,0-4")
        assert status == 206
        assert headers["content-type"].startswith("multipart/byteranges; boundary=")
        assert headers["content-length"] == str(len(body))
        assert b"Content-Range: bytes 6-16/31\r\n\r\n" + whole[6:17] in body
        assert b"Content-Range: bytes 0-4/31\r\n\r\n" + whole[:5] in body

    @pytest.mark.parametrize(
        "value", ["bytes=0-9,5-12", "bytes=5-3", "chars=0-1", "bytes=", "bytes=" + "0-1," * 9]
    )
    def test_ranges_that_cannot_be_meant_are_ignored(self, ask, value):
        assert ask(self.PATH, range=value)[0] == 200

    def test_a_range_behind_the_end(self, ask):
        status, headers, _ = ask(self.PATH, range="bytes=31-")
        assert (status, headers["content-range"]) == (416, "bytes */31")

    def test_a_range_of_another_version_is_the_whole(self, ask):
        etag = ask(self.PATH)[1]["etag"]
        assert ask(self.PATH, range="bytes=0-1", if_range=etag)[0] == 206
        assert ask(self.PATH, range="bytes=0-1", if_range='"other"')[0] == 200

    @pytest.mark.parametrize("value", ["bytes=997-1000", "bytes=2200-2201"])
    def test_only_the_blocks_of_the_range_are_needed(self, ask, value):
        status, headers, body = ask(f"/ipfs/{MISSING_BLOCK}", range=value)
        assert (status, str(len(body))) == (206, headers["content-length"])


class TestRaw:
    def test_a_block_is_what_its_name_says(self, ask):
        status, headers, body = ask(
            f"/ipfs/{RAW_DIR}/dir/ascii.txt", accept="application/vnd.ipld.raw"
        )
        cid = headers["x-ipfs-roots"].split(",")[-1]
        assert status == 200
        assert CID.of(0x55, body) == CID.parse(cid)
        assert headers["content-type"] == "application/vnd.ipld.raw"
        assert headers["content-disposition"] == f'attachment; filename="{cid}.bin"'
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-location"].endswith("?format=raw")
        assert headers["etag"] == f'"{cid}.raw"'

    def test_format_wins_over_accept(self, ask):
        target = f"/ipfs/{RAW_DIR}?format=raw"
        assert ask(target, accept="application/vnd.ipld.car")[1]["content-type"].endswith(".raw")

    def test_the_probe(self, ask):
        assert ask("/ipfs/bafkqaaa?format=raw")[::2] == (200, b"")
        status, _, body = ask("/ipfs/bafkqaaa?format=car")
        assert status == 200
        assert [str(root) for root in CarReader(io.BytesIO(body)).roots] == ["bafkqaaa"]


class TestCar:
    def car(self, ask, target, **headers):
        status, answered, body = ask(target, **headers)
        assert status == 200
        assert answered["accept-ranges"] == "none"
        assert answered["content-disposition"].endswith('.car"')
        return answered["content-type"], car_cids(body)

    def test_the_way_and_everything_below(self, ask, fixtures):
        kind, cids = self.car(ask, f"/ipfs/{TWO_FILES}/subdir/ascii.txt?format=car")
        roots = ask(f"/ipfs/{TWO_FILES}/subdir/ascii.txt?format=raw")[1]["x-ipfs-roots"].split(",")
        assert cids == roots
        assert kind == "application/vnd.ipld.car; version=1; order=dfs; dups=n"

    def test_the_way_through_shards(self, ask):
        _, all_shards = self.car(ask, f"/ipfs/{HAMT}?format=car&dag-scope=entity")
        _, cids = self.car(ask, f"/ipfs/{HAMT}/685.txt?format=car&dag-scope=block")
        assert cids[0] == HAMT
        assert set(cids[:-1]) < set(all_shards)
        assert cids[-1] == ask(f"/ipfs/{HAMT}/685.txt?format=raw")[1]["x-ipfs-roots"].split(",")[-1]

    def test_the_scope_of_a_file_is_the_file(self, ask):
        target = f"/ipfs/{MIXED}/subdir/multiblock.txt?format=car"
        entity = self.car(ask, f"{target}&dag-scope=entity")[1]
        assert entity == self.car(ask, f"{target}&dag-scope=all")[1]
        assert entity[:3] == self.car(ask, f"{target}&dag-scope=block")[1]

    @pytest.mark.parametrize(
        ("span", "leaves"),
        [
            ("0:*", (0, 5)), ("512:*", (2, 5)), ("512:1023", (2, 4)), ("512:-256", (2, 4)), ("-5:*", (3, 5)),
            ("-9999:*", (0, 5)), ("-9999:-3", (0, 4)), ("0:0", (0, 1)), ("9999:*", (0, 0)), ("5:2", (0, 0)),
        ],
    )  # fmt: skip
    def test_the_bytes_of_an_entity(self, ask, span, leaves):
        file = ask(f"/ipfs/{MIXED}/subdir/multiblock.txt?format=raw")[1]["x-ipfs-roots"].split(",")[
            -1
        ]
        children = [str(link.cid) for link in decode_node(ask(f"/ipfs/{file}?format=raw")[2]).links]
        cids = self.car(ask, f"/ipfs/{file}?format=car&entity-bytes={span}")[1]
        assert cids == [file, *children[slice(*leaves)]]

    @pytest.mark.parametrize("span", ["0:1000", "2200:*"])
    def test_blocks_that_are_not_needed_may_be_missing(self, ask, span):
        assert len(self.car(ask, f"/ipfs/{MISSING_BLOCK}?format=car&entity-bytes={span}")[1]) == 2

    def test_duplicates_only_if_wanted(self, ask):
        kind, twice = self.car(
            ask, f"/ipfs/{FILES}", accept="application/vnd.ipld.car; order=dfs; dups=y"
        )
        assert kind.endswith("dups=y")
        once = self.car(ask, f"/ipfs/{FILES}?format=car")[1]
        assert len(twice) > len(set(twice))
        assert list(dict.fromkeys(twice)) == once

    def test_the_query_wins_over_accept(self, ask):
        target = f"/ipfs/{FILES}?format=car&car-dups=y"
        assert self.car(ask, target, accept="application/vnd.ipld.car; dups=n")[0].endswith(
            "dups=y"
        )

    def test_identity_blocks_are_never_sent(self, ask):
        assert self.car(ask, f"/ipfs/{HELLO}?format=car&car-dups=y")[1] == []

    def test_the_links_of_data_are_followed(self, ask):
        assert len(self.car(ask, f"/ipfs/{DAG_CBOR}?format=car")[1]) == 3
        assert self.car(ask, f"/ipfs/{DAG_CBOR}?format=car&dag-scope=entity")[1] == [DAG_CBOR]

    @pytest.mark.parametrize(
        "query",
        ["car-version=2", "car-order=bfs", "car-dups=maybe", "dag-scope=most", "entity-bytes=1", "entity-bytes=*:1"],
    )  # fmt: skip
    def test_what_is_not_known_is_refused(self, ask, query):
        assert ask(f"/ipfs/{FILES}?format=car&{query}")[0] == 400

    def test_different_questions_have_different_entity_tags(self, ask):
        queries = ["", "&dag-scope=block", "&dag-scope=entity", "&entity-bytes=0:1", "&car-dups=y"]
        tags = {ask(f"/ipfs/{FILES}?format=car{query}")[1]["etag"] for query in queries}
        assert len(tags) == len(queries)


class TestData:
    @pytest.mark.parametrize(("root", "name"), [(DAG_JSON, "json"), (DAG_CBOR, "cbor")])
    def test_a_block_of_data_comes_as_it_is(self, ask, root, name):
        raw = ask(f"/ipfs/{root}?format=raw")[2]
        status, headers, body = ask(f"/ipfs/{root}")
        assert (status, body) == (200, raw)
        assert headers["content-type"] == f"application/vnd.ipld.dag-{name}"
        assert headers["etag"] == f'"{root}.dag-{name}"'
        disposition = "inline" if name == "json" else "attachment"
        assert headers["content-disposition"] == f'{disposition}; filename="{root}.{name}"'
        plain = ask(f"/ipfs/{root}?format={name}")
        assert plain[1]["content-type"] == f"application/{name}"
        assert plain[2] == raw

    @pytest.mark.parametrize(
        ("root", "name"), [(DAG_JSON, "dag-cbor"), (DAG_CBOR, "dag-json"), (FILES, "dag-json"), (DAG_CBOR, "tar")]
    )  # fmt: skip
    def test_blocks_are_not_converted(self, ask, root, name):
        assert ask(f"/ipfs/{root}?format={name}")[0] == 406

    def test_paths_follow_links(self, ask):
        assert ask(f"/ipfs/{DAG_JSON}/foo/link/bar")[2] == b'{"hello":"this is not a link"}'
        assert ask(f"/ipfs/{DAG_CBOR}/foo")[0] == 501
        assert ask(f"/ipfs/{DAG_CBOR}/foo/i-do-not-exist")[0] == 404

    def test_browsers_get_a_page(self, ask):
        _, headers, body = ask(f"/ipfs/{DAG_CBOR}/", accept="text/html,*/*;q=0.8")
        assert headers["content-type"].startswith("text/html")
        assert "script" not in headers["content-security-policy"]
        assert f"/ipfs/{DAG_CBOR}" not in body.decode()
        assert b"</html>" in body


class TestTar:
    def members(self, body):
        with tarfile.open(fileobj=io.BytesIO(body), errorlevel=2) as archive:
            return {member.name: member for member in archive}

    def test_a_directory(self, ask):
        status, headers, body = ask(f"/ipfs/{LISTING}?format=tar")
        assert status == 200
        assert headers["etag"] == f'W/"{LISTING}.x-tar"'
        assert len(body) % 10240 == 0
        assert f"{LISTING}/ą/ę/file-źł.txt" in self.members(body)

    def test_a_symbolic_link(self, ask):
        members = self.members(ask(f"/ipfs/{SYMLINK}?format=tar")[2])
        assert members[f"{SYMLINK}/bar"].linkname == "foo"

    def test_names_that_lead_outside_are_refused(self, ask, fixtures):
        outside = fixtures.root("outside-root")
        inside = fixtures.root("inside-root")
        assert ask(f"/ipfs/{outside}?format=tar")[0] == 400
        assert f"{inside}/foobar/file" in self.members(ask(f"/ipfs/{inside}?format=tar")[2])


class TestNames:
    @pytest.mark.parametrize("name", [V1_V2, V2])
    def test_a_record_comes_with_its_proof(self, ask, name):
        status, headers, body = ask(f"/ipns/{name}?format=ipns-record")
        assert status == 200
        assert headers["cache-control"] == "public, max-age=1800"
        again = ask(f"/ipns/{name}?format=ipns-record", if_none_match=headers["etag"])
        assert (again[0], again[2]) == (304, b"")
        record = verify_record(body, parse_name(name), 1_700_000_000)
        assert record.value.startswith("/ipfs/")
        assert ask(f"/ipns/{name}")[2] == ask(record.value)[2]

    def test_an_older_signature_does_not_matter(self, ask):
        name = "k51qzi5uqu5dilgf7gorsh9vcqqq4myo6jd4zmqkuy9pxyxi5fua3uf7axph4y"
        assert ask(f"/ipns/{name}")[0] == 200

    @pytest.mark.parametrize(
        "name",
        [
            "k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku",  # V1 only
            "k51qzi5uqu5dlmit2tuwdvnx4sbnyqgmvbxftl0eo3f33wwtb9gr7yozae9kpw",  # V1 and V2 differ
            "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c",  # V2 signature broken
        ],
    )
    def test_a_record_that_is_not_valid_names_nothing(self, ask, name):
        for target in (f"/ipns/{name}", f"/ipns/{name}?format=ipns-record"):
            assert ask(target)[0] == 502

    def test_a_value_may_have_a_path(self, ask):
        name = "k51qzi5uqu5djokp3m1keo36hoxtd6u3a1d2rg1camf6al7p3huy63dojlm57c"
        assert ask(f"/ipns/{name}/root3/root4/index.html")[2] == b"hello\n"

    def test_mutable_paths_are_not_immutable(self, ask):
        _, headers, _ = ask(f"/ipns/{GATEWAY_CACHE_NAME}/root2/root3/root4/index.html")
        assert headers["cache-control"].startswith("public, max-age=")
        assert "immutable" not in headers["cache-control"]
        assert headers["x-ipfs-path"].startswith("/ipns/")

    def test_names_have_one_form(self, ask):
        status, headers, _ = ask(
            "/ipns/12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK/root2/"
        )
        canonical = "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8"
        assert (status, headers["location"]) == (302, f"/ipns/{canonical}/root2/")

    def test_what_nobody_knows_is_not_found(self, ask):
        assert ask("/ipns/k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8")[0] == 404
        assert ask("/ipns/unknown.example.org/")[0] == 404
        assert ask("/ipns/..%2f..")[0] == 400
        assert ask(f"/ipfs/{HELLO}?format=ipns-record")[0] == 400


class TestHosts:
    def test_a_path_becomes_an_origin(self, ask):
        status, headers, _ = ask(f"/ipfs/{SYMLINK}/a%20b/?x=1", host="example.com:8080")
        cid = CID.parse(SYMLINK).to_v1()
        assert status == 301
        assert headers["location"] == f"http://{cid}.ipfs.example.com:8080/a%20b/?x=1"

    def test_a_domain_becomes_one_label(self, ask):
        path = "/ipns/en.wikipedia-on-ipfs.example.org/wiki/"
        _, headers, _ = ask(path, host="example.com", scheme="https")
        label = "en-wikipedia--on--ipfs-example-org"
        assert headers["location"] == f"https://{label}.ipns.example.com/wiki/"

    def test_the_paths_of_an_origin_are_its_own(self, ask):
        host = f"{CACHE}.ipfs.example.com"
        assert ask("/root2/root3/root4/", host=host)[2] == b"hello\n"
        assert ask(f"/ipfs/{CACHE}/", host=host)[0] == 404

    def test_names_that_no_label_can_hold_are_refused(self, ask):
        long = str(CID(b"\x01\x55\x13\x40" + bytes(64)))
        for target, host in ((f"/ipfs/{long}/", "example.com"), ("/", f"{long}.ipfs.example.com")):
            status, _, body = ask(target, host=host)
            assert status == 400
            assert b"CID incompatible with DNS label length limit of 63" in body

    def test_names_get_their_codec(self, ask):
        name = "12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d"
        canonical = ask(f"/ipns/{name}", host="example.com")[1]["location"]
        assert canonical.startswith(
            "http://k51qzi5uqu5dk3v4rmjber23h16xnr23bsggmqqil9z2gduiis5se8dht36dam."
        )
        assert ask("/", host=canonical.split("/")[2])[2] == b"hello\n"

    def test_addresses_of_browsers(self, ask):
        _, headers, _ = ask(f"/ipfs/?uri=ipfs%3A%2F%2F{SYMLINK}/wiki/A.html", host="example.com")
        assert headers["location"] == f"/ipfs/{SYMLINK}/wiki/A.html"

    @pytest.mark.parametrize(
        "uri", ["ipfs://a%0d%0ab", "javascript:alert(1)", "ipfs://", "ipfs:////evil.example"]
    )
    def test_no_address_leads_elsewhere(self, ask, uri):
        assert ask(f"/ipfs/?uri={uri}", host="example.com")[0] == 400

    def test_a_website_by_its_domain(self, ask):
        assert b"hello\n" in ask("/root3/root4/index.html", host="dnslink-subpath.example.org")[2]
        _, _, body = ask("/%C4%85/%C4%99/", host="dnslink-dir-listing.example.org")
        assert b'/ipns/<a href="//dnslink-dir-listing.example.org/">' in body
        for host in (
            "dnslink-test.example.org.ipns.example.com",
            "dnslink--test-example-org.ipns.example.com",
        ):
            assert ask("/", host=host)[2] == b"hello\n"

    def test_a_forwarded_host_counts_if_it_is_ours(self, ask):
        target = f"/ipfs/{HELLO}"
        forwarded = ask(target, host="fake.example.net", x_forwarded_host="example.com")
        assert forwarded[1]["location"] == f"http://{HELLO}.ipfs.example.com/"
        assert ask(target, host="fake.example.net", x_forwarded_host="evil.example.net")[0] == 200


class TestRedirects:
    HOST = f"{CID.parse('QmYBhLYDwVFvxos9h8CGU2ibaY66QNgv8hpfewxaQrPiZj').to_v1()}.ipfs.example.com"

    @pytest.mark.parametrize(
        ("path", "status", "location"),
        [
            ("/redirect-one", 301, "/one.html"),
            ("/302-redirect-two", 302, "/two.html"),
            ("/posts/2022/01/01/hello-world", 301, "/articles/2022/01/01/hello-world"),
            ("/splat/one.html", 301, "/redirected-splat/one.html"),
        ],
    )
    def test_redirects(self, ask, path, status, location):
        answer = ask(path, host=self.HOST)
        assert (answer[0], answer[1]["location"]) == (status, location)

    @pytest.mark.parametrize(
        ("path", "status", "text"),
        [
            ("/200-index", 200, b"my index"),
            ("/catch-all", 200, b"my index"),
            ("/not-found/x", 404, b"my 404"),
            ("/gone/x", 410, b"my 410"),
            ("/unavail/x", 451, b"my 451"),
        ],
    )
    def test_pages(self, ask, path, status, text):
        answer = ask(path, host=self.HOST)
        assert answer[0] == status
        assert text in answer[2]
        assert answer[1]["cache-control"] == IMMUTABLE

    def test_they_hold_at_a_domain_too(self, ask):
        _, headers, body = ask("/not-found/x", host="dnslink-redirects-examples.example.org")
        assert b"my 404" in body
        assert "immutable" not in headers.get("cache-control", "")

    def test_they_do_not_hold_where_an_origin_is_shared(self, ask):
        assert ask("/ipfs/QmYBhLYDwVFvxos9h8CGU2ibaY66QNgv8hpfewxaQrPiZj/redirect-one")[0] == 404

    @pytest.mark.parametrize("name", ["forced", "too-large"])
    def test_a_file_that_cannot_be_read_is_an_error(self, ask, fixtures, name):
        root = fixtures.root("redirects")
        roots = ask(f"/ipfs/{root}/{name}/?format=raw")[1]["x-ipfs-roots"]
        site = CID.parse(roots.split(",")[-1]).to_v1()
        status, _, body = ask("/not-found", host=f"{site}.ipfs.example.com")
        assert status == 500
        assert b"could not parse _redirects: " in body
