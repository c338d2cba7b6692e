"""Endings that several commands share."""

from collections.abc import Sequence

import click

from muniment.entrypoints.cli.session import Session
from muniment.errors import EXIT_SKIPPED_INPUTS
from muniment.text import count, display_path

_SHOWN = 10


def list_problems(session: Session, problems: Sequence[tuple[bytes, str]]) -> None:
    """Name the first problems."""
    for path, message in problems[:_SHOWN]:
        session.warn(f"  {display_path(path)}: {message}")
    if len(problems) > _SHOWN:
        session.warn(f"  and {len(problems) - _SHOWN:,} more (all of them with --json)")


def skipped_inputs(
    session: Session,
    problems: Sequence[tuple[bytes, str]],
    outcome: str = "could not be archived, and will be tried again",
) -> None:
    """Name the inputs that were skipped, if any, and end with the exit code for that."""
    if not problems:
        return
    session.warn(f"{count(len(problems), 'path')} {outcome}:")
    list_problems(session, problems)
    click.get_current_context().exit(EXIT_SKIPPED_INPUTS)
