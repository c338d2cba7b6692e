"""How the command line reaches a service: its address, its key, and what it says in the words of an archive here."""

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from muniment.adapters.private_files import read_private
from muniment.archive.catalog import CommitRow, CommitState, TimestampState
from muniment.entrypoints.cli.session import Session
from muniment.errors import FormatError, KeyUnavailableError, NotFoundError, UsageError
from muniment.text import plain

if TYPE_CHECKING:
    from muniment.client import Client
    from muniment.client.archive import Commit

KEY_VARIABLE = "MUNIMENT_API_KEY"


def connect(session: Session) -> "Client":
    """Return a client of the session's service; whoever asks closes it.

    Raises:
        KeyUnavailableError: There is no key for it, or others can read its file.
        UsageError: The address is none.
    """
    from muniment.client import Client  # noqa: PLC0415  # costs start-up time

    return Client(session.service_url or "", _api_key(session), user_agent="muniment-cli")


def _api_key(session: Session) -> str:
    if session.api_key_file is None:
        key = os.environ.get(KEY_VARIABLE, "")
    else:
        key = read_private(session.api_key_file).decode("ascii", "replace")
    if not key.strip():
        raise KeyUnavailableError(
            f"{session.service_url} needs an API key: name its file with --api-key-file, or set {KEY_VARIABLE}"
        )
    return key.strip()


def find_commit(client: "Client", name: str) -> "Commit":
    """Return the commit with this id, or the one whose id begins so.

    Raises:
        NotFoundError: There is none.
        UsageError: There are several.
    """
    try:
        return client.show_commit(name)
    except (NotFoundError, UsageError):
        found = [commit for commit in client.list_commits() if commit.commit_id.startswith(name)]
    if not found:
        raise NotFoundError(f"no commit {name!r}: `muniment commits` lists them")
    if len(found) > 1:
        raise UsageError(f"{len(found)} commits begin with {name!r}: give more of the id")
    return found[0]


def find_stored(client: "Client", name: str) -> "Commit":
    """Return the finished commit with this id, or the one whose id begins so.

    Raises:
        NotFoundError: There is none, or it is not finished.
        UsageError: There are several.
    """
    found = find_commit(client, name)
    if found.state != CommitState.STORED:
        raise NotFoundError(f"commit {found.commit_id} is not finished: `muniment archive` does it")
    return found


def stored_commits(client: "Client") -> "list[Commit]":
    """Return the finished commits, oldest first."""
    return [found for found in client.list_commits() if found.state == CommitState.STORED][::-1]


def commit_row(commit: "Commit") -> CommitRow:
    """Return a commit as the catalogue of an archive here would have it.

    Raises:
        FormatError: It has a state, or a digest, that there is not.
    """
    try:
        return CommitRow(
            commit_id=commit.commit_id,
            state=CommitState(commit.state),
            created_at=commit.created_at,
            chunk_bytes=0,
            sequence=commit.sequence,
            merkle_root=_digest(commit.merkle_root),
            manifest_sha256=_digest(commit.manifest_sha256),
            leaf_count=commit.files,
            source_bytes=commit.source_bytes,
            sealed_bytes=commit.sealed_bytes,
            commit_cid=commit.commit_cid,
            timestamp=TimestampState(commit.timestamp),
            bitcoin_height=commit.bitcoin_height,
            bitcoin_time=commit.bitcoin_time,
            backed_up_at=commit.backed_up_at,
        )
    except ValueError as error:
        raise FormatError(
            f"the service describes the commit {commit.commit_id} as none: {error}"
        ) from error


def _digest(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text.rpartition(":")[2])


def path_of(path_bytes: str) -> bytes:
    """Return a path of the service as an archive keeps it: without the slash at its beginning."""
    return unquote_to_bytes(path_bytes).lstrip(b"/")


def shown_path(path_bytes: str) -> str:
    """Return a path of the service for people, as the service calls it, and harmless."""
    return plain(os.fsdecode(unquote_to_bytes(path_bytes)))
