"""Where there is no Spark: one line says what to install. Where there is little to do, none is started."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from lake import fresh_engine

from starberg.engines.spark import engine as spark_engine
from starberg.engines.spark import tables as spark_tables
from starberg.engines.spark.engine import SparkEngine
from starberg.utils.errors import UsageError


def test_without_pyspark_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_engine, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"Spark is not installed.*starberg\[spark\]"):
        SparkEngine(fresh_engine())


class Started(Exception):
    """Spark was asked for."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> SparkEngine:
    """An engine that leaves what reads less than 1,000 bytes to DuckDB, and has no Spark."""

    def start(master: str, jars: str) -> None:
        raise Started

    monkeypatch.setattr(spark_engine, "find_spec", lambda name: name)
    monkeypatch.setattr(spark_engine, "session", start)
    for module in (spark_engine, spark_tables):
        monkeypatch.setattr(module, "explained", nullcontext)  # which knows Spark's errors
    return SparkEngine(fresh_engine(), from_bytes=1000)


def test_what_reads_little_needs_no_spark(small: SparkEngine) -> None:
    small.run("CREATE OR REPLACE TEMP TABLE few AS SELECT unnest(range(10)) AS n")
    small.run("INSERT INTO few SELECT 10")
    small.run("DELETE FROM few WHERE n = 1")
    small.run("ALTER TABLE few RENAME TO kept")
    assert small.rows("WITH few AS (FROM kept) SELECT count(*), max(n) FROM few") == [(10, 10)]
    [file] = small.write("SELECT n, rowid AS _row FROM kept", {"n": 1})
    assert file.rows == 10
    small.run("DROP TABLE kept")


def test_what_reads_much_is_for_spark(small: SparkEngine) -> None:
    small.local.run("CREATE OR REPLACE TEMP TABLE many AS SELECT unnest(range(1000)) AS n")
    for asked in ("SELECT count(*) FROM many", "SELECT 1 WHERE EXISTS (FROM many)"):
        with pytest.raises(Started):
            small.rows(asked)
    assert small.rows("SELECT 1") == [(1,)]
