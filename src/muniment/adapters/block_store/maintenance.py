"""Verifying every block, and collecting garbage."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from muniment.adapters.block_store import packs
from muniment.adapters.block_store.index import BlockIndex
from muniment.adapters.block_store.packs import Location
from muniment.adapters.durable import sync_folder
from muniment.content.cid import CID, verify_block
from muniment.content.links import block_links, has_links
from muniment.errors import IntegrityError, MissingDataError, NotFoundError

_PROGRESS_BYTES = 8 * 1024 * 1024


class Problem(NamedTuple):
    """A block that is damaged or missing: where it should be, and what is wrong, in words."""

    cid: CID
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was verified: blocks hashed (once for each place they lie in), their bytes, and the different roots found complete."""

    blocks: int
    size_bytes: int
    roots: int


@dataclass(frozen=True, slots=True)
class GcReport:
    """What was (or, in a dry run, would be) removed.

    Attributes:
        kept_blocks: Blocks in packs that are reachable.
        removed_blocks: Blocks in packs that are not, or that lay there twice.
        removed_bytes: Their bytes.
        rewritten_packs: Packs that held any of them.
    """

    kept_blocks: int
    removed_blocks: int
    removed_bytes: int
    rewritten_packs: int


def verify(
    folder: str,
    index: BlockIndex,
    get: Callable[[CID], bytes],
    progress: Callable[[int, int], None] | None,
    on_problem: Callable[[Problem], None] | None,
) -> VerifyReport:
    """Hash every block in every place, then walk every root; see `EmbeddedBlockStore.verify`."""
    problems: list[Problem] = []

    def report(problem: Problem) -> None:
        problems.append(problem)
        if on_problem:
            on_problem(problem)

    total_bytes = sum(size for _, size in index.totals().values())
    blocks = done_bytes = reported_bytes = 0
    for cid, place in _walk_places(index):
        if reason := _check_place(folder, cid, place):
            report(Problem(cid, f"{place.path} at byte {place.offset}", reason))
        blocks += 1
        done_bytes += place.length
        if progress and done_bytes - reported_bytes >= _PROGRESS_BYTES:
            progress(done_bytes, total_bytes)
            reported_bytes = done_bytes
    if progress:
        progress(done_bytes, total_bytes)
    roots = _roots(index)
    walk = _Walk(get, index)
    for name, root in roots:
        for cid, reason in walk.missing_below(root):
            report(Problem(cid, name, reason))
    if problems:
        first = problems[0]
        raise IntegrityError(
            f"{len(problems)} of {blocks} blocks are damaged or missing; the first is {first.cid} in {first.place}: {first.reason}"
        )
    return VerifyReport(blocks, done_bytes, len({root for _name, root in roots}))


def _roots(index: BlockIndex) -> list[tuple[str, CID]]:
    pinned = [(f"pin {pin.name or pin.cid}", pin.cid) for pin in index.pins()]
    return pinned + [(f"directory {path}", root) for path, root in index.directories().items()]


def _walk_places(index: BlockIndex) -> Iterator[tuple[CID, Location]]:
    """Yield every block in every place, file by file from front to back."""
    with index.snapshot() as connection:
        rows = connection.execute(
            "SELECT cid, path, offset, length FROM blocks JOIN files ON files.id = blocks.file"
            " ORDER BY path, offset"
        )
        for raw, path, offset, length in rows:
            yield CID(raw), Location(path, offset, length)


def _check_place(folder: str, cid: CID, place: Location) -> str | None:
    try:
        verify_block(cid, packs.read_location(folder, place))
    except FileNotFoundError:
        return "the file is missing"
    except (IntegrityError, OSError) as error:
        return str(error)
    return None


class _Walk:
    """A walk over DAGs that visits each block once, however many roots reach it."""

    def __init__(self, get: Callable[[CID], bytes], index: BlockIndex | None = None) -> None:
        self._get = get
        self._index = index
        self.seen: set[CID] = set()

    def missing_below(self, root: CID) -> Iterator[tuple[CID, str]]:
        """Visit the DAG of `root`; yield each block that cannot be read, and why."""
        pending = [root.to_v1()]
        while pending:
            cid = pending.pop()
            if cid in self.seen:
                continue
            self.seen.add(cid)
            try:
                if has_links(cid):
                    pending += (link.to_v1() for link in block_links(cid, self._get(cid)))
                elif self._index and not self._index.locations(cid) and cid.hash_function:
                    yield cid, "the block is missing"
            except IntegrityError as error:
                yield cid, str(error)
            except NotFoundError:
                yield cid, "the block is missing"


def reachable(
    roots: Collection[CID], get: Callable[[CID], bytes], *, allow_incomplete: bool
) -> set[CID]:
    """Return all CIDs below the roots, themselves included.

    Raises:
        MissingDataError: A node on the way is missing or damaged, so that what hangs on it is unknown.
    """
    walk = _Walk(get)
    for root in roots:
        for cid, reason in walk.missing_below(root):
            if not allow_incomplete:
                raise MissingDataError(
                    f"the DAG of {root} is incomplete at {cid}: {reason}; nothing was removed"
                )
    return walk.seen


def collect(
    folder: str, index: BlockIndex, keep: set[CID], *, pack_bytes: int, dry_run: bool
) -> GcReport:
    """Write the blocks worth keeping of every pack with others into new packs, then let go of the old ones.

    Order: new packs written and durable; index switched in one transaction; old packs deleted. Killed before the switch, the new packs
    are found as duplicates and go next time; killed behind it, the old ones.
    """
    kept, removed, removed_bytes = 0, 0, 0
    living: dict[str, list[tuple[CID, Location]]] = {}
    seen: set[CID] = set()
    for path, group in groupby(_pack_places(index), key=lambda item: item[1].path):
        keepers, has_dead = [], False
        for cid, place in group:
            if cid in keep and cid not in seen:
                seen.add(cid)
                keepers.append((cid, place))
                continue
            has_dead = True
            removed += 1
            removed_bytes += place.length
        kept += len(keepers)
        if has_dead:
            living[path] = keepers
    report = GcReport(kept, removed, removed_bytes, len(living))
    if living and not dry_run:
        _rewrite(folder, index, living, pack_bytes)
    return report


def _pack_places(index: BlockIndex) -> Iterator[tuple[CID, Location]]:
    return (item for item in _walk_places(index) if packs.pack_number(item[1].path))


def _rewrite(
    folder: str,
    index: BlockIndex,
    living: dict[str, list[tuple[CID, Location]]],
    pack_bytes: int,
) -> None:
    last = index.last_pack()
    number = packs.pack_number(last[0]) + 1 if last else 1
    written: list[tuple[str, list[tuple[CID, Location]], int]] = []
    try:
        for group in _by_size([item for items in living.values() for item in items], pack_bytes):
            path = packs.pack_path(number + len(written))
            places, end = packs.append(folder, path, 0, _read_blocks(folder, group))
            written.append((path, places, end))
    except BaseException:
        _unlink(folder, [packs.pack_path(number + i) for i in range(len(written) + 1)])
        raise
    with index.transaction():
        index.remove_files(living)
        for path, places, end in written:
            index.add_blocks(((cid, at.offset, at.length) for cid, at in places), path)
            index.set_pack(path, end)
    _unlink(folder, list(living))


def _by_size(items: list[tuple[CID, Location]], limit: int) -> Iterator[list[tuple[CID, Location]]]:
    """Cut a list of blocks into packs of about `limit` bytes."""
    group: list[tuple[CID, Location]] = []
    size = 0
    for item in items:
        group.append(item)
        size += item[1].length
        if size >= limit:
            yield group
            group, size = [], 0
    if group:
        yield group


def _read_blocks(folder: str, items: list[tuple[CID, Location]]) -> Iterator[tuple[CID, bytes]]:
    for cid, place in items:
        data = packs.read_location(folder, place)
        verify_block(cid, data)
        yield cid, data


def _unlink(folder: str, paths: list[str]) -> None:
    for path in paths:
        try:
            os.unlink(os.path.join(folder, path))
        except FileNotFoundError:
            continue
    sync_folder(os.path.join(folder, packs.FOLDER))
