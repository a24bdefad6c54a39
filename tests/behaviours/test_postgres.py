"""A PostgreSQL source in full, high-water-mark and key capture: what lands of a real server's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from database import Database, Feed

from starberg.storage.raw_chain import RawStream
from starberg.utils.errors import CredentialsError, SourceDataError, UsageError

ITEMS = {"items": {"table": "public.items", "key": ["id"]}}
MARKED = {"items": {"table": "public.items", "key": ["id"], "capture": "high_water_mark", "cursor": "at"}}


@pytest.fixture
def items(database: Database) -> Database:
    database.run(
        "create table items (id int primary key, name text, at timestamptz not null default now())",
        "insert into items (id, name) values (1, 'a'), (2, 'b'), (3, 'c')",
    )
    return database


def feed(tmp_path: Path, database: Database, streams: dict[str, Any] | None = None, **more: Any) -> Feed:
    return Feed(tmp_path, database, streams or ITEMS, more)


def test_a_full_load_lands_every_row_and_the_next_one_only_what_differs(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    [first] = source.ingest()
    assert (first.changed, first.deleted) == (3, 0)
    assert source.ingest() == []
    items.run(
        "update items set name = 'B' where id = 2", "delete from items where id = 3", "insert into items values (4)"
    )
    [second] = source.ingest()
    assert (second.changed, second.deleted, second.unchanged) == (2, 1, 1)
    assert source.now("items", "id, name") == [(1, "a"), (2, "B"), (4, None)]
    assert source.seen("items", "_op, id", where="_load_id = 2") == [("U", 2), ("U", 4), ("D", 3)]
    assert source.ingest() == []


@pytest.mark.proof
@pytest.mark.parametrize("capture", ["full", "high_water_mark", "keys"])
def test_however_many_loads_there_are_a_comparison_reads_few(
    tmp_path: Path, items: Database, capture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = {} if capture == "full" else {"cursor": "at"}
    source = feed(tmp_path, items, {"items": {**ITEMS["items"], "capture": capture, **cursor}})
    for n in range(10, 30):
        source.ingest()
        items.run(f"insert into items values ({n}, 'x', clock_timestamp())")
    source.ingest(full=True)
    items.run("update items set name = 'last' where id = 29", "delete from items where id = 28")
    fetched: list[str] = []
    real = RawStream.fetch
    monkeypatch.setattr(
        RawStream, "fetch", lambda chain, part, scratch: fetched.append(part) or real(chain, part, scratch)
    )
    [load] = source.ingest(full=True)
    assert (load.changed, load.deleted) == (1, 1)
    assert len(fetched) < 5
    assert len(source.chain("items").loads()) > 20


@pytest.mark.proof
def test_an_index_made_otherwise_is_passed_over(
    tmp_path: Path, items: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run("insert into items values (4, 'd')")
    [load] = source.ingest()
    assert load.index
    items.run("alter table items alter id type bigint", "alter table items add extra text")
    assert source.ingest() == []  # null as before in every row: no change, though the index is of other types
    items.run("update items set extra = 'x' where id = 4")
    assert [again.changed for again in source.ingest()] == [1]


def test_an_emptied_table_becomes_tombstones(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run("truncate items")
    [load] = source.ingest()
    assert (load.changed, load.deleted) == (0, 3)
    items.run("insert into items values (2, 'again')")
    source.ingest()
    assert source.now("items", "id, name") == [(2, "again")]


@pytest.mark.proof
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("uuid", [f"00000000-0000-0000-0000-00000000000{n}" for n in range(3)]),
        ("text", ["it''s \"x\"", "", "ä, [1]"]),
        ("bigint", ["9007199254740993", "-1", "0"]),
        ("date", ["2020-01-01", "0001-01-01", "9999-12-31"]),
        ("timestamptz", ["2020-01-01 00:00:00.000001Z", "2020-06-01Z", "2021-01-01Z"]),
        ("numeric(30,4)", ["12345678901234567890.0001", "0", "-1.5"]),
    ],
)
@pytest.mark.parametrize("capture", ["full", "keys"])
def test_keys_of_any_type_are_followed(
    tmp_path: Path, database: Database, kind: str, values: list[str], capture: str
) -> None:
    listed = ", ".join(f"('{value}', 'x')" for value in values)
    database.run(
        f"create table t (id {kind}, part text, n int, primary key (id, part))", f"insert into t values {listed}"
    )
    source = feed(tmp_path, database, {"t": {"table": "public.t", "key": ["id", "part"], "capture": capture}})
    source.ingest()
    assert source.ingest() == []
    database.run(f"delete from t where id = '{values[0]}'", f"insert into t values ('{values[1]}', 'y', 7)")
    [load] = source.ingest()
    assert (load.changed, load.deleted) == (1, 1)
    assert sorted(source.now("t", "part, n"), key=str) == [("x", None), ("x", None), ("y", 7)]
    assert source.ingest() == []


def test_the_key_must_be_unique(tmp_path: Path, database: Database) -> None:
    database.run("create table t (id int, n int)", "insert into t values (1, 1), (1, 2)")
    with pytest.raises(SourceDataError, match=r"2 rows have the key id"):
        feed(tmp_path, database, {"t": {"table": "public.t", "key": ["id"]}}).ingest()


# High-water mark


def test_only_rows_past_the_mark_are_landed(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items, MARKED)
    source.ingest()
    assert source.ingest() == []
    items.run("update items set name = 'B', at = now() where id = 2", "delete from items where id = 1")
    [load] = source.ingest()
    assert (load.changed, load.deleted) == (1, 0)
    assert source.now("items", "id, name") == [(1, "a"), (2, "B"), (3, "c")]
    [whole] = source.ingest(full=True)
    assert (whole.changed, whole.deleted) == (0, 1)


def test_a_row_that_commits_late_with_an_old_stamp_is_not_lost(tmp_path: Path, items: Database) -> None:  # dlt #2269
    source = feed(tmp_path, items, MARKED)
    late = items.connect()
    late.cursor().execute("insert into items (id, name) values (10, 'late')")
    source.ingest()
    items.run("insert into items (id, name) values (11, 'between')")
    source.ingest()
    items.run("insert into items (id, name) values (12, 'after')")
    source.ingest()
    assert [row for (row,) in source.now("items", "id")] == [1, 11, 12, 2, 3]
    late.commit()
    late.close()
    [load] = source.ingest()
    assert load.changed == 1
    assert source.now("items", "name")[1] == ("late",)


@pytest.mark.proof
def test_a_prepared_transaction_is_waited_for(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items, MARKED)
    source.ingest()
    session = items.connect()
    session.autocommit = True
    cursor = session.cursor()
    cursor.execute("begin")
    cursor.execute("insert into items (id, name) values (10, 'prepared')")
    cursor.execute("select pg_sleep(0.05)")
    cursor.execute("prepare transaction 'p1'")
    items.run("insert into items (id, name, at) values (11, 'later', now() + interval '1 hour')")
    source.ingest()
    cursor.execute("commit prepared 'p1'")
    session.close()
    source.ingest()
    assert len(source.now("items")) == 5


@pytest.mark.proof
def test_numbers_that_become_visible_out_of_order_are_not_lost(tmp_path: Path, database: Database) -> None:
    database.run("create table t (id serial primary key, name text)")
    source = feed(
        tmp_path, database, {"t": {"table": "public.t", "key": ["id"], "capture": "high_water_mark", "cursor": "id"}}
    )
    late = database.connect()
    late.cursor().execute("insert into t (name) values ('late')")
    for name in "abc":
        database.run(f"insert into t (name) values ('{name}')")
        source.ingest()
    late.commit()
    late.close()
    source.ingest()
    assert source.now("t", "name") == [("late",), ("a",), ("b",), ("c",)]


@pytest.mark.proof
def test_many_rows_with_one_stamp_are_all_landed_once(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items, MARKED)
    source.ingest()
    for low in (100, 160):
        items.run(
            f"insert into items select n, 'x', '2030-01-01' from generate_series({low}, {low + 59}) n",
        )
        [load] = source.ingest()
        assert load.changed == 60
    assert len(source.seen("items")) == 123


def test_a_role_that_may_not_see_transactions_is_told_what_to_grant(tmp_path: Path, items: Database) -> None:
    role = f"role_{items.url.rsplit('/', 1)[1]}"
    items.run(f"create role {role} login password 'pw'", f"grant select on items to {role}")
    where = items.url.split("@")[1]
    source = feed(tmp_path, items, MARKED)
    source.url = f"postgresql://{role}:pw@{where}"
    try:
        with pytest.raises(CredentialsError, match=f'GRANT pg_read_all_stats TO "{role}"'):
            source.ingest()
        items.run(f"grant pg_read_all_stats to {role}")
        assert source.ingest()[0].changed == 3
    finally:
        items.run(f"drop owned by {role}", f"drop role {role}")


# Key reconciliation


def test_reconciling_finds_hard_deletes_and_missed_rows_without_reading_the_rest(
    tmp_path: Path, items: Database
) -> None:
    items.run("insert into items select n, 'x', '2020-01-01' from generate_series(1000, 6000) n")
    source = feed(tmp_path, items, {"items": {**MARKED["items"], "capture": "keys"}})
    source.ingest()
    items.run(
        "delete from items where id in (2, 1500)",
        "insert into items values (7, 'stamped long ago', '2001-01-01')",
        "update items set name = 'new', at = now() + interval '10 s' where id = 3",
    )
    [load] = source.ingest()
    assert (load.changed, load.deleted) == (2, 2)
    assert set(source.seen("items", "_op, id", where="_load_id = 2")) == {("D", 2), ("D", 1500), ("U", 7), ("U", 3)}
    assert source.ingest() == []


# Who and what


def test_another_server_or_a_restored_one_is_noticed(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    [load] = source.ingest()
    assert load.source_identity.startswith("postgres ")
    manifest = load.model_copy(update={"seq": 2, "previous": 1, "cursor": {"lsn": load.cursor["lsn"] + 10**12}})
    source.chain("items").commit(manifest)
    with pytest.raises(SourceDataError, match="was restored from a backup"):
        source.ingest()


def test_missing_things_are_named(tmp_path: Path, items: Database) -> None:
    missing = {"items": {"table": "public.nothing", "key": ["id"]}}
    with pytest.raises(UsageError, match=r'relation "public.nothing" does not exist'):
        feed(tmp_path, items, missing).ingest()
    with pytest.raises(SourceDataError, match=r"no column code, the key column of stream items. It has: at, id, name"):
        feed(tmp_path, items, {"items": {"table": "public.items", "key": ["code"]}}).ingest()
