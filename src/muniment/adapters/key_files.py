"""A home's `keys/` folder: the signing key, the identity, and whom keyrings are sealed to.

    keys/                 0700
      signing             0600  OpenSSH private key, Ed25519
      signing.pub         0644  its public line
      identity.txt        0600  age identity file; absent in a home that only writes
      recipients.txt      0644  age recipients file; the comment above a recipient is its name

Every file is one that `ssh-keygen` and `age` read as it is (docs/spec/keys.md).
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from muniment.adapters.private_files import (
    PRIVATE_MODE,
    PUBLIC_MODE,
    create_folder,
    locked_folder,
    read_private,
    read_public,
    replace_file,
)
from muniment.archive.age_keys import KEY_BYTES, Identity, check_recipient
from muniment.archive.keyring import MAX_RECIPIENTS
from muniment.archive.signing import SEED_BYTES, PrivateKeyHeader, SigningKey, VerifyKey
from muniment.errors import (
    ConflictError,
    FormatError,
    KeyUnavailableError,
    NotFoundError,
    SignatureError,
    UsageError,
)

SIGNING = "signing"
SIGNING_PUBLIC = "signing.pub"
IDENTITY = "identity.txt"
RECIPIENTS = "recipients.txt"
MAX_NAME_CHARS = 200

PassphrasePrompt = Callable[[str], str]
"""Asks the user for the passphrase of the key with the fingerprint that it is given."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom keyrings are sealed to: a public age key and the name of who holds its secret."""

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class NewKeys:
    """What `create_keys` made.

    Attributes:
        verify_key: The public half of the signing key.
        recipient: The organisation's own recipient, `age1...`.
        recovery: The recovery identity. It is in no file: show it once, and let it go.
    """

    verify_key: VerifyKey
    recipient: str
    recovery: Identity


def new_identity() -> Identity:
    """A fresh random identity."""
    return Identity(secrets.token_bytes(KEY_BYTES))


def create_keys(
    folder: Path,
    organisation: str,
    passphrase: str | None = None,
    existing_signing: Path | None = None,
    existing_identity: Path | None = None,
) -> NewKeys:
    """Make the folder of keys of an organisation: all of it, or nothing.

    Args:
        folder: The folder to make; it may exist, but must be empty.
        organisation: The name that labels the keys.
        passphrase: Locks the signing key; it also opens `existing_signing` if that is locked.
        existing_signing: An Ed25519 private key of ssh-keygen to use instead of a new one.
        existing_identity: An age identity file, or 32 raw bytes, to use instead of a new identity.

    Raises:
        ConflictError: The folder is not empty.
        KeyUnavailableError: An existing key is missing, readable by others, or locked.
        FormatError: An existing key is not of the kind it should be.
        UsageError: The organisation's name or the passphrase cannot be used.
    """
    signing = _signing_key(existing_signing, passphrase)
    identities = read_identities(existing_identity) if existing_identity else [new_identity()]
    recovery = new_identity()
    own = Recipient(identities[0].recipient, organisation)
    recipients = [own, Recipient(recovery.recipient, "recovery")]
    files = _common_files(signing, organisation, recipients, passphrase)
    create_folder(folder, files | {IDENTITY: (_identities_text(identities), PRIVATE_MODE)})
    return NewKeys(signing.verify_key, own.key, recovery)


def create_writer_keys(
    folder: Path,
    organisation: str,
    recipients: Sequence[Recipient],
    passphrase: str | None = None,
    existing_signing: Path | None = None,
) -> VerifyKey:
    """Make the keys of a home that only writes: it seals to `recipients` and holds no identity to open anything.

    Raises:
        UsageError: There are no recipients, too many, or one twice, or a name or the passphrase cannot be used.
        ConflictError, KeyUnavailableError, FormatError: As for `create_keys`.
    """
    if not recipients:
        raise UsageError(
            "expected at least one recipient: without one, nobody could ever open what is archived"
        )
    distinct = {recipient.key for recipient in recipients}
    if len(distinct) != len(recipients) or len(distinct) > MAX_RECIPIENTS:
        raise UsageError(
            f"expected 1 to {MAX_RECIPIENTS} different recipients, got {len(recipients)}, {len(distinct)} of them different"
        )
    signing = _signing_key(existing_signing, passphrase)
    create_folder(folder, _common_files(signing, organisation, recipients, passphrase))
    return signing.verify_key


def load_signing_key(folder: Path, passphrase_prompt: PassphrasePrompt | None = None) -> SigningKey:
    """The organisation's signing key; `passphrase_prompt` is asked only if the key is locked.

    Raises:
        KeyUnavailableError: It or `signing.pub` is missing, or it is readable by others, or locked.
        SignatureError: It is not the key of `signing.pub`.
        FormatError: The file is no Ed25519 private key of OpenSSH.
    """
    path = folder / SIGNING
    data, expected = read_private(path), load_verify_key(folder)
    with _naming(path):
        header = PrivateKeyHeader.read(data)
        if header.verify_key != expected:
            raise SignatureError(
                f"expected key {expected.key_id} of {SIGNING_PUBLIC}, got {header.verify_key.key_id}"
            )
        asked = (
            passphrase_prompt(expected.key_id) if header.encrypted and passphrase_prompt else None
        )
        return SigningKey.from_openssh(data, asked)


def load_verify_key(folder: Path) -> VerifyKey:
    """The public half of the organisation's signing key.

    Raises:
        KeyUnavailableError: `signing.pub` is missing, or writable by others.
        FormatError: It is no Ed25519 public key line.
    """
    path = folder / SIGNING_PUBLIC
    data = read_public(path)
    with _naming(path):
        return VerifyKey.from_openssh(_text(data))


def load_identities(folder: Path) -> list[Identity]:
    """The identities of this home, the one in use first.

    Raises:
        KeyUnavailableError: There are none (a home that only writes), or others can read them.
        FormatError: The file is no age identity file.
    """
    path = folder / IDENTITY
    if not os.path.lexists(path):
        raise KeyUnavailableError(
            f"{path} does not exist: this home can archive, but not open what it archived; do that where the identity is, "
            "or type in the recovery kit: `muniment keys recover`"
        )
    return read_identities(path)


def read_identities(path: Path) -> list[Identity]:
    """The identities in an age identity file, or in a file of 32 raw bytes, which are one X25519 secret.

    Raises:
        KeyUnavailableError: The file is missing, or others can read it.
        FormatError: It is neither of the two.
    """
    data = read_private(path)
    with _naming(path):
        if len(data) == KEY_BYTES:
            return [Identity(data)]
        identities = [
            _parse_line(Identity.parse, number, line)
            for number, line in _lines(data)
            if line[:1] != "#"
        ]
        if not identities:
            raise FormatError("expected an age identity file, or 32 raw bytes, got no identity")
        return identities


def save_identities(folder: Path, identities: Sequence[Identity]) -> None:
    """Replace `identity.txt`: first the new identity, then the old ones until every keyring is sealed anew.

    Raises:
        UsageError: There are none.
    """
    if not identities:
        raise UsageError("expected at least one identity to save, got none")
    with locked_folder(folder):
        replace_file(folder / IDENTITY, _identities_text(identities), PRIVATE_MODE)


def load_recipients(folder: Path) -> list[Recipient]:
    """Whom new keyrings are sealed to; never empty.

    Raises:
        KeyUnavailableError: `recipients.txt` is missing, names nobody, or is writable by others.
        FormatError: A line is no recipient.
    """
    path = folder / RECIPIENTS
    data = read_public(path)
    with _naming(path):
        recipients = _parse_recipients(data)
        if not recipients:
            raise KeyUnavailableError("expected at least one recipient, got none")
        return recipients


def add_recipient(folder: Path, key: str, name: str) -> None:
    """Seal keyrings to one more recipient from now on; those that exist stay as they are.

    Raises:
        FormatError: `key` is no `age1...` recipient.
        UsageError: The name is empty, too long or not printable, or there are too many recipients.
        ConflictError: The recipient is there already.
    """
    with locked_folder(folder):
        recipients = load_recipients(folder)
        if any(key == known.key for known in recipients):
            raise ConflictError(f"recipient {key} is there already")
        _save_recipients(folder, [*recipients, _checked(Recipient(key, name))])


def remove_recipient(folder: Path, key: str) -> None:
    """Seal keyrings to this recipient no longer; it still opens every copy of one that was sealed to it.

    Raises:
        NotFoundError: There is no such recipient.
        UsageError: It is the last one.
    """
    with locked_folder(folder):
        recipients = load_recipients(folder)
        left = [known for known in recipients if known.key != key]
        if len(left) == len(recipients):
            raise NotFoundError(f"{folder / RECIPIENTS} has no recipient {key}")
        if not left:
            raise UsageError(
                f"{key} is the last recipient: without one, nobody could ever open what is archived"
            )
        _save_recipients(folder, left)


def _signing_key(existing: Path | None, passphrase: str | None) -> SigningKey:
    if existing is None:
        return SigningKey(secrets.token_bytes(SEED_BYTES))
    data = read_private(existing)
    with _naming(existing):
        return SigningKey.from_openssh(data, passphrase)


def _common_files(
    signing: SigningKey, organisation: str, recipients: Sequence[Recipient], passphrase: str | None
) -> dict[str, tuple[bytes, int]]:
    """The files that every home has, with their modes."""
    line = signing.verify_key.to_openssh(organisation) + "\n"
    return {
        SIGNING: (signing.to_openssh(passphrase), PRIVATE_MODE),
        SIGNING_PUBLIC: (line.encode("utf-8"), PUBLIC_MODE),
        RECIPIENTS: (
            _recipients_text([_checked(recipient) for recipient in recipients]),
            PUBLIC_MODE,
        ),
    }


def _checked(recipient: Recipient) -> Recipient:
    check_recipient(recipient.key)
    name = recipient.name
    if not (name.strip() and name.isprintable() and len(name) <= MAX_NAME_CHARS):
        raise UsageError(
            f"expected a recipient's name of 1 to {MAX_NAME_CHARS} printable characters, got {name!r}"
        )
    return recipient


def _save_recipients(folder: Path, recipients: Sequence[Recipient]) -> None:
    if len(recipients) > MAX_RECIPIENTS:
        raise UsageError(f"expected at most {MAX_RECIPIENTS} recipients, got {len(recipients)}")
    replace_file(folder / RECIPIENTS, _recipients_text(recipients), PUBLIC_MODE)


def _recipients_text(recipients: Sequence[Recipient]) -> bytes:
    return "".join(f"# {recipient.name}\n{recipient.key}\n" for recipient in recipients).encode(
        "utf-8"
    )


def _parse_recipients(data: bytes) -> list[Recipient]:
    names: dict[str, str] = {}
    name = ""
    for number, line in _lines(data):
        if line.startswith("#"):
            name = line[1:].strip()
        else:
            key = _parse_line(check_recipient, number, line)
            if key in names:
                raise FormatError(f"line {number}: recipient {key} is listed twice")
            names[key], name = name, ""
    return [Recipient(key, name) for key, name in names.items()]


def _identities_text(identities: Sequence[Identity]) -> bytes:
    lines = (
        f"# public key: {identity.recipient}\n{identity.reveal()}\n" for identity in identities
    )
    return "".join(lines).encode("ascii")


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, counted from 1, split exactly where age splits them."""
    for number, line in enumerate(_text(data).split("\n"), 1):
        if stripped := line.removesuffix("\r"):
            yield number, stripped


def _parse_line(parse: Callable[[str], _T], number: int, line: str) -> _T:
    try:
        return parse(line)
    except FormatError as error:
        raise FormatError(f"line {number}: {error}") from error


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("expected a text file in UTF-8, got other bytes") from error


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is said about its content."""
    try:
        yield
    except (FormatError, SignatureError, KeyUnavailableError) as error:
        raise type(error)(f"{path}: {error}") from error
