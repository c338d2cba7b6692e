"""How long the jobs of killed workers wait until another worker goes on with them, by the database's clock."""

import time

from muniment.adapters.sql.statements import Statements

_RUNNING = "SELECT job_id FROM jobs WHERE phase = 'running' AND worker LIKE ?"
_NEXT = """SELECT at, kind FROM events WHERE subject = ? AND at >= ? AND kind IN ('operation.started',
    'operation.succeeded', 'operation.failed', 'operation.cancelled') ORDER BY number LIMIT 1"""


class Takeovers:
    """What the killed workers of a service had in hand.

    Args:
        service: The service, whose database must be there when somebody is killed.
    """

    def __init__(self, service):
        self._service = service
        self._deaths = []

    def killed(self, process_id):
        """Note the jobs that a process had, which has just been killed: names of workers hold the id of their process."""
        at = time.time_ns() // 1000
        for (job_id,) in self._query(_RUNNING, f"%-{process_id}-%"):
            self._deaths.append((job_id, at))

    def seconds(self):
        """Return how long each job waited that was begun again."""
        waits = []
        for job_id, killed_at in self._deaths:
            for at, kind in self._query(_NEXT, f"operation:{job_id}", killed_at):
                if kind == "operation.started":
                    waits.append((at - killed_at) / 1_000_000)
        return waits

    def _query(self, sql, *values):
        database = self._service.database
        with database.transaction() as connection:
            return Statements(connection, database.dialect).rows(sql, *values)


def told(waits):
    """Put waits into words."""
    if not waits:
        return "no job was taken over"
    middle = sorted(waits)[len(waits) // 2]
    return (
        f"{len(waits)} jobs taken over, after {middle:.1f} s (median), {max(waits):.1f} s at most"
    )
