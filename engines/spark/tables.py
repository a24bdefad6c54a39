"""What Spark reads: lake tables by their metadata files, its own temporary tables, and those of the engine beside it.

Each is a view in Spark, and of what Spark made DuckDB has a view, too, over the same files: it binds every statement.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starberg.engines.duckdb import DuckDBEngine
from starberg.engines.spark.session import explained
from starberg.engines.spark.sql import ROW_ID, Relation
from starberg.engines.spark.types import as_typed, for_file, spark_name, spark_quoted, type_name
from starberg.storage.columns import SqlColumn
from starberg.storage.object_store import S3Access
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote, quote_name, text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TEMPS, _PLACES = "_temporary", "_at"
"""DuckDB's schemas of what Spark computed, and of tables by where they are."""


@dataclass(frozen=True)
class Temporary:
    """A temporary table: Parquet files whose columns are called by their place, `c0`, `c1`, …, then `rowid`."""

    columns: Sequence[SqlColumn]
    folders: tuple[Path, ...]


class Tables:
    """The relations of one session, and the scratch folder they are kept in."""

    def __init__(self, local: DuckDBEngine, spark: Callable[[], SparkSession], s3: S3Access | None) -> None:
        self.temporary: dict[str, Temporary] = {}
        self._local = local
        self._start = spark
        self._s3 = s3
        self._folder = Path(tempfile.mkdtemp(prefix="spark-", dir=local.scratch))
        self._folders = self._names = 0
        self._lake: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._schemas: list[str] = []
        self._found: dict[tuple[str, Any], Relation] = {}
        self._handed: dict[int, Temporary] = {}
        self._sizes: dict[str, int] = {}
        for schema in (_TEMPS, _PLACES):
            local.run(f"CREATE SCHEMA {schema}")
        self.search("main")

    def attach(self, tables: Mapping[str, str]) -> None:
        """See `Engine.attach`."""
        self._local.attach(tables)
        self._lake |= tables

    def search(self, schemas: str) -> None:
        """Look for bare names in these schemas."""
        self._schemas = schemas.split(",")
        self._local.run(f"SET search_path = {text(f'{schemas},{_TEMPS}')}")

    def placed(self, location: str) -> str:
        """See `Engine.scan`."""
        if location not in self._places:
            place = f"at{len(self._places)}"
            self._local.run(f"CREATE VIEW {_PLACES}.{place} AS SELECT * FROM {self._local.scan(location)}")
            self._places[location] = place
        return f"(SELECT * FROM {_PLACES}.{self._places[location]})"

    def keep(self, name: str, table: Temporary) -> None:
        """Make a temporary table known; it takes the place of one of this name."""
        self._local.run(f"DROP TABLE IF EXISTS temp.main.{quote_name(name)}")
        self.temporary[name] = table
        self._local.run(f"CREATE OR REPLACE VIEW {_TEMPS}.{quote_name(name)} AS {_from_files(table)}")

    def drop(self, name: str) -> None:
        """Forget a temporary table of Spark's, if there is one of this name.

        Its files stay until the session ends, as others may have been made from them.
        """
        if self.temporary.pop(name, None):
            self._local.run(f"DROP VIEW {_TEMPS}.{quote_name(name)}")

    def in_order(self, table: Temporary) -> str:
        """Return DuckDB's SELECT of a temporary table's rows as they were computed."""
        return f"{_from_files(table)} ORDER BY {ROW_ID}"

    def forget(self) -> None:
        """Drop all views of this session in Spark."""
        for view in [name for one in self._found.values() for name in (one.view, one.numbered) if name]:
            self._spark.catalog.dropTempView(view)

    def new_folder(self) -> Path:
        """Return where a statement may write its files; there is no such folder yet."""
        self._folders += 1
        return self._folder / f"{self._folders}"

    def new_name(self) -> str:
        """Return a name no other view has."""
        self._names += 1
        return f"t{self._names}"

    def resolve(self, schema: str, name: str) -> Relation:
        """Return the relation that DuckDB would find under a name; UsageError if there is none."""
        if not schema and (handed := self.handed_over(name)):
            return self._parquet(handed)
        if not schema and name in self.temporary:
            return self._parquet(self.temporary[name])
        schema = schema or self._schema_of(name)
        location = self._location(schema, name)
        if location is None:
            raise UsageError(f"SQL for Spark: there is no table {name}")
        return self._at(location, f"{schema}.{name}", placed=schema == _PLACES)

    def size_of(self, schema: str, name: str) -> int:
        """Return about how many bytes there are to read of a relation, as Parquet files have them; 0: there is none."""
        if not schema and (found := self._temporary_of_local(name)):
            return found[1] * 8 * len(self._local.columns(f"SELECT * FROM temp.main.{quote_name(name)}"))
        if not schema and name in self.temporary:
            folders = self.temporary[name].folders
            return sum(file.stat().st_size for folder in folders for file in folder.glob("*.parquet"))
        location = self._location(schema or self._schema_of(name), name)
        if location is None:
            return 0
        if location not in self._sizes:
            [(said,)] = self._local.rows(f"SELECT content FROM read_text({text(location)})")
            metadata = json.loads(said)
            current = [s for s in metadata["snapshots"] if s["snapshot-id"] == metadata.get("current-snapshot-id")]
            self._sizes[location] = int(current[0]["summary"]["total-files-size"]) if current else 0
        return self._sizes[location]

    def handed_over(self, name: str) -> Temporary | None:
        """Return a temporary table of DuckDB's as files, which are written when it is first asked for."""
        found = self._temporary_of_local(name)
        if found is None:
            return None
        oid, _ = found
        if oid not in self._handed:
            source = f"temp.main.{quote_name(name)}"
            columns = self._local.columns(f"SELECT * FROM {source}")
            folder = self.new_folder()
            folder.mkdir(parents=True)
            listed = ", ".join(f"{for_file(c)} AS c{number}" for number, c in enumerate(columns))
            copied = f"SELECT {listed}, {ROW_ID} FROM {source}"
            self._local.run(f"COPY ({copied}) TO {text(str(folder / 'rows.parquet'))} (FORMAT parquet)")
            self._handed[oid] = Temporary(columns, (folder,))
        return self._handed[oid]

    def _temporary_of_local(self, name: str) -> tuple[int, int] | None:
        """Return the number of a temporary table of DuckDB's, another for each that had this name, and its rows."""
        asked = f"SELECT table_oid, estimated_size FROM duckdb_tables() WHERE temporary AND table_name = {text(name)}"
        found = self._local.rows(asked)
        return (found[0][0], found[0][1]) if found else None

    def _schema_of(self, name: str) -> str:
        return next((schema for schema in self._schemas if f"{schema}.{name}" in self._lake), "")

    def _location(self, schema: str, name: str) -> str | None:
        if schema == _PLACES:
            return next(at for at, place in self._places.items() if place == name)
        return self._lake.get(f"{schema}.{name}")

    def _at(self, location: str, name: str, *, placed: bool = False) -> Relation:
        """Return a published table, with `filename` and `file_row_number` if its rows' places are asked for."""
        key = ("placed" if placed else "table", location)
        if key not in self._found:
            columns = {column.name: column.type for column in self._local.columns(f"SELECT * FROM {quote(name)}")}
            for kind in columns.values():
                type_name(kind)  # what Spark has not is refused
            where = {"filename": "_file", "file_row_number": "_pos"} if placed else {}
            listed = [f"{spark_quoted(where.get(c, c))} AS {spark_name(c)}" for c in columns]
            view = self.new_name()
            with explained():
                self._iceberg(location).selectExpr(*listed).createOrReplaceTempView(view)
            self._found[key] = Relation(view, columns)
        return self._found[key]

    @cached_property
    def _spark(self) -> SparkSession:
        return self._start()

    def _iceberg(self, location: str) -> DataFrame:
        """Return a table as one metadata file has it; Spark's own reader of such asks Hadoop for the files."""
        from pyspark.sql import DataFrame

        java, none = self._spark._jvm, self._spark._jvm.scala.Option.empty()
        operations = java.org.apache.iceberg.StaticTableOperations(location, self._files)
        table = java.org.apache.iceberg.BaseTable(operations, location)
        relation = java.org.apache.spark.sql.execution.datasources.v2.DataSourceV2Relation.create(
            java.org.apache.iceberg.spark.source.SparkTable(table, False),
            none,
            none,
            java.org.apache.spark.sql.util.CaseInsensitiveStringMap.empty(),
        )
        session = self._spark._jsparkSession
        return DataFrame(java.org.apache.spark.sql.Dataset.ofRows(session, relation), self._spark)

    @cached_property
    def _files(self) -> Any:
        """Iceberg's access to files, which travels to the workers with each task, and with it the keys of the store."""
        java = self._spark._jvm
        if self._s3 is None:
            hadoop = self._spark._jsparkSession.sparkContext().hadoopConfiguration()
            return java.org.apache.iceberg.hadoop.HadoopFileIO(hadoop)
        files = java.org.apache.iceberg.aws.s3.S3FileIO()
        files.initialize(java.java.util.HashMap(_properties(self._s3)))
        return files

    def _parquet(self, table: Temporary) -> Relation:
        """Return views of a temporary table's files, with and without row numbers."""
        key = ("temporary", table.folders)
        if key not in self._found:
            listed = [as_typed(f"c{n}", column, spark_name(column.name)) for n, column in enumerate(table.columns)]
            kinds = ", ".join(f"c{n} {type_name(column.type)}" for n, column in enumerate(table.columns))
            kinds = f"{kinds}, {ROW_ID} BIGINT"  # said, they need not be looked up in the files
            plain, numbered = self.new_name(), self.new_name()
            with explained():
                files = self._spark.read.schema(kinds).parquet(*map(str, table.folders))
                files.selectExpr(*listed).createOrReplaceTempView(plain)
                files.selectExpr(*listed, ROW_ID).createOrReplaceTempView(numbered)
            columns = {column.name: column.type for column in table.columns}
            self._found[key] = Relation(plain, columns, numbered)
        return self._found[key]


def _from_files(table: Temporary) -> str:
    """Return DuckDB's SELECT of a temporary table's rows, in its columns and types."""
    files = ", ".join(text(f"{folder}/*.parquet") for folder in table.folders)
    listed = ", ".join(f"CAST(c{n} AS {c.type}) AS {quote_name(c.name)}" for n, c in enumerate(table.columns))
    return f"SELECT {listed} FROM read_parquet([{files}])"


def _properties(s3: S3Access) -> dict[str, str]:
    """Return the properties of Iceberg's S3FileIO (iceberg.apache.org/docs/latest/aws)."""
    said = {
        "s3.access-key-id": s3.access_key,
        "s3.secret-access-key": s3.secret_key,
        "s3.session-token": s3.session_token,
        "client.region": s3.region,
    }
    if s3.endpoint_host:
        said["s3.endpoint"] = f"{'https' if s3.use_ssl else 'http'}://{s3.endpoint_host}"
        said["s3.path-style-access"] = "true"
    return {name: value for name, value in said.items() if value}
