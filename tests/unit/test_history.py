"""Dimensions with history: versions, their numbers, and the facts that look them up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake

from starberg.engines.duckdb import DuckDBEngine
from starberg.etl import row_delta
from starberg.etl.row_delta import RowDelta, Target
from starberg.storage.branch_tables import BranchTables
from starberg.utils.errors import DeclarationError, GuardStopped

START = datetime(1900, 1, 1)
JAN = [datetime(2026, 1, day) for day in range(1, 32)]
"""Days by index: JAN[5] is the sixth."""
DIMENSION = (
    "/*\nnatural_key: customer_id\nhistory: type2\ntrack: [city]\n{header}\n*/\n"
    "select customer_id, name, city, updated_at from stg_customers"
)


@pytest.fixture
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TempLake]:
    """A lake; after the longer tests its rebuild gives what is published, and a rerun writes nothing."""
    lake = shop(tmp_path)
    yield lake
    if lake.builds and not lake.spoilt and request.node.get_closest_marker("proof"):
        assert lake.verify() == []
        assert lake.failing() == []
        assert lake.build().changed == {}


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> TempLake:
    """A lake, not to be written to, in which customer 1 moved from Rome to Bonn after one sale."""
    lake = shop(tmp_path_factory.mktemp("moved"))
    say(lake, customer(1, "Rome", 1))
    say(lake, customer(1, "Bonn", 5))
    sell(lake, (1, 1, 4))
    lake.build()
    return lake


def shop(folder: Path) -> TempLake:
    """Declare customers with history, and their sales."""
    lake = TempLake(folder)
    columns = {"id": "BIGINT", "name": "VARCHAR", "city": "VARCHAR", "updated": "TIMESTAMP", "born": "DATE"}
    lake.stream("customers", columns)
    lake.stream("sales", {"id": "BIGINT", "customer": "BIGINT", "sold": "TIMESTAMP", "amount": "BIGINT"})
    lake.declare(
        "staging/stg_customers",
        "select id as customer_id, name, city, updated as updated_at, born as born_at from customers",
    )
    lake.declare(
        "staging/stg_sales", "select id as sale_id, customer as customer_id, sold as sold_at, amount from sales"
    )
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at"))
    lake.declare(
        "facts/fact_sales",
        "/*\ngrain: sale_id\nkeys:\n  customer_key: dim_customer(customer_id) as of sold_at\n*/\n"
        "select sale_id, amount from stg_sales",
    )
    return lake


def customer(number: int, city: str | None, day: int | None = None, **more: Any) -> dict[str, Any]:
    """A customer's record; `day` is the index in JAN of its own time of change."""
    return {"id": number, "city": city, "updated": JAN[day].isoformat() if day is not None else None, **more}


def say(lake: TempLake, *records: dict[str, Any], whole: bool = False) -> datetime:
    """Land one reading, an hour after the last; return when."""
    lake.clock.sleep(3600)
    lake.land("customers", records, whole=whole)
    return lake.clock.now().replace(tzinfo=None)


def sell(lake: TempLake, *sales: tuple[int, int | None, int | None]) -> None:
    """Land sales: number, customer, index in JAN of the day."""
    lake.clock.sleep(3600)
    lake.land(
        "sales", [{"id": n, "customer": c, "sold": JAN[d].isoformat() if d is not None else None} for n, c, d in sales]
    )


def versions(lake: TempLake, columns: str = "city, effective_from, effective_to", number: int = 1) -> list[Any]:
    return lake.rows(f"SELECT {columns} FROM dim_customer WHERE customer_id = {number} ORDER BY effective_from")


def sold(lake: TempLake) -> list[Any]:
    """Sale, the city its key leads to, the key."""
    return lake.rows(
        "SELECT sale_id, d.city, customer_key FROM fact_sales JOIN dim_customer d USING (customer_key) ORDER BY sale_id"
    )


def test_the_first_version_reaches_back_to_1900_and_a_change_ends_it(lake: TempLake) -> None:
    say(lake, customer(1, "Rome", 3), customer(2, "Oslo", 4))
    lake.build()
    assert versions(lake) == [("Rome", START, None)]
    say(lake, customer(1, "Bonn", 7))
    assert lake.build().changed["dim_customer"] == (1, 1, 0)
    assert versions(lake) == [("Rome", START, JAN[7]), ("Bonn", JAN[7], None)]
    assert versions(lake, "customer_key, is_current, is_deleted") == [(1, False, False), (3, True, False)]
    assert versions(lake, number=2) == [("Oslo", START, None)]


# What others' users complain of


def test_several_changes_of_a_key_in_one_run_are_all_kept(lake: TempLake) -> None:  # dbt-core #8760, dlt #1607
    for day, city in enumerate(["Rome", "Bonn", "Oslo", "Bonn"]):
        say(lake, customer(1, city, day))
    lake.build()
    assert versions(lake) == [
        ("Rome", START, JAN[1]),
        ("Bonn", JAN[1], JAN[2]),
        ("Oslo", JAN[2], JAN[3]),
        ("Bonn", JAN[3], None),
    ]


@pytest.mark.proof
def test_rows_that_arrive_out_of_order_give_intervals_in_order_of_their_times(lake: TempLake) -> None:  # dbt-core #7138
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at\norder: valid_time"))
    say(lake, customer(1, "Rome", 1))
    say(lake, customer(1, "Rome", 5))
    lake.build()
    assert versions(lake) == [("Rome", START, None)]
    say(lake, customer(1, "Bonn", 3))
    assert lake.build().changed["dim_customer"] == (2, 1, 0)
    assert versions(lake) == [("Rome", START, JAN[3]), ("Bonn", JAN[3], JAN[5]), ("Rome", JAN[5], None)]
    say(lake, customer(1, "Oslo", 0))
    lake.build()
    assert versions(lake, "city, effective_from, customer_key") == [
        ("Oslo", START, 4),
        ("Rome", JAN[1], 1),
        ("Bonn", JAN[3], 2),
        ("Rome", JAN[5], 3),
    ]


def test_where_arrival_decides_a_late_time_never_rewrites_what_came_before(lake: TempLake) -> None:  # dbt-core #7138
    say(lake, customer(1, "Rome", 5))
    lake.build()
    when = say(lake, customer(1, "Bonn", 3))
    lake.build()
    assert versions(lake) == [("Rome", START, max(when, JAN[5])), ("Bonn", max(when, JAN[5]), None)]


@pytest.mark.proof
def test_history_of_some_days_can_be_restated_and_equals_a_rebuild(lake: TempLake) -> None:  # dbt-core #9892
    for day, city in enumerate(["Rome", "Bonn"]):
        say(lake, customer(1, city, day), customer(2, city, 10 + day))
    lake.build()
    right = lake.rows("FROM dim_customer ORDER BY ALL")
    spoil(lake, "dim_customer", "customer_key", "SELECT * REPLACE (city || '?' AS city) FROM {} WHERE customer_key > 0")
    assert lake.verify() != []
    lake.restate(JAN[1], JAN[1])
    assert [city for (city,) in versions(lake, "city")] == ["Rome", "Bonn"]
    assert [city for (city,) in versions(lake, "city", number=2)] == ["Rome?", "Bonn?"]
    lake.restate(JAN[0], JAN[30])
    assert [row[:-1] for row in lake.rows("FROM dim_customer ORDER BY ALL")] == [row[:-1] for row in right]
    assert lake.verify() == []


@pytest.mark.proof
def test_changes_that_were_lost_from_the_tables_come_back_by_restating(lake: TempLake) -> None:  # SQLMesh #3642
    when = say(lake, customer(1, "Rome", 0))
    say(lake, customer(1, "Bonn", 1))
    lake.build()
    gone = "SELECT * REPLACE ('Nowhere' AS city) FROM {} WHERE _load_id = 1"
    spoil(lake, "stg_customers_changes", "_row_number, _load_id", gone)
    lake.restate(when, when)
    assert versions(lake, "city") == [("Rome",), ("Bonn",)]
    assert lake.verify() == []


def test_an_emptied_source_ends_no_dimension_unless_it_is_allowed(lake: TempLake) -> None:  # dbt-core #2355
    say(lake, *(customer(n, "Rome") for n in range(30)), whole=True)
    lake.build()
    when = say(lake, whole=True)
    with pytest.raises(GuardStopped, match="30 of 30"):
        lake.build()
    assert versions(lake, "is_current") == [(True,)]
    lake.build(allow_deletes=["stg_customers"])
    assert versions(lake, "city, effective_to, is_current, is_deleted") == [("Rome", when, False, True)]


def test_a_run_without_rows_leaves_the_dimension_as_it_was(lake: TempLake) -> None:  # dlt #3998
    say(lake, customer(1, "Rome"))
    lake.build()
    say(lake)
    assert "dim_customer" not in lake.build().changed
    assert versions(lake, "city, is_current") == [("Rome", True)]


@pytest.mark.proof
def test_many_small_files_of_changes_become_one(lake: TempLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_delta, "FOLD_SMALL_FILES", 3)
    cities, files = ["Rome", "Bonn", "Oslo", "Lyon", "Cork"], []
    for day, city in enumerate(cities):
        when = say(lake, customer(1, city, day))
        lake.build()
        if city == "Bonn":  # its file loses its row to another
            spoil(lake, "stg_customers_changes", "_row_number, _load_id", "SELECT * REPLACE ('?' AS city) FROM {}")
            lake.restate(when, when)
        files.append(lake.table("stg_customers_changes").facts()["files"])
    assert max(files) == 3
    assert files[-1] < 3
    assert [city for (city,) in versions(lake, "city")] == cities
    assert lake.rows("SELECT city FROM stg_customers_changes ORDER BY _load_id") == [(city,) for city in cities]
    assert lake.verify() == []


# Versions


def test_without_a_time_of_its_own_a_change_takes_effect_when_it_was_observed(lake: TempLake) -> None:
    say(lake, customer(1, "Rome"))
    when = say(lake, customer(1, "Bonn"))
    lake.build()
    assert versions(lake) == [("Rome", START, when), ("Bonn", when, None)]


def test_a_column_that_is_not_tracked_shows_the_last_observation_inside_its_version(lake: TempLake) -> None:
    say(lake, customer(1, "Rome", 1, name="Ann"))
    lake.build()
    say(lake, customer(1, "Rome", 2, name="Anna"))
    assert lake.build().changed["dim_customer"] == (0, 1, 0)
    say(lake, customer(1, "Bonn", 3, name="Anne"))
    lake.build()
    assert versions(lake, "name, city, effective_from") == [("Anna", "Rome", START), ("Anne", "Bonn", JAN[3])]


def test_every_column_is_tracked_by_default_but_the_times(lake: TempLake) -> None:
    lake.declare(
        "dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at").replace("track: [city]", "")
    )
    for day, name in enumerate(["Ann", "Ann", "Bob"]):
        say(lake, customer(1, "Rome", day, name=name))
    lake.build()
    assert versions(lake, "name, effective_from") == [("Ann", START), ("Bob", JAN[2])]


def test_null_to_value_and_back_are_changes_and_null_to_null_is_none(lake: TempLake) -> None:
    for day, city in enumerate([None, "Rome", None, None]):
        say(lake, customer(1, city, day, name=str(day)))
    lake.build()
    assert versions(lake) == [(None, START, JAN[1]), ("Rome", JAN[1], JAN[2]), (None, JAN[2], None)]


def test_of_changes_at_one_instant_the_last_to_arrive_stands(lake: TempLake) -> None:
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at\norder: valid_time"))
    for city in ["Rome", "Bonn", "Oslo"]:
        say(lake, customer(1, city, 3))
    lake.build()
    assert versions(lake) == [("Oslo", START, None)]


def test_the_first_version_starts_when_the_member_came_to_be_if_that_is_declared(lake: TempLake) -> None:
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at\ncreated_at: born_at"))
    say(lake, customer(1, "Rome", 5, born="2026-01-03"), customer(2, "Oslo", 5))
    say(lake, customer(1, "Bonn", 7, born="2026-01-03"))
    sell(lake, (1, 1, 1), (2, 1, 2))
    lake.build()
    assert versions(lake) == [("Rome", JAN[2], JAN[7]), ("Bonn", JAN[7], None)]
    assert versions(lake, number=2) == [("Oslo", START, None)]
    assert sold(lake) == [(1, "Unknown", 0), (2, "Rome", 1)]


@pytest.mark.proof
def test_a_delete_closes_the_version_and_a_re_add_opens_one_after_a_gap(lake: TempLake) -> None:
    say(lake, customer(1, "Rome"), customer(2, "Oslo"), whole=True)
    lake.build()
    gone = say(lake, customer(2, "Oslo"), whole=True)
    lake.build(allow_deletes=["stg_customers"])
    columns = "city, effective_from, effective_to, is_current, is_deleted, customer_key"
    assert versions(lake, columns) == [("Rome", START, gone, False, True, 1)]
    back = say(lake, customer(1, "Rome"), customer(2, "Oslo"), whole=True)
    lake.build()
    assert versions(lake, columns) == [("Rome", START, gone, False, False, 1), ("Rome", back, None, True, False, 3)]


def test_a_delete_and_re_add_in_one_run_leave_their_gap(lake: TempLake) -> None:
    say(lake, customer(1, "Rome"), customer(2, "Oslo"), whole=True)
    gone = say(lake, customer(2, "Oslo"), whole=True)
    back = say(lake, customer(1, "Rome"), customer(2, "Oslo"), whole=True)
    lake.build()
    assert versions(lake) == [("Rome", START, gone), ("Rome", back, None)]


@pytest.mark.proof
def test_a_record_that_cannot_be_read_keeps_the_version_and_revives_a_deleted_member(lake: TempLake) -> None:
    bad = {"id": 1, "city": "Bonn", "updated": "soon"}
    say(lake, customer(1, "Rome", 1), customer(2, "Oslo"), whole=True)
    say(lake, bad, customer(2, "Oslo"), whole=True)
    lake.build()
    assert versions(lake) == [("Rome", START, None)]
    gone = say(lake, customer(2, "Oslo"), whole=True)
    lake.build(allow_deletes=["stg_customers"])
    back = say(lake, bad, customer(2, "Oslo"), whole=True)
    lake.build()
    assert versions(lake) == [("Rome", START, gone), ("Rome", back, None)]


def test_a_row_that_staging_leaves_out_is_deleted(lake: TempLake) -> None:
    lake.declare(
        "staging/stg_customers",
        "select id as customer_id, name, city, updated as updated_at, born as born_at "
        "from customers where city <> 'Test'",
    )
    say(lake, customer(1, "Rome", 1), customer(2, "Test", 1))
    say(lake, customer(1, "Test", 2))
    lake.build()
    [(gone,)] = versions(lake, "effective_to")
    assert versions(lake, "city, is_deleted") == [("Rome", True)]
    assert gone > JAN[2]
    assert versions(lake, number=2) == []


# Numbers


@pytest.mark.proof
def test_a_number_is_never_given_twice_and_a_rebuild_keeps_all(lake: TempLake) -> None:
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at\norder: valid_time"))
    say(lake, customer(1, "Rome", 1))
    say(lake, customer(1, "Bonn", 5))
    lake.build()
    assert versions(lake, "city, customer_key") == [("Rome", 1), ("Bonn", 2)]
    say(lake, customer(1, "Rome", 5))  # the newest version goes
    lake.build()
    say(lake, customer(1, "Oslo", 9))
    lake.build()
    assert versions(lake, "city, customer_key") == [("Rome", 1), ("Oslo", 3)]
    lake.build(rebuild="*")
    assert versions(lake, "city, customer_key") == [("Rome", 1), ("Oslo", 3)]


@pytest.mark.proof
def test_a_version_that_starts_earlier_than_was_known_keeps_its_number(lake: TempLake) -> None:
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at\norder: valid_time"))
    say(lake, customer(1, "Rome", 1))
    say(lake, customer(1, "Bonn", 9))
    lake.build()
    say(lake, customer(1, "Bonn", 5))
    lake.build()
    assert versions(lake, "city, effective_from, customer_key") == [("Rome", START, 1), ("Bonn", JAN[5], 2)]


@pytest.mark.proof
def test_a_dimension_that_gains_or_loses_its_history_keeps_its_members_numbers(lake: TempLake) -> None:
    lake.declare(
        "dimensions/dim_customer", "/* natural_key: customer_id */ select customer_id, city from stg_customers"
    )
    lake.declare(
        "facts/fact_sales",
        "/*\ngrain: sale_id\nkeys:\n  customer_key: dim_customer(customer_id)\n*/\n"
        "select sale_id, amount from stg_sales",
    )
    say(lake, customer(1, "Rome", 1), customer(2, "Oslo", 1))
    say(lake, customer(1, "Bonn", 2))
    lake.build()
    plain = lake.rows("SELECT customer_key, customer_id, city FROM dim_customer ORDER BY 1")
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at"))
    lake.build()
    assert versions(lake, "city, customer_key") == [("Rome", 1), ("Bonn", 3)]
    lake.declare(
        "dimensions/dim_customer", "/* natural_key: customer_id */ select customer_id, city from stg_customers"
    )
    lake.build()
    assert lake.rows("SELECT customer_key, customer_id, city FROM dim_customer ORDER BY 1") == plain


# Facts


def test_a_fact_has_the_version_valid_at_its_time_and_keeps_key_and_time(lake: TempLake) -> None:
    say(lake, customer(1, "Rome", 1))
    say(lake, customer(1, "Bonn", 5))
    sell(lake, (1, 1, 0), (2, 1, 4), (3, 1, 5), (4, 1, 9), (5, None, 9), (6, 1, None))
    lake.build()
    assert [(n, city) for n, city, _ in sold(lake)] == [
        (1, "Rome"),
        (2, "Rome"),
        (3, "Bonn"),
        (4, "Bonn"),
        (5, "Unknown"),
        (6, "Unknown"),
    ]
    assert lake.rows("SELECT customer_id, sold_at FROM fact_sales WHERE sale_id = 2") == [(1, JAN[4])]


@pytest.mark.proof
def test_facts_are_keyed_anew_when_a_version_arrives_late_and_only_those_it_moves(lake: TempLake) -> None:
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: updated_at\norder: valid_time"))
    say(lake, customer(1, "Rome", 1), customer(2, "Oslo", 1))
    say(lake, customer(1, "Bonn", 9))
    sell(lake, (1, 1, 4), (2, 1, 6), (3, 1, 9), (4, 2, 6))
    lake.build()
    say(lake, customer(1, "Lyon", 5))
    assert lake.build().changed["fact_sales"] == (0, 1, 0)
    assert [(n, city) for n, city, _ in sold(lake)] == [(1, "Rome"), (2, "Lyon"), (3, "Bonn"), (4, "Oslo")]


def test_a_fact_before_its_member_finds_an_inferred_one_from_1900_that_becomes_its_first_version(
    lake: TempLake,
) -> None:
    sell(lake, (1, 7, 4), (2, 7, 9))
    lake.build()
    columns = "city, effective_from, effective_to, is_inferred, customer_key"
    assert versions(lake, columns, number=7) == [(None, START, None, True, 1)]
    say(lake, customer(7, "Rome", 3))
    say(lake, customer(7, "Bonn", 8))
    assert lake.build().changed == {
        "stg_customers": (1, 0, 0),
        "stg_customers_changes": (2, 0, 0),
        "dim_customer": (1, 1, 0),
        "fact_sales": (0, 1, 0),
    }
    assert versions(lake, columns, number=7) == [("Rome", START, JAN[8], False, 1), ("Bonn", JAN[8], None, False, 2)]
    assert sold(lake) == [(1, "Rome", 1), (2, "Bonn", 2)]


@pytest.mark.proof
def test_an_inferred_member_no_fact_uses_any_more_goes_and_its_number_with_it(lake: TempLake) -> None:
    sell(lake, (1, 7, 4))
    lake.build()
    lake.land("sales", [{"id": 1, "customer": 8, "sold": JAN[4].isoformat()}])
    lake.build()
    assert lake.rows("SELECT customer_id, customer_key FROM dim_customer WHERE customer_key > 0") == [(8, 2)]


def test_a_fact_after_its_members_delete_keeps_the_last_version(lake: TempLake) -> None:
    say(lake, customer(1, "Rome", 1), customer(2, "Oslo"), whole=True)
    gone = say(lake, customer(2, "Oslo"), whole=True)
    lake.land("sales", [{"id": 1, "customer": 1, "sold": f"{gone.year + 1}-01-01"}])
    lake.build()
    assert sold(lake) == [(1, "Rome", 1)]


def test_without_a_time_the_newest_version_is_looked_up(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_sales",
        "/*\ngrain: sale_id\nkeys:\n  customer_key: {dimension: dim_customer, on: {customer_id: customer_id}}\n*/\n"
        "select sale_id, amount from stg_sales",
    )
    say(lake, customer(1, "Rome", 1))
    sell(lake, (1, 1, 0))
    lake.build()
    say(lake, customer(1, "Bonn", 5))
    lake.build()
    assert sold(lake) == [(1, "Bonn", 2)]


# Checks


@pytest.mark.parametrize(
    ("found", "spoilt"),
    {
        "version_unique": "SELECT * REPLACE (TIMESTAMP '1900-01-01' AS effective_from) FROM {} WHERE city = 'Bonn'",
        "version_has_a_span": "SELECT * REPLACE (effective_from AS effective_to) FROM {} WHERE city = 'Rome'",
        "current_has_no_end": "SELECT * REPLACE (false AS is_current) FROM {} WHERE city = 'Bonn'",
        "versions_do_not_overlap": "SELECT * REPLACE (effective_to + INTERVAL 1 DAY AS effective_to) FROM {} "
        "WHERE city = 'Rome'",
        "gap_is_a_delete": "SELECT * REPLACE (effective_to - INTERVAL 1 DAY AS effective_to) FROM {} "
        "WHERE city = 'Rome'",
        "deleted_is_the_last_and_closed": "SELECT * REPLACE (true AS is_deleted) FROM {} WHERE city = 'Bonn'",
        "live_keys_are_current": "SELECT * REPLACE (TIMESTAMP '2030-01-01' AS effective_to, false AS is_current, "
        "true AS is_deleted) FROM {} WHERE city = 'Bonn'",
        "version_says_something_new": "SELECT * REPLACE ('Rome' AS city) FROM {} WHERE city = 'Bonn'",
    }.items(),
)
def test_a_wrong_version_is_found_by_the_checks(moved: TempLake, found: str, spoilt: str) -> None:
    wrong = partial(spoil_branch, "shop.dim_customer", "customer_key", spoilt)
    assert found in moved.failing(wrong)
    assert found in moved.failing(wrong, dim_customer="SELECT 1 AS customer_id")
    of_others = moved.failing(wrong, dim_customer="SELECT 2 AS customer_id")
    assert set(of_others) <= {"customer_key_is_the_version"}, "the fact is looked at whole"


def test_a_fact_with_another_version_of_its_member_is_found_by_the_checks(moved: TempLake) -> None:
    select = "SELECT * REPLACE (2::BIGINT AS customer_key) FROM {}"
    wrong = partial(spoil_branch, "shop.fact_sales", "sale_id", select)
    assert moved.failing(wrong) == ["customer_key_is_the_version"]


# Declarations


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("history: type2\ncalendar: {}", "a date dimension has no history"),
        ("natural_key: customer_id\ntrack: city", "is for dimensions with `history: type2`"),
        ("natural_key: customer_id\nhistory: type2\ntrack: customer_id", "which is of the natural key"),
        ("natural_key: customer_id\nhistory: type2\norder: valid_time", "needs `valid_from`"),
        ("natural_key: name\nhistory: type2", "has the key of stg_customers"),
        ("natural_key: customer_id\nhistory: type2\ntrack: town", "no column 'town'"),
        ("natural_key: customer_id\nhistory: type2\nvalid_from: since", "no column 'since'"),
    ],
)
def test_a_history_that_cannot_be_is_refused(lake: TempLake, header: str, said: str) -> None:
    lake.declare("dimensions/dim_customer", f"/*\n{header}\n*/ select customer_id, name, city from stg_customers")
    with pytest.raises(DeclarationError, match=said):
        lake.warehouse  # noqa: B018


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("select customer_id, city from stg_customers where city > ''", "WHERE in a dimension with history"),
        ("select customer_id, max(city) as city from stg_customers group by 1", "an aggregate in a dimension"),
        ("select c.customer_id, s.amount from stg_customers c join stg_sales s using (customer_id)", "a join in"),
        ("select customer_id, city as is_current from stg_customers", "the engine's own in a dimension with history"),
        ("select customer_id, city as _op from stg_customers", "starts with _"),
    ],
)
def test_a_dimension_with_history_is_one_staging_table_row_by_row(lake: TempLake, select: str, said: str) -> None:
    lake.declare("dimensions/dim_customer", f"/*\nnatural_key: customer_id\nhistory: type2\n*/ {select}")
    with pytest.raises(DeclarationError, match=said):
        lake.warehouse  # noqa: B018


def test_a_time_that_is_none_is_refused(lake: TempLake) -> None:
    lake.declare("dimensions/dim_customer", DIMENSION.format(header="valid_from: name"))
    say(lake, customer(1, "Rome"))
    with pytest.raises(DeclarationError, match="name is VARCHAR, not a date or a timestamp"):
        lake.build()


def test_as_of_needs_a_dimension_with_history(lake: TempLake) -> None:
    lake.declare(
        "dimensions/dim_customer", "/* natural_key: customer_id */ select customer_id, city from stg_customers"
    )
    with pytest.raises(DeclarationError, match="dim_customer keeps no history"):
        lake.warehouse  # noqa: B018


def spoil(lake: TempLake, table: str, key: str, select: str) -> None:
    """Publish other rows for some keys of a table, as nothing in the product would."""
    lake.spoilt = True
    with lake.session() as (_, engine, tables):
        spoil_branch(f"{lake.name}.{table}", key, select, engine, tables)
        tables.publish("spoilt")
    lake.settle()


def spoil_branch(name: str, key: str, select: str, engine: DuckDBEngine, tables: BranchTables) -> None:
    engine.run(f"CREATE TEMP TABLE wrong AS SELECT * EXCLUDE (_run_id) FROM ({select.format(name)})")
    RowDelta(engine, tables, "spoilt").apply(Target(name, key.split(", "), scope="wrong"), "wrong")
