"""A bound on the memory of walks over hostile DAGs: how many links they hold open at once.

A walk that goes down a level still holds the links of the node above. Honest DAGs are wide or deep, never both: a node full of links
on each of many levels is there to fill memory.
"""

from muniment.errors import FormatError

MAX_OPEN_LINKS = 1 << 18
"""Links of all nodes that one walk may be inside of, some 64 MB: four times those of the fullest node, and far more than honest levels add up to."""


class OpenLinks:
    """Counts the links of the nodes that one walk is inside of."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def enter(self, count: int) -> None:
        """Go into a node of `count` links.

        Raises:
            FormatError: That is more than a walk may hold.
        """
        self._count += count
        if self._count > MAX_OPEN_LINKS:
            raise FormatError(
                f"expected at most {MAX_OPEN_LINKS} links on the way down a DAG, got more"
            )

    def leave(self, count: int) -> None:
        """Go out of a node of `count` links."""
        self._count -= count
