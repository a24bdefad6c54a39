from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from starberg.etl.graph import building_order, dependents, inputs, upstream
from starberg.etl.headers import CheckHeader, DimensionHeader, FactHeader, Header, MartHeader, StagingHeader
from starberg.etl.model import Kind, Table, Warehouse
from starberg.utils.errors import DeclarationError

HEADERS: dict[Kind, Header] = {
    Kind.STAGING: StagingHeader(stream="s.t"),
    Kind.DIMENSION: DimensionHeader(natural_key=["id"]),
    Kind.FACT: FactHeader(grain=["id"], keys={"store_key": "dim_store(id)"}),
    Kind.MART: MartHeader(),
    Kind.CHECK: CheckHeader(),
}


def table(kind: Kind, name: str, *reads: str) -> Table:
    return Table("shop", kind, name, HEADERS[kind], "select 1", Path(f"{name}.sql"), reads=reads)


def warehouse(*marts: Table) -> Warehouse:
    tables = [
        table(Kind.CHECK, "all_well", "mart_a"),
        *marts,
        table(Kind.FACT, "fact_sales", "stg_sales"),
        table(Kind.DIMENSION, "dim_store", "stg_stores"),
        table(Kind.STAGING, "stg_stores", "stores"),
        table(Kind.STAGING, "stg_sales", "sales"),
    ]
    return Warehouse("shop", Path(), {}, {each.name: each for each in building_order(tables)})


SHOP = warehouse(
    table(Kind.MART, "mart_a", "mart_z", "dim_store"),
    table(Kind.MART, "mart_z", "fact_sales", "other.fact_x"),
    table(Kind.MART, "mart_m", "fact_sales"),
)


def names(tables: list[Table]) -> list[str]:
    return [each.name for each in tables]


def test_tables_are_built_by_kind_and_marts_after_what_they_read() -> None:
    order = ["stg_sales", "stg_stores", "dim_store", "fact_sales", "mart_m", "mart_z", "mart_a", "all_well"]
    assert list(SHOP.tables) == order


def test_a_fact_is_built_from_what_it_reads_and_looks_up() -> None:
    assert inputs(SHOP.tables["fact_sales"]) == ["stg_sales", "dim_store"]


def test_upstream_is_everything_before_a_table() -> None:
    assert names(upstream(SHOP, "mart_z")) == ["stg_sales", "stg_stores", "dim_store", "fact_sales"]
    assert upstream(SHOP, "stg_sales") == []


def test_dependents_are_everything_after_a_table() -> None:
    assert names(dependents(SHOP, "dim_store")) == ["fact_sales", "mart_m", "mart_z", "mart_a", "all_well"]
    assert dependents(SHOP, "all_well") == []


def test_a_cycle_is_told_with_its_tables() -> None:
    with pytest.raises(DeclarationError) as error:
        warehouse(
            table(Kind.MART, "mart_a", "mart_b"),
            table(Kind.MART, "mart_b", "mart_c"),
            table(Kind.MART, "mart_c", "mart_a"),
        )
    cycle = str(error.value).split("one another: ")[1].split(".")[0].split(" → ")
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"mart_a", "mart_b", "mart_c"}
    reads = {"mart_a": "mart_b", "mart_b": "mart_c", "mart_c": "mart_a"}
    assert all(reads[one] == other for one, other in pairwise(cycle))


def test_a_table_that_reads_itself_is_a_cycle() -> None:
    with pytest.raises(DeclarationError, match="mart_a → mart_a"):
        warehouse(table(Kind.MART, "mart_a", "mart_a"))
