"""The `_redirects` file of a website: what to answer for paths that do not exist.

Format: https://specs.ipfs.tech/http-gateways/web-redirects-file/. Each line is `from to [status]`; `:name` in `from` stands for
one name of the path, a final `*` for the rest of it (`:splat`). The first rule that matches holds.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from muniment.errors import FormatError

NAME = b"_redirects"
MAX_FILE_BYTES = 64 * 1024
MAX_RULES = 1024
MAX_TARGET_CHARS = 8192
"""Longest URL or path that a rule may make; it can name a placeholder many times."""
DEFAULT_STATUS = 301
REDIRECTS = frozenset((301, 302, 303, 307, 308))
STATUSES = REDIRECTS | {200, 404, 410, 451}
SPLAT = "splat"

_PLACEHOLDER = re.compile(r":([A-Za-z][A-Za-z0-9_]*)")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: the pattern's names, the target with its placeholders, and the status."""

    source: tuple[str, ...]
    target: str
    status: int

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """Return what the placeholders stand for in a path of (still escaped) names, or None if it is another path."""
        found: dict[str, str] = {}
        for position, pattern in enumerate(self.source):
            if pattern == "*":
                found[SPLAT] = "/".join(segments[position:])
                return found
            if position >= len(segments):
                return None
            if pattern.startswith(":"):
                found[pattern[1:]] = segments[position]
            elif pattern != segments[position]:
                return None
        return found if len(segments) == len(self.source) else None


@dataclass(frozen=True, slots=True)
class Redirect:
    """The answer of a rule: a status, and the URL or path that it leads to or is taken from."""

    status: int
    target: str


def parse_redirects(data: bytes) -> tuple[Rule, ...]:
    """Read a `_redirects` file.

    Raises:
        FormatError: It is too large, is not UTF-8, or a line is no rule.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"redirects file size cannot exceed {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("the file is not UTF-8") from None
    rules = []
    for number, line in enumerate(re.split(r"\r?\n", text), start=1):
        words = line.split()
        if words and not words[0].startswith("#"):
            try:
                rules.append(_parse_rule(words))
            except FormatError as error:
                raise FormatError(f"line {number}: {error}") from None
            if len(rules) > MAX_RULES:
                raise FormatError(f"expected at most {MAX_RULES} rules, got more")
    return tuple(rules)


def find_redirect(rules: Sequence[Rule], path: str, query: str) -> Redirect | None:
    """Return what the first rule that matches `path` (escaped, as in the URL) says, or None.

    Redirects keep the query that was asked with; where it and the rule's own have a name in common, the asked one wins.

    Raises:
        FormatError: The target would be too long.
    """
    segments = path.strip("/").split("/") if path.strip("/") else []
    for rule in rules:
        found = rule.match(segments)
        if found is not None:
            target = _fill(rule.target, found)
            if rule.status in REDIRECTS and query:
                target = _merge_query(target, query)
            return Redirect(rule.status, target)
    return None


def _fill(target: str, found: Mapping[str, str]) -> str:
    longest = len(target) + sum(len(found.get(name, "")) for name in _PLACEHOLDER.findall(target))
    if longest > MAX_TARGET_CHARS:
        raise FormatError(f"expected a target of at most {MAX_TARGET_CHARS} characters, got more")
    return _PLACEHOLDER.sub(lambda match: found.get(match[1], match[0]), target)


def _parse_rule(words: list[str]) -> Rule:
    if not 2 <= len(words) <= 3:
        raise FormatError(f"expected 'from to [status]', got {len(words)} words")
    source, target = words[:2]
    status = _parse_status(words[2]) if len(words) == 3 else DEFAULT_STATUS
    if not source.startswith("/"):
        raise FormatError("'from' must begin with '/'")
    names = tuple(source.strip("/").split("/")) if source.strip("/") else ()
    if "*" in "".join(names)[:-1] or ("*" in source and names[-1] != "*"):
        raise FormatError("'*' may stand only alone at the end of 'from'")
    placeholders = [name for name in names if name.startswith(":")]
    if len(set(placeholders)) != len(placeholders):
        raise FormatError("'from' has the same placeholder twice")
    _check_target(target, status)
    return Rule(names, target, status)


def _parse_status(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) == 3 and int(word) in STATUSES):
        raise FormatError(f"unsupported redirect status {word[:20]!r}")
    return int(word)


def _check_target(target: str, status: int) -> None:
    if _UNPRINTABLE.search(target):
        raise FormatError("'to' has a character that no URL has")
    if target.startswith("/") and not target.startswith("//"):
        return
    if status not in REDIRECTS:
        raise FormatError(f"'to' must be a path of this site when the status is {status}")
    try:
        parts = urlsplit(target)
    except ValueError:
        raise FormatError("'to' is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise FormatError("'to' must be a path that begins with one '/', or an http(s) URL")


def _merge_query(target: str, query: str) -> str:
    base, _, fragment = target.partition("#")
    base, _, own = base.partition("?")
    asked = parse_qsl(query, keep_blank_values=True)
    names = {name for name, _ in asked}
    kept = [pair for pair in parse_qsl(own, keep_blank_values=True) if pair[0] not in names]
    return f"{base}?{urlencode(kept + asked)}" + (f"#{fragment}" if fragment else "")
