"""The test vectors of docs/spec/keys.md, which other implementations hold themselves against."""

import base64
import json
from pathlib import Path

import pytest

from muniment.archive.age_keys import Identity, check_recipient
from muniment.archive.keyring import Keyring, open_keyring
from muniment.archive.signing import SigningKey, VerifyKey
from muniment.errors import FormatError, KeyUnavailableError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "keys" / "keys.json").read_bytes())


def test_the_identity():
    vector = VECTORS["identity"]
    identity = Identity(bytes.fromhex(vector["secret_hex"]))
    assert identity.reveal() == vector["identity"]
    assert identity.recipient == vector["recipient"]
    assert Identity.parse(vector["identity"]) == identity


def test_the_keyring():
    vector = VECTORS["keyring"]
    identity = Identity.parse(VECTORS["identity"]["identity"])
    opened = open_keyring(base64.b64decode(vector["keys_age_base64"]), [identity])
    assert opened.hex() == vector["plaintext_hex"]
    ring = Keyring.decode(opened, vector["commit_id"])
    assert len(ring) == len(vector["keys_hex"])
    for leaf, key_hex in enumerate(vector["keys_hex"]):
        if key_hex is None:
            with pytest.raises(KeyUnavailableError):
                ring.key(leaf)
        else:
            assert ring.key(leaf).hex() == key_hex


def test_the_signing_key():
    vector = VECTORS["signing"]
    key = SigningKey.from_openssh(vector["private_file"].encode())
    assert bytes(key.verify_key).hex() == vector["public_key_hex"]
    assert key.verify_key == SigningKey(bytes.fromhex(vector["seed_hex"])).verify_key
    assert VerifyKey.from_openssh(vector["public_line"]) == key.verify_key
    assert key.key_id == vector["key_id"]
    assert key.sign(vector["message"].encode()).hex() == vector["signature_hex"]


@pytest.mark.parametrize("why", VECTORS["rejected"]["keyring_plaintext_hex"])
def test_a_keyring_that_must_be_rejected(why):
    data = bytes.fromhex(VECTORS["rejected"]["keyring_plaintext_hex"][why])
    with pytest.raises(FormatError):
        Keyring.decode(data, VECTORS["keyring"]["commit_id"])


@pytest.mark.parametrize("why", VECTORS["rejected"]["recipient"])
def test_a_recipient_that_must_be_rejected(why):
    with pytest.raises(FormatError):
        check_recipient(VECTORS["rejected"]["recipient"][why])
