"""Lands rows of a Parquet file as one load of the crm's customers: `python -m benchmarks.land FILE`.

As a source of tables does: through the same landing, into the lake that settings name.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from starberg.entrypoints.bootstrap import open_lake
from starberg.ingestion.table_landing import TableLanding
from starberg.ingestion.table_source import TableExtract
from starberg.storage.raw_chain import RawStream
from starberg.utils.settings import Settings

PROJECT = Path(__file__).with_name("crm")


def land(file: str) -> None:
    """Land a file of customers, with `op` if it is a change set."""
    lake = open_lake(Settings.load(PROJECT, {}, os.environ))
    warehouse = lake.warehouse("crm")
    [source] = warehouse.sources.values()
    stream = source.streams["customers"]
    chain = RawStream(lake.store, "crm", source.name, stream.name)
    previous, now = chain.last(), lake.clock.now()
    engine = lake.open_engine()
    kinds = {name: stream.column(name).type.replace(" ", "") for name in stream.columns}
    with tempfile.TemporaryDirectory() as scratch:
        found = {column.name: column.type for column in engine.columns(f"FROM read_parquet('{file}')")}
        op = "op" if "op" in found else "'U'"
        rows = (
            f"SELECT {previous.seq + 1 if previous else 1}::BIGINT AS _load_id, {op} AS _op, "
            f"TIMESTAMP '{now.replace(tzinfo=None)}' AS _observed, NULL::VARCHAR AS _unread, {', '.join(kinds)} "
            f"FROM read_parquet('{file}')"
        )
        extract = TableExtract(
            kind="log",
            files=engine.write(rows, {}, ordered=True),
            columns={},
            raw_types=kinds,
            cursor={"at": str(now)},
            observed_at=now,
            moved=True,
        )
        landing = TableLanding(engine, chain, stream, Path(scratch), lake.clock)
        load = landing.land(extract, previous, f"bench-{datetime.now().timestamp()}", "benchmark")
        assert load
    engine.close()


if __name__ == "__main__":
    land(sys.argv[1])
