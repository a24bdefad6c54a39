"""The engine itself: statements are bound by DuckDB, computed by Spark, and written as files of Iceberg's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from starberg.engines.base import Engine, ParquetFile
from starberg.engines.clients import Batches
from starberg.engines.duckdb import DuckDBEngine
from starberg.engines.partitions import PartitionValue, partition_values, read_values, with_values
from starberg.engines.spark import files
from starberg.engines.spark.session import explained, session
from starberg.engines.spark.sql import ROW_ID, parsed, refused, tables_of, to_spark
from starberg.engines.spark.tables import Tables, Temporary
from starberg.engines.spark.types import arrow_schema, as_python, as_typed, as_written
from starberg.storage.columns import ColumnStats, PartitionBy, SqlColumn
from starberg.storage.object_store import S3Access
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote_name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_BATCH_ROWS = 10_000

_CREATE = re.compile(r"CREATE OR REPLACE TEMP TABLE (?P<name>\S+) AS (?P<select>.*)", re.DOTALL)
_INSERT = re.compile(r"INSERT INTO (?P<name>\S+) (?P<by>BY NAME )?(?P<select>.*)", re.DOTALL)
_DELETE = re.compile(r"DELETE FROM (?P<name>\S+) WHERE (?P<condition>.*)", re.DOTALL)
_RENAME = re.compile(r"ALTER TABLE (?P<name>\S+) RENAME TO (?P<to>\S+)")
_DROP = re.compile(r"DROP TABLE (IF EXISTS )?(?P<name>\S+)")
_SEARCH = re.compile(r"SET search_path = '(?P<schemas>[^']*)'")


class SparkEngine:
    """A session of Spark over the lake, beside an engine of this machine.

    Statements that read less than `from_bytes` are the other engine's, and Spark is started with the first that is not.
    `scratch` of `local` holds all temporary files: of a cluster, every worker must see it under the same path.
    """

    def __init__(
        self,
        local: DuckDBEngine,
        *,
        master: str = "local[*]",
        jars: str = "",
        s3: S3Access | None = None,
        from_bytes: int = 0,
    ) -> None:
        if find_spec("pyspark") is None:
            raise UsageError("Spark is not installed", hint="Install it: uv add 'starberg[spark]'")
        self._local = local
        self._start = partial(session, master, jars)
        self._tables = Tables(local, lambda: self._spark, s3)
        self._from_bytes = from_bytes

    @cached_property
    def _spark(self) -> SparkSession:
        return self._start()

    @property
    def local(self) -> Engine:
        """See `Engine.local`."""
        return self._local

    def version(self) -> str:
        """See `Engine.version`."""
        return f"Spark {self._spark.version} at {self._spark.sparkContext.master}, beside {self._local.version()}"

    def refused(self, select: str) -> str:
        """See `Engine.refused`."""
        return refused(select)

    def attach(self, tables: Mapping[str, str]) -> None:
        """See `Engine.attach`."""
        self._tables.attach(tables)

    def attach_postgres(self, name: str, secret: Mapping[str, str], options: str) -> None:
        """See `Engine.attach_postgres`; a database is read by one machine."""
        self._local.attach_postgres(name, secret, options)

    def scan(self, location: str) -> str:
        """See `Engine.scan`."""
        return self._tables.placed(location)

    def confine(self, folders: Sequence[str]) -> None:
        """See `Engine.confine`; Spark is only told of tables that DuckDB was allowed to open."""
        self._local.confine(folders)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """See `Engine.run`: temporary tables are made and changed by either; all else is DuckDB's."""
        theirs = self._tables.temporary
        if (made := _CREATE.fullmatch(sql)) and (query := self._large(made["select"])):
            self._create(_bare(made["name"]), made["select"], query)
        elif made:
            self._local.run(sql)
            self._tables.drop(_bare(made["name"]))
        elif (added := _INSERT.fullmatch(sql)) and (_bare(added["name"]) in theirs or self._large(added["select"])):
            self._insert(_bare(added["name"]), added["select"], by_name=bool(added["by"]))
        elif (taken := _DELETE.fullmatch(sql)) and _bare(taken["name"]) in theirs:
            rows = f"SELECT * FROM {taken['name']} WHERE NOT coalesce({taken['condition']}, false)"
            self._create(_bare(taken["name"]), rows, parsed(rows))
        elif (renamed := _RENAME.fullmatch(sql)) and _bare(renamed["name"]) in theirs:
            self._tables.keep(_bare(renamed["to"]), theirs[_bare(renamed["name"])])
            self._tables.drop(_bare(renamed["name"]))
        elif (dropped := _DROP.fullmatch(sql)) and _bare(dropped["name"]) in theirs:
            self._tables.drop(_bare(dropped["name"]))
        elif path := _SEARCH.fullmatch(sql):
            self._tables.search(path["schemas"])
        else:
            self._local.run(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Engine.rows`."""
        if parameters:
            raise UsageError("Spark is asked without parameters", hint="Write values as literals.")
        query = self._large(sql)
        if query is None:
            return self._local.rows(sql)
        columns, typed = self._typed(sql, query)
        frame = self._asked(typed)
        with explained():
            found = frame.collect()
        kinds = [column.type for column in columns]
        return [tuple(as_python(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in found]

    def answer(self, select: str) -> Batches:
        """Answer a question of somebody's, in its order and DuckDB's types; the engine is closed after the last row.

        Functions that are on no list go as sqlglot translates them: these answers are compared with no table.
        """
        columns, typed = self._typed(select, parsed(select), strict=False)
        found = Temporary(columns, (self._save(typed, 0),))
        return self._local.batches(self._local.execute(self._tables.in_order(found)), _BATCH_ROWS)

    def columns(self, select: str) -> list[SqlColumn]:
        """See `Engine.columns`: as DuckDB binds them."""
        return self._local.columns(_without_row_ids(select))

    def write(
        self,
        select: str,
        field_ids: Mapping[str, Any],
        partition: Sequence[PartitionBy] = (),
        *,
        ordered: bool = False,
    ) -> list[ParquetFile]:
        """See `Engine.write`: each task writes its rows, on the worker it runs on."""
        query = self._large(select)
        if query is None:
            return self._local.write(select, field_ids, partition, ordered=ordered)
        from pyspark import cloudpickle

        values = partition_values(self.columns(select), partition) if partition else []
        if values:
            select = with_values(select, values)
            query = parsed(select)
        columns, typed = self._typed(select, query)
        folder = self._tables.new_folder()
        folder.mkdir(parents=True)
        kept = columns[: len(columns) - len(values)]
        keys = [f"c{number}" for number in range(len(kept), len(columns))]
        listed = ", ".join([*(as_written(f"c{number}", column) for number, column in enumerate(kept)), *keys])
        if ordered:
            frame = self._asked(f"SELECT {listed} FROM ({typed})").coalesce(1)
        else:  # tasks of a good size; rows of a partition come together
            together = f"REBALANCE({', '.join(keys)})" if keys else "REBALANCE"
            frame = self._asked(f"SELECT /*+ {together} */ * FROM (SELECT {listed} FROM ({typed}))")
            frame = frame.sortWithinPartitions(*keys) if keys else frame
        schema = arrow_schema(kept, field_ids)
        cloudpickle.register_pickle_by_value(files)
        write = files.writer(str(folder), schema.serialize().to_pybytes(), len(values))
        with explained():
            written = frame.mapInArrow(write, files.WRITTEN).collect()
        return [_file(row, values) for row in written]

    def close(self) -> None:
        """See `Engine.close`; Spark itself goes on for the next session of this process."""
        self._tables.forget()
        self._local.close()

    def _large(self, select: str) -> exp.Expr | None:
        """Return a SELECT that is for Spark, parsed; nothing if it reads little.

        Only Spark numbers the rows of its temporary tables.
        """
        query = parsed(select)
        read = [(table.db, table.name) for table in tables_of(query) if table.name]
        numbered = f"{ROW_ID} AS " in select and any(not db and name in self._tables.temporary for db, name in read)
        if numbered or not self._from_bytes:
            return query
        is_little = sum(self._tables.size_of(*table) for table in read) < self._from_bytes
        return None if is_little else query

    def _create(self, name: str, select: str, query: exp.Expr) -> None:
        columns, typed = self._typed(select, query)
        folder = self._save(typed, 0)
        self._tables.keep(name, Temporary(_distinct(columns), (folder,)))

    def _insert(self, name: str, select: str, *, by_name: bool) -> None:
        """Add files to a temporary table: rows in its columns and types."""
        before = self._tables.temporary.get(name) or self._tables.handed_over(name)
        if before is None:
            raise UsageError(f"SQL for Spark: there is no table {name}")
        nothing = f"SELECT * FROM {quote_name(name)} WHERE false"
        union = "UNION ALL BY NAME" if by_name else "UNION ALL"
        select = f"{nothing} {union} ({select})"
        _, typed = self._typed(select, parsed(select), as_types=before.columns)
        folder = self._save(typed, len(before.folders))
        self._tables.keep(name, Temporary(before.columns, (*before.folders, folder)))

    def _typed(
        self, select: str, query: exp.Expr, *, as_types: Sequence[SqlColumn] = (), strict: bool = True
    ) -> tuple[Sequence[SqlColumn], str]:
        """Return a SELECT's columns as DuckDB has them, and Spark's SQL for its rows in these types: c0, c1, …"""
        columns = as_types or self.columns(select)
        places = [f"c{number}" for number in range(len(columns))]
        casts = [as_typed(place, column, place) for place, column in zip(places, columns, strict=True)]
        rows = to_spark(query, self._tables.resolve, strict=strict)
        return columns, f"SELECT {', '.join(casts)} FROM ({rows}) AS rows({', '.join(places)})"

    def _asked(self, sql: str) -> DataFrame:
        with explained():
            return self._spark.sql(sql)

    def _save(self, typed: str, number: int) -> Path:
        """Write a temporary table's files; row numbers differ from those of its other files."""
        folder = self._tables.new_folder()
        frame = self._asked(f"SELECT *, monotonically_increasing_id() + {number << 53} AS {ROW_ID} FROM ({typed})")
        with explained():
            frame.write.parquet(str(folder))
        return folder


def _bare(name: str) -> str:
    """Return a quoted or bare name without its quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _without_row_ids(select: str) -> str:
    """Return a SELECT that DuckDB can bind: its views of temporary tables have no row numbers."""
    return select.replace(f"{ROW_ID} AS ", "0::BIGINT AS ")


def _distinct(columns: Sequence[SqlColumn]) -> list[SqlColumn]:
    """Name columns as DuckDB does in a table made from a SELECT: the second `a` is `a_1`."""
    seen: dict[str, int] = {}
    found = []
    for column in columns:
        name, times = column.name, seen.get(column.name.lower(), 0)
        seen[name.lower()] = times + 1
        found.append(SqlColumn(f"{name}_{times}" if times else name, column.type))
    return found


def _file(row: Any, values: Sequence[PartitionValue]) -> ParquetFile:
    """Read what a task told of a file."""
    told = json.loads(row.told)
    stats = {name: ColumnStats(*facts) for name, facts in told["columns"].items()}
    return ParquetFile(Path(row.path), row.rows, row.size, read_values(told["partition"], values), stats)
