"""Bring one table to the rows a SELECT yields, writing only what differs.

The target's rows and the wanted rows are joined by key and compared with IS DISTINCT FROM over every column that is
not bookkeeping; rows that differ leave by position deletes and enter in new files, in one commit. A run that changes
nothing writes nothing. A data file that loses all its rows leaves the table; past `REWRITE_SHARE` it is rewritten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starberg.engines.base import Engine, ParquetFile
from starberg.storage.branch_tables import BranchTables
from starberg.storage.columns import FILE_PATH_ID, POS_ID, PartitionBy
from starberg.storage.table_files import Change, DeleteFile, WrittenFile
from starberg.utils.sql import names, quote_name, text

if TYPE_CHECKING:
    from starberg.storage.iceberg_tables import IcebergTable

REWRITE_SHARE = 0.3
"""A data file with a larger share of deleted rows is rewritten: reading past deletes would cost more than it saves."""

FOLD_SMALL_FILES = 50
SMALL_FILE_BYTES = 16 * 1024 * 1024
"""So many files below that size become one when rows are added: a reader opens each of them."""

RUN_COLUMN = "_run_id"
BOOKKEEPING = ("_load_id", RUN_COLUMN)
"""Columns that tell where a row came from; a difference in them alone is no change."""


@dataclass(frozen=True)
class Counts:
    """Rows a step inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserted or self.updated or self.deleted)

    @property
    def total(self) -> int:
        """All rows touched."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class Target:
    """The table to bring up to date.

    `key` identifies a row (empty: rows have no identity, any difference replaces the table). `scope` names a relation
    with the columns `scope_key` (default: the key): only rows with those values are compared, all others stay; without
    it, absent keys are deleted. `old` names a temporary table of the rows in the scope, if `read` has filled one.
    A table of `fold_files` data files (0: never) is rewritten to one when it changes.
    """

    name: str
    key: Sequence[str]
    partition: Sequence[PartitionBy] = ()
    scope: str = ""
    fold_files: int = 0
    scope_key: Sequence[str] = ()
    old: str = ""


class RowDelta:
    """Applies wanted rows to tables of one branch, in one engine session, under one run id."""

    def __init__(self, engine: Engine, tables: BranchTables, run_id: str) -> None:
        self._engine = engine
        self._tables = tables
        self._run_id = run_id

    def read(self, target: Target, into: str) -> None:
        """Fill a temporary table with the target's rows in its scope, and where each stands: `_file`, `_pos`.

        Whoever needs these rows reads this instead of the table: finding a few keys' rows costs as much as reading all.
        """
        scan = self._engine.scan(self._tables.pointers[target.name])
        on = " AND ".join(f"s.{quote_name(k)} = t.{quote_name(k)}" for k in target.scope_key or target.key)
        self._engine.run(
            f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT s.* EXCLUDE (filename, file_row_number), "
            f"filename AS _file, file_row_number AS _pos FROM {scan} s SEMI JOIN {target.scope} t ON {on}"
        )

    def apply(self, target: Target, wanted: str, properties: Mapping[str, str] | None = None) -> Counts:
        """Make the target hold the rows of the temporary table `wanted` (without `_run_id`); return what changed.

        The branch's pointer moves only if rows, columns, partitioning or properties changed.
        """
        columns = self._engine.columns(f"SELECT *, {text('')} AS {RUN_COLUMN} FROM {wanted}")
        before = self._tables.load(target.name)
        staged = self._tables.staged(target.name, columns, target.partition)
        rows = _as_stored(staged, wanted)
        if before is None:
            change = Change(added=self._write(staged, f"SELECT * EXCLUDE (_row) FROM {rows}"))
            counts = Counts(inserted=sum(file.rows for file in change.added))
        else:
            old = self._old_rows(before, staged, target)
            self._find(old, rows, staged, target.key)
            if target.key and not self._adds_up(old, rows):
                self._find(old, rows, staged, ())
            counts = self._counts()
            change = self._change(before, staged, target, rows) if counts or staged.restarted else Change()
        if change or before is None or staged.metadata is not before.metadata or properties:
            committed = self._tables.commit(staged, change, properties)
            self._engine.attach({target.name: committed.location or ""})
        return counts

    def append(self, target: Target, rows: str) -> Counts:
        """Add the rows of a temporary table, none of whose keys the target has, without looking at those it has.

        The engine goes on reading the target as it was. One of `fold_files` is left to `apply`, which folds them; of
        others the small files are folded once they are many.
        """
        before = self._tables.load(target.name)
        if before is None or before.facts()["files"] >= target.fold_files > 0:
            return self.apply(target, rows)
        columns = self._engine.columns(f"SELECT *, {text('')} AS {RUN_COLUMN} FROM {rows}")
        staged = self._tables.staged(target.name, columns, target.partition)
        if staged.restarted:
            return self.apply(target, rows)
        removed = self._small_files(before) if before.facts()["files"] >= FOLD_SMALL_FILES else {}
        entering = f"SELECT * EXCLUDE (_row) FROM {_as_stored(staged, rows)}"
        added = self._write(staged, entering, self._rows_of(before, staged, list(removed)) if removed else "")
        self._tables.commit(staged, Change(added=added, removed=removed))
        [(count,)] = self._engine.rows(f"SELECT count(*) FROM {rows}")
        return Counts(inserted=count)

    def _small_files(self, table: IcebergTable) -> Mapping[str, int]:
        """Return the small data files, if they are many, with how many rows of each are deleted by position."""
        files = self._tables.data_files(table)
        small = {path: file for path, file in files.items() if file.size_bytes < SMALL_FILE_BYTES}
        if len(small) < FOLD_SMALL_FILES:
            return {}
        inside = ", ".join(text(path) for path in small)
        scan = self._engine.scan(table.location or "")
        live = dict(self._engine.rows(f"SELECT filename, count(*) FROM {scan} WHERE filename IN ({inside}) GROUP BY 1"))
        return {path: file.rows - live.get(path, 0) for path, file in small.items()}

    def _find(self, old: str, rows: str, staged: IcebergTable, key: Sequence[str]) -> None:
        """Fill the temporary table `delta`: file and position of rows that leave, row number of rows that enter.

        Without a key, all rows leave and enter if there is any difference.
        """
        compared = [f.name for f in staged.schema.fields if f.name not in BOOKKEEPING]
        if key:
            on = " AND ".join(f"o.{quote_name(k)} IS NOT DISTINCT FROM n.{quote_name(k)}" for k in key)
            differs = f"(o._file IS NULL OR n._row IS NULL OR {_distinct(compared)})"
            select = f"SELECT _file, _pos, _row FROM {old} o FULL JOIN {rows} n ON {on} WHERE {differs}"
        else:
            listed = names(compared)
            same = (
                f"NOT EXISTS (SELECT {listed} FROM {old} EXCEPT ALL SELECT {listed} FROM {rows}) AND "
                f"NOT EXISTS (SELECT {listed} FROM {rows} EXCEPT ALL SELECT {listed} FROM {old})"
            )
            select = (
                f"SELECT _file, _pos, NULL::BIGINT AS _row FROM {old} WHERE NOT ({same}) "
                f"UNION ALL SELECT NULL, NULL, _row FROM {rows} WHERE NOT ({same})"
            )
        self._engine.run(f"CREATE OR REPLACE TEMP TABLE delta AS {select}")

    def _adds_up(self, old: str, rows: str) -> bool:
        """Tell whether the delta leads to as many rows as are wanted: it does not where rows share a key.

        Those must get into the table all the same, so that the checks find them.
        """
        [(before, left, entered, wanted)] = self._engine.rows(
            f"SELECT (SELECT count(*) FROM {old}), count(DISTINCT (_file, _pos)) FILTER (_file IS NOT NULL), "
            f"count(DISTINCT _row), (SELECT count(*) FROM {rows}) FROM delta"
        )
        return bool(before - left + entered == wanted)

    def _old_rows(self, before: IcebergTable, staged: IcebergTable, target: Target) -> str:
        """Return the target's rows, within the scope, with where they stand."""
        if not target.scope:
            scan = self._engine.scan(before.location or "")
            return f"(SELECT {_listed(before, staged)}, filename AS _file, file_row_number AS _pos FROM {scan})"
        if not target.old:
            self.read(target, "old_rows")
        return f"(SELECT {_listed(before, staged)}, _file, _pos FROM {target.old or 'old_rows'})"

    def _counts(self) -> Counts:
        [(inserted, updated, deleted)] = self._engine.rows(
            "SELECT count(*) FILTER (_file IS NULL), count(*) FILTER (_file IS NOT NULL AND _row IS NOT NULL), "
            "count(*) FILTER (_row IS NULL) FROM delta"
        )
        return Counts(inserted, updated, deleted)

    def _change(self, before: IcebergTable, staged: IcebergTable, target: Target, rows: str) -> Change:
        files = self._tables.data_files(before)
        fold = staged.restarted or 0 < target.fold_files <= len(files)
        leaving = self._leaving_rows(before, every_file=fold)
        removed: dict[str, int] = {}
        rewritten: list[str] = []
        groups: dict[tuple[int, tuple[object, ...]], list[str]] = defaultdict(list)
        for path, (live, gone) in leaving.items():
            file = files[path]
            if fold or gone == live or (file.rows - live + gone) > REWRITE_SHARE * file.rows:
                removed[path] = file.rows - live
                rewritten += [path] if gone < live else []
            else:
                groups[file.spec_id, file.partition].append(path)
        entering = f"SELECT * EXCLUDE (_row) FROM {rows} WHERE _row IN (SELECT _row FROM delta)"
        added = self._write(staged, entering, self._staying(before, staged, rewritten) if rewritten else "")
        deletes = [DeleteFile(self._write_deletes(staged, paths), paths) for paths in groups.values()]
        return Change(added=added, deletes=deletes, removed={} if staged.restarted else removed)

    def _leaving_rows(self, before: IcebergTable, *, every_file: bool) -> Mapping[str, tuple[int, int]]:
        """Return, for each data file that loses rows (or every file), its live rows and how many of them leave."""
        rows = self._engine.rows(
            "WITH gone AS (SELECT _file, count(DISTINCT _pos) AS gone FROM delta WHERE _file IS NOT NULL GROUP BY 1) "
            f"SELECT filename, count(*), coalesce(any_value(gone), 0) "
            f"FROM {self._engine.scan(before.location or '')} "
            f"{'LEFT' if every_file else ''} JOIN gone ON filename = _file GROUP BY 1"
        )
        return {path: (live, gone) for path, live, gone in rows}

    def _staying(self, before: IcebergTable, staged: IcebergTable, paths: Sequence[str]) -> str:
        """Return the rows of rewritten files that do not leave."""
        gone = "FROM delta WHERE _file = s.filename AND _pos = s.file_row_number"
        return f"{self._rows_of(before, staged, paths)} AND NOT EXISTS ({gone})"

    def _rows_of(self, before: IcebergTable, staged: IcebergTable, paths: Sequence[str]) -> str:
        """Return the live rows of some data files, as `s`."""
        inside = ", ".join(text(path) for path in paths)
        scan = self._engine.scan(before.location or "")
        return f"SELECT {_listed(before, staged)} FROM {scan} s WHERE filename IN ({inside})"

    def _write(self, table: IcebergTable, select: str, staying: str = "") -> list[WrittenFile]:
        """Write rows as this run's, with those that stay as they are."""
        select = f"SELECT *, {text(self._run_id)} AS {RUN_COLUMN} FROM ({select})"
        if staying:
            select = f"{select} UNION ALL BY NAME {staying}"
        files = self._engine.write(select, table.field_ids(), table.partition_by())
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda file: self._store(table, file, "data"), files))

    def _write_deletes(self, table: IcebergTable, paths: Sequence[str]) -> WrittenFile:
        inside = ", ".join(text(path) for path in paths)
        select = (
            "SELECT DISTINCT _file AS file_path, _pos AS pos FROM delta "
            f"WHERE _file IN ({inside}) ORDER BY file_path, pos"
        )
        [file] = self._engine.write(select, {"file_path": FILE_PATH_ID, "pos": POS_ID}, ordered=True)
        return self._store(table, file, "deletes")

    def _store(self, table: IcebergTable, file: ParquetFile, kind: str) -> WrittenFile:
        location = self._tables.put_file(table, file.path, kind)
        return WrittenFile(location, file.rows, file.size_bytes, file.partition, file.columns)


def _as_stored(staged: IcebergTable, wanted: str) -> str:
    """Return the wanted rows in the types that files hold, numbered by `_row`."""
    kinds = staged.stored_types()
    listed = ", ".join(_cast(quote_name(name), name, kind) for name, kind in kinds.items() if name != RUN_COLUMN)
    return f"(SELECT {listed}, rowid AS _row FROM {wanted})"


def _listed(before: IcebergTable, staged: IcebergTable) -> str:
    """Return the staged columns as read from the table before: null where a column is new or of a new type."""
    kept, kinds = {field.field_id for field in before.schema.fields}, staged.stored_types()
    return ", ".join(
        _cast(quote_name(field.name) if field.field_id in kept else "NULL", field.name, kinds[field.name])
        for field in staged.schema.fields
    )


def _cast(value: str, name: str, kind: str) -> str:
    return f"CAST({value} AS {kind}) AS {quote_name(name)}"


def _distinct(columns: Sequence[str]) -> str:
    return " OR ".join(f"o.{quote_name(c)} IS DISTINCT FROM n.{quote_name(c)}" for c in columns) or "false"
