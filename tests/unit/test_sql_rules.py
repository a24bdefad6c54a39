from __future__ import annotations

import pytest

from starberg.etl.headers import (
    BridgeHeader,
    CheckHeader,
    DimensionHeader,
    FactHeader,
    Header,
    MartHeader,
    StagingHeader,
)
from starberg.etl.model import Kind
from starberg.etl.sql_body import SqlProblem, fingerprint_parts, parse_body
from starberg.etl.sql_columns import UNKNOWN, Columns, driver_columns, key_columns, output_columns, with_columns
from starberg.etl.sql_rules import partition_columns, problems

HEADERS: dict[Kind, Header] = {
    Kind.STAGING: StagingHeader(),
    Kind.DIMENSION: DimensionHeader(natural_key=["id"]),
    Kind.BRIDGE: BridgeHeader(grain=["id"], weight="equal"),
    Kind.FACT: FactHeader(grain=["id"], keys={"store_key": "dim_store(store_id)"}, deletes="mark"),
    Kind.MART: MartHeader(),
    Kind.CHECK: CheckHeader(),
}


def told(kind: Kind, sql: str) -> list[str]:
    return [problem.message for problem in problems(kind, HEADERS[kind], parse_body(sql), "thing_key")]


def hints(sql: str) -> str:
    return " ".join(problem.hint for problem in problems(Kind.MART, MartHeader(), parse_body(sql)))


def unreadable(sql: str) -> SqlProblem:
    with pytest.raises(SqlProblem) as error:
        parse_body(sql)
    return error.value


# What is one SELECT


@pytest.mark.parametrize(
    "sql", ["select 1 as a", "with a as (select 1 as b) select b from a;", "select 1 as a union select 2"]
)
def test_a_select_a_with_and_a_union_are_one_select(sql: str) -> None:
    assert parse_body(sql).select == sql.rstrip(";")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "there is no SELECT"),
        ("-- only a remark", "there is no SELECT"),
        ("select 1; select 2", "a second statement"),
        ("drop table a", "DROP is not a SELECT"),
        ("insert into a select 1", "INSERT is not a SELECT"),
        ("create table a as select 1", "CREATE is not a SELECT"),
        ("pragma database_list", "PRAGMA is not a SELECT"),
        ("set threads = 1", "SET is not a SELECT"),
        ("attach 'x.db'", "ATTACH is not a SELECT"),
        ("copy a to 'x'", "COPY is not a SELECT"),
        ("install httpfs", "INSTALL is not a SELECT"),
        ("load httpfs", "LOAD is not a SELECT"),
        ("from a", "FROM is not a SELECT"),
        ("with a as (select 1) delete from b", "a SELECT lists columns"),
        ("select a,, b from c", "a column is missing before or after a comma"),
        ("select , a from c", "a column is missing before or after a comma"),
        ("select 'abc", "' is never closed"),
        ("select 1 /* abc", "a /* remark is never closed"),
    ],
)
def test_anything_else_is_refused(sql: str, message: str) -> None:
    assert unreadable(sql).message == message


def test_a_syntax_error_is_told_with_line_column_and_word() -> None:
    problem = unreadable("select\n    a,\n    b frm c\nfrom d")
    assert (problem.line, problem.column) == (3, 11)
    assert "'c'" in problem.message


def test_remarks_before_and_after_are_no_part_of_the_select() -> None:
    body = parse_body("-- before\n\nselect a -- inside\nfrom b; -- after\n")
    assert body.select == "select a -- inside\nfrom b"
    assert body.first_line == 3


# What gives other rows another time


@pytest.mark.parametrize(
    "call",
    [
        *("now()", "NOW()", '"now"()', "current_date", "current_timestamp", "today()", "get_current_timestamp()"),
        *(
            "localtimestamp",
            "transaction_timestamp()",
            "random()",
            "uuid()",
            "gen_random_uuid()",
            "hash(a)",
            "a.hash()",
        ),
        *("nextval('s')", "getvariable('a')", "getenv('A')", "current_setting('a')", "current_user", "age(a)"),
        *("first(a)", "any_value(a)", "last(a)", "list(a)", "array_agg(a)", "string_agg(a, ',')", "group_concat(a)"),
        *(
            "listagg(a, ',')",
            "arbitrary(a)",
            "list(distinct a)",
            "first(a) filter (a > 1)",
            "list(a) over (partition by b)",
        ),
        *(
            "row_number() over ()",
            "row_number() over (partition by a)",
            "lag(a) over (partition by b)",
            "ntile(3) over ()",
        ),
        *("first_value(a) over ()", "$1", "?", "run_date()"),
    ],
)
def test_what_depends_on_time_chance_session_or_order_is_refused(call: str) -> None:
    assert len(told(Kind.MART, f"select {call} as x, b as y from t")) == 1


@pytest.mark.parametrize(
    "call",
    [
        *("t.run_date", "t.current_date", '"today"', "hash", "age(a, b)", "md5(a)", "date_trunc('day', a)"),
        *("first(a order by b)", "list(a order by b)", "string_agg(a, ',' order by b)", "list(distinct a order by a)"),
        *(
            "string_agg(a, ',') within group (order by b)",
            "list(a order by b) filter (a > 1)",
            "list(a) over (order by b)",
        ),
        *(
            "row_number() over (order by a)",
            "row_number() over w",
            "sum(a) over (partition by b)",
            "rank() over (order by a)",
        ),
        *("max(a)", "'now()'", "list_value(a)", "[x + 1 for x in a]"),
    ],
)
def test_what_does_not_is_allowed(call: str) -> None:
    assert told(Kind.MART, f"select {call} as x from t window w as (order by c)") == []


@pytest.mark.parametrize(
    "source",
    [
        *("read_csv('a.csv')", "read_parquet('a')", "'a.parquet'", '"a.csv"', "glob('*')", "iceberg_scan('a')"),
        *("sqlite_scan('a', 'b')", "duckdb_tables()", "query('select 1')", "a.b.c", "t limit 3", "t using sample 5"),
        *("t positional join u", "(select b from t limit 1)"),
    ],
)
def test_reading_past_the_declared_tables_or_any_rows_is_refused(source: str) -> None:
    assert len(told(Kind.MART, f"select b as y from {source}")) == 1


@pytest.mark.parametrize(
    "source", ["range(3) as r(b)", "generate_series(1, 3) as g(b)", "t, unnest(c) as u(b)", "t order by b limit 3"]
)
def test_table_functions_of_their_arguments_alone_are_allowed(source: str) -> None:
    assert told(Kind.MART, f"select b as y from {source}") == []


def test_distinct_on_needs_an_order() -> None:
    assert told(Kind.MART, "select distinct on (a) a, b from t") == [
        "DISTINCT ON takes any rows where there is no order"
    ]
    assert told(Kind.MART, "select distinct on (a) a, b from t order by a, b") == []


def test_a_statement_that_writes_inside_a_select_is_refused() -> None:
    assert told(Kind.MART, "with a as (insert into b select 1 returning *) select c from a") == ["it writes"]


@pytest.mark.parametrize(
    ("sql", "instead"),
    [
        ("select now() as a", "run_date()"),
        ("select hash(b) as a from t", "md5("),
        ("select string_agg(b, ',') as a from t", "string_agg(x ORDER BY y)"),
        ("select row_number() over () as a from t", "ORDER BY y"),
        ("select b from 'x.csv'", "warehouse.yml"),
    ],
)
def test_a_refusal_says_what_to_write_instead(sql: str, instead: str) -> None:
    assert instead in hints(sql)


def test_a_problem_has_the_line_and_column_of_what_it_is_about() -> None:
    [first, second] = problems(
        Kind.MART, MartHeader(), parse_body("select\n  a,\n  now() as b,\n  any_value(c) as d\nfrom t")
    )
    assert [(first.line, first.column), (second.line, second.column)] == [(3, 3), (4, 3)]


# What each kind may say


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select a from s join t on true", "a join in staging"),
        ("select a from s, t", "a join in staging"),
        ("select max(a) as a from s", "an aggregate in staging"),
        ("select histogram(a) as a from s", "an aggregate in staging"),
        ("select a from s group by a", "an aggregate in staging"),
        ("select sum(a) over () as a from s", "a window function in staging"),
        ("select distinct a from s", "DISTINCT in staging"),
        ("select a from s union all select a from s", "a UNION in staging"),
        ("select a from (select a from s)", "WITH or a subquery in staging"),
        ("with r as (select a from s) select a from r", "WITH or a subquery in staging"),
        ("select a from s where a in (select b from t)", "WITH or a subquery in staging"),
        ("select a from s order by a", "ORDER BY, LIMIT or QUALIFY in staging"),
        ("select unnest(a) as a from s", "unnest() in staging"),
        ("select 1 as a", "staging reads exactly one stream"),
        ("select a from source.s", "a stream is read by its own name"),
    ],
)
def test_staging_is_its_stream_row_by_row(sql: str, message: str) -> None:
    assert told(Kind.STAGING, sql)[0] == message


def test_staging_may_derive_and_filter() -> None:
    sql = "select *, trim(a) as b, case when c then 1 end as d, [x.id for x in e] as f from s where g is not null"
    assert told(Kind.STAGING, sql) == []


@pytest.mark.parametrize("kind", [Kind.DIMENSION, Kind.BRIDGE, Kind.FACT])
@pytest.mark.parametrize("star", ["*", "t.*", "* exclude (a)", "columns('a.*')"])
def test_dimensions_bridges_and_facts_list_their_columns(kind: Kind, star: str) -> None:
    assert told(kind, f"select {star} from t") == ["* hides what the table holds"]


def test_an_import_cte_may_use_a_star() -> None:
    assert told(Kind.FACT, "with s as (select * from t) select id, count(*) as n from s group by id") == []


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        *(
            (kind, name)
            for kind in HEADERS
            if kind is not Kind.CHECK
            for name in ("_load_id", "_run_id", "_deleted_at")
        ),
        (Kind.DIMENSION, "thing_key"),
        (Kind.DIMENSION, "is_inferred"),
        (Kind.DIMENSION, "is_deleted"),
        (Kind.FACT, "store_key"),
        (Kind.FACT, "is_deleted"),
        (Kind.FACT, "deleted_at"),
        (Kind.FACT, "STORE_KEY"),
        (Kind.BRIDGE, "weight"),
    ],
)
def test_the_engines_own_columns_are_reserved(kind: Kind, column: str) -> None:
    assert f"column '{column.lower()}' is " in told(kind, f"select id, a as {column} from t")[0]


def test_columns_have_names_and_no_name_twice() -> None:
    assert told(Kind.MART, "select count(*), a, b as A from t") == ["a column has no name", "two columns are named 'a'"]
    assert told(Kind.CHECK, "select count(*), a, b as a from t") == []


def test_a_partition_is_a_column_or_a_part_of_its_time() -> None:
    assert partition_columns(["region", "month(sold_at)"]) == ["region", "sold_at"]
    with pytest.raises(ValueError, match="week"):
        partition_columns(["week(sold_at)"])


# Where columns come from


def stream(name: str) -> Columns:
    return {"s": Columns.of(["id", "name", "Mixed"])}.get(name, UNKNOWN)


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("select id, name from s", ["id"]),
        ("select s.id as game_id from s", ["game_id"]),
        ("select x.ID as game_id from s as x", ["game_id"]),
        ("select *, id as other from s", ["id"]),
        ("select * rename (id as game_id) from s", ["game_id"]),
        ("select s.* exclude (name) from s", ["id"]),
    ],
)
def test_a_key_passed_on_is_found_under_its_new_name(sql: str, keys: list[str]) -> None:
    assert key_columns(parse_body(sql), ["id"], stream) == keys


@pytest.mark.parametrize(
    "sql",
    [
        "select name from s",
        "select id + 0 as id from s",
        "select * exclude (id) from s",
        "select * replace (1 as id) from s",
    ],
)
def test_a_key_left_out_or_computed_is_refused(sql: str) -> None:
    with pytest.raises(SqlProblem, match="'id' is not passed on"):
        key_columns(parse_body(sql), ["id"], stream)


def test_outputs_are_followed_through_ctes_and_their_own_names() -> None:
    body = parse_body(
        "with s as (select * from s), r as (select id as a, upper(name) as b from s) select r.*, 1 as c from r"
    )
    columns = output_columns(body, stream)
    assert {output.name: output.source for output in columns.by_name.values()} == {"a": "id", "b": "", "c": ""}
    assert columns.complete
    assert list(body.reads) == ["s"]


def test_a_star_over_an_unknown_table_leaves_the_outputs_open() -> None:
    columns = output_columns(parse_body("select *, 1 as a from unknown"), stream)
    assert not columns.lacks("anything")
    assert "a" in columns


@pytest.mark.parametrize(
    ("sql", "added"),
    [
        ("select name from s", 'select name, "s"."id" from s'),
        ("select name, -- remark\nfrom s as x", 'select name, "x"."id" -- remark\nfrom s as x'),
        ("select a is distinct from b as c from s", 'select a is distinct from b as c, "s"."id" from s'),
        ("select a as from from s", 'select a as from, "s"."id" from s'),
        (
            "with r as (select id, name from s) select r.name from r join t using (id)",
            'with r as (select id, name from s) select r.name, "r"."id" from r join t using (id)',
        ),
    ],
)
def test_a_column_of_the_driver_is_added_to_the_text_as_written(sql: str, added: str) -> None:
    body = parse_body(sql)
    assert "id" in driver_columns(body, stream)
    assert with_columns(body, ["id"]) == added


@pytest.mark.parametrize(
    "sql",
    [
        "select name, count(*) as n from s group by name",
        "select count(*) as n from s",
        "select distinct name from s",
        "select name from s union select name from s",
        "select 1 as a",
    ],
)
def test_nothing_can_be_added_where_a_row_is_no_row_of_the_driver(sql: str) -> None:
    assert driver_columns(parse_body(sql), stream).lacks("id")


# Fingerprints


def test_remarks_formatting_and_case_do_not_change_a_fingerprint() -> None:
    before = fingerprint_parts("select a, sum(b) as c from t where d = 'X'", "{}")
    after = fingerprint_parts("SELECT a, -- remark\n  SUM( b )  AS c /* more */ FROM t\nWHERE d='X'", "{}")
    assert before == after


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ("select a, sum(b) as c from t where d = 'X'", set()),
        ("select a, max(b) as c from t where d = 'X'", {"c"}),
        ("select a, sum(b) as c, e from t where d = 'X'", {"e"}),
        ("select sum(b) as c from t where d = 'X'", {"a"}),
        ("select a, sum(b) as c from t where d = 'x'", {""}),
    ],
)
def test_a_fingerprint_names_the_columns_that_changed(after: str, changed: set[str]) -> None:
    old, new = fingerprint_parts("select a, sum(b) as c from t where d = 'X'", "{}"), fingerprint_parts(after, "{}")
    assert {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} == changed


def test_the_header_is_part_of_the_rest() -> None:
    assert fingerprint_parts("select a from t", "{}")[""] != fingerprint_parts("select a from t", '{"grain":["a"]}')[""]
