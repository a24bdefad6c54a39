"""What Spark is told: names, stars and joins written out, functions of the list alone. Spark itself: tests/spark."""

from __future__ import annotations

import pytest

from starberg.engines.spark.sql import Relation, parsed, refused, to_spark
from starberg.utils.errors import UsageError

TABLES = {
    "sales": {"id": "BIGINT", "city": "VARCHAR", "price": "DECIMAL(18,2)", "rate": "DOUBLE", "sold": "TIMESTAMP"},
    "cities": {"city": "VARCHAR", "mayor": "VARCHAR"},
    "odd": {"Mixed": "BIGINT"},
    "lists": {"id": "BIGINT", "tags": "BIGINT[]", "day": "DATE", "clock": "TIME"},
}


def resolve(schema: str, name: str) -> Relation:
    view = f"{schema}_{name}" if schema else name
    return Relation(view, TABLES[name], f"{view}_numbered")


def spark(select: str) -> str:
    return to_spark(parsed(select), resolve).replace("`", "")


def test_a_star_is_written_out() -> None:
    assert spark("SELECT s.* EXCLUDE (rate, sold) REPLACE (price * 2 AS price) FROM sales s") == (
        "SELECT s.id AS id, s.city AS city, s.price * 2 AS price FROM sales AS s"
    )


def test_a_table_is_its_view_under_its_own_name() -> None:
    assert spark("SELECT sales.id FROM shop.sales") == "SELECT sales.id AS id FROM shop_sales AS sales"


def test_a_relation_of_the_query_hides_a_table() -> None:
    found = spark("WITH sales AS (SELECT id FROM shop.sales) SELECT * FROM sales")
    assert found == (
        "WITH sales AS (SELECT sales.id AS id FROM shop_sales AS sales) SELECT sales.id AS id FROM sales AS sales"
    )


def test_row_numbers_come_from_the_view_that_has_them() -> None:
    assert spark("SELECT id, rowid AS _row FROM sales") == (
        "SELECT sales.id AS id, sales.rowid AS _row FROM sales_numbered AS sales"
    )


def test_a_star_has_no_row_numbers() -> None:
    assert "rowid" not in spark("SELECT * FROM sales")


def test_a_union_by_name_is_one_by_position() -> None:
    assert spark("SELECT city, id FROM sales UNION ALL BY NAME SELECT mayor, city FROM cities") == (
        "SELECT sales.city AS city, sales.id AS id, NULL AS mayor FROM sales AS sales UNION ALL "
        "SELECT cities.city AS city, NULL AS id, cities.mayor AS mayor FROM cities AS cities"
    )


def test_several_unions_by_name_agree_on_all_columns() -> None:
    found = spark(
        "SELECT * FROM (SELECT id FROM sales UNION ALL BY NAME SELECT city FROM cities UNION ALL BY NAME "
        "SELECT mayor, 1 AS id FROM cities)"
    )
    assert found.startswith(
        "SELECT _0.id AS id, _0.city AS city, _0.mayor AS mayor FROM (SELECT u.id, u.city, NULL AS mayor"
    )


def test_using_is_an_equality() -> None:
    assert "SEMI JOIN cities AS joined cities ON sales.city = joined cities.city" in spark(
        "FROM sales SEMI JOIN cities USING (city)"
    )


def test_a_joined_relation_may_be_called_as_a_column_is() -> None:
    found = spark("SELECT s.id FROM sales s ANTI JOIN cities city ON s.city = city.city")
    assert found.endswith("ANTI JOIN cities AS joined city ON s.city = joined city.city")


def test_names_are_found_whatever_their_case() -> None:
    assert spark('SELECT Mixed, "MIXED" AS b FROM odd WHERE mIxEd > 1') == (
        "SELECT odd.mixed AS mixed, odd.mixed AS b FROM odd AS odd WHERE odd.mixed > 1"
    )


def test_nulls_stand_last_in_either_direction() -> None:
    assert spark("SELECT id FROM sales ORDER BY city").endswith("NULLS LAST")
    assert spark("SELECT id FROM sales ORDER BY city DESC").endswith("DESC NULLS LAST") or "DESC" in spark(
        "SELECT id FROM sales ORDER BY city DESC"
    )


def test_a_division_is_one_of_doubles_and_knows_infinity() -> None:
    found = spark("SELECT price / id AS share FROM sales")
    assert "CAST(sales.price AS DOUBLE) * CAST('Infinity' AS DOUBLE)" in found
    assert "CAST(sales.price AS DOUBLE) / NULLIF(CAST(sales.id AS DOUBLE)" in found


def test_an_average_of_decimals_is_their_exact_sum_by_their_number() -> None:
    assert "AVG" not in spark("SELECT avg(price) FILTER (id > 1) AS a, avg(id) OVER () AS b FROM sales")
    assert "AVG(sales.rate)" in spark("SELECT avg(rate) AS a FROM sales")


def test_a_decimal_becomes_an_integer_by_rounding() -> None:
    assert "CAST(ROUND(sales.price, 0) AS BIGINT)" in spark("SELECT price::BIGINT AS a FROM sales")


def test_timestamps_have_no_zone() -> None:
    assert "CAST('290000-01-01' AS TIMESTAMP_NTZ)" in spark("SELECT TIMESTAMP '290000-01-01' AS a")
    assert "CAST(sales.sold AS TIMESTAMP_LTZ)" in spark("SELECT sold::TIMESTAMPTZ AS a FROM sales")


def test_a_filtered_window_asks_by_case() -> None:
    found = spark("SELECT max(id) FILTER (city = 'x') OVER (ORDER BY id) AS a FROM sales")
    assert "MAX(CASE WHEN sales.city = 'x' THEN sales.id END) OVER" in found


def test_a_backslash_in_a_text_is_a_backslash() -> None:
    assert spark(r"SELECT 'a\b' AS t") == r"SELECT 'a\\b' AS t"


@pytest.mark.parametrize(
    ("select", "why"),
    [
        ("SELECT list_sort(tags) AS a FROM lists", "ARRAY_SORT is not among the functions"),
        ("SELECT\n  id,\n  levenshtein(city, 'x') AS a FROM sales", "line 3: LEVENSHTEIN is not among"),
        ("SELECT regexp_matches(city, 'x') AS a FROM sales", "is not among the functions"),
        ("SELECT some_macro(city) AS a FROM sales", "some_macro is not among the functions"),
        ("SELECT lower(city) AS a FROM sales", "LOWER is not among the functions"),
        ("SELECT date_diff('week', sold, sold) AS a FROM sales", "date_diff of week"),
        ("SELECT strftime(sold, '%A') AS a FROM sales", "strftime is for"),
        ("SELECT city::TIMESTAMP AS a FROM sales", "the cast of TEXT to TIMESTAMP may come out otherwise"),
        ("SELECT rate::VARCHAR AS a FROM sales", "the cast of DOUBLE to TEXT may come out otherwise"),
        ("SELECT '1.5'::DECIMAL(4, 2) AS a", "the text '1.5' as DECIMAL may be read otherwise"),
        (r"SELECT city LIKE 'a\%' AS a FROM sales", "LIKE with a pattern"),
        ("SELECT sold - sold AS a FROM sales", "is TIMESTAMP here"),
        ("SELECT city || id AS a FROM sales", "is BIGINT here"),
        ("SELECT * FROM read_parquet('x')", "reads what is no table"),
        ("SELECT TRY_CAST(city AS BIGINT) AS a FROM sales", "TRY_CAST is not among the functions"),
        ("SELECT random() AS a", "RAND is not among the functions"),
    ],
)
def test_what_spark_would_answer_otherwise_is_refused(select: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        spark(select)
    assert why in str(caught.value)
    assert "DuckDB only" in str(caught.value)


def test_a_declaration_is_refused_by_its_functions_and_told_the_line() -> None:
    assert refused("select city,\n  upper(city) as loud\nfrom stg_sales").startswith("line 2: UPPER is not among")
    assert refused("select city, sum(price) as sold from stg_sales group by all") == ""
    assert refused("select run_date() - 1 as day from stg_sales") == ""


def test_a_wrong_name_is_told() -> None:
    with pytest.raises(UsageError, match="prize"):
        spark("SELECT prize FROM sales")
