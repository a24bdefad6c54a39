"""Where bytes live: a local folder or an S3 bucket behind one small interface.

Every byte that enters the lake, raw files, data files and Iceberg metadata alike, goes through an `ObjectStore`, so
retries, time-outs, verification after upload, accounting and (in tests) fault injection have one place.

Keys are relative, `/`-separated, validated; `uri(key)` is what table metadata holds and what query engines open.
The stores are `local_store.LocalStore` and `s3_store.S3Store`; both may be used from several threads at once.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from starberg.utils.errors import LakeError, UsageError

UNFINISHED = ".starberg-unfinished-"
"""How the name of a file begins while it is being written: never listed, never a key."""

_KEY_BYTES = 900  # S3 allows 1024 with the store's own prefix
_NAME_BYTES = 255  # what Linux file systems allow between two slashes
_MISREAD = re.compile(r"[\\?#*\[\]]")  # engines read these as separator, query, fragment or glob


@dataclass(frozen=True)
class StoredObject:
    """One object: its key, bytes and time of last change (UTC)."""

    key: str
    size: int
    modified_at: datetime


@dataclass
class IoCounters:
    """What one process asked of the store; `requests` are billed calls (S3, retries too) or file operations (local)."""

    requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def add(self, *, requests: int = 0, read: int = 0, written: int = 0) -> None:
        """Count, from any thread."""
        with self._lock:
            self.requests += requests
            self.bytes_read += read
            self.bytes_written += written


@dataclass(frozen=True)
class S3Access:
    """What another S3 client (a query engine) needs to read the same bucket; temporary keys expire: ask again."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    region: str
    endpoint_host: str
    """`host:port`, or nothing for AWS itself; with a host, buckets are addressed in the path."""
    use_ssl: bool
    ca_bundle: str = ""
    """File with the authorities to trust, or nothing for the client's own."""


class ObjectMissing(LakeError, FileNotFoundError):
    """The lake refers to an object that is not there; a FileNotFoundError too, as file interfaces promise."""


class ObjectStore(Protocol):
    """An immutable-object store: whole objects are put, read, listed and deleted.

    Every method may raise UsageError (no valid key; no such bucket), CredentialsError, TransientError (disk full;
    Unreachable once retries are used up) and LakeError.
    """

    root: str
    """Location of the empty key, without a trailing slash: an absolute path or `s3://bucket/prefix`."""
    counters: IoCounters

    def uri(self, key: str) -> str:
        """Return the location engines open and metadata records."""

    def key(self, uri: str) -> str:
        """Return the key of a location under `root`; LakeError if it lies elsewhere."""

    def get(self, key: str) -> bytes:
        """Return the object; ObjectMissing (a LakeError) naming the location if there is none."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Store the object atomically; with `if_absent`, return False and change nothing if the key exists.

        Of several writers with `if_absent` exactly one gets True. After a TransientError the object may be there.
        """

    def put_file(self, key: str, path: Path) -> None:
        """Move a local file into the store, verified by size and checksum; after an error the file is still there."""

    def local_path(self, key: str, scratch: Path) -> Path:
        """Return a local file with the object's bytes: the object itself, or a download below `scratch`."""

    def size(self, key: str) -> int | None:
        """Return the object's bytes, or None if there is none."""

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """List objects whose key begins with `prefix`, in key order, after the key `start_after`."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; absent ones are no error."""

    def abort_stale_uploads(self, older_than: timedelta) -> int:
        """Remove what killed writers left unfinished, if it was begun before now − `older_than`; return how many."""


def check_key(key: str) -> str:
    """Return the key, or raise UsageError saying why no object may have it."""
    if fault := _fault(key):
        raise UsageError(f"{key[:100]!r} cannot name an object: {fault}")
    return key


def check_prefix(prefix: str) -> str:
    """Return what keys may begin with: nothing, a key, or a key and a slash."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def is_key(key: str) -> bool:
    """Tell whether a store could have written this: foreign objects are not listed."""
    return not _fault(key)


def key_below(root: str, uri: str) -> str:
    """Return the key of a location under `root`; LakeError if it lies elsewhere or climbs out."""
    key = uri.removeprefix(f"{root}/")
    if key == uri or _fault(key):
        raise LakeError(f"{uri!r} does not lie in the lake {root}")
    return key


def _fault(key: str) -> str:
    """Return why this is no key, or nothing. `..` is looked for as any reader would decode it."""
    if not key.isprintable():
        return "it holds a control or invisible character"
    if bad := _MISREAD.search(key):
        return f"it holds {bad[0]}"
    if len(key.encode()) > _KEY_BYTES:
        return f"it has more than {_KEY_BYTES} bytes"
    for name in key.split("/"):
        if not name:
            return "a name in it is empty"
        if len(name.encode()) > _NAME_BYTES:
            return f"a name in it has more than {_NAME_BYTES} bytes"
        if name.startswith(UNFINISHED):
            return f"{UNFINISHED} marks unfinished files"
        if {".", ".."} & set(re.split(r"[/\\]", unquote(name))):
            return f"{name} leads out of its folder"
    return ""
