"""Denylists: what a gateway must not serve, in the compact format of IPIP-383.

One rule a line: `/ipfs/<cid>`, `/ipfs/<cid>/path`, with a final `*` for everything that begins so, the same for `/ipns/`, or
`//<hash>` to block what the list does not want to name. `!` allows again; the last rule that matches holds. A CID blocks its
multihash, whatever the codec. The hint `status=451` (ours; default 410) says that the reason is a legal one (RFC 7725).
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from muniment.content import multibase, varint
from muniment.content.cid import CID, SHA2_256
from muniment.content.gateway_path import ContentPath
from muniment.content.ipns import parse_name
from muniment.errors import FormatError, MunimentError

MAX_HEADER_BYTES = 1 << 20
MAX_LINE_BYTES = 2 << 20
_SEPARATOR = b"---"
_BLAKE3 = 0x1E
_HEX = re.compile(r"[0-9a-f]{64}")
_STATUSES = {"410": 410, "451": 451}
_GONE = 410


class BlockedError(MunimentError):
    """A denylist forbids this content.

    Attributes:
        status: 410, or 451 for legal reasons.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Rule(NamedTuple):
    order: int
    allows: bool
    status: int
    path: bytes = b""
    is_prefix: bool = False


@dataclass(slots=True)
class Denylist:
    """The rules of one or several lists, in order."""

    _by_root: dict[bytes, list[_Rule]] = field(default_factory=dict)
    _by_hash: dict[bytes, _Rule] = field(default_factory=dict)
    _functions: set[int] = field(default_factory=set)
    _count: int = 0

    def add(self, data: bytes) -> None:
        """Add the rules of a list; they come after those that are there.

        Raises:
            FormatError: A line is no rule, or the list is of another version than 1.
        """
        start = _body_offset(data)
        for number, raw in enumerate(data[start:].split(b"\n"), data.count(b"\n", 0, start) + 1):
            if not raw.strip() or raw.lstrip().startswith(b"#"):
                continue
            try:
                self._add_line(raw)
            except (FormatError, UnicodeDecodeError) as error:
                raise FormatError(f"line {number}: {error}") from None

    @property
    def generation(self) -> int:
        """A number that is another one once rules were added."""
        return self._count

    def __bool__(self) -> bool:
        return bool(self._count)

    def check_path(self, path: ContentPath) -> None:
        """Check a content path before it is resolved.

        Raises:
            BlockedError: It is blocked.
        """
        root = _root_key(path.namespace, path.root) if self else None
        if root is None:
            return
        below = b"/".join(path.segments)
        rules = [rule for rule in self._by_root.get(root, ()) if _covers(rule, below)]
        if self._by_hash:
            rules += self._hash_rules(_anchors(path, below))
        _refuse(rules, str(path))

    def check_block(self, cid: CID) -> None:
        """Check one block, however it was reached.

        Raises:
            BlockedError: It is blocked.
        """
        if not self:
            return
        rules = [rule for rule in self._by_root.get(cid.multihash, ()) if _covers(rule, b"")]
        if self._by_hash:
            rules += self._hash_rules(_anchors(ContentPath("ipfs", str(cid)), b""))
        _refuse(rules, str(cid))

    def _add_line(self, line: bytes) -> None:
        if len(line) > MAX_LINE_BYTES:
            raise FormatError(f"expected a line of at most {MAX_LINE_BYTES} bytes, got {len(line)}")
        words = line.decode("utf-8").split()
        if not words:
            return  # text knows more kinds of blanks than bytes do
        allows = words[0].startswith("!")
        item, status = words[0].removeprefix("!"), _GONE
        for hint in words[1:]:
            name, _, value = hint.partition("=")
            if name == "status":
                status = _STATUSES.get(value, _GONE)
        rule = _Rule(self._count, allows, status)
        self._count += 1
        if item.startswith("//"):
            self._add_hash(item[2:], rule)
        else:
            self._add_path(item, rule)

    def _add_path(self, item: str, rule: _Rule) -> None:
        parts = item.split("/", 3)
        if len(parts) < 3 or parts[0] or parts[1] not in ("ipfs", "ipns") or not parts[2]:
            raise FormatError(f"expected /ipfs/<cid>, /ipns/<name> or //<hash>, got {item[:80]!r}")
        root, below = parts[2], parts[3] if len(parts) == 4 else ""
        is_prefix = below.endswith("*")
        key = _root_key(parts[1], root)
        if key is None:
            raise FormatError(f"expected a CID, got {root[:80]!r}")
        raw = unquote_to_bytes(below.removesuffix("*").rstrip("/"))
        self._by_root.setdefault(key, []).append(rule._replace(path=raw, is_prefix=is_prefix))

    def _add_hash(self, text: str, rule: _Rule) -> None:
        if _HEX.fullmatch(text):
            self._by_hash[bytes.fromhex(text)] = rule
            self._functions.add(SHA2_256)
            return
        multihash = multibase.decode_base58(text)
        function, offset = varint.decode(multihash)
        length, offset = varint.decode(multihash, offset)
        if function not in _FUNCTIONS or length != 32 or len(multihash) != offset + 32:
            raise FormatError("expected a SHA-256 or BLAKE3 multihash of 32 bytes behind //")
        self._functions.add(function)
        self._by_hash[multihash[offset:]] = rule

    def _hash_rules(self, anchors: Iterable[bytes]) -> list[_Rule]:
        digests = (_FUNCTIONS[name](anchor) for anchor in anchors for name in self._functions)
        return [self._by_hash[digest] for digest in digests if digest in self._by_hash]


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _blake3(data: bytes) -> bytes:
    from blake3 import blake3  # noqa: PLC0415  # few lists use it

    return blake3(data).digest()


_FUNCTIONS: dict[int, Callable[[bytes], bytes]] = {SHA2_256: _sha256, _BLAKE3: _blake3}


def _body_offset(data: bytes) -> int:
    """Return where the rules begin: behind the header, if there is one."""
    for start in (0, *(match.end() for match in re.finditer(rb"\n", data[:MAX_HEADER_BYTES]))):
        if data[start : start + 4].rstrip() == _SEPARATOR and data[start : start + 4] in (
            b"---",
            b"---\n",
            b"---\r",
        ):
            version = re.search(rb"(?m)^version:[ \t]*(\S+)", data[:start])
            if version and version[1] != b"1":
                raise FormatError("expected a denylist of version 1, got another")
            end = data.find(b"\n", start)
            return len(data) if end < 0 else end + 1
    return 0


def _root_key(namespace: str, root: str) -> bytes | None:
    """Return what a root is known by: the multihash of a CID or IPNS name, or a domain."""
    try:
        if namespace == "ipfs":
            return CID.parse(root).multihash
        return parse_name(root).multihash
    except FormatError:
        return b"/ipns/" + root.lower().encode() if namespace == "ipns" else None


def _covers(rule: _Rule, below: bytes) -> bool:
    return below.startswith(rule.path) if rule.is_prefix else below == rule.path


def _anchors(path: ContentPath, below: bytes) -> list[bytes]:
    """Return the texts whose hashes a list may hold instead of the path."""
    tail = b"/" + below
    try:
        cid = CID.parse(path.root) if path.namespace == "ipfs" else parse_name(path.root)
    except FormatError:
        domain = path.root.lower().encode()
        return [b"/ipns/" + domain + tail.rstrip(b"/"), domain + tail]
    legacy = multibase.encode_base32(cid.to_v1().raw).encode()
    return [multibase.encode_base58(cid.multihash).encode() + tail.rstrip(b"/"), legacy + tail]


def _refuse(rules: list[_Rule], what: str) -> None:
    if rules:
        last = max(rules)
        if not last.allows:
            raise BlockedError(f"{what} is blocked and cannot be provided", last.status)
