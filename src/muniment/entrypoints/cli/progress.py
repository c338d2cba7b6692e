"""Progress of long work: bars on a terminal, a line for each stage with `--verbose`, else nothing."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from muniment.entrypoints.cli.session import Session
from muniment.text import count, duration, plain, size

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_REFRESH_S = 0.1


class Progress:
    """Tells nobody; see `muniment.archive.ports.Progress`."""

    def stage(self, commit_id: str, stage: str, total_bytes: int) -> None:
        """Note that a stage begins."""

    def advance(self, size_bytes: int, files: int = 0) -> None:
        """Note that it has done so much more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the terminal clean."""


class LineProgress(Progress):
    """Writes a line when a stage begins."""

    def stage(self, commit_id: str, stage: str, total_bytes: int) -> None:
        """Write the stage's line."""
        amount = f" ({size(total_bytes)})" if total_bytes else ""
        click.echo(plain(f"{commit_id}: {stage}{amount}".removeprefix(": ")), err=True)


class BarProgress(Progress):
    """Draws the stage at work, with rate and time left.

    It draws when it is told something, from no thread of its own: workers are forked, and forking beside threads is unsafe.
    """

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415  # costs start-up time
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._bars: RichProgress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._task: TaskID | None = None
        self._files = 0
        self._drawn_s = 0.0

    def stage(self, commit_id: str, stage: str, total_bytes: int) -> None:
        """Begin a new bar."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._files = 0
        name = plain(f"{commit_id} {stage}".strip())
        self._task = self._bars.add_task(name, total=total_bytes or None, note="")
        self._draw()

    def advance(self, size_bytes: int, files: int = 0) -> None:
        """Move the bar."""
        if self._task is None:
            return
        self._files += files
        self._bars.update(self._task, advance=size_bytes, note=self._note())
        if time.monotonic() - self._drawn_s >= _REFRESH_S:
            self._draw()

    def _note(self) -> str:
        """Say how much is done, how fast, and how long the rest will take, as far as it is known."""
        task = self._bars.tasks[-1]
        parts = [count(self._files, "path")] if self._files else []
        if task.completed:
            whole = f" of {size(int(task.total))}" if task.total else ""
            parts.append(f"{size(int(task.completed))}{whole}")
        if task.speed:
            parts.append(f"{size(int(task.speed))}/s")
        if task.total and task.time_remaining:
            parts.append(f"{duration(task.time_remaining)} left")
        return ", ".join(parts)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        self._bars.refresh()


def progress_of(session: Session) -> Progress:
    """Return the progress that suits where the output goes."""
    if session.quiet:
        return Progress()
    if sys.stderr.isatty() and not session.verbose:
        return BarProgress()
    return LineProgress() if session.verbose else Progress()
