"""Spark beside DuckDB: temporary tables of either, files for Iceberg, mistakes in one line."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from starberg.engines.spark.engine import SparkEngine
from starberg.storage.columns import ColumnStats, PartitionBy, SqlColumn
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote_name

VALUES = """
SELECT i::BIGINT AS id, 'n' || i AS name, (i * 1.5)::DECIMAL(18, 2) AS price, TIMESTAMP '2024-01-31 10:00:00.123456'
  + to_days(i::INTEGER * 20) AS sold, [i, i + 1]::BIGINT[] AS tags, {'a': i::INTEGER, 'b': 'x'} AS pair,
  sum(i) OVER () AS sum,
  TIMESTAMPTZ '2024-01-31 10:00:00+02' AS seen, '00000000-0000-0000-0000-00000000000a'::UUID AS who, i / 3 AS part,
  NULL::VARCHAR AS nothing, DATE '2024-01-30' + i::INTEGER AS day
FROM range(3) t(i)
"""
IDS = {
    "id": 1,
    "name": 2,
    "price": 3,
    "sold": 4,
    "tags": {"": 5, "element": 13},
    "pair": {"": 6, "a": 14, "b": 15},
    **{name: number for number, name in enumerate(("sum", "seen", "who", "part", "nothing", "day"), start=7)},
}


@pytest.fixture
def staged(spark: SparkEngine) -> SparkEngine:
    """An engine whose local one has typed some rows."""
    spark.local.run(f"CREATE OR REPLACE TEMP TABLE staged AS {VALUES}")
    return spark


def test_each_engine_reads_the_others_temporary_tables_in_the_same_types(staged: SparkEngine) -> None:
    staged.run("CREATE OR REPLACE TEMP TABLE computed AS SELECT * FROM staged")
    assert staged.columns("FROM computed") == staged.local.columns("FROM staged")
    question = "SELECT * FROM {} ORDER BY id"
    here, there = staged.local.rows(question.format("staged")), staged.rows(question.format("computed"))
    assert there == here == staged.local.rows(question.format("computed"))
    assert there[1][7:9] == (datetime(2024, 1, 31, 8, tzinfo=UTC), UUID(int=10))


def test_temporary_tables_are_added_to_taken_from_renamed_and_dropped(staged: SparkEngine) -> None:
    staged.run("CREATE OR REPLACE TEMP TABLE a AS SELECT id, name FROM staged")
    staged.run("INSERT INTO a BY NAME SELECT 'later' AS name, 9 AS id")
    staged.run("INSERT INTO a SELECT 10, 'last'")
    [(numbers,)] = staged.rows("SELECT count(DISTINCT _row) FROM (SELECT id, rowid AS _row FROM a)")
    assert numbers == 5
    staged.run("DELETE FROM a WHERE id IN (SELECT id FROM staged WHERE id > 0) OR name IS NULL")
    staged.run('ALTER TABLE a RENAME TO "b"')
    assert sorted(staged.rows("SELECT * FROM b")) == [(0, "n0"), (9, "later"), (10, "last")]
    staged.run("DROP TABLE IF EXISTS b")
    with pytest.raises(UsageError, match="b does not exist"):
        staged.rows("SELECT * FROM b")


def test_files_are_icebergs_with_their_statistics(staged: SparkEngine) -> None:
    [file] = staged.write("SELECT * REPLACE (CAST(sum AS DECIMAL(38, 0)) AS sum) FROM staged", IDS)
    told = str(pq.ParquetFile(file.path).schema)
    for number in range(1, 16):
        assert f"field_id={number} " in told
    assert (file.rows, file.partition) == (3, ())
    assert file.columns["price"] == ColumnStats(file.columns["price"].size_bytes, 3, 0, "0.00", "3.00")
    assert file.columns["sold"].upper == "2024-03-11 10:00:00.123456"
    assert (file.columns["part"].lower, file.columns["nothing"].nulls) == (None, 3)
    assert "tags" not in file.columns
    question = "SELECT * EXCLUDE (seen), seen::VARCHAR FROM {} ORDER BY id"
    read = staged.local.rows(question.format(f"read_parquet('{file.path}')"))
    assert read == staged.local.rows(question.format("staged"))


def test_a_file_holds_one_partition(staged: SparkEngine) -> None:
    parts = [PartitionBy("month", "sold"), PartitionBy("identity", "price"), PartitionBy("identity", "day")]
    files = staged.write("SELECT sold, price, day FROM staged", {}, parts)
    assert sorted(file.partition for file in files) == [
        (648, Decimal("0.00"), 19752),
        (649, Decimal("1.50"), 19753),
        (650, Decimal("3.00"), 19754),
    ]


def test_no_rows_make_no_file(staged: SparkEngine) -> None:
    assert staged.write("SELECT id FROM staged WHERE false", {"id": 1}) == []


def test_order_is_kept_in_one_file(staged: SparkEngine) -> None:
    [file] = staged.write("SELECT id FROM staged ORDER BY id DESC", {"id": 1}, ordered=True)
    assert pq.read_table(file.path).column("id").to_pylist() == [2, 1, 0]


def test_columns_are_told_without_computing(spark: SparkEngine) -> None:
    assert spark.columns("SELECT 1 / 0 AS a, sum(1) AS b") == [SqlColumn("a", "DOUBLE"), SqlColumn("b", "HUGEINT")]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1 FROM nowhere", "nowhere does not exist"),
        ("SELECT list_sort([2, 1])", "is not among the functions that are the same in Spark"),
        ("SELECT CAST(name AS BIGINT) FROM staged", "CAST_INVALID_INPUT"),
    ],
)
def test_a_mistake_is_one_line(staged: SparkEngine, sql: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        staged.rows(sql)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["*", "${env:HOME}", "back`tick", "back\\slash", " spaces ", "tab\t", "two\nlines", "a.b", 'a"b', "x;y"]
)
def test_a_column_of_any_name_is_written_and_read(spark: SparkEngine, name: str) -> None:
    spark.local.run(f"CREATE OR REPLACE TEMP TABLE named AS SELECT 7 AS {quote_name(name)}, 'z' AS other")
    spark.run(
        f"CREATE OR REPLACE TEMP TABLE named_there AS SELECT * EXCLUDE (other) FROM named WHERE {quote_name(name)} = 7"
    )
    assert spark.rows("FROM named_there") == [(7,)]
    assert [column.name for column in spark.columns("FROM named_there")] == [name]
    [file] = spark.write(f"SELECT max({quote_name(name)}) AS {quote_name(name)} FROM named_there", {name: 1})
    assert pq.read_table(file.path).to_pylist() == [{name: 7}]


def test_maps_are_not_compared(spark: SparkEngine) -> None:
    spark.local.run("CREATE OR REPLACE TEMP TABLE mapped AS SELECT map {'k': 1} AS m, [map {'k': 1}] AS l")
    for column in ("m", "l"):
        with pytest.raises(UsageError, match=r"^Spark: .*a MAP is compared: DuckDB only"):
            spark.rows(f"SELECT a.{column} FROM mapped a JOIN mapped b ON a.{column} IS NOT DISTINCT FROM b.{column}")
    with pytest.raises(UsageError, match=r"^SQL: .*Cannot have MAP type columns"):
        spark.rows(
            "SELECT m FROM mapped a WHERE EXISTS (FROM mapped b WHERE a.l IS NOT NULL) EXCEPT SELECT m FROM mapped"
        )
