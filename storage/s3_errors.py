"""What an S3 failure means here: whose fault it is, and whether asking again may help."""

from __future__ import annotations

from typing import Any

from botocore import exceptions as boto

from starberg.storage.object_store import ObjectMissing
from starberg.utils.errors import (
    CredentialsError,
    LakeError,
    StarbergError,
    TransientError,
    Unreachable,
    UsageError,
)

# Codes as listed in Amazon S3's "Error responses" and MinIO's cmd/api-errors.go. A status decides where a code is
# unknown, but codes come first: expired keys are a 400, and one key of a batch delete has a code only.
_NOT_ALLOWED = {
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_LATER = {"InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}
_SPOILT = {"BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_WRONG_SETTING = {"AuthorizationHeaderMalformed", "InvalidBucketName", "PermanentRedirect"}

_NO_KEYS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.ProfileNotFound,
    boto.SSOError,
)
_CUT = (boto.ResponseStreamingError, boto.IncompleteReadError)
_NO_ANSWER = (boto.HTTPClientError, boto.ConnectionError)


def translated(error: Exception, failed: str) -> StarbergError:
    """Return our error for one of botocore's; `failed` says what failed and where."""
    if isinstance(error, boto.ClientError):
        return _answered(error, failed)
    message = f"{failed}: {error}"
    if isinstance(error, _NO_KEYS):
        return CredentialsError(message, hint="Set an access key and its secret, or sign in to AWS")
    if isinstance(error, _CUT):
        return TransientError(message)
    if isinstance(error, _NO_ANSWER):
        return Unreachable(message, hint="Check that the endpoint is right and running")
    return LakeError(message)


def _answered(error: boto.ClientError, failed: str) -> StarbergError:
    response: dict[str, Any] = dict(error.response)
    refusal = response.get("Error", {})
    code = refusal.get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{failed}: {code} {refusal.get('Message', '')}".rstrip(". ")
    if code == "NoSuchBucket":
        return UsageError(message, hint="Create the bucket, or correct the bucket's name in the settings")
    if code in _WRONG_SETTING:
        return UsageError(message, hint="Correct the bucket, region or endpoint in the settings")
    if code in _NOT_ALLOWED or status in (401, 403):
        return CredentialsError(message, hint="Check the access key, its secret and what its policy allows")
    if code in _SPOILT:
        return TransientError(message)
    if code in _LATER or status == 429 or status >= 500:
        return Unreachable(message)
    if status == 404:
        return ObjectMissing(message)
    return LakeError(message)
