"""Making the home of an archive: keys first, settings last, for they make it one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from muniment.adapters import key_files
from muniment.adapters.durable import write_durably
from muniment.archive.manifest import Organization
from muniment.bootstrap.archive import CONFIG, KEYS
from muniment.errors import ConflictError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.archive.signing import VerifyKey


def new_organization(organization_id: str, name: str) -> Organization:
    """Describe an organisation whose archive is to be made.

    Raises:
        UsageError: Its id or name cannot be used in manifests.
    """
    try:
        return msgspec.convert({"id": organization_id, "name": name}, Organization)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"expected an organisation's id of a-z, 0-9 and hyphens, at most 63 characters, and a name of at most 200, "
            f"got {organization_id!r} and {name!r}"
        ) from error


def create_archive(
    home: Path,
    organization: Organization,
    *,
    recovery: bool = True,
    passphrase: str | None = None,
    existing_signing: Path | None = None,
    existing_identity: Path | None = None,
    catalog: str = "home",
) -> key_files.NewKeys:
    """Make a home with keys and settings; the keys' recovery identity is in no file.

    Args:
        home: The home folder.
        organization: Whose archive it is.
        recovery: Whether keyrings are sealed to the recovery identity too.
        passphrase: See `key_files.create_keys`.
        existing_signing: See `key_files.create_keys`.
        existing_identity: See `key_files.create_keys`.
        catalog: Where the catalogue is: the setting of that name.

    Raises:
        ConflictError: There is an archive already.
    """
    _begin_home(home)
    keys = key_files.create_keys(
        home / KEYS, organization.name, passphrase, existing_signing, existing_identity
    )
    if not recovery:
        key_files.remove_recipient(home / KEYS, keys.recovery.recipient)
    _write_config(home, organization, catalog)
    return keys


def create_writer_archive(
    home: Path,
    organization: Organization,
    recipients: "Sequence[key_files.Recipient]",
    *,
    passphrase: str | None = None,
    existing_signing: Path | None = None,
) -> "VerifyKey":
    """Make a home that only writes: what it archives is opened by the recipients, and never by itself.

    Args:
        home: The home folder.
        organization: Whose archive it is.
        recipients: Whom keyrings are sealed to.
        passphrase: See `key_files.create_keys`.
        existing_signing: See `key_files.create_keys`.

    Raises:
        ConflictError: There is an archive already.
        FormatError: A recipient is none.
        UsageError: There are no recipients, or one twice.
    """
    _begin_home(home)
    key = key_files.create_writer_keys(
        home / KEYS, organization.name, recipients, passphrase, existing_signing
    )
    _write_config(home, organization)
    return key


def _begin_home(home: Path) -> None:
    if (home / CONFIG).exists():
        raise ConflictError(f"there is an archive in {home} already; nothing was changed")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write_config(home: Path, organization: Organization, catalog: str = "home") -> None:
    """Write the settings: last of all, for they make the home an archive."""
    values = {"organization_id": organization.id, "organization_name": organization.name}
    if catalog != "home":
        values["catalog"] = catalog
    config = "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())
    write_durably(home / CONFIG, config.encode(), 0o600)


def _toml(text: str) -> str:
    """Return a TOML basic string; what JSON escapes, TOML escapes alike."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
