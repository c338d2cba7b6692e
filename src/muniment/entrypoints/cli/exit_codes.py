"""Every exit code of the program: its meaning, and what to do."""

from typing import NamedTuple

from muniment import errors
from muniment.entrypoints.cli.running import (
    EXIT_DEFECT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PIPE,
)


class ExitCode(NamedTuple):
    """One code, the codes of errors in JSON that end with it, its meaning, and what to do."""

    code: int
    names: str
    meaning: str
    remedy: str


EXIT_CODES = (
    ExitCode(0, "", "Done; nothing was wrong.", ""),
    ExitCode(
        EXIT_FAILED,
        "`failed`, `disk_full`, `input_output`",
        "Something failed: the message says what. `doctor`: something must be done.",
        "Nothing that was acknowledged is lost. Mend the cause and run again.",
    ),
    ExitCode(
        errors.UsageError.exit_code,
        "`usage`",
        "The command makes no sense as given, or there is no archive in the home.",
        "See `muniment COMMAND --help`.",
    ),
    ExitCode(
        errors.NotFoundError.exit_code,
        "`not_found`",
        "Nothing is known by that name or path.",
        "`muniment commits` and `muniment show COMMIT --files` list what there is.",
    ),
    ExitCode(
        errors.IntegrityError.exit_code,
        "`integrity`, `format`, `signature`, `missing_data`",
        "Bytes, proofs or signatures do not hold.",
        "Do not delete anything. `muniment repair`, or fetch a copy from a partner or the backup.",
    ),
    ExitCode(
        errors.KeyUnavailableError.exit_code,
        "`key_unavailable`",
        "A key is missing, locked, or can be read by others; or a service does not take the API key for that.",
        "See [Your keys](../guides/keys.md); whoever runs the service makes API keys.",
    ),
    ExitCode(
        errors.ConflictError.exit_code,
        "`conflict`",
        "Another run is at work on this archive, or the target exists already.",
        "Wait for the other run. Nothing was changed.",
    ),
    ExitCode(
        errors.ExternalServiceError.exit_code,
        "`external_service`",
        "A calendar, authority, bucket or helper program failed.",
        "Try again later. Archiving does not depend on any of them.",
    ),
    ExitCode(
        errors.PendingError.exit_code,
        "`pending`",
        "The answer is not known yet: a timestamp waits for its block.",
        "Try again in some hours.",
    ),
    ExitCode(
        errors.EXIT_SKIPPED_INPUTS,
        "",
        "Done, but some paths were skipped; each was named.",
        "They are tried again by the next run.",
    ),
    ExitCode(
        EXIT_DEFECT,
        "`defect`",
        "An error that Muniment did not expect.",
        "Report it, with what the same command prints with `--verbose`.",
    ),
    ExitCode(
        EXIT_INTERRUPTED,
        "`interrupted`",
        "Interrupted, for instance by Ctrl-C.",
        "Run again: it goes on where it stopped.",
    ),
    ExitCode(EXIT_PIPE, "", "Whoever read the output stopped reading, like `head`.", ""),
)
"""In order."""
