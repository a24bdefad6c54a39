"""Which tables an edit of the time zone concerns, told from declared types."""

from __future__ import annotations

from pathlib import Path

import pytest
from lake import TempLake

from starberg.etl.declared_types import is_date
from starberg.etl.fingerprints import fingerprint, zone_in
from starberg.etl.zone import UTC_DAYS, Zone
from starberg.etl.zone_matters import hangs_on_zone

BY_DATE = "/*\ngrain: id\nload: by date\ndate: d\n*/\n"


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path, calendar_timezone="Asia/Tokyo")
    lake.stream("sales", {"id": "BIGINT", "sold_on": "DATE", "sold_at": "TIMESTAMP", "shop": "BIGINT"})
    lake.declare("staging/stg_sales", "select *, sold_at::date as day from sales")
    lake.declare("dimensions/dim_date", "/* calendar: {} */ select date from calendar")
    return lake


@pytest.mark.parametrize(
    ("select", "is_one"),
    [
        ("select id, sold_on as d from stg_sales", True),
        ("select id, sold_at as d from stg_sales", False),
        ("select id, day as d from stg_sales", True),
        ("select id, sold_at::date as d from stg_sales", True),
        ("select id, try_cast(sold_on as timestamp) as d from stg_sales", False),
        ("select s.id, s.sold_on as d from stg_sales as s left join stg_sales as t on s.id = t.id", True),
        ("with w as (select id, sold_on as x from stg_sales) select id, x as d from w", True),
        ("select id, x as d from (select id, sold_at as x from stg_sales)", False),
        ("select id, max(sold_on) as d from stg_sales group by id", None),
        ("select id, sold_on + 1 as d from stg_sales", None),
        ("select id, sold_on as d from stg_sales union all select id, sold_at from stg_sales", None),
        ("select id, sold_at::date as d from stg_sales union all select id, sold_at from stg_sales", None),
    ],
)
def test_a_date_is_told_from_a_time_where_declarations_tell(lake: TempLake, select: str, is_one: bool | None) -> None:
    lake.declare("facts/fact_sales", BY_DATE + select)
    fact = lake.warehouse.tables["fact_sales"]
    assert is_date(fact, "d", lake.warehouse) is is_one
    assert hangs_on_zone(fact, lake.warehouse) is (is_one is not True)


@pytest.mark.parametrize(
    ("fact", "matters"),
    [
        ("/* grain: id */ select id, sold_at from stg_sales", set()),
        ("/*\ngrain: id\nkeys: {date_key: dim_date(sold_on)}\n*/ select id, sold_on from stg_sales", set()),
        (
            "/*\ngrain: id\nkeys: {date_key: dim_date(sold_at)}\n*/ select id, sold_at from stg_sales",
            {"fact_sales", "dim_date"},
        ),
        (
            "/*\ngrain: id\nload: accumulating\nmilestones: [sold_on, day]\n*/ select id, sold_on, day from stg_sales",
            set(),
        ),
        (
            "/*\ngrain: id\nload: accumulating\nmilestones: [day, sold_at]\n*/ select id, day, sold_at from stg_sales",
            {"fact_sales"},
        ),
        (
            "/*\ngrain: [id, d]\nload: snapshot daily\ndate: d\n*/ select id, run_date() as d from stg_sales",
            {"fact_sales"},
        ),
    ],
)
def test_the_tables_a_zone_matters_to_have_it_in_their_fingerprints(
    lake: TempLake, fact: str, matters: set[str]
) -> None:
    lake.declare("facts/fact_sales", fact)
    found = {name: fingerprint(table, lake.warehouse) for name, table in lake.warehouse.tables.items()}
    assert {name for name, (_, parts) in found.items() if zone_in(parts) == Zone("Asia/Tokyo")} == matters
    lake.count_days_in("UTC")
    utc = {name: fingerprint(table, lake.warehouse) for name, table in lake.warehouse.tables.items()}
    assert {name for name in found if found[name][0] != utc[name][0]} == matters
    assert {zone_in(parts) for _, parts in utc.values()} == {UTC_DAYS}


@pytest.mark.parametrize(("since", "matters"), [("sold_on", True), ("sold_at", False), ("sold_on::timestamp", False)])
def test_a_date_that_a_version_is_valid_from_starts_in_the_zone(lake: TempLake, since: str, matters: bool) -> None:
    lake.declare(
        "dimensions/dim_sale",
        "/*\nnatural_key: id\nhistory: type2\nvalid_from: since\norder: valid_time\n*/\n"
        f"select id, shop, {since} as since from stg_sales",
    )
    assert hangs_on_zone(lake.warehouse.tables["dim_sale"], lake.warehouse) is matters
