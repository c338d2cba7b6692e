"""In what our gateway differs from Kubo's on purpose, and why.

`tests/integration/test_gateway_differential.py` holds both to it: a difference that is not here fails, and so does a row that
describes none any more. `docs/reference/gateway-differences.md` is written from it.
"""

import re
from dataclasses import dataclass

from muniment.testing.gateway_comparison import Difference, Question

NONE = "not sent"
"""The word for a header that is not sent."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A difference that is kept.

    Attributes:
        what: In what the answers differ, as in `Difference.what`; several names with blanks between.
        when: The requests, in words.
        kubo: What Kubo answers, in words.
        ours: What we answer, in words.
        why: The reason.
        asked: Pattern that is found in the request (`str` of a `Question`).
        values: Patterns that Kubo's and our value fit, the second may refer back to groups of the first; by default just the words.
    """

    what: str
    when: str
    kubo: str
    ours: str
    why: str
    asked: str = ""
    values: tuple[str, str] | None = None

    def covers(self, question: Question, difference: Difference) -> bool:
        """Tell whether it is this difference."""
        kubo, ours = self.values or (_pattern(self.kubo), _pattern(self.ours))
        return (
            difference.what.replace(" ", "-") in self.what.split()
            and re.search(self.asked, str(question)) is not None
            and re.fullmatch(f"(?:{kubo})\n(?:{ours})", f"{difference.one}\n{difference.other}")
            is not None
        )


def _pattern(words: str) -> str:
    return "" if words == NONE else re.escape(words)


_DATA = r"format=(dag-)?(json|cbor)\b|Accept: application/(vnd\.ipld\.dag-)?(json|cbor)\b"
_PLAIN_DATA = r"format=(json|cbor)\b|Accept: application/(json|cbor)\b"
_TAR = r"format=tar|Accept: application/x-tar"
_CAR = r"format=car|Accept: application/vnd\.ipld\.car"
_NAMED = r"/ipns/|Host: \S*(ipns|dnslink|wikipedia)"
_ROOT = "bafy[a-z0-9]+"
_NOBODY = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
_INCOMPLETE = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk"
_SPA = "bafybeib5lboymwd6p2eo4qb2lkueaine577flvsjjeuevmp2nlio72xv5q|dnslink-enabled-with-spa"
_REDIRECTS = "bafybeiesjgoros75o5meijhfvnxmy7kzkynhqijlzmypw3nry6nvsjqkzy|dnslink-redirects"

# fmt: off
SECTIONS: dict[str, tuple[Kept, ...]] = {
    "Headers": (
        Kept("vary", "always", NONE, "accept",
             "`Accept` chooses the format, and caches must know"),
        Kept("x-content-type-options", "files, pages, archives", NONE, "nosniff",
             "no browser shall guess that a file is a script"),
        Kept("content-security-policy", "content on an origin that it shares", NONE, "`sandbox …`: an origin of nobody",
             "a page of one root must not act in the name of another", values=("", "sandbox allow-.*")),
        Kept("content-security-policy referrer-policy", "listings and previews", NONE, "no scripts; no referrer",
             "our own pages need neither", values=("", "default-src 'none'.*|no-referrer")),
        Kept("x-ipfs-path", "names with characters that are escaped in URLs", "as they are; left out unless ASCII", "escaped as in the URL",
             "the conformance suite asks for it; `Ipfs-Uri` is the same in both", asked="%|&", values=(".*", "/ip[fn]s/.*")),
        Kept("x-ipfs-path", "CID in capitals in a host", "in capitals", "in its usual form",
             "hosts have no case", asked="Host: BAFK", values=(".*BAFK.*", ".*bafk.*")),
        Kept("x-ipfs-roots", "paths through data", "a block again for each name that is looked up in it", "each block once",
             "a block is one thing to invalidate", asked="/foo/link", values=(r"(\w+),\1,(.+)", r"\1,\2")),
        Kept("x-ipfs-roots", "names that stand for a path", "also the blocks of the name's own path", "the blocks of the path asked for",
             "one root for each name of the path", asked=_NAMED, values=(r"\S+?,(.+)", r"\1")),
        Kept("x-ipfs-roots", "304", NONE, "as with 200", "caches may merge it", asked="If-None-Match", values=("", ".+")),
        Kept("content-disposition", "attachments, data", "the name twice, plain and as UTF-8", "as UTF-8 only if it is not ASCII",
             "one is enough (RFC 6266, appendix D)", values=(r"(.*?)(; filename\*=UTF-8''.*)", r"\1")),
        Kept("content-disposition", "CAR of a path", "`<root>_<name>.car`", "`<cid>.car`",
             "specification", asked=_CAR, values=(r".*_\S*\.car.*", r'attachment; filename="[a-zA-Z0-9]*\.car"')),
        Kept("content-disposition", "304 of a CAR", "as with 200", NONE, "nothing is sent that could be disposed of",
             asked="format=car If-None-Match", values=("attachment.*", "")),
        Kept("content-disposition", "`download=true` without `filename`", NONE, "attachment", "who asks for a download gets one", asked=r"download=true$"),
        Kept("content-disposition", "`filename` with slashes, quotes or control characters", "some escaped in the plain name", "underscores in the plain name",
             "percent signs in the plain name are shown to people", asked="filename=(%|a/)", values=("inline; .*", 'inline; filename="[^"%]*".*')),
        Kept("last-modified", "mutable content", "the time of the request", NONE,
             "made up; the entity tag says more", asked=_NAMED, values=(".+", "")),
        Kept("content-length", "CARs, TARs", NONE, "known for small ones", "a client sees that it got all",
             asked=f"{_CAR}|{_TAR}", values=("", r"\d+")),
        Kept("content-length", "HEAD of a CAR or TAR", "of small ones", NONE, "it would have to be made",
             asked=rf"^HEAD .*({_CAR}|{_TAR})", values=(r"\d+", "")),
        Kept("content-length", "TARs", "multiples of 512", "multiples of 10,240",
             "records of 20 blocks, as tar has it", asked=_TAR, values=(r"\d+", r"\d*0240|\d+0480")),
        Kept("accept-ranges", "TARs", NONE, "`none`", "there are no parts of it", asked=_TAR, values=("", "none")),
        Kept("etag cache-control", "406 and 416", "those of a success", NONE, "they are not of this answer",
             asked=f"{_DATA}|Range: bytes=|{_TAR}", values=(".+", "")),
        Kept("etag cache-control x-ipfs-path x-ipfs-roots ipfs-uri content-length", "HEAD of a directory without `index.html`",
             "hardly any header", "those of GET", "RFC 9110, section 9.3.2", asked="^HEAD .*/$", values=("", ".+")),
        Kept("etag", "IPNS records", "without quotes", "quoted", "RFC 9110, section 8.8.3: without quotes it is none, and never matches",
             asked="ipns-record", values=("[a-z0-9]+|", r'"[0-9a-f]+\.ipns-record"')),
        Kept("content-type etag cache-control accept-ranges content-length x-ipfs-roots content-location", "HEAD with `only-if-cached`",
             "hardly any header", "those of GET", "RFC 9110, section 9.3.2", asked="^HEAD .*only-if-cached", values=("", ".+")),
    ),
    "Media types": (
        Kept("content-type", "HTML", "text/html", "text/html; charset=utf-8", "what is stored today is UTF-8; otherwise some browsers guess"),
        Kept("content-type", "HEAD of a directory without `index.html`", NONE, "text/html; charset=utf-8", "RFC 9110, section 9.3.2", asked="^HEAD .*/$"),
        Kept("content-type", "empty file", "text/plain", "application/octet-stream", "nothing says that it is text", asked="/empty|bafkqaaa"),
        Kept("content-type", "empty file, range behind its end", NONE, "application/octet-stream", "as for any file", asked="/empty Range"),
        Kept("content-type", "page of `_redirects` by 200", "by the name asked for", "by the page's own name",
             "the page is what is sent", asked=f"Host: ({_REDIRECTS}|{_SPA})", values=("text/plain.*", "text/html.*")),
        Kept("content-type", "`order=unk`", "the CAR has `order=unk`", "`order=dfs`", "that is what it is in, always",
             asked="order=unk", values=(".*order=unk.*", ".*order=dfs.*")),
    ),
    "Caching": (
        Kept("cache-control", "IPNS records without a time to live, or with one of years", "the record's remaining years", "at most a week",
             "a name may change", asked=_NAMED, values=(r"public, max-age=\d{8,}.*", "public, max-age=604800")),
        Kept("cache-control", "listings below names", "`stale-while-revalidate`, too", "the record's time only",
             "a month-old listing of something that changes misleads", asked=_NAMED, values=(r".*stale-while.*", r"public, max-age=\d+")),
        Kept("cache-control", "DNSLink to an IPNS name", "the record's time", NONE,
             "the domain's own time is not known", asked="dnslink-over-ipns", values=("public.*", "")),
        Kept("cache-control", "304 of a listing", "for ever", "as with 200: a week", "a gateway's next version lists otherwise",
             asked=r"/ If-None-Match: \*", values=(".*immutable", "public, max-age=604800.*")),
        Kept("cache-control etag", "304 of an IPNS record", NONE, "as with 200", "RFC 9110, section 15.4.5",
             asked="ipns-record If-None-Match", values=("", ".+")),
    ),
    "Formats": (
        Kept("status", "unknown `format`", "200", "400", "a spelling error must not become a page",
             asked=r"format=(zip|RAW)", values=("200|301", "400")),
        Kept("content-location content-type content-disposition etag accept-ranges content-length body", "`Accept` with several types, with `q`, or in capitals",
             "the first format in the list; its `q` becomes part of the URL", "the one with the highest `q`, HTML and `*/*` for files",
             "RFC 9110, section 12.5.1: types have weights and no case",
             asked="Accept: (text/html, application/vnd|application/vnd.ipld.raw;q|APPLICATION)", values=(".*", ".*")),
        Kept("content-location", "parameters of CARs in `Accept`", "sorted by name; unknown ones, too", "behind `format`; known ones",
             "any order says the same", asked="Accept: application/vnd.ipld.car;", values=(r"\S+[?&]format=car", r"\S+\?format=car\S*")),
        Kept("status", "JSON, CBOR of files and directories", "the file, or a redirect", "406", "specification (IPIP-524): what is no JSON is not sent as such",
             asked=_PLAIN_DATA, values=("200|301", "406")),
        Kept("status", "JSON of CBOR and the reverse", "400", "406", "specification (IPIP-524)", asked=_PLAIN_DATA),
        Kept("status", "TAR of data", "500", "406", "nothing failed; there is no such format", asked=_TAR),
        Kept("status", "TAR with names that lead outside", "200, then cut off", "400", "found out in time", asked=_TAR, values=("200", "400")),    ),
    "CARs": (
        Kept("car-roots", "CAR of a path", "the end of the path", "its beginning",
             "not specified; ours is the first block, from which a client verifies the path", values=(r"\S+", r"\S+")),
        Kept("status", "CAR of a path that does not exist", "200, the blocks until there", "404", "specification: both may be; a status is harder to overlook",
             asked=rf"(/none|/any).*({_CAR})", values=("200", "404")),
        Kept("status", "CAR of what is not here, or lacks a block near its beginning", "200, then cut off", "404", "found out in time",
             asked=rf"({_NOBODY}|{_INCOMPLETE})\?format=car", values=("200", "404")),
        Kept("status", "`entity-bytes` that end before they begin", "400", "200, the first block", "specification: a range of no bytes is as `dag-scope=block`",
             asked="entity-bytes=5:2", values=("400", "200")),
        Kept("status", "empty parameters of CARs in `Accept`", "400", "200", "as in the query, where both let them be",
             asked="Accept: application/vnd.ipld.car;(dups|order|dag-scope)=$"),
    ),
    "Ranges and conditions": (
        Kept("body content-type content-range content-length", "several ranges", "the first", "all of them", "RFC 9110, section 14.6",
             asked=r"Range: bytes=\s?\d+-\d+\s?,", values=(".*", ".*")),
        Kept("status", "ranges that cannot be read, or are longer than 18 digits", "400", "200, everything", "RFC 9110, section 14.2: a server ignores them",
             asked="Range: (bytes=(9-5|a-b|-|0-9{9,})|items=0-5)$", values=("400", "200")),
        Kept("status", "range unit in capitals", "400", "206", "RFC 9110, section 14.1: units have no case", asked="Range: Bytes="),
        Kept("status", "ranges that overlap", "206", "200", "the first is no answer, and all are more than there is", asked="Range: bytes=0-4,3-8"),
        Kept("status", "suffix of no bytes", "206", "416", "RFC 9110, section 14.1.2", asked="Range: bytes=-0"),
        Kept("status", "suffix longer than the file", "500", "206 (200 if the file is empty)", "RFC 9110, section 14.1.2: the whole file",
             asked="Range: bytes=-5", values=("500", "206|200")),
        Kept("status", "ranges whose blocks are here, of a file that lacks others", "500", "206", "nothing is missing for them",
             asked=f"{_INCOMPLETE} Range: ", values=("500", "206")),
        Kept("etag cache-control body", "412 by `If-Match`", "headers of a success, no text", "a text", "they are not of this answer",
             asked="If-Match", values=(".+", "|error")),
        Kept("status", "`If-None-Match` for an IPNS record", "200", "304", "Kubo's tag is not quoted and never matches", asked="ipns-record If-None-Match"),
        Kept("status", "`If-None-Match` with the CID of what is not here", "304", "404", "what is not here is not confirmed",
             asked=f"{_NOBODY} If-None-Match"),
        Kept("etag", "304 of a listing", "the CID", "`DirIndex-…`, as with 200", "RFC 9110, section 15.4.5", asked=r"/ If-None-Match: \*",
             values=(r'"(\w+)"', r'"DirIndex-\*_CID-\1"')),
        Kept("status", "`only-if-cached` for a name that a directory does not have", "412", "404", "the answer is known", asked="/none Cache-Control"),
    ),
    "Paths": (
        Kept("status", "empty names and `.`, `..` in a path", "307 to the path without them", "empty names do not count; others are looked for",
             "clients remove `.` and `..` themselves (RFC 3986, section 5.2.4)",
             asked=r"//|/\.\.?( |/|$)|^GET /ip[fn]s$", values=("307", "200|301|400|404")),
        Kept("status", "escaped `/` and `..` in a path", "separate names, lead up", "are parts of a name", "RFC 3986, section 2.2: escaped, they have no such meaning",
             asked="%2F|%2[Ee]", values=("200|301", "404")),
        Kept("location", "query with escapes, of a directory without slash", "escaped twice", "as it was", "otherwise it means something else",
             asked=r"\?x=1&y=%2F", values=(r"(\S+)%252F", r"\1%2F")),
        Kept("status", "`index.html` is a directory", "422", "200, a listing", "a listing is what is there to see", asked="index-is-folder", values=("422", "200")),
        Kept("status", "CIDs with spare bits, spare characters or mixed case", "200", "400", "one value has one text, so that lists and caches agree", asked="3ykx|gY3yk"),
        Kept("status", "CIDs in base64", "200", "400", "in no use; its other alphabet has slashes", asked="/[mu]AVUABm"),
        Kept("status", "files that lack a block", "500", "404; HEAD 200", "specification: 500 is for failures; HEAD reads no content",
             asked=f"{_INCOMPLETE}$", values=("500", "404|200")),
        Kept("status", "what is not here", "500", "404", "specification: 500 is for failures", asked=f"{_NOBODY}|wikipedia", values=("500", "404")),
        Kept("status", "the page of DAG-CBOR or DAG-JSON for browsers, without slash at its end", "301 to the path with it", "200", "its links do not depend on it",
             asked="Accept: text/html,application/xhtml", values=("301", "200")),
        Kept("content-type", "a piece of HTML under a name that does not say so", "text/html", "text/plain; charset=utf-8", "only whole documents are taken for HTML unasked",
             asked="filename=x&"),
    ),
    "Methods": (
        Kept("status", "other methods than GET and HEAD at `/`", "404", "405", "no method is served there", asked=r"^(?!GET|HEAD|OPTIONS)[A-Z]+ /$"),
        Kept("status", "OPTIONS", "200 or 404", "204", "there is nothing to say but headers", asked="^OPTIONS", values=("200|404", "204")),
    ),
    "Names and hosts": (
        Kept("status", "IPNS records that are not valid", "500", "502", "the fault is not this server's", asked=f"{_NAMED}"),
        Kept("status", "names that nobody knows", "500", "404", "nothing failed", asked=f"{_NAMED}|unknown"),
        Kept("status", "what is no name", "500", "400", "nothing failed", asked=r"/ipns/"),
        Kept("status", "key instead of content", "500", "406", "a key has no content", asked=r"/ipfs/k51|Host: k51\w+\.ipfs"),
        Kept("status", "domains in capitals", "500 or 404", "200", "domains have no case", asked="DNSL", values=("500|404", "200")),
        Kept("status", "CIDv0 or peer id in a host", "200, or redirect", "400", "hosts have no case, so browsers cannot send them",
             asked=r"Host: (Qm|12D)", values=("200|302", "400")),
        Kept("status", "CID of content as a name in a host", "301 to a key", "400", "a hash is no key", asked=r"Host: bafkq\w+\.ipns", values=("301", "400")),
        Kept("status", "host without CID", "307", "400", "there is nowhere to go", asked=r"Host: \.ipfs"),
        Kept("status", "host that is none", "400", "200, as without host", "a path gateway needs none", asked="Host: bad host", values=("400", "200")),
        Kept("location", "DNSLinks on a subdomain gateway without TLS", "the domain's labels", "inlined into one label, as with TLS",
             "one origin for one site; both are served", asked=r"^GET /ipns/\S+ Host: example\.com$", values=(r"http://[^/]+\.example\.org\.ipns\S*", r"http://[a-z-]+-example-org\.ipns\S*")),
    ),
}
# fmt: on

DIFFERENCES = tuple(row for rows in SECTIONS.values() for row in rows)


def find_kept(question: Question, difference: Difference) -> Kept | None:
    """Return the row that a difference is described by."""
    return next((row for row in DIFFERENCES if row.covers(question, difference)), None)
