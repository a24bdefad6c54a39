"""Spark itself: how it is started, what makes its answers DuckDB's, and what its errors are for people."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starberg.engines.spark.files import GROUP_ROWS
from starberg.utils.errors import LakeError, StarbergError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PACKAGES = (
    "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.1",
    "org.apache.iceberg:iceberg-aws-bundle:1.10.1",
)
"""Iceberg for Spark 3.5 and its S3 client, from Maven Central."""
_SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.variable.substitute": "false",  # else ${env:NAME} in a text or a name is the variable's value
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": str(256 * 1024 * 1024),
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(GROUP_ROWS),
}
"""What makes Spark's answers DuckDB's; those of a session, so that a cluster's own defaults change nothing."""
_VALUES = re.compile(r"org\.apache\.spark\.Spark(Arithmetic|NumberFormat|DateTime|Runtime)Exception: \[")
"""What a task fails with over a value: its fault is the SQL's."""
_WRONG = re.compile("error|exception|no such file", re.IGNORECASE)
"""A line of what Spark's start logs that says why there was none."""
_GONE = ("NoSuchKey", "FileNotFound", "NotFoundException")


def session(master: str, jars: str) -> SparkSession:
    """Return a session of its own of this process's Spark, which is started once; UsageError if it does not start."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("starberg").config("spark.ui.enabled", "false")
    iceberg = ("spark.jars", jars) if jars else ("spark.jars.packages", ",".join(PACKAGES))
    builder = builder.config(*iceberg).config("spark.ui.showConsoleProgress", "false")
    local = master.startswith("local")
    if local:
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    spark = _started(builder.config("spark.log.level", "ERROR"))
    if spark.sparkContext._jsc.sc().isStopped():
        raise UsageError(f"Spark did not start: nobody answers at {master}", hint="Check STARBERG_SPARK_MASTER.")
    if not callable(spark._jvm.org.apache.iceberg.StaticTableOperations):
        raise UsageError("Spark has no Iceberg", hint="Check STARBERG_SPARK_JARS; without it, it is fetched.")
    own = spark.newSession()
    for name, value in _SETTINGS.items():
        own.conf.set(name, value)
    if local:
        spark.sparkContext.pythonExec = sys.executable  # else whatever python3 is on the path
        own.conf.set("spark.sql.shuffle.partitions", str(spark.sparkContext.defaultParallelism))
    return own


def _started(builder: SparkSession.Builder) -> SparkSession:
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    with tempfile.TemporaryFile() as log:
        try:
            with _output_to(log.fileno()):
                return builder.getOrCreate()
        except Py4JJavaError as error:
            raise UsageError(
                f"Spark did not start: {_first_line(error)}", hint="Check STARBERG_SPARK_MASTER."
            ) from error
        except (PySparkException, OSError) as error:
            log.seek(0)
            wrong = [line for line in log.read().decode(errors="replace").splitlines() if _WRONG.search(line)]
            said = (wrong or [_first_line(error)])[0].rpartition("Exception: ")[2]
            java = "Spark 3.5 needs Java 17: install it, or set JAVA_HOME."
            hint = "Check STARBERG_SPARK_MASTER." if said.startswith("Master") else java
            raise UsageError(f"Spark did not start: {said}", hint=hint) from error


@contextmanager
def _output_to(file: int) -> Iterator[None]:
    """Let a process that is started now write to a file what it would write on the terminal: its log is no answer."""
    before = [os.dup(stream) for stream in (1, 2)]
    for stream in (1, 2):
        os.dup2(file, stream)
    try:
        yield
    finally:
        for stream, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, stream)
            os.close(kept)


@contextmanager
def explained() -> Iterator[None]:
    """Turn Spark's errors into ours: what is wrong with SQL or a value is told as DuckDB's engine does."""
    from py4j.protocol import Py4JJavaError
    from pyspark import errors

    wrong = (
        errors.AnalysisException,
        errors.ParseException,
        errors.ArithmeticException,
        errors.NumberFormatException,
        errors.DateTimeException,
    )
    try:
        yield
    except (ValueError, OverflowError) as error:  # of a time that Python does not know
        raise UsageError(f"Spark's answer cannot be read: {error}", hint="Cast it to VARCHAR.") from error
    except wrong as error:
        raise UsageError(f"SQL: {_first_line(error)}") from error
    except (errors.PySparkException, Py4JJavaError) as error:
        said = _first_line(error)
        if _VALUES.match(said):
            raise UsageError(f"SQL: {said.split(': ', 1)[1]}") from error
        if any(gone in str(error) for gone in _GONE):
            raise LakeError(f"cannot read the lake: {said}", hint="Run `starberg check`.") from error
        raise StarbergError(f"Spark failed: {said}") from error


def _first_line(error: BaseException) -> str:
    """Return what an error says: of a worker's Python the last line, of Java's its last cause, or what was raised."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Traceback (most recent call last):" in said:
        return said[-1]
    causes = [line.removeprefix("Caused by: ") for line in said if line.startswith("Caused by: ")]
    of_java = said and said[0].startswith("An error occurred while calling")
    raised = [line.removeprefix(": ") for line in said[1:2] if of_java]
    return [*causes[-1:], *raised, *said, type(error).__name__][0]
