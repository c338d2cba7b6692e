"""Tokens from an authority that `openssl ts` runs, and what `openssl ts -verify` says of the file that we write."""

import hashlib
import random
import shutil

import pytest

from muniment.adapters.rfc3161 import HttpTimestampAuthority, split_tokens, verify_tokens
from muniment.errors import ExternalServiceError, FormatError, IntegrityError, UsageError
from muniment.testing.loopback import LoopbackServer
from muniment.testing.timestamp_authority import OpensslAuthority

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program"),
]

TIMEOUT_S = 20
MANIFEST = b'{"commit":1}'
DIGEST = hashlib.sha256(MANIFEST).digest()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return OpensslAuthority(tmp_path_factory.mktemp("authority"), "First authority")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    return OpensslAuthority(tmp_path_factory.mktemp("other"), "Second authority")


def token_of(authority, message=MANIFEST):
    with LoopbackServer(authority.respond) as server:
        return HttpTimestampAuthority(server.url, TIMEOUT_S).request(message)


@pytest.fixture(scope="module")
def token(authority):
    return token_of(authority)


@pytest.fixture(scope="module")
def other_token(other_authority):
    return token_of(other_authority)


def openssl_accepts(authority, folder, data, manifest=MANIFEST):
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "manifest.json.tsr").write_bytes(data)
    files = ["-data", folder / "manifest.json", "-in", folder / "manifest.json.tsr"]
    roots = ["-CAfile", authority.folder / "root.pem"]
    done = authority.openssl("ts", "-verify", *map(str, files + roots), check=False)
    return done.returncode == 0 and "Verification: OK" in done.stdout + done.stderr


def test_a_token_is_asked_for_and_verified(authority, token, tmp_path):
    check = verify_tokens(token, DIGEST, authority.root_pem)
    assert [verified.authority for verified in check.verified] == ["CN=First authority"]
    assert check.verified[0].time.utcoffset().total_seconds() == 0
    assert not check.unverified
    assert openssl_accepts(authority, tmp_path, token)
    assert not openssl_accepts(authority, tmp_path, token, manifest=b"another")


@pytest.mark.parametrize(
    "chain", [("root", "intermediate"), ("intermediate", "root"), ("intermediate",)]
)
def test_the_order_of_the_certificates_does_not_matter(authority, chain):
    authority.set_chain(*chain)
    check = verify_tokens(token_of(authority), DIGEST, authority.root_pem)
    assert len(check.verified) == 1


def test_tokens_of_several_authorities(authority, other_authority, token, other_token, tmp_path):
    both = token + other_token
    assert split_tokens(both) == [token, other_token]
    assert openssl_accepts(authority, tmp_path, both)
    check = verify_tokens(both, DIGEST, authority.root_pem + other_authority.root_pem)
    assert [verified.authority for verified in check.verified] == [
        "CN=First authority",
        "CN=Second authority",
    ]
    check = verify_tokens(both, DIGEST, other_authority.root_pem)
    assert [verified.authority for verified in check.verified] == ["CN=Second authority"]
    assert check.unverified[0].startswith("token 1: ")


def test_unknown_roots_vouch_for_nothing(other_authority, token):
    with pytest.raises(IntegrityError, match="no timestamp token holds under the given roots"):
        verify_tokens(token, DIGEST, other_authority.root_pem)


def test_a_token_of_another_file_is_invalid(authority, token):
    with pytest.raises(IntegrityError, match="about another file: expected sha256 0000"):
        verify_tokens(token, bytes(32), authority.root_pem)


@pytest.mark.parametrize("roots", [b"", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_roots_have_to_be_given(token, roots):
    with pytest.raises(UsageError, match="root certificates"):
        verify_tokens(token, DIGEST, roots)


def test_damage_is_noticed_or_harmless(authority, token):
    """Bytes outside of what is signed, such as spare certificates, may change; the claim may not."""
    claim = verify_tokens(token, DIGEST, authority.root_pem).verified
    rng = random.Random(3161)
    rejected = 0
    for position in range(len(token)):
        changed = bytearray(token)
        changed[position] ^= 1 << rng.randrange(8)
        try:
            assert verify_tokens(bytes(changed), DIGEST, authority.root_pem).verified == claim
        except IntegrityError:
            rejected += 1
    assert rejected > len(token) // 2


def test_truncation_is_noticed(authority, token):
    for length in range(0, len(token), 31):
        with pytest.raises(FormatError):
            verify_tokens(token[:length], DIGEST, authority.root_pem)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x80",
        b"\x30\x00",
        b"\x31\x00",
        b"\x30\x85\0\0\0\0\1\0",
        bytes(2_000_000),
    ],
)
def test_other_bytes_are_no_tokens(authority, data):
    with pytest.raises(FormatError):
        verify_tokens(data, DIGEST, authority.root_pem)


def test_too_many_tokens(authority, token):
    assert len(verify_tokens(token * 16, DIGEST, authority.root_pem).verified) == 16
    with pytest.raises(FormatError, match="1 to 16"):
        verify_tokens(token * 17, DIGEST, authority.root_pem)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, b"", "HTTP status 503"),
        (200, b"<html>", "expected"),
        (200, bytes.fromhex("30053003020102"), "status 2"),
        (200, bytes(70_000), "more than 65536 bytes"),
    ],
)
def test_an_authority_that_fails_is_named(status, body, reason):
    with LoopbackServer(lambda *_: (status, {}, [body])) as server:
        asked = HttpTimestampAuthority(server.url.replace("//", "//user:secret@"), TIMEOUT_S)
        with pytest.raises(ExternalServiceError, match=f"{server.url}.*{reason}") as caught:
            asked.request(MANIFEST)
    assert "secret" not in str(caught.value)


def test_an_answer_about_something_else_is_refused(authority, token):
    with LoopbackServer(lambda *_: (200, {}, [token])) as server:
        asked = HttpTimestampAuthority(server.url, TIMEOUT_S)
        with pytest.raises(ExternalServiceError, match="nonce differs"):
            asked.request(MANIFEST)
        with pytest.raises(ExternalServiceError, match="about another file"):
            asked.request(b"another manifest")
