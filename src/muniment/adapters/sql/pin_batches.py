"""Batches of changes to pins: their items, the job that works on them, and what became of each item."""

import secrets
from collections.abc import Iterable

from muniment.accounts.organizations import Act
from muniment.adapters.sql import audit_log
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.pins import SqlPins
from muniment.adapters.sql.statements import SqlStore, Statements, batches
from muniment.errors import NotFoundError, UsageError
from muniment.jobs.model import Job, NewJob
from muniment.pinning.items import (
    ChangeItem,
    Item,
    ItemResult,
    PinItem,
    ReplaceItem,
    UnpinItem,
    decode_item,
    encode_item,
)

TABLES = (
    """CREATE TABLE pin_batches (
        organization_id TEXT NOT NULL REFERENCES service_organizations (organization_id),
        batch_id TEXT NOT NULL,
        created_ms BIGINT NOT NULL,
        items BIGINT NOT NULL,
        job_id TEXT,
        PRIMARY KEY (organization_id, batch_id)
    )""",
    "CREATE INDEX pin_batches_by_job ON pin_batches (organization_id, job_id)",
    "CREATE INDEX pin_batches_by_time ON pin_batches (created_ms)",
    """CREATE TABLE pin_batch_items (
        organization_id TEXT NOT NULL,
        batch_id TEXT NOT NULL,
        number BIGINT NOT NULL,
        item TEXT,
        request_id TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL,
        detail TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (organization_id, batch_id, number)
    )""",
)

BATCH = "batch"
WAITING, DONE, FAILED = "waiting", "done", "failed"

_ATTEMPTS = 20
_WRITTEN = 5_000
_PRUNED = 10_000
_INSERT = """INSERT INTO pin_batch_items (organization_id, batch_id, number, item, state, detail)
    VALUES (?, ?, ?, ?, ?, ?)"""
_SET = """UPDATE pin_batch_items SET state = ?, request_id = ?, detail = ?
    WHERE organization_id = ? AND batch_id = ? AND number = ?"""
_WAITING = """SELECT number, item FROM pin_batch_items
    WHERE organization_id = ? AND batch_id = ? AND number > ? AND number <= ? AND state = 'waiting' ORDER BY number"""
_RESULTS = """SELECT number, state, request_id, detail FROM pin_batch_items
    WHERE organization_id = ? AND batch_id = ? AND number > ? ORDER BY number LIMIT ?"""


class ItemFailedError(UsageError):
    """An item of an atomic batch cannot be done, so nothing was."""


class SqlPinBatches(SqlStore):
    """Batches of all organisations.

    Args:
        database: The service's database.
        jobs: Where the work on them is queued.
        pins: What their items change.
    """

    def __init__(self, database: Database, jobs: SqlJobs, pins: SqlPins) -> None:
        super().__init__(database)
        self._jobs = jobs
        self._pins = pins

    def start(self, act: Act, items: Iterable[Item | str], *, is_atomic: bool) -> Job:
        """Keep items, and queue the work on them; a text stands for an item that cannot be read, and says why.

        Raises:
            FormatError: Reading the items failed; nothing is left of them.
            UsageError: There are none.
            QueueFullError: As many batches wait as there may be; nothing is left of the items.
        """
        batch_id = secrets.token_hex(16)
        try:
            count = self._keep(act, batch_id, items)
            with self._writing() as statements:
                return self._queue(statements, act, batch_id, count, is_atomic=is_atomic)
        except BaseException:
            while self._remove(act.organization_id, batch_id):
                pass
            raise

    def apply(
        self, statements: Statements, act: Act, batch_id: str, after: int, until: int
    ) -> dict[str, int]:
        """Do the items behind one up to another that wait still, in a transaction; returns how many were done, and how many failed."""
        counts = {DONE: 0, FAILED: 0}
        place = (act.organization_id, batch_id)
        for number, text in statements.rows(_WAITING, *place, after, until):
            try:
                request_id = self._do(statements, act, decode_item(text))
                result = (DONE, request_id, "")
            except (UsageError, NotFoundError) as error:  # raised before anything is written
                result = (FAILED, "", str(error)[:1_000])
            statements.run(_SET, *result, *place, number)
            counts[result[0]] += 1
        return counts

    def apply_all(self, statements: Statements, act: Act, batch_id: str) -> dict[str, int]:
        """Do all items in a transaction.

        Raises:
            ItemFailedError: One cannot be done.
        """
        place = (act.organization_id, batch_id)
        (count,) = statements.row(
            "SELECT items FROM pin_batches WHERE organization_id = ? AND batch_id = ?", *place
        )
        for number, text in statements.rows(_WAITING, *place, 0, count):
            try:
                request_id = self._do(statements, act, decode_item(text))
            except (UsageError, NotFoundError) as error:
                raise ItemFailedError(
                    f"nothing was changed, because of item {number}: {error}"
                ) from error
            statements.run(_SET, DONE, request_id, "", *place, number)
        return {DONE: int(count), FAILED: 0}

    def fail_all(self, organization_id: str, batch_id: str, detail: str) -> None:
        """Note that nothing was done."""
        sql = """UPDATE pin_batch_items SET state = 'failed', detail = ?
            WHERE organization_id = ? AND batch_id = ? AND state = 'waiting'"""
        with self._writing() as statements:
            statements.run(sql, detail[:1_000], organization_id, batch_id)

    def results(
        self, organization_id: str, job_id: str, after: int, limit: int
    ) -> list[ItemResult]:
        """Return what became of the items behind one, in order.

        Raises:
            NotFoundError: The organisation has no such batch, or it is no longer kept.
        """
        sql = "SELECT batch_id FROM pin_batches WHERE organization_id = ? AND job_id = ?"
        with self._reading() as statements:
            found = statements.rows(sql, organization_id, job_id)
            if not found:
                raise NotFoundError(f"there is no batch {job_id[:80]!r}")
            rows = statements.rows(_RESULTS, organization_id, found[0][0], after, limit)
        return [ItemResult(*row) for row in rows]

    def prune(self, before_ms: int) -> int:
        """Remove batches from before a time, milliseconds since 1970, and return how many."""
        sql = "SELECT organization_id, batch_id FROM pin_batches WHERE created_ms < ?"
        with self._reading() as statements:
            old = statements.rows(sql, before_ms)
        for place in old:
            while self._remove(*place):
                pass
        return len(old)

    def _do(self, statements: Statements, act: Act, item: Item) -> str:
        match item:
            case PinItem():
                return self._pins.create(act, item.wanted(), within=statements).request_id
            case ReplaceItem():
                pin = self._pins.replace(act, item.request_id, item.wanted(), within=statements)
                return pin.request_id
            case ChangeItem():
                self._pins.change(act, item.request_id, item.change(), within=statements)
                return item.request_id
            case UnpinItem():
                self._pins.remove(act, item.request_id, within=statements)
                return item.request_id

    def _keep(self, act: Act, batch_id: str, items: Iterable[Item | str]) -> int:
        """Keep items, some in each transaction; returns how many.

        Raises:
            UsageError: There are none.
        """
        place = (act.organization_id, batch_id)
        with self._writing() as statements:
            sql = "INSERT INTO pin_batches VALUES (?, ?, ?, 0, NULL)"
            statements.run(sql, *place, act.at_us // 1000)
        count = 0
        for some in batches(items, _WRITTEN):
            rows = [(*place, count + n, *_kept(item)) for n, item in enumerate(some, 1)]
            with self._writing() as statements:
                statements.run_many(_INSERT, rows)
            count += len(some)
        if not count:
            raise UsageError("there is nothing to do: the batch has no items")
        return count

    def _queue(
        self, statements: Statements, act: Act, batch_id: str, count: int, *, is_atomic: bool
    ) -> Job:
        payload = {"batch_id": batch_id, "items": count, "atomic": is_atomic, "actor": act.actor}
        job = self._jobs.enqueue(
            NewJob(
                act.organization_id, BATCH, payload, max_attempts=_ATTEMPTS, concurrency_key=BATCH
            ),
            within=statements,
        )
        sql = "UPDATE pin_batches SET items = ?, job_id = ? WHERE organization_id = ? AND batch_id = ?"
        statements.run(sql, count, job.job_id, act.organization_id, batch_id)
        after = {"kind": BATCH, "items": count, "atomic": is_atomic}
        audit_log.append(
            statements, act, "operation.requested", f"operation:{job.job_id}", after=after
        )
        return job

    def _remove(self, organization_id: str, batch_id: str) -> int:
        """Remove some of a batch's items, and the batch with the last of them; returns how many items."""
        sql = """DELETE FROM pin_batch_items WHERE organization_id = ? AND batch_id = ? AND number IN (
            SELECT number FROM pin_batch_items WHERE organization_id = ? AND batch_id = ? LIMIT ?)"""
        place = (organization_id, batch_id)
        with self._writing() as statements:
            removed = statements.run(sql, *place, *place, _PRUNED)
            if removed < _PRUNED:
                sql = "DELETE FROM pin_batches WHERE organization_id = ? AND batch_id = ?"
                statements.run(sql, *place)
        return removed if removed == _PRUNED else 0


def _kept(item: Item | str) -> tuple[str | None, str, str]:
    """Return item, state and detail as they are kept."""
    return (
        (None, FAILED, item[:1_000]) if isinstance(item, str) else (encode_item(item), WAITING, "")
    )
