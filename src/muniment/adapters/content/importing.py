"""Importing CARs: every block verified on its way into the store.

Blocks are stored batch by batch, each batch durably. When a CAR turns out to be damaged, the whole blocks before the damage stay in the
store without a pin, where they harm nobody: an import of the mended file finds them, and collecting garbage removes them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.car import CarReader, Readable, Section
from muniment.content.cid import CID, verify_block

_JOB_BYTES = 4 * 1024 * 1024
_JOB_BLOCKS = 512
_JOBS_AHEAD = 4

Block = tuple[CID, bytes]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What one CAR brought: its roots (each once), blocks in it, their bytes, and how many the store did not have."""

    version: int
    roots: tuple[CID, ...]
    blocks: int
    size_bytes: int
    new_blocks: int


def import_car(
    stream: Readable,
    store: EmbeddedBlockStore,
    *,
    worker_count: int = 1,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> ImportReport:
    """Store the blocks of a CAR of version 1 or 2. Unless something keeps them, hold the store until their roots are pinned.

    Args:
        stream: The CAR.
        store: Where its blocks go.
        worker_count: Threads that hash.
        advance: Told of the bytes of blocks that are done.

    Raises:
        FormatError: It is no CAR, is malformed, or is cut off.
        IntegrityError: A block does not hash to its CID.
    """
    counted = _Counted(advance)
    reader = CarReader(stream)
    with ThreadPoolExecutor(max(1, worker_count), "muniment-import") as pool:
        blocks = counted(_verified(reader.sections(), pool))
        new = store.put_many(blocks, verify=False)
    roots = tuple(dict.fromkeys(reader.roots))
    return ImportReport(reader.version, roots, counted.blocks, counted.size_bytes, new)


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
