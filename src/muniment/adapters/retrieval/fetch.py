"""Fetching a DAG into a block store from several sources at once, none of which is trusted.

One task walks the DAG, what the store has from the store; what it lacks becomes a want. Workers, some for each source, take wants and
ask for a single block, or for a CAR where many small blocks hang together. Each block is verified before anything else is done with
it. A writer puts them into the store in batches. So a killed fetch goes on where the store ends, and whether a DAG is
complete is known by having walked it, not by what a source says.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from muniment.adapters.retrieval.ports import (
    HoldingStore,
    MisbehaviorError,
    NotHeldError,
    Source,
    UnavailableError,
    UnsupportedError,
)
from muniment.adapters.retrieval.report import (
    FetchCancelledError,
    FetchFailedError,
    FetchLimits,
    FetchProgress,
    FetchReport,
)
from muniment.adapters.retrieval.saving import Saver
from muniment.adapters.retrieval.standing import Standing
from muniment.adapters.retrieval.walk import Node, as_family, scope_children
from muniment.adapters.retrieval.wants import Want
from muniment.content.cid import CID, HASH_FUNCTIONS, IDENTITY, verify_block
from muniment.content.dag_scope import Scope
from muniment.content.links import has_links
from muniment.content.path_resolution import Resolution, resolve_path
from muniment.errors import (
    FormatError,
    IntegrityError,
    NotFoundError,
    UsageError,
)

_TICK_S = 0.2
_LOOK_NODES, _LOOK_LEAVES = 16, 256
_WANTS = 1024
"""Wants from which on the walk waits: what is not yet wanted takes less room."""
_MAX_LOST = 1000
_MAX_WALKS = 16
_MAX_CAR_WANTED = 100_000


def fetch_dag(
    store: HoldingStore,
    root: CID,
    sources: Sequence[Source],
    *,
    path: Sequence[bytes] = (),
    scope: Scope = "all",
    pin_name: str | None = None,
    progress: Callable[[FetchProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    limits: FetchLimits | None = None,
) -> FetchReport:
    """Fetch what a store lacks of a DAG. Not to be called from an event loop's thread.

    Args:
        store: Where the blocks go; its garbage collection is held off meanwhile.
        root: The DAG's root.
        sources: Whom to ask; closed at the end.
        path: Names to follow from the root; the blocks on the way are fetched, too.
        scope: How much of what the path leads to: `all`, the `entity` (a whole file, or a directory without what is in it) or one `block`.
        pin_name: Pin what the path leads to under this name, once it is complete; None: do not pin.
        progress: Told now and then how far it is.
        cancelled: Asked now and then whether to stop.
        limits: What it may take.

    Returns:
        What came of it: everything that was asked for is in the store, durably.

    Raises:
        FetchFailedError: Sources lack blocks or fail, or it takes too long.
        FetchCancelledError: `cancelled` said so.
        NoSuchPathError: The path leads nowhere.
        FormatError: The DAG itself is malformed, too deep or too wide.
    """
    if not sources:
        raise UsageError("there is no source to fetch from")
    fetch = _Fetch(store, root, sources, scope, limits or FetchLimits(), progress, cancelled)
    with store.hold():
        report = asyncio.run(fetch.run(path))
        if pin_name is not None:
            store.pin(report.cid, pin_name)
    return report


class _Fetch:
    """One run of `fetch_dag`; everything but the store is touched by one thread only."""

    def __init__(
        self,
        store: HoldingStore,
        root: CID,
        sources: Sequence[Source],
        scope: Scope,
        limits: FetchLimits,
        progress: Callable[[FetchProgress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._store = store
        self._root = self._target = root
        self._scope = scope
        self._limits = limits
        self._progress = progress
        self._cancelled = cancelled
        self._standings = [
            Standing(
                source,
                max_failures=limits.failures,
                max_misses=limits.misses,
                backoff_s=limits.backoff_s,
                max_wait_s=limits.max_wait_s,
            )
            for source in sources
        ]
        self._waiting: list[Node] = []  # places to look at, the next one last
        self._families: list[Node] = []
        self._fresh: list[Want] = []  # wants that nobody was asked for yet, the next one last
        self._again: list[Want] = []  # wants that somebody did not give
        self._wants: dict[bytes, Want] = {}  # all of them, also those that are being asked for
        self._lost: list[Want] = []
        self._known: set[bytes] = set()  # inner nodes that were come to
        self._saver = Saver(store, limits.batch_bytes)
        self._started_at = time.monotonic()
        self._blocks = self._bytes = self._present = 0
        self._changed = asyncio.Event()

    async def run(self, path: Sequence[bytes]) -> FetchReport:
        """Fetch; see `fetch_dag`."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        coroutines: list[Coroutine[Any, Any, None]] = [self._watch(), self._write()]
        coroutines += [
            self._work(standing)
            for standing in self._standings
            for _ in range(self._limits.connections)
        ]
        tasks = [asyncio.ensure_future(_end_by(ended, coroutine)) for coroutine in coroutines]
        tasks.append(asyncio.ensure_future(_end_by(ended, self._fetch(path), is_last=True)))
        try:
            await ended
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for standing in self._standings:
                with contextlib.suppress(Exception):
                    await standing.source.close()
            with contextlib.suppress(Exception):
                await self._saver.save()  # what was verified is worth keeping, whatever ended this
            self._saver.close()
        self._tell()
        return self._report()

    async def _fetch(self, path: Sequence[bytes]) -> None:
        """Go the path, then walk everything below its end."""
        _verifiable([Node(self._root)])
        self._target = (await self._resolve(path)).cid
        for number in range(_MAX_WALKS):
            blocks, present = self._blocks, self._present
            await self._walk()
            self._present = present if number else self._present
            if self._lost:
                raise self._lost_error()
            if self._blocks == blocks:
                return  # a walk that lacked nothing: this alone says that all is there
        raise self._failed("the store does not keep what was fetched")

    async def _walk(self) -> None:
        """Walk everything below the target once, until what it lacks has come or is lost."""
        self._known.clear()
        self._waiting.append(Node(self._target))
        while self._waiting or self._families or self._wants or self._saver:
            if self._families:
                await self._look_at_family(self._families.pop())
            elif self._waiting and len(self._wants) < _WANTS:
                await self._look()
            else:
                await self._wait()

    async def _resolve(self, path: Sequence[bytes]) -> Resolution:
        """Follow the path with what the store has, and fetch what that lacks, one block after another."""
        missing: list[CID] = []

        def get(cid: CID) -> bytes:
            try:
                return self._store.get(cid)
            except NotFoundError:
                missing.append(cid)
                raise

        while True:
            try:
                return await self._saver.in_thread(lambda: resolve_path(self._root, path, get))
            except NotFoundError:
                if not missing:
                    raise
            self._want(Want(Node(missing.pop()), is_alone=True))
            while self._wants or self._saver:
                await self._wait()
            if self._lost:
                raise self._lost_error()

    # The walk

    async def _look(self) -> None:
        """Find out which of the next places the store has; go on below those, and want the others."""
        nodes = self._next_nodes()
        looked = await self._saver.in_thread(lambda: [self._read(node) for node in nodes])
        for node, data in zip(nodes, looked, strict=True):
            if data is not None:
                self._present += node.cid.hash_function != IDENTITY
                self._go_below(node, data)
            elif node.key not in self._wants and node.key not in self._saver:
                self._want(Want(node, by_car=self._is_small_tree(node)))
        self._notify()

    def _next_nodes(self) -> list[Node]:
        nodes: list[Node] = []
        inner = 0
        while self._waiting and len(nodes) < _LOOK_LEAVES and inner < _LOOK_NODES:
            node = self._waiting.pop()
            if node.key not in self._wants and node.key not in self._saver:
                inner += has_links(node.cid)
                nodes.append(node)
        return nodes

    def _read(self, node: Node) -> bytes | None:
        """Return the block, None if the store lacks it, nothing if it has no links; runs in the store's thread."""
        if not self._store.has(node.cid):
            return None
        return self._store.get(node.cid) if has_links(node.cid) else b""

    def _is_small_tree(self, node: Node) -> bool:
        """Tell whether a block that has to be fetched is worth a CAR; the first one comes alone, which costs a liar the least."""
        if self._scope != "all" or node.depth == 0 or not has_links(node.cid):
            return False
        return node.size_hint is None or node.size_hint <= self._limits.car_bytes

    async def _look_at_family(self, family: Node) -> None:
        """Want children together if the store has none of them, else each for itself."""
        nodes = family.family
        has_some = await self._saver.in_thread(
            lambda: any(self._store.has(node.cid) for node in nodes)
        )
        if has_some or any(node.key in self._wants or node.key in self._saver for node in nodes):
            self._wait_for(nodes)
        else:
            self._want(Want(family, by_car=True))

    def _go_below(self, node: Node, data: bytes, *, is_fresh: bool = False) -> None:
        """Note the places that a block leads to."""
        if not has_links(node.cid):
            return
        found = self._unknown(_verifiable(scope_children(node, data, self._scope)))
        family = as_family(node, found, self._limits.car_bytes) if is_fresh else None
        if family is not None and self._scope == "all":
            self._families.append(family)
        else:
            self._wait_for(found)

    def _unknown(self, nodes: Iterable[Node]) -> list[Node]:
        """Leave out what was come to before, and remember the rest; leaves are left to the store to know."""
        found = []
        for node in nodes:
            if has_links(node.cid):
                if node.key in self._known:
                    continue
                self._known.add(node.key)
            found.append(node)
        if len(self._known) > self._limits.known_nodes:
            raise FormatError(
                f"expected a DAG of at most {self._limits.known_nodes} inner nodes, got more"
            )
        return found

    def _wait_for(self, nodes: Sequence[Node]) -> None:
        if len(self._waiting) + len(nodes) > self._limits.waiting_nodes:
            raise FormatError(
                f"expected a DAG of which {self._limits.waiting_nodes} blocks wait at once at most, got more"
            )
        self._waiting += reversed(nodes)
        self._notify()

    # Asking the sources

    def _want(self, want: Want) -> None:
        self._wants[want.node.key] = want
        self._fresh.append(want)
        self._notify()

    def _settle(self, want: Want) -> bool:
        """Take a want off the list; tell whether it was still there."""
        if self._wants.get(want.node.key) is not want:
            return False
        del self._wants[want.node.key]
        return True

    async def _work(self, standing: Standing) -> None:
        """Ask one source for one thing after another."""
        while not standing.is_dropped:
            want = self._next_want(standing)
            if want is None:
                await self._wait(standing.rest_s if standing.rest_s > 0 else _TICK_S)
                continue
            want.askers.add(standing)
            want.asked_at = began_at = time.monotonic()
            standing.requests += 1
            is_block = not want.by_car  # what a source cannot give as a CAR, it may still have
            try:
                await (self._ask_block if is_block else self._ask_car)(standing, want)
            except NotHeldError as error:
                if is_block:
                    standing.missed(str(error))
                    want.refused.add(standing)
            except UnavailableError as error:
                standing.failed(str(error), began_at, error.retry_after_s)
                if is_block:
                    want.failures[standing] = want.failures.get(standing, 0) + 1
            except UnsupportedError:
                standing.gives_cars = False
            except MisbehaviorError as error:
                standing.lied(str(error))
            finally:
                want.askers.discard(standing)
            self._put_back(want)
            self._notify()

    def _next_want(self, standing: Standing) -> Want | None:
        """Choose what to ask a source for; None if there is nothing, or it is not the time."""
        if standing.rest_s > 0 or self._saver.is_full:
            return None
        for position, want in enumerate(self._again):
            if not self._has_refused(standing, want):
                return self._again.pop(position)
        while self._fresh:
            want = self._fresh.pop()
            if want.by_car and not standing.gives_cars and not self._split(want):
                continue
            return want
        return self._slow_want(standing)

    def _slow_want(self, standing: Standing) -> Want | None:
        """Choose a block that another source is slow to give."""
        slow_since = time.monotonic() - self._limits.hedge_s
        for want in self._wants.values():
            if want.by_car or len(want.askers) != 1 or want.asked_at > slow_since:
                continue
            if standing not in want.askers and not self._has_refused(standing, want):
                return want
        return None

    async def _ask_block(self, standing: Standing, want: Want) -> None:
        data = await standing.source.block(want.node.cid)
        _verify(want.node.cid, data)
        if self._settle(want):  # else another source was faster
            self._keep(standing, want.node, data)
            if not want.is_alone:
                self._go_below(want.node, data, is_fresh=True)

    async def _ask_car(self, standing: Standing, want: Want) -> None:
        """Take from a CAR what belongs below the wanted block; what it lacks is wanted again, block by block."""
        top = want.node
        begun = {node.key: node for node in top.family or (top,)}
        expected = dict(begun)
        taken = {top.key} if top.family else set()
        size = 0
        try:
            async with aclosing(standing.source.subtree(top.cid)) as blocks:
                async for cid, data in blocks:
                    size += len(data)
                    node = expected.get(cid.to_v1().raw)
                    if node is not None:
                        _verify(cid, data)
                        del expected[node.key]
                        self._keep(standing, node, data)
                        taken.add(node.key)
                        below = scope_children(node, data, "all") if has_links(cid) else []
                        expected |= {n.key: n for n in _verifiable(below) if n.key not in taken}
                    elif cid.to_v1().raw not in taken and cid.hash_function != IDENTITY:
                        raise MisbehaviorError(f"sent {cid}, which does not belong below {top.cid}")
                    if size > self._limits.car_bytes or len(expected) > _MAX_CAR_WANTED:
                        break
        finally:
            self._end_car(want, begun, expected, taken)

    def _end_car(
        self,
        want: Want,
        begun: Mapping[bytes, Node],
        expected: Mapping[bytes, Node],
        taken: set[bytes],
    ) -> None:
        left = [node for key, node in expected.items() if key in begun]
        if left == [want.node]:  # not even the first block came
            self._split(want)
            return
        self._settle(want)
        self._known.update(key for key in taken if has_links(CID(key)))
        self._wait_for(left)
        self._wait_for(
            self._unknown(
                node
                for key, node in expected.items()
                if key not in begun and node.cid.hash_function != IDENTITY
            )
        )

    def _split(self, want: Want) -> bool:
        """Ask for single blocks instead of a CAR; tell whether the want itself is one now."""
        want.by_car = False
        if not want.node.family:
            return True
        self._settle(want)
        self._wait_for(want.node.family)
        return False

    def _keep(self, standing: Standing, node: Node, data: bytes) -> None:
        """Take a verified block."""
        standing.gave(len(data))
        self._blocks += 1
        self._bytes += len(data)
        self._saver.keep(node.key, data)

    def _put_back(self, want: Want) -> None:
        """Let others be asked for what one source did not give."""
        if self._wants.get(want.node.key) is want and not want.askers:
            self._again.append(want)
            self._check_lost()

    def _has_refused(self, standing: Standing, want: Want) -> bool:
        return standing in want.refused or want.failures.get(standing, 0) >= self._limits.failures

    def _check_lost(self) -> None:
        """Give up what no source gives.

        Raises:
            FetchFailedError: There is no source any more, or nothing that any of them gives.
        """
        asked = [standing for standing in self._standings if not standing.is_dropped]
        if not asked:
            raise self._failed("no source is left")
        for want in [w for w in self._again if all(self._has_refused(s, w) for s in asked)]:
            self._again.remove(want)
            self._settle(want)
            self._lost.append(want)
        if len(self._lost) > _MAX_LOST:
            raise self._lost_error()

    # Saving, telling, waiting

    async def _write(self) -> None:
        """Put what was fetched into the store, in batches."""
        while True:
            if self._saver.is_due or (self._saver and not self._wants):
                await self._saver.save()
                self._notify()
            else:
                await self._wait()

    async def _watch(self) -> None:
        """Look after time, the caller's wishes, and wants that nobody can fulfil."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._check_lost()
            self._tell()
            if self._cancelled is not None and self._cancelled():
                raise FetchCancelledError("fetching was stopped; what came is kept", self._report())
            if time.monotonic() - self._started_at > self._limits.deadline_s:
                raise self._failed(f"fetching took more than {self._limits.deadline_s:g} s")

    def _tell(self) -> None:
        if self._progress is not None:
            wanted = len(self._wants) + len(self._waiting)
            self._progress(FetchProgress(self._blocks, self._bytes, self._present, wanted))

    async def _wait(self, at_most_s: float = _TICK_S) -> None:
        """Wait until something changes, or for a moment."""
        changed = self._changed
        # Not `wait_for`: until Python 3.12 it can lose a cancellation that comes together with the change.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(at_most_s, _TICK_S)):
                await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _report(self) -> FetchReport:
        return FetchReport(
            self._root,
            self._target,
            self._blocks,
            self._bytes,
            self._present,
            len(self._lost),
            time.monotonic() - self._started_at,
            tuple(standing.report() for standing in self._standings),
        )

    def _lost_error(self) -> FetchFailedError:
        more = f" (and {len(self._lost) - 1} more)" if len(self._lost) > 1 else ""
        return self._failed(f"no source gives the block {self._lost[0].node.cid}{more}")

    def _failed(self, message: str) -> FetchFailedError:
        report = self._report()
        problems = "; ".join(f"{s.name} {s.problem}" for s in report.sources if s.problem)
        return FetchFailedError(f"{message}: {problems}" if problems else message, report)


def _verify(cid: CID, data: bytes) -> None:
    """Check a block that a source sent.

    Raises:
        MisbehaviorError: It is another one.
    """
    try:
        verify_block(cid, data)
    except IntegrityError:
        raise MisbehaviorError(f"sent {len(data)} bytes that are not the block {cid}") from None


def _verifiable(nodes: list[Node]) -> list[Node]:
    """Check that the blocks at some places can be verified once they come.

    Raises:
        FormatError: The hash function of a CID is unknown.
    """
    for node in nodes:
        if node.cid.hash_function not in HASH_FUNCTIONS:
            raise FormatError(
                f"{node.cid} cannot be verified: unknown hash function 0x{node.cid.hash_function:x}"
            )
    return nodes


async def _end_by(
    ended: "asyncio.Future[None]", coroutine: Coroutine[Any, Any, None], *, is_last: bool = False
) -> None:
    """Run a part of a fetch: if it fails, that ends everything."""
    try:
        await coroutine
    except Exception as error:  # noqa: BLE001  # whatever it is, `run` raises it
        if not ended.done():
            ended.set_exception(error)
    else:
        if is_last and not ended.done():
            ended.set_result(None)
