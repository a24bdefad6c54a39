"""What an Iceberg REST catalog does not keep: branches, publishes and tags, as objects of our own store.

`catalog/branches/<run_id>.json` is a branch; `catalog/publishes/<seq>.json` is one publish with all pointers of main
after it, put only if absent, so that publishes are numbered without gaps; `catalog/runs/<run_id>.json` leads from a run
to its publish; `catalog/tags/<name>.json` names one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from starberg.storage.branches import Branch
from starberg.storage.object_store import ObjectMissing, ObjectStore
from starberg.utils.errors import LakeError

_ROOT = "catalog"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class BranchRecord(_Record):
    """A branch: all pointers of main at the cut, and those moved since (None: dropped)."""

    run_id: str
    warehouse: str
    created_at: datetime
    base: int
    cut: Mapping[str, str]
    moved: Mapping[str, str | None] = {}
    publishing: str | None = None
    """The message of the publish that was begun: from then on it may have landed."""

    @property
    def changed(self) -> dict[str, str | None]:
        """Return the pointers that differ from the cut."""
        return {table: location for table, location in self.moved.items() if self.cut.get(table) != location}

    @property
    def tables(self) -> dict[str, str]:
        """Return all pointers of the branch."""
        merged = {**self.cut, **self.moved}
        return {table: location for table, location in sorted(merged.items()) if location is not None}

    def as_branch(self) -> Branch:
        """Return what callers see of it."""
        return Branch(self.run_id, self.warehouse, self.created_at, str(self.base))


class PublishRecord(_Record):
    """A publish: which run's, when (UTC), and all pointers of main after it."""

    run_id: str
    warehouse: str
    message: str
    published_at: datetime
    tables: Mapping[str, str]


class _RunRecord(_Record):
    seq: int


class _TagRecord(_Record):
    seq: int


Found = TypeVar("Found", bound=_Record)


class Records:
    """Reads and writes the objects."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._last = 0

    def branch(self, run_id: str) -> BranchRecord | None:
        """Return a run's branch, or None."""
        return self._read(BranchRecord, f"{_ROOT}/branches/{run_id}.json")

    def branches(self) -> list[BranchRecord]:
        """Return all branches, oldest first."""
        found = [self._read(BranchRecord, item.key) for item in self.store.list(f"{_ROOT}/branches/")]
        return sorted(filter(None, found), key=lambda branch: (branch.created_at, branch.run_id))

    def put_branch(self, branch: BranchRecord, *, new: bool = False) -> None:
        """Write a branch; with `new`, keep the one there is."""
        self._write(branch, f"{_ROOT}/branches/{branch.run_id}.json", if_absent=new)

    def drop_branch(self, run_id: str) -> None:
        """Delete a branch."""
        self.store.delete([f"{_ROOT}/branches/{run_id}.json"])

    def last(self) -> int:
        """Return the number of the last publish; 0 if there was none."""
        start = _publish_key(self._last) if self._last else ""
        for item in self.store.list(f"{_ROOT}/publishes/", start_after=start):
            self._last = _seq(item.key)
        return self._last

    def publish(self, seq: int) -> PublishRecord:
        """Return a publish; LakeError if it is missing."""
        found = self._read(PublishRecord, _publish_key(seq))
        if found is None:
            raise LakeError(f"{self.store.uri(_publish_key(seq))} is missing")
        return found

    def put_publish(self, seq: int, publish: PublishRecord) -> bool:
        """Write a publish and its run's way to it; False if another run took this number."""
        if not self._write(publish, _publish_key(seq), if_absent=True) and self.publish(seq).run_id != publish.run_id:
            return False
        self.put_run(publish.run_id, seq)
        return True

    def run(self, run_id: str) -> int | None:
        """Return the number a run published as, or None."""
        found = self._read(_RunRecord, f"{_ROOT}/runs/{run_id}.json")
        return None if found is None else found.seq

    def put_run(self, run_id: str, seq: int) -> None:
        """Lead from a run to its publish."""
        self._write(_RunRecord(seq=seq), f"{_ROOT}/runs/{run_id}.json")

    def seq_at(self, moment: datetime) -> int:
        """Return the last publish at or before an instant, by halving; 0 if there is none."""
        low, high = 0, self.last()
        while low < high:
            middle = (low + high + 1) // 2
            if self.publish(middle).published_at <= moment:
                low = middle
            else:
                high = middle - 1
        return low

    def tag(self, name: str) -> int | None:
        """Return the publish a tag names, or None."""
        found = self._read(_TagRecord, f"{_ROOT}/tags/{name}.json")
        return None if found is None else found.seq

    def tags(self) -> Iterator[tuple[str, int]]:
        """Yield all tags."""
        for item in self.store.list(f"{_ROOT}/tags/"):
            name = item.key.removeprefix(f"{_ROOT}/tags/").removesuffix(".json")
            if (seq := self.tag(name)) is not None:
                yield name, seq

    def put_tag(self, name: str, seq: int) -> None:
        """Name a publish."""
        self._write(_TagRecord(seq=seq), f"{_ROOT}/tags/{name}.json")

    def drop_tag(self, name: str) -> None:
        """Delete a tag."""
        self.store.delete([f"{_ROOT}/tags/{name}.json"])

    def _read(self, kind: type[Found], key: str) -> Found | None:
        try:
            return kind.model_validate_json(self.store.get(key))
        except ObjectMissing:
            return None
        except ValidationError:
            raise LakeError(f"{self.store.uri(key)} is damaged", hint="Restore it from a backup") from None

    def _write(self, record: _Record, key: str, *, if_absent: bool = False) -> bool:
        return self.store.put(key, record.model_dump_json().encode(), if_absent=if_absent)


def _publish_key(seq: int) -> str:
    return f"{_ROOT}/publishes/{seq:010d}.json"


def _seq(key: str) -> int:
    return int(key.rpartition("/")[2].removesuffix(".json"))
