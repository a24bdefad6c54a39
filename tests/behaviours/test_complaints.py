"""What users of other tools complain of, where no other test asks it; the issue stands beside each.

The rest: changes and intervals in tests/unit/test_history.py, rows that commit late in test_postgres.py, state and data
that part in tests/e2e/test_crash.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import StaticTable

from starberg.etl.build_writer import BuildOptions
from starberg.etl.upkeep import Folding
from starberg.storage.iceberg_tables import IcebergTable
from starberg.storage.maintenance import Policy
from starberg.utils.errors import Conflict

MEMBERS = 20_000


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[TempLake]:
    """Customers with history; after each test a rebuild gives what is published."""
    lake = TempLake(tmp_path)
    lake.stream("customers", {"id": "BIGINT", "city": "VARCHAR"})
    lake.declare("staging/stg_customers", "select id as customer_id, city from customers")
    lake.declare(
        "dimensions/dim_customer",
        "/*\nnatural_key: customer_id\nhistory: type2\n*/\nselect customer_id, city from stg_customers",
    )
    lake.land("customers", [{"id": n, "city": "Rome"} for n in range(MEMBERS)])
    lake.build()
    yield lake
    assert lake.verify() == []


def move(lake: TempLake, numbers: range, city: str) -> None:
    lake.clock.sleep(3600)
    lake.land("customers", [{"id": n, "city": city} for n in numbers])


def files(lake: TempLake) -> tuple[IcebergTable, list[Any]]:
    """Return the dimension, and its live files, data and deletes, as PyIceberg reads them."""
    table = lake.table("dim_customer")
    snapshot = StaticTable.from_metadata(str(table.location)).current_snapshot()
    assert snapshot is not None
    io = StaticTable.from_metadata(str(table.location)).io
    entries = [e for manifest in snapshot.manifests(io) for e in manifest.fetch_manifest_entry(io)]
    return table, [entry.data_file for entry in entries]


def test_runs_that_collide_leave_one_current_row_of_each_key(lake: TempLake) -> None:  # dbt-adapters #1759
    move(lake, range(50), "Bonn")
    with lake.session() as (slow, engine, tables):
        lake.build_on(slow, engine, tables, BuildOptions())
        lake.build()
        with pytest.raises(Conflict):
            tables.publish("second")
    twice = "SELECT customer_id FROM dim_customer WHERE is_current GROUP BY ALL HAVING count(*) > 1"
    assert lake.rows(twice) == []
    assert lake.rows("SELECT count(*) FROM dim_customer WHERE is_current AND city = 'Bonn'") == [(50,)]


def test_a_change_of_few_rows_of_a_large_table_writes_only_those(lake: TempLake) -> None:  # iceberg-python #3129
    _, before = files(lake)
    move(lake, range(100), "Bonn")
    lake.build()
    _, after = files(lake)
    new = [file for file in after if file.file_path not in {old.file_path for old in before}]
    assert {old.file_path for old in before} <= {file.file_path for file in after}
    assert sum(file.record_count for file in new if file.content is DataFileContent.DATA) == 200


def test_small_files_and_deletes_of_many_runs_are_folded_into_one_file(lake: TempLake) -> None:  # iceberg-python #1092
    for day in range(5):
        move(lake, range(day, 100, 5), f"Bonn {day}")
        lake.build()
    rows = lake.rows("SELECT * FROM dim_customer")
    _, before = files(lake)
    with lake.session() as (_, engine, tables):
        Folding(engine.local, tables, Policy()).fold("shop.dim_customer")
        tables.publish("fold")
    lake.settle()
    _, after = files(lake)
    assert len(before) > 5
    assert [file.content for file in after] == [DataFileContent.DATA]
    assert sorted(lake.rows("SELECT * FROM dim_customer"), key=str) == sorted(rows, key=str)


def test_no_reader_meets_an_equality_delete(lake: TempLake) -> None:  # duckdb-iceberg #626, airbyte #82750
    move(lake, range(100), "Bonn")
    lake.build()
    table, found = files(lake)
    kinds = {file.content for file in found}
    assert kinds == {DataFileContent.DATA, DataFileContent.POSITION_DELETES}
    rows = StaticTable.from_metadata(str(table.location)).scan(selected_fields=("customer_key", "city")).to_arrow()
    assert sorted(zip(*rows.to_pydict().values(), strict=True), key=str) == sorted(
        lake.rows("SELECT customer_key, city FROM dim_customer"), key=str
    )
