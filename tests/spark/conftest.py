"""Every test in this folder is marked `engines`, and fails without the extra `spark`, Java 17 or Iceberg's jars."""

from __future__ import annotations

import pytest
from lake import fresh_engine
from local_spark import as_it_comes

from starberg.engines.spark.engine import SparkEngine


@pytest.fixture
def spark() -> SparkEngine:
    """Spark beside an engine without tables."""
    return as_it_comes(fresh_engine())
