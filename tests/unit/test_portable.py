"""What is shipped can be said to every engine: each view and function, over its tables alone, in the engine's SQL.

That the rows are the same is proven on DuckDB (tests/behaviours/test_other_engines.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot
from sqlglot import Dialect, exp

import starberg
from starberg.engines.dialects import DremioSql, TrinoSql
from starberg.entrypoints.library import Library
from starberg.entrypoints.portable import Portable, translated
from starberg.entrypoints.query import Names
from starberg.etl.control_tables import TABLES
from starberg.etl.library import function_header
from starberg.etl.model import Kind
from starberg.etl.project import Warehouses, load_warehouses
from starberg.storage.branches import State
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote


@pytest.fixture(scope="module")
def shipped() -> Warehouses:
    return load_warehouses([Path(starberg.__file__).parent / "warehouses"], {})


def library_of(warehouses: Warehouses) -> Library:
    names = [f"{name}.{table}" for name, one in warehouses.items() for table in (*one.tables, *TABLES)]
    return Library(warehouses, State("main", "1", dict.fromkeys(names, "somewhere")))


@pytest.mark.parametrize("dialect", [DremioSql, TrinoSql])
def test_every_shipped_view_and_function_can_be_said(shipped: Warehouses, dialect: type[Dialect]) -> None:
    library = library_of(shipped)
    said = 0
    for name in [*library.names(Kind.VIEW), *library.names(Kind.FUNCTION)]:
        item = library.item(name)
        arguments = function_header(item).arguments if item.kind is Kind.FUNCTION else {}
        portable = Portable(Names(library, item.warehouse), lambda table: quote(f"lake.{table}"))
        body = portable.body(item, {argument: exp.Var(this=f"arg_{argument}") for argument in arguments})
        sql = translated(body, dialect, dialect.__name__)
        read = sqlglot.parse_one(sql, dialect=dialect)
        ctes = {cte.alias for cte in read.find_all(exp.CTE)}
        tables = {table.sql() for table in read.find_all(exp.Table) if table.name not in ctes}
        assert all(table.startswith('"lake".') for table in tables), (name, tables)
        assert all(f"arg_{argument}" in sql for argument in arguments)
        said += 1
    assert said > 10


def test_words_that_are_reserved_elsewhere_are_quoted_and_remarks_stay_here(shipped: Warehouses) -> None:
    portable = Portable(Names(library_of(shipped), None), quote)
    asked = portable.question("select 1 as rows, 2 as day -- a secret remark")
    assert translated(asked, TrinoSql, "Trino") == 'SELECT 1 AS "rows", 2 AS "day"'


def test_the_fields_of_a_struct_are_named(shipped: Warehouses) -> None:
    portable = Portable(Names(library_of(shipped), None), quote)
    asked = portable.question("select 0 as n, s.* from (select {'a': 1, 'b': 'x'} as s)")
    assert translated(asked, "duckdb", "DuckDB").startswith('SELECT 0 AS "n", "_0"."s"."a" AS "a", "_0"."s"."b" AS "b"')


def test_what_an_engine_has_no_words_for_is_refused(shipped: Warehouses) -> None:
    portable = Portable(Names(library_of(shipped), None), quote)
    asked = portable.question("select * from dim_platform pivot (count(*) for name in ('PC'))")
    with pytest.raises(UsageError, match=r"Trino cannot be asked that: .* Ask DuckDB"):
        translated(asked, TrinoSql, "Trino")


@pytest.mark.parametrize(
    ("asked", "dremio", "trino"),
    [
        ("date_trunc('month', d)", "DATE_TRUNC('month', \"d\")", "DATE_TRUNC('MONTH', \"d\")"),
        (
            "string_agg(a, '; ' order by b desc)",
            'LISTAGG("a", \'; \') WITHIN GROUP (ORDER BY "b" DESC)',
            'LISTAGG("a", \'; \') WITHIN GROUP (ORDER BY "b" DESC)',
        ),
        ("a::hugeint", 'CAST("a" AS DECIMAL(38, 0))', 'CAST("a" AS DECIMAL(38, 0))'),
        ("count(*) filter (where a)", 'COUNT(*) FILTER(WHERE "a")', 'COUNT(*) FILTER(WHERE "a")'),
        ("7 / 2", "CAST(7 AS DOUBLE) / 2", "CAST(7 AS DOUBLE) / 2"),
        ("date '2026-01-31'", "CAST('2026-01-31' AS DATE)", "CAST('2026-01-31' AS DATE)"),
    ],
)
def test_an_expression_is_said_as_each_engine_has_it(asked: str, dremio: str, trino: str) -> None:
    query = sqlglot.parse_one(f"select {asked}", dialect="duckdb")
    assert translated(query, DremioSql, "Dremio") == f"SELECT {dremio}"
    assert translated(query, TrinoSql, "Trino") == f"SELECT {trino}"
