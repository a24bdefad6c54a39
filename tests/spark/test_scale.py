"""The benchmark of scale runs, each way; its figures are for people on a quiet machine to judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import local_spark
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.proof
def test_a_small_benchmark_of_scale_tells_its_ratios() -> None:
    command = [sys.executable, "-m", "benchmarks.scale", "--quick", "--sizes", "20000"]
    ended = subprocess.run(
        [*command, "--jars", local_spark.jars()], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "change set, 20,000 customers, Spark : DuckDB" in ended.stdout
