"""Every function and operator of the allow-list answers alike on both engines, edges included.

Each question is asked of both; Spark is asked all of a kind at once, as each question of its own costs it a second.
"""

from __future__ import annotations

from datetime import UTC
from functools import cache
from typing import Any

import pytest
from lake import fresh_engine
from local_spark import as_it_comes

from starberg.engines.spark.functions import REWRITTEN, SAME
from starberg.utils.errors import StarbergError

ROWS = """
SELECT * FROM (VALUES
  (1::BIGINT, 7::INTEGER, 2::INTEGER, 2.50::DECIMAL(18, 2), 0.285::DOUBLE, 'a', 'Ärger ', true,
   DATE '2024-01-31', TIMESTAMP '2024-01-31 23:59:59.999999', TIMESTAMP '2024-03-01 00:00:00', [1, 2, 3]::BIGINT[]),
  (2, -7, 2, -2.50, 2.5, 'b', NULL, false,
   DATE '2023-12-31', TIMESTAMP '1969-12-31 23:59:59.5', TIMESTAMP '1970-01-01 00:00:00.5', []::BIGINT[]),
  (3, 7, -3, 1.005, -2.5, 'b', ' x' || chr(160), NULL,
   DATE '1899-12-31', TIMESTAMP '1899-12-31 12:30:00', TIMESTAMP '2024-02-29 12:30:00', NULL),
  (4, 0, 0, 0.00, 1.005, 'A', '', true,
   DATE '2021-01-03', TIMESTAMP '2021-01-03 00:00:00', TIMESTAMP '2020-12-28 23:00:00', [5]::BIGINT[]),
  (5, NULL, NULL, NULL, NULL, NULL, 'ß%_', NULL, NULL, NULL, NULL, [NULL, 4]::BIGINT[]),
  (6, 2147483647, 1, 9999999999999999.99, 1e300, 'z', 'zz', false,
   DATE '9999-12-30', TIMESTAMP '9998-12-31 23:59:59', TIMESTAMP '0001-01-01 00:00:00', [0]::BIGINT[])
) AS t(id, i, j, d, f, g, s, b, day, moment, other, l)
"""

SCALARS = [
    *(
        "i + 1::BIGINT",
        "i - j",
        "i::BIGINT * j",
        "-i",
        "abs(i)",
        "i / j",
        "d / j",
        "f / j",
        "d / d",
        "1 / 3",
        "i // j",
        "i % j",
    ),
    *("d + d", "d - 1", "d * d", "d * 2", "d * 1.5", "f * 2", "f + d", "i + 0.5", "abs(d)", "d % 2"),
    *(
        "round(f, 2)",
        "round(f)",
        "round(-f, 1)",
        "round(d, 1)",
        "round(d)",
        "round(i / 7, 4)",
        "round(0.125::DOUBLE, 2)",
    ),
    *(
        "d::BIGINT",
        "CASE WHEN abs(f) < 1e9 THEN f::DECIMAL(18, 2) END",
        "d::DECIMAL(18, 1)",
        "d::DOUBLE",
        "i::DOUBLE",
        "i::DECIMAL(18, 2)",
        "b::BIGINT",
    ),
    *("CASE WHEN abs(f) < 1e9 THEN f::BIGINT END", "3.5::DOUBLE::INTEGER", "i::VARCHAR", "d::VARCHAR", "day::VARCHAR"),
    *(
        "moment::VARCHAR",
        "b::VARCHAR",
        "'12'::BIGINT",
        "moment::DATE",
        "day::TIMESTAMP",
        "moment::TIMESTAMPTZ",
        "NULL::BIGINT",
    ),
    *(
        "i = j",
        "i <> j",
        "i < j",
        "i <= j",
        "d > 0",
        "f >= 1",
        "s = 'zz'",
        "g < 'b'",
        "b = (i > 0)",
        "day > DATE '2000-01-01'",
    ),
    *(
        "i IS NULL",
        "i IS NOT NULL",
        "i IS DISTINCT FROM j",
        "i IS NOT DISTINCT FROM j",
        "NOT b",
        "b AND i > 0",
        "b OR i > 0",
    ),
    *("i IN (7, 0)", "i NOT IN (7, NULL)", "i BETWEEN 0 AND 10", "d NOT BETWEEN 0 AND 3", "l = l"),
    *("CASE WHEN i > 0 THEN 'more' WHEN i = 0 THEN 'none' ELSE 'less' END", "CASE i WHEN 7 THEN 1 END"),
    *(
        "if(b, i, j)",
        "coalesce(i, 0)",
        "coalesce(d, 0)",
        "nullif(i, 7)",
        "greatest(i, j)",
        "least(i, j)",
        "greatest(i, NULL)",
    ),
    *("s || '!'", "trim(s)", "len(s)", "length(s)", "s LIKE 'Ä%'", "s LIKE '_x%'", "len(l)"),
    *(
        "day + 1",
        "day - 1",
        "day - i % 5",
        "day - DATE '2000-01-01'",
        "moment + INTERVAL 1 DAY",
        "moment - INTERVAL 1 MICROSECOND",
    ),
    *(
        "DATE '2024-01-31' + INTERVAL 1 MONTH",
        "DATE '2024-03-31' - INTERVAL 1 MONTH",
        "DATE '2024-02-29' + INTERVAL 1 YEAR",
    ),
    *("year(day)", "quarter(day)", "month(day)", "day(day)", "weekofyear(day)", "isodow(day)", "monthname(day)"),
    *("hour(moment)", "minute(moment)", "year(moment)", "make_date(2024, 2, 29)", "moment::DATE = day"),
    *(
        f"date_trunc('{unit}', {of})"
        for unit in ("year", "quarter", "month", "week", "day", "hour")
        for of in ("day", "moment")
    ),
    *(
        "date_trunc('month', moment::DATE)",
        "date_trunc('minute', moment)",
        "date_trunc('second', moment)",
        "strftime(day, '%Y%m%d')",
        "strftime(moment, '%Y-%m-%d %H:%M:%S')",
    ),
    *(
        f"date_diff('{unit}', moment, other)"
        for unit in ("microsecond", "millisecond", "second", "minute", "hour", "day", "month", "quarter", "year")
    ),
    "date_diff('millisecond', TIMESTAMP '1969-12-31 23:59:59.9985', moment)",
    *(
        f"date_diff('{unit}', {since} '1970-01-01', moment::TIMESTAMPTZ)"
        for unit, since in (("hour", "timestamp"), ("day", "date"), ("month", "date"), ("year", "date"))
    ),
    *(
        "typeof(moment)",
        "typeof(day)",
        "typeof(i)",
        "typeof(id)",
        "typeof(s)",
        "typeof(f)",
        "typeof(moment::TIMESTAMPTZ)",
    ),
    *(f"timezone('{zone}', {of})" for zone in ("UTC", "Europe/Berlin") for of in ("moment", "timezone('UTC', moment)")),
    *("moment AT TIME ZONE 'Europe/Berlin'", "TIMESTAMP '290000-01-01' AT TIME ZONE 'Asia/Tokyo' > moment"),
    *(
        "date_diff('day', day, moment::DATE)",
        "{'a': i, 'b': s}.a",
        "TIMESTAMP '290000-01-01' > moment",
        "'it''s \\n'",
        "'${HOME} ${env:HOME}'",
    ),
]
"""Of each row."""

AGGREGATES = [
    *("count(*)", "count(i)", "count(DISTINCT g)", "count(DISTINCT (g, b))", "count(*) FILTER (i > 0)"),
    *("sum(i)", "sum(d)", "sum(i) FILTER (i < 7)", "sum(id)::BIGINT", "avg(i)", "avg(d)", "avg(j)"),
    *("avg(d) FILTER (d > 0)", "avg(i) FILTER (i > 99)", "avg(id)", "avg(d::DECIMAL(20, 4))", "sum(DISTINCT j)"),
    *("min(d)", "max(moment)", "min(s)", "max(day)", "min(f)", "bool_or(b)", "bool_and(b)", "median(i)", "median(id)"),
    *("arg_max(s, moment)", "arg_min(s, moment)", "arg_max(i, d)", "arg_max(g, (day, id))", "arg_max(s, (b, id))"),
    *("arg_max(i, moment) FILTER (b)", "arg_max({'v': s}, (day, id)).v", "max(coalesce(s, '{}'))", "any_value('k')"),
]
"""Of all rows, and of each group."""

WINDOWS = [
    *("row_number() OVER (ORDER BY g, id)", "row_number() OVER (PARTITION BY g ORDER BY day DESC, id)"),
    *("lag(i) OVER (ORDER BY id)", "lag(i, 2) OVER (ORDER BY id)", "lead(i, 1, 99) OVER (ORDER BY id DESC)"),
    *("lead(moment, 1, TIMESTAMP '290000-01-01') OVER (PARTITION BY g ORDER BY id) = TIMESTAMP '290000-01-01'",),
    *(
        "rank() OVER (ORDER BY g)",
        "dense_rank() OVER (ORDER BY g)",
        "sum(id) OVER (ORDER BY id)",
        "count(*) OVER (PARTITION BY g)",
    ),
    *(
        "max(moment) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)",
        "avg(j) OVER (PARTITION BY g)",
    ),
    *("max(id) FILTER (b) OVER (ORDER BY id)", "count(*) FILTER (i > 0) OVER (PARTITION BY g)", "min(s) OVER w"),
    *("d / sum(d) OVER (PARTITION BY g)", "1.0::DOUBLE / count(*) OVER (PARTITION BY g)"),
]
"""Over rows."""

SELECTS = [
    "SELECT * EXCLUDE (l, s) REPLACE (i - 1 AS i) FROM rows",
    "SELECT g, count(*) AS n FROM rows GROUP BY ALL HAVING count(*) > 1",
    "SELECT id FROM rows QUALIFY row_number() OVER (PARTITION BY g ORDER BY id DESC) = 1",
    "SELECT id, i FROM rows UNION ALL BY NAME SELECT g, id FROM rows",
    "SELECT g FROM rows UNION SELECT s FROM rows",
    "SELECT g FROM rows EXCEPT SELECT g FROM rows WHERE b",
    "(SELECT g FROM rows EXCEPT ALL SELECT g FROM rows WHERE id = 2) UNION ALL (SELECT 'q')",
    "SELECT g FROM rows INTERSECT SELECT 'b'",
    "FROM (SELECT id, g FROM rows) SEMI JOIN (SELECT g FROM rows WHERE b) USING (g)",
    "SELECT r.id FROM rows r ANTI JOIN rows o ON r.i = o.j AND r.id <> o.id",
    "SELECT id FROM rows r WHERE NOT EXISTS (FROM rows o WHERE o.g = r.g AND o.id <> r.id)",
    "SELECT id FROM rows r WHERE b OR EXISTS (FROM rows o WHERE o.g = r.g AND o.id <> r.id)",
    "SELECT id FROM rows WHERE i IN (SELECT j FROM rows) OR NOT coalesce(b, false)",
    "SELECT a.id, o.id AS other FROM rows a FULL JOIN (FROM rows WHERE id < 3) o ON a.g IS NOT DISTINCT FROM o.g",
    "SELECT a.id, o.id AS other FROM rows a LEFT JOIN rows o ON a.g = o.g AND a.id < o.id",
    "SELECT a.id, (SELECT count(*) FROM rows) AS n FROM rows a JOIN rows o USING (id)",
    "SELECT id, listed.item FROM rows CROSS JOIN unnest(l) AS listed(item)",
    "SELECT r.id, t.item, o.g FROM rows r CROSS JOIN unnest(r.l) AS t(item) LEFT JOIN rows o ON o.id = t.item",
    "SELECT unnest(generate_series(DATE '2024-02-27', DATE '2024-03-02', INTERVAL 1 DAY))::DATE AS date",
    "WITH a AS (SELECT id, g FROM rows), rows AS (SELECT id FROM a WHERE g = 'b') SELECT * FROM rows",
    "SELECT DISTINCT b FROM rows ORDER BY b DESC LIMIT 2",
    "SELECT id, g FROM rows ORDER BY g, id DESC LIMIT 3 OFFSET 1",
    "SELECT {'p': i, 'q': s} AS nested FROM rows WHERE id = 1",
]
"""Whole questions; what has no order is sorted here."""


def kinds() -> dict[str, tuple[list[str], str]]:
    """Return the questions of one SELECT each: what is asked, and what of."""
    over = " FROM rows WINDOW w AS (PARTITION BY g ORDER BY id) ORDER BY id"
    return {
        "scalars": (SCALARS, " FROM rows ORDER BY id"),
        "aggregates": (AGGREGATES, " FROM rows"),
        "groups": (AGGREGATES, " FROM rows GROUP BY g ORDER BY g"),
        "windows": (WINDOWS, over),
    }


@cache
def answers(kind: str, engine: str) -> list[Any]:
    """Return an engine's answers to the questions of a kind, each a column; an error stands for itself."""
    local = fresh_engine()
    asked = as_it_comes(local) if engine == "spark" else local
    local.run(f"CREATE OR REPLACE TEMP TABLE rows AS {ROWS}")
    questions, of = kinds()[kind]
    try:
        found = asked.rows(f"SELECT {', '.join(f'{q} AS c{n}' for n, q in enumerate(questions))}{of}")
        return [list(column) for column in zip(*found, strict=True)]
    except StarbergError:
        return [_one(asked, question, of) for question in questions]


def _one(engine: Any, question: str, of: str) -> Any:
    try:
        return [row[0] for row in engine.rows(f"SELECT {question} AS c0{of}")]
    except StarbergError as error:
        return error


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, n) for kind, (asked, _) in kinds().items() for n in range(len(asked))]
)
def test_an_expression_is_the_same_on_both_engines(kind: str, number: int) -> None:
    there, here = answers(kind, "spark")[number], answers(kind, "duckdb")[number]
    assert plain(there) == plain(here), kinds()[kind][0][number]


def plain(answer: Any) -> str:
    """Return an answer so that a number that is none equals itself; a zone is UTC, whatever it is called."""
    if isinstance(answer, Exception):
        return repr(answer)
    return repr([value.astimezone(UTC) if getattr(value, "tzinfo", None) else value for value in answer])


@pytest.mark.parametrize("select", SELECTS)
def test_a_question_is_the_same_on_both_engines(select: str, spark: Any) -> None:
    spark.local.run(f"CREATE OR REPLACE TEMP TABLE rows AS {ROWS}")
    there, here = spark.rows(select), spark.local.rows(select)
    if " ORDER BY " not in select.rpartition(")")[2]:
        there, here = sorted(there, key=repr), sorted(here, key=repr)
    assert there == here


def test_everything_on_the_list_is_asked_here() -> None:
    from sqlglot import parse_one

    asked = [*SCALARS, *AGGREGATES, *WINDOWS]
    found = {type(node) for text in asked for node in parse_one(f"SELECT {text}", read="duckdb").walk()}
    found |= {type(node) for text in SELECTS for node in parse_one(text, read="duckdb").walk()}
    missing = {kind.__name__ for kind in {*SAME, *REWRITTEN} - found}
    assert missing == set()
