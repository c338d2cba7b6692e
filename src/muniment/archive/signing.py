"""An organisation's signing key: Ed25519 (RFC 8032), in the files of OpenSSH.

The private key is an OpenSSH private key file (openssh-key-v1, with or without a passphrase), the public one a line
`ssh-ed25519 AAAA... comment`; `ssh-keygen` reads and writes both. A key is named by its OpenSSH fingerprint.
What a signature is over, and its context string, is up to the caller.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from nacl import bindings as sodium
from nacl.exceptions import BadSignatureError

from muniment.errors import FormatError, KeyUnavailableError, SignatureError, UsageError

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_PRIVATE_FILE_BYTES = 64 * 1024
MAX_PUBLIC_LINE_CHARS = 8192

KDF_ROUNDS = 24
"""Rounds of bcrypt_pbkdf for a new passphrase, the default of ssh-keygen since OpenSSH 9.4."""

MAX_KDF_ROUNDS = 2000
"""Most rounds that are tried: a few seconds of work, where a hostile file could ask for days."""

_ALGORITHM = b"ssh-ed25519"
_WIRE_PREFIX = struct.pack(">I", len(_ALGORITHM)) + _ALGORITHM + struct.pack(">I", PUBLIC_KEY_BYTES)
_PEM_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PEM_END = b"-----END OPENSSH PRIVATE KEY-----"
_PRIVATE_MAGIC = b"openssh-key-v1\0"


class VerifyKey:
    """The public half of a signing key: 32 bytes."""

    __slots__ = ("public_key",)

    def __init__(self, public_key: bytes) -> None:
        if len(public_key) != PUBLIC_KEY_BYTES:
            raise FormatError(
                f"expected a public key of {PUBLIC_KEY_BYTES} bytes, got {len(public_key)}"
            )
        self.public_key = bytes(public_key)

    @classmethod
    def from_openssh(cls, line: str) -> "VerifyKey":
        """Read a public key line, `ssh-ed25519 AAAA... comment`.

        Raises:
            FormatError: It is no such line, or has options, or holds another kind of key.
        """
        line = line.strip("\r\n")
        parts = line.split(" ", 2)
        if (
            len(line) > MAX_PUBLIC_LINE_CHARS
            or len(parts) < 2
            or parts[0] != "ssh-ed25519"
            or "\n" in line
        ):
            raise FormatError("expected one public key line, ssh-ed25519 AAAA... comment")
        try:
            key = cls._from_wire(base64.b64decode(parts[1], validate=True))
        except ValueError as error:
            raise FormatError(f"the public key is not base64: {error}") from error
        if key.to_openssh() != " ".join(parts[:2]):
            raise FormatError("the public key's base64 is not written the one canonical way")
        return key

    @classmethod
    def _from_wire(cls, wire: bytes) -> "VerifyKey":
        if len(wire) != len(_WIRE_PREFIX) + PUBLIC_KEY_BYTES or not wire.startswith(_WIRE_PREFIX):
            raise FormatError("expected an ssh-ed25519 public key, got other bytes")
        return cls(wire[len(_WIRE_PREFIX) :])

    @property
    def key_id(self) -> str:
        """The OpenSSH fingerprint, as `ssh-keygen -l` shows it: `SHA256:` and base64 without padding."""
        digest = hashlib.sha256(_WIRE_PREFIX + self.public_key).digest()
        return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")

    def to_openssh(self, comment: str = "") -> str:
        """The public key line, without a line end; control characters of the comment become spaces."""
        encoded = base64.b64encode(_WIRE_PREFIX + self.public_key).decode("ascii")
        cleaned = "".join(c if c.isprintable() else " " for c in comment).strip()
        return f"ssh-ed25519 {encoded} {cleaned}".rstrip()

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check that the holder of this key signed `message`.

        Raises:
            SignatureError: It did not, or the signature is not 64 bytes long.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise SignatureError(
                f"expected a signature of {SIGNATURE_BYTES} bytes, got {len(signature)}"
            )
        try:
            sodium.crypto_sign_open(bytes(signature) + message, self.public_key)
        except BadSignatureError as error:
            raise SignatureError(
                f"the signature is not one of key {self.key_id} over these bytes"
            ) from error

    def __bytes__(self) -> bytes:
        return self.public_key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.public_key == other.public_key

    def __hash__(self) -> int:
        return hash(self.public_key)

    def __repr__(self) -> str:
        return f"VerifyKey({self.key_id})"


class SigningKey:
    """An Ed25519 signing key, made from its seed of 32 bytes; the seed never shows in a repr."""

    __slots__ = ("_secret_key", "verify_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise FormatError(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
        public_key, self._secret_key = sodium.crypto_sign_seed_keypair(bytes(seed))
        self.verify_key = VerifyKey(public_key)

    @classmethod
    def from_openssh(cls, data: bytes, passphrase: str | None = None) -> "SigningKey":
        """Read an OpenSSH private key file.

        Raises:
            FormatError: It is not one, is damaged, or holds another kind of key.
            KeyUnavailableError: It needs a passphrase, or another one.
        """
        header = PrivateKeyHeader.read(data)
        key_id = header.verify_key.key_id
        if header.encrypted and not passphrase:
            raise KeyUnavailableError(f"signing key {key_id} is locked by a passphrase")
        try:
            key = cls(_load_seed(data, passphrase if header.encrypted else None))
        except FormatError as error:
            if not header.encrypted:
                raise
            raise KeyUnavailableError(
                f"signing key {key_id} does not open: wrong passphrase, or a damaged file"
            ) from error
        if key.verify_key != header.verify_key:
            raise FormatError(
                f"the file says that it is key {key_id}, but its secret is of {key.key_id}"
            )
        return key

    @property
    def key_id(self) -> str:
        """The OpenSSH fingerprint of the public half."""
        return self.verify_key.key_id

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`, 64 bytes; the same for the same message."""
        return bytes(sodium.crypto_sign(message, self._secret_key)[:SIGNATURE_BYTES])

    def to_openssh(self, passphrase: str | None = None) -> bytes:
        """The OpenSSH private key file, locked by `passphrase` unless that is empty.

        Raises:
            UsageError: The passphrase is longer than the format can use.
        """
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # slow to import
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        form = serialization.PrivateFormat.OpenSSH
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            lock = form.encryption_builder().kdf_rounds(KDF_ROUNDS).build(passphrase.encode())
        key = Ed25519PrivateKey.from_private_bytes(self._secret_key[:SEED_BYTES])
        try:
            return key.private_bytes(serialization.Encoding.PEM, form, lock)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise UsageError(f"this passphrase cannot lock a key file: {error}") from error

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"


@dataclass(frozen=True, slots=True)
class PrivateKeyHeader:
    """What an OpenSSH private key file shows without its passphrase."""

    verify_key: VerifyKey
    encrypted: bool

    @classmethod
    def read(cls, data: bytes) -> "PrivateKeyHeader":
        """Read the header (OpenSSH, PROTOCOL.key): cipher, key derivation, number of keys, public key.

        Raises:
            FormatError: The bytes are no OpenSSH private key file of one Ed25519 key, or ask for too much work.
        """
        body = _unarmour(data)
        try:
            cipher, rest = _take_string(body)
            kdf, rest = _take_string(rest)
            options, rest = _take_string(rest)
            (count,) = struct.unpack_from(">I", rest)
            public, _ = _take_string(rest[4:])
            rounds = _kdf_rounds(kdf, options)
        except struct.error as error:
            raise FormatError("the OpenSSH private key file is cut short") from error
        if count != 1:
            raise FormatError(f"expected a private key file of one key, got one of {count}")
        if rounds > MAX_KDF_ROUNDS:
            raise FormatError(
                f"the key file asks for {rounds} rounds of key derivation, at most {MAX_KDF_ROUNDS} are tried"
            )
        return cls(VerifyKey._from_wire(public), cipher != b"none")  # noqa: SLF001  # its own module


def _unarmour(data: bytes) -> bytes:
    text = data.strip()
    if len(data) > MAX_PRIVATE_FILE_BYTES or not (
        text.startswith(_PEM_BEGIN) and text.endswith(_PEM_END)
    ):
        raise FormatError("expected an OpenSSH private key file, got something else")
    try:
        body = binascii.a2b_base64(
            b"".join(text[len(_PEM_BEGIN) : -len(_PEM_END)].split()), strict_mode=True
        )
    except ValueError as error:
        raise FormatError(f"the OpenSSH private key file is not base64: {error}") from error
    if not body.startswith(_PRIVATE_MAGIC):
        raise FormatError("expected an OpenSSH private key of version 1, got something else")
    return body[len(_PRIVATE_MAGIC) :]


def _take_string(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from(">I", data)
    if length > len(data) - 4:
        raise FormatError("the OpenSSH private key file is cut short")
    return data[4 : 4 + length], data[4 + length :]


def _kdf_rounds(kdf: bytes, options: bytes) -> int:
    if kdf == b"none":
        return 0
    if kdf != b"bcrypt":
        raise FormatError(
            "expected a private key file locked by bcrypt or not at all, got another way"
        )
    _, rest = _take_string(options)
    return int(struct.unpack_from(">I", rest)[0])


def _load_seed(data: bytes, passphrase: str | None) -> bytes:
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm  # noqa: PLC0415  # slow to import
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key  # noqa: PLC0415

    try:
        key = load_ssh_private_key(data, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError, InvalidTag) as error:
        reason = str(error) or "its tag is wrong"
        raise FormatError(f"the OpenSSH private key does not load: {reason}") from error
    except UnsupportedAlgorithm as error:
        raise KeyUnavailableError(
            f"this kind of private key file cannot be opened here: {error}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise FormatError("expected an ssh-ed25519 private key, got another kind")
    return key.private_bytes_raw()
