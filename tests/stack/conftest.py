"""The real servers, once per session: started here, or those of the folder STARBERG_STACK_DIR.

Every test in this folder is marked `stack`. A server that cannot be had fails the test; nothing is skipped. A test may
kill, restart or pause a server: all of them run again before the next test.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from own_stack import own_stack
from stack import Server, Stack, start
from stack_process import HOST, free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


SERVICES = ("minio", "nessie", "postgres", "toxiproxy")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The servers, but for Trino, which has tests of its own (tests/engines)."""
    if running := os.environ.get("STARBERG_STACK_DIR"):
        yield start(SERVICES, Path(running))
        return
    with own_stack(SERVICES) as started:
        yield started


@pytest.fixture(autouse=True)
def _servers_run_again(stack: Stack) -> Iterator[None]:
    yield
    for name in SERVICES:
        stack.service(name).resume()
        stack.service(name).start()


@pytest.fixture
def minio(stack: Stack) -> Server:
    return stack.service("minio")


@pytest.fixture
def nessie(stack: Stack) -> Server:
    return stack.service("nessie")


@pytest.fixture
def postgres(stack: Stack) -> Server:
    return stack.service("postgres")


@pytest.fixture
def toxiproxy(stack: Stack) -> Server:
    return stack.service("toxiproxy")


@pytest.fixture
def s3(minio: Server) -> S3Client:
    """A client with MinIO's root credentials."""
    root: S3Client = client("s3", minio, minio.env["MINIO_ACCESS_KEY"], minio.env["MINIO_SECRET_KEY"])
    return root


@pytest.fixture
def fresh_bucket(s3: S3Client) -> Iterator[str]:
    """The name of an empty bucket, removed with all it holds."""
    bucket = f"test-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=bucket)
    yield bucket
    empty(s3, bucket, "")
    s3.delete_bucket(Bucket=bucket)


@pytest.fixture
def fresh_prefix(s3: S3Client) -> Iterator[str]:
    """The `s3://` address of an empty place in the bucket `starberg`, emptied afterwards."""
    prefix = f"test-{secrets.token_hex(6)}"
    yield f"s3://starberg/{prefix}"
    empty(s3, "starberg", f"{prefix}/")


@dataclass(frozen=True)
class Proxy:
    """A way to a server on which the network can be made bad."""

    url: str
    _control: str

    def toxic(self, kind: str, **attributes: Any) -> None:
        """Add a toxic to what the server answers: latency (latency=ms), timeout, reset_peer, limit_data (bytes=n) …"""
        _answered(requests.post(f"{self._control}/toxics", json={"type": kind, "attributes": attributes}, timeout=5))

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        _answered(requests.post(self._control, json={"enabled": False}, timeout=5))

    def mend(self) -> None:
        """Take all toxics away and let connections through."""
        for toxic in requests.get(f"{self._control}/toxics", timeout=5).json():
            _answered(requests.delete(f"{self._control}/toxics/{toxic['name']}", timeout=5))
        _answered(requests.post(self._control, json={"enabled": True}, timeout=5))


@pytest.fixture
def proxies(toxiproxy: Server) -> Iterator[Any]:
    """Make a `Proxy` in front of a server: `proxies(minio)`."""
    made: list[str] = []

    def proxy_before(server: Server) -> Proxy:
        name, listen = f"{server.name}-{secrets.token_hex(4)}", f"{HOST}:{free_port()}"
        wanted = {"name": name, "listen": listen, "upstream": f"{HOST}:{server.port}"}
        _answered(requests.post(f"{toxiproxy.url}/proxies", json=wanted, timeout=5))
        made.append(f"{toxiproxy.url}/proxies/{name}")
        return Proxy(f"http://{listen}", made[-1])

    yield proxy_before
    for control in made:
        requests.delete(control, timeout=5)


def client(kind: str, minio: Server, key: str, secret: str, token: str | None = None) -> Any:
    """Return a boto3 client of MinIO that gives up soon."""
    import boto3
    from botocore.config import Config

    soon = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 2})
    make: Any = boto3.client
    return make(
        kind,
        endpoint_url=minio.url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=soon,
    )


def empty(s3: S3Client, bucket: str, prefix: str) -> None:
    """Delete all objects below a prefix."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=found["Key"])


def _answered(response: requests.Response) -> None:
    response.raise_for_status()
