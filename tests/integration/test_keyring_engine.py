"""The programs that everybody has read and write our keys, and we theirs: age, age-keygen, ssh-keygen."""

import importlib.util
import shutil
import subprocess
from datetime import date

import pytest

from muniment.adapters.key_files import (
    IDENTITY,
    RECIPIENTS,
    SIGNING,
    SIGNING_PUBLIC,
    add_recipient,
    create_keys,
    load_identities,
    load_recipients,
    load_signing_key,
    new_identity,
    read_identities,
)
from muniment.adapters.private_files import create_file
from muniment.archive.keyring import Keyring, open_keyring, seal
from muniment.archive.recovery import RecoveryKit
from muniment.archive.signing import PrivateKeyHeader, SigningKey, VerifyKey
from muniment.errors import FormatError, KeyUnavailableError

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        not all(map(shutil.which, ("age", "age-keygen", "ssh-keygen"))),
        reason="needs age and ssh-keygen",
    ),
]
needs_bcrypt = pytest.mark.skipif(
    importlib.util.find_spec("bcrypt") is None, reason="passphrases need the package bcrypt"
)
COMMIT_ID = "20261121T101500Z-abcdefgh"
RING = Keyring(COMMIT_ID, bytes(range(1, 33)) * 5000).encode()


def run(*command, data=b"") -> bytes:
    return subprocess.run(command, input=data, check=True, capture_output=True, timeout=60).stdout


@pytest.fixture
def home(tmp_path):
    create_keys(tmp_path / "keys", "Memória Ñandú")
    return tmp_path / "keys"


def test_plain_age_opens_a_keyring_with_every_identity(tmp_path):
    keys = create_keys(tmp_path / "keys", "Org")
    (tmp_path / "keys.age").write_bytes(
        seal(RING, [known.key for known in load_recipients(tmp_path / "keys")])
    )
    assert run("age", "-d", "-i", tmp_path / "keys" / IDENTITY, tmp_path / "keys.age") == RING
    create_file(tmp_path / "recovery.txt", keys.recovery.reveal().encode() + b"\n")
    assert run("age", "-d", "-i", tmp_path / "recovery.txt", tmp_path / "keys.age") == RING


def test_a_keyring_sealed_by_age_opens_here(home):
    add_recipient(home, new_identity().recipient, "partner")
    sealed = run("age", "-R", home / RECIPIENTS, data=RING)
    assert sealed.count(b"-> X25519 ") == 3
    assert open_keyring(sealed, load_identities(home), 5000) == RING


def test_a_keyring_sealed_by_age_to_others_tells_what_it_shows(home, tmp_path):
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "theirs")
    sealed = run(
        "age",
        "-R",
        tmp_path / "theirs.pub",
        "-r",
        new_identity().recipient,
        "-r",
        new_identity().recipient,
        data=RING,
    )
    with pytest.raises(
        KeyUnavailableError, match="2 recipients of kind X25519 and 1 recipient of kind ssh-ed25519"
    ):
        open_keyring(sealed, load_identities(home))
    with pytest.raises(FormatError, match="binary age file"):
        open_keyring(run("age", "-a", "-R", home / RECIPIENTS, data=RING), load_identities(home))


def test_age_keygen_derives_the_same_recipient(home, tmp_path):
    assert run("age-keygen", "-y", home / IDENTITY).decode().split() == [
        load_recipients(home)[0].key
    ]
    for number in range(1, 6):
        raw = run("openssl", "rand", "32")
        create_file(tmp_path / f"{number}.key", raw)
        (identity,) = read_identities(tmp_path / f"{number}.key")
        create_file(tmp_path / f"{number}.txt", identity.reveal().encode() + b"\n")
        assert (
            run("age-keygen", "-y", tmp_path / f"{number}.txt").decode().strip()
            == identity.recipient
        )


def test_an_identity_file_of_age_keygen_is_taken_over(tmp_path):
    run("age-keygen", "-o", tmp_path / "age.txt")
    (tmp_path / "age.txt").chmod(0o600)
    create_keys(tmp_path / "keys", "Org", existing_identity=tmp_path / "age.txt")
    shown = run("age-keygen", "-y", tmp_path / "age.txt").decode().strip()
    assert load_recipients(tmp_path / "keys")[0].key == shown


def test_a_key_of_ssh_keygen_is_taken_over(tmp_path):
    run(
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        "org@example.org",
        "-f",
        tmp_path / "org",
    )
    create_keys(tmp_path / "keys", "Org", existing_signing=tmp_path / "org")
    key = load_signing_key(tmp_path / "keys")
    assert key.verify_key == VerifyKey.from_openssh((tmp_path / "org.pub").read_text())
    assert key.key_id == run("ssh-keygen", "-l", "-f", tmp_path / "org.pub").decode().split()[1]


def test_ssh_keygen_reads_our_files(home):
    key = load_signing_key(home)
    ours = (home / SIGNING_PUBLIC).read_text()
    assert (
        run("ssh-keygen", "-y", "-P", "", "-f", home / SIGNING).decode().split()[:2]
        == ours.split()[:2]
    )
    assert run("ssh-keygen", "-l", "-f", home / SIGNING_PUBLIC).decode().split()[1] == key.key_id
    assert ours.rstrip("\n").endswith(" Memória Ñandú")


def test_ssh_keygen_verifies_what_our_key_file_signs(home, tmp_path):
    """The file's secret half is what the public line says: OpenSSH signs with the one and verifies with the other."""
    (tmp_path / "message").write_bytes(b"message")
    run("ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", home / SIGNING, tmp_path / "message")
    (tmp_path / "allowed").write_text(
        "org " + load_signing_key(home).verify_key.to_openssh() + "\n"
    )
    run(
        *("ssh-keygen", "-Y", "verify", "-I", "org", "-n", "file"),
        *("-f", tmp_path / "allowed", "-s", tmp_path / "message.sig"),
        data=b"message",
    )


@pytest.mark.parametrize(("kind", "bits"), [("rsa", "2048"), ("ecdsa", "256")])
def test_other_kinds_of_keys_are_refused(tmp_path, kind, bits):
    run("ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-f", tmp_path / "other")
    with pytest.raises(FormatError, match="expected an ssh-ed25519 public key"):
        create_keys(tmp_path / "keys", "Org", existing_signing=tmp_path / "other")
    with pytest.raises(FormatError, match="public key line"):
        VerifyKey.from_openssh((tmp_path / "other.pub").read_text())
    assert not (tmp_path / "keys").exists()


@needs_bcrypt
@pytest.mark.parametrize("cipher", ["aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com"])
def test_a_locked_key_of_ssh_keygen_opens_with_its_passphrase(tmp_path, cipher):
    run(
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "correct horse",
        "-Z",
        cipher,
        "-f",
        tmp_path / "org",
    )
    data = (tmp_path / "org").read_bytes()
    expected = VerifyKey.from_openssh((tmp_path / "org.pub").read_text())
    assert PrivateKeyHeader.read(data) == PrivateKeyHeader(expected, encrypted=True)
    assert SigningKey.from_openssh(data, "correct horse").verify_key == expected
    with pytest.raises(KeyUnavailableError, match="does not open"):
        SigningKey.from_openssh(data, "wrong")
    create_keys(
        tmp_path / "keys", "Org", passphrase="correct horse", existing_signing=tmp_path / "org"
    )
    shown = run(
        "ssh-keygen", "-y", "-P", "correct horse", "-f", tmp_path / "keys" / SIGNING
    ).decode()
    assert VerifyKey.from_openssh(shown) == expected


def test_age_opens_with_what_the_printed_kit_tells(tmp_path):
    """Follows the kit's own words: the first line and all the others together, as the only line of a file."""
    identity = new_identity()
    lines = RecoveryKit("Org", date(2026, 11, 21), identity).text().splitlines()
    start = lines.index("    AGE-SECRET-KEY-1")
    typed = lines[start] + "".join(line.split(":")[1] for line in lines[start + 2 : start + 5])
    (tmp_path / "identity.txt").write_text(typed.replace(" ", "") + "\n")
    (tmp_path / "keys.age").write_bytes(seal(RING, [identity.recipient]))
    command = next(line.split() for line in lines if line.startswith("    age -d"))
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "keys.bin").read_bytes() == RING
