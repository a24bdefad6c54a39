"""The invariants of dimensions, bridges and facts: each passes on sound tables and fires on a seeded violation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from lake import TempLake, fresh_engine

from starberg.etl.audit import own_checks
from starberg.etl.quality import Check, invariants, run_check
from starberg.utils.errors import CheckFailed
from starberg.utils.sql import quote

SOUND = {
    "stg_sales": "VALUES (1, 10), (2, NULL)) t(sale_id, genre_id",
    "dim_genre": "VALUES (0, NULL, 'Unknown'), (1, 10, 'Action'), (2, 20, 'Puzzle')) t(genre_key, genre_id, name",
    "dim_date": "VALUES (0, NULL), (20260101, DATE '2026-01-01')) t(date_key, date",
    "fact_sales": "VALUES (1, 10, 1, DATE '2026-01-01', 20260101), (2, NULL, 0, NULL, 0), (3, 20, 2, NULL, 0)) "
    "t(sale_id, genre_id, genre_key, sold, date_key",
    "bridge_game_genre": "VALUES (1, 10, 1, 0.5), (1, 20, 2, 0.5), (2, 10, 1, 1.0)) "
    "t(game_id, genre_id, genre_key, weight",
    "mart_genres": "VALUES ('Action', 1)) t(name, sales",
}


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    lake.stream("sales", {"id": "BIGINT"})
    columns = "id as sale_id, id as genre_id, id as sold, id as game_id, id as weight"
    lake.declare("staging/stg_sales", f"select {columns} from sales")
    lake.declare("dimensions/dim_genre", "/* natural_key: genre_id */ select genre_id, sold as name from stg_sales")
    lake.declare("dimensions/dim_date", "/* calendar: {} */ select date from calendar")
    found = "{dimension: dim_genre, columns: [genre_id], missing: fail}"
    lake.declare(
        "facts/fact_sales",
        f"/*\ngrain: sale_id\nkeys:\n  genre_key: {found}\n  date_key: dim_date(sold)\n*/\n"
        "select sale_id, genre_id, sold from stg_sales",
    )
    lake.declare(
        "bridges/bridge_game_genre",
        "/*\ngrain: [game_id, genre_id]\nkeys: {genre_key: dim_genre(genre_id)}\nweight: declared\n*/\n"
        "select game_id, genre_id, weight from stg_sales",
    )
    lake.declare("marts/mart_genres", "/* grain: name */ select name, count(*) as sales from dim_genre group by name")
    return lake


def fired(lake: TempLake, **tables: str) -> set[str]:
    """Return `check of table` for every invariant that fires, over sound tables with some of them replaced."""
    engine = fresh_engine()
    engine.run("CREATE SCHEMA shop")
    for name in SOUND:
        engine.run(f"CREATE TABLE {quote(f'shop.{name}')} AS {tables.get(name) or sound(name)}")
    checks = [check for table in lake.warehouse.tables.values() for check in invariants(table, lake.warehouse)]
    return {f"{c.name} of {c.table.removeprefix('shop.')}" for c in checks if run_check(engine, c).status == "failed"}


def sound(table: str) -> str:
    return f"SELECT * FROM ({SOUND[table]})"


def but(table: str, change: str) -> str:
    """Return a sound table's rows with one change: `+ row`, `- condition` or `column = value WHERE condition`."""
    if change.startswith("+"):
        return f"{sound(table)} UNION ALL SELECT {change[1:]}"
    if change.startswith("-"):
        return f"SELECT * FROM ({sound(table)}) WHERE NOT coalesce({change[1:]}, false)"
    column, rest = change.split(" = ", 1)
    value, where = rest.split(" WHERE ")
    return f"SELECT * REPLACE (CASE WHEN {where} THEN {value} ELSE {column} END AS {column}) FROM ({sound(table)})"


def test_sound_tables_pass(lake: TempLake) -> None:
    assert fired(lake) == set()


VIOLATIONS: Sequence[tuple[str, str, str, set[str]]] = [
    ("a staging key twice", "stg_sales", "+ 1, 20", {"natural_key_unique of stg_sales"}),
    ("no staging key", "stg_sales", "+ NULL, 20", {"natural_key_unique of stg_sales"}),
    # I1: surrogate keys are unique and there
    ("I1 twice", "dim_genre", "+ 1, 30, 'Twin'", {"surrogate_key_unique of dim_genre"}),
    ("I1 null", "dim_genre", "+ NULL, 30, 'Lost'", {"surrogate_key_unique of dim_genre"}),
    ("I1 natural key twice", "dim_genre", "+ 3, 10, 'Twin'",
     {"natural_key_unique of dim_genre", "genre_key_is_the_member of fact_sales",
      "genre_key_is_the_member of bridge_game_genre"}),
    ("I1 natural key null", "dim_genre", "+ 3, NULL, 'Lost'", {"natural_key_unique of dim_genre"}),
    # I7: every key of a fact is a member's
    ("I7 no such member", "fact_sales", "genre_key = 9 WHERE sale_id = 2", {"genre_key_exists of fact_sales"}),
    ("I7 null", "fact_sales", "genre_key = NULL WHERE sale_id = 2", {"genre_key_exists of fact_sales"}),
    ("I7 no such day", "fact_sales", "date_key = 20300101 WHERE sale_id = 1", {"date_key_exists of fact_sales"}),
    ("I7 the member went", "dim_genre", "- genre_key = 2",
     {"genre_key_exists of fact_sales", "genre_key_exists of bridge_game_genre"}),
    ("I7 another's member", "fact_sales", "genre_key = 2 WHERE sale_id = 1", {"genre_key_is_the_member of fact_sales"}),
    # I9: grain
    ("I9 twice", "fact_sales", "+ 1, 10, 1, NULL, 0", {"grain_unique of fact_sales"}),
    ("I9 null", "fact_sales", "sale_id = NULL WHERE sale_id = 1", {"grain_unique of fact_sales"}),
    ("I9 of a mart", "mart_genres", "+ 'Action', 2", {"grain_unique of mart_genres"}),
    # I10: one unknown member, and no fact left on it whose member is there
    ("I10 none", "dim_genre", "- genre_key = 0",
     {"one_unknown_member of dim_genre", "genre_key_exists of fact_sales"}),
    ("I10 two", "dim_genre", "+ 0, NULL, 'Unknown'",
     {"one_unknown_member of dim_genre", "surrogate_key_unique of dim_genre"}),
    ("I10 a late fact is not repaired", "fact_sales", "genre_key = 0 WHERE sale_id = 1",
     {"genre_key_found of fact_sales", "genre_key_is_the_member of fact_sales"}),
    ("I10 not found", "fact_sales", "+ 4, 77, 0, NULL, 0", {"genre_key_found of fact_sales"}),
    # I11: bridges
    ("I11 weights", "bridge_game_genre", "weight = 0.4 WHERE genre_id = 20", {"weights_sum_to_1 of bridge_game_genre"}),
    ("I11 no weight", "bridge_game_genre", "weight = NULL WHERE game_id = 2",
     {"weights_sum_to_1 of bridge_game_genre"}),
    ("I11 a weight missing beside a 1", "bridge_game_genre", "+ 2, 20, 2, NULL",
     {"weights_sum_to_1 of bridge_game_genre"}),
    ("I11 NaN", "bridge_game_genre", "weight = 'nan'::DOUBLE WHERE game_id = 2",
     {"weights_sum_to_1 of bridge_game_genre"}),
    ("I11 a pair twice", "bridge_game_genre", "+ 1, 10, 1, 0.0", {"grain_unique of bridge_game_genre"}),
    ("I11 no such member", "bridge_game_genre", "genre_key = 9 WHERE game_id = 2",
     {"genre_key_exists of bridge_game_genre", "genre_key_is_the_member of bridge_game_genre"}),
]  # fmt: skip


@pytest.mark.parametrize(("table", "change", "expected"), [v[1:] for v in VIOLATIONS], ids=[v[0] for v in VIOLATIONS])
def test_a_seeded_violation_fires(lake: TempLake, table: str, change: str, expected: set[str]) -> None:
    assert fired(lake, **{table: but(table, change)}) == expected


def test_a_key_whose_type_was_edited_may_name_one_row_twice(tmp_path: Path) -> None:
    """Loads told '1' and '01' apart; as numbers they are one."""
    lake = TempLake(tmp_path)
    lake.declare("staging/stg_sales", "select id as sale_id, price from sales")
    lake.stream("sales", {"id": "VARCHAR", "price": "INTEGER"})
    lake.land("sales", [{"id": "1", "price": 1}, {"id": "01", "price": 2}])
    lake.build()
    lake.stream("sales", {"id": "BIGINT", "price": "INTEGER"})
    with pytest.raises(CheckFailed, match=r"natural_key_unique of shop\.stg_sales"):
        lake.build()


def test_weights_may_differ_from_1_by_rounding(lake: TempLake) -> None:
    thirds = ", ".join(f"(1, {n}, {1 if n == 10 else 2}, 1 / 3)" for n in (10, 20))
    rest = ", (1, NULL, 0, 1 / 3)"
    found = f"SELECT * FROM (VALUES {thirds}{rest}) t(game_id, genre_id, genre_key, weight)"
    assert "weights_sum_to_1 of bridge_game_genre" not in fired(lake, bridge_game_genre=found)


def test_a_result_counts_all_failures_and_shows_a_few() -> None:
    engine = fresh_engine()
    found = run_check(engine, Check("c", "t", "SELECT i AS n, 'it''s' AS s FROM range(100) r(i)"))
    assert (found.status, found.failures, len(json.loads(found.sample))) == ("failed", 100, 5)
    assert json.loads(found.sample)[0] == {"n": 0, "s": "it's"}
    odd = run_check(
        engine, Check("c", "t", "SELECT 'nan'::DOUBLE AS x, [1, NULL] AS l, 'a\\0' AS s, DATE '2026-01-01' AS d")
    )
    assert json.loads(odd.sample)[0]["d"] == "2026-01-01"
    passed = run_check(engine, Check("c", "t", "SELECT 1 WHERE false"))
    assert (passed.status, passed.failures, passed.sample) == ("passed", 0, "[]")


def test_a_check_of_severity_warn_warns(lake: TempLake) -> None:
    lake.declare("checks/no_free_sales", "/* severity: warn */ select * from fact_sales where genre_key = 0")
    lake.declare("checks/no_sales", "select * from fact_sales")
    engine = fresh_engine()
    engine.run("CREATE SCHEMA shop")
    engine.run(f"CREATE TABLE shop.fact_sales AS {sound('fact_sales')}")
    engine.run("SET search_path = 'shop'")
    found = {check.name: run_check(engine, check) for check in own_checks(lake.warehouse, ["shop.fact_sales"])}
    assert {name: (result.status, result.failures) for name, result in found.items()} == {
        "no_free_sales": ("warned", 1), "no_sales": ("failed", 3)
    }  # fmt: skip
