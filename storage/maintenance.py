"""What upkeep does with a lake's files, tags and branches: what to fold into what, what nothing refers to any more.

The decisions are pure; `references` and `Sweep` are their edges. What may go, and why it harms nobody:

- A state of the catalog is kept while main has it or had it within `keep_states`, while a tag names it, and while a
  branch has it. A file is kept while a kept state's metadata refers to it: of main and branches every snapshot their
  metadata lists, of the past the one it was.
- A file that no kept state refers to is dropped once it is older than `grace`. Only the run that wrote a file could
  still publish it; but whoever drops files holds the warehouse's lease, and a run that lost its lease cannot publish
  (see `etl.pipeline`). So what is unreferenced once stays so, and a sweep that slept may go on.
- Metadata files go first. A state without one of them says that it is no longer kept, instead of being read by halves.
- Loads are never dropped: everything else derives from them.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from starberg.storage.branches import Branch
from starberg.storage.object_store import ObjectMissing, ObjectStore, StoredObject
from starberg.storage.table_files import LiveFile
from starberg.utils.errors import LakeError

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile

_READERS = 8
_DELETED_AT_ONCE = 200


@dataclass(frozen=True)
class Policy:
    """How upkeep decides; the defaults are what `starberg maintain` does."""

    small_bytes: int = 16 * 1024 * 1024
    """Data files below this size of one partition become one."""
    deleted_share: float = 0.1
    """A larger data file is rewritten if more of its rows are deleted; else its deletes join one delete file."""
    keep_snapshots: int = 3
    """So many earlier snapshots stay listed in a table's metadata, for other Iceberg readers."""
    keep_states: timedelta = timedelta(days=7)
    """So long every state main had can be looked up, and an unpublished branch."""
    keep_tags: timedelta = timedelta(days=90)
    """So long the tag of a day can be looked up."""
    grace: timedelta = timedelta(days=1)
    """A file younger than this is not dropped, whoever refers to it."""
    commits: int = 10
    """So many commits after it was last folded a table is due after a run …"""
    log_commits: int = 100
    """… and a control table, which every run writes and which folds itself."""
    sweep_every: timedelta = timedelta(days=1)
    """So often upkeep after a run also looks for files to drop; `starberg maintain` always does."""


@dataclass(frozen=True)
class Fold:
    """What to fold of one table: data files to rewrite, and those whose deletes are said anew by one delete file each.

    `merge` are groups of data files of one spec and partition; `deletes` are the delete files that leave.
    """

    rewrite: Sequence[str] = ()
    merge: Sequence[Sequence[str]] = ()
    deletes: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.rewrite or self.deletes)


def to_fold(
    files: Mapping[str, LiveFile], deletes: Collection[str], deleted: Mapping[str, int], policy: Policy
) -> Fold:
    """Decide what to fold, given how many rows of each data file the delete files `deletes` delete."""
    groups: dict[tuple[int, tuple[Any, ...]], list[str]] = defaultdict(list)
    for path, file in files.items():
        groups[file.spec_id, file.partition].append(path)
    rewrite: list[str] = []
    merge: list[list[str]] = []
    for paths in groups.values():
        small = {path for path in paths if files[path].size_bytes < policy.small_bytes}
        leaving = {
            path
            for path in paths
            if (path in small and (len(small) > 1 or path in deleted))
            or deleted.get(path, 0) > policy.deleted_share * files[path].rows
        }
        rewrite += sorted(leaving)
        if staying := sorted(path for path in paths if path in deleted and path not in leaving):
            merge.append(staying)
    touched = any(path in deleted for path in rewrite) or len(deletes) > len(merge)
    return Fold(rewrite, merge if touched else (), sorted(deletes) if touched else ())


def to_expire(snapshots: Sequence[tuple[int, bool]], policy: Policy) -> list[int]:
    """Return the ids of the snapshots (newest first) that metadata need not list any more."""
    return [snapshot_id for snapshot_id, _ in snapshots[1 + policy.keep_snapshots :]]


def is_due(snapshots: Sequence[tuple[int, bool]], *, is_log: bool, policy: Policy) -> bool:
    """Tell whether a table has had so many commits since it was last folded (snapshots newest first)."""
    since = next((number for number, (_, folded) in enumerate(snapshots) if folded), len(snapshots))
    return since >= (policy.log_commits if is_log else policy.commits)


def expired_tags(names: Iterable[str], warehouse: str, now: datetime, policy: Policy) -> list[str]:
    """Return a warehouse's tags of days that are too long ago; other tags are people's own and stay."""
    of_day = re.compile(rf"{re.escape(warehouse)}-(\d{{4}}-\d{{2}}-\d{{2}})")
    oldest = (now - policy.keep_tags).date()
    found = ((name, of_day.fullmatch(name)) for name in names)
    return [name for name, match in found if match and _day(match[1], oldest) < oldest]


def dead_branches(branches: Iterable[Branch], warehouse: str, now: datetime, policy: Policy) -> list[Branch]:
    """Return the branches of a warehouse, or of none (half made), that nobody will look at any more."""
    before = now - policy.keep_states
    return [branch for branch in branches if branch.warehouse in ("", warehouse) and branch.created_at < before]


def unreferenced(objects: Iterable[StoredObject], referenced: Collection[str], before: datetime) -> list[StoredObject]:
    """Return the objects last changed before an instant that nothing refers to, metadata files first."""
    found = [one for one in objects if one.key not in referenced and one.modified_at < before]
    return sorted(found, key=lambda one: (not _is_metadata(one.key), one.key))


def references(store: ObjectStore, pointers: Iterable[str], listed: Collection[str]) -> set[str]:
    """Return the keys of metadata files, and of all files they refer to: of those in `listed` by every snapshot.

    A metadata file that is gone refers to nothing, but LakeError if it is one of `listed`.
    """
    locations = sorted({*pointers, *listed})
    with ThreadPoolExecutor(_READERS) as pool:
        lists = set(chain.from_iterable(pool.map(lambda at: _manifest_lists(store, at, every=at in listed), locations)))
        read = chain.from_iterable(pool.map(lambda at: _manifests(store, at), sorted(lists)))
        manifests = {manifest.manifest_path: manifest for manifest in read}
        files = set(chain.from_iterable(pool.map(lambda one: _files(store, one), manifests.values())))
    return {store.key(location) for location in {*locations, *lists, *manifests, *files}}


@dataclass(frozen=True)
class Sweep:
    """A warehouse's files that nothing refers to."""

    store: ObjectStore
    found: Sequence[StoredObject]

    @classmethod
    def plan(
        cls, store: ObjectStore, warehouse: str, referenced: Collection[str], before: datetime, *, others_metadata: bool
    ) -> Sweep:
        """List the files that may go; with `others_metadata` metadata files in the tables' folders stay."""
        tables, copies = f"tables/{warehouse}/", f"catalog/metadata/{warehouse}/"
        listed = chain(store.list(tables), store.list(copies))
        found = unreferenced(listed, referenced, before)
        kept = [one for one in found if not (others_metadata and one.key.startswith(tables) and _is_metadata(one.key))]
        return cls(store, kept)

    @property
    def bytes(self) -> int:
        """Bytes that dropping them frees."""
        return sum(one.size for one in self.found)

    def drop(self) -> None:
        """Delete them, in order."""
        keys = [one.key for one in self.found]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            self.store.delete(keys[start : start + _DELETED_AT_ONCE])


def _day(text: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return otherwise


def _is_metadata(key: str) -> bool:
    return key.endswith(".metadata.json")


def _manifest_lists(store: ObjectStore, location: str, *, every: bool) -> list[str]:
    """Return the manifest lists of a metadata file's snapshots: of all, or of the current one."""
    try:
        metadata = json.loads(store.get(store.key(location)))
    except ObjectMissing:
        if every:
            raise
        return []
    except ValueError:
        raise LakeError(f"{location} is no table metadata", hint="Restore it from a backup of the lake.") from None
    current, snapshots = metadata.get("current-snapshot-id"), metadata.get("snapshots") or []
    return [str(one["manifest-list"]) for one in snapshots if every or one["snapshot-id"] == current]


def _manifests(store: ObjectStore, location: str) -> list[ManifestFile]:
    from pyiceberg.manifest import read_manifest_list

    from starberg.storage.store_io import StoreIO

    return list(read_manifest_list(StoreIO(store).new_input(location)))


def _files(store: ObjectStore, manifest: ManifestFile) -> list[str]:
    from starberg.storage.store_io import StoreIO

    return [entry.data_file.file_path for entry in manifest.fetch_manifest_entry(StoreIO(store))]
