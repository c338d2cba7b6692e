"""Paths of archived files as clients see them.

What was uploaded is called by its place below the uploads (`2026-01-31/letters/ana.txt`), whatever folder of whatever machine they lie in. What the
archive took from elsewhere keeps its absolute path (`/home/ana/letter.txt`).
"""

from urllib.parse import parse_qsl, quote, unquote_to_bytes

import msgspec

from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.requests import HttpRequest


class PathView(msgspec.Struct):
    """A path.

    Attributes:
        path: For people; bytes that are no UTF-8 are shown as U+FFFD.
        path_bytes: The same, percent-encoded, byte for byte.
    """

    path: str
    path_bytes: str


class Paths:
    """Between a principal's paths and those of the catalogue of their archive."""

    def __init__(self, service: Service, principal: Principal) -> None:
        self._root = service.upload_root(principal.organization_id)

    def shown(self, catalogued: bytes) -> bytes:
        """Return the path that clients see for one of the catalogue."""
        place = self._root.place_of(catalogued)
        return b"/" + catalogued if place is None else place

    def names(self, catalogued: bytes) -> tuple[str, str]:
        """Return the fields of a `PathView`."""
        shown = self.shown(catalogued)
        return shown.decode("utf-8", "replace"), quote(shown, safe="/-._~")

    def catalogued(self, shown: bytes) -> bytes:
        """Return the path of the catalogue for one that a client names."""
        return (
            shown.strip(b"/") if shown.startswith(b"/") else self._root.path_of(shown.strip(b"/"))
        )


def query_bytes(request: HttpRequest, name: str) -> bytes:
    """Return a parameter of the query byte for byte, for paths are no text; empty if it is not there."""
    query: bytes = request.scope.get("query_string", b"")
    for key, value in parse_qsl(query.decode("latin-1"), encoding="latin-1"):
        if key == name:
            return value.encode("latin-1")
    return b""


def decoded(path_bytes: str) -> bytes:
    """Return the bytes of a `path_bytes`."""
    return unquote_to_bytes(path_bytes)
