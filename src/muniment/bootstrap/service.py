"""A service: several organisations on one deployment, each with an archive home of its own.

A service's home holds::

    service.toml                      settings (docs/reference/settings.md)
    service.sqlite3                   accounts, jobs, uploads, pins, events; or they are in PostgreSQL
    organizations/<organization_id>/  an archive home, as `muniment init` makes one
    incoming/<organization_id>/       uploads that still arrive
    uploads/<organization_id>/        uploaded files that wait to be archived
"""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.adapters.embedded_pins import EmbeddedPins
from muniment.adapters.node_key import NODE_KEY, node_id
from muniment.adapters.processors import default_worker_count
from muniment.adapters.sql.accounts import SqlAccounts
from muniment.adapters.sql.events import SqlEvents, on_job_change
from muniment.adapters.sql.idempotency import SqlRequests
from muniment.adapters.sql.jobs import SqlJobs
from muniment.adapters.sql.operations import SqlOperations
from muniment.adapters.sql.pin_batches import BATCH, SqlPinBatches
from muniment.adapters.sql.pins import SqlPins
from muniment.adapters.sql.rate_limits import SqlRateCounters
from muniment.adapters.sql.service import open_service_database
from muniment.adapters.sql.statements import Statements
from muniment.adapters.sql.stored_commits import SqlStoredCommits
from muniment.adapters.sql.uploads import SqlUploads
from muniment.adapters.sql.workers import Heartbeat, SqlWorkers
from muniment.adapters.upload_files import UploadHomes
from muniment.bootstrap.archive import STORE
from muniment.bootstrap.catalogs import ORGANIZATIONS, SERVICE_CONFIG
from muniment.bootstrap.operator import Operator, own_act
from muniment.content.routing import peer_id_text
from muniment.jobs.handlers import Handlers, pruning
from muniment.jobs.model import Job, JobEvent
from muniment.jobs.run import Run
from muniment.jobs.schedules import Schedule, daily
from muniment.jobs.worker import Worker
from muniment.service_jobs.archives import Archives, UploadRoot
from muniment.service_jobs.archiving import Archiving
from muniment.service_jobs.pinning import Pinning
from muniment.service_jobs.registering import ARCHIVE, VERIFY, add_archive_handlers
from muniment.service_jobs.timestamps import upgrading
from muniment.service_jobs.verifying import verifying
from muniment.settings.service import ServiceSettings
from muniment.tasks.downloads import Keyrings
from muniment.uploads.receiving import Receiver

if TYPE_CHECKING:
    from muniment.adapters.sql.engine import Database

CONFIG = SERVICE_CONFIG
DATABASE = "service.sqlite3"
UPLOADS = "uploads"
INCOMING = "incoming"

SCHEDULES = (
    Schedule("recover uploads", "recover-uploads", every_s=3600),
    daily("prune jobs", "prune-jobs", hour=3),
    daily("prune events", "prune-events", hour=4),
    daily("prune batches", "prune-batches", hour=5),
    Schedule("prune requests", "prune-requests", every_s=3600, offset_s=1800),
)
"""The service's own upkeep."""

_JOBS_KEPT_S = 90 * 86_400
EVENTS_KEPT_S = 7 * 86_400


class Service:
    """The service of one home: its parts, each made when asked for.

    Args:
        home: The service's home; made if need be.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    @cached_property
    def settings(self) -> ServiceSettings:
        """The settings."""
        return ServiceSettings.load(self.home / CONFIG)

    @cached_property
    def database(self) -> "Database":
        """The service's database, at the newest version of its schema."""
        return open_service_database(self.settings.database or self.home / DATABASE)

    @cached_property
    def accounts(self) -> SqlAccounts:
        """Organisations, members, keys and the audit log."""
        return SqlAccounts(self.database)

    @cached_property
    def operator(self) -> Operator:
        """What whoever runs the machine may do."""
        catalog = "service" if self.database.is_server else "home"
        return Operator(self.accounts, self.organization_home, catalog)

    @cached_property
    def receiver(self) -> Receiver:
        """What receives uploads."""
        return Receiver(
            SqlUploads(self.database),
            UploadHomes(
                self.home / INCOMING, self.home / UPLOADS, self.settings.disk_reserve_bytes
            ),
            lambda at: time.strftime("%Y-%m-%d", time.gmtime(at)).encode(),
        )

    @cached_property
    def jobs(self) -> SqlJobs:
        """Background work."""
        limits = dict.fromkeys((ARCHIVE, VERIFY, BATCH), self.settings.queued_operations)
        return SqlJobs(self.database, self._on_job_change, queue_limits=limits)

    @cached_property
    def pins(self) -> SqlPins:
        """What organisations want to be kept."""
        return SqlPins(self.database, self.jobs)

    @cached_property
    def pin_batches(self) -> SqlPinBatches:
        """Changes of many pins at once."""
        return SqlPinBatches(self.database, self.jobs, self.pins)

    @cached_property
    def pin_engine(self) -> EmbeddedPins:
        """What keeps the content of pins: each organisation's own block store."""
        return EmbeddedPins(
            lambda organization_id: self.organization_home(organization_id) / STORE,
            self.settings.gateways,
            self.settings.routers,
            allow_private=self.settings.private_origins,
            size_bytes_max=self.settings.upload_bytes,
        )

    @cached_property
    def node_id(self) -> str:
        """The peer ID of this service among nodes of IPFS."""
        return peer_id_text(node_id(self.home / NODE_KEY))

    @cached_property
    def events(self) -> SqlEvents:
        """What happened in each organisation."""
        return SqlEvents(self.database)

    @cached_property
    def operations(self) -> SqlOperations:
        """What principals do with background work."""
        return SqlOperations(self.database, self.jobs)

    @cached_property
    def stored_commits(self) -> SqlStoredCommits:
        """What is known of the organisations' commits beyond their archives."""
        return SqlStoredCommits(self.database)

    @cached_property
    def archives(self) -> Archives:
        """The organisations' archives; this service closes them."""
        # All jobs together should not keep many more processes busy than there are processors.
        workers_max = max(1, default_worker_count() // max(1, self.settings.workers))
        return Archives(self.organization_home, workers_max, self.database)

    @cached_property
    def keyrings(self) -> Keyrings:
        """The keyrings that were used last."""
        return Keyrings()

    @cached_property
    def handlers(self) -> Handlers:
        """What does each kind of job."""
        handlers = Handlers()
        archiving = Archiving(
            self.archives,
            self.upload_root,
            self.stored_commits,
            self.receiver.store,
            keep_staged=self.settings.keep_staged,
        )
        add_archive_handlers(
            handlers,
            catalog=archiving.catalog,
            archive=archiving.archive,
            upgrade=upgrading(self.archives),
            verify=verifying(self.archives, self.stored_commits),
        )
        pinning = Pinning(
            self.pins, self.pin_batches, self.pin_engine, self.settings.pin_patience_s
        )
        pinning.add_to(handlers)
        handlers.add("recover-uploads", self._recover_uploads)
        handlers.add("prune-jobs", pruning(self.jobs, _JOBS_KEPT_S))
        handlers.add("prune-events", self._prune_events)
        handlers.add("prune-requests", self._prune_requests)
        return handlers

    @cached_property
    def requests(self) -> SqlRequests:
        """Requests that may be sent again."""
        return SqlRequests(self.database, self.settings.lease_s)

    @cached_property
    def shared_rates(self) -> SqlRateCounters:
        """Counters of requests that all processes share."""
        return SqlRateCounters(self.database)

    @cached_property
    def workers(self) -> SqlWorkers:
        """Who does background work."""
        return SqlWorkers(self.database)

    @contextlib.contextmanager
    def working(self, threads: int | None = None) -> Iterator[Worker]:
        """Do background work in this process, as long as the `with` block lasts; see `worker`."""
        name = f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
        with Heartbeat(self.workers, name), self.worker(threads, name) as worker:
            yield worker

    def worker(self, threads: int | None = None, name: str | None = None) -> Worker:
        """Return a worker of this process, which works as long as its `with` block lasts.

        Args:
            threads: Jobs that it works on at once; as the settings have it if left out.
            name: Its name, which no other worker ever had; a random one if left out.
        """
        return Worker(
            self.jobs,
            self.handlers,
            name=name or f"worker-{secrets.token_hex(8)}",
            threads=self.settings.workers if threads is None else threads,
            lease_s=self.settings.lease_s,
            schedules=SCHEDULES,
        )

    def recover_uploads(self) -> int:
        """Finish or give up the uploads that a killed run left behind; returns how many."""
        return self.receiver.recover(own_act)

    def organization_home(self, organization_id: str) -> Path:
        """Return the archive home of an organisation."""
        return self.home / ORGANIZATIONS / organization_id

    def upload_root(self, organization_id: str) -> UploadRoot:
        """Return where the uploads of an organisation lie, as its archive sees them."""
        return UploadRoot(self.home / UPLOADS / organization_id)

    def close(self) -> None:
        """Release archives, block stores and database if they are open."""
        for name in ("archives", "pin_engine", "database"):
            part = self.__dict__.pop(name, None)
            if part is not None:
                part.close()

    def _recover_uploads(self, run: Run) -> dict[str, int]:
        run.check()
        return {"uploads": self.recover_uploads()}

    def _prune_events(self, run: Run) -> dict[str, int]:
        run.check()
        return {"events": self.events.prune(time.time_ns() // 1000 - EVENTS_KEPT_S * 1_000_000)}

    def _prune_requests(self, run: Run) -> dict[str, int]:
        run.check()
        return {"requests": self.requests.prune(), "clients": self.shared_rates.prune()}

    def _on_job_change(self, statements: Statements, job: Job, event: JobEvent) -> None:
        """Tell of a job's change, and have the pin follow it, in the transaction that makes it."""
        on_job_change(statements, job, event)
        self.pins.follow(statements, job, event)
