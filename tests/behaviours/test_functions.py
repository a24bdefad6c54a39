"""SQL functions: what a warehouse keeps in functions/, every query over it can call.

Proven beside: what the shipped ones answer (tests/e2e/test_retail.py).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from shop import NAME, SALES, TABLES_OF_THE_SHOP, Shop, published

from starberg.utils.errors import DeclarationError, UsageError

CHEAP = """/*
returns: table
arguments: {price: "DECIMAL(9,2)"}
into: cheap
*/
select sale_id, price from fact_sales where price <= $price order by sale_id"""
SOLD_BY = """/*
returns: scalar
arguments: {customer_id: BIGINT}
*/
select count(*) from fact_sales where customer_id = $customer_id"""
BEST = """/*
returns: table
arguments: {n: INTEGER}
*/
with ranked as (select row_number() over (order by price desc, sale_id) as place, sale_id from fact_sales)
select place, sale_id from ranked order by place limit $n"""
FUNCTIONS = {"functions/sp_cheap": CHEAP, "functions/fn_sold_by": SOLD_BY, "functions/fn_best": BEST}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with published(tmp_path_factory.mktemp("functions") / "project", FUNCTIONS) as shop:
        yield shop


@pytest.fixture
def shop(first: Shop) -> Shop:
    """A shop after its first run: customer 1 bought sales 1 and 5, prices are 1.50 to 5.50."""
    return first.put_back()


def ids(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [row[0] for row in rows]


def complaint(shop: Shop, sql: str, *options: str) -> str:
    answer = shop.product("query", sql, *options)
    assert answer.code == 2, answer.out
    return answer.complaint


# Calling


def test_functions_are_called_like_any_others_with_or_without_their_warehouse(shop: Shop) -> None:
    lake = shop.lake()
    for function in ("fn_sold_by", "shop.fn_sold_by", "FN_Sold_By"):
        for warehouse in (None, NAME):
            assert list(lake.query(f"select {function}(1)", warehouse=warehouse).rows) == [(2,)]
    assert ids(shop.rows("from fn_best(2)")) == [1, 2]
    assert shop.rows("select b.sale_id from shop.fn_best(2) as b join fact_sales using (sale_id) order by 1") == [
        (4,),
        (5,),
    ]


def test_a_connection_has_the_functions(shop: Shop) -> None:
    for connection in (shop.lake().connect(NAME), shop.lake().connect()):
        assert connection.sql("select fn_sold_by(1), (select max(sale_id) from sp_cheap(2.50))").fetchall() == [(2, 2)]
        connection.close()


def test_functions_see_the_state_that_is_asked(shop: Shop) -> None:
    first = shop.lake().status(NAME)[0]["run_id"]
    shop.say(sales=SALES[2:])
    shop.run()
    assert shop.rows("select fn_sold_by(1)") == [(1,)]
    assert shop.rows("select fn_sold_by(1)", at=first) == [(2,)]
    shop.table("functions/fn_new", "/* returns: scalar */ select count(*) from mart_new")
    shop.table("marts/mart_new", "select 1 as a")
    shop.run()
    assert shop.rows("select fn_new()") == [(1,)]
    assert complaint(shop, "select fn_new()", "--at", first) == (
        "shop.fn_new reads shop.mart_new, which was not there then. See `starberg tables`."
    )
    assert shop.rows("select fn_sold_by(1)", at=first) == [(2,)]
    then = shop.lake().connect(NAME, at=first)
    assert then.sql("select fn_sold_by(1)").fetchall() == [(2,)]
    then.close()


def test_a_query_that_calls_no_function_reads_no_declaration(shop: Shop) -> None:
    shop.table("functions/fn_broken", "select")
    assert shop.rows("select count(*) from fact_sales") == [(5,)]
    with pytest.raises(DeclarationError, match="fn_broken"):
        shop.rows("select fn_broken()")


def test_a_mistake_in_one_warehouse_leaves_its_functions_out_of_a_connection(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.table("functions/fn_broken", "select")
    with caplog.at_level(logging.WARNING):
        connection = shop.lake().connect()
    assert connection.sql("select count(*) from shop.fact_sales").fetchall() == [(5,)]
    connection.close()
    assert "the views and functions of shop are left out" in caplog.text


# Arguments


def test_an_argument_is_no_column_of_the_same_name(shop: Shop) -> None:
    assert ids(shop.rows("from sp_cheap(2.50)")) == [1, 2]
    assert shop.rows("select fn_sold_by(2), fn_sold_by(1), fn_sold_by(null)") == [(1, 2, 0)]


def test_a_caller_s_column_is_taken_as_the_caller_s(shop: Shop) -> None:
    by_customer = "select customer_id, fn_sold_by(customer_id) from dim_customer where customer_key <> 0"
    expected = [(1, 2), (2, 1), (9, 1)]
    assert shop.rows(f"{by_customer} order by 1") == expected
    named_as_in_it = (
        "select customer_id, fn_sold_by(price) from (select customer_id, customer_id as price from dim_customer)"
    )
    assert shop.rows(f"{named_as_in_it} where customer_id is not null order by 1") == expected
    lateral = "select c.customer_id, s.sale_id from dim_customer as c, sp_cheap(c.customer_id + 0.5) as s"
    assert shop.rows(f"{lateral} where c.customer_id < 3 order by all") == [(1, 1), (2, 1), (2, 2)]


def test_an_aggregate_as_an_argument_is_the_caller_s_or_refused(shop: Shop) -> None:
    assert shop.rows("select fn_sold_by(min(customer_id)) from fact_sales") == [(2,)]
    said = complaint(shop, "select fn_sold_by(count(*)) from fact_sales")
    assert said == "fn_sold_by cannot take COUNT(*) as an argument. Compute it in a subquery, and pass the column."
    assert "ROW_NUMBER() OVER ()" in complaint(shop, "select fn_sold_by(1 + row_number() over ()) from fact_sales")
    assert shop.rows("select fn_sold_by((select count(*) - 4 from fact_sales))") == [(2,)]


def test_arguments_are_values_of_their_types(shop: Shop) -> None:
    assert ids(shop.rows("from sp_cheap((select 1.0 + 0.5))")) == [1]
    assert ids(shop.rows("from sp_cheap('1.499')")) == [1]  # as DECIMAL(9,2) it is 1.50
    assert 'Could not convert string "x" to DECIMAL(9,2)' in complaint(shop, "from sp_cheap('x')")


def test_a_temporary_table_stands_in_for_no_table_a_function_reads(shop: Shop) -> None:
    connection = shop.lake().connect(NAME)
    connection.execute("create temp table fact_sales as select 1 as customer_id, 0.5 as price, 77 as sale_id")
    assert connection.sql("select fn_sold_by(1)").fetchall() == [(2,)]
    connection.close()


def test_a_body_keeps_its_own_with_recursion_and_order(shop: Shop) -> None:
    shop.table(
        "functions/fn_series",
        """/*
returns: table
arguments: {n: INTEGER}
*/
with recursive steps as (select 1 as step union all select step + 1 from steps where step < $n)
select step from steps order by step desc""",
    )
    assert ids(shop.rows("from fn_series(3)")) == [3, 2, 1]


# CALL


def test_a_call_leaves_its_rows_for_the_statements_after_it(shop: Shop) -> None:
    assert shop.rows("CALL sp_cheap(2.50); select count(*), max(price) from cheap") == [(2, Decimal("2.50"))]
    assert ids(shop.rows("call shop.sp_cheap(1.50);\n-- a remark; nothing more\nCALL sp_cheap(3.50); from cheap;")) == [
        1,
        2,
        3,
    ]
    assert ids(shop.rows("call sp_cheap(2.50)")) == [1, 2]
    assert shop.rows("select 1; call fn_sold_by(1)") == [(2,)]
    assert ids(shop.rows("call fn_best(1)")) == [1]


def test_what_a_call_left_hides_a_published_table_of_that_name_only_where_it_has_no_warehouse(shop: Shop) -> None:
    shop.table("functions/sp_cities", "/*\nreturns: table\ninto: mart_cities\n*/ select 'all' as city, 7 as sales")
    assert shop.rows("call sp_cities(); select city, sales from mart_cities") == [("all", 7)]
    assert shop.rows("call sp_cities(); select count(*) from shop.mart_cities") == [(4,)]
    assert shop.rows("select count(*) from mart_cities") == [(4,)]


def test_statements_on_stdin_share_what_calls_left(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = "call sp_cheap(1.50); select count(*) as n from cheap; call sp_cheap(2.50); select count(*) as n from cheap"
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    answer = shop.product("query", "--warehouse", NAME, "--format", "csv")
    assert answer.code == 0, answer.err
    assert answer.out.replace("\r", "").split("\n") == [
        *("sale_id,price", "1,1.50", "n", "1"),
        *("sale_id,price", "1,1.50", "2,2.50", "n", "2", ""),
    ]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select fn_sold_by()", "fn_sold_by takes 1 argument, not 0. Write fn_sold_by(customer_id)."),
        ("from sp_cheap(1, 2)", "sp_cheap takes 1 argument, not 2. Write sp_cheap(price)."),
        ("call sp_cheap(1, 2)", "sp_cheap takes 1 argument, not 2. Write sp_cheap(price)."),
        ("call sp_cheap()", "sp_cheap takes 1 argument, not 0. Write sp_cheap(price)."),
        ("select fn_sold(1)", "there is no function fn_sold. Did you mean 'fn_sold_by'?"),
        ("call sp_chaep(1)", "there is no function sp_chaep. Did you mean 'sp_cheap'?"),
        ("select stall.fn_sold_by(1)", "there is no function stall.fn_sold_by. Did you mean 'fn_sold_by'?"),
        ("call sp_cheap", "this CALL cannot be read. Write CALL name(arguments)."),
        ("call sp_cheap(1) union select (2, 3)", "this CALL cannot be read. Write CALL name(arguments)."),
        ("call sp_cheap(1, (2)", "this CALL cannot be read. Write CALL name(arguments)."),
        ("call sp_cheap(1) where true", "this CALL cannot be read. Write CALL name(arguments)."),
        ("from cheap; call sp_cheap(1)", "SQL: there is no table cheap. See `starberg tables`."),
    ],
)
def test_a_wrong_call_is_told_in_one_line(shop: Shop, sql: str, said: str) -> None:
    assert complaint(shop, sql) == said


def test_a_call_of_duckdb_s_own_is_refused(shop: Shop) -> None:
    assert complaint(shop, "call pragma_version()").startswith("there is no function pragma_version.")


def test_nothing_written_beside_a_call_runs(shop: Shop) -> None:
    assert complaint(shop, "call sp_cheap(1); copy (select 1) to 'x'").startswith("COPY is no question")


def test_a_function_that_two_warehouses_have_is_refused_with_both(shop: Shop) -> None:
    shop.product.declare("stall", {"name": "till", "kind": "memory", "url": "memory:stall", "streams": shop.streams})
    for path, sql in {**TABLES_OF_THE_SHOP, **FUNCTIONS}.items():
        shop.product.table("stall", path, sql)
    shop.lake().run("stall")
    assert complaint(shop, "select fn_sold_by(1)") == (
        "fn_sold_by is ambiguous. Name one: shop.fn_sold_by, stall.fn_sold_by; or --warehouse."
    )
    assert complaint(shop, "call sp_cheap(1)").startswith("sp_cheap is ambiguous")
    lake = shop.lake()
    assert list(lake.query("select fn_sold_by(1)", warehouse="stall").rows) == [(0,)]
    assert list(lake.query("select shop.fn_sold_by(1), stall.fn_sold_by(1)").rows) == [(2, 0)]


# Declaring


@pytest.mark.parametrize(
    ("path", "sql", "said"),
    [
        ("functions/fn_x", "select 1 as a", "fn_x.sql:1: there is no header. Start the file with /* returns: table */"),
        ("functions/fn_x", "/* into: a */ select 1 as a", "returns: is missing"),
        ("functions/fn_x", "/* returns: rows */ select 1 as a", "returns: expected 'table' or 'scalar', not 'rows'"),
        ("functions/fn_x", "/*\nreturns: scalar\ninto: a\n*/ select 1 as a", "`into` is for `returns: table`"),
        ("functions/fn_x", "/*\nreturns: table\nargument: {}\n*/ select 1 as a", "argument"),
        ("functions/fn_x", "/*\nreturns: scalar\n*/ select 1 as a, 2 as b", "a scalar function returns one value"),
        ("functions/fn_x", "/*\nreturns: scalar\n*/ select * from fact_sales", "a scalar function returns one value"),
        ("functions/fn_x", "/*\nreturns: table\n*/ select 1 as a; select 2 as b", "a second statement"),
        ("functions/fn_x", "/*\nreturns: table\n*/ delete from fact_sales", "DELETE is not a SELECT"),
        ("functions/fn_x", "/*\nreturns: table\n*/ select 1 as a from fact_sale", "there is no table 'fact_sale'"),
        ("functions/fn_x", "/*\nreturns: table\n*/ select 1 as a where $b = 1", "a parameter has no value here"),
        (
            "functions/fn_x",
            "/*\nreturns: table\narguments: {count: INTEGER}\n*/ select 1 as a where $coumt = 1",
            "there is no argument 'coumt' (and 1 more). Did you mean 'count'?",
        ),
        (
            "functions/fn_x",
            "/*\nreturns: table\narguments: {price: INTEGER}\n*/ select 1 as a from fact_sales where price = price",
            "argument 'price' is never used. Write $price where its value belongs.",
        ),
        (
            "functions/fn_x",
            "/*\nreturns: table\narguments: {a: NUMBERS}\n*/ select $a as a",
            "argument a: 'NUMBERS' is not a SQL type",
        ),
        ("functions/fn_x", "/*\nreturns: table\n*/ select * from glob('/*')", "glob() reads past the declared sources"),
        ("functions/fn_x", "/*\nreturns: scalar\n*/ select getenv('HOME')", "getenv() reads the state of a session"),
        ("functions/fn_x", "/*\nreturns: table\n*/ select now() as a", "now() depends on when it runs"),
        ("functions/fn_x", "/*\nreturns: table\n*/ select fn_best(1) as a", "fn_best() is for queries"),
        ("functions/x", "/*\nreturns: table\n*/ select 1 as a", "a table in functions/ is named fn_… or sp_…"),
        ("marts/mart_x", "select fn_sold_by(1) as a", "fn_sold_by() is for queries"),
        ("marts/mart_x", "select * from fn_best", "'fn_best' is a function, not a table"),
    ],
)
def test_a_wrong_declaration_is_told_in_one_line(shop: Shop, path: str, sql: str, said: str) -> None:
    shop.table(path, sql)
    with pytest.raises(DeclarationError) as error:
        shop.lake().warehouse(NAME)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_that_is_not_there_is_told_with_the_function_s_name(shop: Shop) -> None:
    shop.table("functions/fn_x", "/* returns: scalar */ select max(cost) from fact_sales")
    with pytest.raises(UsageError, match=r'shop.fn_x \(fn_x.sql\).*Referenced column "cost" not found'):
        shop.rows("select fn_x()")


def test_functions_are_no_tables(shop: Shop) -> None:
    assert "fn_best" not in shop.lake().warehouse(NAME).tables
    assert not [row for row in shop.lake().tables(NAME) if "fn_" in row["table"] or "sp_" in row["table"]]
    shop.table("functions/fn_best", BEST.replace("desc", "asc"))
    assert shop.run().status == "SKIPPED"  # nothing to build anew
