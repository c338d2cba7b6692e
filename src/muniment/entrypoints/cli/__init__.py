"""The command line: `muniment`."""

import gc
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (docs/reference/exit-codes.md)."""
    gc.set_threshold(100_000)  # imports make many objects and hardly any garbage
    from muniment.entrypoints.cli.running import run  # noqa: PLC0415  # after the line above

    code = run(sys.argv[1:] if arguments is None else list(arguments))
    gc.freeze()  # a last collection over everything imported would take 0.1 s, for memory that is freed anyway
    sys.exit(code)
