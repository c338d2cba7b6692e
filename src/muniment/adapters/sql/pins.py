"""`PinStore` on a SQL database."""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import groupby

from muniment.accounts.organizations import Act
from muniment.adapters.sql import (
    audit_log,
    pin_counts,
    pin_following,
    pin_holdings,
    pin_queries,
    pin_writes,
)
from muniment.adapters.sql.engine import Database
from muniment.adapters.sql.group_commit import GroupCommit
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.pin_rows import COLUMNS, pin_of
from muniment.adapters.sql.statements import SqlStore, Statements, with_every_write
from muniment.content.cid import CID
from muniment.errors import NotFoundError
from muniment.jobs.model import Job, JobEvent, NewJob
from muniment.pinning.filters import PinFilter
from muniment.pinning.model import (
    NewPin,
    Pin,
    PinChange,
    PinStatus,
    PinTotals,
    created_ms_of,
    new_request_id,
)
from muniment.pinning.ports import Check, Label

__all__ = ["PIN", "UNPIN", "SqlPins"]

PIN = "pin"
UNPIN = "unpin"

_ATTEMPTS = 100
_FIND = (
    f"SELECT {COLUMNS} FROM pins WHERE organization_id = ? AND created_ms = ? AND request_id = ?"
)
_REPLACED = "FROM pin_replaced WHERE organization_id = ? AND created_ms = ?"
_IS_WANTED = """SELECT 1 FROM pins WHERE organization_id = ? AND cid_key = ?
    UNION ALL SELECT 1 FROM pin_replaced WHERE organization_id = ? AND cid_key = ? LIMIT 1"""
_PROGRESS = """SELECT stage, done, unit FROM jobs
    WHERE organization_id = ? AND job_id = ? AND stage IS NOT NULL"""


class SqlPins(SqlStore):
    """See `PinStore`.

    Args:
        database: The service's database.
        jobs: Where the work on pins is queued, in the same database; it has to tell `follow` of every change.
        concurrency: How many pins of an organisation are fetched at once.
    """

    def __init__(self, database: Database, jobs: SqlJobs, concurrency: int = 4) -> None:
        super().__init__(database)
        self._jobs = jobs
        self._concurrency = concurrency
        self._creations = GroupCommit(self._create_together)

    def create(self, act: Act, wanted: NewPin, *, within: Statements | None = None) -> Pin:
        """See `PinStore.create`."""
        if within is None and with_every_write.get() is None:
            return self._creations.commit((act, wanted))
        with self._joining(within) as statements:
            return self._create(statements, [(act, wanted)])[0]

    def get(self, organization_id: str, request_id: str) -> Pin:
        """See `PinStore.get`."""
        with self._reading() as statements:
            return _with_progress(statements, _found(statements, organization_id, request_id))

    def change(
        self,
        act: Act,
        request_id: str,
        change: PinChange,
        check: Check | None = None,
        *,
        within: Statements | None = None,
    ) -> Pin:
        """See `PinStore.change`."""
        with self._joining(within) as statements:
            pin = _checked(statements, act.organization_id, request_id, check)
            changed = {
                name: value
                for name in ("name", "meta", "tags", "group", "priority")
                if (value := getattr(change, name)) is not None
                and value != getattr(pin.wanted, name)
            }
            if not changed:
                return pin
            new = replace(pin, wanted=replace(pin.wanted, **changed), changed_ms=_ms(act))
            pin_writes.update(statements, pin, new)
            before = {name: _plain(getattr(pin.wanted, name)) for name in changed}
            after = {name: _plain(value) for name, value in changed.items()}
            audit_log.append(statements, act, "pin.changed", _target(pin), before, after)
            return new

    def replace(
        self,
        act: Act,
        request_id: str,
        wanted: NewPin,
        check: Check | None = None,
        *,
        within: Statements | None = None,
    ) -> Pin:
        """See `PinStore.replace`."""
        with self._joining(within) as statements:
            old = _checked(statements, act.organization_id, request_id, check)
            (new,) = self._insert(statements, act.organization_id, [(act, wanted)])
            # What the old one replaced waits for the new one, too, and so does what it pinned itself.
            sql = f"DELETE {_REPLACED} RETURNING cid_key"
            keys = {key for (key,) in statements.rows(sql, act.organization_id, old.created_ms)}
            statements.run_many(
                "INSERT INTO pin_replaced VALUES (?, ?, ?)",
                [
                    (act.organization_id, key, new.created_ms)
                    for key in sorted({bytes(key) for key in keys} | {old.wanted.key})
                ],
            )
            self._delete(statements, old)
            before = {"request_id": old.request_id, "cid": old.wanted.cid, "name": old.wanted.name}
            after = {"cid": wanted.cid, "name": wanted.name}
            audit_log.append(statements, act, "pin.replaced", _target(new), before, after)
            return new

    def remove(
        self,
        act: Act,
        request_id: str,
        check: Check | None = None,
        *,
        within: Statements | None = None,
    ) -> None:
        """See `PinStore.remove`."""
        with self._joining(within) as statements:
            pin = _checked(statements, act.organization_id, request_id, check)
            self._delete(statements, pin)
            self._release(statements, act.organization_id, pin.wanted.key)
            before = {"cid": pin.wanted.cid, "name": pin.wanted.name}
            audit_log.append(statements, act, "pin.removed", _target(pin), before=before)

    def page(self, organization_id: str, wanted: PinFilter, limit: int) -> tuple[list[Pin], int]:
        """See `PinStore.page`."""
        with self._reading() as statements:
            rows, count = pin_queries.page(statements, organization_id, wanted, limit)
            return [_with_progress(statements, pin_of(row)) for row in rows], count

    def part(
        self, organization_id: str, wanted: PinFilter, limit: int
    ) -> tuple[list[Pin], int | None]:
        """See `PinStore.part`."""
        with self._reading() as statements:
            rows, floor = pin_queries.part(statements, organization_id, wanted, limit)
            return [_with_progress(statements, pin_of(row)) for row in rows], floor

    def totals(self, organization_id: str) -> PinTotals:
        """See `PinStore.totals`."""
        with self._reading() as statements:
            return pin_counts.totals(statements, organization_id)

    def labels(self, organization_id: str, kind: str, after: str, limit: int) -> list[Label]:
        """See `PinStore.labels`."""
        sql = """SELECT name, pins FROM pin_label_names
            WHERE organization_id = ? AND kind = ? AND name > ? ORDER BY name LIMIT ?"""
        with self._reading() as statements:
            rows = statements.rows(sql, organization_id, kind, after, limit)
        return [Label(name, pins) for name, pins in rows]

    def is_wanted(self, organization_id: str, cid_key: bytes) -> bool:
        """See `PinStore.is_wanted`."""
        with self._reading() as statements:
            return _is_wanted(statements, organization_id, cid_key)

    def hold(self, organization_id: str, cid_key: bytes, size_bytes: int) -> bool:
        """See `PinStore.hold`."""
        with self._writing() as statements:
            pin_holdings.take_turns(statements, organization_id)
            is_wanted = _is_wanted(statements, organization_id, cid_key)
            if is_wanted:
                pin_holdings.hold(statements, organization_id, cid_key, size_bytes)
            return is_wanted

    def check_room(self, organization_id: str, size_bytes: int) -> None:
        """See `PinStore.check_room`."""
        with self._reading() as statements:
            pin_holdings.check(statements, organization_id, size_bytes)

    def follow(self, statements: Statements, job: Job, event: JobEvent) -> None:
        """Have a pin follow its job: to be called for every change of every job, in its transaction."""
        if job.kind != PIN:
            return
        status = pin_following.follow(statements, job, event)
        if status is not None and status.is_end:
            created_ms = created_ms_of(job.payload["request_id"])
            sql = f"DELETE {_REPLACED} RETURNING cid_key"
            for (key,) in statements.rows(sql, job.organization_id, created_ms):
                self._release(statements, job.organization_id, bytes(key))

    @contextmanager
    def transaction(self) -> Iterator[Statements]:
        """Run a transaction for several changes: both happen, or neither does."""
        with self._writing() as statements:
            yield statements

    @contextmanager
    def _joining(self, within: Statements | None) -> Iterator[Statements]:
        if within is not None:
            yield within
        else:
            with self._writing() as statements:
                yield statements

    def _create(self, statements: Statements, wanted: Sequence[tuple[Act, NewPin]]) -> list[Pin]:
        """Add pins, of one organisation after the other, so that no two transactions wait for each other; returns them as they came."""
        pins: dict[int, Pin] = {}
        numbers = sorted(range(len(wanted)), key=lambda number: wanted[number][0].organization_id)
        for organization_id, own in groupby(
            numbers, lambda number: wanted[number][0].organization_id
        ):
            places = list(own)
            found = self._insert(statements, organization_id, [wanted[n] for n in places])
            pins.update(zip(places, found, strict=True))
        for number, (act, new) in enumerate(wanted):
            after = {"cid": new.cid, "name": new.name}
            audit_log.append(statements, act, "pin.created", _target(pins[number]), after=after)
        return [pins[number] for number in range(len(wanted))]

    def _create_together(self, wanted: Sequence[tuple[Act, NewPin]]) -> list[Pin]:
        with self._writing() as statements:
            return self._create(statements, wanted)

    def _insert(
        self, statements: Statements, organization_id: str, wanted: Sequence[tuple[Act, NewPin]]
    ) -> list[Pin]:
        """Write pins of one organisation, and queue the work on them."""
        now_ms = max(_ms(act) for act, _new in wanted)
        places, bucket = pin_counts.take_places(statements, organization_id, now_ms, len(wanted))
        ids = [new_request_id(created_ms, os.urandom(10)) for created_ms in places]
        jobs = self._jobs.enqueue_all(
            [
                self._job(organization_id, request_id, new)
                for request_id, (_act, new) in zip(ids, wanted, strict=True)
            ],
            within=statements,
        )
        pins = [
            Pin(
                organization_id,
                request_id,
                created_ms,
                PinStatus.QUEUED,
                new,
                job.job_id,
                "",
                None,
                None,
                _ms(act),
                act.actor,
            )
            for request_id, created_ms, job, (act, new) in zip(
                ids, places, jobs, wanted, strict=True
            )
        ]
        pin_writes.insert(statements, pins, bucket)
        changes = Counter({(bucket, PinStatus.QUEUED): len(pins)})
        pin_counts.add(statements, organization_id, changes)
        return pins

    def _job(self, organization_id: str, request_id: str, wanted: NewPin) -> NewJob:
        return NewJob(
            organization_id,
            PIN,
            {"request_id": request_id, "cid": wanted.cid},
            priority=wanted.priority.of_job,
            max_attempts=_ATTEMPTS,
            concurrency_key=PIN,
            concurrency_limit=self._concurrency,
        )

    def _delete(self, statements: Statements, pin: Pin) -> None:
        """Remove the row of a locked pin and all that hangs on it, and end its job."""
        place = (pin.organization_id, pin.created_ms)
        (bucket,) = statements.row(
            "SELECT bucket FROM pins WHERE organization_id = ? AND created_ms = ?", *place
        )
        statements.run("DELETE FROM pins WHERE organization_id = ? AND created_ms = ?", *place)
        pin_writes.relabel(statements, pin, pin.wanted, None)
        pin_counts.add(statements, pin.organization_id, Counter({(bucket, pin.status): -1}))
        with suppress(NotFoundError):  # jobs that ended long ago are forgotten
            self._jobs.cancel(pin.organization_id, pin.job_id, within=statements)

    def _release(self, statements: Statements, organization_id: str, cid_key: bytes) -> None:
        """Count content no more and queue letting go of it, unless it is wanted."""
        # When all pins and jobs are locked that the transaction changes, and before the audit log is.
        place = ("accounts", f"{organization_id} {cid_key.hex()}")
        statements.at_end(place, partial(self._let_go, statements, organization_id, cid_key))

    def _let_go(self, statements: Statements, organization_id: str, cid_key: bytes) -> None:
        # Of two who remove the last two pins of it, the second one sees what the first has done.
        pin_holdings.take_turns(statements, organization_id)
        if _is_wanted(statements, organization_id, cid_key):
            return
        pin_holdings.let_go(statements, organization_id, cid_key)
        payload = {"cid": str(CID.from_bytes(cid_key))}
        self._jobs.enqueue(
            NewJob(organization_id, UNPIN, payload, max_attempts=_ATTEMPTS), within=statements
        )


def _found(statements: Statements, organization_id: str, request_id: str, lock: str = "") -> Pin:
    place = (organization_id, created_ms_of(request_id), request_id)
    rows = statements.rows(_FIND + lock, *place)
    if not rows:
        raise NotFoundError(f"there is no pin {request_id!r}")
    return pin_of(rows[0])


def _locked(statements: Statements, organization_id: str, request_id: str) -> Pin:
    """Return a pin that nobody else changes until the end of the transaction: its job first, as workers do it, then itself."""
    job_id = _found(statements, organization_id, request_id).job_id
    statements.rows("SELECT 1 FROM jobs WHERE job_id = ? {lock}", job_id)
    return _found(statements, organization_id, request_id, " {lock}")


def _checked(
    statements: Statements, organization_id: str, request_id: str, check: Check | None
) -> Pin:
    """Return a pin as `_locked`, unless the check refuses what `get` would show of it."""
    pin = _locked(statements, organization_id, request_id)
    if check is not None:
        check(_with_progress(statements, pin))
    return pin


def _is_wanted(statements: Statements, organization_id: str, cid_key: bytes) -> bool:
    return bool(statements.rows(_IS_WANTED, *(organization_id, cid_key) * 2))


def _with_progress(statements: Statements, pin: Pin) -> Pin:
    """Add how far fetching a pin is; few pins of an organisation are fetched at once."""
    if pin.status is not PinStatus.PINNING:
        return pin
    rows = statements.rows(_PROGRESS, pin.organization_id, pin.job_id)
    return replace(pin, progress="".join(f"{stage}: {done} {unit}" for stage, done, unit in rows))


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, str) or value is None:
        return value
    return dict(value) if hasattr(value, "items") else list(value)  # type: ignore[call-overload]


def _target(pin: Pin) -> str:
    return f"pin:{pin.request_id}"


def _ms(act: Act) -> int:
    return act.at_us // 1000
