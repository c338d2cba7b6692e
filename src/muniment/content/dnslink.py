"""DNSLink: a domain's TXT record that names a content path (https://dnslink.dev/), and domains inside one DNS label."""

import re
from collections.abc import Iterable

from muniment.errors import FormatError

PREFIX = "dnslink="
MAX_VALUE_CHARS = 1024
MAX_LABEL_CHARS = 63
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def check_domain(domain: str) -> str:
    """Return `domain` in lower case, without a final dot.

    Raises:
        FormatError: It is not a domain name of at least two labels (RFC 1035, section 2.3.1; underscores are let through).
    """
    name = domain.lower().removesuffix(".")
    labels = name.split(".")
    if (
        len(name) > 253
        or len(labels) < 2
        or labels[-1].isdecimal()
        or not all(_LABEL.fullmatch(label) for label in labels)
    ):
        raise FormatError(f"expected a domain name, got {domain[:80]!r}")
    return name


def find_link(texts: Iterable[str]) -> str | None:
    """Return the content path that a domain's TXT records name: the first in the order of their text, or None."""
    links = sorted(
        text
        for text in texts
        if text.startswith((PREFIX + "/ipfs/", PREFIX + "/ipns/")) and len(text) <= MAX_VALUE_CHARS
    )
    return links[0].removeprefix(PREFIX) if links else None


def inline(domain: str) -> str:
    """Return `domain` as one DNS label: `-` becomes `--`, and `.` becomes `-` (subdomain gateway specification).

    Raises:
        FormatError: The label would be longer than DNS allows.
    """
    label = domain.replace("-", "--").replace(".", "-")
    if len(label) > MAX_LABEL_CHARS:
        raise FormatError(
            f"DNSLink name incompatible with DNS label length limit of {MAX_LABEL_CHARS}: {domain}"
        )
    return label


def uninline(label: str) -> str:
    """Return the domain that `inline` made `label` of."""
    return label.replace("--", "\0").replace("-", ".").replace("\0", "-")
