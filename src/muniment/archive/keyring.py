"""The keyring of one commit: a random key of 32 bytes for each file, sealed to every recipient as one age file.

`keys.age` stands beside the sealed files and may be replaced: a new recipient, a rotation or an erasure rewrites these
32 bytes a file and never the archive. Bytes: docs/spec/keys.md; the outside is age v1 (C2SP), which plain `age -d` opens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyrage

from muniment.archive.age_keys import Identity, check_recipient
from muniment.errors import FormatError, KeyUnavailableError, UsageError

MAGIC = b"muniment-keys/1\n"
KEY_BYTES = 32
ERASED_KEY = bytes(KEY_BYTES)
MAX_LEAVES = 99_999_999
"""Leaves that one commit can have (docs/spec/commit.md, section 2)."""

MAX_RECIPIENTS = 256
MAX_HEADER_BYTES = 64 * 1024
"""Bound of an age header: 256 recipients of about 100 bytes each, and what age adds of its own."""

_AGE_MAGIC = b"age-encryption.org/v1\n"
_AGE_NONCE_BYTES = 16
_AGE_CHUNK_BYTES = 64 * 1024
_AGE_TAG_BYTES = 16
_STANZA = re.compile(rb"-> ([!-~]+)(?: [!-~]+)*\n(?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{0,63}\n")
_HEADER_END = re.compile(rb"--- [A-Za-z0-9+/]{43}\n")
_MAX_COMMIT_ID_BYTES = 255
_COUNT_BYTES = 8


class Keyring:
    """The file keys of one commit by leaf, some of them perhaps erased; immutable."""

    __slots__ = ("_keys", "commit_id")

    def __init__(self, commit_id: str, keys: bytes | bytearray | memoryview) -> None:
        _head(commit_id)
        if len(keys) % KEY_BYTES or not 1 <= len(keys) // KEY_BYTES <= MAX_LEAVES:
            raise UsageError(
                f"expected 1 to {MAX_LEAVES} keys of {KEY_BYTES} bytes, got {len(keys)} bytes"
            )
        self.commit_id = commit_id
        self._keys = bytes(keys)

    @classmethod
    def decode(cls, data: bytes, commit_id: str, leaf_count: int | None = None) -> "Keyring":
        """Read the keyring of the commit `commit_id`, which has `leaf_count` files if that is known.

        Raises:
            FormatError: The bytes are not exactly a keyring, or belong to another commit, or hold another number of keys.
        """
        head = _head(commit_id)
        if not data.startswith(MAGIC):
            raise FormatError(f"expected a keyring that begins with {MAGIC!r}, got other bytes")
        if not data.startswith(head):
            raise FormatError(f"expected the keyring of commit {commit_id}, got another commit's")
        count = int.from_bytes(data[len(head) : len(head) + _COUNT_BYTES], "big")
        start = len(head) + _COUNT_BYTES
        if not 1 <= count <= MAX_LEAVES or len(data) != start + count * KEY_BYTES:
            raise FormatError(
                f"expected {count} keys of {KEY_BYTES} bytes in the keyring, got {len(data) - start} bytes"
            )
        if leaf_count not in (None, count):
            raise FormatError(f"expected a keyring of {leaf_count} keys, got one of {count}")
        return cls(commit_id, memoryview(data)[start:])

    def encode(self) -> bytes:
        """The bytes that `seal` wraps and `decode` reads."""
        return _head(self.commit_id) + len(self).to_bytes(_COUNT_BYTES, "big") + self._keys

    def __len__(self) -> int:
        return len(self._keys) // KEY_BYTES

    def key(self, leaf: int) -> bytes:
        """The key of the file at `leaf`, counted from 0.

        Raises:
            KeyUnavailableError: It was erased, or the commit has no such leaf.
        """
        if not 0 <= leaf < len(self):
            raise KeyUnavailableError(
                f"commit {self.commit_id} has no leaf {leaf}, only 0 to {len(self) - 1}"
            )
        key = self._keys[leaf * KEY_BYTES : (leaf + 1) * KEY_BYTES]
        if key == ERASED_KEY:
            raise KeyUnavailableError(
                f"the key of leaf {leaf} of commit {self.commit_id} was erased"
            )
        return key

    def erased(self) -> list[int]:
        """The leaves whose keys were erased, in order."""
        keys = self._keys
        return [
            leaf
            for leaf in range(len(self))
            if keys[leaf * KEY_BYTES : (leaf + 1) * KEY_BYTES] == ERASED_KEY
        ]

    def without(self, leaves: Sequence[int]) -> "Keyring":
        """This keyring with the keys of `leaves` erased; erasing twice changes nothing.

        Raises:
            KeyUnavailableError: The commit has no such leaf.
        """
        keys = bytearray(self._keys)
        for leaf in leaves:
            if not 0 <= leaf < len(self):
                raise KeyUnavailableError(
                    f"commit {self.commit_id} has no leaf {leaf}, only 0 to {len(self) - 1}"
                )
            keys[leaf * KEY_BYTES : (leaf + 1) * KEY_BYTES] = ERASED_KEY
        return Keyring(self.commit_id, keys)

    def __repr__(self) -> str:
        return f"Keyring({self.commit_id}, {len(self)} keys)"


@dataclass(frozen=True, slots=True)
class AgeHeader:
    """What `keys.age` shows to a reader without any key: how it was sealed, not to whom."""

    kinds: tuple[str, ...]
    size_bytes: int

    @classmethod
    def read(cls, data: bytes) -> "AgeHeader":
        """Read the header of an age file; stanzas of the kind "...-grease" are age's own noise and left out.

        Raises:
            FormatError: The bytes are no binary age file, or its header is too large.
        """
        if not data.startswith(_AGE_MAGIC):
            raise FormatError("expected a binary age file (age-encryption.org/v1), got other bytes")
        position, kinds = len(_AGE_MAGIC), []
        while stanza := _STANZA.match(data, position, MAX_HEADER_BYTES):
            kinds.append(stanza[1].decode("ascii"))
            position = stanza.end()
        end = _HEADER_END.match(data, position, MAX_HEADER_BYTES)
        if not end or not kinds:
            raise FormatError(f"the age header is damaged, or larger than {MAX_HEADER_BYTES} bytes")
        return cls(tuple(kind for kind in kinds if not kind.endswith("-grease")), end.end())

    def describe(self) -> str:
        """Who can open the file, as far as it says: "3 recipients of kind X25519, which age does not name"."""
        counts = {kind: self.kinds.count(kind) for kind in sorted(set(self.kinds))}
        listed = " and ".join(
            f"{count} recipient{'s' if count > 1 else ''} of kind {kind}"
            for kind, count in counts.items()
        )
        return f"{listed or 'no recipient of a known kind'}, which age does not name"


def max_sealed_bytes(leaf_count: int) -> int:
    """The most that `keys.age` of a commit of `leaf_count` files may measure: read no more than that."""
    plain = len(MAGIC) + 1 + _MAX_COMMIT_ID_BYTES + _COUNT_BYTES + leaf_count * KEY_BYTES
    chunks = -(-plain // _AGE_CHUNK_BYTES)
    return MAX_HEADER_BYTES + _AGE_NONCE_BYTES + plain + chunks * _AGE_TAG_BYTES


def check_sealed(head: bytes, size_bytes: int, commit_id: str, leaf_count: int) -> None:
    """Check without any key that a file can be the `keys.age` of a commit: its header, and the size that so many keys take.

    Args:
        head: The file's first `MAX_HEADER_BYTES`, or all of it.
        size_bytes: The whole file's size.
        commit_id: The commit.
        leaf_count: How many leaves it has.

    Raises:
        FormatError: It cannot.
    """
    header = AgeHeader.read(head)
    plain = len(_head(commit_id)) + _COUNT_BYTES + leaf_count * KEY_BYTES
    chunks = -(-plain // _AGE_CHUNK_BYTES)
    expected = header.size_bytes + _AGE_NONCE_BYTES + plain + chunks * _AGE_TAG_BYTES
    if size_bytes != expected:
        raise FormatError(
            f"expected a keyring of {leaf_count} keys to have {expected} bytes, got {size_bytes}"
        )


def seal(keyring_bytes: bytes, recipients: Sequence[str]) -> bytes:
    """Wrap an encoded keyring as an age file for every one of `recipients` (`age1...`).

    Raises:
        UsageError: There are no recipients, or more than `MAX_RECIPIENTS`.
        FormatError: A recipient is not one.
    """
    distinct = [check_recipient(recipient) for recipient in dict.fromkeys(recipients)]
    if not 1 <= len(distinct) <= MAX_RECIPIENTS:
        raise UsageError(
            f"expected 1 to {MAX_RECIPIENTS} recipients to seal a keyring to, got {len(distinct)}"
        )
    return bytes(
        pyrage.encrypt(keyring_bytes, [pyrage.x25519.Recipient.from_str(text) for text in distinct])
    )


def open_keyring(
    data: bytes, identities: Sequence[Identity], leaf_count: int = MAX_LEAVES
) -> bytes:
    """Unwrap `keys.age` of a commit of `leaf_count` files with whichever of `identities` fits.

    Raises:
        KeyUnavailableError: None of the identities opens it.
        FormatError: It is no age file, is damaged, or is too large for so many files.
    """
    header = AgeHeader.read(data)
    if len(data) > max_sealed_bytes(leaf_count):
        raise FormatError(
            f"expected a keyring of at most {max_sealed_bytes(leaf_count)} bytes, got {len(data)}"
        )
    keys = [pyrage.x25519.Identity.from_str(identity.reveal()) for identity in identities]
    try:
        return bytes(pyrage.decrypt(data, keys))
    except pyrage.DecryptError as error:
        if str(error) == _NO_MATCH:
            raise KeyUnavailableError(
                f"none of your {len(keys)} identities opens this keyring; it was sealed to {header.describe()}"
            ) from error
        raise FormatError(f"the keyring's age file is damaged: {error}") from error


_NO_MATCH = "No matching keys found"
"""pyrage has one error for everything and tells this case apart by its words only; a test holds it to them."""


def _head(commit_id: str) -> bytes:
    """What every keyring of this commit begins with."""
    if not (commit_id.isascii() and 1 <= len(commit_id) <= _MAX_COMMIT_ID_BYTES):
        raise UsageError(
            f"expected a commit id of 1 to {_MAX_COMMIT_ID_BYTES} ASCII characters, got {commit_id!r}"
        )
    return MAGIC + bytes([len(commit_id)]) + commit_id.encode("ascii")
