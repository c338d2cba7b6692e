"""What an S3 service's errors mean, and what to do about them."""

from typing import Any

from muniment.errors import ExternalServiceError, MunimentError

_CREDENTIALS = (
    "refused the credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), "
    "and this machine's clock"
)
_FULL = "has no space left; what was reported stored is safe: free space or raise its quota, and run again"
_BUSY = "asked for fewer requests for too long; run again later: what was sent stays"
_PERMISSION = "refused access; give this key the rights to list, read and write in the bucket, and check its name and the credentials"
_REGION = "serves this bucket in another region or under another address; set s3_region and s3_endpoint_url"
_ADVICE = {
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "RequestTimeTooSkewed": "says that this machine's clock is wrong; set it and run again",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AccessDenied": _PERMISSION,
    "AllAccessDisabled": _PERMISSION,
    "403": _PERMISSION,
    "NoSuchBucket": "has no such bucket; create it first, or correct its name",
    "InvalidBucketName": "does not accept this bucket's name; correct it",
    "InsufficientStorage": _FULL,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "507": _FULL,
    "SlowDown": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "TooManyRequests": _BUSY,
    "ServiceUnavailable": _BUSY,
    "503": _BUSY,
    "429": _BUSY,
}
_TRANSPORT = {  # names of botocore's exceptions: importing them takes long
    "NoCredentialsError": "needs credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "PartialCredentialsError": "needs credentials; set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "cannot be used; AWS_PROFILE names a profile that is not in ~/.aws",
    "SSLError": "has no valid TLS certificate, or does not speak TLS; if its authority is your own, set AWS_CA_BUNDLE",
    "EndpointConnectionError": "cannot be reached; check s3_endpoint_url and that it runs; nothing was lost",
    "ConnectTimeoutError": "does not answer; check s3_endpoint_url and the network; nothing was lost",
    "ReadTimeoutError": "stopped answering; run again: what was reported stored stays",
    "ProxyConnectionError": "cannot be reached through the proxy; check HTTPS_PROXY",
}
_TEXT_CHARACTERS_MAX = 200


def error_code(error: BaseException) -> str:
    """Return the code of an S3 error, or its HTTP status where there is none; empty for any other exception."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def explain(error: Exception, where: str) -> MunimentError:
    """Return the error for a user: what failed `where`, and what to do next. Names no credential."""
    response: Any = getattr(error, "response", None)
    if not isinstance(response, dict):
        advice = _TRANSPORT.get(type(error).__name__) or f"failed: {_clean(str(error))}; run again"
        return ExternalServiceError(f"{where} {advice}")
    code = error_code(error)
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    known = _ADVICE.get(code) or _ADVICE.get(status)
    if known:
        return ExternalServiceError(f"{where} {known} [{_clean(code)}]")
    message = _clean(str(response.get("Error", {}).get("Message", "")))
    return ExternalServiceError(
        f"{where} failed with {_clean(code)}: {message}; run again; if it stays, see the service's log"
    )


def _clean(text: str) -> str:
    """Keep a stranger's text on one line, printable and short."""
    return "".join(c if c.isprintable() else " " for c in text[:_TEXT_CHARACTERS_MAX])
