"""`python -m benchmarks archive`, `gateway`, `scan` or `service`; each has its own `--help`."""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import archive, gateway, scan, service
from benchmarks.peers import PROJECT

BENCHMARKS = {"archive": archive, "gateway": gateway, "scan": scan, "service": service}


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in BENCHMARKS.items():
        command = commands.add_parser(
            name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument(
            "--scratch",
            type=Path,
            default=PROJECT / ".cache" / "bench",
            help="folder for corpora, stores and results",
        )
        module.add_arguments(command)
    arguments = parser.parse_args()
    # As an interrupt does: servers are stopped and folders removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: terminated"))
    scratch = arguments.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    code: int = BENCHMARKS[arguments.benchmark].run(
        arguments, scratch, PROJECT / ".cache" / "engines"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
