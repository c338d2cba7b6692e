"""age's keys as text: one form for each key, and nothing else is read."""

import pytest

from muniment.archive import age_keys
from muniment.archive.age_keys import CHARSET, Identity, check_recipient, checksum_holds
from muniment.errors import FormatError

SECRET = Identity(bytes(range(32))).reveal()


@pytest.mark.parametrize(
    ("prefix", "data"),
    [
        # Valid strings of BIP 173, section "Test vectors".
        ("a", "2uel5l"),
        ("abcdef", "qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"),
        ("split", "checkupstagehandshakeupstreamerranterredcaperred2y9e3w"),
        ("?", "ezyfcl"),
    ],
)
def test_the_checksum_is_that_of_bip_173(prefix, data):
    assert checksum_holds(prefix, data)
    assert not checksum_holds(prefix, data[:-1] + ("q" if data[-1] != "q" else "p"))
    assert not checksum_holds(prefix + "x", data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET.lower(),
        SECRET.capitalize(),
        SECRET + "\n",
        " " + SECRET,
        SECRET[:-1],
        SECRET + "Q",
        SECRET.replace("K", "\N{KELVIN SIGN}"),
        SECRET.replace("AGE-SECRET-KEY-1", "AGE-PLUGIN-X-1"),
        SECRET.replace("1", "O"),
        "\ud800",
    ],
)
def test_another_text_is_no_identity_and_is_not_quoted(text):
    with pytest.raises(FormatError) as caught:
        Identity.parse(text)
    assert len(text) < 8 or text not in str(caught.value)


def test_padding_must_be_zero():
    """52 characters hold 260 bits: of 16 texts with a right checksum for the same 32 bytes, one is the key."""
    data = SECRET.removeprefix("AGE-SECRET-KEY-1").lower()
    last = data[age_keys.PAYLOAD_CHARS - 1]
    head = data[: age_keys.PAYLOAD_CHARS - 1] + CHARSET[CHARSET.index(last) + 1]
    values = age_keys._expand(age_keys.IDENTITY_PREFIX) + [CHARSET.index(c) for c in head]
    check = age_keys._polymod([*values, 0, 0, 0, 0, 0, 0]) ^ 1
    forged = head + "".join(CHARSET[check >> shift & 31] for shift in range(25, -1, -5))
    assert checksum_holds(age_keys.IDENTITY_PREFIX, forged)
    with pytest.raises(FormatError, match="padding"):
        Identity.parse("AGE-SECRET-KEY-1" + forged.upper())


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_bytes_that_are_no_secret_are_refused(secret):
    with pytest.raises(FormatError):
        Identity(secret)


def test_an_identity_is_no_recipient_nor_the_other_way_round():
    identity = Identity.parse(SECRET)
    with pytest.raises(FormatError) as caught:
        check_recipient(SECRET)
    assert SECRET not in str(caught.value)
    with pytest.raises(FormatError):
        Identity.parse(identity.recipient.upper())
