"""`Upload-Metadata` of the tus protocol: keys, each with bytes in base64."""

import base64
import binascii
import re

from muniment.errors import UsageError

METADATA_LENGTH_MAX = 8_192
_PATH_KEYS = (
    "path",
    "relativePath",
    "filename",
    "name",
)  # the second is that of well-known clients
_SHA256 = re.compile(rb"[0-9a-f]{64}")
_NO_PATHS = (b"", b"null", b"undefined")  # what JavaScript clients send for none


def parse_metadata(text: str) -> dict[str, bytes]:
    """Return the values by key.

    Raises:
        UsageError: It is too long, or malformed, or names a key twice.
    """
    if len(text) > METADATA_LENGTH_MAX:
        raise UsageError(f"expected Upload-Metadata of at most {METADATA_LENGTH_MAX} bytes")
    found: dict[str, bytes] = {}
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        key, _space, value = pair.partition(" ")
        if key in found:
            raise UsageError(f"expected each key of Upload-Metadata once, got {key!r} twice")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(f"expected Upload-Metadata in base64, got {key!r} without") from None
    return found


def path_of(metadata: dict[str, bytes]) -> bytes:
    """Return the path that a client wants its file to have; empty if it names none."""
    values = (metadata.get(key, b"") for key in _PATH_KEYS)
    return next((value for value in values if value not in _NO_PATHS), b"")


def mtime_of(metadata: dict[str, bytes]) -> str:
    """Return when the client says that its file was changed last, in decimal seconds since 1970; empty if it does not.

    It is not checked here: a byte that is no ASCII becomes a character that no time has.
    """
    return metadata.get("mtime", b"").decode("ascii", "replace")


def sha256_of(metadata: dict[str, bytes]) -> str:
    """Return the digest that a client announces, hexadecimal; empty if it does not.

    Raises:
        UsageError: It is none.
    """
    digest = metadata.get("sha256", b"").lower()
    if digest and not _SHA256.fullmatch(digest):
        raise UsageError("expected 64 hexadecimal digits for sha256 in Upload-Metadata")
    return digest.decode()
