"""Settings of a service: `service.toml` in its home, and variables behind ``MUNIMENT_SERVICE_``.

What concerns one organisation's archive stays in the `config.toml` of its own home.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from muniment.settings.table import GIB, MIB, Setting, read_values

SERVICE_SETTINGS = (
    Setting(
        "database",
        "",
        "SQLAlchemy URL of a PostgreSQL database; empty for SQLite files in the home.",
    ),
    Setting(
        "public_url", "", "URL by which clients reach the service; empty for where it listens."
    ),
    Setting(
        "workers",
        2,
        "Jobs that one process works on at once; 0 for a process that only answers.",
        0,
    ),
    Setting(
        "lease_s",
        9,
        "Seconds after which the jobs of a worker that fell silent are taken over, and what a process that did was asked may be asked again.",
    ),
    Setting("upload_bytes", 1024 * GIB, "Bytes of one uploaded file at most."),
    Setting("body_bytes", 4 * MIB, "Bytes of any other request's body at most."),
    Setting("requests", 256, "Requests that one process answers at once at most."),
    Setting(
        "queued_operations",
        1000,
        "Operations of one organisation that wait or run at most, each of: archiving, verifying, batches of pins.",
    ),
    Setting("rate_per_minute", 6000, "Requests of one API key in a minute at most."),
    Setting(
        "failures_per_minute",
        300,
        "Requests without a valid API key, of one address in a minute, at most.",
    ),
    Setting("body_timeout_s", 30, "Seconds that a body may take to arrive, where it is no upload."),
    Setting(
        "stall_timeout_s",
        30,
        "Seconds without a byte after which an upload or a download is cut off.",
    ),
    Setting(
        "trusted_proxies",
        (),
        "Proxies, or networks of them, whose X-Forwarded-For names the client.",
    ),
    Setting(
        "disk_reserve_bytes",
        GIB // 4,
        "Free bytes of the disk below which nothing more is taken in: for databases and what runs.",
        0,
    ),
    Setting("gateways", (), "Trustless gateways that missing content is fetched from."),
    Setting("routers", (), "Delegated routing endpoints that are asked who has missing content."),
    Setting(
        "private_origins",
        default=False,
        help="Also fetch from machines of this network, where a pin's origins or a router name them.",
    ),
    Setting(
        "pin_patience_s",
        86_400,
        "Seconds for which content is looked for that nobody has, before its pin has failed.",
    ),
    Setting(
        "keep_staged",
        default=False,
        help="Keep uploaded files beside the archive once their commit was stored and verified.",
    ),
)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """All settings of a service by name; see `SERVICE_SETTINGS` for their meaning and units."""

    database: str
    public_url: str
    workers: int
    lease_s: int
    upload_bytes: int
    body_bytes: int
    requests: int
    queued_operations: int
    rate_per_minute: int
    failures_per_minute: int
    body_timeout_s: int
    stall_timeout_s: int
    trusted_proxies: tuple[str, ...]
    disk_reserve_bytes: int
    gateways: tuple[str, ...]
    routers: tuple[str, ...]
    private_origins: bool
    pin_patience_s: int
    keep_staged: bool

    @classmethod
    def load(cls, file: Path, environ: Mapping[str, str] = os.environ) -> "ServiceSettings":
        """Read the settings of the service whose `service.toml` is `file` (which may be absent).

        Raises:
            UsageError: The file is not TOML, or names an unknown setting, or a value has the wrong type or is too small.
        """
        return cls(**read_values(SERVICE_SETTINGS, file, environ, "MUNIMENT_SERVICE_"))
