"""From the host and path of a request to the content that it asks for, and how that is mounted.

Four ways: a path gateway (`/ipfs/<cid>/...` on any host), a subdomain gateway (`<cid>.ipfs.<host>`, an origin for each root), a
DNSLink website (the host itself names content), and a redirect from the first to the second.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from muniment.content.cid import CID
from muniment.content.dnslink import MAX_LABEL_CHARS, check_domain, inline, uninline
from muniment.content.gateway_path import (
    ContentPath,
    encode_segments,
    parse_content_path,
    parse_root,
    split_path,
    usual_case,
)
from muniment.content.ipns import LIBP2P_KEY, name_text, parse_name
from muniment.content.multibase import encode_base36
from muniment.entrypoints.gateway.messages import (
    HttpError,
    Request,
    Response,
    redirect,
    text_response,
)
from muniment.entrypoints.gateway.names import Names
from muniment.errors import ExternalServiceError, FormatError

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?")
_TOO_LONG = f"CID incompatible with DNS label length limit of {MAX_LABEL_CHARS}"


@dataclass(frozen=True, slots=True)
class Mount:
    """Content, and where a request found it.

    Attributes:
        content: The whole content path.
        prefix: What stands before the content's own path in URLs: `/ipfs/<cid>`, or nothing at an origin of its own.
        gateway_host: The host of the gateway that this origin is a subdomain of, with its port.
        is_isolated: The origin belongs to this root alone.
    """

    content: ContentPath
    prefix: str = ""
    gateway_host: str = ""
    is_isolated: bool = False

    def url(self, segments: tuple[bytes, ...]) -> str:
        """Return the path of a URL to something below the root."""
        return self.prefix + encode_segments(segments)


@dataclass(frozen=True, slots=True)
class Hosts:
    """The host names of this gateway, and whether each gives every root an origin of its own."""

    gateways: Mapping[str, bool]
    names: Names

    def route(self, request: Request) -> Mount | Response:
        """Find the content that a request asks for, or the redirect to where it is.

        Raises:
            HttpError: 400, 404: the host or path names no content.
        """
        host = request.header("x-forwarded-host") or request.header("host")
        if not _HOST.fullmatch(host):
            host = ""
        name, _, _port = host.lower().partition(":")
        if self.gateways.get(name):
            return self._on_subdomain_gateway(request, host)
        label, _, rest = name.partition(".ipfs.")
        if self.gateways.get(rest):
            return self._in_ipfs_subdomain(request, label, host)
        label, _, rest = name.partition(".ipns.")
        if self.gateways.get(rest):
            return self._in_ipns_subdomain(request, label, host)
        if self._is_website(name, request):
            content = ContentPath("ipns", check_domain(name), *_split(request.path))
            return Mount(content, is_isolated=True)
        return self._on_path_gateway(request)

    def is_own(self, request: Request) -> bool:
        """Tell whether a request came to the gateway's own origin, not to one that belongs to content.

        Raises:
            ExternalServiceError: The DNS would know, and does not answer.
        """
        host = request.header("x-forwarded-host") or request.header("host")
        name, _, _port = host.lower().partition(":")
        above = (name.partition(f".{space}.")[2] for space in ("ipfs", "ipns"))
        if any(self.gateways.get(host) for host in above):
            return False
        return name in self.gateways or not self._is_website(name, request)

    def _is_website(self, name: str, request: Request) -> bool:
        """Tell whether a host that is no gateway's names content itself."""
        try:
            return name not in self.gateways and self.names.has_dnslink(name)
        except ExternalServiceError:
            if _parse(request.path) is None:
                raise
            return False  # the path says enough

    def _on_path_gateway(self, request: Request) -> Mount | Response:
        found = _redirect_uri(request)
        if found is not None:
            return found
        content = _parse(request.path)
        if content is None:
            raise HttpError(404, "this is an IPFS gateway: ask for /ipfs/<cid> or /ipns/<name>")
        if content.namespace == "ipfs":
            _root_of(content)
        else:
            canonical = _canonical_name(content.root)
            if canonical and canonical != content.root:
                path = f"/ipns/{canonical}{encode_segments(content.segments)}"
                return redirect(302, _with_query(path, request, slash=content.has_final_slash))
        return Mount(content, prefix=f"/{content.namespace}/{content.root}")

    def _on_subdomain_gateway(self, request: Request, host: str) -> Mount | Response:
        found = _redirect_uri(request)
        if found is not None:
            return found
        content = _parse(request.path)
        if content is None:
            raise HttpError(404, "this is an IPFS gateway: ask for /ipfs/<cid> or /ipns/<name>")
        label = _label(content)
        path = encode_segments(content.segments)
        location = f"{request.scheme}://{label}.{content.namespace}.{host}{path}"
        return redirect(
            301, _with_query(location, request, slash=content.has_final_slash or not path)
        )

    def _in_ipfs_subdomain(self, request: Request, label: str, host: str) -> Mount | Response:
        if len(label) > MAX_LABEL_CHARS:
            raise HttpError(400, _TOO_LONG)
        content = ContentPath("ipfs", label, *_split(request.path))
        gateway_host = host[len(label) + len(".ipfs.") :]
        canonical = _cid_label(_root_of(content))
        if canonical != label:
            return _moved(request, f"{canonical}.ipfs.{gateway_host}")
        return Mount(content, gateway_host=gateway_host, is_isolated=True)

    def _in_ipns_subdomain(self, request: Request, label: str, host: str) -> Mount | Response:
        gateway_host = host[len(label) + len(".ipns.") :]
        canonical = _canonical_name(label)
        if canonical is None:
            domain = label if "." in label else uninline(label)
            try:
                root = check_domain(domain)
            except FormatError:
                raise HttpError(
                    400, f"{label[:80]!r} is neither an IPNS name nor a domain"
                ) from None
        elif canonical != label:
            return _moved(request, f"{canonical}.ipns.{gateway_host}")
        else:
            root = label
        content = ContentPath("ipns", root, *_split(request.path))
        return Mount(content, gateway_host=gateway_host, is_isolated=True)


def _moved(request: Request, host: str) -> Response:
    segments, slash = _split(request.path)
    path = encode_segments(segments)
    location = f"{request.scheme}://{host}{path}"
    return redirect(301, _with_query(location, request, slash=slash or not path))


def _with_query(url: str, request: Request, *, slash: bool) -> str:
    url += "/" if slash else ""
    return f"{url}?{request.query}" if request.query else url


def _split(path: str) -> tuple[tuple[bytes, ...], bool]:
    try:
        return split_path(path)
    except FormatError as error:
        raise HttpError(400, str(error)) from None


def _parse(path: str) -> ContentPath | None:
    """Read a content path; None if the path is not meant to be one."""
    if not path.startswith(("/ipfs/", "/ipns/")):
        return None
    try:
        return parse_content_path(path)
    except FormatError as error:
        raise HttpError(400, str(error)) from None


def _root_of(content: ContentPath) -> CID:
    try:
        return parse_root(content)
    except FormatError as error:
        raise HttpError(400, str(error)) from None


def _canonical_name(root: str) -> str | None:
    """Return an IPNS name as it should be written, or None if `root` is not one."""
    try:
        return name_text(parse_name(usual_case(root)))
    except FormatError:
        return None


def _label(content: ContentPath) -> str:
    """Return the DNS label of a root."""
    if content.namespace == "ipfs":
        return _cid_label(_root_of(content))
    canonical = _canonical_name(content.root)
    try:
        label = canonical or inline(check_domain(content.root))
    except FormatError as error:
        raise HttpError(400, f'invalid path "{str(content)[:200]}": {error}') from None
    if len(label) > MAX_LABEL_CHARS:
        raise HttpError(400, _TOO_LONG)
    return label


def _cid_label(cid: CID) -> str:
    cid = cid.to_v1()
    label = encode_base36(cid.raw) if cid.codec == LIBP2P_KEY else str(cid)
    if len(label) > MAX_LABEL_CHARS:
        label = encode_base36(cid.raw)
    if len(label) > MAX_LABEL_CHARS:
        raise HttpError(400, _TOO_LONG)
    return label


def _redirect_uri(request: Request) -> Response | None:
    """Answer `/ipfs/?uri=ipfs://...`, which browsers send for addresses that a page registered to handle."""
    uri = request.fields.get("uri")
    if uri is None or request.path not in ("/ipfs/", "/ipns/"):
        return None
    match = re.fullmatch(r"(ipfs|ipns)://([^/?#]+)([^?#]*)(\?[^#]*)?(?:#.*)?", uri)
    if match is None:
        raise HttpError(400, "expected an ipfs:// or ipns:// address in 'uri'")
    content = _parse(f"/{match[1]}/{unquote(match[2])}{_escape(match[3])}")
    if content is None:
        return text_response(400, "expected an address with a root")
    slash = "/" if content.has_final_slash and content.segments else ""
    query = _escape(match[4] or "")
    return redirect(301, f"{content}{slash}{query}")


def _escape(text: str) -> str:
    """Escape what may not stand in a URL, and leave escapes as they are."""
    return "".join(c if "!" <= c <= "~" else "".join(f"%{b:02X}" for b in c.encode()) for c in text)
