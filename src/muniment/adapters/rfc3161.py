"""RFC 3161 timestamp tokens: ask an authority for one, and verify what `manifest.json.tsr` holds.

The file is one or more DER `TimeStampResp`, one behind the other, exactly as the authorities sent them. The usual tool,
`openssl ts -verify -data manifest.json -in manifest.json.tsr -CAfile roots.pem`, checks the first.

A token is an authority's signed word for a time. It needs no block chain and no waiting, but it is worth as much as
the authority, its key and the root certificates that the reader trusts.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from muniment.adapters.bounded_http import exchange, without_credentials
from muniment.errors import ExternalServiceError, FormatError, IntegrityError, UsageError

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

MAX_TOKEN_BYTES = 64 * 1024
"""Of one response; real ones take 2 to 8 KiB, most of it certificates."""
MAX_TOKENS = 16

_SHA256_OID = "2.16.840.1.101.3.4.2.1"
_SEQUENCE = 0x30
_CERTIFICATES = 0xA0


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """An authority, by its certificate's subject, has signed that the bytes existed at `time`."""

    time: datetime
    authority: str


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """The tokens that the given roots vouch for, at least one, and why the others are not among them."""

    verified: tuple[VerifiedToken, ...]
    unverified: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HttpTimestampAuthority:
    """The RFC 3161 authority at `url`."""

    url: str
    timeout_s: float

    @property
    def _name(self) -> str:
        return f"timestamp authority {without_credentials(self.url)}"

    def request(self, message: bytes) -> bytes:
        """Return the authority's DER `TimeStampResp` over the SHA-256 of `message`.

        Raises:
            ExternalServiceError: The authority cannot be reached, refuses, or answers about something else.
        """
        from rfc3161_client import (  # noqa: PLC0415  # a compiled module that few commands need
            HashAlgorithm,
            TimestampRequestBuilder,
        )

        builder = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256)
        query = builder.build()
        answer = exchange(
            "POST",
            self.url,
            timeout_s=self.timeout_s,
            max_bytes=MAX_TOKEN_BYTES,
            headers={"content-type": "application/timestamp-query"},
            content=query.as_bytes(),
        )
        if answer.status != 200:
            raise ExternalServiceError(f"{self._name} answered with HTTP status {answer.status}")
        try:
            response = _parse(answer.body)
            _verify_imprint(response, hashlib.sha256(message).digest())
        except IntegrityError as error:
            raise ExternalServiceError(f"{self._name}: {error}") from error
        if response.tst_info.nonce != query.nonce:
            raise ExternalServiceError(f"{self._name} answered another request: its nonce differs")
        return answer.body


def verify_tokens(data: bytes, digest: bytes, roots_pem: bytes) -> TokenCheck:
    """Check the content of a `.tsr` file for the SHA-256 `digest` against trusted root certificates.

    Certificates need to have been valid at the time in the token, not now.

    Raises:
        UsageError: `roots_pem` holds no certificate.
        FormatError: `data` is not a series of responses that grant a token.
        IntegrityError: A token is about another digest, or the roots vouch for none of them.
    """
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415  # few commands need it
    from rfc3161_client import VerifierBuilder  # noqa: PLC0415  # likewise

    try:
        builder = VerifierBuilder(roots=load_pem_x509_certificates(roots_pem))
    except ValueError as error:
        raise UsageError("the root certificates are not in PEM form, or there is none") from error
    verifier = builder.build()
    verified: list[VerifiedToken] = []
    unverified: list[str] = []
    for number, token in enumerate(split_tokens(data), start=1):
        response = _parse(token)
        _verify_imprint(response, digest)
        try:
            verifier.verify(response, digest)
            verified.append(VerifiedToken(response.tst_info.gen_time, _signer(response)))
        except Exception as error:  # noqa: BLE001  # hostile bytes: X.509 code raises whatever it likes
            unverified.append(f"token {number}: {error}")
    if not verified:
        raise IntegrityError(f"no timestamp token holds under the given roots: {unverified}")
    return TokenCheck(tuple(verified), tuple(unverified))


def _parse(token: bytes) -> "TimeStampResponse":
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415  # as above

    ordered = _with_sorted_certificates(token)
    try:
        response = decode_timestamp_response(ordered)
        status, reasons = response.status, response.status_string
    except Exception as error:  # as above
        raise FormatError(f"expected an RFC 3161 response, got other bytes: {error}") from error
    if status != 0:  # RFC 3161 section 2.4.2: granted as asked for
        raise FormatError(f"expected a granted timestamp, got status {status}: {reasons}")
    try:
        response.tst_info.message_imprint  # noqa: B018  # read only when first used
    except Exception as error:  # as above
        raise FormatError(f"expected a timestamp token, got other bytes: {error}") from error
    return response


def _verify_imprint(response: "TimeStampResponse", digest: bytes) -> None:
    imprint = response.tst_info.message_imprint
    if imprint.hash_algorithm.dotted_string != _SHA256_OID or imprint.message != digest:
        raise IntegrityError(
            f"the timestamp token is about another file: expected sha256 {digest.hex()}, "
            f"got {imprint.hash_algorithm.dotted_string} {imprint.message.hex()}"
        )


def _signer(response: "TimeStampResponse") -> str:
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415  # as above

    (signer,) = response.signed_data.signer_infos
    for der in response.signed_data.certificates:
        certificate = load_der_x509_certificate(der)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            return certificate.subject.rfc4514_string()
    raise ValueError("the signer's certificate is not in the token")


class _Element(NamedTuple):
    """Where one DER element lies: its tag, its start, its content, its end."""

    tag: int
    start: int
    content: int
    end: int


def split_tokens(data: bytes) -> list[bytes]:
    """Return the responses that a `.tsr` file holds.

    Raises:
        FormatError: It is not a series of 1 to 16 DER sequences, each of at most 64 KiB.
    """
    if len(data) > MAX_TOKENS * MAX_TOKEN_BYTES:
        raise FormatError(f"expected timestamp tokens, got {len(data)} bytes")
    elements = list(_elements(data, 0, len(data)))
    if not 1 <= len(elements) <= MAX_TOKENS:
        raise FormatError(f"expected 1 to {MAX_TOKENS} timestamp tokens, got {len(elements)}")
    for element in elements:
        if element.tag != _SEQUENCE or element.end - element.start > MAX_TOKEN_BYTES:
            raise FormatError("expected timestamp tokens that are DER sequences of at most 64 KiB")
    return [data[element.start : element.end] for element in elements]


def _elements(data: bytes, start: int, end: int) -> Iterator[_Element]:
    """Yield the DER elements (X.690, definite lengths, one-byte tags) that fill `data[start:end]`."""
    while start < end:
        header = data[start : min(start + 6, end)]
        content = start + 2
        length = header[1] if len(header) > 1 else -1
        if length > 0x80:
            length_bytes = header[2 : 2 + (length & 0x7F)]
            content += length & 0x7F
            length = int.from_bytes(length_bytes, "big")
        if length < 0 or length == 0x80 or content + length > end or content - start > 6:
            raise FormatError("expected DER elements in a timestamp token, got other bytes")
        yield _Element(data[start], start, content, content + length)
        start = content + length


def _with_sorted_certificates(token: bytes) -> bytes:
    """Return the response with its certificates in DER's order for sets.

    Authorities list them as they like, signer first, and the parser insists on the order. They are outside of what is
    signed, and sorting them changes no length.
    """
    parent = next(_elements(token, 0, len(token)), None)
    for position in (1, 1, 0):  # TimeStampResp.timeStampToken, ContentInfo.content, SignedData
        children = list(_elements(token, parent.content, parent.end)) if parent else []
        parent = children[position] if position < len(children) else None
    for field in _elements(token, parent.content, parent.end) if parent else ():
        if field.tag == _CERTIFICATES:
            certificates = _elements(token, field.content, field.end)
            ordered = sorted(token[element.start : element.end] for element in certificates)
            return token[: field.content] + b"".join(ordered) + token[field.end :]
    return token
