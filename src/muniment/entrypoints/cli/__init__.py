"""The command line: `muniment`."""

import gc
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (docs/reference/exit-codes.md)."""
    gc.set_threshold(
        100_000
    )  # imports make many objects and no garbage: a tenth of the start-up time
    from muniment.entrypoints.cli.running import run  # noqa: PLC0415  # after the line above

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
