"""Facts and bridges: keys looked up, what is missing, what a source's delete does, weights."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake

from starberg.utils.errors import CheckFailed, DeclarationError


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    lake.stream("shops", {"id": "BIGINT", "country": "VARCHAR", "code": "VARCHAR", "name": "VARCHAR"})
    lake.stream("sales", {"id": "BIGINT", "country": "VARCHAR", "code": "VARCHAR", "amount": "DECIMAL(9, 2)"})
    lake.declare("staging/stg_shops", "select id, country, code, name from shops")
    lake.declare("staging/stg_sales", "select id as sale_id, country, code, amount from sales")
    lake.declare("dimensions/dim_shop", "/* natural_key: [country, code] */ select country, code, name from stg_shops")
    fact(lake)
    return lake


def fact(
    lake: TempLake, header: str = "", keys: str = "shop_key: dim_shop(country, code)", columns: str = "sale_id, amount"
) -> None:
    lake.declare(
        "facts/fact_sales", f"/*\ngrain: sale_id\nkeys:\n  {keys}\n{header}\n*/\nselect {columns} from stg_sales"
    )


def shops(lake: TempLake, *codes: str) -> None:
    records = [{"id": n, "country": code[:2], "code": code[2:], "name": code} for n, code in enumerate(codes)]
    lake.land("shops", records, whole=True)


def sales(lake: TempLake, **amounts: Any) -> datetime:
    """Land all sales, named by the shop's code and their number; return when."""
    lake.clock.sleep(3600)
    records = [{"id": int(k[4:]), "country": k[:2], "code": k[2:4], "amount": v} for k, v in amounts.items()]
    lake.land("sales", records, whole=True)
    return lake.clock.now().replace(tzinfo=None)


def rows(lake: TempLake, columns: str) -> list[tuple[Any, ...]]:
    return lake.rows(f"SELECT {columns} FROM fact_sales ORDER BY sale_id")


def test_a_composite_natural_key_is_looked_up_and_kept_beside_the_surrogate_key(lake: TempLake) -> None:
    shops(lake, "fr01", "de01", "fr02")
    sales(lake, fr021="1.50", de012=2)
    lake.build()
    assert rows(lake, "sale_id, country, code, shop_key, amount") == [(1, "fr", "02", 3, 1.5), (2, "de", "01", 1, 2)]


def test_columns_may_have_other_names_than_the_dimensions(lake: TempLake) -> None:
    fact(
        lake,
        keys="shop_key: {dimension: dim_shop, on: {code: shop, country: land}}",
        columns="sale_id, code as shop, country as land",
    )
    shops(lake, "fr01")
    sales(lake, fr011=1)
    lake.build()
    assert rows(lake, "land, shop, shop_key") == [("fr", "01", 1)]


def test_an_unknown_shop_is_inferred_by_default(lake: TempLake) -> None:
    sales(lake, fr091=1)
    lake.build()
    assert rows(lake, "shop_key") == [(1,)]
    assert lake.rows("SELECT country, code, is_inferred FROM dim_shop WHERE shop_key = 1") == [("fr", "09", True)]


def test_an_unknown_shop_is_key_0_where_the_lookup_says_so_until_it_is_known(lake: TempLake) -> None:
    fact(lake, keys="shop_key: {dimension: dim_shop, columns: [country, code], missing: unknown}")
    sales(lake, fr011=1)
    lake.build()
    assert rows(lake, "shop_key") == [(0,)]
    shops(lake, "fr01")
    lake.build()
    assert rows(lake, "shop_key") == [(1,)]


def test_an_unknown_shop_stops_the_publish_where_the_lookup_says_so_but_a_null_one_does_not(lake: TempLake) -> None:
    fact(lake, keys="shop_key: {dimension: dim_shop, columns: [country, code], missing: fail}")
    shops(lake, "fr01")
    lake.land("sales", [{"id": 1, "country": None, "code": "01", "amount": 1}], whole=True)
    lake.build()
    assert rows(lake, "shop_key") == [(0,)]
    sales(lake, fr091=1)
    with pytest.raises(CheckFailed, match="shop_key_found"):
        lake.build()


def test_a_deleted_shop_is_still_found(lake: TempLake) -> None:
    shops(lake, "fr01", "fr02")
    sales(lake, fr011=1)
    lake.build()
    shops(lake, "fr02")
    lake.build()
    assert rows(lake, "shop_key") == [(1,)]


def test_only_rows_that_differ_are_written(lake: TempLake) -> None:
    shops(lake, "fr01", "fr02")
    sales(lake, fr011=1, fr022=2)
    lake.build()
    sales(lake, fr011=1, fr012=2)
    assert lake.build().changed == {"stg_sales": (0, 1, 0), "fact_sales": (0, 1, 0)}
    assert rows(lake, "shop_key, _run_id, _load_id") == [(1, "run1", 1), (1, "run2", 2)]


# Deletes


def test_by_default_a_row_leaves_with_its_source_row(lake: TempLake) -> None:
    sales(lake, fr011=1, fr012=2)
    lake.build()
    sales(lake, fr012=2)
    lake.build()
    assert rows(lake, "sale_id") == [(2,)]


def test_a_marked_row_stays_with_the_time_of_its_delete_and_comes_back(lake: TempLake) -> None:
    fact(lake, "deletes: mark")
    sales(lake, fr011=1, fr012=2)
    lake.build()
    missed = sales(lake, fr012=2)
    lake.build()
    columns = "sale_id, amount, is_deleted, deleted_at"
    assert rows(lake, columns) == [(1, 1, True, missed), (2, 2, False, None)]
    sales(lake, fr011=5, fr012=2)
    lake.build()
    assert rows(lake, columns) == [(1, 5, False, None), (2, 2, False, None)]
    assert lake.verify() == []


def test_a_kept_row_stays_as_it_was(lake: TempLake) -> None:
    fact(lake, "deletes: keep")
    sales(lake, fr011=1, fr012=2)
    lake.build()
    sales(lake, fr012=2)
    assert "fact_sales" not in lake.build().changed
    assert rows(lake, "sale_id, amount") == [(1, 1), (2, 2)]
    assert lake.verify() == []


@pytest.mark.parametrize("deletes", ["mark", "keep"])
def test_rows_that_are_groups_cannot_be_marked_or_kept(lake: TempLake, deletes: str) -> None:
    lake.declare(
        "facts/fact_sales",
        f"/*\ngrain: country\ndeletes: {deletes}\n*/ select country, sum(amount) as amount from stg_sales group by all",
    )
    sales(lake, fr011=1)
    with pytest.raises(DeclarationError, match=r"deletes.*first staging table"):
        lake.build()


# Shapes of SELECTs


def test_a_sum_of_whole_numbers_is_a_number_every_reader_reads(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_sales",
        "/* grain: country */ select country, count(*) as sales, sum(sale_id) as ids from stg_sales group by country",
    )
    sales(lake, fr011=1, fr022=1, de013=1)
    lake.build()
    assert lake.rows("SELECT country, sales, ids::BIGINT FROM fact_sales ORDER BY 1") == [("de", 1, 3), ("fr", 2, 3)]
    assert str(lake.table("fact_sales").schema.find_type("ids")) == "decimal(38, 0)"


def test_a_join_in_a_fact_gives_every_row_the_load_of_its_driver(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_sales",
        "/* grain: sale_id */ with s as (select country, code, name from stg_shops)\n"
        "select sale_id, name from stg_sales f left join s on s.country = f.country and s.code = f.code",
    )
    shops(lake, "fr01")
    shops(lake, "fr01", "fr02")
    sales(lake, fr021=1, fr032=1)
    lake.build()
    assert rows(lake, "sale_id, name, _load_id") == [(1, "fr02", 1), (2, None, 1)]


def test_rows_of_one_grain_stop_the_publish_also_when_they_are_alike(lake: TempLake) -> None:
    lake.declare("facts/fact_sales", "/* grain: country */ select country from stg_sales")
    sales(lake, fr011=1)
    lake.build()
    sales(lake, fr011=1, fr022=1)
    with pytest.raises(CheckFailed, match=r"grain_unique of shop\.fact_sales"):
        lake.build()


def test_a_partitioned_fact_moves_its_rows_between_partitions(lake: TempLake) -> None:
    fact(lake, "partition: [country]", columns="sale_id, country, amount")
    sales(lake, fr011=1, de012=2)
    lake.build()
    sales(lake, de011=1, de012=2)
    lake.build()
    assert rows(lake, "country, amount") == [("de", 1), ("de", 2)]
    assert lake.verify() == []


# Bridges


@pytest.fixture
def bridge(lake: TempLake) -> TempLake:
    lake.stream("games", {"id": "BIGINT", "genres": "STRUCT(id BIGINT, share DOUBLE)[]"})
    lake.declare("staging/stg_games", "select id as game_id, genres from games")
    lake.declare("dimensions/dim_shop", "/* natural_key: genre_id */ select id as genre_id, name from stg_shops")
    lake.declare("facts/fact_sales", "/* grain: sale_id */ select sale_id from stg_sales")
    pairs(lake, "weight: equal")
    return lake


def pairs(lake: TempLake, header: str, columns: str = "") -> None:
    lake.declare(
        "bridges/bridge_game_genre",
        f"/*\ngrain: [game_id, genre_id]\nkeys: {{genre_key: dim_shop(genre_id)}}\n{header}\n*/\n"
        f"select game_id, g.id as genre_id{columns} from stg_games, unnest(genres) as u(g)",
    )


def games(lake: TempLake, **genres: list[int]) -> None:
    records = [
        {"id": int(game[1:]), "genres": [{"id": number, "share": 1 / len(of)} for number in of]}
        for game, of in genres.items()
    ]
    lake.land("games", records, whole=True)


def pairs_of(lake: TempLake) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT game_id, genre_id, genre_key, weight FROM bridge_game_genre ORDER BY 1, 2")


def test_a_bridge_is_the_sources_current_pairs_weighing_1_together(bridge: TempLake) -> None:
    games(bridge, g1=[5, 7], g2=[5], g3=[])
    bridge.build()
    assert pairs_of(bridge) == [(1, 5, 1, 0.5), (1, 7, 2, 0.5), (2, 5, 1, 1.0)]
    games(bridge, g1=[5, 6, 7, 8], g2=[])
    bridge.build()
    assert pairs_of(bridge) == [(1, 5, 1, 0.25), (1, 6, 3, 0.25), (1, 7, 2, 0.25), (1, 8, 4, 0.25)]
    assert bridge.verify() == []


def test_declared_weights_must_sum_to_1(bridge: TempLake) -> None:
    pairs(bridge, "weight: declared", ", g.share as weight")
    games(bridge, g1=[5, 7, 8], g2=[5])
    bridge.build()
    pairs(bridge, "weight: declared", ", 1.0::DOUBLE as weight")
    with pytest.raises(CheckFailed, match=r"weights_sum_to_1 of shop\.bridge_game_genre"):
        bridge.build()


def test_the_same_pair_twice_stops_the_publish(bridge: TempLake) -> None:
    games(bridge, g1=[5, 5])
    with pytest.raises(CheckFailed, match="grain_unique"):
        bridge.build()
