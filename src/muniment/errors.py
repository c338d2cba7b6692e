"""The error tree: every error that a user or a caller can meet.

An error's message says what failed, what is safe, and what to do next; its class fixes the exit code::

    MunimentError                 1  something failed
    ├── UsageError                2  the request makes no sense as given
    ├── NotFoundError             3  nothing by that name
    ├── IntegrityError            4  bytes, proofs or signatures do not hold
    │   ├── FormatError           4  bytes are not in the format they claim
    │   ├── SignatureError        4  a signature does not verify, or a key is not the expected one
    │   └── MissingDataError      4  a file or block that must exist is missing
    ├── KeyUnavailableError       5  a key is missing, unreadable, locked or unsafe
    ├── ConflictError             6  another run holds the lock, or the target exists already
    ├── ExternalServiceError      7  a calendar, authority, bucket or program failed
    └── PendingError              8  the answer is not known yet (a timestamp that waits for its block)

Exit code 10 (not an error class) means: done, but some inputs were skipped and reported.
"""


class MunimentError(Exception):
    """Base of every error that Muniment raises on purpose."""

    exit_code = 1


class UsageError(MunimentError):
    """The request makes no sense as given."""

    exit_code = 2


class NotFoundError(MunimentError):
    """Nothing is known by that name."""

    exit_code = 3


class IntegrityError(MunimentError):
    """Bytes, proofs or signatures do not hold."""

    exit_code = 4


class FormatError(IntegrityError):
    """Bytes are not in the format that they claim to be in."""


class SignatureError(IntegrityError):
    """A signature does not verify, or was made by another key than the expected one."""


class MissingDataError(IntegrityError):
    """A file or block that must exist is missing."""


class KeyUnavailableError(MunimentError):
    """A key is missing, unreadable, locked, or readable by others."""

    exit_code = 5


class ConflictError(MunimentError):
    """Another run holds the lock, or the target exists already."""

    exit_code = 6


class ExternalServiceError(MunimentError):
    """A calendar, timestamp authority, bucket or helper program failed."""

    exit_code = 7


class PendingError(MunimentError):
    """The answer is not known yet: for example a timestamp that still waits for its block."""

    exit_code = 8


EXIT_SKIPPED_INPUTS = 10
"""Exit code of a command that finished, but skipped inputs which it reported."""
