"""Keyed recomputation: whatever changes, computing only what changes may reach gives what computing everything gives.

A failure names the seed; `KEYED=17 pytest -m proof tests/properties/test_keyed.py` plays that one again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from defects import Defect, replaced, rewritten
from hypothesis import settings
from keyed_lake import KEYED, Life, keyed_lake

from starberg.etl import keyed_build
from starberg.etl.keyed import Keyed
from starberg.etl.keyed_build import KeyedBuild

pytestmark = pytest.mark.proof

RUNS = 5
PARTS = 4
soak = settings.default.max_examples > 100  # type: ignore[union-attr]
SEEDS = [int(os.environ["KEYED"])] if "KEYED" in os.environ else range(200 if soak else 12)


@pytest.fixture(autouse=True)
def whenever_possible() -> Iterator[None]:
    with patch.object(keyed_build, "KEYED_SHARE", 1e9):
        yield


def differences(folder: Path, seed: int) -> tuple[list[str], set[str]]:
    """Play a life; return what a rebuild finds to be wrong, and the tables that were computed by key."""
    folder.mkdir()
    lake = keyed_lake(folder)
    life = Life(lake, seed)
    by_key: set[str] = set()
    for run in range(RUNS):
        life.go_on(30 if run == 0 else life.random.choice([1, 3, 12]))
        built = lake.build(allow_deletes=["stg_customers", "stg_sales", "stg_returns"], check=False)
        by_key |= {name for name, table in built.tables.items() if table.strategy == "keyed"}
        if found := lake.verify():
            return [f"seed {seed}, run {run + 1}: {found}"], by_key
    return [], by_key


@pytest.mark.parametrize("part", range(PARTS))
def test_computed_by_key_equals_computed_in_full(part: int, tmp_path: Path) -> None:
    by_key: set[str] = set()
    for seed in [seed for seed in SEEDS if seed % PARTS == part]:
        found, keyed = differences(tmp_path / str(seed), seed)
        assert found == []
        by_key |= keyed
    assert sorted(by_key) == KEYED or "KEYED" in os.environ


DEFECTS: dict[str, Defect] = {
    "rows as they were reach nothing": rewritten(
        r"(UNION ALL SELECT [\w\", ]+ FROM \(SELECT \*, filename, file_row_number FROM iceberg_scan\('[^']*'\))\)",
        r"\1 WHERE false)",
    ),
    "what is joined reaches nothing": replaced(
        Keyed, "reached", lambda right, *args: f"{right(*args)} WHERE false"
    ),
    "new keys reach nothing": replaced(KeyedBuild, "_rekeyed", lambda right, *args: []),
    "only new rows are looked up": replaced(
        KeyedBuild, "references", lambda right, self, table, inferring, dimension:
        keyed_build.facts.references(inferring, table, dimension)
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str, tmp_path: Path) -> None:
    with DEFECTS[defect]():
        assert any(differences(tmp_path / str(seed), seed)[0] for seed in range(4))
