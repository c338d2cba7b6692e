"""The order of a commit's leaves: by the bytes of their paths, so that none is there twice (`docs/spec/commit.md`, section 7).

To check it takes the memory of one path, however many leaves there are; checked in ranges, that of two a range.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from muniment.errors import FormatError

_SHOWN_BYTES = 200


class LeafPath(NamedTuple):
    """A leaf whose path is known: hidden and erased ones are not."""

    leaf: int
    path: bytes


def check_order(paths: Iterable[LeafPath]) -> None:
    """Check that paths, given in the order of their leaves, ascend.

    Raises:
        FormatError: Two leaves have the same path, or one is out of order.
    """
    for before, after in itertools.pairwise(paths):
        check_follows(before, after)


def check_follows(before: LeafPath, after: LeafPath) -> None:
    """Check that a path is behind one of a leaf before.

    Raises:
        FormatError: It is the same, or before it.
    """
    if after.path == before.path:
        raise FormatError(
            f"leaves {before.leaf} and {after.leaf} have the same path {after.path[:_SHOWN_BYTES]!r}"
        )
    if after.path < before.path:
        raise FormatError(
            f"leaf {after.leaf} is out of order: its path {after.path[:_SHOWN_BYTES]!r} is not behind that of leaf {before.leaf}"
        )


def ends(paths: list[LeafPath]) -> tuple[LeafPath, ...]:
    """Return the first and the last of a range: what is needed to check it against its neighbours."""
    return (*paths[:1], *paths[1:][-1:])
