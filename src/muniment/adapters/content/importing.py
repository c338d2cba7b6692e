"""Importing CARs: every block verified on its way into the store, roots pinned when their DAGs are complete.

Blocks are stored batch by batch, each batch durably. When a CAR turns out to be damaged, the whole blocks before the damage stay in the
store without a pin, where they harm nobody: an import of the mended file finds them, and collecting garbage removes them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.car import CarReader, Readable, Section
from muniment.content.cid import CID, IDENTITY, verify_block
from muniment.content.completeness import Survey, survey_dag
from muniment.content.links import has_links

_JOB_BYTES = 4 * 1024 * 1024
_JOB_BLOCKS = 512
_JOBS_AHEAD = 4

Block = tuple[CID, bytes]


class ImportedRoot(NamedTuple):
    """A root of a CAR: what of its DAG is in the store now, and whether it was pinned."""

    cid: CID
    survey: Survey
    pinned: bool


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What one CAR brought: blocks in it, their bytes, blocks that the store did not have, and its roots."""

    version: int
    blocks: int
    size_bytes: int
    new_blocks: int
    roots: tuple[ImportedRoot, ...]


def import_car(
    stream: Readable,
    store: EmbeddedBlockStore,
    *,
    pin: bool = True,
    name: str = "",
    pins_incomplete: bool = False,
    worker_count: int = 1,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> ImportReport:
    """Store the blocks of a CAR of version 1 or 2, and pin its roots.

    Args:
        stream: The CAR.
        store: Where its blocks go.
        pin: Pin those roots whose DAGs are complete then.
        name: The pins' name.
        pins_incomplete: Pin the other roots as well.
        worker_count: Threads that hash.
        advance: Told of the bytes of blocks that are done.

    Raises:
        FormatError: It is no CAR, is malformed, or is cut off.
        IntegrityError: A block does not hash to its CID.
    """
    counted = _Counted(advance)
    with store.hold():
        reader = CarReader(stream)
        with ThreadPoolExecutor(max(1, worker_count), "muniment-import") as pool:
            blocks = counted(_verified(reader.sections(), pool))
            new = store.put_many(blocks, verify=False)
        roots = tuple(
            _settle_root(root, store, name if pin else None, pins_incomplete=pins_incomplete)
            for root in dict.fromkeys(reader.roots)
        )
    return ImportReport(reader.version, counted.blocks, counted.size_bytes, new, roots)


def _settle_root(
    root: CID, store: EmbeddedBlockStore, name: str | None, *, pins_incomplete: bool
) -> ImportedRoot:
    """Look whether a root's DAG is complete, and pin it if there is a name (perhaps empty) for the pin."""
    survey = survey_dag(root, store)
    # An identity CID holds its block; without links there is nothing to keep.
    pinned = name is not None and (not survey.missing_blocks or pins_incomplete)
    if pinned and not (root.hash_function == IDENTITY and not has_links(root)):
        store.pin(root, name or "")
    return ImportedRoot(root, survey, pinned)


class _Counted:
    """Counts the blocks that go through it."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self.blocks = self.size_bytes = 0

    def __call__(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for cid, data in blocks:
            self.blocks += 1
            self.size_bytes += len(data)
            self._advance(len(data))
            yield cid, data


def _verified(sections: Iterator[Section], pool: ThreadPoolExecutor) -> Iterator[Block]:
    """Yield the blocks in their order, hashed by threads; at most `_JOBS_AHEAD` jobs are in memory."""
    pending: deque[Future[Sequence[Block]]] = deque()
    for job in _jobs(sections):
        pending.append(pool.submit(_verify, job))
        if len(pending) > _JOBS_AHEAD:
            yield from pending.popleft().result()
    for future in pending:
        yield from future.result()


def _jobs(sections: Iterator[Section]) -> Iterator[list[Block]]:
    size = 0
    job: list[Block] = []
    for section in sections:
        job.append((section.cid, section.data))
        size += len(section.data)
        if size >= _JOB_BYTES or len(job) >= _JOB_BLOCKS:
            yield job
            job, size = [], 0
    if job:
        yield job


def _verify(blocks: list[Block]) -> list[Block]:
    for cid, data in blocks:
        verify_block(cid, data)
    return blocks
