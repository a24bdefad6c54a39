"""Questions of people, answered by Spark: tables are read by their metadata files, without a catalog."""

from __future__ import annotations

from starberg.engines.clients import Batches, TableAt
from starberg.engines.spark.engine import SparkEngine
from starberg.utils.sql import quote


class SparkClient:
    """Spark over the lake; it is started with the first question."""

    name = "spark"
    dialect = "duckdb"  # the engine translates, knowing the types

    def __init__(self, engine: SparkEngine) -> None:
        self._engine = engine

    def table(self, table: TableAt) -> str:
        """See `QueryClient.table`."""
        self._engine.attach({table.name: table.location})
        return quote(table.name)

    def query(self, sql: str) -> Batches:
        """See `QueryClient.query`; UsageError for SQL that DuckDB or Spark refuses."""
        return self._engine.answer(sql)

    def close(self) -> None:
        """See `QueryClient.close`."""
        self._engine.close()
