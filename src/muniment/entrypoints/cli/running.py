"""From arguments to an exit code: runs the program, and turns whatever goes wrong into one line for people or JSON."""

import errno
import logging
import os
import sys
import traceback
from dataclasses import dataclass

import click

from muniment.entrypoints.cli.root import cli
from muniment.entrypoints.cli.session import Session
from muniment.errors import MunimentError
from muniment.text import plain

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_PIPE = 141  # 128 + SIGPIPE

_REPORT = "please report it with what the same command prints with --verbose"


@dataclass(frozen=True)
class Failure:
    """What is said about an error: a code that scripts can compare, a line for people, the exit code."""

    code: str
    message: str
    exit_code: int


def run(arguments: list[str]) -> int:
    """Run the program; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # whatever the locale lacks
    session, output = Session(), sys.stdout
    _set_up_logging(session)
    try:
        code = cli.main(arguments, prog_name="muniment", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        return EXIT_PIPE
    except SystemExit:
        if sys.stdout is not output:  # click has put something else there: its way to say the same
            return EXIT_PIPE
        raise
    except BaseException as error:  # noqa: BLE001  # whatever it is, no traceback reaches the user
        failure = describe(error)
        _tell(failure, error, session, wants_json=session.json or "--json" in arguments)
        return failure.exit_code
    return code if isinstance(code, int) else 0


def describe(error: BaseException) -> Failure:
    """Put an error into words."""
    match error:
        case MunimentError():
            return Failure(_code_of(type(error)), str(error), error.exit_code)
        case click.ClickException():
            return Failure("usage", _usage_message(error), EXIT_USAGE)
        case click.Abort() | KeyboardInterrupt():
            return Failure("interrupted", "interrupted; run again to resume", EXIT_INTERRUPTED)
        case OSError():
            return _describe_os_error(error)
        case _:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            message = f"unexpected error, which is a defect in Muniment ({what}); nothing acknowledged is lost; {_REPORT}"
            return Failure("defect", message, EXIT_DEFECT)


def _code_of(kind: type[MunimentError]) -> str:
    """`KeyUnavailableError` is `key_unavailable`, and so is every kind of it."""
    known = next(base for base in kind.__mro__ if base.__module__ == MunimentError.__module__)
    if known is MunimentError:
        return "failed"
    name = known.__name__.removesuffix("Error")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f" (see: {context.command_path} --help)" if context else ""
    return message[:1].lower() + message[1:] + hint


def _describe_os_error(error: OSError) -> Failure:
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    reason = (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = f"{where}the disk is full; nothing that was acknowledged is lost: free some space and run again"
        return Failure("disk_full", message, EXIT_FAILED)
    return Failure("input_output", f"{where}{reason}", EXIT_FAILED)


def _tell(failure: Failure, error: BaseException, session: Session, *, wants_json: bool) -> None:
    if session.verbose and failure.code in ("defect", "input_output"):
        import traceback  # noqa: PLC0415  # only here

        for line in "".join(traceback.format_exception(error)).splitlines():
            click.echo(plain(line), err=True)
    if wants_json:
        import json  # noqa: PLC0415  # costs start-up time

        click.echo(
            json.dumps({"error": {"code": failure.code, "message": failure.message}}, indent=2)
        )
    else:
        click.echo(f"muniment: {plain(failure.message)}", err=True)


class _LogHandler(logging.Handler):
    """Prints records as lines for people: warnings unless all is to be quiet, everything with `--verbose`."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        level = logging.DEBUG if self._session.verbose else logging.WARNING
        if self._session.quiet or (self._session.json and not self._session.verbose):
            level = logging.ERROR
        if record.levelno >= level:
            for line in _lines(record):
                click.echo(f"muniment: {plain(line)}", err=True)


def _lines(record: logging.LogRecord) -> list[str]:
    """Return what a record says: of an error that nobody foresaw also where it came from, of any other what it was."""
    text, error = record.getMessage(), record.exc_info and record.exc_info[1]
    if not error:
        return [text]
    if record.levelno >= logging.ERROR:
        return [text, *"".join(traceback.format_exception(error)).splitlines()]
    return [f"{text}: {error}"]


def _set_up_logging(session: Session) -> None:
    logger = logging.getLogger("muniment")
    logger.handlers = [_LogHandler(session)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
