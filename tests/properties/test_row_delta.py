"""Any history of wanted rows: the table holds them exactly, every reader agrees, and what did not change stays.

`--hypothesis-profile=soak` runs a hundred times as many histories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from lake import Default, TempLake, examples
from pyiceberg.expressions import EqualTo
from pyiceberg.table import StaticTable

from starberg.engines.base import Engine
from starberg.engines.duckdb import DuckDBEngine
from starberg.etl.row_delta import REWRITE_SHARE, Counts, RowDelta, Target
from starberg.storage.branch_tables import BranchTables
from starberg.storage.columns import PartitionBy
from starberg.utils.sql import quote_name

VALUES: Mapping[str, Sequence[str]] = {
    "INTEGER": ["0", "-1", "2147483647", "NULL"],
    "BIGINT": ["0", "-1", "9223372036854775807", "NULL"],
    "HUGEINT": ["0", "99999999999999999999999999999999999999", "NULL"],
    "FLOAT": ["0.1", "'nan'", "-0.0", "NULL"],
    "DOUBLE": ["0.1", "'nan'", "'-inf'", "NULL"],
    "VARCHAR": ["''", "'a/b=%20'", "'ü' || chr(0)", "repeat('x', 40)", "'__HIVE_DEFAULT_PARTITION__'", "NULL"],
    "DATE": ["'0001-01-01'", "'2026-02-28'", "'9999-12-31'", "NULL"],
    "TIMESTAMP": ["'0001-01-01'", "'1969-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999999'", "NULL"],
    "DECIMAL(5, 2)": ["0", "-999.99", "1.5", "NULL"],
    "DECIMAL(12, 2)": ["0", "-999.99", "9999999999.99", "NULL"],
    "DECIMAL(12, 4)": ["0.0001", "1.5", "NULL"],
    "BOOLEAN": ["true", "false", "NULL"],
    "INTEGER[]": ["[]", "[1, NULL]", "NULL"],
    # No null: PyIceberg 0.12 reads a null list of structs as an empty one (iceberg-python #3833).
    "STRUCT(a INTEGER, b VARCHAR[])[]": ["[{'a': 1, 'b': ['x', NULL]}, NULL]", "[]"],
    "MAP(VARCHAR, DATE)": ["map {'k': '2026-01-01'::DATE}", "map {}", "NULL"],
}
TYPES: Mapping[str, Sequence[str]] = {
    "n": ["INTEGER", "BIGINT", "HUGEINT", "VARCHAR"],
    "f": ["FLOAT", "DOUBLE"],
    "s": ["VARCHAR"],
    "d": ["DATE", "TIMESTAMP"],
    "m": ["DECIMAL(5, 2)", "DECIMAL(12, 2)", "DECIMAL(12, 4)"],
    "b": ["BOOLEAN"],
    "l": ["INTEGER[]", "STRUCT(a INTEGER, b VARCHAR[])[]", *(["MAP(VARCHAR, DATE)"] if Default.compares_maps else [])],
}
PARTITIONS = ["", "n", "s", "b", "d", "month(d)", "year(d)"]
KEYS = st.integers(0, 30)


@dataclass(frozen=True)
class Step:
    """One run: the columns with their types, the keys it changes (None: away), and how it is applied."""

    columns: Mapping[str, str]
    changes: Mapping[int, int | None]
    partition: str
    scoped: bool


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """Histories in which most runs keep the columns and change a few rows."""
    found: list[Step] = []
    for number in range(draw(st.integers(1, 4))):
        columns = found[-1].columns if found else {}
        if not found or draw(st.integers(0, 2)) == 0:
            chosen = draw(st.lists(st.sampled_from(list(TYPES)), unique=True, min_size=1))
            columns = {name: draw(st.sampled_from(TYPES[name])) for name in chosen}
        partition = found[-1].partition if found else draw(st.sampled_from(PARTITIONS))
        if found and draw(st.integers(0, 3)) == 0:
            partition = draw(st.sampled_from(PARTITIONS))
        size = {"min_size": 10} if number == 0 and draw(st.booleans()) else {"max_size": 8}
        changes = draw(st.dictionaries(KEYS, st.none() | st.integers(0, 11), **size))
        same = bool(found) and columns == found[-1].columns and partition == found[-1].partition
        found.append(Step(columns, changes, partition, same and draw(st.booleans())))
    return found


@dataclass
class History:
    """One table on one branch, with what it must hold.

    Rows are made and read by the engine of this machine, whatever computes the delta.
    """

    engine: Engine
    local: DuckDBEngine
    tables: BranchTables
    key: Sequence[str]
    fold_files: int
    rows: dict[int, int] = field(default_factory=dict)
    runs: int = 0

    def run(self, step: Step) -> None:
        for key, seed in step.changes.items():
            self.rows.pop(key, None)
            if seed is not None:
                self.rows[key] = seed
        touched = [k for k in self.rows if k in step.changes] if step.scoped and self.key else list(self.rows)
        self._fill("everything", step.columns, list(self.rows))
        self._fill("wanted", step.columns, touched)
        self.local.run(f"CREATE OR REPLACE TEMP TABLE touched AS SELECT unnest({list(step.changes)}::INTEGER[]) AS k")
        before, stood, snapshots = self._files(), self._places(), self._snapshots()
        counts = self._apply(step)
        self._holds_what_is_wanted()
        self._readers_agree(step)
        assert not self._apply(step), "the same rows again are no change"
        if self.key and snapshots <= self._snapshots():  # else it began anew: a partition column went
            self._untouched_rows_stay(before, stood, self._places(), counts)

    def _fill(self, name: str, columns: Mapping[str, str], keys: Sequence[int]) -> None:
        """Make a table of rows; a row's values follow from its key's number."""
        self.local.run(
            f"CREATE OR REPLACE TEMP TABLE {name} (k INTEGER, "
            + ", ".join(f"{quote_name(c)} {kind}" for c, kind in columns.items())
            + ")"
        )
        if keys:
            rows = [
                f"({key}, " + ", ".join(VALUES[t][self.rows[key] % len(VALUES[t])] for t in columns.values()) + ")"
                for key in keys
            ]
            self.local.run(f"INSERT INTO {name} VALUES {', '.join(rows)}")

    def _apply(self, step: Step) -> Counts:
        partition = [PartitionBy.parse(step.partition)] if _partitionable(step) else []
        self.runs += 1
        before = self.tables.load("w.t")
        scope = "touched" if step.scoped and self.key else ""
        target = Target("w.t", self.key, partition, scope, self.fold_files)
        counts = RowDelta(self.engine, self.tables, f"run{self.runs}").apply(target, "wanted")
        if before is not None and before.location == self._location:
            self.runs -= 1
        return counts

    def _snapshots(self) -> set[int]:
        table = self.tables.load("w.t")
        return {snapshot.snapshot_id for snapshot in table.metadata.snapshots} if table else set()

    @property
    def _location(self) -> str:
        return self.tables.pointers["w.t"]

    def _differences(self, relation: str) -> int:
        [(count,)] = self.local.rows(
            f"SELECT (SELECT count(*) FROM (FROM {relation} EXCEPT ALL FROM everything)) + "
            f"(SELECT count(*) FROM (FROM everything EXCEPT ALL FROM {relation}))"
        )
        return int(count)

    def _holds_what_is_wanted(self) -> None:
        assert self._differences(f"(SELECT * EXCLUDE (_run_id) FROM iceberg_scan('{self._location}'))") == 0

    def _readers_agree(self, step: Step) -> None:
        table = StaticTable.from_metadata(self._location)
        self.local.connection.register("arrow", table.scan().to_arrow().drop_columns(["_run_id"]))
        assert self._differences("arrow") == 0
        self.local.connection.unregister("arrow")
        snapshot = table.current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        facts = snapshot.summary.additional_properties
        deleted = int(facts.get("total-position-deletes", "0"))
        assert int(facts["total-records"]) - deleted == len(self.rows)
        for key in list(step.changes)[:2]:
            found = table.scan(row_filter=EqualTo("k", key)).to_arrow().num_rows
            assert found == (key in self.rows), "statistics and partitions hide no row"

    def _files(self) -> dict[str, int]:
        table = self.tables.load("w.t")
        return {path: file.rows for path, file in self.tables.data_files(table).items()} if table else {}

    def _places(self) -> dict[int, tuple[str, str]]:
        """Return where each key's row stands and which run wrote it."""
        if "w.t" not in self.tables.pointers:
            return {}
        found = self.local.rows(f"SELECT k, filename, _run_id FROM {self.local.scan(self._location)}")
        return {key: (path, run) for key, path, run in found}

    def _untouched_rows_stay(
        self,
        before: Mapping[str, int],
        stood: Mapping[int, tuple[str, str]],
        stands: Mapping[int, tuple[str, str]],
        counts: Counts,
    ) -> None:
        """A row no run changed keeps the run that wrote it, and its file unless that lost many rows."""
        stayed = {key for key, (_, run) in stands.items() if key in stood and stood[key][1] == run}
        assert counts.deleted + counts.updated == len(stood.keys() - stayed)
        if self.fold_files:
            return
        for path, rows in before.items():
            left = {key for key, (file, _) in stood.items() if file == path} & stayed
            lost = 1 - len(left) / rows
            moved = {key for key in left if stands[key][0] != path}
            assert not moved or lost > REWRITE_SHARE, f"{len(left)} of {rows} rows stayed, {len(moved)} were rewritten"


def _partitionable(step: Step) -> bool:
    """Tell whether the step's columns can be partitioned as it says."""
    if not step.partition:
        return False
    kind = step.columns.get(step.partition[-2] if "(" in step.partition else step.partition)
    if "(" not in step.partition and kind in ("TIMESTAMP", "HUGEINT"):
        return False
    return kind is not None


@contextmanager
def table_of(key: Sequence[str], fold_files: int) -> Any:
    with TemporaryDirectory() as folder, TempLake(Path(folder), "w").session() as (_, engine, tables):
        yield History(engine, engine.local, tables, key, fold_files)


@examples(20)
@given(steps(), st.sampled_from([["k"], ["k"], []]), st.sampled_from([0, 0, 3]))
def test_a_table_holds_the_wanted_rows_after_every_run(runs: list[Step], key: list[str], fold_files: int) -> None:
    with table_of(key, fold_files) as history:
        for step in runs:
            history.run(step)
