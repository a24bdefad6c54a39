"""Where bytes live: a local folder or an S3 bucket behind one small interface.

Every byte that enters the lake, raw files, data files and Iceberg metadata alike, goes through an `ObjectStore`, so
retries, time-outs, verification after upload, accounting and (in tests) fault injection have one place.

Keys are relative, `/`-separated, validated; `uri(key)` is what table metadata holds and what query engines open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """One object: its key, bytes and time of last change (UTC)."""

    key: str
    size: int
    modified_at: datetime


@dataclass
class IoCounters:
    """What one process asked of the store; `requests` are billed calls (S3) or file operations (local)."""

    requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


class ObjectStore(Protocol):
    """An immutable-object store: whole objects are put, read, listed and deleted."""

    root: str
    """Location of the empty key, without a trailing slash: an absolute path or `s3://bucket/prefix`."""
    counters: IoCounters

    def uri(self, key: str) -> str:
        """Return the location engines open and metadata records."""

    def key(self, uri: str) -> str:
        """Return the key of a location under `root`; LakeError if it lies elsewhere."""

    def get(self, key: str) -> bytes:
        """Return the object; LakeError naming the location if it is missing."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Store the object atomically; with `if_absent`, return False and change nothing if the key exists."""

    def put_file(self, key: str, path: Path) -> None:
        """Move a local file into the store (the file is gone afterwards), verified by size and checksum."""

    def local_path(self, key: str, scratch: Path) -> Path:
        """Return a local file with the object's bytes: the object itself, or a download below `scratch`."""

    def size(self, key: str) -> int | None:
        """Return the object's bytes, or None if there is none."""

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """List objects under a prefix in key order, after the key `start_after`."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; absent ones are no error."""
