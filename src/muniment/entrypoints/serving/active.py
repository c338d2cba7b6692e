"""How many requests are answered just now, by all processes together."""

import mmap


class ActiveCounts:
    """A number for each of several processes, in memory that they share from a fork on.

    Every process writes its own number and reads the others', so that nothing has to be locked.
    """

    def __init__(self, processes: int = 1) -> None:
        self._memory = mmap.mmap(-1, processes * 8)
        self._counts = memoryview(self._memory).cast("q")

    def add(self, process: int, change: int) -> None:
        """Change the number of one process, which is this one."""
        self._counts[process] += change

    def clear(self, process: int) -> None:
        """Forget the number of a process that has died."""
        self._counts[process] = 0

    def total(self) -> int:
        """Return the number of all processes together."""
        return sum(self._counts)


class Active:
    """The number of this process among all.

    Args:
        counts: The numbers of all.
        process: Which of them is this process'.
    """

    def __init__(self, counts: ActiveCounts | None = None, process: int = 0) -> None:
        self._counts = counts or ActiveCounts()
        self._process = process

    def __enter__(self) -> None:
        self._counts.add(self._process, 1)

    def __exit__(self, *_: object) -> None:
        self._counts.add(self._process, -1)

    def total(self) -> int:
        """Return how many requests all processes answer just now."""
        return self._counts.total()
