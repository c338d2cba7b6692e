"""One HTTP exchange with a server that is not trusted: bounded in time as a whole, and in size.

Timeouts of HTTP clients bound each wait for bytes, so a server that sends one byte now and then holds its caller for
days; here the whole exchange has one deadline. Redirects are not followed (a server could point us anywhere) and
nothing is decompressed (a small answer could become a large one).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from muniment import __version__
from muniment.errors import ExternalServiceError

if TYPE_CHECKING:
    import ssl

USER_AGENT = f"muniment/{__version__}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and body of an HTTP response."""

    status: int
    body: bytes


def exchange(
    method: str,
    url: str,
    *,
    timeout_s: float,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Answer:
    """Send one request and return the answer, whatever its status. Not to be called from an event loop's thread.

    Raises:
        ExternalServiceError: There was no whole answer of at most `max_bytes` within `timeout_s`.
    """
    import httpx  # noqa: PLC0415  # slow to import, and most commands talk to nobody

    wanted = {"user-agent": USER_AGENT, "accept-encoding": "identity", **(headers or {})}

    async def talk() -> Answer:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(timeout=timeout_s, verify=_tls()) as client,
            client.stream(method, url, headers=wanted, content=content) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise ExternalServiceError(f"answered with more than {max_bytes} bytes")
            return Answer(response.status_code, bytes(body))

    try:
        return asyncio.run(talk())
    except TimeoutError as error:
        reason = f"gave no answer within {timeout_s:g} s"
        raise ExternalServiceError(f"{without_credentials(url)}: {reason}") from error
    except (httpx.HTTPError, httpx.InvalidURL, ExternalServiceError) as error:
        reason = str(error) or type(error).__name__
        raise ExternalServiceError(f"{without_credentials(url)}: {reason}") from error


@cache
def _tls() -> "ssl.SSLContext":
    """Return the one TLS context: loading the root certificates takes longer than most exchanges."""
    import httpx  # noqa: PLC0415  # as above

    return httpx.create_ssl_context()


def without_credentials(url: str) -> str:
    """Return `url` as it may be shown and logged: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(address that cannot be read)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
