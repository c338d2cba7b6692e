"""`UploadStore` on a SQL database."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from muniment.accounts.organizations import Act
from muniment.accounts.quotas import Amount
from muniment.adapters.sql import accounts, audit_log
from muniment.adapters.sql.statements import Row, SqlStore, Statements
from muniment.errors import ConflictError, NotFoundError
from muniment.uploads.upload import Upload, UploadState, check_path, numbered

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

_UPLOAD = """SELECT organization_id, upload_id, path, size_bytes, created_at, expires_at, actor, state, sha256, place
    FROM uploads"""


class SqlUploads(SqlStore):
    """See `UploadStore`."""

    def begin(self, upload: Upload) -> None:
        """See `UploadStore.begin`."""
        with self._writing() as statements:
            amount = Amount(upload.size_bytes, 1)
            accounts.reserve(
                statements, upload.organization_id, upload.upload_id, amount, upload.expires_at
            )
            statements.run(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            )

    def get(self, organization_id: str, upload_id: str) -> Upload:
        """See `UploadStore.get`."""
        with self._reading() as statements:
            return _found(statements, organization_id, upload_id)

    def page(self, organization_id: str, after: tuple[int, str] | None, limit: int) -> list[Upload]:
        """See `UploadStore.page`."""
        behind = "AND (created_at, upload_id) < (?, ?)" if after else ""
        with self._reading() as statements:
            rows = statements.rows(
                f"{_UPLOAD} WHERE organization_id = ? {behind} ORDER BY created_at DESC, upload_id DESC LIMIT ?",
                organization_id,
                *(after or ()),
                limit,
            )
        return [_upload(row) for row in rows]

    def move(self, upload: Upload, sha256: str, day: bytes) -> Upload:
        """See `UploadStore.move`."""
        wanted = day + b"/" + check_path(upload.path)
        with self._writing() as statements:
            # Whoever places files in the same organisation waits here: a place is given once.
            statements.row(
                "SELECT organization_id FROM service_organizations WHERE organization_id = ? {lock}",
                upload.organization_id,
            )
            place = next(
                place
                for place in (numbered(wanted, number) for number in count(1))
                if not statements.rows(
                    "SELECT 1 FROM uploads WHERE organization_id = ? AND place = ?",
                    upload.organization_id,
                    place,
                )
            )
            statements.run(
                "UPDATE uploads SET state = ?, sha256 = ?, place = ? WHERE organization_id = ? AND upload_id = ?",
                UploadState.MOVING,
                sha256,
                place,
                upload.organization_id,
                upload.upload_id,
            )
        return replace(upload, state=UploadState.MOVING, sha256=sha256, place=place)

    def finish(self, act: Act, upload: Upload) -> Upload:
        """See `UploadStore.finish`."""
        with self._writing() as statements:
            if self._enter_state(statements, upload, UploadState.MOVING, UploadState.RECEIVED):
                amount = Amount(upload.size_bytes, 1)
                accounts.settle(statements, upload.organization_id, upload.upload_id, amount)
                after = {"size_bytes": upload.size_bytes, "sha256": upload.sha256}
                audit_log.append(
                    statements, act, "upload.received", f"upload:{upload.upload_id}", after=after
                )
            return _found(statements, upload.organization_id, upload.upload_id)

    def cancel(self, act: Act, upload: Upload) -> None:
        """See `UploadStore.cancel`."""
        with self._writing() as statements:
            if not self._enter_state(
                statements, upload, UploadState.RECEIVING, UploadState.CANCELLED
            ):
                raise ConflictError(f"the upload {upload.upload_id} is over already")
            accounts.settle(statements, upload.organization_id, upload.upload_id, None)
            audit_log.append(statements, act, "upload.cancelled", f"upload:{upload.upload_id}")

    def unfinished(self) -> Iterable[Upload]:
        """See `UploadStore.unfinished`."""
        with self._reading() as statements:
            rows = statements.rows(f"{_UPLOAD} WHERE state IN ('receiving', 'moving')")
        return [_upload(row) for row in rows]

    def mark_archived(self, act: Act, commit_id: str, places: Iterable[bytes]) -> int:
        """See `UploadStore.mark_archived`."""
        with self._writing() as statements:
            marked = sum(
                statements.run(
                    "UPDATE uploads SET state = ? WHERE organization_id = ? AND place = ? AND state = ?",
                    UploadState.ARCHIVED,
                    act.organization_id,
                    place,
                    UploadState.RECEIVED,
                )
                for place in places
            )
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


def _found(statements: Statements, organization_id: str, upload_id: str) -> Upload:
    rows = statements.rows(
        f"{_UPLOAD} WHERE organization_id = ? AND upload_id = ?", organization_id, upload_id
    )
    if not rows:
        raise NotFoundError(f"there is no upload {upload_id!r}")
    return _upload(rows[0])


def _upload(row: Row) -> Upload:
    organization_id, upload_id, path, size_bytes, created_at, expires_at, *rest = row
    actor, state, sha256, place = rest
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
    )
