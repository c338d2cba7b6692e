"""Which buckets, prefixes and endpoints are accepted."""

import ipaddress
import re
from urllib.parse import urlsplit

from muniment.errors import UsageError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_PREFIX_PART = re.compile(r"(?!\.\.?$)[A-Za-z0-9!_.*'()=+@-]{1,100}")
_PREFIX_CHARACTERS_MAX = 400


def check_bucket(bucket: str) -> str:
    """Return the name of a bucket.

    Raises:
        UsageError: It cannot be one.
    """
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{bucket[:80]!r} is not the name of a bucket; expected s3://bucket/prefix"
        )
    return bucket


def check_prefix(prefix: str) -> str:
    """Return a prefix for keys: empty, or ending in a slash.

    Raises:
        UsageError: It is too long, or has characters or parts that some service or program would take otherwise.
    """
    prefix = prefix.strip("/")
    if not prefix:
        return ""
    if len(prefix) > _PREFIX_CHARACTERS_MAX or not all(
        map(_PREFIX_PART.fullmatch, prefix.split("/"))
    ):
        raise UsageError(
            f"prefix {prefix[:80]!r} is not allowed: use letters, digits, '-', '_', '.' and '/'"
        )
    return prefix + "/"


def check_endpoint(url: str, *, allow_http: bool) -> None:
    """Refuse an endpoint that is no URL, holds credentials, or would carry plain HTTP over a public network.

    Raises:
        UsageError: It is refused.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"the S3 endpoint is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise UsageError(
            "the S3 endpoint must be like https://host:port, without a user or password in it"
        )
    if parts.scheme == "http" and not allow_http and not _is_private(parts.hostname):
        raise UsageError(
            f"S3 endpoint {parts.hostname} is not private: use https, or allow plain http on purpose"
        )


def _is_private(host: str) -> bool:
    """Tell whether a host is this machine or in a private network, by its name alone."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(
            ".localhost"
        )  # a bare name is not in the public DNS
