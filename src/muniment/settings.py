"""Settings: one table of name, default and meaning, read from `config.toml` and the environment.

A setting's environment variable is its name in capitals behind ``MUNIMENT_``; the environment wins over the file.
`docs/reference/settings.md` lists the same table and a test keeps the two equal.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniment.errors import UsageError

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name (with its unit), default and one-sentence meaning."""

    name: str
    default: Any
    help: str


SETTINGS = (
    Setting(
        "organization_id",
        "",
        "Short name of the organisation in its manifests: a-z, 0-9 and hyphens.",
    ),
    Setting("organization_name", "", "Full name of the organisation."),
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
    ),
    Setting(
        "parity_percent",
        5,
        "Parity in percent of the sealed bytes; always enough for any one chunk.",
    ),
    Setting("compression", "zstd", "Compression of files where it helps: zstd, lz4 or none."),
    Setting(
        "workers",
        0,
        "Processes that seal, verify and restore; 0 means one for each processor core.",
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
class Settings:
    """All settings by name; see `SETTINGS` for their meaning and units."""

    organization_id: str
    organization_name: str
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
    def load(cls, file: Path, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings of the home whose `config.toml` is `file` (which may be absent).

        Raises:
            UsageError: The file is not TOML, or names an unknown setting, or a value has the wrong type.
        """
        values = read_values(SETTINGS, file, environ, "MUNIMENT_")
        _check(values)
        return cls(**values)


def read_values(
    table: tuple[Setting, ...], file: Path, environ: Mapping[str, str], prefix: str
) -> dict[str, Any]:
    """Read the values of all settings of a table: defaults, then the file, then the environment.

    Raises:
        UsageError: The file is not TOML, or names an unknown setting, or a value has the wrong type.
    """
    values = {setting.name: setting.default for setting in table}
    for name, value in _read_table(file).items():
        if name not in values:
            raise UsageError(f"{file}: unknown setting {name!r}")
        values[name] = _coerce(name, value, values[name], str(file))
    for name, default in list(values.items()):
        variable = f"{prefix}{name.upper()}"
        if variable in environ:
            values[name] = _coerce_text(name, environ[variable], default, variable)
    return values


def _read_table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error


def _coerce(name: str, value: Any, default: Any, where: str) -> Any:  # noqa: ANN401  # any TOML value
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif type(value) is type(default):
        return value
    wanted = "a list of strings" if isinstance(default, tuple) else type(default).__name__
    raise UsageError(f"{where}: setting {name!r} must be {wanted}, got {value!r}")


def _coerce_text(name: str, text: str, default: Any, where: str) -> Any:  # noqa: ANN401  # any setting's type
    if isinstance(default, bool):
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
    elif isinstance(default, int):
        if text.lstrip("-").isdecimal():
            return int(text)
    elif isinstance(default, tuple):
        return tuple(item.strip() for item in text.split(",") if item.strip())
    else:
        return text
    raise UsageError(f"{where}: setting {name!r} must be {type(default).__name__}, got {text!r}")


_MINIMA = {
    "batch_bytes": 1,
    "batch_files": 1,
    "chunk_bytes": 64 * 1024,
    "parity_percent": 0,
    "workers": 0,
    "claim_timeout_s": 1,
    "calendar_timeout_s": 1,
}


def _check(values: dict[str, Any]) -> None:
    for name, minimum in _MINIMA.items():
        if values[name] < minimum:
            raise UsageError(f"setting {name!r} must be at least {minimum}, got {values[name]}")
    if values["parity_percent"] > 100:
        raise UsageError(
            f"setting 'parity_percent' must be at most 100, got {values['parity_percent']}"
        )
    if values["compression"] not in ("zstd", "lz4", "none"):
        raise UsageError(
            f"setting 'compression' must be zstd, lz4 or none, got {values['compression']!r}"
        )
