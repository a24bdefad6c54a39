"""The object store in a local folder.

An object appears under its name only when its bytes are on disk: written beside it under an unfinished name, synced,
then renamed (or hard-linked, where it must not exist yet), and the folder synced. File modes are the umask's choice:
other users' engines may read the lake unless the user says otherwise.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from starberg.storage.object_store import (
    UNFINISHED,
    IoCounters,
    ObjectMissing,
    StoredObject,
    check_key,
    check_prefix,
    is_key,
    key_below,
)
from starberg.utils.errors import LakeError, StarbergError, TransientError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LocalStore:
    """Objects as files below `root`, which is made at the first write.

    Symbolic links below `root` are not listed, so that a clean-up never leaves the lake.
    """

    def __init__(self, root: Path) -> None:
        self._folder = Path(os.path.abspath(root))  # noqa: PTH100 (keeps links: metadata records the user's spelling)
        self.root = str(self._folder)
        self.counters = IoCounters()

    def uri(self, key: str) -> str:
        """Return the absolute path; it need not exist."""
        return f"{self.root}/{check_key(key)}"

    def key(self, uri: str) -> str:
        """Return the key of a path under `root`; LakeError if it lies elsewhere."""
        return key_below(self.root, uri)

    def get(self, key: str) -> bytes:
        """Return the file's bytes; ObjectMissing if there is none."""
        path = self._existing(key)
        with disk_errors("read", path):
            data = path.read_bytes()
        self.counters.add(read=len(data))
        return data

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write the file in one step; with `if_absent` (needs hard links), False if it exists."""
        path = Path(self.uri(key))
        self.counters.add(requests=1)
        with disk_errors("write", path), unfinished(path) as temp:
            with temp.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not if_absent:
                temp.replace(path)
            elif not _link(temp, path):
                return False
            _sync_folder(path.parent)
        self.counters.add(written=len(data))
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Rename the file into the lake; from another file system, copy, compare and remove it."""
        target = Path(self.uri(key))
        size = size_of_file(path)
        with disk_errors(f"move {path} to", target):
            _make_folder(target.parent)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(path, target)
                path.unlink()
            _sync_folder(target.parent)
        self.counters.add(requests=1, written=size)

    def local_path(self, key: str, scratch: Path) -> Path:
        """Return the object itself: read it, do not change it."""
        return self._existing(key)

    def size(self, key: str) -> int | None:
        """Return the file's bytes, or None if there is none."""
        path = Path(self.uri(key))
        self.counters.add(requests=1)
        with disk_errors("look at", path):
            status = _status(path)
        return status.st_size if status else None

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """List files whose key begins with `prefix`, in key order, after `start_after`."""
        folder, slash, _ = check_prefix(prefix).rpartition("/")
        self.counters.add(requests=1)  # as where there are no folders
        return self._walk(folder + slash, prefix, start_after)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files; absent ones are no error. Folders stay."""
        for key in keys:
            path = Path(self.uri(key))
            self.counters.add(requests=1)
            with disk_errors("delete", path), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()

    def abort_stale_uploads(self, older_than: timedelta) -> int:
        """Remove unfinished files whose last write is older; return how many."""
        before = (datetime.now(UTC) - older_than).timestamp()
        removed = 0
        with disk_errors("clean up", self._folder):
            for temp in self._folder.rglob(f"{UNFINISHED}*"):
                with suppress(FileNotFoundError):  # its writer has just finished
                    if temp.stat().st_mtime <= before:
                        temp.unlink()
                        removed += 1
        return removed

    def _existing(self, key: str) -> Path:
        if self.size(key) is None:
            raise ObjectMissing(f"no object {self.uri(key)}")
        return Path(self.uri(key))

    def _walk(self, folder: str, prefix: str, start_after: str) -> Iterator[StoredObject]:
        """Yield objects of one folder (its key with the slash) and those below, in the order of whole keys."""
        path = self._folder / folder
        with disk_errors("list", path):
            names = _names(path)
        for key in (folder + name for name in names):
            if key.endswith("/"):
                if key < start_after and not start_after.startswith(key):
                    continue
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix, start_after)
            elif key.startswith(prefix) and key > start_after and (stored := self._stored(key)):
                yield stored

    def _stored(self, key: str) -> StoredObject | None:
        if not is_key(key):
            return None
        path = self._folder / key
        with disk_errors("look at", path):
            status = _status(path)
        return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)) if status else None


@contextmanager
def disk_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError into one line: TransientError where room is missing, else LakeError."""
    try:
        yield
    except StarbergError:
        raise
    except OSError as error:
        message = f"cannot {doing} {path}: {error.strerror or error}"
        if error.errno in _NO_ROOM:
            raise TransientError(message, hint="Free space there and run again") from error
        raise LakeError(message) from error


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write under; what still bears it afterwards is removed."""
    _make_folder(path.parent)
    temp = path.with_name(f"{UNFINISHED}{uuid4().hex}")
    try:
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def size_of_file(path: Path) -> int:
    """Return a local file's bytes; LakeError if it is missing or no plain file (a link would be moved as a link)."""
    with disk_errors("read", path):
        status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise LakeError(f"cannot read {path}: it is not a plain file")
    return status.st_size


def crc32_of_file(path: Path) -> int:
    """Return a local file's CRC-32, read in pieces."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


def _copy(source: Path, target: Path) -> None:
    with unfinished(target) as temp:
        shutil.copyfile(source, temp)
        with temp.open("rb") as file:
            os.fsync(file.fileno())
        if crc32_of_file(temp) != crc32_of_file(source):
            raise TransientError(f"{source} changed while it was copied to {target}")
        temp.replace(target)


def _link(temp: Path, path: Path) -> bool:
    """Name a finished file, unless the name is taken; the one exclusive step that shows whole files only."""
    try:
        path.hardlink_to(temp)
    except FileExistsError:
        return False
    return True


def _status(path: Path) -> os.stat_result | None:
    """Return a file's status, or None: absent, a folder, or below something that is no folder."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _names(folder: Path) -> list[str]:
    """Return a folder's files and folders (these with a slash) in the order their keys have in S3."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
                for entry in entries
                if not entry.is_symlink()
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each recorded on disk before files go in."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
