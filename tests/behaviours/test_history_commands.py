"""Dimensions with history as their users meet them: restate, explain, compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from memory_source import Said, feed_of, playing
from product import Product

URL = "memory:crm"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A warehouse in which Ann moved from Rome to Bonn in one run."""
    product = Product(tmp_path_factory.mktemp("crm"))
    columns = {"id": "BIGINT", "city": "VARCHAR", "updated": "TIMESTAMP"}
    customers = {"key": ["id"], "columns": columns, "undeclared": "ignore"}
    sales = {"key": ["id"], "columns": {"id": "BIGINT", "customer": "BIGINT"}, "undeclared": "ignore"}
    streams = {"customers": customers, "sales": sales}
    product.declare("crm", {"name": "app", "kind": "memory", "url": URL, "streams": streams})
    product.table(
        "crm", "staging/stg_customers", "select id as customer_id, city, updated as updated_at from customers"
    )
    product.table("crm", "staging/stg_sales", "select id as sale_id, customer as customer_id from sales")
    header = "/*\nnatural_key: customer_id\nhistory: type2\nvalid_from: updated_at\n*/\n"
    product.table("crm", "dimensions/dim_customer", f"{header}select customer_id, city, updated_at from stg_customers")
    product.table("crm", "facts/fact_sales", "/* grain: sale_id */ select sale_id, customer_id from stg_sales")
    product.table(
        "crm", "facts/fact_ranked", "/* grain: sale_id */ select sale_id, count(*) over () as sales from stg_sales"
    )
    with playing("memory"):
        for city, day in [("Rome", 3), ("Bonn", 7)]:
            record = {"id": 1, "city": city, "updated": f"2026-01-0{day}T00:00:00"}
            feed_of(URL).say("customers", Said([[record]]))
        feed_of(URL).say("sales", Said([[{"id": 5, "customer": 1}]]))
        answer = product("run", "crm")
        assert answer.code == 0, answer.err
        yield product


def explained(product: Product, *key: str) -> dict[str, Any]:
    answer = product("--json", "explain", "crm.dim_customer", *key)
    assert answer.code == 0, answer.err
    return answer.rows  # type: ignore[return-value]


def test_explain_shows_all_versions_of_a_member_and_the_record_behind_the_newest(product: Product) -> None:
    told = explained(product, "1")
    assert [version["city"] for version in told["versions"]] == ["Rome", "Bonn"]
    assert told["row"]["city"] == told["raw"]["record"]["city"] == "Bonn"
    assert told["raw"]["load"] == 2
    assert {check["status"] for check in told["checks"]} == {"passed"}


def test_compile_shows_how_versions_are_made_and_its_sql_runs(product: Product) -> None:
    answer = product("compile", "crm.dim_customer")
    assert answer.code == 0, answer.err
    for step in ("observations", "decided", "versions", "members"):
        assert f"CREATE TEMP VIEW {step} AS" in answer.out


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ("fact_sales", "those with their sale_id are computed and no others"),
        ("fact_ranked", "Computed in full at every change: no column of its grain"),
    ],
)
def test_compile_says_whether_a_fact_is_computed_by_key(product: Product, fact: str, said: str) -> None:
    assert said in product("compile", f"crm.{fact}").out.splitlines()[0]


def test_restate_derives_the_history_of_some_days_again(product: Product) -> None:
    answer = product("--json", "restate", "crm", "--from", "2026-01-01", "--to", "2026-01-31")
    assert answer.code == 0, answer.err
    tables = {table["name"]: table["strategy"] for table in answer.rows["tables"]}  # type: ignore[call-overload]
    assert tables["dim_customer"] == tables["stg_customers"] == "restate"
    assert product.query("select city from crm.dim_customer where customer_id = 1 order by 1") == [["Bonn"], ["Rome"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "2026-01-31", "--to", "2026-01-01"], "2026-01-01 is before 2026-01-31"),
        (["--from", "2026-01-01", "--to", "2026-01-02", "fact_sales"], "fact_sales keeps no history"),
        (["--from", "yesterday", "--to", "2026-01-02"], "yesterday"),
    ],
)
def test_restate_says_what_is_wrong(product: Product, arguments: list[str], said: str) -> None:
    answer = product("restate", "crm", *arguments)
    assert (answer.code, said in answer.err) == (2, True), answer.err
