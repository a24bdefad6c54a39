"""Iceberg schemas and partition specs from SQL columns, and how they evolve.

Types are written as DuckDB writes them. Field ids are kept by column name while the type stays the same or widens as
the Iceberg spec allows (int→long, float→double, decimal precision; spec, "Schema Evolution"); any other change gives
the column a new id, so old files read as null there and never as a wrong value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import sqlglot
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    YearTransform,
)
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)
from sqlglot import exp

from starberg.storage.columns import PartitionBy, SqlColumn
from starberg.utils.errors import DeclarationError
from starberg.utils.sql import quote_name

_D = exp.DataType.Type
_PRIMITIVES: dict[Any, IcebergType] = {
    _D.BOOLEAN: BooleanType(),
    _D.TINYINT: IntegerType(),
    _D.SMALLINT: IntegerType(),
    _D.INT: IntegerType(),
    _D.BIGINT: LongType(),
    _D.UTINYINT: IntegerType(),
    _D.USMALLINT: IntegerType(),
    _D.UINT: LongType(),
    _D.UBIGINT: DecimalType(20, 0),
    _D.INT128: DecimalType(38, 0),
    _D.FLOAT: FloatType(),
    _D.DOUBLE: DoubleType(),
    _D.TEXT: StringType(),
    _D.VARCHAR: StringType(),
    _D.JSON: StringType(),
    _D.ENUM: StringType(),
    _D.DATE: DateType(),
    _D.TIME: TimeType(),
    _D.TIMESTAMP: TimestampType(),
    _D.TIMESTAMPNTZ: TimestampType(),
    _D.TIMESTAMP_S: TimestampType(),
    _D.TIMESTAMP_MS: TimestampType(),
    _D.TIMESTAMPTZ: TimestamptzType(),
    _D.UUID: UUIDType(),
    _D.VARBINARY: BinaryType(),
}
_TRANSFORMS: dict[str, Transform[Any, Any]] = {
    "identity": IdentityTransform(),
    "year": YearTransform(),
    "month": MonthTransform(),
    "day": DayTransform(),
    "hour": HourTransform(),
}


_STORED: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    StringType: "VARCHAR",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMPTZ",
    UUIDType: "UUID",
    BinaryType: "BLOB",
}
_LAST_PARTITION_ID = 999
"""Partition field ids start at 1000 (spec, "Partition Specs")."""
_PARTITIONS_AS_IS = (StringType, IntegerType, LongType, BooleanType, DateType, DecimalType)


def iceberg_type(sql_type: str, column: str, ids: Iterator[int]) -> IcebergType:
    """Return the Iceberg type of a SQL type, nested fields numbered from `ids`.

    Raises DeclarationError naming the column for types Iceberg has no equal of (INTERVAL, BIT, TIMESTAMP_NS, NULL).
    """
    try:
        parsed = exp.DataType.build(sql_type, dialect="duckdb")
    except sqlglot.ParseError:
        raise _no_equal(column, sql_type) from None
    return _convert(parsed, column, ids)


def _convert(kind: exp.DataType, column: str, ids: Iterator[int]) -> IcebergType:
    parts = kind.expressions
    if kind.this in _PRIMITIVES:
        return _PRIMITIVES[kind.this]
    if kind.this == _D.DECIMAL:
        precision, scale = [*(int(part.name) for part in parts), 0][:2] if parts else (18, 3)
        return DecimalType(precision, scale)
    if kind.this in (_D.ARRAY, _D.LIST):
        return ListType(next(ids), _convert(parts[0], column, ids), element_required=False)
    if kind.this == _D.MAP:
        key, value = next(ids), next(ids)
        return MapType(key, _convert(parts[0], column, ids), value, _convert(parts[1], column, ids), False)
    if kind.this == _D.STRUCT and parts:
        named = [(next(ids), part.this.name, part.args["kind"]) for part in parts]
        return StructType(*(NestedField(id_, name, _convert(of, column, ids)) for id_, name, of in named))
    raise _no_equal(column, kind.sql("duckdb"))


def _no_equal(column: str, sql_type: str) -> DeclarationError:
    return DeclarationError(
        f"column {column}", f"{sql_type} has no Iceberg type", hint="Cast it in the SELECT, to VARCHAR for example."
    )


def stored_type(kind: IcebergType) -> str:
    """Return the SQL type a column must be written as: DuckDB's files would hold a HUGEINT (any sum) as a double."""
    match kind:
        case DecimalType():
            return f"DECIMAL({kind.precision}, {kind.scale})"
        case ListType():
            return f"{stored_type(kind.element_type)}[]"
        case MapType():
            return f"MAP({stored_type(kind.key_type)}, {stored_type(kind.value_type)})"
        case StructType():
            return f"STRUCT({', '.join(f'{quote_name(f.name)} {stored_type(f.field_type)}' for f in kind.fields)})"
    return _STORED[type(kind)]


def new_schema(columns: Sequence[SqlColumn]) -> Schema:
    """Return a first schema: ids from 1, every field optional (what must not be null is checked, not declared)."""
    return evolved_schema(Schema(schema_id=-1), 0, columns)


def evolved_schema(schema: Schema, last_column_id: int, columns: Sequence[SqlColumn]) -> Schema:
    """Return `schema` changed to hold exactly `columns`, in their order; itself if nothing differs."""
    ids = count(last_column_id + 1)
    old = {field.name: field for field in schema.fields}
    fields = tuple(_evolved_field(old.get(column.name), column, ids) for column in columns)
    if fields == schema.fields:
        return schema
    return Schema(*fields, schema_id=schema.schema_id + 1)


def _evolved_field(old: NestedField | None, column: SqlColumn, ids: Iterator[int]) -> NestedField:
    if old is not None:
        wanted = iceberg_type(column.type, column.name, count(1))
        if _same(old.field_type, wanted):
            return old
        if _widens(old.field_type, wanted):
            return NestedField(old.field_id, column.name, wanted)
    return NestedField(next(ids), column.name, iceberg_type(column.type, column.name, ids))


def _same(left: IcebergType, right: IcebergType) -> bool:
    """Compare types without their nested ids."""
    if isinstance(left, StructType) and isinstance(right, StructType):
        pairs = zip(left.fields, right.fields, strict=False)
        return len(left.fields) == len(right.fields) and all(
            a.name == b.name and _same(a.field_type, b.field_type) for a, b in pairs
        )
    if isinstance(left, ListType) and isinstance(right, ListType):
        return _same(left.element_type, right.element_type)
    if isinstance(left, MapType) and isinstance(right, MapType):
        return _same(left.key_type, right.key_type) and _same(left.value_type, right.value_type)
    return left == right


def _widens(old: IcebergType, new: IcebergType) -> bool:
    if isinstance(old, DecimalType) and isinstance(new, DecimalType):
        return old.scale == new.scale and old.precision <= new.precision
    return (type(old), type(new)) in {(IntegerType, LongType), (FloatType, DoubleType)}


def partition_spec(
    schema: Schema, by: Sequence[PartitionBy], specs: Sequence[PartitionSpec] = (), last_field_id: int | None = None
) -> PartitionSpec:
    """Return the spec for `by`: the first of `specs` (the table's) that partitions the same way, else a new one.

    A field some spec has keeps its id, and no id is used twice (spec, "Partition Evolution"). DeclarationError for a
    column that is not there or cannot be partitioned by in this way.
    """
    kept = {(f.source_id, str(f.transform)): f for spec in specs for f in spec.fields}
    free = count((last_field_id or _LAST_PARTITION_ID) + 1)
    fields = []
    for part in by:
        source, transform = _partitioned(schema, part)
        name = part.column if part.transform == "identity" else f"{part.column}_{part.transform}"
        while part.transform != "identity" and name.lower() in {field.name.lower() for field in schema.fields}:
            name += "_"  # Java readers refuse a partition field named as a column it is not.
        same = kept.get((source, str(transform)))
        fields.append(same or PartitionField(source, next(free), transform, name))
    earlier = [spec for spec in specs if spec.fields == tuple(fields)]
    return earlier[0] if earlier else PartitionSpec(*fields, spec_id=max([s.spec_id for s in specs], default=-1) + 1)


def _partitioned(schema: Schema, by: PartitionBy) -> tuple[int, Transform[Any, Any]]:
    """Return the id of the column to partition by, and the transform."""
    transform = _TRANSFORMS[by.transform]
    written = by.column if by.transform == "identity" else f"{by.transform}({by.column})"
    found = [field for field in schema.fields if field.name.lower() == by.column.lower()]
    if not found:
        raise DeclarationError(f"partition {written}", f"there is no column {by.column}")
    kind = found[0].field_type
    as_is = by.transform != "identity" or isinstance(kind, _PARTITIONS_AS_IS)
    if not (as_is and transform.can_transform(kind)):
        raise DeclarationError(
            f"partition {written}",
            f"cannot partition by a column of type {kind}",
            hint="Take text, a whole number, a date, or year|month|day|hour(column) of a date or timestamp.",
        )
    return found[0].field_id, transform


def parquet_field_ids(schema: Schema) -> Mapping[str, Any]:
    """Return the schema's field ids as nested mappings for a Parquet writer.

    A leaf is its id; a group is a mapping with its own id under the empty key, and `element`, `key` and `value` for
    lists and maps, as the Parquet format names them.
    """
    return {field.name: _ids_of(field.field_id, field.field_type) for field in schema.fields}


def _ids_of(field_id: int, kind: IcebergType) -> Any:
    if isinstance(kind, StructType):
        return {"": field_id} | {f.name: _ids_of(f.field_id, f.field_type) for f in kind.fields}
    if isinstance(kind, ListType):
        return {"": field_id, "element": _ids_of(kind.element_id, kind.element_type)}
    if isinstance(kind, MapType):
        return {
            "": field_id,
            "key": _ids_of(kind.key_id, kind.key_type),
            "value": _ids_of(kind.value_id, kind.value_type),
        }
    return field_id
