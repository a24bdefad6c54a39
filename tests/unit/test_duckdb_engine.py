"""What DuckDB is asked for: files with field ids, partition values and statistics that Iceberg can take over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lake import fresh_engine

from starberg.engines.base import ParquetFile
from starberg.engines.duckdb import DuckDBEngine
from starberg.storage.columns import ColumnStats, PartitionBy
from starberg.utils.errors import LakeError, UsageError


@pytest.fixture
def engine() -> DuckDBEngine:
    return fresh_engine()


def write(engine: DuckDBEngine, select: str, *partition: str) -> list[ParquetFile]:
    return engine.write(select, {}, [PartitionBy.parse(by) for by in partition])


def field_ids(file: ParquetFile) -> Any:
    """Return a file's field ids by column, nested ones below; None for a group that Parquet alone has."""

    def walk(field: Any) -> Any:
        number = (field.metadata or {}).get(b"PARQUET:field_id")
        inner = [field.type.field(i) for i in range(field.type.num_fields)]
        return (number and int(number), *map(walk, inner))

    return {field.name: walk(field) for field in pq.read_schema(file.path)}


def test_nested_columns_carry_the_field_ids_of_each_level(engine: DuckDBEngine) -> None:
    ids = {
        "n": 1,
        "l": {"": 2, "element": {"": 3, "a": 4, "b c": {"": 5, "element": 6}}},
        'm"q': {"": 7, "key": 8, "value": 9},
    }
    select = """SELECT 1 AS n, [{'a': 1, 'b c': ['x']}] AS l, map {'k': 1} AS "m""q" """
    [file] = engine.write(select, ids)
    wanted = {"n": (1,), "l": (2, (3, (4,), (5, (6,)))), 'm"q': (7, (None, (8,), (9,)))}
    assert field_ids(file) == wanted


def test_no_rows_are_no_file(engine: DuckDBEngine) -> None:
    assert write(engine, "SELECT 1 AS n WHERE false") == []
    assert write(engine, "SELECT 1 AS n WHERE false", "n") == []


def partitions(engine: DuckDBEngine, sql_type: str, values: list[str], by: str) -> set[Any]:
    """Write one row per value; return the partition values, each proven to hold the rows of its own file alone."""
    rows = ", ".join(f"({value}::{sql_type})" for value in values)
    files = write(engine, f"SELECT * FROM (VALUES {rows}) AS t(c)", by)
    assert all(pq.read_schema(file.path).names == ["c"] for file in files), "partition values are hidden"
    assert len(files) == len({file.partition for file in files})
    return {file.partition[0] for file in files}


@pytest.mark.parametrize(
    ("sql_type", "values", "expected"),
    [
        ("VARCHAR", ["'a/b=%20'", "''", "'ü'", "'__HIVE_DEFAULT_PARTITION__'", "NULL"],
         {"a/b=%20", "", "ü", "__HIVE_DEFAULT_PARTITION__", None}),
        ("INTEGER", ["-1", "0", "NULL"], {-1, 0, None}),
        ("BIGINT", ["9223372036854775807"], {9223372036854775807}),
        ("BOOLEAN", ["true", "false", "NULL"], {True, False, None}),
        ("DECIMAL(5, 2)", ["1.5", "-0.01", "NULL"], {Decimal("1.50"), Decimal("-0.01"), None}),
        ("DATE", ["'1969-12-31'", "'1970-01-02'", "'0001-01-01'", "NULL"], {-1, 1, -719162, None}),
    ],
)  # fmt: skip
def test_a_column_as_it_is_makes_partition_values_of_its_type(
    engine: DuckDBEngine, sql_type: str, values: list[str], expected: set[Any]
) -> None:
    found = partitions(engine, sql_type, values, "c")
    assert found == expected
    assert {type(value) for value in found} == {type(value) for value in expected}


@pytest.mark.parametrize("sql_type", ["TIMESTAMP", "TIMESTAMPTZ", "DATE"])
@pytest.mark.parametrize(
    ("by", "expected"),
    [("year(c)", {-1, 56, None}), ("month(c)", {-1, 673, None}), ("day(c)", {-1, 20483, None})],
)  # fmt: skip
def test_transforms_count_from_1970(engine: DuckDBEngine, sql_type: str, by: str, expected: set[Any]) -> None:
    values = ["'1969-12-31 23:59:59'", "'2026-02-01 00:00:00'", "NULL"]
    days = (date(2026, 1, 30) - date(1970, 1, 1)).days
    wanted = expected if by != "day(c)" else {-1, days + 2, None}
    assert partitions(engine, sql_type, values, by) == wanted


def test_hours_count_from_1970_on_both_sides(engine: DuckDBEngine) -> None:
    values = ["'1969-12-31 23:59:59'", "'1970-01-01 00:59:59'", "'1970-01-01 01:00:00'"]
    assert partitions(engine, "TIMESTAMP", values, "hour(c)") == {-1, 0, 1}


def test_several_partition_columns_make_one_value_each(engine: DuckDBEngine) -> None:
    files = write(engine, "SELECT * FROM (VALUES ('a', 1), ('a', 2), ('b', 1)) t(s, n)", "s", "n")
    assert sorted(file.partition for file in files) == [("a", 1), ("a", 2), ("b", 1)]


def test_statistics_are_those_of_the_rows(engine: DuckDBEngine) -> None:
    select = (
        "SELECT * FROM (VALUES (2, 'b', 1.5::DECIMAL(5, 2), DATE '2026-01-02'), (10, NULL, -0.5, NULL), "
        """(-3, 'a', 7, NULL)) t(n, "s""q", f, d)"""
    )
    [file] = write(engine, select)
    assert (file.rows, file.size_bytes) == (3, file.path.stat().st_size)
    found = {name: (s.values, s.nulls, s.lower, s.upper) for name, s in file.columns.items()}
    assert found == {
        "n": (3, 0, "-3", "10"),
        's"q': (3, 1, "a", "b"),
        "f": (3, 0, "-0.50", "7.00"),
        "d": (3, 2, "2026-01-02", "2026-01-02"),
    }


def test_numbers_are_bounded_as_numbers_over_all_row_groups(engine: DuckDBEngine) -> None:
    [file] = write(engine, "SELECT i AS n, (i / 4)::DECIMAL(9, 2) AS f FROM range(-9, 300000) r(i)")
    assert (file.columns["n"].lower, file.columns["n"].upper) == ("-9", "299999")
    assert (file.columns["f"].lower, file.columns["f"].upper) == ("-2.25", "74999.75")


def test_floats_have_no_bounds_since_one_may_be_nan(engine: DuckDBEngine) -> None:
    nan_in_the_middle = "CASE WHEN i = 200000 THEN 'nan'::{} ELSE i END"
    for kind in ("FLOAT", "DOUBLE"):
        [file] = write(engine, f"SELECT {nan_in_the_middle.format(kind)} AS f FROM range(300000) r(i)")
        assert (file.columns["f"].lower, file.columns["f"].upper) == (None, None)


def test_parts_of_nested_columns_have_no_statistics_of_their_own(engine: DuckDBEngine) -> None:
    [file] = write(engine, """SELECT 1 AS n, {'n': 2} AS s, [3] AS l, 4 AS "a.b" """)
    assert set(file.columns) == {"n", "a.b"}
    assert isinstance(file.columns["a.b"], ColumnStats)


def test_an_ordered_write_keeps_the_order_and_is_one_file(engine: DuckDBEngine) -> None:
    engine.run("CREATE TEMP TABLE shuffled AS SELECT i FROM range(300000) r(i) ORDER BY hash(i)")
    [file] = engine.write("SELECT i FROM shuffled ORDER BY i", {}, ordered=True)
    numbers = pq.read_table(file.path)["i"].to_pylist()
    assert numbers == list(range(300000))
    assert engine.rows("SELECT current_setting('preserve_insertion_order')") == [(False,)]


def test_a_missing_file_of_the_lake_is_a_lake_error_that_names_it(engine: DuckDBEngine, tmp_path: Path) -> None:
    gone = tmp_path / "gone.metadata.json"
    with pytest.raises(LakeError, match="gone"):
        engine.rows(f"SELECT * FROM {engine.scan(str(gone))}")


@pytest.mark.parametrize("sql", ["SELECT nothing", "SELEC 1", "SELECT 1 / 'x'", "SELECT error('told so')"])
def test_wrong_sql_is_a_usage_error_in_one_line(engine: DuckDBEngine, sql: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.rows(sql)
    assert "\n" not in str(caught.value)


def test_columns_are_told_without_running_the_select(engine: DuckDBEngine) -> None:
    [column] = engine.columns("SELECT error('not run')::DECIMAL(5, 2) AS price")
    assert (column.name, column.type) == ("price", "DECIMAL(5,2)")


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine(tmp_path)
    yield engine
    engine.close()


def test_closing_removes_what_was_written(own_engine: DuckDBEngine, tmp_path: Path) -> None:
    [file] = write(own_engine, "SELECT 1 AS n")
    assert file.path.exists()
    own_engine.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_signal_raises_in_a_statement_comes_out(own_engine: DuckDBEngine) -> None:
    class Stopped(BaseException):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGUSR1])
    timer.start()
    try:
        with pytest.raises(Stopped):
            own_engine.rows("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b")
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_sessions_speak_utc_and_fetch_no_extensions(own_engine: DuckDBEngine) -> None:
    settings = "current_setting('TimeZone'), current_setting('autoinstall_known_extensions')"
    assert own_engine.rows(f"SELECT {settings}") == [("UTC", False)]
