"""The same question to another engine: names, views, functions and states mean there what they mean to DuckDB.

The engine here is DuckDB once more, behind the interface of a server: it knows the tables alone, and by its own names.
Proven beside: a Flight SQL server (tests/stack/test_flight_sql.py), Trino's protocol (tests/unit/test_trino_client.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from dremio_contract import DremioContract
from pydantic import SecretStr
from servers import FakeClock, Server
from shop import NAME, SALES, Shop, published

from starberg.engines.clients import Batches, Login, TableAt
from starberg.engines.dremio_rest import DremioRest
from starberg.engines.dremio_sources import Storage, nessie_source
from starberg.entrypoints.engine_setup import DremioPlan, setup_dremio, setup_trino
from starberg.entrypoints.lake import Lake
from starberg.entrypoints.session import Format, Session
from starberg.utils.errors import UsageError
from starberg.utils.sql import text

DECLARED = {
    "views/vw_sales": "select customer_id, count(*) as rows from fact_sales group by customer_id",
    "views/vw_best": "with best as (select max(rows) as rows from vw_sales) select rows as day from best",
    "views/vw_runs": """select etl_runs.status, count(job_name) as jobs
from etl_runs left join etl_job_runs using (run_id) group by 1""",
    "functions/fn_sold_by": """/*
returns: scalar
arguments: {customer: BIGINT}
*/
select count(*) from fact_sales where customer_id = $customer""",
    "functions/sp_sold": """/*
returns: table
arguments: {first: DATE, n: INTEGER}
into: sold
*/
select sale_id, price from fact_sales where sold_on >= $first order by sale_id limit $n""",
    "functions/fn_pair": """/*
returns: scalar
arguments: {customer: BIGINT}
*/
select {'rows': count(*), 'sum': sum(price)} from fact_sales where customer_id = $customer""",
}


@dataclass
class OtherEngine:
    """A server that finds the lake's tables in a catalog of its own, `there`."""

    lake: Lake
    name: str = "trino"
    dialect: str = "duckdb"
    asked: list[str] = field(default_factory=list)
    closed: int = 0

    def table(self, table: TableAt) -> str:
        location, snapshot = self.lake.look().tables[table.name], table.snapshot()
        at = f", snapshot_from_id = {snapshot}" if snapshot is not None else ""
        return f"iceberg_scan({text(location)}{at})"

    def query(self, sql: str) -> Batches:
        self.asked.append(sql)
        engine = self.lake.open_engine()
        engine.read_lake()
        answer = engine.execute(sql).to_arrow_table()
        engine.close()
        return Batches(answer.schema, iter(answer.to_batches(max_chunksize=2)))

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with published(tmp_path_factory.mktemp("engines") / "project", DECLARED) as shop:
        yield shop


@pytest.fixture
def shop(first: Shop) -> Shop:
    return first.put_back()


def elsewhere(shop: Shop) -> tuple[Lake, OtherEngine]:
    lake = shop.lake()
    other = OtherEngine(lake)
    return replace(lake, open_client=lambda name: other), other


def both(shop: Shop, sql: str, **how: Any) -> list[Any]:
    """Return the rows two engines agree on."""
    lake, other = elsewhere(shop)
    theirs = sorted(map(str, lake.query(sql, engine="trino", **how).rows))
    assert theirs == sorted(map(str, lake.query(sql, **how).rows)), sql
    assert other.closed == 1
    return theirs


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from fact_sales",
        "from shop.fact_sales",
        "select shop.fact_sales.sale_id from shop.fact_sales",
        "select s.sale_id, c.name from FACT_SALES s join dim_customer as c on s.customer_key = c.customer_key",
        "with fact_sales as (select 1 as one) select one from fact_sales",
        "with a as (from fact_sales) select count(*) from a where price > (select avg(price) from fact_sales)",
        "select customer_id from fact_sales union all select 7",
        "select * from range(3)",
        "from vw_sales",
        "select v.rows from shop.vw_sales v, vw_best",
        "from vw_runs",
        "select fn_sold_by(1), shop.fn_sold_by(2) + 1 as more",
        "select sale_id from fact_sales where fn_sold_by(1) = 2",
        "select sale_id, fn_sold_by(customer_id) as Sold from fact_sales",
        "select sale_id, fn_sold_by(s.customer_id + 1) from fact_sales s where fn_sold_by(customer_id) > 1",
        "select customer_id, count(*) as N, fn_sold_by(customer_id) as again from fact_sales group by customer_id",
        "select city, count(*) from fact_sales join dim_customer using (customer_key) group by all order by all",
        "select sold_on - 1 as a, sold_on + 2 as b, sold_on - date '2020-01-01' as c from fact_sales",
        "select max(sold_on) over () - 1 from fact_sales",
        "with last as (select max(sold_on) as day from fact_sales) select s.day - 3 as Day from (from last) s",
        "select * exclude (price), price * 2 as price from fact_sales",
        "from sp_sold('2020-01-01', 2)",
        "select s.price from shop.sp_sold(date '2020-01-01', 3) as s join fact_sales using (sale_id)",
        "select 1 as a, 'it''s' as b, null as c",
        "select pair.sum from (select {'sum': 3} as pair)",
        "select t.pair.sum from (select {'sum': 3} as pair) as t",
    ],
)
def test_both_engines_give_the_same_rows(shop: Shop, sql: str) -> None:
    assert both(shop, sql)


def test_a_state_is_seen_by_its_snapshots_and_what_did_not_change_as_it_is(shop: Shop) -> None:
    first = shop.lake().status(NAME)[0]["run_id"]
    shop.say(sales=SALES[2:])
    shop.run()
    [now] = both(shop, "select count(*) from fact_sales")
    [then] = both(shop, "select count(*) from fact_sales", at=first)
    assert (then, now) == ("(5,)", "(3,)")
    lake, other = elsewhere(shop)
    list(lake.query("select 1 from fact_sales, dim_date", at=first, engine="trino").rows)
    assert other.asked[0].count("snapshot_from_id") == 1


def test_a_state_that_main_does_not_know_is_refused(shop: Shop) -> None:
    shop.say(sales=[*SALES, {**SALES[0], "id": 99, "price": "-1.00"}])
    assert shop.product("run", NAME).code == 3
    failed = shop.lake().status(NAME)[0]["run_id"]
    lake, _ = elsewhere(shop)
    with pytest.raises(UsageError, match=rf"trino does not see shop\.fact_sales at {failed}\. Ask DuckDB"):
        lake.query("from fact_sales", at=failed, engine="trino")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("from fact_sale", "there is no table fact_sale. Did you mean shop.fact_sales?"),
        ("from elsewhere.shop.fact_sales", "there is no table elsewhere.shop.fact_sales"),
        ("selec 1", "SQL: "),
        ("", "one SELECT is wanted, not 0"),
        ("select 1; select 2", "one SELECT is wanted, not 2. Other engines answer one at a time."),
        ("drop table fact_sales", "that is no question"),
        ("insert into fact_sales select * from fact_sales", "that is no question"),
        ("call sp_sold('2020-01-01', 2)", "CALL is for DuckDB alone. Ask: select * from sp_sold('2020-01-01', 2)"),
        ("from read_csv('/etc/passwd')", "reads past the lake"),
        ("from query('select 1')", "query reads past the lake"),
        ("from '/etc/passwd'", "there is no table"),
        ("select fn_sold_by(max(customer_id)) from fact_sales", "only from DuckDB"),
        ("select fn_sold_by(fn_sold_by(customer_id)) from fact_sales", "only from DuckDB"),
        ("select fn_sold_by()", "fn_sold_by takes 1 argument, not 0"),
        ("select fn_sold(1)", "there is no function fn_sold"),
        ("select $a", "$a stands for nothing here"),
    ],
)
def test_what_cannot_be_asked_elsewhere_is_told_before_the_server_is(shop: Shop, sql: str, said: str) -> None:
    lake, other = elsewhere(shop)
    with pytest.raises(UsageError) as error:
        lake.query(sql, engine="trino")
    assert said in str(error.value)
    assert (other.asked, other.closed) == ([], 1)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_any_engine_writes_a_file(shop: Shop, kind: str) -> None:
    import pyarrow.parquet as pq

    from starberg.entrypoints.export import write

    lake, _ = elsewhere(shop)
    written = []
    for engine in ("duckdb", "trino"):
        path = shop.product.folder / f"{engine}.{kind}"
        assert write(lake.query("select sale_id, price from fact_sales order by 1", engine=engine), path) == 5
        written.append(pq.read_table(path).to_pydict() if kind == "parquet" else path.read_bytes())
    assert written[0] == written[1]


def test_a_question_of_which_not_all_rows_are_shown_is_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def first_row(columns: Any, rows: Iterator[Any], form: Any, out: Any) -> None:
        out.write(f"{next(rows)}\n")

    monkeypatch.setattr("starberg.entrypoints.output.show_rows", first_row)
    lake, other = elsewhere(shop)
    for engine in ("duckdb", "trino"):
        result = lake.query("select sale_id from fact_sales order by 1", engine=engine)
        Session({}).answer_rows(result.columns, result.rows, Format.CSV)
        assert next(result.rows, None) is None
    assert capsys.readouterr().out == "(1,)\n(1,)\n"
    assert other.closed == 1


def test_dremio_gets_sources_views_and_functions_and_says_what_it_refuses(shop: Shop) -> None:
    contract = DremioContract()
    contract.end = lambda sql: (
        {"jobState": "FAILED", "errorMessage": "Failure parsing the query."}
        if "LIMIT arg_n" in sql
        else {"jobState": "COMPLETED"}
    )
    lake, other = elsewhere(shop)
    named = replace(other, name="dremio", dialect="dremio")
    plan = DremioPlan([nessie_source("lake", "http://nessie:19120", None, Storage("s3://bucket/lake"))], "views")
    with Server(contract) as server:
        login = Login("Dremio", "127.0.0.1", server.port, user="ann", password=SecretStr("hush-hush-1"))
        rest = DremioRest(login, clock=FakeClock())
        first, second = (setup_dremio(lake, rest, named, plan, None) for _ in range(2))
    assert [(step["what"], step["done"]) for step in first] == [
        ("source lake", "made"),
        ("space views", "made"),
        ("folder views.shop", "made"),
        ("view shop.vw_best", "made"),
        ("view shop.vw_runs", "made"),
        ("view shop.vw_sales", "made"),
        ("function shop.fn_pair", "refused"),
        ("function shop.fn_sold_by", "made"),
        ("function shop.sp_sold", "refused"),
        ("table shop.fact_sales", "answered"),
    ]
    why = {step["what"]: step["why"] for step in first}
    assert why["function shop.fn_pair"] == "functions of dremio neither take nor return STRUCT"
    assert why["function shop.sp_sold"] == "Dremio: Failure parsing the query."
    assert why["table shop.fact_sales"] == "5 rows"
    assert why["source lake"] == ""
    assert [step["done"] for step in second[:3]] == ["kept", "kept", "kept"]
    made = {sql.split(" AS ")[0].split(" (")[0]: sql for sql in contract.statements}
    scalar = made['CREATE OR REPLACE FUNCTION "views"."shop"."fn_sold_by"']
    assert " (arg_customer BIGINT) RETURNS BIGINT RETURN SELECT COUNT(*)" in scalar
    assert scalar.endswith('"customer_id" = arg_customer')
    table = made['CREATE OR REPLACE FUNCTION "views"."shop"."sp_sold"']
    assert '(arg_first DATE, arg_n INT) RETURNS TABLE ("sale_id" BIGINT, "price" DECIMAL(8, 2)) RETURN SELECT' in table


def test_trino_gets_views_and_says_that_functions_are_written_out_by_query(shop: Shop) -> None:
    lake, other = elsewhere(shop)

    @dataclass
    class WithoutViews(OtherEngine):
        def query(self, sql: str) -> Batches:
            if sql.startswith("CREATE"):
                raise UsageError("Trino: createView is not supported for Iceberg Nessie catalogs")
            return super().query(sql)

    steps = {step["what"]: step for step in setup_trino(lake, WithoutViews(other.lake), "ice", NAME)}
    assert {step["done"] for step in steps.values()} == {"refused", "answered"}
    assert "createView is not supported" in steps["view shop.vw_sales"]["why"]
    assert "starberg query --engine trino" in steps["function shop.fn_sold_by"]["why"]


def test_a_file_of_rows_that_fail_midway_is_not_there(shop: Shop) -> None:
    sql = "select cast(a as int) from (select if(i = 200000, 'x', '1') as a from range(300000) as t(i))"
    answer = shop.product("query", "--output", str(shop.product.folder / "rows.parquet"), sql)
    assert answer.code == 2
    assert answer.complaint.startswith("SQL: Conversion Error: Could not convert string 'x' to INT32")
    assert list(shop.product.folder.glob("*rows*")) == []


def test_arrow_and_pandas_have_what_the_rows_have(shop: Shop) -> None:
    lake, _ = elsewhere(shop)
    for engine in ("duckdb", "trino"):
        table = lake.query("select sale_id, price from fact_sales order by 1", engine=engine).arrow()
        assert table.column("sale_id").to_pylist() == [1, 2, 3, 4, 5]
        frame = lake.query("select sale_id from fact_sales order by 1", engine=engine).df()
        assert list(frame["sale_id"]) == [1, 2, 3, 4, 5]
