"""The keyring: its bytes, its sealing, and what it says to those who cannot open it."""

import pytest

from muniment.archive import keyring as keyrings
from muniment.archive.age_keys import Identity
from muniment.archive.keyring import (
    MAX_HEADER_BYTES,
    AgeHeader,
    Keyring,
    check_sealed,
    open_keyring,
    seal,
)
from muniment.errors import FormatError, KeyUnavailableError, UsageError

COMMIT_ID = "20261121T101500Z-abcdefgh"
KEYS = bytes(range(1, 33)) + bytes(32) + bytes(range(33, 65))
OWNER, RECOVERY, STRANGER = (Identity(bytes([n]) * 31 + b"\0") for n in (1, 2, 3))


def test_the_bytes_are_those_of_the_specification():
    assert Keyring(COMMIT_ID, KEYS).encode() == (
        b"muniment-keys/1\n" + b"\x19" + b"20261121T101500Z-abcdefgh" + b"\0\0\0\0\0\0\0\x03" + KEYS
    )


def test_keys_are_found_by_leaf_and_an_erased_one_is_unavailable():
    ring = Keyring.decode(Keyring(COMMIT_ID, KEYS).encode(), COMMIT_ID)
    assert len(ring) == 3
    assert ring.key(0) == KEYS[:32]
    assert ring.key(2) == KEYS[64:]
    assert ring.erased() == [1]
    with pytest.raises(KeyUnavailableError, match=r"leaf 1 .* erased"):
        ring.key(1)
    for leaf in (-1, 3):
        with pytest.raises(KeyUnavailableError, match=f"no leaf {leaf}"):
            ring.key(leaf)


@pytest.mark.parametrize("count", [1, 2045, 2046, 2047, 2048, 5000])
def test_a_sealed_keyring_has_the_size_of_its_keys(count):
    """2,046 keys of a commit with such an id fill one piece of age's stream exactly."""
    commit_id = "c" * 39
    assert len(Keyring(commit_id, KEYS[:32] * 2046).encode()) == 1 << 16
    sealed = seal(Keyring(commit_id, KEYS[:32] * count).encode(), [OWNER.recipient])
    head = sealed[:MAX_HEADER_BYTES]
    check_sealed(head, len(sealed), commit_id, count)
    for size_bytes, leaf_count in ((len(sealed) - 1, count), (len(sealed), count + 1)):
        with pytest.raises(FormatError, match=f"expected a keyring of {leaf_count} keys"):
            check_sealed(head, size_bytes, commit_id, leaf_count)
    with pytest.raises(FormatError):
        check_sealed(b"", 0, commit_id, count)


def test_erasing_leaves_the_other_keys_alone():
    ring = Keyring(COMMIT_ID, KEYS).without([2, 2])
    assert ring.erased() == [1, 2]
    assert ring.key(0) == KEYS[:32]
    with pytest.raises(KeyUnavailableError):
        ring.without([3])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with"),
        (b"muniment-keys/2\n", "begins with"),
        (Keyring("20261121T101500Z-abcdefgi", KEYS).encode(), "another commit's"),
        (Keyring(COMMIT_ID[:-1], KEYS).encode(), "another commit's"),
        (b"muniment-keys/1\n" + b"\x19" + COMMIT_ID.encode(), "0 keys"),
        (b"muniment-keys/1\n" + b"\x19" + COMMIT_ID.encode() + bytes(8), "0 keys"),
        (Keyring(COMMIT_ID, KEYS).encode()[:-1], "3 keys"),
        (Keyring(COMMIT_ID, KEYS).encode() + b"\0", "3 keys"),
        (b"muniment-keys/1\n" + b"\x19" + COMMIT_ID.encode() + b"\xff" * 8, "keys of 32 bytes"),
    ],
)
def test_other_bytes_are_rejected(data, says):
    with pytest.raises(FormatError, match=says):
        Keyring.decode(data, COMMIT_ID)


def test_a_keyring_must_have_as_many_keys_as_the_commit_has_files():
    data = Keyring(COMMIT_ID, KEYS).encode()
    assert len(Keyring.decode(data, COMMIT_ID, leaf_count=3)) == 3
    for leaf_count in (0, 2, 4):
        with pytest.raises(
            FormatError, match=f"expected a keyring of {leaf_count} keys, got one of 3"
        ):
            Keyring.decode(data, COMMIT_ID, leaf_count)


@pytest.mark.parametrize("commit_id", ["", "é", "x" * 256])
def test_a_commit_id_that_the_format_cannot_hold_is_refused(commit_id):
    with pytest.raises(UsageError, match="commit id"):
        Keyring(commit_id, KEYS)
    with pytest.raises(UsageError, match="commit id"):
        Keyring.decode(b"muniment-keys/1\n", commit_id)


@pytest.mark.parametrize("keys", [b"", b"x" * 31, b"x" * 33])
def test_a_keyring_holds_whole_keys_and_at_least_one(keys):
    with pytest.raises(UsageError, match="keys"):
        Keyring(COMMIT_ID, keys)


def test_every_recipient_opens_what_was_sealed_and_a_stranger_does_not():
    sealed = seal(b"payload", [OWNER.recipient, RECOVERY.recipient, OWNER.recipient])
    assert open_keyring(sealed, [OWNER]) == b"payload"
    assert open_keyring(sealed, [STRANGER, RECOVERY]) == b"payload"
    with pytest.raises(
        KeyUnavailableError, match=r"none of your 1 .* sealed to 2 recipients of kind X25519"
    ):
        open_keyring(sealed, [STRANGER])
    with pytest.raises(KeyUnavailableError, match="none of your 0 identities"):
        open_keyring(sealed, [])


def test_a_keyring_sealed_to_a_passphrase_is_told_from_a_damaged_one():
    stanza = b"-> scrypt " + b"A" * 22 + b" 18\n" + b"A" * 43 + b"\n"
    sealed = b"age-encryption.org/v1\n" + stanza + b"--- " + b"A" * 43 + b"\n" + bytes(100)
    with pytest.raises(KeyUnavailableError, match="1 recipient of kind scrypt"):
        open_keyring(sealed, [OWNER])


def test_every_single_damaged_byte_is_noticed():
    sealed = seal(b"payload", [OWNER.recipient])
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises((FormatError, KeyUnavailableError)):
            open_keyring(bytes(damaged), [OWNER])
    for length in range(len(sealed)):
        with pytest.raises((FormatError, KeyUnavailableError)):
            open_keyring(sealed[:length], [OWNER])


def test_a_file_too_large_for_its_commit_is_refused_unread():
    sealed = seal(bytes(200_000), [OWNER.recipient])
    with pytest.raises(FormatError, match="at most"):
        open_keyring(sealed, [OWNER], leaf_count=1)


@pytest.mark.parametrize("leaf_count", [1, 2047, 2048, 50_000])
def test_the_bound_holds_the_largest_honest_file(leaf_count):
    sealed = seal(Keyring("x" * 255, b"k" * 32 * leaf_count).encode(), [OWNER.recipient] * 1)
    assert len(sealed) <= keyrings.max_sealed_bytes(leaf_count)
    assert len(open_keyring(sealed, [OWNER], leaf_count)) == 16 + 1 + 255 + 8 + 32 * leaf_count


def test_the_largest_number_of_recipients_fits_the_header():
    recipients = [
        Identity(n.to_bytes(31, "big") + b"\0").recipient
        for n in range(1, keyrings.MAX_RECIPIENTS + 1)
    ]
    sealed = seal(b"payload", recipients)
    assert AgeHeader.read(sealed).kinds == ("X25519",) * keyrings.MAX_RECIPIENTS
    with pytest.raises(UsageError, match="257"):
        seal(b"payload", [*recipients, OWNER.recipient])


def test_sealing_to_nobody_or_to_garbage_is_refused():
    with pytest.raises(UsageError, match="got 0"):
        seal(b"payload", [])
    with pytest.raises(FormatError, match="age recipient"):
        seal(b"payload", [OWNER.recipient, OWNER.reveal()])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"age-encryption.org/v1\n",
        b"age-encryption.org/v1\n--- " + b"A" * 43 + b"\n",
        b"age-encryption.org/v1\n-> " + b"A" * 1_000_000,
        b"age-encryption.org/v1\n" + b"-> a\n\n" * 20_000 + b"--- " + b"A" * 43 + b"\n",
        b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
    ],
)
def test_what_is_no_binary_age_file_is_rejected(data):
    with pytest.raises(FormatError):
        AgeHeader.read(data)
    with pytest.raises(FormatError):
        open_keyring(data, [OWNER])
