"""What botocore's errors mean to us; their own texts are not repeated, for they can carry ids."""

from __future__ import annotations

import botocore.exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import StorageError
from pipeline.storage import AccessDenied, NotFound, PreconditionFailed

CONFLICT = "ConditionalRequestConflict"
_DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.NoAuthTokenError,
)
_UNREACHABLE = (boto.HTTPClientError, boto.ConnectionError, boto.ResponseStreamingError)


def status(error: ClientError) -> int:
    """Return the HTTP status of an answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: ClientError) -> str:
    """Return the server's own code of an answer, for instance ``NoSuchKey``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def translate(error: ClientError | BotoCoreError | OSError, where: str) -> StorageError:
    """Return the typed error for what botocore raised, without its text."""
    if isinstance(error, ClientError):
        return _translate_answer(error, where)
    kind = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(
            f"there are no usable credentials ({kind})",
            where=where,
            fix="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or an instance role",
        )
    if isinstance(error, (*_UNREACHABLE, OSError)):
        return StorageError(
            f"the storage server cannot be reached or broke off ({kind})",
            where=where,
            fix="Check endpoint_url and the network, then run again: finished work is kept",
        )
    return StorageError(
        f"the storage client refused the request ({kind})",
        where=where,
        fix="Check endpoint_url, region and the AWS configuration",
    )


def _translate_answer(error: ClientError, where: str) -> StorageError:
    name, number = code(error), status(error)
    said = name if name and not name.isdecimal() else str(number)
    if name == "NoSuchBucket":
        return NotFound(
            "the bucket does not exist", where=where, fix="Create it or correct the address"
        )
    if number == 404:
        return NotFound("there is no such object", where=where)
    if number == 412:
        return PreconditionFailed(
            "the object changed since it was listed", where=where, fix="Run again to list it anew"
        )
    if number in (401, 403) or name in _DENIED:
        fix = "Check the credentials, the clock, and that they may list, read and write there"
        if name == "InvalidObjectState":
            fix = "The object is archived: restore it first"
        return AccessDenied(f"the server refuses access ({said})", where=where, fix=fix)
    return StorageError(
        f"the storage server answered {said} (HTTP {number})",
        where=where,
        fix="Run again later: finished work is kept",
    )
