"""The gateway: a function from a request to a response, over one block store."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote_from_bytes

from muniment.content import redirects
from muniment.content.cid import CID
from muniment.content.denylist import BlockedError, Denylist
from muniment.content.gateway_path import (
    ContentPath,
    encode_segments,
    parse_root,
    split_path,
)
from muniment.content.ipns import parse_name
from muniment.content.path_resolution import NoSuchPathError, resolve_path
from muniment.content.ports import BlockStore
from muniment.content.unixfs import describe
from muniment.content.unixfs.node import Kind
from muniment.entrypoints.gateway import contents, verifiable
from muniment.entrypoints.gateway.blocks import RequestBlocks
from muniment.entrypoints.gateway.contents import Found
from muniment.entrypoints.gateway.hosts import Hosts, Mount
from muniment.entrypoints.gateway.messages import (
    CORS_HEADERS,
    Answer,
    Headers,
    HttpError,
    Request,
    Response,
    begin,
    redirect,
    text_response,
)
from muniment.entrypoints.gateway.names import (
    DnsLinks,
    Names,
    NoDnsLinks,
    NoRecords,
    Records,
    Target,
)
from muniment.entrypoints.gateway.negotiation import Format, Wanted, is_version, negotiate
from muniment.entrypoints.gateway.routing import PREFIX as ROUTING_PREFIX
from muniment.entrypoints.gateway.routing import Routing, RoutingOptions
from muniment.errors import (
    ExternalServiceError,
    FormatError,
    IntegrityError,
    MunimentError,
    NotFoundError,
)

_log = logging.getLogger(__name__)

_TRUSTLESS = (Format.RAW, Format.CAR, Format.IPNS_RECORD)


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What a gateway serves, and how.

    Attributes:
        hosts: Host names of this gateway, and whether each gives every root an origin of its own (`<cid>.ipfs.<host>`).
        records: Where IPNS records come from.
        dnslinks: Where DNSLinks come from.
        denylist: What is not served.
        routing: What the node says of itself to those who look for blocks.
        deserialized: Also serve files, directories, data and archives, not only what a client can verify. Must be off where the
            gateway shares an origin with anything else.
        time_limit_s: How long one request may read.
        stream_limit_bytes: Where a body without a size (a CAR or TAR) is cut: of a few blocks one can ask for petabytes.
        clock: Seconds since 1970.
    """

    hosts: Mapping[str, bool] = field(default_factory=dict)
    records: Records = field(default_factory=NoRecords)
    dnslinks: DnsLinks = field(default_factory=NoDnsLinks)
    denylist: Denylist = field(default_factory=Denylist)
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    deserialized: bool = True
    time_limit_s: float = 3600.0
    stream_limit_bytes: int = 1 << 38
    clock: Callable[[], float] = time.time


class Gateway:
    """Answers requests from one block store; safe to use from several threads, if the store is."""

    def __init__(self, store: BlockStore, options: GatewayOptions | None = None) -> None:
        self.options = options or GatewayOptions()
        self._store = store
        self._names = Names(self.options.records, self.options.dnslinks, self.options.clock)
        self._hosts = Hosts(self.options.hosts, self._names)
        self._routing = Routing(
            store,
            self.options.records,
            self.options.denylist,
            self.options.routing,
            self.options.clock,
        )

    def accepts_body(self, request: Request) -> bool:
        """Tell whether the body of a request is worth reading; all others are not looked at."""
        return self._routing.accepts_body(request)

    def respond(self, request: Request) -> Answer:
        """Answer a request; whatever is wrong with it or with the content becomes an error status.

        The rest of the body is read from the store while it is iterated, and may raise a `MunimentError` then.
        """
        cors: Iterable[tuple[str, str]] = CORS_HEADERS
        try:
            if request.path.startswith(ROUTING_PREFIX) and self._hosts.is_own(request):
                cors = self._routing.cors_headers
                response = self._routing.respond(request)
            else:
                response = self._dispatch(request)
            if request.method == "HEAD":
                response.body = ()
            answer = begin(response)
        except MunimentError as error:
            answer = begin(error_response(error))
        except Exception:  # noqa: BLE001  # a defect; whatever it is, the client gets no traceback
            _log.exception("unexpected error, which is a defect in Muniment")
            answer = begin(text_response(500, "the gateway failed to answer"))
        answer.headers += cors
        return answer

    def _dispatch(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(204)
        if request.method not in ("GET", "HEAD"):
            raise HttpError(
                405, "only GET, HEAD and OPTIONS are served", ("allow", "GET, HEAD, OPTIONS")
            )
        mount = self._hosts.route(request)
        if isinstance(mount, Response):
            return mount
        wanted = negotiate(request)
        self._check_request(request, mount, wanted)
        self.options.denylist.check_path(mount.content)
        headers: Headers = [
            ("x-ipfs-path", _shown_path(mount.content)),
            ("ipfs-uri", _ipfs_uri(mount.content)),
            ("vary", "Accept"),
        ]
        headers += _content_location(request, wanted)
        if wanted.format is Format.IPNS_RECORD:
            return _checked(request, self._record(request, mount, headers))
        return _checked(request, self._content(request, mount, wanted, headers))

    def _check_request(self, request: Request, mount: Mount, wanted: Wanted) -> None:
        content = mount.content
        if (
            request.header("service-worker") == "script"
            and not mount.is_isolated
            and not content.segments
            and not content.has_final_slash
        ):
            raise HttpError(400, "a service worker must not be registered for more than one root")
        if not self.options.deserialized and wanted.format not in _TRUSTLESS:
            raise HttpError(
                406,
                f"only what a client can verify is served here: ask for format={_TRUSTLESS[0]} or car",
            )

    def _record(self, request: Request, mount: Mount, headers: Headers) -> Response:
        content = mount.content
        if content.namespace != "ipns" or content.segments:
            raise HttpError(400, "an IPNS record can be had of /ipns/<name> only, without a path")
        try:
            name = parse_name(content.root)
        except FormatError as error:
            raise HttpError(400, str(error)) from None
        record, ttl_s = self._names.record(name)
        filename = request.fields.get("filename", "")
        return verifiable.record_response(
            record, content.root, filename, ttl_s, headers, request.header("if-none-match")
        )

    def _content(
        self, request: Request, mount: Mount, wanted: Wanted, headers: Headers
    ) -> Response:
        target = self._resolve_names(mount.content)
        blocks = RequestBlocks(
            self._store, self.options.denylist, time.monotonic() + self.options.time_limit_s
        )
        if "only-if-cached" in request.header("cache-control") and not blocks.has(target.root):
            raise HttpError(412, f"{target.root} is not in this store")
        try:
            found = self._find(request, mount, wanted, target, blocks, headers)
        except NoSuchPathError:
            redirected = self._redirected(request, mount, wanted, target, blocks, headers)
            if redirected is None:
                raise
            return redirected
        response = _secured(found, _respond(found))
        if not isinstance(response.body, tuple):
            response.body = self._limited(response, blocks)
        return response

    def _limited(self, response: Response, blocks: RequestBlocks) -> Iterator[bytes]:
        """Bound a body in time, and in size unless the size is said before and the rest can be asked for later."""
        body = blocks.paced(response.body)
        if response.header("content-length"):
            return body
        return contents.at_most(self.options.stream_limit_bytes, body)

    def _resolve_names(self, path: ContentPath) -> Target:
        target = self._names.resolve(path)
        if path.namespace == "ipns":
            self.options.denylist.check_path(ContentPath("ipfs", str(target.root), target.segments))
        return target

    def _find(
        self,
        request: Request,
        mount: Mount,
        wanted: Wanted,
        target: Target,
        blocks: RequestBlocks,
        headers: Headers,
    ) -> Found:
        resolution = resolve_path(target.root, target.segments, blocks.get)
        own = len(target.segments) - len(mount.content.segments)
        # The blocks that a name's value leads through are no part of the path that was asked for.
        roots = resolution.roots[own:] if own < len(resolution.roots) else resolution.roots[-1:]
        shown = ("x-ipfs-roots", ",".join(map(str, roots)))
        return Found(request, mount, wanted, resolution, blocks, target.ttl_s, (*headers, shown))

    def _redirected(
        self,
        request: Request,
        mount: Mount,
        wanted: Wanted,
        target: Target,
        blocks: RequestBlocks,
        headers: Headers,
    ) -> Response | None:
        """Answer for a path that does not exist by the site's `_redirects`, if it has an origin of its own and the file."""
        if not mount.is_isolated or wanted.format is not None:
            return None
        site = target.segments[: len(target.segments) - len(mount.content.segments)]
        rules = self._rules(target.root, site, blocks)
        answer = redirects.find_redirect(rules, request.path, request.query)
        if answer is None:
            return None
        if answer.status in redirects.REDIRECTS:
            return redirect(answer.status, answer.target, headers)
        path = answer.target.partition("?")[0].partition("#")[0]
        segments, has_final_slash = split_path(path)
        content = replace(mount.content, segments=segments, has_final_slash=has_final_slash)
        there = replace(mount, content=content)
        moved = replace(target, segments=(*site, *segments))
        found = self._find(request, there, wanted, moved, blocks, headers)
        if answer.status == 200:
            return _respond(found)
        info = describe(found.cid, found.get)
        if info.kind is not Kind.FILE:
            raise NoSuchPathError(f"{path} is no file")
        name = segments[-1] if segments else b""
        return contents.file_response(
            found, found.cid, info.size, name, f'"{found.cid}"', answer.status
        )

    def _rules(
        self, root: CID, site: tuple[bytes, ...], blocks: RequestBlocks
    ) -> tuple[redirects.Rule, ...]:
        try:
            file = resolve_path(root, (*site, redirects.NAME), blocks.get).cid
        except NoSuchPathError:
            return ()
        try:
            data = contents.read_small_file(file, blocks.get, redirects.MAX_FILE_BYTES)
            return redirects.parse_redirects(data)
        except FormatError as error:
            raise HttpError(500, f"could not parse _redirects: {error}") from None


def _respond(found: Found) -> Response:
    """Answer in the format that is wanted."""
    match found.wanted.format:
        case Format.RAW:
            return verifiable.raw_response(found)
        case Format.CAR:
            return verifiable.car_response(found)
        case Format.TAR:
            return verifiable.tar_response(found)
    if contents.is_tree(found.cid):
        return contents.tree_response(found)
    if contents.is_unixfs(found.cid):
        return contents.unixfs_response(found)
    raise HttpError(
        406,
        f"blocks of codec 0x{found.cid.codec:x} cannot be shown: ask for format=raw or format=car",
    )


def _secured(found: Found, response: Response) -> Response:
    """Keep content that shares its origin with other content from acting in that origin's name."""
    if not found.mount.is_isolated and not response.header("content-security-policy"):
        response.headers.append(("content-security-policy", contents.SANDBOX))
    return response


def _checked(request: Request, response: Response) -> Response:
    """Refuse to answer with another version than that which the client insists on (`If-Match`)."""
    condition, etag = request.header("if-match"), response.header("etag")
    if condition and etag and not is_version(condition, etag):
        raise HttpError(412, f"this is version {etag}")
    return response


def _shown_path(content: ContentPath) -> str:
    slash = "/" if content.has_final_slash else ""
    return f"/{content.namespace}/{content.root}{encode_segments(content.segments)}{slash}"


def _ipfs_uri(content: ContentPath) -> str:
    """Return a content path as a URI: the root in its canonical form, all but unreserved characters escaped (IPIP-548)."""
    root = content.root.lower().removesuffix(
        "."
    )  # names are canonical already, domains have no case
    if content.namespace == "ipfs":
        root = str(parse_root(content).to_v1())
    dots = {b".": "%2E", b"..": "%2E%2E"}
    names = (dots.get(name) or quote_from_bytes(name, safe="") for name in content.segments)
    path = "".join(f"/{name}" for name in names)
    return f"{content.namespace}://{root}{path}{'/' if content.has_final_slash else ''}"


def _content_location(request: Request, wanted: Wanted) -> Headers:
    """Name the URL of the format that `Accept` chose, so that caches do not mix formats."""
    if wanted.format is None or wanted.in_url:
        return []
    query = f"{request.query}&" if request.query else ""
    more = "".join(
        f"&car-{name}={wanted.car[name]}"
        for name, allowed in (("version", ("1",)), ("order", ("dfs", "unk")), ("dups", ("y", "n")))
        if wanted.car.get(name) in allowed and f"car-{name}" not in request.fields
    )
    return [("content-location", f"{request.path}?{query}format={wanted.format}{more}")]


def error_response(error: MunimentError) -> Response:
    """Return the answer to a request that failed."""
    match error:
        case HttpError():
            return text_response(error.status, str(error), error.headers)
        case BlockedError():
            return text_response(error.status, str(error), [("cache-control", "no-store")])
        case NotFoundError():
            return text_response(404, str(error))
        case ExternalServiceError():
            return text_response(504, str(error), [("retry-after", "10")])
        case FormatError():
            return text_response(400, str(error))
        case IntegrityError():
            _log.warning("%s", error)
            return text_response(500, str(error))
    _log.warning("%s", error)
    return text_response(500, "the gateway failed to answer")
