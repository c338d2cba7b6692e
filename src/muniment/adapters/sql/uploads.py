"""`UploadStore` on a SQL database."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from muniment.accounts.organizations import Act
from muniment.accounts.quotas import Amount
from muniment.adapters.sql import audit_log, quotas
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.group_commit import GroupCommit
from muniment.adapters.sql.organizations import found_organization
from muniment.adapters.sql.statements import Row, SqlStore, Statements, Value, with_every_write
from muniment.adapters.sql.upload_places import free_place
from muniment.errors import ConflictError, NotFoundError
from muniment.uploads.ports import EVERYTHING, PathExistsError, Selection
from muniment.uploads.upload import Upload, UploadState

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

PLACED_AT_ONCE = (
    "UPDATE uploads SET state = 'receiving' WHERE state = 'moving'",
    "DROP INDEX uploads_unfinished",
    "CREATE INDEX uploads_unfinished ON uploads (state) WHERE state IN ('receiving', 'deleting')",
    "DROP INDEX uploads_waiting_by_path",
    "CREATE INDEX uploads_waiting_by_path ON uploads (organization_id, path) WHERE state = 'received'",
)
"""The step of migration since which an upload is received, placed and counted in one transaction."""

KEYED = ("ALTER TABLE uploads ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",)
"""The step of migration that came with quotas of keys."""

JOINED = ("ALTER TABLE uploads ADD COLUMN concat TEXT NOT NULL DEFAULT ''",)
"""The step of migration that came with uploads in several parts at once."""

DATED = ("ALTER TABLE uploads ADD COLUMN modified_at_ns BIGINT",)
"""The step of migration since which an upload keeps the time of modification that its client gave."""

_COLUMNS = """organization_id, upload_id, path, size_bytes, created_at, expires_at, actor, state, sha256, place,
    is_resumable, metadata, key_id, concat, modified_at_ns"""
_UPLOAD = f"SELECT {_COLUMNS} FROM uploads"


class SqlUploads(SqlStore):
    """See `UploadStore`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._arrivals = GroupCommit(self._receive_together)

    def check_room(self, upload: Upload, *, is_new_path: bool = False) -> None:
        """See `UploadStore.check_room`."""
        with self._reading() as statements:
            amount = Amount(upload.size_bytes, 1)
            quotas.check(statements, upload.organization_id, amount, upload.key_id)
            if is_new_path:
                _check_new(statements, upload)

    def begin(self, upload: Upload, *, is_new_path: bool = False) -> None:
        """See `UploadStore.begin`."""
        # An upload that may come in several requests is what the first of them makes; any other one goes with its request.
        with self._writing(is_for_good=upload.is_resumable) as statements:
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
            _insert(statements, upload)

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

    def receive(
        self, act: Act, upload: Upload, sha256: str, day: bytes, *, is_new_path: bool = False
    ) -> Upload:
        """See `UploadStore.receive`."""
        arrival = _Arrival(act, upload, sha256, day, is_new_path)
        if with_every_write.get() is None:
            return self._arrivals.commit(arrival)
        with self._writing() as statements:
            return _receive(statements, arrival)

    def move(self, upload: Upload, first_number: int) -> Upload:
        """See `UploadStore.move`."""
        day = upload.place.partition(b"/")[0]
        with self._writing() as statements:
            found_organization(statements, upload.organization_id, lock=True)
            place = free_place(statements, upload, day, first_number)
            statements.run(
                "UPDATE uploads SET place = ? WHERE organization_id = ? AND upload_id = ?",
                place,
                upload.organization_id,
                upload.upload_id,
            )
        return replace(upload, place=place)

    def cancel(self, act: Act, upload: Upload, *, is_wanted: bool = True) -> None:
        """See `UploadStore.cancel`."""
        with self._writing(is_for_good=is_wanted) as statements:
            if not self._enter_state(
                statements, upload, UploadState.RECEIVING, UploadState.CANCELLED
            ):
                raise ConflictError(f"the upload {upload.upload_id} is over already")
            quotas.settle(statements, upload.organization_id, upload.upload_id, None)
            before = {
                "path": upload.path_display,
                "size_bytes": upload.size_bytes,
                "state": UploadState.RECEIVING.value,
            }
            after = before | {"state": UploadState.CANCELLED.value}
            target = f"upload:{upload.upload_id}"
            audit_log.append(statements, act, "upload.cancelled", target, before, after)

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
            rows = statements.rows(f"{_UPLOAD} WHERE state IN ('receiving', 'deleting')")
        return [_upload(row) for row in rows]

    def mark_archived(self, act: Act, commit_id: str, places: Iterable[bytes]) -> int:
        """See `UploadStore.mark_archived`."""
        with self._writing() as statements:
            marked = sum(_mark_archived(statements, act.organization_id, place) for place in places)
            if marked:
                after = {"uploads": marked}
                target = f"commit:{commit_id}"
                audit_log.append(statements, act, "upload.archived", target, after=after)
            return marked

    def _receive_together(self, arrivals: list["_Arrival"]) -> list[Upload]:
        with self._writing() as statements:
            # In the same order for all: else two processes could each wait for an organisation that the other has locked.
            order = sorted(range(len(arrivals)), key=lambda n: arrivals[n].upload.organization_id)
            received = {number: _receive(statements, arrivals[number]) for number in order}
        return [received[number] for number in range(len(arrivals))]

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


class _Arrival(NamedTuple):
    """What `receive` is called with."""

    act: Act
    upload: Upload
    sha256: str
    day: bytes
    is_new_path: bool


def _receive(statements: Statements, arrival: _Arrival) -> Upload:
    """Note that all of an upload is there, where its place is, and what it uses."""
    act, upload, sha256, day, is_new_path = arrival
    amount = Amount(upload.size_bytes, 1)
    # Whoever places files in the same organisation waits here, in both cases: a place is given once.
    if upload.is_small:
        quotas.use(statements, upload.organization_id, amount, upload.key_id)
    else:
        found_organization(statements, upload.organization_id, lock=True)
    if is_new_path:
        _check_new(statements, upload)
    place = free_place(statements, upload, day)
    upload = replace(upload, state=UploadState.RECEIVED, sha256=sha256, place=place)
    if upload.is_small:
        _insert(statements, upload)
    else:
        _update(statements, upload)
        quotas.settle(statements, upload.organization_id, upload.upload_id, amount)
    after = {"size_bytes": upload.size_bytes, "sha256": sha256}
    audit_log.append(statements, act, "upload.received", f"upload:{upload.upload_id}", after=after)
    return upload


def _insert(statements: Statements, upload: Upload) -> None:
    statements.run(
        f"INSERT INTO uploads ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        upload.concat,
        upload.modified_at_ns,
    )


def _update(statements: Statements, upload: Upload) -> None:
    """Note that an upload that was being received is received.

    Raises:
        ConflictError: It was given up, or received already.
    """
    changed = statements.run(
        "UPDATE uploads SET state = ?, size_bytes = ?, sha256 = ?, place = ?"
        " WHERE organization_id = ? AND upload_id = ? AND state = ?",
        upload.state,
        upload.size_bytes,
        upload.sha256,
        upload.place,
        upload.organization_id,
        upload.upload_id,
        UploadState.RECEIVING,
    )
    if not changed:
        raise ConflictError(f"the upload {upload.upload_id} is over already")


def _mark_archived(statements: Statements, organization_id: str, place: bytes) -> int:
    return statements.run(
        "UPDATE uploads SET state = ? WHERE organization_id = ? AND place = ? AND state = ?",
        UploadState.ARCHIVED,
        organization_id,
        place,
        UploadState.RECEIVED,
    )


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
        "SELECT 1 FROM uploads WHERE organization_id = ? AND path = ? AND state = 'received' LIMIT 1",
        upload.organization_id,
        upload.path,
    )
    if found:
        raise PathExistsError("there is an upload of that path already")


def _found(statements: Statements, organization_id: str, upload_id: str) -> Upload:
    rows = statements.rows(
        f"{_UPLOAD} WHERE organization_id = ? AND upload_id = ?", organization_id, upload_id
    )
    if not rows:
        raise NotFoundError(f"there is no upload {upload_id!r}")
    return _upload(rows[0])


def _upload(row: Row) -> Upload:
    organization_id, upload_id, path, size_bytes, created_at, expires_at, *rest = row
    actor, state, sha256, place, is_resumable, metadata, key_id, concat, modified_at_ns = rest
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
        concat=concat,
        modified_at_ns=modified_at_ns,
    )
