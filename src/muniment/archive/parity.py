"""How much PAR2 parity a commit gets, and the port of the program that computes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from muniment.archive.manifest import Par2
from muniment.errors import UsageError

_SOURCE_BLOCKS_WANTED = (
    800  # small enough that scattered damage costs few blocks, large enough to stay fast
)
SOURCE_BLOCKS_MAX = 32_768  # PAR2 2.0
_BLOCK_UNIT = 4096


def plan(sizes: Sequence[int], percent: int) -> Par2 | None:
    """Choose blocks so that any one of the files can be lost whole, and at least `percent` of all blocks.

    Args:
        sizes: Bytes of the files to be covered.
        percent: Wanted parity; 0 means none at all.

    Raises:
        UsageError: There are more files than PAR2 has blocks for.
    """
    if percent == 0:
        return None
    if len(sizes) > SOURCE_BLOCKS_MAX:
        raise UsageError(
            f"parity covers at most {SOURCE_BLOCKS_MAX} files, got {len(sizes)}: use larger chunks"
        )
    block = _BLOCK_UNIT * max(1, -(-sum(sizes) // (_SOURCE_BLOCKS_WANTED * _BLOCK_UNIT)))
    while (blocks := _blocks(sizes, block)) > SOURCE_BLOCKS_MAX:
        block *= 2
    largest = -(-max(sizes) // block)
    return Par2(block_bytes=block, recovery_blocks=max(largest, -(-blocks * percent // 100)))


def _blocks(sizes: Sequence[int], block: int) -> int:
    return sum(-(-size // block) for size in sizes)


class ParityProgram(Protocol):
    """Computes and uses PAR2 files."""

    def create(self, folder: Path, prefix: str, names: Sequence[str], par2: Par2) -> list[str]:
        """Write `<prefix>.par2` and its recovery file over the named files; returns the names written.

        Raises:
            ExternalServiceError: The program failed.
        """
        ...

    def repair(self, folder: Path, prefix: str) -> None:
        """Rebuild damaged or missing covered files in the folder.

        Raises:
            IntegrityError: There is more damage than parity.
        """
        ...
