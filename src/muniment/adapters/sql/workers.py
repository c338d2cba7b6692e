"""Which workers live: each says so now and then, so that others can tell whether anybody works at all."""

import contextlib
import threading
from types import TracebackType
from typing import Self

from muniment.adapters.sql.statements import SqlStore
from muniment.errors import MunimentError

TABLES = (
    """CREATE TABLE service_workers (
        name TEXT NOT NULL PRIMARY KEY,
        seen_at BIGINT NOT NULL
    )""",
)

BEAT_S = 5.0
SILENT_S = 20.0
"""Who said nothing for so long counts as gone."""

_US = 1_000_000


class SqlWorkers(SqlStore):
    """The workers of all processes and machines."""

    def beat(self, name: str) -> None:
        """Note that a worker lives, and forget those that have been silent."""
        with self._writing() as statements:
            now = statements.now()
            sql = "INSERT INTO service_workers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seen_at = ?"
            statements.run(sql, name, now, now)
            statements.run(
                "DELETE FROM service_workers WHERE seen_at < ?", now - round(10 * SILENT_S * _US)
            )

    def end(self, name: str) -> None:
        """Note that a worker ends."""
        with self._writing() as statements:
            statements.run("DELETE FROM service_workers WHERE name = ?", name)

    def alive(self) -> int:
        """Return how many live."""
        sql = "SELECT COUNT(*) FROM service_workers WHERE seen_at >= ?"
        with self._reading() as statements:
            return int(statements.row(sql, statements.now() - round(SILENT_S * _US))[0])


class Heartbeat:
    """Says, as long as a `with` block lasts, that a worker lives.

    Args:
        workers: Where to say it.
        name: The worker's name.
    """

    def __init__(self, workers: SqlWorkers, name: str) -> None:
        self._workers = workers
        self._name = name
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End."""
        self._ending.set()
        self._thread.join()

    def _beat(self) -> None:
        is_over = False
        while not is_over:
            # Where the database is away, its readers notice that first.
            with contextlib.suppress(MunimentError):
                self._workers.beat(self._name)
            is_over = self._ending.wait(BEAT_S)
        with contextlib.suppress(MunimentError):
            self._workers.end(self._name)
