"""Any S3 service as object storage: SeaweedFS, Garage, MinIO, AWS.

Each object is sent together with its SHA-256, which a current service checks, stores and tells again: so the digest that
the signed manifest names is the one that the service verified. Services that do not know that checksum, or conditional
writes, are used without; what they hold is then read back.
"""

# boto3 has no types:
# mypy: disable-error-code="import-untyped,import-not-found"

import base64
import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from muniment.adapters.object_storage.s3_address import check_bucket, check_endpoint, check_prefix
from muniment.adapters.object_storage.s3_errors import error_code, explain
from muniment.archive.backup import ObjectInfo, check_key
from muniment.errors import ConflictError, IntegrityError, NotFoundError

BLOCK_BYTES = 1 << 20
SINGLE_PUT_BYTES_MAX = 64 << 20
"""Larger objects go in parts. A default chunk is smaller: one request, and one checksum over all of it."""
PART_BYTES = 16 << 20
PARTS_MAX = 10_000  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
ATTEMPTS = 6
"""Tries of one request, throttling included, with exponential backoff: about half a minute in all."""

_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_ABSENT = ("NoSuchKey", "NotFound", "404")
_PAST_THE_END = ("InvalidRange", "416")
_Parts = list[dict[str, Any]]

_UNSUPPORTED = ("NotImplemented", "InvalidArgument", "501")


class S3Storage:
    """Objects in a bucket, below an optional prefix.

    Credentials come from where every S3 program finds them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or a profile
    (`AWS_PROFILE`) of `~/.aws/credentials`, or the machine's role. They are neither stored nor logged here.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str = "",
        region: str = "us-east-1",
        allow_http: bool = False,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._bucket = check_bucket(bucket)
        self._prefix = check_prefix(prefix)
        self._attempts = attempts
        self._plain = False  # the service refused checksums or conditions: go without
        if endpoint_url:
            check_endpoint(endpoint_url, allow_http=allow_http)
        self._endpoint = endpoint_url or "AWS"
        with self._explained():
            self._client = _connect(endpoint_url, region, attempts)
        self._endpoint = str(self._client.meta.endpoint_url)  # may come from the environment
        check_endpoint(self._endpoint, allow_http=allow_http)

    def put(
        self, key: str, stream: BinaryIO, size: int, sha256: str, *, replace: bool = False
    ) -> None:
        """Store an object (see `ObjectStorage.put`)."""
        place = self._place(key)
        condition = {} if replace else {"IfNoneMatch": "*"}
        with self._explained(key):
            try:
                if size <= SINGLE_PUT_BYTES_MAX:
                    self._put_whole(place, stream, size, sha256, condition)
                else:
                    self._put_parts(place, stream, size, sha256, condition)
            except Exception as error:
                if error_code(error) in _EXISTS:
                    raise ConflictError(f"{key} exists already; it was left as it is") from error
                raise

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object (see `ObjectStorage.head`)."""
        with self._explained(key):
            try:
                answer = self._client.head_object(**self._place(key), ChecksumMode="ENABLED")
            except Exception as error:
                if error_code(error) in _ABSENT:
                    return None
                raise
        metadata = {name.lower(): text for name, text in answer.get("Metadata", {}).items()}
        recorded = metadata.get("sha256", "")
        return ObjectInfo(
            size=answer["ContentLength"],
            etag=answer.get("ETag"),
            store_sha256=_whole_sha256(answer),
            recorded_sha256=recorded if _HEX_SHA256.fullmatch(recorded) else None,
        )

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read an object (see `ObjectStorage.get`), going on where a broken connection ended."""
        end = None if length is None else offset + length
        condition: dict[str, str] = {}
        failures = 0
        with self._explained(key):
            while end is None or offset < end:
                last = "" if end is None else str(end - 1)
                body = self._open(key, f"bytes={offset}-{last}", condition)
                try:
                    for block in body.iter_chunks(BLOCK_BYTES) if body else ():
                        offset, failures = offset + len(block), 0
                        yield block
                except _broken_stream():
                    failures += 1
                    if failures >= self._attempts:
                        raise
                    time.sleep(0.1 * 2**failures)
                else:
                    return

    def list(self, prefix: str) -> Iterator[str]:
        """Iterate over keys (see `ObjectStorage.list`)."""
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """Remove an object (see `ObjectStorage.delete`). In a bucket with versions, the old versions stay."""
        with self._explained(key):
            self._client.delete_object(**self._place(key))

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    @contextmanager
    def _explained(self, key: str = "") -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # slow to import

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            where = f"S3 service {self._endpoint} ({'/'.join(filter(None, (self._bucket, key)))})"
            raise explain(error, where) from error

    def _put_whole(
        self,
        place: dict[str, str],
        stream: BinaryIO,
        size: int,
        sha256: str,
        condition: dict[str, str],
    ) -> None:
        data = _read_up_to(stream, size + 1)
        _check_content(place["Key"], len(data), hashlib.sha256(data).hexdigest(), size, sha256)
        checksum = {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()}
        self._call(
            "put_object", {**checksum, **condition}, **place, **_described(sha256), Body=data
        )

    def _put_parts(
        self,
        place: dict[str, str],
        stream: BinaryIO,
        size: int,
        sha256: str,
        condition: dict[str, str],
    ) -> None:
        started = self._call(
            "create_multipart_upload",
            {"ChecksumAlgorithm": "SHA256"},
            **place,
            **_described(sha256),
        )
        upload = {**place, "UploadId": started["UploadId"]}
        try:
            parts = self._send_parts(upload, stream, size, sha256)
            self._call(
                "complete_multipart_upload", condition, **upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:  # parts that no object refers to would be kept, and paid for
            with suppress(Exception):
                self._client.abort_multipart_upload(**upload)
            raise

    def _send_parts(
        self, upload: dict[str, str], stream: BinaryIO, size: int, sha256: str
    ) -> _Parts:
        part_bytes = max(PART_BYTES, -(-size // PARTS_MAX))
        parts: _Parts = []
        digest, sent_bytes = hashlib.sha256(), 0
        while sent_bytes <= size and (data := _read_up_to(stream, part_bytes)):
            digest.update(data)
            sent_bytes += len(data)
            checksum = {"ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
            part = {"PartNumber": len(parts) + 1}
            answer = self._call("upload_part", checksum, **upload, **part, Body=data)
            parts.append({**part, "ETag": answer["ETag"], **({} if self._plain else checksum)})
        _check_content(upload["Key"], sent_bytes, digest.hexdigest(), size, sha256)
        return parts

    def _call(self, operation: str, optional: dict[str, str], **parameters: Any) -> Any:  # noqa: ANN401  # untyped API
        """Call the service, without the optional parameters if it does not know such."""
        call = getattr(self._client, operation)
        if not self._plain:
            try:
                return call(**parameters, **optional)
            except Exception as error:
                if not optional or error_code(error) not in _UNSUPPORTED:
                    raise
            self._plain = True
        if "IfNoneMatch" in optional and self._exists(parameters["Key"]):
            raise ConflictError(f"{parameters['Key']} exists already; it was left as it is")
        return call(**parameters)

    def _exists(self, full_key: str) -> bool:
        return self.head(full_key.removeprefix(self._prefix)) is not None

    def _open(self, key: str, range_: str, condition: dict[str, str]) -> Any:  # noqa: ANN401  # untyped API
        try:
            answer = self._client.get_object(**self._place(key), Range=range_, **condition)
        except Exception as error:
            if error_code(error) in _PAST_THE_END:
                return None
            if error_code(error) in _ABSENT:
                raise NotFoundError(f"{key} is not in bucket {self._bucket}") from error
            if error_code(error) in _EXISTS:
                raise IntegrityError(f"{key} was replaced while it was read; run again") from error
            raise
        condition["IfMatch"] = answer["ETag"]
        return answer["Body"]


def _connect(endpoint_url: str, region: str, attempts: int) -> Any:  # noqa: ANN401  # boto3 has no types
    import boto3  # noqa: PLC0415  # a third of a second
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        request_checksum_calculation="when_required",  # SHA-256 is sent; CRC32 beside it upsets older services
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint_url or None, region_name=region or None, config=config
    )


def _broken_stream() -> tuple[type[Exception], ...]:
    from botocore import exceptions  # noqa: PLC0415  # slow to import

    return (
        exceptions.ReadTimeoutError,
        exceptions.ResponseStreamingError,
        exceptions.IncompleteReadError,
        exceptions.ConnectionError,
    )


def _described(sha256: str) -> dict[str, Any]:
    return {"Metadata": {"sha256": sha256}, "ContentType": "application/octet-stream"}


def _read_up_to(stream: BinaryIO, size: int) -> bytes:
    blocks, missing_bytes = [], size
    while missing_bytes and (block := stream.read(missing_bytes)):
        blocks.append(block)
        missing_bytes -= len(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _check_content(
    key: str, size: int, sha256: str, size_expected: int, sha256_expected: str
) -> None:
    if size != size_expected or sha256 != sha256_expected:
        raise IntegrityError(
            f"the local file for {key} changed: its size or SHA-256 is not the expected one"
        )


def _whole_sha256(answer: dict[str, Any]) -> str | None:
    """Return the service's SHA-256 of the whole content as hex; a checksum made of parts' checksums is not one."""
    text = answer.get("ChecksumSHA256", "")
    if "-" in text or answer.get("ChecksumType") == "COMPOSITE":
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == hashlib.sha256().digest_size else None
