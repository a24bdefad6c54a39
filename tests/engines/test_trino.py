"""The client of Trino against the real server; what it answers: test_questions.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import rows_of
from stack import Stack

from starberg.entrypoints.lake import Lake
from starberg.entrypoints.library import Library
from starberg.etl.model import Kind
from starberg.utils.errors import UsageError


def asked(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return list(lake.query(sql, engine="trino").rows)


def test_many_rows_come_as_they_are_read_and_the_rest_is_cancelled(lake: Lake) -> None:
    sql = "select a.sale_id, b.sale_id as other from retail.dwh_fact_sales a cross join retail.dwh_fact_sales b"
    rows: Iterator[tuple[Any, ...]] = lake.query(sql, engine="trino").rows
    assert len(list(itertools.islice(rows, 300_000))) == 300_000
    rows.close()  # type: ignore[attr-defined]
    like = "query like '%CROSS JOIN%' and query not like '%runtime%'"
    newest = f"select state, error_code from system.runtime.queries where {like} order by created desc limit 1"
    answer = lake.open_client("trino").query(newest)
    assert rows_of(answer) == [("FAILED", "USER_CANCELED")]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select nosuch from games.fact_games", "Trino: .*nosuch"),
        ("select * from games.fact_gamez", "there is no table games.fact_gamez. Did you mean games.fact_games"),
        ("select cast(name as integer) from games.fact_games", "Trino: .*Cannot cast"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(lake: Lake, sql: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as failed:
        asked(lake, sql)
    assert "\n" not in str(failed.value)


def test_setup_says_of_each_view_and_function_what_became_of_it(lake: Lake) -> None:
    from starberg.entrypoints.engine_setup import setup_trino

    *made, answer = setup_trino(lake, lake.open_client("trino"), "nessie", None)
    assert answer["done"] == "answered"
    library = Library(lake.warehouses, lake.look())
    assert {step["what"] for step in made} == {
        f"{'view' if kind is Kind.VIEW else 'function'} {name}"
        for kind in (Kind.VIEW, Kind.FUNCTION)
        for name in library.names(kind)
    }
    assert {step["done"] for step in made} == {"refused"}, "Trino keeps no views in Nessie; query writes them out"
    assert all("not supported for Iceberg Nessie" in s["why"] or "read no tables" in s["why"] for s in made)


def test_its_secrets_are_in_no_command_line_and_no_file(stack: Stack) -> None:
    trino = stack.service("trino")
    written = [Path(f"/proc/{trino.record['pid']}/cmdline"), trino.directory / "log"]
    written += (trino.directory / "etc").rglob("*.properties")
    assert len(written) > 6
    secrets = [stack.service("postgres").record["password"], stack.env["MINIO_SECRET_KEY"]]
    for file in written:
        assert not any(secret in file.read_text(errors="replace") for secret in secrets), file
