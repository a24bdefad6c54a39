"""Building some tables: those named, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from lake import TempLake


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    lake.stream("shops", {"id": "BIGINT", "name": "VARCHAR"})
    lake.stream("sales", {"id": "BIGINT", "shop": "BIGINT", "amount": "BIGINT"})
    lake.declare("staging/stg_shops", "select id as shop_id, name from shops")
    lake.declare("staging/stg_sales", "select id as sale_id, shop as shop_id, amount from sales")
    lake.declare("staging/stg_refunds", "select id as sale_id, amount from sales where amount < 0")
    history = "/*\nnatural_key: shop_id\nhistory: type2\n*/"
    lake.declare("dimensions/dim_shop", f"{history} select shop_id, name from stg_shops")
    keys = "/*\ngrain: sale_id\nkeys:\n  shop_key: dim_shop(shop_id)\n*/"
    lake.declare("facts/fact_sales", f"{keys} select sale_id, amount from stg_sales")
    lake.declare("marts/mart_sales", "select sum(amount) as amount from fact_sales")
    lake.land("shops", [{"id": 1, "name": "North"}])
    lake.land("sales", [{"id": 1, "shop": 1, "amount": 5}])
    return lake


def test_what_is_not_asked_for_stays_as_it_is_until_it_is(lake: TempLake) -> None:
    lake.build()
    lake.land("sales", [{"id": 2, "shop": 1, "amount": 7}])
    built = lake.build(only=["stg_sales", "fact_sales"])
    assert built.changed == {"stg_sales": (1, 0, 0), "fact_sales": (1, 0, 0)}
    assert lake.rows("SELECT amount FROM mart_sales") == [(5,)]
    assert lake.build().changed == {"mart_sales": (1, 0, 1)}
    assert lake.verify() == []


def test_an_input_that_is_not_there_yet_is_built_with_what_reads_it(lake: TempLake) -> None:
    built = lake.build(only=["fact_sales"])
    assert set(built.tables) == {"stg_shops", "stg_shops_changes", "stg_sales", "stg_refunds", "dim_shop", "fact_sales"}


def test_all_staging_of_one_stream_is_built_at_once_as_it_has_one_watermark(lake: TempLake) -> None:
    lake.build()
    lake.land("sales", [{"id": 2, "shop": 1, "amount": -7}])
    assert lake.build(only=["stg_sales"]).changed == {"stg_sales": (1, 0, 0), "stg_refunds": (1, 0, 0)}


def test_a_dimension_alone_is_built_from_the_facts_staged_rows_and_their_keys_follow(lake: TempLake) -> None:
    assert set(lake.build(only=["dim_shop"]).tables) == {"stg_shops", "stg_shops_changes", "dim_shop"}
    lake.land("sales", [{"id": 3, "shop": 9, "amount": 1}])
    lake.build()
    lake.clock.sleep(3600)
    lake.land("shops", [{"id": 1, "name": "South"}])
    lake.build(only=["stg_shops"])
    assert lake.build(only=["dim_shop"]).changed == {"dim_shop": (1, 1, 0), "fact_sales": (0, 1, 0)}
    assert lake.verify() == []
