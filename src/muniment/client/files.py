"""Archived files: listed, searched, proven, and fetched: checked, resumed where they broke off, never half there."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from muniment.client.calls import call, decode, quoted, segment, stream
from muniment.client.contents import ContentCalls
from muniment.client.downloading import Checker, PartialFile
from muniment.client.errors import ConnectionFailedError
from muniment.client.flows import Emit, Emitting, Flow, do, each, read
from muniment.client.uploads import Progress
from muniment.errors import ConflictError, FormatError, UsageError

_LINE_BYTES_MAX = 1 << 20


class File(msgspec.Struct, frozen=True):
    """A version of a file, folder or link.

    Attributes:
        path: For people; bytes that are no UTF-8 are shown as U+FFFD.
        path_bytes: The same, percent-encoded, byte for byte.
        kind: `file`, `directory` or `symlink`.
        state: `archived`, or `pending` while it waits.
        modified_at: By its file system; seconds since 1970.
        mode: Permission bits, octal.
        commit_id: The commit that holds it; with `leaf` its name for ever. None while it waits.
        leaf: Its number there.
        digest: BLAKE3 of the content, `blake3:<hex>`; None for folders, links and what waits.
        media_type: What it looks like; empty for folders, links and what waits.
        address: Its path in the API; None while it waits.
    """

    path: str
    path_bytes: str
    kind: str
    state: str
    size_bytes: int
    modified_at: int
    mode: str
    commit_id: str | None
    leaf: int | None
    digest: str | None
    media_type: str
    address: str | None

    @property
    def place(self) -> tuple[str, int]:
        """Its commit and its leaf there, as `show_file` and `show_proof` take them: its name for ever.

        Raises:
            UsageError: It waits to be archived.
        """
        if self.commit_id is None or self.leaf is None:
            raise UsageError(f"{self.path} waits to be archived: no commit holds it yet")
        return self.commit_id, self.leaf


class FileCalls(ContentCalls):
    """Calls about archived files."""

    @stream
    def list_files(
        self,
        *,
        path: str | bytes = "",
        name: str | bytes = "",
        state: str | None = None,
        kind: str | None = None,
        media_type: str = "",
        commit_id: str | None = None,
        digest: str = "",
    ) -> Emitting[File]:
        """Iterate over the newest version of every file, in order of path; or over all that has a digest.

        Args:
            path: A file, or a folder with all below it.
            name: A pattern (`*.pdf`) of the last name of the path.
            state: `archived` or `pending`.
            kind: `file`, `directory` or `symlink`.
            media_type: A type, or all below it if it ends in `/`.
            commit_id: Only what this commit holds.
            digest: Every version with this content, `blake3:<hex>`.
        """
        query = {
            "path": path or None,
            "name": name or None,
            "state": state,
            "kind": kind,
            "media_type": media_type or None,
            "commit_id": commit_id,
            "digest": digest or None,
        }
        return self.pages("/v1/files", File, query)

    @call
    def show_file(self, commit_id: str, leaf: int) -> Flow[File]:
        """Show one archived version; `File.place` is where it is."""
        return self.get(f"/v1/commits/{segment(commit_id)}/files/{leaf}", File)

    @call
    def show_proof(self, commit_id: str, leaf: int) -> Flow[dict[str, Any]]:
        """Prove that a commit holds a file: its fields with their salts, and the way to the root that was signed.

        Raises:
            ApiNotFoundError: There is no such file.
            ApiKeyError: It was erased on purpose, or the API key may not ask.
        """
        path = f"/v1/commits/{segment(commit_id)}/files/{leaf}/proof"
        return self.get(path, dict[str, Any])

    @stream
    def list_proofs(
        self,
        paths: Sequence[str | bytes] = (),
        *,
        commit_id: str | None = None,
        at: int | None = None,
    ) -> Emitting[dict[str, Any]]:
        """Iterate over the proofs of many files, commit after commit, made while they are sent.

        Each is as `show_proof` returns it. Of a file that cannot be proven there are `commit_id`, `leaf_index`, `problem` and `erased`.

        Args:
            paths: Files, folders with all below them, or patterns of whole paths; everything if empty.
            commit_id: Only what this commit holds.
            at: As it was archived by then; seconds since 1970.

        Raises:
            ApiNotFoundError: Nothing of that is archived.
            ConnectionFailedError: The answer broke off.
        """
        yield from self.begin("POST", "/v1/proofs", _selection(paths, commit_id, at))
        held = b""
        while portion := (yield from read()):
            *lines, held = (held + portion).split(b"\n")
            if len(held) > _LINE_BYTES_MAX:
                raise FormatError(f"expected lines of at most {_LINE_BYTES_MAX} bytes, got more")
            for line in lines:
                yield Emit(decode(line, dict[str, Any]))
        if held:
            raise ConnectionFailedError("/v1/proofs: the answer ended too early")

    @stream
    def read_file(self, file: File) -> Emitting[bytes]:
        """Iterate over the content of a file, which is checked: whoever gets to the end has got the right bytes.

        Raises:
            IntegrityError: It is not what was archived.
            UsageError: It has no content, or waits to be archived.
        """
        return self.checked_content(Checker(file.digest, file.size_bytes), content_address(file))

    @call
    def download(
        self,
        file: File,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Flow[Path]:
        """Fetch a file, check it, and only then give it its name; a download that broke off is resumed.

        Args:
            file: The file, as it was listed.
            target: Where it is to be.
            overwrite: Replace what is there.
            progress: Told of bytes that are there.

        Raises:
            ConflictError: The target is there already, or another download into it goes on.
            IntegrityError: It is not what was archived.
            UsageError: It has no content, or waits to be archived.
        """
        address, path = content_address(file), Path(target)
        checker = Checker(file.digest, file.size_bytes)
        if not overwrite and os.path.lexists(path):
            raise ConflictError(f"{path} is there already")
        with PartialFile(path, checker, progress) as partial:
            yield from do(partial.catch_up)
            yield from each(self.checked_content(checker, address), partial.write)
            yield from do(lambda: partial.finish(overwrite=overwrite))
        return path

    @stream
    def bundle(
        self,
        paths: Sequence[str | bytes] = (),
        *,
        format: str = "zip",  # noqa: A002  # as the API calls it
        commit_id: str | None = None,
        at: int | None = None,
    ) -> Emitting[bytes]:
        """Iterate over one zip or tar of many files, made while it is sent.

        What cannot be opened is left out, and told of in the last entry, `muniment-problems.txt`.

        Args:
            paths: Files, folders with all below them, or patterns of whole paths; everything if empty.
            format: `zip`, or `tar`, which keeps names byte for byte and has no bound.
            commit_id: Only what this commit holds.
            at: As it was archived by then; seconds since 1970.
        """
        value = _selection(paths, commit_id, at) | {"format": format}
        return self.pieces("POST", "/v1/restore", value)


def _selection(
    paths: Sequence[str | bytes], commit_id: str | None, at: int | None
) -> dict[str, Any]:
    return {"path_bytes": [quoted(path) for path in paths], "commit_id": commit_id, "at": at}


def content_address(file: File) -> str:
    """Return where the content of a file is.

    Raises:
        UsageError: It has none.
    """
    commit_id, leaf = file.place
    if file.digest is None:
        raise UsageError(f"{file.path} is a {file.kind}: it has no content to fetch")
    return f"/v1/commits/{segment(commit_id)}/files/{leaf}/content"
