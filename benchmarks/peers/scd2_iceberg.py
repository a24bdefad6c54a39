"""A type 2 dimension on Iceberg by hand: two statements in DuckDB, one commit. Prints the seconds from first to last.

    python scd2_iceberg.py prepare FOLDER CUSTOMERS.parquet     a dimension with one version of each
    python scd2_iceberg.py apply FOLDER CHANGES.parquet         close what changed or went, add what is new

Without a server (FOLDER is a path) DuckDB writes the files and PyIceberg commits them: closed rows leave by position
deletes. On Nessie (FOLDER is its address, MinIO's settings are in the environment) DuckDB's own writer does both.
No late changes, no reruns, no checks, no log, no record of what was staged: a floor, not an alternative.
"""

import os
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import duckdb

COLUMNS = "first_name, last_name, email, phone, street, city, postal_code, country, segment, credit_limit, updated_at"
SCHEMA = (
    "customer_key BIGINT, customer_id BIGINT, first_name VARCHAR, last_name VARCHAR, email VARCHAR, phone VARCHAR, "
    "street VARCHAR, city VARCHAR, postal_code VARCHAR, country VARCHAR, segment VARCHAR, credit_limit DECIMAL(12, 2), "
    "updated_at TIMESTAMP, effective_from TIMESTAMP, effective_to TIMESTAMP, is_current BOOLEAN"
)
NAMES = [column.strip().split(" ")[0] for column in SCHEMA.replace("12, 2", "12").split(",")]
FIELD_IDS = "{" + ", ".join(f"{name}: {number}" for number, name in enumerate(NAMES, 1)) + "}"


def connection(*extensions):
    con = duckdb.connect(config={"preserve_insertion_order": False})
    for extension in extensions:
        folder = Path(find_spec(f"duckdb_extension_{extension}").origin).parent
        con.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{extension}.duckdb_extension'")
    con.execute("SET TimeZone = 'UTC'")
    return con


def versions(rows, start, first_number):
    """New versions of some customers."""
    return (
        f"SELECT {first_number} + row_number() OVER () AS customer_key, customer_id, {COLUMNS}, "
        f"{start} AS effective_from, NULL::TIMESTAMP AS effective_to, true AS is_current FROM {rows}"
    )


# Without a server


def prepare_local(folder, customers):
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.schema import Schema
    from pyiceberg.types import BooleanType, DecimalType, LongType, NestedField, StringType, TimestampType

    kinds = {"BIGINT": LongType(), "VARCHAR": StringType(), "TIMESTAMP": TimestampType(), "BOOLEAN": BooleanType()}
    declared = [column.strip().split(" ")[1] for column in SCHEMA.replace("(12, 2)", "").split(",")]
    fields = [
        NestedField(number, name, kinds.get(kind, DecimalType(12, 2)), required=False)
        for number, (name, kind) in enumerate(zip(NAMES, declared, strict=True), 1)
    ]
    Path(folder, "dim").mkdir(parents=True)
    catalog = SqlCatalog("by_hand", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("crm")
    table = catalog.create_table("crm.dim", Schema(*fields), location=f"{folder}/dim")
    with table.transaction() as transaction:
        con, file = connection(), f"{folder}/dim/{uuid.uuid4()}.parquet"
        rows = versions(f"'{customers}'", "TIMESTAMP '1900-01-01'", 0)
        with transaction.update_snapshot().fast_append() as append:
            append.append_data_file(write(con, rows, FIELD_IDS, file))


def apply_local(folder, changes):
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.manifest import DataFileContent

    con = connection("avro", "iceberg")
    started = time.perf_counter()
    table = SqlCatalog("by_hand", uri=f"sqlite:///{folder}/catalog.db").load_table("crm.dim")
    dim = f"(SELECT *, filename, file_row_number FROM iceberg_scan('{table.metadata_location}'))"
    con.execute(f"CREATE TEMP TABLE changes AS FROM '{changes}'")
    con.execute(
        "CREATE TEMP TABLE closing AS SELECT d.*, c.updated_at AS closed_at "
        f"FROM {dim} d JOIN changes c USING (customer_id) WHERE d.is_current"
    )
    [(mark,)] = con.execute(f"SELECT max(customer_key) FROM {dim}").fetchall()
    new = versions("changes", "CASE WHEN customer_id IN (SELECT customer_id FROM closing) THEN updated_at "
                   "ELSE TIMESTAMP '1900-01-01' END", mark)  # fmt: skip
    closed = (
        "SELECT * EXCLUDE (filename, file_row_number, closed_at) "
        "REPLACE (closed_at AS effective_to, false AS is_current) FROM closing"
    )
    place = f"{table.location()}/{uuid.uuid4()}"
    added = write(con, f"{closed} UNION ALL BY NAME {new} WHERE op = 'U'", FIELD_IDS, f"{place}.parquet")
    leaving = "SELECT filename AS file_path, file_row_number AS pos FROM closing ORDER BY ALL"
    ids = "{file_path: 2147483546, pos: 2147483545}"
    deletes = write(con, leaving, ids, f"{place}-deletes.parquet", DataFileContent.POSITION_DELETES)
    with table.transaction() as transaction:
        producer = row_delta(transaction, deletes)
        producer.append_data_file(added)
        producer.commit()
    print(time.perf_counter() - started)


def write(con, select, field_ids, file, content=None):
    """Write one Parquet file; return it as Iceberg knows it."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    con.execute("SET preserve_insertion_order = true")
    con.execute(f"COPY ({select}) TO '{file}' (FORMAT parquet, COMPRESSION zstd, FIELD_IDS {field_ids})")
    [(rows,)] = con.execute(f"SELECT num_rows FROM parquet_file_metadata('{file}')").fetchall()
    found = DataFile.from_args(
        content=content or DataFileContent.DATA,
        file_path=file,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=rows,
        file_size_in_bytes=Path(file).stat().st_size,
    )
    found.spec_id = 0
    return found


def row_delta(transaction, deletes):
    """PyIceberg's append, with a manifest of position deletes more."""
    from pyiceberg.manifest import ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestWriterV2
    from pyiceberg.table.snapshots import Operation
    from pyiceberg.table.update.snapshot import _FastAppendFiles

    class Deletes(ManifestWriterV2):
        def content(self):
            return ManifestContent.DELETES

        @property
        def _meta(self):
            return {**super()._meta, "content": "deletes"}

    class RowDelta(_FastAppendFiles):
        def _process_manifests(self, manifests):
            metadata = transaction.table_metadata
            output = self.new_manifest_output()
            with Deletes(metadata.spec(), metadata.schema(), output, self._snapshot_id, self._compression) as writer:
                status = ManifestEntryStatus.ADDED
                writer.add(ManifestEntry.from_args(status=status, snapshot_id=self._snapshot_id, data_file=deletes))
            return [*manifests, writer.to_manifest_file()]

    return RowDelta(Operation.OVERWRITE, transaction, transaction._table.io)


# On Nessie


def attached(address):
    con = connection("avro", "httpfs", "iceberg")
    secret, key = os.environ["MINIO_SECRET_KEY"], os.environ["MINIO_ACCESS_KEY"]
    host = os.environ["MINIO_ENDPOINT"].split("//")[1]
    con.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', "
        "URL_STYLE 'path', USE_SSL false)"
    )
    started = time.perf_counter()
    con.execute(
        f"ATTACH 'warehouse' AS lake (TYPE iceberg, ENDPOINT '{address}', AUTHORIZATION_TYPE 'none', "
        "ACCESS_DELEGATION_MODE 'none')"
    )
    return con, started


def prepare_nessie(address, customers):
    con, _ = attached(address)
    con.execute("CREATE SCHEMA IF NOT EXISTS lake.by_hand")
    con.execute(
        "CREATE TABLE lake.by_hand.dim WITH ('write.update.mode' = 'merge-on-read', 'write.delete.mode' = "
        f"'merge-on-read') AS {versions(f'{chr(39)}{customers}{chr(39)}', 'TIMESTAMP ' + repr('1900-01-01'), 0)}"
    )


def apply_nessie(address, changes):
    con, started = attached(address)
    con.execute(f"CREATE TEMP TABLE changes AS FROM '{changes}'")
    con.execute("BEGIN")
    con.execute(
        "UPDATE lake.by_hand.dim AS d SET effective_to = c.updated_at, is_current = false "
        "FROM changes c WHERE d.customer_id = c.customer_id AND d.is_current"
    )
    [(mark,)] = con.execute("SELECT max(customer_key) FROM lake.by_hand.dim").fetchall()
    con.execute(f"INSERT INTO lake.by_hand.dim {versions('changes', 'updated_at', mark)} WHERE op = 'U'")
    con.execute("COMMIT")
    print(time.perf_counter() - started)


what, where, file = sys.argv[1:]
globals()[f"{what}_{'nessie' if where.startswith('http') else 'local'}"](where, file)
