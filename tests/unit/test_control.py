"""Control tables give back what was written to them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from lake import TempLake

from starberg.etl.control import ControlTables
from starberg.etl.control_tables import COLUMNS, TABLES
from starberg.etl.row_delta import RowDelta

RESULT = {"run_id": "r1", "check_name": "unique", "table_name": "dim_user", "severity": "error", "status": "failed"}


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    return TempLake(tmp_path)


def write(lake: TempLake, table: str, *rows: dict[str, object]) -> None:
    with lake.session() as (branch, engine, tables):
        existing = [name for name in TABLES if f"{lake.name}.{name}" in tables.pointers]
        delta = RowDelta(engine.local, tables, branch.run_id)
        ControlTables(engine.local, lake.name, existing).write(delta, table, rows)
        tables.publish("control")


@pytest.mark.parametrize("text", ["", "it's", 'a "quoted" \\ path', "two\nlines", "before\x00after", "Ωμέγα 🎲", None])
def test_text_comes_back_as_it_was(lake: TempLake, text: str | None) -> None:
    write(lake, "data_quality_results", {**RESULT, "sample": text})
    assert lake.rows("select sample from data_quality_results") == [(text,)]


def test_numbers_and_times_come_back_to_the_last_digit(lake: TempLake) -> None:
    at = datetime(2026, 11, 21, 14, 58, 15, 123456, tzinfo=UTC)
    write(lake, "data_quality_results", {**RESULT, "failures": 2**63 - 1, "checked_at": at})
    assert lake.rows("select failures, checked_at from data_quality_results") == [(2**63 - 1, at.replace(tzinfo=None))]


def test_a_row_of_the_same_key_is_replaced_and_others_stay(lake: TempLake) -> None:
    state = {"columns": "{}", "inputs": "{}", "key_mark": 1}
    write(
        lake, "etl_tables", *({"table_name": name, "fingerprint": "old", **state} for name in ("dim_user", "stg_user"))
    )
    write(lake, "etl_tables", {"table_name": "dim_user", "fingerprint": "new", **state})
    rows = lake.rows("select table_name, fingerprint from etl_tables order by 1")
    assert rows == [("dim_user", "new"), ("stg_user", "old")]


def test_a_log_is_folded_when_it_has_many_files(lake: TempLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starberg.etl.control.FOLD_FILES", 3)
    for number in range(8):
        write(lake, "data_quality_results", {**RESULT, "run_id": f"r{number}"})
        assert lake.rows("select count(*) from data_quality_results") == [(number + 1,)]
        assert lake.table("data_quality_results").facts()["files"] <= 3


def test_a_lake_whose_control_tables_lack_a_column_is_read_and_gets_it(lake: TempLake) -> None:
    mark = {"table_name": "t", "source": "api", "stream": "games", "load_seq": 3}
    older = {name: kind for name, kind in COLUMNS["high_water_mark"].items() if name != "source_rows"}
    with patch.dict(COLUMNS, high_water_mark=older):
        write(lake, "high_water_mark", mark)
    with lake.session() as (_, engine, _):
        assert ControlTables(engine.local, lake.name, ["high_water_mark"]).published_loads() == {"api.games": 3}
    write(lake, "high_water_mark", {**mark, "load_seq": 4, "source_rows": 9})
    assert lake.rows("select load_seq, source_rows from high_water_mark") == [(4, 9)]
