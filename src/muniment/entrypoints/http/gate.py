"""The gate that every request to a route goes through: who is it, how often, may they, and was it here before?

In this order, so that what costs more comes later: the API key, the rate of its requests, the permission, the body (whole, where it is no
upload), `Idempotency-Key`, `If-Match`, and last a place among what goes on at once.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from weakref import WeakValueDictionary

import msgspec
from litestar.handlers import HTTPRouteHandler
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from muniment.accounts.idempotency import (
    ANSWER_BYTES_MAX,
    RequestKey,
    Standing,
    answer_key,
    fingerprint,
    parse_key,
)
from muniment.accounts.permissions import Permission
from muniment.accounts.principals import AuthenticationError, Principal
from muniment.adapters.sql.statements import with_every_write
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.admission import AdaptiveLimit, AdmissionRules, Room
from muniment.entrypoints.http.answers import Holding, Whole, matches, with_etag
from muniment.entrypoints.http.authentication import Authenticator, permission_of, token_of
from muniment.entrypoints.http.bodies import Body, GoneError, has_body
from muniment.entrypoints.http.problems import ProblemError
from muniment.entrypoints.http.rates import RequestRates, headers_of
from muniment.entrypoints.http.requests import AsgiApp, Message, Receive, Scope, Send, header_of
from muniment.errors import MunimentError

_log = logging.getLogger(__name__)

_READS = ("GET", "HEAD")
_ROOM_BYTES = 64 << 20
_CHANGES_KEYS = (Permission.KEYS_WRITE, Permission.MEMBERS_WRITE)
_TRANSIENT = (408, 425, 429)


class Gate:
    """The gate of one process; called with an application, it returns one that stands behind the gate.

    Args:
        service: The service.
        processes: How many processes answer requests: several share their counters.
    """

    def __init__(self, service: Service, processes: int = 1) -> None:
        settings = service.settings
        self.limit = AdaptiveLimit(AdmissionRules(most=settings.requests))
        self._service = service
        self._authenticator = Authenticator(service.accounts)
        self._rates = RequestRates(
            settings.rate_per_minute,
            settings.failures_per_minute,
            service.shared_rates if processes > 1 else None,
        )
        self._room = Room(_ROOM_BYTES)
        self._streams = 0
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def __call__(self, app: AsgiApp) -> AsgiApp:
        """Return an application behind the gate."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            permission = None
            if scope["type"] == "http" and scope["method"] != "OPTIONS":
                permission = permission_of(scope["route_handler"])
            if permission is None:
                await app(scope, receive, send)
                return
            authorization = header_of(scope, b"authorization").decode("latin-1")
            principal = await self._authenticate(authorization, scope["state"]["address"])
            scope["user"] = principal
            rate = await self._rates.take(principal.key_id)
            scope["state"]["headers"] |= headers_of(rate)
            try:
                principal.require(permission)
                if _is_stream(scope["route_handler"]):
                    await self._stream(app, scope, receive, send)
                else:
                    await self._whole(app, scope, receive, send, token_of(authorization))
            except GoneError:
                return
            finally:
                if permission in _CHANGES_KEYS:
                    self._authenticator.forget()

        return gated

    async def _authenticate(self, authorization: str, address: str) -> Principal:
        try:
            principal = self._authenticator.remembered(authorization)
            if principal is None:
                if not self._authenticator.is_known(authorization):
                    await self._rates.check(address)
                principal = await self._authenticator.look(authorization)
        except AuthenticationError:
            await self._rates.fail(address)
            raise
        return principal

    async def _stream(self, app: AsgiApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, whose body the handler reads while it comes."""
        request = _idempotent(scope, self._service, b"")
        token = token_of(header_of(scope, b"authorization").decode("latin-1"))
        if self._streams >= self._service.settings.requests:
            raise ProblemError(
                "unavailable", "too many uploads go on at once: try again", {"retry-after": "5"}
            )
        self._streams += 1
        try:
            await self._answer(app, scope, receive, send, request, token)
        finally:
            self._streams -= 1

    async def _whole(
        self, app: AsgiApp, scope: Scope, receive: Receive, send: Send, token: str
    ) -> None:
        """Answer a request whose body, if any, is read whole beforehand."""
        settings, body = self._service.settings, Body(self._room)
        try:
            if has_body(scope):
                handler: HTTPRouteHandler = scope["route_handler"]
                limit = handler.resolve_request_max_body_size()
                max_bytes = limit if isinstance(limit, int) else settings.body_bytes
                await body.read(scope, receive, max_bytes, settings.body_timeout_s)
                receive = body.replaying(receive)
                _check_type(scope)
            request = _idempotent(scope, self._service, body.data)
            await self._answer(app, scope, receive, send, request, token, is_counted=True)
        finally:
            body.close()

    async def _answer(
        self,
        app: AsgiApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        request: "IdempotentRequest | None",
        token: str,
        *,
        is_counted: bool = False,
    ) -> None:
        """Answer a request, or give the answer that was kept."""
        if request is not None and (known := await request.begin(token)):
            await known.send(send)
            return
        holding = Holding(send)
        try:
            async with self._unchanged(scope):
                with (
                    self._place(scope, is_counted=is_counted) as holding.on_start,
                    request.going_on() if request else contextlib.nullcontext(),
                ):
                    await app(scope, receive, holding)
        except BaseException:
            if request is not None:
                await request.give_up()
            raise
        whole = holding.whole
        if request is not None:
            await (request.end(token, whole) if whole else request.give_up())
        if whole is not None:
            if scope["method"] in _READS:
                whole = with_etag(whole, header_of(scope, b"if-none-match"))
            await whole.send(send)

    @contextlib.contextmanager
    def _place(self, scope: Scope, *, is_counted: bool) -> Iterator[Callable[[], None]]:
        """Take a place among what goes on at once, and leave it when the answer begins."""
        if not is_counted:
            yield lambda: None
            return
        began_s = self.limit.enter(is_read=scope["method"] in _READS)
        waiting = [began_s]

        def leave() -> None:
            while waiting:
                self.limit.leave(waiting.pop())

        try:
            yield leave
        finally:
            leave()

    @contextlib.asynccontextmanager
    async def _unchanged(self, scope: Scope) -> AsyncIterator[None]:
        """Check that what is to be changed is still what the client has seen (RFC 9110, section 13.1.1); others who check wait meanwhile.

        Raises:
            ProblemError: It is not.
        """
        wanted = header_of(scope, b"if-match")
        if not wanted or scope["method"] in _READS:
            yield
            return
        principal: Principal = scope["user"]
        place = principal.organization_id, scope["state"]["path"]
        async with self._turns.setdefault(place, asyncio.Lock()):
            seen = await _read(scope)
            etag = next((value for name, value in seen.headers if name == b"etag"), b"")
            if seen.status != 200 or not matches(wanted, etag, is_weak=False):
                raise ProblemError(
                    "precondition-failed", "it was changed, or is gone: read it again, then decide"
                )
            yield


class IdempotentRequest:
    """A request with an `Idempotency-Key`.

    Args:
        service: The service.
        key: What names it.
        print_: What it has in common with itself when it is sent again.
    """

    def __init__(self, service: Service, key: RequestKey, print_: bytes) -> None:
        self._service = service
        self._key = key
        self._print = print_
        self._token = secrets.token_hex(16)

    async def begin(self, secret: str) -> Whole | None:
        """Enter the request; returns the answer that it got before, if it did.

        Raises:
            ProblemError: It runs already, or was another one, or nobody knows its answer.
        """
        requests = self._service.requests
        found = await asyncio.to_thread(requests.begin, self._key, self._print, self._token)
        if found.standing is Standing.FIRST:
            return None
        if found.standing is Standing.RUNNING:
            raise ProblemError(
                "conflict", "the first request with this key still runs", {"retry-after": "1"}
            )
        if found.standing is Standing.OTHER:
            raise ProblemError(
                "idempotency-mismatch", "this Idempotency-Key came with another request before"
            )
        if found.standing is Standing.LOST or not found.answer:
            raise ProblemError(
                "conflict",
                "the first request with this key took effect, and its answer is not kept: read what became of it",
            )
        try:
            text = SecretBox(answer_key(secret)).decrypt(found.answer)
        except CryptoError:
            raise ProblemError("conflict", "the answer to this key cannot be read") from None
        answer = msgspec.msgpack.decode(text, type=Whole)
        answer.headers.append((b"idempotency-replayed", b"true"))
        return answer

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Have every change of the request note, in its own transaction, that it took effect, and tell meanwhile that it goes on."""
        marker = self._service.requests.marker(self._key, self._token)
        renewing = asyncio.create_task(self._renew())
        before = with_every_write.set((self._service.database, marker))
        try:
            yield
        finally:
            with_every_write.reset(before)
            renewing.cancel()

    async def _renew(self) -> None:
        requests = self._service.requests
        while True:
            await asyncio.sleep(requests.lease_s / 3)
            with contextlib.suppress(MunimentError):  # there is time for another try
                await asyncio.to_thread(requests.renew, self._key, self._token)

    async def end(self, secret: str, answer: Whole) -> None:
        """Keep the answer; one that says that nothing was done, and to try again, is not kept.

        If it cannot be kept it is given all the same: what took effect has noted so itself, and is not done again.
        """
        if answer.status >= 500 or answer.status in _TRANSIENT:
            await self.give_up()
            return
        text = b""
        if len(answer.body) <= ANSWER_BYTES_MAX:
            box = SecretBox(answer_key(secret))
            text = bytes(box.encrypt(msgspec.msgpack.encode(answer)))
        await self._tell(self._service.requests.finish, text)

    async def give_up(self) -> None:
        """Let the request be sent again, unless it took effect; if that cannot be told, its lease ends by itself."""
        await self._tell(self._service.requests.give_up)

    async def _tell(self, tell: Callable[..., None], *more: bytes) -> None:
        try:
            await asyncio.to_thread(tell, self._key, self._token, *more)
        except MunimentError as error:
            _log.warning("the end of a request with an Idempotency-Key was not noted: %s", error)


def _idempotent(scope: Scope, service: Service, body: bytes) -> IdempotentRequest | None:
    """Return what `Idempotency-Key` makes of a request; None if it has none, or only reads."""
    field = header_of(scope, b"idempotency-key").decode("latin-1")
    if not field or scope["method"] in _READS:
        return None
    principal: Principal = scope["user"]
    key = RequestKey(principal.organization_id, principal.key_id, parse_key(field))
    same = (b"content-length", b"x-sha256", b"x-mtime", b"upload-length", b"if-match")
    path = scope["raw_path"].partition(b"?")[0]
    # Clients give a form that they send again another boundary.
    media_type = header_of(scope, b"content-type").partition(b";")[0]
    parts = [scope["method"].encode(), path, scope["query_string"], media_type]
    return IdempotentRequest(
        service, key, fingerprint(*parts, *(header_of(scope, name) for name in same), body)
    )


def _is_stream(handler: HTTPRouteHandler) -> bool:
    """Tell whether a route reads its body while it comes: one without a limit on it."""
    return handler.resolve_request_max_body_size() is None


def _check_type(scope: Scope) -> None:
    """Check that a body says that it is JSON, or does not say what it is.

    Raises:
        ProblemError: It says that it is something else.
    """
    media_type = header_of(scope, b"content-type").partition(b";")[0].strip().lower()
    if media_type not in (b"", b"application/json") and not media_type.endswith(b"+json"):
        raise ProblemError("unsupported-media-type", "expected a body of type application/json")


async def _read(scope: Scope) -> Whole:
    """Read the resource of a request as its client would, by GET; an answer without a body says that there is none."""
    kept = (b"authorization", b"host")
    carried = ("asgi", "http_version", "scheme", "server", "client", "root_path", "raw_path")
    asked = {name: scope[name] for name in carried if name in scope} | {
        "type": "http",
        "method": "GET",
        "path": scope["state"]["path"],
        "query_string": b"",
        "headers": [item for item in scope["headers"] if item[0] in kept],
        # A state of its own: the framework keeps in it how far an answer has come.
        "state": {name: scope["state"][name] for name in ("request_id", "address", "path")}
        | {"headers": {}},
    }

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ignore(_message: Message) -> None:
        return

    holding = Holding(ignore)
    await scope["litestar_app"](asked, nothing, holding)
    return holding.whole or Whole(404, [], b"")
