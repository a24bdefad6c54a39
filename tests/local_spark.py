"""A small Spark in this process, one for all tests: starting it costs more than most of them."""

from __future__ import annotations

import os
from functools import cache

from stack_programs import iceberg_for_spark

from starberg.engines.duckdb import DuckDBEngine
from starberg.engines.spark.engine import SparkEngine

MASTER = "local[1]"
os.environ.setdefault("PYSPARK_SUBMIT_ARGS", '--driver-java-options "-XX:TieredStopAtLevel=1" pyspark-shell')
"""Questions about a few rows are over before Java's second compiler would pay."""


@cache
def jars() -> str:
    """Return Iceberg's jars for Spark, fetched once."""
    return ",".join(map(str, iceberg_for_spark()))


def settings() -> dict[str, str]:
    """Return the settings that lead to it."""
    return {"STARBERG_SPARK_MASTER": MASTER, "STARBERG_SPARK_JARS": jars()}


def beside(local: DuckDBEngine, from_bytes: int = 0) -> SparkEngine:
    """Return Spark beside an engine, to which nothing is left that Spark can do, unless it is told."""
    return SparkEngine(local, master=MASTER, jars=jars(), from_bytes=from_bytes)
