"""How SQL columns become Iceberg schemas, and what keeps its identity when they change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from lake import fresh_engine
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import DecimalType, ListType, LongType, MapType, StringType, StructType

from starberg.storage.columns import PartitionBy, SqlColumn
from starberg.storage.iceberg_schemas import (
    evolved_schema,
    iceberg_type,
    new_schema,
    parquet_field_ids,
    partition_spec,
    stored_type,
)
from starberg.utils.errors import DeclarationError


def columns(**types: str) -> list[SqlColumn]:
    return [SqlColumn(name, kind) for name, kind in types.items()]


def ids(schema: Schema) -> dict[str, int]:
    return {field.name: field.field_id for field in schema.fields}


def evolve(schema: Schema, **types: str) -> Schema:
    return evolved_schema(schema, schema.highest_field_id, columns(**types))


NESTED = "STRUCT(id BIGINT, tags STRUCT(slug VARCHAR)[], facts MAP(VARCHAR, DECIMAL(5, 2)))"


def test_a_first_schema_numbers_all_fields_from_1_and_requires_none() -> None:
    schema = new_schema(columns(a="INTEGER", b=NESTED, c="DATE"))
    assert ids(schema)["a"] == 1
    assert sorted(schema.field_ids) == list(range(1, schema.highest_field_id + 1))
    assert not any(field.required for field in schema.fields)


def test_the_same_columns_are_the_same_schema() -> None:
    schema = new_schema(columns(a="INTEGER", b=NESTED))
    assert evolve(schema, a="INTEGER", b=NESTED) is schema


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [("INTEGER", "BIGINT"), ("SMALLINT", "UINTEGER"), ("FLOAT", "DOUBLE"), ("DECIMAL(5, 2)", "DECIMAL(9, 2)"),
     ("TIMESTAMP_S", "TIMESTAMP"), ("JSON", "VARCHAR")],
)  # fmt: skip
def test_a_widened_column_keeps_its_id(narrow: str, wide: str) -> None:
    schema = new_schema(columns(a="VARCHAR", n=narrow))
    evolved = evolve(schema, a="VARCHAR", n=wide)
    assert ids(evolved) == ids(schema)
    assert evolved.find_type("n") == iceberg_type(wide, "n", count(1))


@pytest.mark.parametrize(
    ("old", "new"),
    [("BIGINT", "INTEGER"), ("DOUBLE", "FLOAT"), ("DECIMAL(9, 2)", "DECIMAL(5, 2)"), ("VARCHAR", "DATE"),
     ("DECIMAL(5, 2)", "DECIMAL(9, 4)"), ("DATE", "TIMESTAMP"), ("TIMESTAMP", "TIMESTAMPTZ"), ("INTEGER", "DOUBLE"),
     ("INTEGER[]", "BIGINT[]"), ("STRUCT(a INTEGER)", "STRUCT(a INTEGER, b INTEGER)"), ("VARCHAR", "VARCHAR[]"),
     ("STRUCT(a INTEGER)", "STRUCT(b INTEGER)"), ("MAP(VARCHAR, DATE)", "MAP(VARCHAR, VARCHAR)")],
)  # fmt: skip
def test_any_other_change_is_a_new_column(old: str, new: str) -> None:
    schema = new_schema(columns(a="VARCHAR", n=old))
    evolved = evolve(schema, a="VARCHAR", n=new)
    assert ids(evolved)["a"] == ids(schema)["a"]
    assert min(field_id for field_id in evolved.field_ids if field_id != ids(schema)["a"]) > schema.highest_field_id


def test_a_column_that_went_and_came_back_is_a_new_one() -> None:
    first = new_schema(columns(a="INTEGER", b="INTEGER"))
    without = evolve(first, a="INTEGER")
    again = evolved_schema(without, first.highest_field_id, columns(a="INTEGER", b="INTEGER"))
    assert ids(again) == {"a": 1, "b": 3}


def test_the_order_of_columns_is_the_selects() -> None:
    schema = new_schema(columns(a="INTEGER", b="INTEGER"))
    assert ids(evolve(schema, b="INTEGER", a="INTEGER")) == {"b": 2, "a": 1}
    assert [field.name for field in evolve(schema, b="INTEGER", a="INTEGER").fields] == ["b", "a"]


def test_nested_types_are_read_and_numbered() -> None:
    kind = iceberg_type(NESTED, "c", count(10))
    assert isinstance(kind, StructType)
    tags, facts = kind.field_by_name("tags"), kind.field_by_name("facts")
    assert tags is not None
    assert facts is not None
    assert isinstance(tags.field_type, ListType)
    assert isinstance(facts.field_type, MapType)
    assert facts.field_type.value_type == DecimalType(5, 2)
    assert parquet_field_ids(Schema(*kind.fields)) == {
        "id": 10,
        "tags": {"": 11, "element": {"": 13, "slug": 14}},
        "facts": {"": 12, "key": 15, "value": 16},
    }


@pytest.mark.parametrize(
    "sql_type",
    ["INTERVAL", "BIT", "TIMESTAMP_NS", "TIME WITH TIME ZONE", '"NULL"', "UHUGEINT", "BIGNUM", "INTERVAL[]",
     "nonsense(", "STRUCT(a INTERVAL)", "UNION(a INTEGER, b VARCHAR)"],
)  # fmt: skip
def test_a_type_iceberg_has_no_equal_of_is_refused_with_its_column(sql_type: str) -> None:
    with pytest.raises(DeclarationError, match=r"column price: .* has no Iceberg type.*Cast it"):
        iceberg_type(sql_type, "price", count(1))


def every_type() -> Iterator[str]:
    yield from ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
    yield from ("HUGEINT", "FLOAT", "DOUBLE", "DECIMAL(5,2)", "DECIMAL(38,10)", "VARCHAR", "JSON", "ENUM('a', 'b')")
    yield from ("DATE", "TIME", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP WITH TIME ZONE", "UUID", "BLOB")
    yield from ("INTEGER[]", "INTEGER[3]", "HUGEINT[][]", 'STRUCT("a b" INTEGER, c HUGEINT[])', "MAP(VARCHAR, HUGEINT)")


@pytest.mark.parametrize("sql_type", list(every_type()))
def test_what_is_written_has_the_type_the_schema_says(sql_type: str) -> None:
    """Also for the types DuckDB describes in its own words."""
    engine = fresh_engine()
    [described] = engine.columns(f"SELECT NULL::{sql_type} AS c")
    kind = iceberg_type(described.type, "c", count(1))
    [stored] = engine.columns(f"SELECT NULL::{sql_type}::{stored_type(kind)} AS c")
    assert str(iceberg_type(stored.type, "c", count(1))) == str(kind)
    assert "HUGEINT" not in stored.type, "DuckDB would write it as a double"


SALES = new_schema(columns(id="BIGINT", region="VARCHAR", sold_at="TIMESTAMP", day="DATE", price="DOUBLE"))


def spec(*by: str, specs: tuple[PartitionSpec, ...] = (), last: int | None = None) -> PartitionSpec:
    return partition_spec(SALES, [PartitionBy.parse(part) for part in by], specs, last)


def said(found: PartitionSpec) -> list[tuple[int, str, str]]:
    return [(field.field_id, field.name, str(field.transform)) for field in found.fields]


def test_partition_fields_are_named_and_numbered_from_1000() -> None:
    assert said(spec("month(sold_at)", "region")) == [(1000, "sold_at_month", "month"), (1001, "region", "identity")]
    assert said(spec()) == []


def test_the_same_partitioning_is_the_same_spec() -> None:
    first = spec("month(sold_at)")
    assert spec("month(sold_at)", specs=(first,), last=1000) is first


def test_partition_fields_keep_their_ids_and_no_id_is_used_twice() -> None:
    first = spec("month(sold_at)")
    second = spec(specs=(first,), last=1000)
    third = spec("region", specs=(second, first), last=1000)
    assert said(third) == [(1001, "region", "identity")]
    fourth = spec("day(day)", "month(sold_at)", specs=(third, first, second), last=1001)
    assert said(fourth) == [(1002, "day_day", "day"), (1000, "sold_at_month", "month")]
    assert [found.spec_id for found in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert spec("month(sold_at)", specs=(fourth, first, second, third), last=1002) is first


def test_a_partition_field_is_not_named_as_another_column() -> None:
    schema = new_schema(columns(sold_at="DATE", sold_at_month="VARCHAR"))
    [field] = partition_spec(schema, [PartitionBy.parse("month(sold_at)")]).fields
    assert field.name == "sold_at_month_"


def test_a_partition_column_is_found_in_any_case() -> None:
    assert said(spec("REGION")) == [(1000, "REGION", "identity")]


@pytest.mark.parametrize("by", ["price", "sold_at", "month(region)", "hour(day)", "year(id)", "gone", "month(gone)"])
def test_a_column_that_cannot_be_partitioned_by_is_refused(by: str) -> None:
    with pytest.raises(DeclarationError, match="partition"):
        spec(by)


def test_a_text_column_stays_text() -> None:
    assert SALES.find_type("region") == StringType()
    assert SALES.find_type("id") == LongType()
