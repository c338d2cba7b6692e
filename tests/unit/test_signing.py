"""The signing key: RFC 8032's own vectors, OpenSSH's files, and hostile ones."""

import base64
import importlib.util
import struct
import subprocess
import sys

import pytest

from muniment.archive.signing import MAX_KDF_ROUNDS, PrivateKeyHeader, SigningKey, VerifyKey
from muniment.errors import FormatError, KeyUnavailableError, SignatureError

# RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
KEY = SigningKey(bytes(range(32)))
LINE = KEY.verify_key.to_openssh("archive@example.org")
needs_bcrypt = pytest.mark.skipif(
    importlib.util.find_spec("bcrypt") is None, reason="passphrases need the package bcrypt"
)


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_the_vectors_of_rfc_8032(seed, public, message, signature):
    key = SigningKey(bytes.fromhex(seed))
    assert bytes(key.verify_key).hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    key.verify_key.verify(bytes.fromhex(message), bytes.fromhex(signature))


def test_another_message_signature_or_key_does_not_verify():
    signature = KEY.sign(b"message")
    other = SigningKey(bytes(32)).verify_key
    for key, message, claimed in [
        (KEY.verify_key, b"messagf", signature),
        (KEY.verify_key, b"message", bytes([signature[0] ^ 1]) + signature[1:]),
        (KEY.verify_key, b"message", signature[:-1]),
        (KEY.verify_key, b"message", b""),
        (KEY.verify_key, b"essage", signature + b"m"),
        (other, b"message", signature),
    ]:
        with pytest.raises(SignatureError):
            key.verify(message, claimed)


def test_a_public_key_line_is_read_back_with_its_fingerprint():
    key = VerifyKey.from_openssh(LINE + "\n")
    assert key == KEY.verify_key
    assert key.key_id == KEY.key_id
    assert key.key_id.startswith("SHA256:")
    assert VerifyKey.from_openssh(KEY.verify_key.to_openssh()) == key
    assert KEY.verify_key.to_openssh("a\nb") == KEY.verify_key.to_openssh() + " a b"


def _line(wire: bytes) -> str:
    return "ssh-ed25519 " + base64.b64encode(wire).decode()


ALGORITHM = struct.pack(">I", 11) + b"ssh-ed25519"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-rsa " + LINE.split()[1],
        "ssh-ed25519  " + LINE.split()[1],
        "command=x " + LINE,
        LINE + "\n" + LINE,
        "ssh-ed25519 " + LINE.split()[1][:-1],
        "ssh-ed25519 " + LINE.split()[1] + "====",
        "ssh-ed25519 é" + LINE.split()[1],
        "ssh-ed25519 \ud800",
        _line(ALGORITHM),
        _line(ALGORITHM + struct.pack(">I", 31) + bytes(31)),
        _line(ALGORITHM + struct.pack(">I", 32) + bytes(33)),
        _line(ALGORITHM + struct.pack(">I", 2**32 - 1) + bytes(32)),
        LINE + " " * 10_000,
    ],
)
def test_another_line_is_rejected(line):
    with pytest.raises(FormatError):
        VerifyKey.from_openssh(line)


def test_a_private_key_file_is_read_back_without_a_passphrase():
    data = KEY.to_openssh()
    assert PrivateKeyHeader.read(data) == PrivateKeyHeader(KEY.verify_key, encrypted=False)
    assert SigningKey.from_openssh(data).sign(b"x") == KEY.sign(b"x")
    assert SigningKey.from_openssh(data, "not needed").sign(b"x") == KEY.sign(b"x")


@needs_bcrypt
def test_a_passphrase_locks_a_private_key_file():
    data = KEY.to_openssh("Zwölf Boxkämpfer")
    assert PrivateKeyHeader.read(data) == PrivateKeyHeader(KEY.verify_key, encrypted=True)
    assert SigningKey.from_openssh(data, "Zwölf Boxkämpfer").sign(b"x") == KEY.sign(b"x")
    with pytest.raises(KeyUnavailableError, match="locked by a passphrase"):
        SigningKey.from_openssh(data)
    with pytest.raises(KeyUnavailableError, match="wrong passphrase"):
        SigningKey.from_openssh(data, "Zwolf Boxkampfer")


def test_secrets_do_not_show():
    assert repr(KEY) == f"SigningKey({KEY.key_id})"
    assert repr(KEY.verify_key) == f"VerifyKey({KEY.key_id})"


def _private(
    cipher=b"none", kdf=b"none", options=b"", count=1, public=None, rest=b"\0\0\0\0"
) -> bytes:
    def string(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    public = ALGORITHM + string(bytes(KEY.verify_key)) if public is None else public
    body = b"openssh-key-v1\0" + string(cipher) + string(kdf) + string(options)
    body += struct.pack(">I", count) + string(public) + rest
    return (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
        + base64.b64encode(body)
        + b"\n-----END OPENSSH PRIVATE KEY-----\n"
    )


def _options(rounds: int) -> bytes:
    return struct.pack(">I", 16) + bytes(16) + struct.pack(">I", rounds)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN OPENSSH PRIVATE KEY-----",
        b"-----BEGIN OPENSSH PRIVATE KEY----------END OPENSSH PRIVATE KEY-----",
        b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        _private(),
        _private(rest=b""),
        _private(count=0),
        _private(count=2),
        _private(public=struct.pack(">I", 7) + b"ssh-rsa"),
        _private(kdf=b"scrypt"),
        _private(b"aes256-ctr", b"bcrypt", b""),
        _private(b"aes256-ctr", b"bcrypt", _options(MAX_KDF_ROUNDS + 1)),
        KEY.to_openssh().replace(b"b3B", b"b3C"),
        KEY.to_openssh() + b"\n" * 100_000,
    ],
)
def test_another_private_key_file_is_rejected(data):
    with pytest.raises(FormatError):
        SigningKey.from_openssh(data, "passphrase")


def test_a_cut_private_key_file_is_rejected_wherever_it_is_cut():
    body = base64.b64decode(b"".join(KEY.to_openssh().splitlines()[1:-1]))
    for length in range(0, len(body), 3):
        cut = base64.b64encode(body[:length])
        with pytest.raises(FormatError):
            SigningKey.from_openssh(
                b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
                + cut
                + b"\n-----END OPENSSH PRIVATE KEY-----\n"
            )


def test_a_file_whose_public_half_is_another_keys_is_rejected():
    body = base64.b64decode(b"".join(KEY.to_openssh().splitlines()[1:-1]))
    other = bytes(SigningKey(bytes(32)).verify_key)
    assert body.count(bytes(KEY.verify_key)) == 3
    forged = base64.b64encode(body.replace(bytes(KEY.verify_key), other))
    with pytest.raises(FormatError, match="its secret is of"):
        SigningKey.from_openssh(
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
            + forged
            + b"\n-----END OPENSSH PRIVATE KEY-----\n"
        )


def test_importing_the_key_modules_stays_light():
    program = (
        "import sys, muniment.archive.signing, muniment.archive.keyring, muniment.archive.recovery;"
        "import muniment.adapters.key_files;"
        "print([name for name in ('cryptography', 'segno') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
