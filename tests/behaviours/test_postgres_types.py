"""Every type a business database uses: as documented, and the same by snapshot and by log."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from database import Database, Feed

from starberg.utils.errors import SourceDataError

UTC = dt.UTC
VALUES: dict[str, tuple[str, str, str, Any]] = {
    # column: PostgreSQL's type, its literal, DuckDB's type, the value
    "c_bool": ("boolean", "true", "BOOLEAN", True),
    "c_int2": ("smallint", "-32768", "SMALLINT", -32768),
    "c_int4": ("integer", "2147483647", "INTEGER", 2147483647),
    "c_int8": ("bigint", "-9223372036854775808", "BIGINT", -9223372036854775808),
    "c_oid": ("oid", "4294967295", "BIGINT", 4294967295),
    "c_float4": ("real", "'NaN'", "FLOAT", "nan"),
    "c_float8": ("double precision", "0.1", "DOUBLE", 0.1),
    "c_dec": ("numeric(10,2)", "-12345678.90", "DECIMAL(10,2)", Decimal("-12345678.90")),
    "c_dec38": (
        "numeric(38,10)",
        "1234567890123456789012345678.0123456789",
        "DECIMAL(38,10)",
        Decimal("1234567890123456789012345678.0123456789"),
    ),
    "c_text": ("text", "E'it''s\\nä \"\\\\ 😀'", "VARCHAR", "it's\nä \"\\ 😀"),
    "c_varchar": ("varchar(10)", "'  x '", "VARCHAR", "  x "),
    "c_char": ("char(5)", "'ab'", "VARCHAR", "ab"),
    "c_flag": ("char(1)", "'ä'", "VARCHAR", "ä"),
    "c_blank": ("char(1)", "''", "VARCHAR", ""),
    "c_name": ("name", "'n'", "VARCHAR", "n"),
    "c_bytea": ("bytea", "'\\x00ff5c27'", "BLOB", b"\x00\xff\\'"),
    "c_date": ("date", "'0001-01-01'", "DATE", dt.date(1, 1, 1)),
    "c_time": ("time", "'23:59:59.999999'", "TIME", dt.time(23, 59, 59, 999999)),
    "c_stamp": ("timestamp", "'2020-07-01 12:00:00.123456'", "TIMESTAMP", dt.datetime(2020, 7, 1, 10, 0, 0, 123456)),
    "c_zoned": ("timestamptz", "'2020-07-01 12:00:00+05'", "TIMESTAMP", dt.datetime(2020, 7, 1, 7)),
    "c_uuid": ("uuid", "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "UUID", UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
    "c_json": ("json", """'{"a":  [1, null]}'""", "JSON", '{"a":  [1, null]}'),
    "c_jsonb": ("jsonb", """'{"b":1,"a":2}'""", "JSON", '{"a": 2, "b": 1}'),
    "c_enum": ("mood", "'so so'", "VARCHAR", "so so"),
    "c_domain": ("price", "9.99", "DECIMAL(8,2)", Decimal("9.99")),
    "c_nested": ("dear", "8.50", "DECIMAL(8,2)", Decimal("8.50")),
    "c_ints": ("int[]", "'{1,NULL,3}'", "INTEGER[]", [1, None, 3]),
    "c_texts": (
        "text[]",
        """'{a,"b, \\"c\\" \\\\ {d}","NULL",NULL,""}'""",
        "VARCHAR[]",
        ["a", 'b, "c" \\ {d}', "NULL", None, ""],
    ),
    "c_empty": ("text[]", "'{}'", "VARCHAR[]", []),
    "c_bools": ("boolean[]", "'{t,f}'", "BOOLEAN[]", [True, False]),
    "c_decs": ("numeric(6,2)[]", "'{1.50,NULL}'", "DECIMAL(6,2)[]", [Decimal("1.50"), None]),
    "c_dates": ("date[]", "'{2020-01-01}'", "DATE[]", [dt.date(2020, 1, 1)]),
    "c_moods": ("mood[]", "'{ok,\"so so\"}'", "VARCHAR[]", ["ok", "so so"]),
    "c_byteas": ("bytea[]", "array['\\x00'::bytea]", "VARCHAR", '{"\\\\x00"}'),
    "c_interval": ("interval", "'1 year 2 days 03:00:00.5'", "VARCHAR", "P1Y2DT3H0.5S"),
    "c_range": ("int4range", "'[1,5)'", "VARCHAR", "[1,5)"),
    "c_composite": ("pair", "'(1,\"x y\")'", "VARCHAR", '(1,"x y")'),
    "c_inet": ("inet", "'10.0.0.1'", "VARCHAR", "10.0.0.1"),
    "c_cidr": ("cidr", "'10.0.0.0/8'", "VARCHAR", "10.0.0.0/8"),
    "c_mac": ("macaddr", "'08:00:2b:01:02:03'", "VARCHAR", "08:00:2b:01:02:03"),
    "c_bit": ("bit(3)", "B'101'", "VARCHAR", "101"),
    "c_varbit": ("bit varying(5)", "B'11'", "VARCHAR", "11"),
    "c_timetz": ("timetz", "'12:00:00+02'", "VARCHAR", "12:00:00+02"),
    "c_money": ("money", "'1.5'", "VARCHAR", "$1.50"),
    "c_point": ("point", "'(1,2)'", "VARCHAR", "(1,2)"),
    "c_tsvector": ("tsvector", "'a b'", "VARCHAR", "'a' 'b'"),
}
SET_UP = (
    "create type mood as enum ('ok', 'so so')",
    "create domain price as numeric(8,2) check (value > 0)",
    "create domain dear as price check (value > 5)",
    "create type pair as (x int, y text)",
)


CALLED = {"mood": "enum", "mood[]": "enum[]", "price": "domain", "dear": "domain", "pair": "composite"}
PAGE = Path(__file__).parents[2] / "docs" / "postgres.md"


def test_the_documented_types_are_those_that_are_tested() -> None:
    documented = {
        (row[1], row[2]) for row in re.finditer(r"^\| `([^`]+)` \| `?([^`|]+?)`? \|", types_table(), re.MULTILINE)
    }
    tested = set()
    for kind, _, here, _ in VALUES.values():
        name = CALLED.get(kind, kind)
        tested.add((general(name), "its base type" if name == "domain" else general(here)))
    assert documented == tested


def types_table() -> str:
    return PAGE.read_text().split("## Types")[1].split("##")[0]


def general(kind: str) -> str:
    return re.sub(r"\(\d+\)", "(n)", re.sub(r"\(\d+,\d+\)", "(p,s)", kind)).replace("int[]", "integer[]")


def stream(capture: str, **columns: Any) -> dict[str, Any]:
    return {"t": {"table": "public.t", "key": ["id"], "capture": capture, "columns": columns}}


@pytest.mark.parametrize("capture", ["full", "log"])
def test_every_type_lands_as_documented(tmp_path: Path, database: Database, capture: str) -> None:
    columns = ", ".join(f"{name} {kind}" for name, (kind, *_) in VALUES.items())
    literals = ", ".join(f"cast({literal} as {kind})" for kind, literal, *_ in VALUES.values())
    database.run(*SET_UP, f"create table t (id int primary key, {columns})", "create publication starberg for table t")
    insert = f"insert into t values (%s, {literals})"
    if capture == "full":
        database.run("insert into t values (2)", insert.replace("%s", "1"))
    source = Feed(tmp_path, database, stream(capture), {"timezone": "Europe/Berlin"})
    source.ingest()
    if capture == "log":
        database.run("insert into t values (2)", insert.replace("%s", "1"))
        source.ingest()
    load = source.chain("t").last()
    assert load
    assert load.columns == {"id": "INTEGER"} | {name: kind for name, (_, _, kind, _) in VALUES.items()}
    names = ", ".join(
        f"epoch_us({name})" if kind in ("timestamptz",) else f'"{name}"' for name, (kind, *_) in VALUES.items()
    )
    [found, empty] = source.now("t", names)
    expected = [
        int((value - dt.datetime(1970, 1, 1)).total_seconds() * 1_000_000) if kind == "timestamptz" else value
        for kind, _, _, value in VALUES.values()
    ]
    for name, value, wanted in zip(VALUES, found, expected, strict=True):
        assert (str(value) if wanted == "nan" else value) == wanted, name
    assert all(value is None for value in empty)


@pytest.mark.proof
def test_the_snapshot_and_the_log_give_one_value_the_same_digest(tmp_path: Path, database: Database) -> None:
    """A full run right after the log finds nothing to land."""
    columns = ", ".join(f"{name} {kind}" for name, (kind, *_) in VALUES.items())
    literals = ", ".join(f"cast({literal} as {kind})" for kind, literal, *_ in VALUES.values())
    database.run(*SET_UP, f"create table t (id int primary key, {columns})", "create publication starberg for table t")
    source = Feed(tmp_path, database, stream("log"))
    source.ingest()
    database.run(f"insert into t values (1, {literals})", "insert into t values (2)")
    [load] = source.ingest()
    assert load.changed == 2
    [again] = source.ingest(full=True)
    assert (again.changed, again.deleted) == (0, 0)


OUT_OF_RANGE = {
    "d": ("date", ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'10000-01-01'"]),
    "s": ("timestamp", ["'infinity'", "'-infinity'", "'0044-03-15 00:00:00 BC'", "'10000-01-01'"]),
    "z": ("timestamptz", ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'10000-01-01'"]),
    "n": ("numeric(10,2)", ["'NaN'"]),
    "a": ("int[]", ["'{{1,2},{3,4}}'", "'[0:1]={1,2}'"]),
}


@pytest.mark.proof
@pytest.mark.parametrize("capture", ["full", "log"])
@pytest.mark.parametrize("column", list(OUT_OF_RANGE))
def test_a_value_its_type_cannot_hold_goes_to_quarantine_or_is_null_by_declaration(
    tmp_path: Path, database: Database, capture: str, column: str
) -> None:
    kind, literals = OUT_OF_RANGE[column]
    inserts = [f"insert into t values ({n}, {literal})" for n, literal in enumerate(literals, 1)]
    good = "0" if kind.startswith("numeric") else "'{1}'" if column == "a" else "'2020-01-01'"
    inserts.append(f"insert into t values (99, {good})")
    database.run(f"create table t (id int primary key, {column} {kind})", "create publication starberg for table t")
    source = Feed(tmp_path, database, stream(capture))
    if capture == "log":
        source.ingest()
    database.run(*inserts)
    source.ingest()
    bad = source.now("t", f"id, {column} IS NULL, _bad, _raw IS NOT NULL, record IS NOT NULL")
    assert bad == [
        *((n, True, column, True, True) for n in range(1, len(literals) + 1)),
        (99, False, None, False, False),
    ]
    lists = {"numeric(10,2)": "DECIMAL(10,2)", "int[]": "INTEGER[]"}
    source.streams = stream(
        capture, **{column: {"type": lists.get(kind, "DATE" if column == "d" else "TIMESTAMP"), "out_of_range": "null"}}
    )
    assert set(source.now("t", "_bad")) == {(None,)}


def test_a_numeric_no_decimal_holds_stops_the_run_until_it_is_declared(tmp_path: Path, database: Database) -> None:
    huge = "123456789012345678901234567890123456789012345.5"
    database.run(
        "create table t (id int primary key, n numeric, m numeric(50, 2))",
        f"insert into t values (1, 0.1, {huge}0), (2, 'NaN', null)",
    )
    source = Feed(tmp_path, database, stream("full"))
    with pytest.raises(SourceDataError, match=r"column n is numeric, .* columns: \{n: VARCHAR\}"):
        source.ingest()
    source.streams = stream("full", n="VARCHAR")
    with pytest.raises(SourceDataError, match=r"column m is numeric\(50,2\)"):
        source.ingest()
    source.streams = stream("full", n="DECIMAL(20,5)", m="VARCHAR")
    source.ingest()
    assert source.now("t", "id, n, m, _bad, _raw") == [
        (1, Decimal("0.10000"), f"{huge}0", None, None),
        (2, None, None, "n", "NaN"),
    ]


@pytest.mark.proof
def test_declared_types_are_applied_when_raw_is_read(tmp_path: Path, database: Database) -> None:
    database.run(
        "create table t (id int primary key, code text, cust_id int)", "insert into t values (1, '7', 3), (2, 'x', 4)"
    )
    source = Feed(tmp_path, database, stream("full", code="INTEGER", customer={"type": "BIGINT", "path": "cust_id"}))
    source.ingest()
    assert source.now("t", "id, code, customer, _bad, _raw") == [(1, 7, 3, None, None), (2, None, 4, "code", "x")]


@pytest.mark.proof
def test_partitioned_tables_views_and_odd_names_are_read(tmp_path: Path, database: Database) -> None:
    database.run(
        'create schema "My schema"',
        'create table "My schema"."Odd ""table" ("Id" int, "select" text, "a b" int, filename text, '
        'primary key ("Id")) '
        'partition by range ("Id")',
        'create table "My schema".p1 partition of "My schema"."Odd ""table" for values from (0) to (10)',
        'create table "My schema".p2 partition of "My schema"."Odd ""table" for values from (10) to (20)',
        """insert into "My schema"."Odd ""table" values (1, 'x', 2, 'f'), (11, 'y', 3, 'g')""",
    )
    table = {"table": 'My schema.Odd "table', "key": ["Id"]}
    source = Feed(tmp_path, database, {"t": table})
    source.ingest()
    assert source.now("t", '"Id", "select", "a b", filename_') == [(1, "x", 2, "f"), (11, "y", 3, "g")]
