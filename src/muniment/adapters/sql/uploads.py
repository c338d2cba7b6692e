"""`UploadStore` on a SQL database."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterable
from dataclasses import replace

from muniment.accounts.organizations import Act
from muniment.accounts.quotas import Amount
from muniment.adapters.sql import audit_log, quotas
from muniment.adapters.sql.statements import Row, SqlStore, Statements, Value
from muniment.errors import ConflictError, NotFoundError
from muniment.uploads.ports import EVERYTHING, PathExistsError, Selection
from muniment.uploads.upload import Upload, UploadState, check_path, folders_of, numbered

TABLES = (
    """CREATE TABLE uploads (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        upload_id TEXT NOT NULL,
        path {bytes} NOT NULL,
        size_bytes BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        actor TEXT NOT NULL,
        state TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        place {bytes},
        PRIMARY KEY (organization_id, upload_id)
    )""",
    "CREATE INDEX uploads_by_time ON uploads (organization_id, created_at, upload_id)",
    "CREATE UNIQUE INDEX uploads_by_place ON uploads (organization_id, place) WHERE place IS NOT NULL",
    "CREATE INDEX uploads_unfinished ON uploads (state) WHERE state IN ('receiving', 'moving')",
)

RESUMABLE = (
    "ALTER TABLE uploads ADD COLUMN is_resumable SMALLINT NOT NULL DEFAULT 0",
    "ALTER TABLE uploads ADD COLUMN metadata TEXT NOT NULL DEFAULT ''",
    "DROP INDEX uploads_unfinished",
    "CREATE INDEX uploads_unfinished ON uploads (state) WHERE state IN ('receiving', 'moving', 'deleting')",
    "CREATE INDEX uploads_waiting_by_path ON uploads (organization_id, path) WHERE state IN ('moving', 'received')",
)
"""The step of migration that came with resumable uploads, and with deleting received ones."""

KEYED = ("ALTER TABLE uploads ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",)
"""The step of migration that came with quotas of keys."""

_COLUMNS = """organization_id, upload_id, path, size_bytes, created_at, expires_at, actor, state, sha256, place,
    is_resumable, metadata, key_id"""
_UPLOAD = f"SELECT {_COLUMNS} FROM uploads"


class SqlUploads(SqlStore):
    """See `UploadStore`."""

    def begin(self, upload: Upload, *, is_new_path: bool = False) -> None:
        """See `UploadStore.begin`."""
        with self._writing() as statements:
            amount = Amount(upload.size_bytes, 1)
            quotas.reserve(
                statements,
                upload.organization_id,
                upload.upload_id,
                amount,
                upload.expires_at,
                upload.key_id,
            )
            if is_new_path:
                _check_new(statements, upload)
            statements.run(
                f"INSERT INTO uploads ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                upload.organization_id,
                upload.upload_id,
                upload.path,
                upload.size_bytes,
                upload.created_at,
                upload.expires_at,
                upload.actor,
                upload.state,
                upload.sha256,
                upload.place or None,
                int(upload.is_resumable),
                upload.metadata,
                upload.key_id,
            )

    def get(self, organization_id: str, upload_id: str) -> Upload:
        """See `UploadStore.get`."""
        with self._reading() as statements:
            return _found(statements, organization_id, upload_id)

    def page(
        self,
        organization_id: str,
        after: tuple[int, str] | None,
        limit: int,
        selection: Selection = EVERYTHING,
    ) -> list[Upload]:
        """See `UploadStore.page`."""
        where, values = _selected(selection)
        behind = " AND (created_at, upload_id) < (?, ?)" if after else ""
        with self._reading() as statements:
            rows = statements.rows(
                f"{_UPLOAD} WHERE organization_id = ?{where}{behind}"
                " ORDER BY created_at DESC, upload_id DESC LIMIT ?",
                organization_id,
                *values,
                *(after or ()),
                limit,
            )
        return [_upload(row) for row in rows]

    def move(
        self,
        upload: Upload,
        sha256: str,
        day: bytes,
        *,
        is_new_path: bool = False,
        first_number: int = 1,
    ) -> Upload:
        """See `UploadStore.move`."""
        wanted = day + b"/" + check_path(upload.path)
        with self._writing() as statements:
            # Whoever places files in the same organisation waits here: a place is given once.
            statements.row(
                "SELECT organization_id FROM service_organizations WHERE organization_id = ? {lock}",
                upload.organization_id,
            )
            if is_new_path:
                _check_new(statements, upload)
            place = _free_place(statements, upload.organization_id, wanted, first_number)
            moved = statements.run(
                "UPDATE uploads SET state = ?, size_bytes = ?, sha256 = ?, place = ?"
                " WHERE organization_id = ? AND upload_id = ? AND state IN ('receiving', 'moving')",
                UploadState.MOVING,
                upload.size_bytes,
                sha256,
                place,
                upload.organization_id,
                upload.upload_id,
            )
            if not moved:
                raise ConflictError(f"the upload {upload.upload_id} is over already")
        return replace(upload, state=UploadState.MOVING, sha256=sha256, place=place)

    def finish(self, act: Act, upload: Upload) -> Upload:
        """See `UploadStore.finish`."""
        with self._writing() as statements:
            if self._enter_state(statements, upload, UploadState.MOVING, UploadState.RECEIVED):
                _acknowledge(statements, act, upload)
            return _found(statements, upload.organization_id, upload.upload_id)

    def cancel(self, act: Act, upload: Upload) -> None:
        """See `UploadStore.cancel`."""
        with self._writing() as statements:
            if not self._enter_state(
                statements, upload, UploadState.RECEIVING, UploadState.CANCELLED
            ):
                raise ConflictError(f"the upload {upload.upload_id} is over already")
            quotas.settle(statements, upload.organization_id, upload.upload_id, None)
            audit_log.append(statements, act, "upload.cancelled", f"upload:{upload.upload_id}")

    def delete(self, act: Act, upload: Upload) -> Upload:
        """See `UploadStore.delete`."""
        with self._writing() as statements:
            if self._enter_state(statements, upload, UploadState.RECEIVED, UploadState.DELETING):
                amount = Amount(upload.size_bytes, 1)
                quotas.release(statements, upload.organization_id, upload.key_id, amount)
                before = {"size_bytes": upload.size_bytes, "sha256": upload.sha256}
                audit_log.append(
                    statements, act, "upload.deleted", f"upload:{upload.upload_id}", before
                )
            found = _found(statements, upload.organization_id, upload.upload_id)
            if found.state not in (UploadState.DELETING, UploadState.DELETED):
                raise ConflictError(f"the upload {upload.upload_id} is {found.state}")
            return found

    def deleted(self, upload: Upload) -> None:
        """See `UploadStore.deleted`."""
        with self._writing() as statements:
            self._enter_state(statements, upload, UploadState.DELETING, UploadState.DELETED)

    def unfinished(self) -> Iterable[Upload]:
        """See `UploadStore.unfinished`."""
        with self._reading() as statements:
            rows = statements.rows(f"{_UPLOAD} WHERE state IN ('receiving', 'moving', 'deleting')")
        return [_upload(row) for row in rows]

    def mark_archived(self, act: Act, commit_id: str, places: Iterable[bytes]) -> int:
        """See `UploadStore.mark_archived`."""
        with self._writing() as statements:
            marked = sum(_mark_archived(statements, act, place) for place in places)
            if marked:
                after = {"uploads": marked}
                target = f"commit:{commit_id}"
                audit_log.append(statements, act, "upload.archived", target, after=after)
            return marked

    @staticmethod
    def _enter_state(
        statements: Statements, upload: Upload, before: UploadState, after: UploadState
    ) -> bool:
        return bool(
            statements.run(
                "UPDATE uploads SET state = ? WHERE organization_id = ? AND upload_id = ? AND state = ?",
                after,
                upload.organization_id,
                upload.upload_id,
                before,
            )
        )


def _acknowledge(statements: Statements, act: Act, upload: Upload) -> None:
    amount = Amount(upload.size_bytes, 1)
    quotas.settle(statements, upload.organization_id, upload.upload_id, amount)
    after = {"size_bytes": upload.size_bytes, "sha256": upload.sha256}
    audit_log.append(statements, act, "upload.received", f"upload:{upload.upload_id}", after=after)


def _mark_archived(statements: Statements, act: Act, place: bytes) -> int:
    rows = statements.rows(
        f"{_UPLOAD} WHERE organization_id = ? AND place = ? AND state IN ('received', 'moving')",
        act.organization_id,
        place,
    )
    for upload in map(_upload, rows):
        if upload.state is UploadState.MOVING:  # archived before it was acknowledged: done now
            _acknowledge(statements, act, upload)
        statements.run(
            "UPDATE uploads SET state = ? WHERE organization_id = ? AND upload_id = ?",
            UploadState.ARCHIVED,
            act.organization_id,
            upload.upload_id,
        )
    return len(rows)


def _selected(selection: Selection) -> tuple[str, tuple[Value, ...]]:
    """Return the conditions of a selection, and their values."""
    where, values = "", ()  # type: tuple[str, tuple[Value, ...]]
    if selection.state is not None:
        where, values = " AND state = ?", (selection.state,)
    if selection.prefix:
        where, values = f"{where} AND path >= ?", (*values, selection.prefix)
        if end := _behind(selection.prefix):
            where, values = f"{where} AND path < ?", (*values, end)
    return where, values


def _behind(prefix: bytes) -> bytes:
    """Return the first bytes behind all that begin so; nothing if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""


def _check_new(statements: Statements, upload: Upload) -> None:
    """Check that no other upload of the same path waits to be archived."""
    found = statements.rows(
        "SELECT 1 FROM uploads WHERE organization_id = ? AND path = ? AND state IN ('moving', 'received') LIMIT 1",
        upload.organization_id,
        upload.path,
    )
    if found:
        raise PathExistsError("there is an upload of that path already")


def _free_place(statements: Statements, organization_id: str, wanted: bytes, first: int) -> bytes:
    """Return a place that no upload ever had. Of many of one name, not every number is looked at."""
    _check_folders(statements, organization_id, wanted)
    taken, free = first - 1, first
    while _is_taken(statements, organization_id, numbered(wanted, free)):
        taken, free = free, 2 * free
    while free - taken > 1:
        middle = (taken + free) // 2
        if _is_taken(statements, organization_id, numbered(wanted, middle)):
            taken = middle
        else:
            free = middle
    return numbered(wanted, free)


def _is_taken(statements: Statements, organization_id: str, place: bytes) -> bool:
    return bool(
        statements.rows(
            "SELECT 1 FROM uploads WHERE organization_id = ? AND (place = ? OR (place >= ? AND place < ?)) LIMIT 1",
            organization_id,
            place,
            place + b"/",
            place + b"0",  # the byte behind the slash
        )
    )


def _check_folders(statements: Statements, organization_id: str, wanted: bytes) -> None:
    """Check that no file is where a folder has to be, and no folder where the file has to be."""
    folders = folders_of(wanted)
    marks = ", ".join("?" * len(folders))
    found = statements.rows(
        f"SELECT place FROM uploads WHERE organization_id = ? AND place IN ({marks}) LIMIT 1",
        organization_id,
        *folders,
    )
    if found:
        raise ConflictError(f"{_shown(found[0][0])} is a file already, so it cannot be a folder")
    found = statements.rows(
        "SELECT 1 FROM uploads WHERE organization_id = ? AND place >= ? AND place < ? LIMIT 1",
        organization_id,
        wanted + b"/",
        wanted + b"0",
    )
    if found:
        raise ConflictError(f"{_shown(wanted)} is a folder already, so it cannot be a file")


def _shown(place: bytes) -> str:
    return repr(bytes(place).partition(b"/")[2].decode("utf-8", "replace"))


def _found(statements: Statements, organization_id: str, upload_id: str) -> Upload:
    rows = statements.rows(
        f"{_UPLOAD} WHERE organization_id = ? AND upload_id = ?", organization_id, upload_id
    )
    if not rows:
        raise NotFoundError(f"there is no upload {upload_id!r}")
    return _upload(rows[0])


def _upload(row: Row) -> Upload:
    organization_id, upload_id, path, size_bytes, created_at, expires_at, *rest = row
    actor, state, sha256, place, is_resumable, metadata, key_id = rest
    return Upload(
        organization_id,
        upload_id,
        bytes(path),
        size_bytes,
        created_at,
        expires_at,
        actor,
        UploadState(state),
        sha256,
        bytes(place or b""),
        bool(is_resumable),
        metadata,
        key_id,
    )
