"""Views: a warehouse's SQL over its tables and control tables, asked like a table.

Proven beside: what the shipped ones answer (tests/e2e/test_retail.py, tests/e2e/test_mafia.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from shop import CUSTOMERS, NAME, SALES, TABLES_OF_THE_SHOP, Shop, opened, published

from starberg.utils.errors import DeclarationError, UsageError

VIEWS = {
    "views/vw_sales": "select customer_id, count(*) as sales from fact_sales group by customer_id",
    "views/vw_best": "select max(sales) as sales from vw_sales where customer_id is not null",
    "views/run_log": (
        "select runs.status, runs.error_message, count(tables.table_name) as tables from etl_runs as runs "
        "left join etl_table_runs as tables using (run_id) group by all"
    ),
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with published(tmp_path_factory.mktemp("views") / "project", VIEWS) as shop:
        yield shop


@pytest.fixture
def shop(first: Shop) -> Shop:
    """A shop after its first run, in which customer 1 bought twice."""
    return first.put_back()


def test_a_view_is_asked_like_a_table(shop: Shop) -> None:
    lake = shop.lake()
    for view in ("vw_sales", "shop.vw_sales", "VW_Sales"):
        for warehouse in (None, NAME):
            asked = f"select sales from {view} where customer_id = 1"
            assert list(lake.query(asked, warehouse=warehouse).rows) == [(2,)]
    assert shop.rows("select name, sales from dim_customer join vw_sales using (customer_id) where sales > 1") == [
        ("Ann", 2)
    ]
    assert shop.rows("with a as (from vw_best) select * from a") == [(2,)]


def test_a_connection_has_the_views(shop: Shop) -> None:
    for connection in (shop.lake().connect(NAME), shop.lake().connect()):
        assert connection.sql("select sales, status from vw_best, run_log").fetchall() == [(2, "SUCCESS")]
        connection.close()


def test_a_view_sees_the_state_that_is_asked(shop: Shop) -> None:
    first = shop.lake().status(NAME)[0]["run_id"]
    shop.say(sales=SALES[2:])
    shop.run()
    assert shop.rows("from vw_best") == [(1,)]
    assert shop.rows("from vw_best", at=first) == [(2,)]


def test_tables_lists_views_without_rows_or_files(shop: Shop) -> None:
    listed = json.loads(shop.product("--json", "tables", NAME).out)
    views = [row for row in listed if row["table"].split(".")[1] in ("vw_sales", "vw_best", "run_log")]
    assert [row.pop("table") for row in views] == ["shop.run_log", "shop.vw_best", "shop.vw_sales"]
    assert {value for row in views for value in row.values()} == {None}


def test_a_view_over_control_tables_tells_of_a_run_that_failed_before_any_other_ended(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with opened(tmp_path_factory.mktemp("first") / "project") as shop:
        for path, sql in VIEWS.items():
            shop.table(path, sql)
        shop.say(customers=CUSTOMERS, sales=[{**SALES[0], "price": "-1.00"}])
        assert shop.product("run", NAME).code == 3
        [(status, message, tables)] = shop.rows("from run_log")
        assert (status, tables) == ("FAILED", 0)
        assert "prices_are_positive" in message
        with pytest.raises(UsageError, match=r"vw_sales reads shop\.fact_sales, which was not there then"):
            shop.rows("from vw_sales")


def test_a_new_view_needs_no_run_and_is_no_reason_for_one(shop: Shop) -> None:
    shop.table("views/vw_new", "select count(*) as customers from dim_customer")
    assert shop.rows("from vw_new") == [(4,)]
    assert shop.run().status == "SKIPPED"


def test_a_temporary_table_stands_in_for_no_table_a_view_reads(shop: Shop) -> None:
    connection = shop.lake().connect(NAME)
    connection.execute("create temp table vw_sales as select 1 as customer_id, 77 as sales")
    assert connection.sql("from vw_best").fetchall() == [(2,)]
    connection.close()


def test_a_view_that_cannot_be_made_is_told_of_and_stops_no_other(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.table("views/vw_wrong", "select cost from fact_sales")
    assert shop.rows("from vw_best") == [(2,)]
    with pytest.raises(UsageError, match=r'shop.vw_wrong \(vw_wrong.sql\).*"cost" not found'):
        shop.rows("from vw_wrong")
    with caplog.at_level(logging.WARNING):
        connection = shop.lake().connect(NAME)
    assert connection.sql("from vw_best").fetchall() == [(2,)]
    connection.close()
    assert "shop.vw_wrong is left out" in caplog.text


def test_a_name_that_is_no_table_names_the_nearest_view(shop: Shop) -> None:
    answer = shop.product("query", "from vw_bets")
    assert answer.code == 2
    assert answer.complaint == "SQL: there is no table vw_bets. Did you mean shop.vw_best?"


def test_a_view_that_two_warehouses_have_is_refused_with_both(shop: Shop) -> None:
    shop.product.declare("stall", {"name": "till", "kind": "memory", "url": "memory:stall", "streams": shop.streams})
    for path, sql in {**TABLES_OF_THE_SHOP, **VIEWS}.items():
        shop.product.table("stall", path, sql)
    shop.lake().run("stall")
    answer = shop.product("query", "from vw_best")
    assert answer.complaint == "vw_best is ambiguous. Name one: shop.vw_best, stall.vw_best; or --warehouse."
    named_here = "with vw_best as (select 7 as sales) select sales from vw_best"
    assert list(shop.lake().query(named_here).rows) == [(7,)]
    assert list(shop.lake().query("select a.sales, b.sales from shop.vw_best a, stall.vw_best b").rows) == [(2, None)]


@pytest.mark.parametrize(
    ("path", "sql", "said"),
    [
        ("views/vw_x", "select 1 as a from fact_sale", "there is no table 'fact_sale'. Did you mean 'fact_sales'?"),
        ("views/vw_x", "select 1 as a from stall.fact_sales", "reads stall.fact_sales: no such warehouse"),
        ("views/vw_x", "/*\ngrain: a\n*/ select 1 as a", "grain"),
        ("views/vw_x", "select 1", "a column has no name"),
        ("views/vw_x", "select current_date as a", "current_date depends on when it runs"),
        ("views/vw_x", "select 1 as a from prices_are_positive", "'prices_are_positive' is a check, not a table"),
        ("views/vw_x", "select 1 as a from vw_x", "tables read one another: vw_x"),
        ("views/etl_runs", "select 1 as a", "'etl_runs' is a control table, the engine's own"),
        ("views/vw_x", "select * from read_csv('/etc/passwd')", "read_csv() reads past the declared sources"),
        ("views/fact_sales", "select 1 as a", "there is another table 'fact_sales'"),
        ("marts/mart_x", "select * from vw_sales", "'vw_sales' is a view, not a table"),
        ("checks/x", "select * from vw_sales", "'vw_sales' is a view, not a table"),
    ],
)
def test_a_wrong_declaration_is_told_in_one_line(shop: Shop, path: str, sql: str, said: str) -> None:
    shop.table(path, sql)
    with pytest.raises(DeclarationError) as error:
        shop.lake().warehouse(NAME)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
