"""The object store in an S3 bucket: AWS, MinIO and others that speak S3.

The client repeats requests; what it cannot repeat or decide is settled here: an answer whose body breaks off, and a
write whose answer was lost.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from starberg.storage.local_store import crc32_of_file, disk_errors, size_of_file, unfinished
from starberg.storage.object_store import (
    IoCounters,
    S3Access,
    StoredObject,
    check_key,
    check_prefix,
    is_key,
    key_below,
)
from starberg.storage.s3_client import PART_BYTES, Patience, S3Connection, S3Keys
from starberg.utils.errors import TransientError, Unreachable, UsageError

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

T = TypeVar("T")

_KEYS_PER_DELETE = 1000  # the API's limit
_WRITER = "starberg-writer"  # metadata of a conditional put: whose write it was


class _BodyCut(Unreachable):
    """The body of an answer broke off: reading it from the start may work."""


class S3Store:
    """Objects under `s3://bucket/prefix`. Nothing connects before the first call.

    Without keys the standard AWS chain finds them; without an endpoint it is AWS itself. A request fails for good after
    `max_attempts` × (`connect_timeout_s` + `read_timeout_s`) at most, and the pauses between (each 20 s at most).
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = "",
        region: str = "",
        access_key: str = "",
        secret_key: str = "",
        session_token: str = "",
        connect_timeout_s: float = 5,
        read_timeout_s: float = 30,
        max_attempts: int = 5,
    ) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            raise UsageError(f"{bucket[:100]!r} is no name of an S3 bucket")
        self._bucket = bucket
        self._below = f"{check_key(prefix.strip('/'))}/" if prefix.strip("/") else ""
        self._max_attempts = max_attempts
        self._bucket_seen = False
        self.root = f"s3://{bucket}/{self._below}".rstrip("/")
        self.counters = IoCounters()
        keys = S3Keys(access_key, secret_key, session_token)
        patience = Patience(connect_timeout_s, read_timeout_s, max_attempts)
        self._connection = S3Connection(endpoint, region, keys, patience, self.counters)

    def uri(self, key: str) -> str:
        """Return `s3://bucket/prefix/key`; the object need not exist."""
        return f"{self.root}/{check_key(key)}"

    def key(self, uri: str) -> str:
        """Return the key of a location under `root`; LakeError if it lies elsewhere."""
        return key_below(self.root, uri)

    def get(self, key: str) -> bytes:
        """Return the object's bytes; ObjectMissing if there is none."""
        data = self._read(key, lambda body: body.read())
        self.counters.add(read=len(data))
        return data

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write the object in one request; with `if_absent`, False if it exists (If-None-Match)."""
        writer = uuid4().hex
        condition: dict[str, Any] = {"IfNoneMatch": "*", "Metadata": {_WRITER: writer}} if if_absent else {}
        with self._asking("write", key) as s3:
            try:
                s3.put_object(Bucket=self._bucket, Key=self._name(key), Body=data, **condition)
            except s3.exceptions.ClientError as error:
                if not if_absent or _status(error) not in (409, 412):
                    raise
                if not self._is_of(writer, key):
                    return False
        self.counters.add(written=len(data))
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Upload the file, large ones in parallel parts, compare what arrived, and remove it."""
        size = size_of_file(path)
        with disk_errors("upload", path), self._asking("upload", key) as s3:
            crc32 = base64.b64encode(crc32_of_file(path).to_bytes(4, "big")).decode()
            proven = size <= PART_BYTES and self._put_whole(s3, key, path.read_bytes(), crc32)
            if size > PART_BYTES:
                with suppress(s3.exceptions.NoSuchUpload):  # perhaps complete, its answer lost, asked again: compare
                    self._connection.upload(path, self._bucket, self._name(key), crc32)
            if not proven:
                self._check_arrived(key, size, crc32)
            path.unlink()
        self.counters.add(written=size)

    def local_path(self, key: str, scratch: Path) -> Path:
        """Download the object below `scratch`, under its key; ObjectMissing if there is none."""
        path = scratch / check_key(key)
        with disk_errors("download to", path), unfinished(path) as temp:
            self._read(key, lambda body: _save(body, temp))
            self.counters.add(read=temp.stat().st_size)
            temp.replace(path)
        return path

    def size(self, key: str) -> int | None:
        """Return the object's bytes, or None if there is none."""
        head = self._head(key)
        return head["ContentLength"] if head else None

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """List objects whose key begins with `prefix`, in key order, after `start_after`; 1000 in one request."""
        after: dict[str, Any] = {"StartAfter": self._below + start_after} if start_after else {}
        with self._asking("list", check_prefix(prefix)) as s3:
            pages = s3.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._below + prefix, **after):
                for entry in page.get("Contents", []):
                    key = entry["Key"].removeprefix(self._below)
                    if is_key(key):
                        yield StoredObject(key, entry["Size"], entry["LastModified"].astimezone(UTC))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, 1000 in one request; absent ones are no error."""
        names = (self._name(key) for key in keys)
        while batch := [*islice(names, _KEYS_PER_DELETE)]:
            with self._asking("delete", batch[0].removeprefix(self._below)) as s3:
                objects: Any = {"Objects": [{"Key": name} for name in batch], "Quiet": True}
                answer = s3.delete_objects(Bucket=self._bucket, Delete=objects)
            for refused in answer.get("Errors", []):
                with self._asking("delete", refused.get("Key", "").removeprefix(self._below)) as s3:
                    refusal: Any = {"Error": refused}
                    raise s3.exceptions.ClientError(refusal, "DeleteObjects")

    def abort_stale_uploads(self, older_than: timedelta) -> int:
        """Abort multipart uploads begun before now − `older_than`; return how many.

        The bucket's uploads are filtered here: MinIO answers a prefix with nothing unless it is a whole key.
        """
        before = datetime.now(UTC) - older_than
        aborted = 0
        with self._asking("clean up", "") as s3:
            for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket):
                for upload in page.get("Uploads", []):
                    if upload["Key"].startswith(self._below) and upload["Initiated"] <= before:
                        s3.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                        aborted += 1
        return aborted

    def credentials(self) -> S3Access:
        """Return the keys in use now, for engines that read the bucket; CredentialsError if there are none."""
        with self._asking("find keys for", ""):
            return self._connection.access()

    def _asking(self, verb: str, key: str) -> AbstractContextManager[S3Client]:
        where = f"{self.root}/{key}".rstrip("/")
        return self._connection.asking(f"cannot {verb} {where}")

    def _name(self, key: str) -> str:
        return self._below + check_key(key)

    def _read(self, key: str, use: Callable[[StreamingBody], T]) -> T:
        """Hand the object's body to `use`, from the start again if it breaks off."""
        again = Retrying(
            stop=stop_after_attempt(self._max_attempts),
            wait=wait_random_exponential(multiplier=0.5, max=20),
            retry=retry_if_exception_type(_BodyCut),
            reraise=True,
        )
        result: T = again(self._read_once, key, use)
        return result

    def _read_once(self, key: str, use: Callable[[StreamingBody], T]) -> T:
        with self._asking("read", key) as s3:
            body = s3.get_object(Bucket=self._bucket, Key=self._name(key))["Body"]
        try:
            with self._asking("read", key), closing(body):
                return use(body)
        except TransientError as error:
            raise _BodyCut(str(error)) from error

    def _head(self, key: str) -> HeadObjectOutputTypeDef | None:
        """Return what the server knows of an object, or None if there is none; UsageError if there is no bucket."""
        with self._asking("look at", key) as s3:
            try:
                return s3.head_object(Bucket=self._bucket, Key=self._name(key), ChecksumMode="ENABLED")
            except s3.exceptions.ClientError as error:
                if _status(error) != 404:
                    raise
            if not self._bucket_seen:  # a HEAD has no body to tell a missing bucket from a missing object
                s3.list_objects_v2(Bucket=self._bucket, Prefix=self._below, MaxKeys=1)
                self._bucket_seen = True
            return None

    def _is_of(self, writer: str, key: str) -> bool:
        """Tell whether a refused conditional put met its own object, from a first try whose answer was lost."""
        head = self._head(key)
        if head is None:
            raise TransientError(f"another writer of {self.uri(key)} came between, and no object is there yet")
        return head["Metadata"].get(_WRITER) == writer

    def _put_whole(self, s3: S3Client, key: str, data: bytes, crc32: str) -> bool:
        """Write a file in one request; tell whether its answer proves what arrived (an ETag need not be an MD5)."""
        answer = s3.put_object(Bucket=self._bucket, Key=self._name(key), Body=data, ChecksumCRC32=crc32)
        return answer["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()

    def _check_arrived(self, key: str, size: int, crc32: str) -> None:
        """Compare size and CRC-32 with the server's; old servers tell none, or one of the parts (with a dash)."""
        head = self._head(key)
        arrived = head["ContentLength"] if head else 0
        stored_crc32 = head.get("ChecksumCRC32", crc32) if head else ""
        if arrived != size or ("-" not in stored_crc32 and stored_crc32 != crc32):
            raise TransientError(f"{self.uri(key)} is not what was uploaded: {arrived} of {size} bytes, or others")


def _save(body: StreamingBody, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(body, file, 1 << 20)


def _status(error: Exception) -> int:
    response: dict[str, Any] = getattr(error, "response", {})
    status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status
