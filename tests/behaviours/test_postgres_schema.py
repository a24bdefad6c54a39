"""The source's table changes between runs: each change has its designed outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from database import Database, Feed

from starberg.utils.errors import SourceDataError

pytestmark = pytest.mark.proof

CAPTURES = ["full", "high_water_mark", "log"]


@pytest.fixture(params=CAPTURES)
def source(tmp_path: Path, database: Database, request: pytest.FixtureRequest) -> Feed:
    database.run(
        "create table t (id int primary key, n int, f real, d numeric(6,2), name varchar(5), "
        "at timestamptz not null default now())",
        "create publication starberg for table t",
        "insert into t values (1, 10, 1.5, 1.25, 'a')",
    )
    feed = Feed(tmp_path, database, declared(request.param))
    feed.ingest()
    return feed


def declared(capture: str, **columns: Any) -> dict[str, Any]:
    cursor = {"cursor": "at"} if capture == "high_water_mark" else {}
    return {"t": {"table": "public.t", "key": ["id"], "capture": capture, "columns": columns, **cursor}}


def insert(source: Feed, values: str, columns: str) -> None:
    source.database.run(f"insert into t ({columns}) values ({values})")


def test_an_added_column_is_null_in_rows_landed_before(source: Feed) -> None:
    source.database.run("alter table t add extra text")
    insert(source, "2, 'new'", "id, extra")
    [load] = source.ingest()
    assert load.changed == 1
    assert source.now("t", "id, extra") == [(1, None), (2, "new")]
    assert "column extra (text) is new: null in rows landed before" in load.notes


def test_a_dropped_column_is_null_and_reported(source: Feed) -> None:
    source.database.run("alter table t drop name")
    insert(source, "2", "id")
    [load] = source.ingest()
    assert "column name is gone from the table: null from now on" in load.notes
    assert source.now("t", "id, name")[1] == (2, None)
    assert load.columns["name"] == "VARCHAR"


def test_a_renamed_column_is_a_dropped_and_an_added_one(source: Feed) -> None:
    source.database.run("alter table t rename name to label")
    insert(source, "2, 'x'", "id, label")
    [load] = source.ingest()
    assert len(load.notes) == 2
    assert source.now("t", "id, name, label")[1] == (2, None, "x")


def test_a_widened_column_widens(source: Feed) -> None:
    source.database.run(
        "alter table t alter n type bigint, alter f type double precision, alter d type numeric(12,2), "
        "alter name type text"
    )
    insert(source, "2, 9007199254740993, 0.1, 1234567890.12, 'much longer'", "id, n, f, d, name")
    load = source.ingest()[-1]
    assert {name: load.columns[name] for name in ("n", "f", "d")} == {
        "n": "BIGINT",
        "f": "DOUBLE",
        "d": "DECIMAL(12,2)",
    }
    assert source.now("t", "id, n, d::varchar, name") == [
        (1, 10, "1.25", "a"),
        (2, 9007199254740993, "1234567890.12", "much longer"),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("alter n type smallint", "column n was INTEGER and is now smallint"),
        ("alter d type numeric(5,2)", r"column d was DECIMAL\(6,2\) and is now numeric\(5,2\)"),
        ("alter d type numeric(8,4)", r"column d was DECIMAL\(6,2\) and is now numeric\(8,4\)"),
        ("alter n type text", "column n was INTEGER and is now text"),
        ("alter n type date using '2020-01-01'", "column n was INTEGER and is now date"),
    ],
)
def test_a_narrowed_or_retyped_column_stops_before_anything_lands(source: Feed, change: str, said: str) -> None:
    source.database.run(f"alter table t {change}")
    source.database.run("insert into t (id) values (2)")
    with pytest.raises(SourceDataError, match=f"{said}; nothing was landed. Declare the type"):
        source.ingest()
    assert len(source.chain("t").loads()) == 1


def test_a_retyped_column_that_is_declared_is_read_as_declared(source: Feed) -> None:
    source.database.run("alter table t alter n type text")
    insert(source, "2, '20'", "id, n")
    insert(source, "3, 'x'", "id, n")
    source.streams = declared(source.spec.streams["t"].capture, n="INTEGER")
    source.ingest()
    assert source.now("t", "id, n, _bad, _raw") == [(1, 10, None, None), (2, 20, None, None), (3, None, "n", "x")]


def test_a_key_column_that_is_gone_or_retyped_stops(source: Feed) -> None:
    source.database.run("alter table t rename id to code", "alter table t replica identity full")
    insert(source, "2", "code")
    with pytest.raises(SourceDataError, match="no column id, the key column of stream t"):
        source.ingest()
    if source.spec.streams["t"].capture == "log":
        return  # what the log holds is no longer of this table
    source.database.run("alter table t rename code to id", "alter table t alter id type text")
    with pytest.raises(SourceDataError, match=r"column id was INTEGER and is now text.*A key column cannot change so"):
        source.ingest()


def test_a_key_that_is_no_longer_unique_stops(source: Feed) -> None:
    if source.spec.streams["t"].capture == "log":
        pytest.skip("the publisher itself refuses updates of a table without a replica identity")
    source.database.run("alter table t drop constraint t_pkey", "insert into t (id, n) values (5, 1), (5, 2)")
    with pytest.raises(SourceDataError, match=r"2 rows have the key id = \[\"5\"\]; nothing was landed"):
        source.ingest()


def test_another_primary_key_is_noted_while_the_declared_key_still_identifies(source: Feed) -> None:
    source.database.run(
        "alter table t drop constraint t_pkey",
        "alter table t add primary key (id, at)",
        "insert into t (id, n) values (2, 1)",
    )
    [load] = source.ingest()
    assert "no unique constraint of public.t says that id is a key" in load.notes
    assert [row for (row,) in source.now("t", "id")] == [1, 2]
