"""DuckDB: the engine of one machine, and the only module that imports duckdb.

Extensions come as Python packages of DuckDB's own version and are loaded by path, so nothing is downloaded at run time.
DuckDB only reads the lake (iceberg_scan on a metadata file) and writes local Parquet files; commits are not its work.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starberg.engines.base import ParquetFile
from starberg.engines.clients import Batches
from starberg.engines.partitions import PartitionValue, partition_values, read_values, with_values
from starberg.storage.columns import ColumnStats, PartitionBy, SqlColumn
from starberg.utils.errors import LakeError, StarbergError, UsageError
from starberg.utils.sql import quote, quote_name, text

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from starberg.storage.object_store import S3Access

_TARGET_FILE_BYTES = 512 * 1024 * 1024
_READING = {"SELECT", "EXPLAIN", "CREATE", "SET"}
"""Kinds of statements that leave files alone: what is created lives in memory; PIVOT creates a type."""


class DuckDBEngine:
    """One in-memory DuckDB connection over the lake.

    `memory_limit` is DuckDB's own text (`2GiB`); larger work spills into `scratch`.
    """

    def __init__(
        self,
        scratch: Path | None = None,
        *,
        s3: S3Access | None = None,
        memory_limit: str = "",
        threads: int | None = None,
    ) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="starberg-", dir=scratch))
        self.connection = _connect(self.scratch, memory_limit, threads)
        # A connection that was given away, or rows nobody read to the end, are closed by no one.
        self._remove_scratch = weakref.finalize(self.connection, shutil.rmtree, self.scratch, ignore_errors=True)
        self._s3 = s3
        self._reads_lake = False
        self._files = 0

    @property
    def local(self) -> DuckDBEngine:
        """See `Engine.local`."""
        return self

    def version(self) -> str:
        """See `Engine.version`."""
        [(number,)] = self.rows("SELECT version()")
        return f"DuckDB {number}"

    def refused(self, select: str) -> str:
        """See `Engine.refused`: the declarations are DuckDB's SQL."""
        return ""

    def read_lake(self) -> None:
        """Load what reading Iceberg needs, at the first table."""
        if self._reads_lake:
            return
        for extension in ("avro", "iceberg", *(["httpfs"] if self._s3 else [])):
            self._load(extension)
        if self._s3:
            self._create_secret(self._s3)
        self._reads_lake = True

    def confine(self, folders: Sequence[str]) -> None:
        """See `Engine.confine`. What was opened before (extensions, the secret) stays; DuckDB lets nobody undo it."""
        self.read_lake()
        allowed = ", ".join(text(f"{folder.rstrip('/')}/") for folder in (*folders, str(self.scratch)))
        self.connection.execute(f"SET allowed_directories = [{allowed}]; SET enable_external_access = false")

    def _load(self, extension: str) -> None:
        self.run(f"LOAD {text(str(_extension_path(extension)))}")

    def _create_secret(self, s3: S3Access) -> None:
        """A secret, not settings: its values never show in errors or `duckdb_settings()`."""
        fields = {
            "KEY_ID": s3.access_key,
            "SECRET": s3.secret_key,
            "SESSION_TOKEN": s3.session_token,
            "REGION": s3.region,
            "ENDPOINT": s3.endpoint_host,
            "URL_STYLE": "path" if s3.endpoint_host else "vhost",
        }
        given = ", ".join(f"{name} {text(value)}" for name, value in fields.items() if value)
        self.connection.execute(f"CREATE SECRET lake (TYPE s3, {given}, USE_SSL {s3.use_ssl})")
        if s3.ca_bundle:
            self.connection.execute(f"SET ca_cert_file = {text(s3.ca_bundle)}")
        # The machine's clock and an object just written agree; listing caches would only hide new metadata.
        self.connection.execute("SET http_timeout = 30; SET http_retries = 4; SET enable_http_metadata_cache = true")

    def attach_postgres(self, name: str, secret: Mapping[str, str], options: str) -> None:
        """Attach a PostgreSQL database, read-only; `secret` is host, port, database, user, password, `options` libpq's.

        What is secret goes by CREATE SECRET: a connection string is printed in errors.
        """
        self._load("postgres_scanner")
        given = ", ".join(f"{field.upper()} {text(value)}" for field, value in secret.items() if value)
        self.run(f"CREATE OR REPLACE SECRET {quote_name(name)} (TYPE postgres, {given})")
        self.run(f"ATTACH {text(options)} AS {quote_name(name)} (TYPE postgres, SECRET {quote_name(name)}, READ_ONLY)")

    def attach(self, tables: Mapping[str, str]) -> None:
        """See `Engine.attach`."""
        if tables:
            self.read_lake()
        for schema in {name.split(".")[0] for name in tables}:
            self.run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(schema)}")
        for name, location in tables.items():
            self.run(f"CREATE OR REPLACE VIEW {quote(name)} AS SELECT * FROM iceberg_scan({text(location)})")

    def scan(self, location: str) -> str:
        """See `Engine.scan`."""
        self.read_lake()
        return f"(SELECT *, filename, file_row_number FROM iceberg_scan({text(location)}))"

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """See `Engine.run`."""
        self.execute(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Engine.rows`."""
        return self.execute(sql, parameters).fetchall()

    def columns(self, select: str) -> list[SqlColumn]:
        """See `Engine.columns`."""
        return [SqlColumn(row[0], row[1]) for row in self.rows(f"DESCRIBE {select}")]

    def write(
        self,
        select: str,
        field_ids: Mapping[str, Any],
        partition: Sequence[PartitionBy] = (),
        *,
        ordered: bool = False,
    ) -> list[ParquetFile]:
        """See `Engine.write`."""
        self._files += 1
        target = self.scratch / f"write-{self._files}"
        options = ["FORMAT parquet", "COMPRESSION zstd", "RETURN_STATS"]
        options += [f"FIELD_IDS {_field_ids(field_ids)}"] if field_ids else []
        values = partition_values(self.columns(select), partition) if partition else []
        if values:
            select = with_values(select, values)
            options += [
                f"PARTITION_BY ({', '.join(f'_p{number}' for number in range(len(values)))})",
                "WRITE_PARTITION_COLUMNS false",
                "FILENAME_PATTERN '{uuid}'",
            ]
        elif not ordered:
            options += [f"FILE_SIZE_BYTES {_TARGET_FILE_BYTES}"]  # DuckDB 1.5.5 keeps no order with it.
        with self._order_kept() if ordered else nullcontext():
            written = self.rows(f"COPY ({select}) TO {text(str(target))} ({', '.join(options)})")
        return [_written(row, values) for row in written if row[1]]

    @contextmanager
    def _order_kept(self) -> Iterator[None]:
        """A session that need not keep order writes even an ORDER BY as its threads come along."""
        [(before,)] = self.rows("SELECT current_setting('preserve_insertion_order')")
        self.run("SET preserve_insertion_order = true")
        try:
            yield
        finally:
            self.run(f"SET preserve_insertion_order = {before}")

    def check_reads(self, sql: str) -> None:
        """Raise UsageError if a text holds a statement that writes: a confined session could still write the lake.

        From then on no setting can be changed.
        """
        with _explained(self.connection):
            kinds = [statement.type.name for statement in self.connection.extract_statements(sql)]
        if not kinds:
            raise UsageError("there is no SQL", hint='Type `starberg query "select …"`')
        if writes := [kind.replace("_", " ") for kind in kinds if kind not in _READING]:
            raise UsageError(f"{writes[0]} is no question", hint="Ask with SELECT: nothing is written here")
        self.run("SET lock_configuration = true")

    def close(self) -> None:
        """See `Engine.close`."""
        self.connection.close()
        self._remove_scratch()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        """Execute a statement and return DuckDB's cursor; its errors become ours."""
        with _explained(self.connection):
            return self.connection.execute(sql, parameters) if parameters else self.connection.execute(sql)

    def fetched(self, cursor: duckdb.DuckDBPyConnection, rows: int) -> list[tuple[Any, ...]]:
        """Return the next rows of a cursor; DuckDB's errors become ours."""
        with _explained(cursor):
            return cursor.fetchmany(rows)

    def batches(self, cursor: duckdb.DuckDBPyConnection, rows: int) -> Batches:
        """Return what is left of a cursor as Arrow batches of so many rows; this closes the engine after the last."""
        with _explained(cursor):
            reader = cursor.to_arrow_reader(rows)

        def found() -> Iterator[pa.RecordBatch]:
            import pyarrow as pa

            try:
                yield from reader
            except (OSError, pa.ArrowException) as error:
                raise translated(_as_raised(str(error))) from error
            finally:
                self.close()

        return Batches(reader.schema, found())


@contextmanager
def _explained(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Turn DuckDB's errors into ours; what a signal's handler raised (KeyboardInterrupt) comes out as it was."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise translated(error) from error
    except RuntimeError as error:  # what a handler raised is its cause
        connection.interrupt()  # else its other threads go on, and whoever closes it waits for them
        raise (error.__cause__ or error) from None


def _as_raised(message: str) -> Exception:
    """Return the error DuckDB would have raised for a text it gave Arrow, which knows but one kind."""
    import duckdb

    kinds: dict[str, type[Exception]] = {
        "IO Error": duckdb.IOException,
        "HTTP Error": duckdb.HTTPException,
        "Out of Memory Error": duckdb.OutOfMemoryException,
        "Invalid Input Error": duckdb.InvalidInputException,
    }
    return kinds.get(message.split(":", 1)[0], duckdb.Error)(message)


def translated(error: Exception) -> StarbergError:
    """Return our error for one of DuckDB's: a file that cannot be read is the lake's, all else the SQL's."""
    import duckdb

    message = str(error)
    # Of a file that is cut DuckDB 1.5.5 says it is invalid input, as it does of values; only of a file with its name.
    damaged = isinstance(error, duckdb.InvalidInputException) and ".parquet" in message
    if damaged or isinstance(error, (duckdb.IOException, duckdb.HTTPException)):
        return LakeError(f"cannot read the lake: {message}", hint="Run `starberg check`.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return StarbergError(f"DuckDB ran out of memory: {message}", hint="Raise STARBERG_MEMORY_LIMIT.")
    return UsageError(f"SQL: {message}")


def _connect(scratch: Path, memory_limit: str, threads: int | None) -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, Any] = {
        "temp_directory": str(scratch / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        # They are files of installed packages, trusted as all installed code is; checking them takes 0.5 s of CPU.
        "allow_unsigned_extensions": True,
        "preserve_insertion_order": False,
    }
    if memory_limit:
        config["memory_limit"] = memory_limit
    if threads:
        config["threads"] = threads
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _extension_path(extension: str) -> Path:
    import duckdb

    package = importlib.util.find_spec(f"duckdb_extension_{extension}")
    folder = Path(package.origin).parent if package and package.origin else Path()
    path = folder / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
    if not path.is_file():
        raise LakeError(
            f"DuckDB extension {extension} for version {duckdb.__version__} is not installed",
            hint=f"Install it: uv add duckdb-extension-{extension}=={duckdb.__version__}",
        )
    return path


def _field_ids(ids: Mapping[str, Any]) -> str:
    """Return DuckDB's FIELD_IDS literal for `parquet_field_ids`."""
    parts = []
    for name, value in ids.items():
        key = "__duckdb_field_id" if name == "" else quote_name(name)
        parts.append(f"{key}: {_field_ids(value) if isinstance(value, Mapping) else value}")
    return "{" + ", ".join(parts) + "}"


def _written(row: tuple[Any, ...], values: Sequence[PartitionValue]) -> ParquetFile:
    """Read one row of COPY's RETURN_STATS."""
    path, rows, size, _, stats, keys = row
    texts = [(keys or {})[f"_p{number}"] for number in range(len(values))]
    columns = {_top_level(name): _stats(facts) for name, facts in (stats or {}).items() if _top_level(name)}
    return ParquetFile(Path(path), rows, size, read_values(texts, values), columns)


def _top_level(name: str) -> str:
    """Return the column's name, or nothing for a part of a nested column (`"a"."b"`)."""
    inner = name[1:-1].replace('""', "\0")
    return "" if '"' in inner else inner.replace("\0", '"')


def _stats(facts: Mapping[str, str]) -> ColumnStats:
    # Of a file DuckDB 1.5.5 tells whether the last row group has NaN, which it takes for the greatest value: a bound
    # without it would hide rows. So floats, and only they have the fact, have no bounds.
    bounded = "has_nan" not in facts
    return ColumnStats(
        size_bytes=int(facts.get("column_size_bytes", 0)),
        values=int(facts.get("num_values", 0)),
        nulls=int(facts.get("null_count", 0)),
        lower=facts.get("min") if bounded else None,
        upper=facts.get("max") if bounded else None,
    )
