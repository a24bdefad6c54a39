"""A small Spark in this process, one for all tests: starting it costs more than most of them."""

from __future__ import annotations

import os
from functools import cache

from stack_programs import iceberg_for_spark

from starberg.engines.duckdb import DuckDBEngine
from starberg.engines.spark.engine import SparkEngine

MASTER = "local[1]"
QUICK = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Planning again in the middle and compiling to Java pay for many rows; of these tests they are half the time."""
_QUICKLY = " ".join(f"--conf {name}={value}" for name, value in QUICK.items())
os.environ.setdefault("PYSPARK_SUBMIT_ARGS", f"{_QUICKLY} pyspark-shell")


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


def as_it_comes(local: DuckDBEngine) -> SparkEngine:
    """Return Spark beside an engine as people have it, not made quick for small tables."""
    engine = beside(local)
    for name in QUICK:
        engine._spark.conf.unset(name)
    return engine
