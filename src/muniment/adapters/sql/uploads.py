"""`UploadStore` on a SQL database."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from muniment.accounts.organizations import Act
from muniment.accounts.quotas import Amount
from muniment.adapters.sql import audit_log, quotas
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.group_commit import GroupCommit
from muniment.adapters.sql.organizations import found_organization
from muniment.adapters.sql.statements import SqlStore, Statements, Value, with_every_write
from muniment.adapters.sql.upload_places import free_place
from muniment.adapters.sql.upload_rows import UPLOAD, found_upload, insert, note_received, upload_of
from muniment.errors import ConflictError
from muniment.uploads.ports import EVERYTHING, PathExistsError, Selection
from muniment.uploads.upload import Upload, UploadState


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
            insert(statements, upload)

    def get(self, organization_id: str, upload_id: str) -> Upload:
        """See `UploadStore.get`."""
        with self._reading() as statements:
            return found_upload(statements, organization_id, upload_id)

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
                f"{UPLOAD} WHERE organization_id = ?{where}{behind}"
                " ORDER BY created_at DESC, upload_id DESC LIMIT ?",
                organization_id,
                *values,
                *(after or ()),
                limit,
            )
        return [upload_of(row) for row in rows]

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
            found = found_upload(statements, upload.organization_id, upload.upload_id)
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
            rows = statements.rows(f"{UPLOAD} WHERE state IN ('receiving', 'deleting')")
        return [upload_of(row) for row in rows]

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
        insert(statements, upload)
    else:
        note_received(statements, upload)
        quotas.settle(statements, upload.organization_id, upload.upload_id, amount)
    after = {"size_bytes": upload.size_bytes, "sha256": sha256}
    audit_log.append(statements, act, "upload.received", f"upload:{upload.upload_id}", after=after)
    return upload


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
