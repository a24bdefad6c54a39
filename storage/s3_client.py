"""The S3 client: keys, time-outs, retries, counting, and errors in our own words. The only module that imports boto3.

Requests are repeated by botocore's standard mode (connection errors, time-outs, 5xx, SlowDown) with backoff and jitter.
Each request carries a CRC-32 of its body, which the server checks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starberg.storage.object_store import IoCounters, S3Access
from starberg.utils.errors import CredentialsError, UsageError

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3 import S3Client

PART_BYTES = 8 * 1024 * 1024
_THREADS_PER_UPLOAD = 4
_CONNECTIONS = 32  # several uploads at once


@dataclass(frozen=True)
class S3Keys:
    """Keys as set by the user; empty ones are found by the standard AWS chain."""

    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Patience:
    """How long one connection or silence may last, and how often a request is made in all."""

    connect_timeout_s: float
    read_timeout_s: float
    max_attempts: int


class S3Connection:
    """One boto3 client, made at the first call and shared by all threads. No endpoint means AWS itself."""

    def __init__(self, endpoint: str, region: str, keys: S3Keys, patience: Patience, counters: IoCounters) -> None:
        if bool(keys.access_key) != bool(keys.secret_key):
            raise CredentialsError("of the S3 access key and its secret only one is set", hint="Set both, or neither")
        self._endpoint = _checked_endpoint(endpoint)
        self._region = region
        self._keys = keys
        self._patience = patience
        self._counters = counters
        self._lock = threading.Lock()
        self._opened: tuple[Session, S3Client] | None = None

    @contextmanager
    def asking(self, failed: str) -> Iterator[S3Client]:
        """Give the client; what it raises inside becomes one of our errors, which begins with `failed`."""
        from botocore.exceptions import BotoCoreError, ClientError

        from starberg.storage.s3_errors import translated

        try:
            yield self._open()[1]
        except (BotoCoreError, ClientError) as error:
            raise translated(error, f"{failed} at {self._endpoint or 'AWS S3'}") from error

    def upload(self, path: Path, bucket: str, name: str, crc32: str) -> None:
        """Upload a file, from 8 MiB on in parallel parts; the server compares the CRC-32 (base64) of the whole."""
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=_THREADS_PER_UPLOAD
        )
        try:
            self._open()[1].upload_file(str(path), bucket, name, {"ChecksumCRC32": crc32}, Config=parts)
        except S3UploadFailedError as error:
            raise (error.__context__ or error) from None  # the server's refusal, which boto3 only quotes

    def access(self) -> S3Access:
        """Return the keys in use now, for other clients; CredentialsError if there are none."""
        session, client = self._open()
        found = session.get_credentials()
        if found is None:
            raise CredentialsError("there are no keys for S3", hint="Set an access key and its secret, or sign in")
        keys = found.get_frozen_credentials()
        endpoint = urlsplit(self._endpoint)
        return S3Access(
            access_key=keys.access_key or "",
            secret_key=keys.secret_key or "",
            session_token=keys.token or "",
            region=client.meta.region_name,
            endpoint_host=endpoint.netloc,
            use_ssl=endpoint.scheme != "http",
            ca_bundle=session._session.get_config_variable("ca_bundle") or "",
        )

    def _open(self) -> tuple[Session, S3Client]:
        with self._lock:
            if self._opened is None:
                self._opened = self._connect()
            return self._opened

    def _connect(self) -> tuple[Session, S3Client]:
        from boto3.session import Session
        from botocore.config import Config

        keys = self._keys
        session = Session(
            keys.access_key or None, keys.secret_key or None, keys.session_token or None, self._region or None
        )
        config = Config(
            connect_timeout=self._patience.connect_timeout_s,
            read_timeout=self._patience.read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": self._patience.max_attempts},
            max_pool_connections=_CONNECTIONS,
            signature_version="s3v4",
            s3={"addressing_style": "path" if self._endpoint else "auto"},
            request_checksum_calculation="when_supported",
            response_checksum_validation="when_supported",
        )
        region = session.region_name or "us-east-1"
        client = session.client("s3", region_name=region, endpoint_url=self._endpoint or None, config=config)
        client.meta.events.register("before-send.s3", self._count)
        return session, client

    def _count(self, **_event: object) -> None:
        """Count one request that goes out, whether a first one, a retry or a part."""
        self._counters.add(requests=1)


def _checked_endpoint(endpoint: str) -> str:
    """Return `http(s)://host:port`, or nothing; it is shown in messages, so it may hold no password."""
    parts = urlsplit(endpoint)
    if not endpoint:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.path.strip("/"):
        raise UsageError("the S3 endpoint is no plain address of a server", hint="Write it as http://minio:9000")
    return f"{parts.scheme}://{parts.netloc}"
