"""Settings of an archive: `config.toml` in its home, and variables behind ``MUNIMENT_``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniment.errors import UsageError
from muniment.settings.table import GIB, MIB, Setting, read_values

ARCHIVE_SETTINGS = (
    Setting(
        "organization_id",
        "",
        "Short name of the organisation in its manifests: a-z, 0-9 and hyphens.",
    ),
    Setting("organization_name", "", "Full name of the organisation."),
    Setting(
        "catalog",
        "home",
        "Where the catalogue is: home for a file in the home, service for the database of the service whose home this one lies in.",
    ),
    Setting(
        "batch_bytes",
        GIB,
        "Source bytes that one commit holds at most, unless a single file is larger.",
    ),
    Setting("batch_files", 25_000, "Files that one commit holds at most."),
    Setting(
        "chunk_bytes",
        50 * MIB,
        "Size of one chunk of a commit's tar; smaller commits use smaller chunks.",
        64 * 1024,
    ),
    Setting(
        "parity_percent",
        5,
        "Parity in percent of the sealed bytes; always enough for any one chunk.",
        0,
    ),
    Setting("compression", "zstd", "Compression of files where it helps: zstd, lz4 or none."),
    Setting(
        "workers",
        0,
        "Processes that seal, verify and restore; 0 means one for each processor core.",
        0,
    ),
    Setting(
        "claim_timeout_s",
        86_400,
        "Seconds after which the claim of a vanished run on its files expires.",
    ),
    Setting(
        "calendars",
        (
            "https://a.pool.opentimestamps.org",
            "https://b.pool.opentimestamps.org",
            "https://a.pool.eternitywall.com",
        ),
        "OpenTimestamps calendars that every commit is sent to.",
    ),
    Setting("calendar_timeout_s", 10, "Seconds to wait for one calendar."),
    Setting("rfc3161_urls", (), "RFC 3161 timestamp authorities that every commit is sent to."),
    Setting(
        "rfc3161_roots_file",
        "",
        "PEM file of the root certificates that RFC 3161 timestamps are checked against.",
    ),
    Setting(
        "bitcoin_rpc_url", "", "Bitcoin Core RPC, with credentials, to check timestamps against."
    ),
    Setting("esplora_url", "", "Esplora API (block explorer) to check timestamps against."),
    Setting(
        "bitcoin_headers_file",
        "",
        "File of 80-byte block headers to check timestamps against, offline.",
    ),
    Setting("backup", "", "Where commits are copied to: a folder, or s3://bucket/prefix."),
    Setting("s3_endpoint_url", "", "Endpoint of the S3 service, when it is not AWS."),
    Setting("s3_region", "us-east-1", "Region of the S3 service."),
    Setting(
        "disclose_files",
        default=False,
        help="Publish the list of files in the manifest: for public collections only.",
    ),
)


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """All settings by name; see `ARCHIVE_SETTINGS` for their meaning and units."""

    organization_id: str
    organization_name: str
    catalog: str
    batch_bytes: int
    batch_files: int
    chunk_bytes: int
    parity_percent: int
    compression: str
    workers: int
    claim_timeout_s: int
    calendars: tuple[str, ...]
    calendar_timeout_s: int
    rfc3161_urls: tuple[str, ...]
    rfc3161_roots_file: str
    bitcoin_rpc_url: str
    esplora_url: str
    bitcoin_headers_file: str
    backup: str
    s3_endpoint_url: str
    s3_region: str
    disclose_files: bool

    @classmethod
    def load(cls, file: Path, environ: Mapping[str, str] = os.environ) -> "ArchiveSettings":
        """Read the settings of the home whose `config.toml` is `file` (which may be absent).

        Raises:
            UsageError: The file is not TOML, or names an unknown setting, or a value has the wrong type.
        """
        values = read_values(ARCHIVE_SETTINGS, file, environ, "MUNIMENT_")
        _check(values)
        return cls(**values)


def _check(values: dict[str, Any]) -> None:
    if values["parity_percent"] > 100:
        raise UsageError(
            f"setting 'parity_percent' must be at most 100, got {values['parity_percent']}"
        )
    for name, words in (("catalog", ("home", "service")), ("compression", ("zstd", "lz4", "none"))):
        if values[name] not in words:
            raise UsageError(f"setting {name!r} must be {' or '.join(words)}, got {values[name]!r}")
