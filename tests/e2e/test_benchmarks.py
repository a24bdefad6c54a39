"""The benchmark runs and tells every ratio it is for; the figures are for people on a quiet machine to judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RATIOS = [
    "starberg: share of a limit of 20 requests/s",
    "as fast as requests, sequential",
    "peak memory of ingest",
    "games : their ingest",
    "peak memory of etl",
    "run, nothing changed",
    "run, 100 games changed",
    "starberg --help : python",
]


@pytest.mark.proof
@pytest.mark.parametrize(
    ("what", "ratios"),
    [
        (["benchmarks", "games", "--games", "120"], RATIOS),
        (["benchmarks", "history", "--members", "40000"], ["3 x the changed rows"]),
        (
            ["benchmarks.upkeep", "--small", "2", "--idle", "2", "--members", "30"],
            ["all tables read", "files of a table"],
        ),
    ],
)
def test_a_small_benchmark_tells_its_ratios(what: list[str], ratios: list[str]) -> None:
    command = [sys.executable, "-m", *what, "--quick"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [ratio for ratio in ratios if ratio not in ended.stdout] == []
