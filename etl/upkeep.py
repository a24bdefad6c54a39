"""Upkeep of a warehouse's tables: fold deletes and small files, and drop what nobody can look up any more.

Folding is a run like any other: on a branch, under the warehouse's lease, published in one step (`Pipeline.maintain`).
It changes no row: a table's new files hold its old rows, counted before they are committed. Tables that were built
from a folded one are told its new place, so that the next run finds nothing to do. What decides: `storage.maintenance`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from starberg.engines.base import Engine, ParquetFile
from starberg.etl.control import state_row
from starberg.etl.control_tables import TABLES
from starberg.etl.results import SweepResult, TableUpkeep
from starberg.etl.run_session import Session
from starberg.storage.branch_tables import BranchTables
from starberg.storage.branches import Catalog
from starberg.storage.columns import FILE_PATH_ID, POS_ID
from starberg.storage.maintenance import (
    Fold,
    Policy,
    Sweep,
    dead_branches,
    expired_tags,
    is_due,
    references,
    to_expire,
    to_fold,
)
from starberg.storage.object_store import ObjectMissing, ObjectStore
from starberg.storage.table_files import Change, DeleteFile, LiveFile, WrittenFile
from starberg.utils.errors import LakeError
from starberg.utils.sql import quote_name, text

if TYPE_CHECKING:
    from starberg.storage.iceberg_tables import IcebergTable


def due(tables: BranchTables, names: Collection[str], policy: Policy) -> list[str]:
    """Return those of a run's tables that were committed to so often since they were last folded."""
    loaded = [table for name in sorted(names) if (table := tables.load(name))]
    return [table.name for table in loaded if is_due(table.snapshots(), is_log=is_control(table.name), policy=policy)]


def is_control(table: str) -> bool:
    """Tell whether a table (`warehouse.table`) is a control table."""
    return table.partition(".")[2] in TABLES


@dataclass(frozen=True)
class Plan:
    """What to do to one table; `deleted` are the deleted rows of its data files."""

    table: IcebergTable
    files: Mapping[str, LiveFile]
    deleted: Mapping[str, int]
    deletes: int
    fold: Fold
    expired: Sequence[int]

    def __bool__(self) -> bool:
        return bool(self.fold or self.expired)

    @property
    def matters(self) -> bool:
        """Whether there is more to do than to forget what the last upkeep itself committed to the control tables."""
        return bool(self.fold or (self.expired and not is_control(self.table.name)))

    def outlook(self) -> TableUpkeep:
        """Return the table's files as they are, and as they will be if each partition's become one."""
        gone = set(self.fold.rewrite)
        made = {(self.files[path].spec_id, self.files[path].partition) for path in gone}
        staying = [path for path in self.files if path not in gone]
        live = sum(file.rows for file in self.files.values()) - sum(self.deleted.values())
        deleted = sum(self.deleted.get(path, 0) for path in staying)
        return TableUpkeep(
            name=self.table.name,
            files=len(self.files),
            files_after=len(staying) + len(made),
            delete_files=self.deletes,
            delete_files_after=len(self.fold.merge) if self.fold.deletes else self.deletes,
            delete_ratio=_ratio(sum(self.deleted.values()), live),
            delete_ratio_after=_ratio(deleted, live),
        )


class Folding:
    """Folds tables of one branch in one engine session."""

    def __init__(self, engine: Engine, tables: BranchTables, policy: Policy) -> None:
        self._engine = engine
        self._tables = tables
        self._policy = policy

    def plan(self, name: str) -> Plan:
        """Look at one table."""
        table = self._tables.load(name)
        if table is None:
            raise LakeError(f"there is no table {name} to maintain")
        files, deletes = self._tables.data_files(table), self._tables.delete_files(table)
        found = self._deleted(list(deletes))
        deleted = {path: rows for path, rows in found.items() if path in files}
        fold = to_fold(files, deletes, deleted, self._policy)
        return Plan(table, files, deleted, len(deletes), fold, to_expire(table.snapshots(), self._policy))

    def fold(self, name: str) -> TableUpkeep:
        """Fold one table, if there is something to fold; return what was done."""
        plan = self.plan(name)
        if not plan:
            return plan.outlook()
        change = Change(expired=plan.expired)
        if plan.fold:
            change = replace(
                change,
                added=self._rewritten(plan) if plan.fold.rewrite else (),
                deletes=[DeleteFile(self._said_anew(plan, paths), paths) for paths in plan.fold.merge],
                removed={path: plan.deleted.get(path, 0) for path in plan.fold.rewrite},
                folded=plan.fold.deletes,
                same_rows=True,
            )
        committed = self._tables.commit(plan.table, change)
        self._engine.attach({name: committed.location or ""})
        return replace(plan.outlook(), files_after=len(plan.files) - len(plan.fold.rewrite) + len(change.added))

    def _deleted(self, deletes: Sequence[str]) -> dict[str, int]:
        """Return how many rows of each data file are deleted."""
        if not deletes:
            return {}
        counted = f"SELECT file_path, count(DISTINCT pos) FROM {_parquet(deletes)} GROUP BY 1"
        return dict(self._engine.rows(counted))

    def _rewritten(self, plan: Plan) -> list[WrittenFile]:
        """Write the live rows of the data files that leave, as they are; LakeError if they are not all there."""
        table, leaving = plan.table, plan.fold.rewrite
        kinds = table.stored_types().items()
        listed = ", ".join(f"CAST({quote_name(name)} AS {kind}) AS {quote_name(name)}" for name, kind in kinds)
        scan = self._engine.scan(table.location or "")
        select = f"SELECT {listed} FROM {scan} WHERE filename IN ({_texts(leaving)})"
        files = self._engine.write(select, table.field_ids(), table.partition_by())
        live = sum(plan.files[path].rows - plan.deleted.get(path, 0) for path in leaving)
        if (rows := sum(file.rows for file in files)) != live:
            raise LakeError(
                f"folding {table.name} would leave {rows} of {live} rows", hint="Run `starberg verify`, report this."
            )
        return [self._stored(table, file, "data") for file in files]

    def _said_anew(self, plan: Plan, paths: Sequence[str]) -> WrittenFile:
        """Write one delete file of what all delete files say of some data files."""
        said = f"{_parquet(plan.fold.deletes)} WHERE file_path IN ({_texts(paths)})"
        select = f"SELECT DISTINCT file_path, pos FROM {said} ORDER BY file_path, pos"
        [file] = self._engine.write(select, {"file_path": FILE_PATH_ID, "pos": POS_ID}, ordered=True)
        return self._stored(plan.table, file, "deletes")

    def _stored(self, table: IcebergTable, file: ParquetFile, kind: str) -> WrittenFile:
        location = self._tables.put_file(table, file.path, kind)
        return WrittenFile(location, file.rows, file.size_bytes, file.partition, file.columns)


def follow(session: Session, moved: Mapping[tuple[str, str], str]) -> None:
    """Tell the tables that were built from folded ones where those are now: (table, earlier place) → place."""
    changed = []
    for name, state in session.control.build_states().items():
        inputs = {read: moved.get((read, at), at) for read, at in state.inputs.items()}
        if inputs != state.inputs:
            changed.append(state_row(name, replace(state, inputs=inputs)))
    if changed:
        session.write("etl_tables", changed)


class Sweeper:
    """Drops a warehouse's dead branches, old tags and unreferenced files; its lease must be held."""

    def __init__(self, warehouse: str, catalog: Catalog, store: ObjectStore, policy: Policy) -> None:
        self._warehouse = warehouse
        self._catalog = catalog
        self._store = store
        self._policy = policy

    def is_due(self, now: datetime) -> bool:
        """Tell whether the last sweep is long ago."""
        try:
            swept_at = datetime.fromisoformat(json.loads(self._store.get(self._key))["swept_at"])
        except ObjectMissing:
            return True
        return now - swept_at >= self._policy.sweep_every

    def sweep(self, now: datetime, *, dry_run: bool = False) -> SweepResult:
        """Drop what is to go, or only say what that is now (what folding and expiry make unreferenced comes later)."""
        branches = dead_branches(self._catalog.branches(), self._warehouse, now, self._policy)
        tags = expired_tags(self._catalog.tags(), self._warehouse, now, self._policy)
        if not dry_run:
            for branch in branches:
                self._catalog.drop_branch(branch)
            for tag in tags:
                self._catalog.drop_tag(tag)
        files = self._unreferenced(now)
        if not dry_run:
            files.drop()
            self._store.put(self._key, json.dumps({"swept_at": now.isoformat()}).encode())
        freed: Counter[str] = Counter()
        for one in files.found:
            freed[_table_of(one.key)] += one.size
        return SweepResult(
            files=len(files.found),
            bytes_freed=files.bytes,
            bytes_freed_of=dict(freed),
            branches=[branch.name for branch in branches],
            tags=tags,
        )

    def _unreferenced(self, now: datetime) -> Sweep:
        main = self._own(self._catalog.state().tables.items())
        if not main:
            return Sweep(self._store, [])  # a catalog that lost its tables is no reason to drop their files
        branches = self._catalog.branches(self._warehouse)
        there = [self._own(self._catalog.state(branch.name).tables.items()) for branch in branches]
        pointers = self._own(self._catalog.pointers(now - self._policy.keep_states))
        kept = references(self._store, pointers, main.union(*there))
        before = now - self._policy.grace
        others = self._catalog.writes_metadata
        return Sweep.plan(self._store, self._warehouse, kept, before, others_metadata=others)

    def _own(self, pointers: Collection[tuple[str, str]]) -> set[str]:
        """Return where the warehouse's tables are in this lake."""
        own, here = f"{self._warehouse}.", f"{self._store.root}/"
        return {location for table, location in pointers if table.startswith(own) and location.startswith(here)}

    @property
    def _key(self) -> str:
        return f"maintenance/{self._warehouse}.json"


def _table_of(key: str) -> str:
    """Return the table (`warehouse.table`) a file lies with."""
    warehouse, table = key.removeprefix("catalog/metadata/").removeprefix("tables/").split("/")[:2]
    return f"{warehouse}.{table}"


def _ratio(deleted: int, live: int) -> float:
    return round(deleted / (deleted + live), 4) if deleted else 0.0


def _parquet(locations: Sequence[str]) -> str:
    return f"read_parquet([{_texts(locations)}])"


def _texts(values: Sequence[str]) -> str:
    return ", ".join(text(value) for value in values)
