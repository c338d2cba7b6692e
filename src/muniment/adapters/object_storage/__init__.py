"""Object storages by name: a folder, or any S3 service. Each passes `muniment.testing.object_storage`."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from muniment.archive.backup import ObjectStorage
from muniment.errors import UsageError

__all__ = ["open_storage"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_storage(
    target: str, *, endpoint_url: str = "", region: str = "us-east-1", allow_http: bool = False
) -> ObjectStorage:
    """Open the storage that `target` names. Nothing is created and no connection is made yet.

    Args:
        target: A folder (a path, or `file:///path`), or `s3://bucket` with an optional `/prefix`.
        endpoint_url: Where the S3 service is, when it is not AWS.
        region: Region of the S3 service.
        allow_http: Accept an endpoint without TLS even outside of this machine and private networks.

    Raises:
        UsageError: The target or the endpoint makes no sense, or plain HTTP would cross a public network.
    """
    scheme = _SCHEME.match(target)
    if scheme is None or scheme[1] == "file":
        from muniment.adapters.object_storage.folder import FolderStorage  # noqa: PLC0415  # one or the other

        return FolderStorage(_folder(target))
    if scheme[1] != "s3":
        raise UsageError(f"backup target {target!r}: expected a folder or s3://bucket/prefix")
    from muniment.adapters.object_storage.s3 import S3Storage  # noqa: PLC0415  # boto3 is slow to import

    bucket, _, prefix = target.removeprefix("s3://").partition("/")
    return S3Storage(
        bucket, prefix, endpoint_url=endpoint_url, region=region, allow_http=allow_http
    )


def _folder(target: str) -> Path:
    if target.startswith("file://"):
        parts = urlsplit(target)
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"backup target {target!r}: expected a folder of this machine")
        target = unquote(parts.path)
    if not target or "\0" in target:
        raise UsageError("the backup target is empty: set it to a folder or to s3://bucket/prefix")
    return Path(target).expanduser()
