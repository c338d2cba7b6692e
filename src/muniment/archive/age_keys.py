"""age's X25519 keys as text: 32 bytes in Bech32.

An identity is the secret half (`AGE-SECRET-KEY-1...`, upper case), a recipient the public half (`age1...`, lower case).
Sources: C2SP age v1, "X25519 recipient stanza"; BIP 173 for Bech32; RFC 7748 for X25519.
"""

from dataclasses import dataclass

from nacl import bindings as sodium
from nacl.exceptions import RuntimeError as SodiumError

from muniment.errors import FormatError

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
"""The 32 characters of Bech32 by value (BIP 173): 1, b, i and o are left out, being easily misread."""

IDENTITY_PREFIX = "age-secret-key-"
RECIPIENT_PREFIX = "age"
KEY_BYTES = 32

CHECKSUM_CHARS = 6
PAYLOAD_CHARS = 52
"""Characters that 32 bytes take: 52 times 5 bits are 256 bits and 4 bits of padding."""

DATA_CHARS = PAYLOAD_CHARS + CHECKSUM_CHARS

_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_VALUES = {character: value for value, character in enumerate(CHARSET)}
_PAD_BITS = PAYLOAD_CHARS * 5 - KEY_BYTES * 8


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """An X25519 secret that opens what was sealed to its `recipient`; it never shows in a repr."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise FormatError(f"expected an identity of {KEY_BYTES} bytes, got {len(self.secret)}")
        if len(set(self.secret)) == 1:
            raise FormatError("this identity is one byte repeated, which is no secret")

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Read exactly `AGE-SECRET-KEY-1...`, as age-keygen writes it.

        Raises:
            FormatError: It is anything else. The message never holds the text.
        """
        if not text.isascii() or text != text.upper():
            raise FormatError("expected an age identity in upper case, AGE-SECRET-KEY-1...")
        return cls(_decode(text.lower(), IDENTITY_PREFIX, "an age identity, AGE-SECRET-KEY-1..."))

    @property
    def recipient(self) -> str:
        """The public half, `age1...`."""
        return _encode(sodium.crypto_scalarmult_base(self.secret), RECIPIENT_PREFIX)

    def __repr__(self) -> str:
        return f"Identity({self.recipient})"

    def reveal(self) -> str:
        """The secret as text, `AGE-SECRET-KEY-1...`: for key files and the recovery kit only."""
        return _encode(self.secret, IDENTITY_PREFIX).upper()


def check_recipient(text: str) -> str:
    """Return `text` if it is a recipient that a secret can stand behind.

    Raises:
        FormatError: It is no `age1...` of an X25519 key, or is a point of low order, to which anybody could open.
    """
    point = _decode(text, RECIPIENT_PREFIX, "an age recipient, age1...")
    try:
        sodium.crypto_scalarmult(bytes([1] * KEY_BYTES), point)
    except SodiumError as error:
        raise FormatError(
            f"recipient {text} is a point of low order: it protects nothing"
        ) from error
    return text


def checksum_holds(prefix: str, data: str) -> bool:
    """Whether `data` (lower case, checksum included) is what Bech32 writes behind `prefix`."""
    return all(character in _VALUES for character in data) and (
        _polymod(_expand(prefix) + [_VALUES[character] for character in data]) == 1
    )


def _decode(text: str, prefix: str, wanted: str) -> bytes:
    head, data = text[: len(prefix) + 1], text[len(prefix) + 1 :]
    if head != prefix + "1" or len(data) != DATA_CHARS or any(c not in _VALUES for c in data):
        raise FormatError(f"expected {wanted}, got something else")
    if not checksum_holds(prefix, data):
        raise FormatError(
            f"expected {wanted}, got one with a mistyped character: the checksum differs"
        )
    number = 0
    for character in data[:PAYLOAD_CHARS]:
        number = number << 5 | _VALUES[character]
    if number & ((1 << _PAD_BITS) - 1):
        raise FormatError(f"expected {wanted}, got one whose padding is not zero")
    return (number >> _PAD_BITS).to_bytes(KEY_BYTES, "big")


def _encode(payload: bytes, prefix: str) -> str:
    number = int.from_bytes(payload, "big") << _PAD_BITS
    values = [number >> shift & 31 for shift in range((PAYLOAD_CHARS - 1) * 5, -1, -5)]
    check = _polymod([*_expand(prefix), *values, *[0] * CHECKSUM_CHARS]) ^ 1
    values += [check >> shift & 31 for shift in range((CHECKSUM_CHARS - 1) * 5, -1, -5)]
    return prefix + "1" + "".join(CHARSET[value] for value in values)


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                checksum ^= generator
    return checksum
