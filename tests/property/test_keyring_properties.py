"""Keys hold what was put in, and hostile bytes meet nothing but the errors that are promised."""

from datetime import date

import pyrage
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.archive.age_keys import Identity, check_recipient
from muniment.archive.keyring import AgeHeader, Keyring, open_keyring, seal
from muniment.archive.recovery import RecoveryKit, parse_typed_identity
from muniment.archive.signing import PrivateKeyHeader, SigningKey, VerifyKey
from muniment.errors import FormatError, KeyUnavailableError

COMMIT_ID = "20261121T101500Z-abcdefgh"
OWNER = Identity(bytes(range(32)))
SEALED = seal(Keyring(COMMIT_ID, b"k" * 64).encode(), [OWNER.recipient])
ENCODED = Keyring(COMMIT_ID, b"k" * 64).encode()
PRIVATE_FILE = SigningKey(bytes(32)).to_openssh()

secrets = st.binary(min_size=32, max_size=32).filter(lambda secret: len(set(secret)) > 1)
file_keys = st.lists(
    st.binary(min_size=32, max_size=32) | st.just(bytes(32)), min_size=1, max_size=50
)


@st.composite
def damaged(draw, good: bytes):
    """Bytes near to good ones: parts of them cut out, replaced or doubled."""
    start = draw(st.integers(0, len(good)))
    end = draw(st.integers(start, min(len(good), start + 40)))
    return good[:start] + draw(st.binary(max_size=40)) + good[end:]


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=255), file_keys)
def test_a_keyring_is_read_back(commit_id, keys):
    ring = Keyring.decode(Keyring(commit_id, b"".join(keys)).encode(), commit_id)
    assert ring.erased() == [leaf for leaf, key in enumerate(keys) if key == bytes(32)]
    for leaf, key in enumerate(keys):
        if key != bytes(32):
            assert ring.key(leaf) == key


@given(st.binary(max_size=300) | damaged(ENCODED))
@example(ENCODED)
def test_only_one_form_of_a_keyring_is_read(data):
    try:
        ring = Keyring.decode(data, COMMIT_ID)
    except FormatError:
        return
    assert ring.encode() == data


@given(st.binary(max_size=300) | damaged(SEALED))
def test_hostile_age_files_meet_only_promised_errors(data):
    try:
        AgeHeader.read(data)
        assert open_keyring(data, [OWNER]) == ENCODED
    except (FormatError, KeyUnavailableError):
        assert data != SEALED


@given(st.binary(max_size=300) | damaged(PRIVATE_FILE))
def test_hostile_private_key_files_meet_only_promised_errors(data):
    try:
        PrivateKeyHeader.read(data)
        SigningKey.from_openssh(data, "passphrase")
    except (FormatError, KeyUnavailableError):
        assert data != PRIVATE_FILE


@given(
    st.text(max_size=120)
    | damaged(b"ssh-ed25519 " + b"A" * 68).map(lambda data: data.decode("latin-1"))
)
def test_only_one_form_of_a_public_key_line_is_read(line):
    try:
        key = VerifyKey.from_openssh(line)
    except FormatError:
        return
    assert line.startswith(key.to_openssh())


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_signature_verifies_after_both_keys_went_through_their_files(seed, message):
    key = SigningKey(seed)
    signature = key.sign(message)
    assert SigningKey.from_openssh(key.to_openssh()).sign(message) == signature
    VerifyKey.from_openssh(key.verify_key.to_openssh("a comment")).verify(message, signature)


@given(secrets)
def test_an_identity_and_its_recipient_are_read_back(secret):
    identity = Identity(secret)
    assert Identity.parse(identity.reveal()) == identity
    assert check_recipient(identity.recipient) == identity.recipient
    theirs = pyrage.x25519.Identity.from_str(identity.reveal())
    assert (str(theirs), str(theirs.to_public())) == (identity.reveal(), identity.recipient)
    assert parse_typed_identity(identity.reveal().lower()) == identity


@given(st.text(max_size=100))
def test_other_text_is_no_identity_and_no_recipient(text):
    for parse in (Identity.parse, check_recipient, parse_typed_identity):
        try:
            parse(text)
        except FormatError:
            continue
        raise AssertionError(parse)


@given(secrets, st.text(max_size=200))
def test_a_kit_is_plain_text_whatever_the_name(secret, name):
    text = RecoveryKit(name, date(2026, 11, 21), Identity(secret)).text()
    assert text.isascii()
    assert max(map(len, text.splitlines())) == 80
