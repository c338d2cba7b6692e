"""What always holds between the rows of a database: each rule is a query for what breaks it, the same on SQLite and PostgreSQL.

Whatever is counted is kept by the transactions that change it, so every rule holds in every snapshot.
"""

# ruff: noqa: S608  # statements are put together from constants of this package, never from values

from collections.abc import Iterator
from dataclasses import dataclass

from muniment.adapters.sql import totals
from muniment.adapters.sql.pin_counts import ALL
from muniment.adapters.sql.pin_rows import name_label
from muniment.adapters.sql.statements import Statements
from muniment.adapters.sql.transaction import Transaction
from muniment.pinning.model import PinStatus

_TOLD = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that always holds.

    Attributes:
        broken: What is wrong where it does not, in words.
        sql: Query for whatever breaks it; the first column names that.
    """

    broken: str
    sql: str


_STATUSES = tuple(status.value for status in PinStatus)
_KEYED = "SELECT k.organization_id, k.allowance_id, r.size_bytes"
_OF_KEY = "AS r JOIN api_keys AS k ON k.organization_id = r.organization_id AND k.key_id = r.key_id"
_ORGANIZATION_TABLES = (
    "audit_heads",
    "event_heads",
    "pin_heads",
    "pin_counts",
    "pins",
    "pin_batches",
    "uploads",
)

SERVICE_RULES = (
    Rule(
        "room reserved is not what its reservations say",
        """SELECT o.organization_id FROM service_organizations AS o LEFT JOIN (
            SELECT organization_id, SUM(size_bytes) AS size_bytes, SUM(files) AS files FROM reservations GROUP BY 1
        ) AS r ON r.organization_id = o.organization_id
        WHERE o.reserved_bytes <> COALESCE(r.size_bytes, 0) OR o.reserved_files <> COALESCE(r.files, 0)""",
    ),
    Rule(
        "room used is not what its uploads take",
        """SELECT o.organization_id FROM service_organizations AS o LEFT JOIN (
            SELECT organization_id, SUM(size_bytes) AS size_bytes, COUNT(*) AS files FROM uploads
            WHERE state IN ('received', 'archived') GROUP BY 1
        ) AS u ON u.organization_id = o.organization_id
        WHERE o.used_bytes <> COALESCE(u.size_bytes, 0) OR o.used_files <> COALESCE(u.files, 0)""",
    ),
    Rule(
        "room that a key takes is not what came with it",
        # What comes with a key counts for those that made it, too: such a one counts at least its own.
        f"""SELECT a.organization_id, a.allowance_id FROM key_allowances AS a LEFT JOIN (
            SELECT organization_id, allowance_id, SUM(size_bytes) AS size_bytes FROM (
                {_KEYED} FROM (SELECT * FROM uploads WHERE state IN ('received', 'archived')) {_OF_KEY}
                UNION ALL {_KEYED} FROM reservations {_OF_KEY}
            ) AS brought GROUP BY 1, 2
        ) AS b ON b.organization_id = a.organization_id AND b.allowance_id = a.allowance_id
        WHERE a.used_bytes + a.reserved_bytes < COALESCE(b.size_bytes, 0)
        OR a.used_bytes + a.reserved_bytes > COALESCE(b.size_bytes, 0) AND NOT EXISTS (
            SELECT 1 FROM key_allowances AS made
            WHERE made.organization_id = a.organization_id AND made.parent_id = a.allowance_id
        )""",
    ),
    Rule(
        "an upload that runs has no room reserved",
        """SELECT u.organization_id, u.upload_id FROM uploads AS u LEFT JOIN reservations AS r
        ON r.organization_id = u.organization_id AND r.reservation_id = u.upload_id
        WHERE u.state = 'receiving' AND r.reservation_id IS NULL""",
    ),
    Rule(
        "room is reserved for an upload that does not run",
        """SELECT r.organization_id, r.reservation_id FROM reservations AS r LEFT JOIN uploads AS u
        ON u.organization_id = r.organization_id AND u.upload_id = r.reservation_id AND u.state = 'receiving'
        WHERE u.upload_id IS NULL""",
    ),
    Rule(
        "pinned content is not what is counted of it",
        """SELECT o.organization_id FROM service_organizations AS o LEFT JOIN (
            SELECT organization_id, SUM(size_bytes) AS size_bytes FROM pin_holdings GROUP BY 1
        ) AS h ON h.organization_id = o.organization_id WHERE o.pinned_bytes <> COALESCE(h.size_bytes, 0)""",
    ),
    Rule(
        "pins are not as many as are counted",
        f"""SELECT organization_id FROM (
            SELECT organization_id, bucket, {", ".join(_STATUSES)} FROM pin_counts WHERE bucket <> {ALL}
            UNION ALL SELECT organization_id, bucket,
                {", ".join(f"-SUM(CASE WHEN status = '{name}' THEN 1 ELSE 0 END)" for name in _STATUSES)}
            FROM pins GROUP BY 1, 2
        ) AS both_ways GROUP BY organization_id, bucket HAVING {" OR ".join(f"SUM({name}) <> 0" for name in _STATUSES)}""",
    ),
    Rule(
        "the totals of pins are not the sums of their counts",
        f"""SELECT organization_id FROM pin_counts GROUP BY 1
        HAVING {" OR ".join(f"SUM(CASE WHEN bucket = {ALL} THEN -{name} ELSE {name} END) <> 0" for name in _STATUSES)}""",
    ),
    Rule(
        "a pin waits for a job that does not work on it",
        """SELECT p.organization_id, p.request_id FROM pins AS p LEFT JOIN jobs AS j
        ON j.job_id = p.job_id AND j.organization_id = p.organization_id AND j.finished_at IS NULL
        WHERE p.status IN ('queued', 'pinning') AND j.job_id IS NULL""",
    ),
    Rule(
        "content is kept for a pin that is no more",
        """SELECT r.organization_id FROM pin_replaced AS r LEFT JOIN pins AS p
        ON p.organization_id = r.organization_id AND p.created_ms = r.created_ms WHERE p.created_ms IS NULL""",
    ),
    Rule(
        "a batch has not as many items as it says",
        """SELECT b.organization_id, b.batch_id FROM pin_batches AS b LEFT JOIN pin_batch_items AS i
        ON i.organization_id = b.organization_id AND i.batch_id = b.batch_id
        WHERE b.job_id IS NOT NULL GROUP BY b.organization_id, b.batch_id, b.items HAVING COUNT(i.number) > b.items""",
    ),
    Rule(
        "a job that runs has no lease, or one that does not has",
        "SELECT organization_id, job_id FROM jobs WHERE (phase = 'running') <> (lease_until IS NOT NULL)",
    ),
    Rule(
        "a job has ended and has no end, or has one and goes on",
        """SELECT organization_id, job_id FROM jobs
        WHERE (phase IN ('succeeded', 'failed', 'cancelled')) <> (finished_at IS NOT NULL)""",
    ),
    Rule(
        "more jobs of one kind run together than may",
        """SELECT organization_id, concurrency_key FROM jobs
        WHERE concurrency_key IS NOT NULL AND phase IN ('ready', 'running')
        GROUP BY 1, 2 HAVING COUNT(*) > MAX(concurrency_limit)""",
    ),
    Rule(
        "jobs wait for others that are no more",
        """SELECT b.organization_id, b.job_id FROM jobs AS b WHERE b.phase = 'blocked' AND NOT EXISTS (
            SELECT 1 FROM jobs AS j WHERE j.organization_id = b.organization_id
            AND j.concurrency_key = b.concurrency_key AND j.phase IN ('ready', 'running')
        )""",
    ),
    Rule(
        "the audit log goes on behind its end",
        """SELECT l.organization_id FROM audit_log AS l JOIN audit_heads AS h ON h.organization_id = l.organization_id
        WHERE l.number > h.number""",
    ),
    *(
        Rule(
            f"rows of {table} belong to no organisation",
            f"""SELECT t.organization_id FROM {table} AS t LEFT JOIN service_organizations AS o
            ON o.organization_id = t.organization_id WHERE o.organization_id IS NULL AND t.organization_id <> ''""",
        )
        for table in _ORGANIZATION_TABLES
    ),
)
"""What holds in the database of a service."""

CATALOG_RULES = (
    Rule(
        "a file is in a commit that is not there, or is another organisation's",
        """SELECT f.file_id FROM files AS f LEFT JOIN commits AS c ON c.number = f.commit_number AND c.org_id = f.org_id
        WHERE f.org_id = ? AND f.commit_number IS NOT NULL AND c.number IS NULL""",
    ),
    Rule(
        "a file has not the place of its commit in the chain",
        """SELECT f.file_id FROM files AS f JOIN commits AS c ON c.number = f.commit_number
        WHERE f.org_id = ? AND (f.sequence <> c.sequence OR (f.sequence IS NULL) <> (c.state <> 'stored'))""",
    ),
    Rule(
        "a path has none that is its latest version, or several",
        "SELECT path FROM files WHERE org_id = ? GROUP BY path HAVING SUM(latest) <> 1",
    ),
)
"""What holds in an organisation's catalogue; each query has its number as parameter."""


def broken_in_service(statements: Statements) -> list[str]:
    """Return what is broken in the database of a service, in words."""
    found = [told for rule in SERVICE_RULES if (told := _broken(statements, rule))]
    return [*found, *_miscounted_labels(statements)]


def broken_in_catalog(transaction: Transaction) -> list[str]:
    """Return what is broken in an organisation's catalogue, in words."""
    rules = CATALOG_RULES
    found = [told for rule in rules if (told := _broken(transaction, rule, transaction.org_id))]
    if totals.read(transaction) != totals.recount(transaction):
        found.append("its totals do not add up")
    return found


def _broken(statements: Statements, rule: Rule, *values: int) -> str:
    """Return what breaks a rule, in words; nothing where it holds."""
    rows = statements.rows(f"SELECT * FROM ({rule.sql}) AS broken LIMIT {_TOLD + 1}", *values)
    names = [" ".join(map(_word, row)) for row in rows[:_TOLD]]
    more = ", and more" if len(rows) > _TOLD else ""
    return f"{rule.broken} ({', '.join(names)}{more})" if rows else ""


def _word(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _miscounted_labels(statements: Statements) -> Iterator[str]:
    """Yield the names of tags and groups that have not as many pins as are counted."""
    names = statements.rows("SELECT organization_id, kind, name, pins FROM pin_label_names")
    count = "SELECT COUNT(*) FROM pin_labels WHERE organization_id = ? AND label = ?"
    for organization_id, kind, name, pins in names:
        if statements.row(count, organization_id, name_label(kind, name))[0] != pins:
            yield f"a {kind} has not as many pins as are counted ({organization_id} {name})"
            return
