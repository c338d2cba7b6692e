"""Several hundred requests to a gateway that has the public fixtures and a corpus of its own: what clients ask, and what they should not."""

import gzip
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from muniment.testing.gateway_comparison import Question

# Roots of the fixtures.
LISTING = "bafybeig6ka5mlwkl4subqhaiatalkcleo4jgnr3hqwvpmsqfca27cijp3i"
SITE = "bafybeib3ffl2teiqdncv3mkz4r23b5ctrwkzrrhctdbne6iboayxuxk5ui"
FILES = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"
RAW_DIR = "bafybeie72edlprgtlwwctzljf6gkn2wnlrddqjbkxo3jomh4n7omwblxly"
MISSING_BLOCK = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk"
HAMT = "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"
MIXED = "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu"
TWO_FILES = "bafybeietjm63oynimmv5yyqay33nui4y4wx6u3peezwetxgiwvfmelutzu"
DAG_CBOR = "bafyreibs4utpgbn7uqegmd2goqz4bkyflre2ek2iwv743fhvylwi4zeeim"
DAG_JSON = "baguqeeram5ujjqrwheyaty3w5gdsmoz6vittchvhk723jjqxk7hakxkd47xq"
CBOR = "bafireif3aymeikgfbofx533yf5vlx4kimzq6zmzmpra2mnzfsfnmv4hchm"
JSON = "bagaaierajjsnhsxqlgfrvknlt7z2heoljcgfv37cn45tu7mhmr23x3ekiboq"
JSON_CBOR_DIR = "bafybeiafyvqlazbbbtjnn6how5d6h6l6rxbqc4qgpbmteaiskjrffmyy4a"
MIXED_DAG = "bafybeia264q44a3kmfc2otctzu4egp2k235o3t7mslz2yjraymp4nv6asi"
SYMLINK = "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt"
INSIDE = "bafybeibfevfxlvxp5vxobr5oapczpf7resxnleb7tkqmdorc4gl5cdva3y"
OUTSIDE = "bafybeicaj7kvxpcv4neaqzwhrqqmdstu4dhrwfpknrgebq6nzcecfucvyu"
ESCAPED = "bafybeig675grnxcmshiuzdaz2xalm6ef4thxxds6o6ypakpghm5kghpc34"
REDIRECTS = "QmYBhLYDwVFvxos9h8CGU2ibaY66QNgv8hpfewxaQrPiZj"
REDIRECTS_V1 = "bafybeiesjgoros75o5meijhfvnxmy7kzkynhqijlzmypw3nry6nvsjqkzy"
SPA = "bafybeib5lboymwd6p2eo4qb2lkueaine577flvsjjeuevmp2nlio72xv5q"
DAG_PB = "bafybeiegxwlgmoh2cny7qlolykdf7aq7g6dlommarldrbm7c4hbckhfcke"
HELLO = "bafkqabtimvwgy3yk"
NOBODY_HAS = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
V1_V2 = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w"
V2 = "k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f"
SUBPATH_NAME = "k51qzi5uqu5djokp3m1keo36hoxtd6u3a1d2rg1camf6al7p3huy63dojlm57c"
CACHE_NAME = "k51qzi5uqu5dlxdsdu5fpuu7h69wu4ohp32iwm9pdt9nq3y5rpn3ln9j12zfhe"
BAD_SIGNATURE = "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c"
ONLY_V1 = "k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku"
PEER_ID = "12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d"

FORMATS = {
    "raw": "application/vnd.ipld.raw",
    "car": "application/vnd.ipld.car",
    "tar": "application/x-tar",
    "dag-json": "application/vnd.ipld.dag-json",
    "dag-cbor": "application/vnd.ipld.dag-cbor",
    "json": "application/json",
    "cbor": "application/cbor",
    "ipns-record": "application/vnd.ipfs.ipns-record",
}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


_HOST = "example.com"


class Corpus:
    """Files with every kind of name and size that the fixtures lack, as Kubo adds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._write("text.txt", b"0123456789" * 100)
        self._write("big.bin", bytes(range(256)) * 12_288)  # three leaves of 1 MiB
        self._write("empty", b"")
        self._write("one", b"1")
        self._write("no-ending", b"only text\n")
        self._write("page.html", b"<!doctype html><title>page</title>")
        self._write("style.css", b"body { color: red }")
        self._write("script.js", b"alert(1)")
        self._write("data.json", b'{"a": [1, 2]}')
        self._write("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(100))
        self._write("picture.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
        self._write("archive.tar.gz", gzip.compress(b"tar", mtime=0))
        self._write("unknown.xyzzy", b"\x00\x01\x02\xff" * 10)
        self._write("a b+c&d=e;f.txt", b"signs")
        self._write("100%25 sure?#.txt", b"percent")
        self._write("\u65e5\u672c \u017a\u00f3\u0142\u0107.txt", b"unicode")
        self._write("quote\"'<b>.txt", b"quotes")
        self._write("back\\slash.txt", b"backslash")
        self._write(".hidden", b"hidden")
        self._write("site/index.html", b"<h1>site</h1>")
        self._write("site/about/index.html", b"<h1>about</h1>")
        self._write("site/deep/er/file.txt", b"deep")
        self._write("index-is-folder/index.html/file.txt", b"odd")
        (folder / "bare").mkdir()
        os.symlink("text.txt", folder / "link")
        os.symlink("nowhere", folder / "dangling")
        os.symlink("site", folder / "link-to-folder")
        for number in range(1200):  # more than 256 KiB of names: a sharded folder
            self._write(f"many/{number:04}-{'n' * 220}", b"%d" % number)

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def questions(corpus: str) -> list[Question]:
    """Return every request once; `corpus` is the CID of a `Corpus`."""
    groups = (
        _paths(corpus),
        _wrong_paths(corpus),
        _formats(corpus),
        _ranges(corpus),
        _conditions(corpus),
        _cars(corpus),
        _names(),
        _subdomains(corpus),
        _websites(),
        _redirects(),
        _spellings(corpus),
    )
    asked = {str(question): question for group in groups for question in group}
    return list(asked.values())


def _both(target: str) -> Iterator[Question]:
    yield Question(target)
    yield Question(target, method="HEAD")


def _paths(corpus: str) -> Iterator[Question]:
    names = (
        "/", "", "/text.txt", "/big.bin", "/empty", "/one", "/no-ending", "/page.html", "/style.css",
        "/script.js", "/data.json", "/picture.png", "/picture.svg", "/archive.tar.gz", "/unknown.xyzzy",
        "/a%20b+c&d=e;f.txt", "/a%20b%2Bc%26d%3De%3Bf.txt", "/100%2525%20sure%3F%23.txt",
        "/%E6%97%A5%E6%9C%AC%20%C5%BA%C3%B3%C5%82%C4%87.txt", "/quote%22%27%3Cb%3E.txt", "/back%5Cslash.txt",
        "/.hidden", "/site", "/site/", "/site/about", "/site/about/", "/site/index.html", "/site/deep/",
        "/site/deep", "/site/deep?x=1&y=%2F", "/site/deep/er/file.txt", "/site/none", "/bare", "/bare/",
        "/index-is-folder/", "/link", "/link/", "/dangling", "/link-to-folder", "/link-to-folder/",
        "/link-to-folder/index.html", "/many", f"/many/0007-{'n' * 220}", "/many/none", "/text.txt/",
        "/text.txt/more", "/site//about//", "/./text.txt", "/site/../text.txt", "/site/%2E%2E/text.txt",
        "/site%2Findex.html", "//text.txt",
    )  # fmt: skip
    for name in names:
        yield from _both(f"/ipfs/{corpus}{name}")
    yield Question(f"/ipfs/{corpus}/many/")
    roots = (
        f"{LISTING}/", f"{LISTING}/%C4%85/%C4%99/file-%C5%BA%C5%82.txt", f"{LISTING}/%C4%85/%C4%99", f"{SITE}/root2/root3/root4/",
        f"{FILES}/multiblock.txt", f"{HAMT}/", f"{HAMT}/1.txt", f"{HAMT}/685.txt", f"{MISSING_BLOCK}", f"{SYMLINK}/bar",
        f"{SYMLINK}/", f"{INSIDE}/", f"{OUTSIDE}/", f"{ESCAPED}/Portugal%252C+Espa%C3%B1a=Peninsula%20Ib%C3%A9rica.txt",
        DAG_CBOR, DAG_JSON, CBOR, JSON, f"{DAG_JSON}/foo/link/bar", f"{DAG_CBOR}/foo", f"{DAG_CBOR}/foo/none", f"{DAG_CBOR}/",
        f"{JSON_CBOR_DIR}/", f"{MIXED_DAG}/", f"{MIXED_DAG}/document", DAG_PB, f"{DAG_PB}/", HELLO, f"{HELLO}/", "bafkqaaa",
        f"{HELLO}/more", f"{RAW_DIR}/dir/ascii.txt", f"{REDIRECTS}/", f"{REDIRECTS}/redirect-one",
    )  # fmt: skip
    for root in roots:
        yield from _both(f"/ipfs/{root}")
    for root in (DAG_CBOR, DAG_JSON, CBOR, JSON, f"{FILES}/ascii.txt", f"{LISTING}/"):
        yield Question(f"/ipfs/{root}", headers={"Accept": BROWSER})
        yield Question(f"/ipfs/{root}", headers={"Accept": "*/*"})


def _wrong_paths(corpus: str) -> Iterator[Question]:
    paths = (
        "/", "/ipfs", "/ipfs/", "/ipns", "/ipns/", "/ipfs//", "/ipfs/QmInvalidCID", "/ipfs/bafybeig6", f"/ipfs/{HELLO}x",
        f"/ipfs/{HELLO.upper()}", "/ipfs/b", "/ipfs/f01", "/ipfs/%20", f"/ipfs/%62{HELLO[1:]}", f"/ipfs/{NOBODY_HAS}",
        f"/ipfs/{NOBODY_HAS}/a/b", f"/ipfs/{NOBODY_HAS}?format=raw", f"/ipfs/{NOBODY_HAS}?format=car",
        f"/ipfs/{corpus}/none", f"/ipfs/{corpus}/none?format=raw", f"/ipfs/{corpus}/none?format=tar",
        f"/ipfs/{corpus}/%zz", f"/ipfs/{corpus}/%", f"/ipfs/{corpus}/%00", f"/ipfs/{corpus}/%FF", f"/ipfs/{corpus}/text.txt%0A",
        f"/ipfs/{corpus}?format=zip", f"/ipfs/{corpus}?format=", f"/ipfs/{corpus}/text.txt?format=RAW", f"/IPFS/{corpus}",
        f"/ipld/{corpus}", "/ipns/%20", "/ipns/..", "/ipns/QmInvalid", "/favicon.ico", "/robots.txt", "/api/v0/version",
        "/ipfs/..", "/ipfs/%2e%2e/x", f"/ipfs/{corpus}/{'x' * 4000}", f"/ipfs/{'x' * 600}", f"/{corpus}", f"/x/ipfs/{corpus}",
    )  # fmt: skip
    for path in paths:
        yield Question(path)
    for method, target in product(
        ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"), (f"/ipfs/{HELLO}", "/")
    ):
        yield Question(target, method=method)
    yield Question(f"/ipfs/{HELLO}", headers={"Service-Worker": "script"})
    yield Question(f"/ipfs/{corpus}/script.js", headers={"Service-Worker": "script"})
    yield Question(f"/ipfs/{corpus}/", headers={"Service-Worker": "script"})
    for target in (f"/ipfs/{NOBODY_HAS}", f"/ipfs/{corpus}/text.txt", f"/ipfs/{corpus}/none"):
        for method in ("GET", "HEAD"):
            cached = {"Cache-Control": "only-if-cached"}
            yield Question(target, method=method, headers=cached)


def _formats(corpus: str) -> Iterator[Question]:
    targets = (
        f"{corpus}/text.txt", f"{corpus}/big.bin", f"{corpus}/site/", f"{corpus}/many", f"{corpus}/link", f"{corpus}/data.json",
        DAG_CBOR, DAG_JSON, CBOR, JSON, HELLO, DAG_PB,
    )  # fmt: skip
    for target, (name, media_type) in product(targets, FORMATS.items()):
        yield Question(f"/ipfs/{target}?format={name}")
        yield Question(f"/ipfs/{target}", headers={"Accept": media_type})
    text = f"/ipfs/{corpus}/text.txt"
    for accept in (
        "", "text/plain", "image/png", "application/vnd.ipld.raw, */*", "text/html, application/vnd.ipld.raw",
        "application/vnd.ipld.raw;q=0.5, application/vnd.ipld.car;q=0.9", "application/vnd.ipld.raw;q=0", "APPLICATION/VND.IPLD.RAW",
        "application/vnd.ipld.dag-json, application/vnd.ipld.raw", "application/*", "nonsense", ";;;,,,",
    ):  # fmt: skip
        yield Question(text, headers={"Accept": accept})
    yield Question(f"{text}?format=raw", headers={"Accept": FORMATS["car"]})
    yield Question(f"{text}?format=car", headers={"Accept": FORMATS["raw"]})
    yield Question(f"{text}?format=raw&format=car")
    for more in ("filename=x.txt", "filename=x.txt&download=true", "download=true", "download=false", "filename=",
                 "filename=%C5%BA%22.txt", "filename=a/b.html", "filename=x.html", "format=raw&filename=b.bin",
                 "format=car&filename=c.car", "format=tar&filename=t.tar", "filename=%0D%0Ax%3A%20y", "nonsense=1"):  # fmt: skip
        yield Question(f"{text}?{more}")
    for more in ("filename=x.json", "filename=x.cbor&download=true", "download=true"):
        yield Question(f"/ipfs/{DAG_CBOR}?{more}")
        yield Question(f"/ipfs/{DAG_JSON}?{more}")
    for root in (INSIDE, OUTSIDE, SYMLINK, HAMT, LISTING):
        yield Question(f"/ipfs/{root}?format=tar")
    for target in (f"{SYMLINK}/bar", f"{SYMLINK}/foo", f"{FILES}/multiblock.txt"):
        yield Question(f"/ipfs/{target}?format=tar")
        yield Question(f"/ipfs/{target}?format=raw", method="HEAD")
        yield Question(f"/ipfs/{target}?format=tar", method="HEAD")
        yield Question(f"/ipfs/{target}?format=car", method="HEAD")


def _ranges(corpus: str) -> Iterator[Question]:
    values = (
        "bytes=0-0", "bytes=0-9", "bytes=990-", "bytes=990-5000", "bytes=-5", "bytes=-5000", "bytes=999-999", "bytes=1000-",
        "bytes=5000-6000", "bytes=-0", "bytes=9-5", "bytes=a-b", "bytes=", "bytes=-", "items=0-5", "bytes=0-4,10-14",
        "bytes=10-14,0-4", "bytes=0-4,3-8", "bytes=0-4,5000-", "bytes=5000-,6000-", "bytes= 0-4 , 10-14", "bytes=0-99999999999999999999",
        "bytes=0-,0-", "Bytes=0-4", "bytes=0-4,",
    )  # fmt: skip
    for value in values:
        yield Question(f"/ipfs/{corpus}/text.txt", headers={"Range": value})
    some = ("bytes=0-9", "bytes=-5", "bytes=5000000-", "bytes=0-4,10-14")
    targets = (
        f"/ipfs/{corpus}/big.bin", f"/ipfs/{corpus}/text.txt?format=raw", f"/ipfs/{DAG_JSON}", f"/ipfs/{HAMT}/1.txt",
        f"/ipfs/{corpus}/empty", f"/ipfs/{MISSING_BLOCK}", f"/ipfs/{corpus}/site/", f"/ipfs/{corpus}/bare/",
        f"/ipfs/{corpus}/text.txt?format=car", f"/ipfs/{corpus}/text.txt?format=tar", f"/ipfs/{HELLO}",
    )  # fmt: skip
    for target, value in product(targets, some):
        yield Question(target, headers={"Range": value})
    big = f"/ipfs/{corpus}/big.bin"
    for value in (
        "bytes=1048570-1048580",
        "bytes=1048576-2097151",
        "bytes=3145727-",
        "bytes=100-200,2000000-2000100",
    ):
        yield Question(big, headers={"Range": value})
    yield Question(big, headers={"Range": "bytes=0-9"}, method="HEAD")
    yield Question(f"/ipfs/{MISSING_BLOCK}", headers={"Range": "bytes=0-999"})
    yield Question(f"/ipfs/{MISSING_BLOCK}", headers={"Range": "bytes=2200-"})
    for condition in ("{etag}", '"other"', "W/{etag}", "Sat, 01 Jan 2000 00:00:00 GMT"):
        yield Question(big, headers={"Range": "bytes=0-9", "If-Range": condition})


def _conditions(corpus: str) -> Iterator[Question]:
    targets = (
        f"/ipfs/{corpus}/text.txt", f"/ipfs/{corpus}/site/", f"/ipfs/{corpus}/", f"/ipfs/{corpus}/text.txt?format=raw",
        f"/ipfs/{corpus}/site?format=car", f"/ipfs/{corpus}/site?format=tar", f"/ipfs/{DAG_CBOR}", f"/ipfs/{JSON}",
        f"/ipns/{V1_V2}", f"/ipns/{V1_V2}?format=ipns-record",
    )  # fmt: skip
    for target, value in product(
        targets, ("{etag}", "W/{etag}", '"other", {etag}', "*", '"other"', "nonsense")
    ):
        yield Question(target, headers={"If-None-Match": value})
    text = f"/ipfs/{corpus}/text.txt"
    for name, value in (
        ("If-None-Match", ""), ("If-Match", "*"), ("If-Match", "{etag}"), ("If-Match", '"other"'),
        ("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"), ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("If-Modified-Since", "nonsense"), ("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ):  # fmt: skip
        yield Question(text, headers={name: value})
    yield Question(text, headers={"If-None-Match": "{etag}"}, method="HEAD")
    yield Question(text, headers={"If-None-Match": "{etag}", "Range": "bytes=0-4"})
    yield Question(f"/ipfs/{corpus}/none", headers={"If-None-Match": "*"})
    yield Question(f"/ipfs/{NOBODY_HAS}", headers={"If-None-Match": f'"{NOBODY_HAS}"'})


def _cars(corpus: str) -> Iterator[Question]:
    scopes = ("", "&dag-scope=block", "&dag-scope=entity", "&dag-scope=all")
    targets = (
        corpus, f"{corpus}/text.txt", f"{corpus}/big.bin", f"{TWO_FILES}/subdir", f"{TWO_FILES}/subdir/ascii.txt",
        f"{HAMT}/685.txt", f"{HAMT}", f"{DAG_CBOR}", f"{DAG_CBOR}/foo/link", f"{DAG_JSON}/foo/link/bar", CBOR, HELLO, "bafkqaaa",
        f"{FILES}", f"{MIXED_DAG}", f"{SYMLINK}/bar", f"{DAG_PB}", f"{corpus}/none", f"{corpus}/site/none/deeper",
    )  # fmt: skip
    for target, scope in product(targets, scopes):
        yield Question(f"/ipfs/{target}?format=car{scope}")
    mixed = f"/ipfs/{MIXED}/subdir/multiblock.txt?format=car&dag-scope=entity"
    for span in ("0:*", "0:0", "512:*", "512:1023", "512:-256", "-5:*", "-9999:*", "-9999:-3", "9999:*", "5:2", "1", "*:1",
                 "", ":", "a:b", "0:", "-0:*", "0:99999999999999999999"):  # fmt: skip
        yield Question(f"{mixed}&entity-bytes={span}")
    for span in ("0:*", "0:10", "2000000:2000001"):
        yield Question(f"/ipfs/{corpus}/big.bin?format=car&entity-bytes={span}")
        yield Question(f"/ipfs/{corpus}/site?format=car&dag-scope=entity&entity-bytes={span}")
        yield Question(f"/ipfs/{corpus}/big.bin?format=car&dag-scope=all&entity-bytes={span}")
    for span in ("0:1000", "2200:*"):
        yield Question(f"/ipfs/{MISSING_BLOCK}?format=car&dag-scope=entity&entity-bytes={span}")
    yield Question(f"/ipfs/{MISSING_BLOCK}?format=car")
    for more in ("car-dups=y", "car-dups=n", "car-dups=maybe", "car-order=dfs", "car-order=unk", "car-order=bfs", "car-version=1",
                 "car-version=2", "car-dups=y&car-order=dfs", "dag-scope=most", "dag-scope=", "car-dups=", "car-order="):  # fmt: skip
        yield Question(f"/ipfs/{FILES}?format=car&{more}")
        parameters = more.replace("car-", "").replace("&", ";")
        yield Question(f"/ipfs/{FILES}", headers={"Accept": f"{FORMATS['car']};{parameters}"})
    yield Question(
        f"/ipfs/{FILES}?format=car&car-dups=y", headers={"Accept": f"{FORMATS['car']}; dups=n"}
    )
    yield Question(f"/ipfs/{HELLO}?format=car&car-dups=y")
    yield Question(f"/ipfs/{corpus}/text.txt?dag-scope=block")


def _names() -> Iterator[Question]:
    known = (V1_V2, V2, CACHE_NAME, SUBPATH_NAME, PEER_ID, BAD_SIGNATURE, ONLY_V1)
    for name, more in product(
        known, ("", "/", "?format=ipns-record", "?format=raw", "?format=car")
    ):
        yield Question(f"/ipns/{name}{more}")
    for target in (
        f"/ipns/{CACHE_NAME}/root2/root3/root4/", f"/ipns/{CACHE_NAME}/root2/root3/root4/index.html", f"/ipns/{CACHE_NAME}/root2",
        f"/ipns/{CACHE_NAME}/none", f"/ipns/{CACHE_NAME}/root2?format=ipns-record", f"/ipns/{SUBPATH_NAME}/root3/root4/index.html",
        "/ipns/12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK/root2/",
        "/ipns/k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8", f"/ipns/{HELLO}", f"/ipfs/{V1_V2}", f"/ipns/{V1_V2.upper()}",
        "/ipns/dnslink-test.example.org/", "/ipns/dnslink-test.example.org", "/ipns/DNSLINK-test.example.org/",
        "/ipns/dnslink-subpath.example.org/root3/root4/index.html", "/ipns/dnslink-over-ipns.example.org/", "/ipns/unknown.example.org/",
        "/ipns/dnslink-dir-listing.example.org/", "/ipns/dnslink-test.example.org?format=ipns-record", f"/ipfs/{HELLO}?format=ipns-record",
        "/ipns/dnslink-dir-listing.example.org/?format=car&dag-scope=block", "/ipns/localhost", "/ipns/a", "/ipns/-.-",
    ):  # fmt: skip
        yield Question(target)
    yield Question(f"/ipns/{V1_V2}", headers={"Accept": FORMATS["ipns-record"]})
    yield Question(f"/ipns/{V1_V2}?format=ipns-record&filename=x", method="HEAD")


def _subdomains(corpus: str) -> Iterator[Question]:
    for target in (
        "/", f"/ipfs/{corpus}", f"/ipfs/{corpus}/", f"/ipfs/{corpus}/text.txt", f"/ipfs/{corpus}/text.txt?x=1", f"/ipfs/{SYMLINK}/bar",
        f"/ipfs/{corpus}/a%20b+c&d=e;f.txt", f"/ipfs/{corpus}/%E6%97%A5", f"/ipfs/{NOBODY_HAS}", "/ipfs/QmInvalid", "/ipfs/", "/ipns/",
        f"/ipns/{V1_V2}/", f"/ipns/{PEER_ID}", f"/ipns/{PEER_ID}/a", "/ipns/en.wikipedia-on-ipfs.example.org/wiki/",
        "/ipns/dnslink-test.example.org", "/ipns/unknown.example.org/", f"/ipfs/{HELLO}", f"/ipfs/{corpus}?format=car", "/none",
        f"/ipfs/?uri=ipfs%3A%2F%2F{SYMLINK}/wiki/A.html", "/ipfs/?uri=ipns%3A%2F%2Fen.wikipedia-on-ipfs.example.org/",
        "/ipfs/?uri=javascript:alert(1)", "/ipfs/?uri=", f"/ipns/?uri=ipfs%3A%2F%2F{SYMLINK}", f"/ipfs/{corpus}/site//about",
        "/ipfs/bafkrgqe3ohjcjplc6n4f3fwunlj6upltggn7xqujbsvnvyw764srszz4u4rshq6ztos4chl4plgg4ffyyxnayrtdi5oc4xb2332g645433aeg/",
    ):  # fmt: skip
        yield Question(target, host=_HOST)
    yield Question(f"/ipfs/{corpus}/text.txt", host="localhost:8080")
    yield Question(f"/ipfs/{corpus}/", host=_HOST, headers={"X-Forwarded-Proto": "https"})
    yield Question(f"/ipfs/{corpus}/", headers={"X-Forwarded-Host": _HOST})
    yield Question(
        "/ipns/dnslink-test.example.org/", host=_HOST, headers={"X-Forwarded-Proto": "https"}
    )
    for host in (f"{corpus}.ipfs.{_HOST}", f"{corpus}.ipfs.localhost:8080"):
        for target in ("/", "/text.txt", "/site", "/site/", "/site/about/", "/none", "/?format=car&dag-scope=block", "/text.txt?format=raw",
                       f"/ipfs/{corpus}/text.txt", "/big.bin", "/many/", "//text.txt", "/%E6%97%A5%E6%9C%AC%20%C5%BA%C3%B3%C5%82%C4%87.txt"):  # fmt: skip
            yield Question(target, host=host)
    for host, target in (
        (f"{SYMLINK}.ipfs.{_HOST}", "/"), (f"{SYMLINK.lower()}.ipfs.{_HOST}", "/"), (f"{HELLO}.ipfs.{_HOST}", "/"),
        (f"{HELLO.upper()}.ipfs.{_HOST}", "/"), (f"{NOBODY_HAS}.ipfs.{_HOST}", "/"), (f"nonsense.ipfs.{_HOST}", "/"),
        (f"{V1_V2}.ipns.{_HOST}", "/"), (f"{V1_V2}.ipns.{_HOST}", "/?format=ipns-record"), (f"{PEER_ID}.ipns.{_HOST}", "/"),
        (f"{CACHE_NAME}.ipns.{_HOST}", "/root2/root3/root4/"), (f"{V1_V2}.ipfs.{_HOST}", "/"), (f"{HELLO}.ipns.{_HOST}", "/"),
        (f"en-wikipedia--on--ipfs-example-org.ipns.{_HOST}", "/"), (f"dnslink-test.example.org.ipns.{_HOST}", "/"),
        (f"dnslink--test-example-org.ipns.{_HOST}", "/"), (f"unknown-example-org.ipns.{_HOST}", "/"), (f"x.{_HOST}", "/"),
        (f"{corpus}.other.{_HOST}", "/"), (f".ipfs.{_HOST}", "/"), (f"a.b.ipfs.{_HOST}", "/"), (f"{DAG_CBOR}.ipfs.{_HOST}", "/"),
    ):  # fmt: skip
        yield Question(target, host=host)
    yield Question("/", host=f"{corpus}.ipfs.{_HOST}", headers={"Service-Worker": "script"})
    yield Question("/text.txt", host=f"{corpus}.ipfs.{_HOST}", headers={"Range": "bytes=0-4"})
    yield Question("/text.txt", host=f"{corpus}.ipfs.{_HOST}", headers={"If-None-Match": "{etag}"})


def _websites() -> Iterator[Question]:
    for host, target in (
        ("dnslink-test.example.org", "/"), ("dnslink-test.example.org", "/none"), ("DNSLink-Test.example.org", "/"),
        ("dnslink-test.example.org:8080", "/"), ("dnslink-subpath.example.org", "/"), ("dnslink-subpath.example.org", "/root3/root4/"),
        ("dnslink-subpath.example.org", "/root3"), ("dnslink-dir-listing.example.org", "/"), ("dnslink-dir-listing.example.org", "/%C4%85/%C4%99/"),
        ("dnslink-over-ipns.example.org", "/"), ("dnslink-over-ipns-cidv1.example.org", "/"), ("en.wikipedia-on-ipfs.example.org", "/"),
        ("dnslink-dir-listing.example.org", "/?format=raw"), ("dnslink-dir-listing.example.org", "/?format=car&dag-scope=block"),
        ("dnslink-dir-listing.example.org", f"/ipfs/{HELLO}"), ("dnslink-dir-listing.example.org", f"/ipns/{V1_V2}"),
        ("dnslink-test.example.org", "/?format=ipns-record"), ("192.0.2.1", f"/ipfs/{HELLO}"), ("", f"/ipfs/{HELLO}"),
        ("bad host", f"/ipfs/{HELLO}"), ("[::1]:80", f"/ipfs/{HELLO}"), ("localhost", f"/ipfs/{HELLO}"),
    ):  # fmt: skip
        yield Question(target, host=host)


def _redirects() -> Iterator[Question]:
    paths = (
        "/", "/redirect-one", "/301-redirect-one", "/302-redirect-two", "/200-index", "/posts/2022/10/10/hello-world", "/splat/one/two",
        "/not-found/x", "/gone/x", "/unavail/x", "/catch-all", "/redirect-one?x=1", "/one.html", "/none", "/redirect-one/",
        "/not-found/has-no-redirects-entry", "/_redirects",
    )  # fmt: skip
    for path in paths:
        yield Question(path, host=f"{REDIRECTS_V1}.ipfs.{_HOST}")
        yield Question(path, host="dnslink-redirects-examples.example.org")
    for path in ("/", "/any/path", "/_redirects", "/any?format=raw", "/any?format=car"):
        yield Question(path, host=f"{SPA}.ipfs.{_HOST}")
        yield Question(path, host="dnslink-enabled-with-spa.example.org")
    yield Question("/any", host=f"{SPA}.ipfs.{_HOST}", headers={"If-None-Match": "{etag}"})
    yield Question("/any", host=f"{SPA}.ipfs.{_HOST}", method="HEAD")
    yield Question(f"/ipfs/{SPA}/any")


def _spellings(corpus: str) -> Iterator[Question]:
    """Ask for the same by other spellings of its CID or path."""
    hello = (
        "k10vj2didmfdtj4a",
        "K10VJ2DIDMFDTJ4A",
        "z5LkPo4pdsXsBo",
        "f0155000668656c6c6f0a",
        "F0155000668656C6C6F0A",
        "uAVUABmhlbGxvCg",
        "mAVUABmhlbGxvCg",
        "BAFKQABTIMVWGY3YK",
        "bafkqabtimvwgY3yk",
        "f0155000668656c6c6f",
    )
    for root in hello:
        yield Question(f"/ipfs/{root}")
    for name in ("x%2Fy", "%2F", "%2e", "%2E%2E", "..", "a%00b"):
        yield Question(f"/ipfs/{corpus}/site/{name}")
    yield Question(f"/ipfs/{corpus}/site/?filename=x&format=")
    yield Question(f"/ipfs/{corpus}/text.txt?")
