"""A stream may feed several staging tables, such as a mirror of the source beside the cleaned rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shop import NAME, SALES, Shop, published

MIRROR = "select * from sales"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with published(tmp_path_factory.mktemp("mirror") / "project", {"staging/mrr_sales": MIRROR}) as shop:
        yield shop


@pytest.fixture
def shop(first: Shop) -> Shop:
    """A shop after its first run."""
    return first.put_back()


def test_a_mirror_has_the_source_s_columns_and_follows_it(shop: Shop) -> None:
    assert shop.rows("select id, channel from mrr_sales where id = 1") == [(1, "web")]
    shop.say(sales=[{**SALES[0], "channel": "fair"}, *SALES[1:4]])
    shop.run()
    live = "select count(*), max(channel) filter (id = 1) from mrr_sales where _deleted_at is null"
    assert shop.rows(live) == [(4, "fair")]
    assert shop.rows("select count(*) from stg_sales where _deleted_at is null") == [(4,)]
    assert shop.lake().verify(NAME).equal


def test_a_stream_has_one_mark_whatever_is_made_of_it(shop: Shop) -> None:
    asked = "select table_name, source, stream, load_seq from high_water_mark order by 1"
    assert shop.rows(asked) == [("customers", "till", "customers", 1), ("sales", "till", "sales", 1)]
    shop.say(sales=SALES[:4])
    shop.run()
    assert shop.rows(asked) == [("customers", "till", "customers", 1), ("sales", "till", "sales", 2)]


def test_a_mirror_added_later_holds_all_that_was_ever_landed(shop: Shop) -> None:
    shop.say(sales=SALES[:4])
    shop.run()
    shop.table("staging/mrr_later", "select id, price from sales")
    result = shop.run()
    assert shop.strategies(result)["mrr_later"] == "rebuild"
    assert shop.rows("select count(*), count(_deleted_at) from mrr_later") == [(5, 1)]
    assert shop.rows("select load_seq from high_water_mark where stream = 'sales'") == [(2,)]


def test_unreadable_records_are_set_aside_once_and_told_of_once(shop: Shop) -> None:
    shop.say(sales=[{**SALES[0], "price": "dear"}, *SALES[1:]])
    result = shop.run()
    assert [note for note in result.notes if "quarantine" in note] == [
        f"1 of 1 records of sales are in {NAME}.quarantine_sales"
    ]
    assert shop.rows("select count(*) from quarantine_sales") == [(1,)]
    for table in ("mrr_sales where id = 1", "stg_sales where sale_id = 1"):
        assert shop.rows(f"select price::double from {table}") == [(1.5,)]  # as it was last read


def test_allowing_deletes_of_one_table_allows_them_of_its_stream(shop: Shop) -> None:
    shop.say(sales=[])
    stopped = shop.product("run", NAME)
    assert stopped.code == 4
    assert stopped.complaint.endswith("run again with --allow-deletes mrr_sales.")
    shop.run(allow_deletes=["stg_sales"])
    assert shop.rows("select count(*) from mrr_sales where _deleted_at is null") == [(0,)]
