"""Content paths: `/ipfs/<cid>/...` and `/ipns/<name>/...`, as they stand in URLs and in the values of mutable names.

Names inside a path are bytes. A URL is split at its slashes first and unescaped afterwards, so an escaped slash can never become
a separator (RFC 3986, section 2.2).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from muniment.content.cid import CID
from muniment.errors import FormatError

MAX_PATH_CHARS = 8192
MAX_SEGMENTS = 256

Namespace = Literal["ipfs", "ipns"]

_ROOT = re.compile(r"[A-Za-z0-9._-]{1,512}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# What RFC 3986 allows in a path's segment besides letters, digits and "_.-~".
_SAFE = "!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class ContentPath:
    """A content path, taken apart.

    Attributes:
        namespace: `ipfs` for immutable, `ipns` for mutable content.
        root: The CID, IPNS name or domain, as it was given.
        segments: The names below the root, unescaped.
        has_final_slash: The path ended in a slash.
    """

    namespace: Namespace
    root: str
    segments: tuple[bytes, ...] = ()
    has_final_slash: bool = False

    def __str__(self) -> str:
        return f"/{self.namespace}/{self.root}{encode_segments(self.segments)}"

    def below(self, segments: Iterable[bytes]) -> "ContentPath":
        """Return the path of something below this one."""
        joined = (*self.segments, *segments)
        if len(joined) > MAX_SEGMENTS:
            raise FormatError(f"expected at most {MAX_SEGMENTS} names in a path, got more")
        return ContentPath(self.namespace, self.root, joined)


def parse_content_path(path: str) -> ContentPath:
    """Read a content path from the path of a URL; the root itself is not looked at.

    Raises:
        FormatError: It does not begin with `/ipfs/` or `/ipns/` and a root, is too long, or has an escape that is none.
    """
    segments, has_final_slash = split_path(path)
    if len(segments) < 2 or segments[0] not in (b"ipfs", b"ipns"):
        raise FormatError(f"invalid path {_shown(path)}: expected /ipfs/<cid> or /ipns/<name>")
    root = segments[1].decode("latin-1")
    if not _ROOT.fullmatch(root):
        raise FormatError(
            f"invalid path {_shown(path)}: the root is neither CID, IPNS name nor domain"
        )
    namespace: Namespace = "ipfs" if segments[0] == b"ipfs" else "ipns"
    return ContentPath(namespace, root, segments[2:], has_final_slash)


def split_path(path: str) -> tuple[tuple[bytes, ...], bool]:
    """Split the path of a URL into unescaped names; return them and whether a slash ended it. Empty names are left out.

    Raises:
        FormatError: It is too long, or has an escape that is none.
    """
    if len(path) > MAX_PATH_CHARS:
        raise FormatError(
            f"expected a path of at most {MAX_PATH_CHARS} characters, got {len(path)}"
        )
    if _BAD_ESCAPE.search(path):
        raise FormatError(f"invalid path {_shown(path)}: it has a % that escapes nothing")
    try:
        segments = tuple(unquote_to_bytes(part) for part in path.split("/") if part)
    except UnicodeEncodeError:
        raise FormatError(f"invalid path {_shown(path)}: it is not text") from None
    if len(segments) > MAX_SEGMENTS:
        raise FormatError(f"expected at most {MAX_SEGMENTS} names in a path, got {len(segments)}")
    return segments, path.endswith("/")


def encode_segment(name: bytes) -> str:
    """Escape one name for the path of a URL."""
    return quote_from_bytes(name, safe=_SAFE)


def encode_segments(segments: Iterable[bytes]) -> str:
    """Return names as the path of a URL, with a slash before each; empty when there are none."""
    return "".join("/" + encode_segment(name) for name in segments)


def parse_root(path: ContentPath) -> CID:
    """Read the CID of an immutable path.

    Raises:
        FormatError: The root is not a CID.
    """
    try:
        return _parse_cid(path.root)
    except FormatError as error:
        raise FormatError(f"invalid path {_shown(str(path))}: {error}") from None


@lru_cache(maxsize=1024)
def _parse_cid(text: str) -> CID:
    return CID.parse(
        usual_case(text)
    )  # several times for each request, and often for the same root


def usual_case(root: str) -> str:
    """Return a root that is written in capitals, as QR codes like it (multibase B, F and K), in lower case; any other as it is."""
    return root.lower() if root[:1] in ("B", "F", "K") and root.isupper() else root


def _shown(path: str) -> str:
    return '"' + path[:200].encode("utf-8", "replace").decode() + '"'
