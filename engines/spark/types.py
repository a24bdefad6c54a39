"""DuckDB's types in Spark: their names in its SQL, what files and Python hold of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from sqlglot import exp
from sqlglot.dialects.spark import Spark
from sqlglot.generators.spark import SparkGenerator

from starberg.engines.spark.syntax import STAMPS, TEXTS, D, NotInSpark, shown
from starberg.storage.columns import SqlColumn
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote_name

if TYPE_CHECKING:
    import pyarrow as pa


class SparkSql(Spark):
    """Spark's SQL in a session whose TIMESTAMP has no zone."""

    class Generator(SparkGenerator):
        """Writes it."""

        TYPE_MAPPING: ClassVar = {
            **SparkGenerator.TYPE_MAPPING,
            exp.DType.TIMESTAMPTZ: "TIMESTAMP_LTZ",
            exp.DType.TIMESTAMPLTZ: "TIMESTAMP_LTZ",
        }


_SPARK_TYPES = {
    D.INT128: "DECIMAL(38, 0)",
    D.UBIGINT: "DECIMAL(20, 0)",
    D.UINT: "BIGINT",
    D.USMALLINT: "INT",
    D.UTINYINT: "SMALLINT",
    **dict.fromkeys(STAMPS, "TIMESTAMP_NTZ"),
    D.TIMESTAMPTZ: "TIMESTAMP_LTZ",
    **dict.fromkeys(TEXTS, "STRING"),
    D.UUID: "STRING",
    D.VARBINARY: "BINARY",
}


def spark_type(kind: exp.Expr) -> exp.DataType:
    """Return Spark's equal of one of DuckDB's types.

    >>> spark_type(exp.DataType.build("STRUCT(a HUGEINT, b TIMESTAMP[])", dialect="duckdb")).sql("spark")
    'STRUCT<a: DECIMAL(38, 0), b: ARRAY<TIMESTAMP_NTZ>>'
    """
    found = kind.copy()
    for part in [found, *found.find_all(exp.DataType)]:
        if part.this in (D.TIME, D.INTERVAL):
            raise NotInSpark(kind, f"{shown(part.this)} is no type of Spark's")
        if part.this is D.DECIMAL and not part.expressions:
            part.set("expressions", exp.DataType.build("DECIMAL(18, 3)").expressions)
        if part.this in _SPARK_TYPES:
            named = exp.DataType.build(_SPARK_TYPES[part.this], dialect="spark")
            part.set("this", named.this)
            part.set("expressions", named.expressions)
    assert isinstance(found, exp.DataType)
    return found


_ARROW: Mapping[str, str] = {
    "BOOLEAN": "bool_",
    "TINYINT": "int32",
    "SMALLINT": "int32",
    "INT": "int32",
    "BIGINT": "int64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "TEXT": "string",
    "DATE": "date32",
    "BINARY": "binary",
}
"""Arrow's factories by Spark's types; Iceberg has no smaller integers."""


@cache
def _parsed(kind: str) -> exp.DataType:
    return exp.DataType.build("INTEGER" if kind == '"NULL"' else kind, dialect="duckdb")


@cache
def type_name(kind: str) -> str:
    """Return Spark's name of one of DuckDB's types; UsageError if it has none."""
    try:
        return spark_type(_parsed(kind)).sql(SparkSql)
    except NotInSpark as refused:
        raise UsageError(f"Spark: {refused}", hint=refused.hint) from None


def plain_name(name: str) -> str:
    """Return what a column is called in Spark: sqlglot takes one that is called `*` for all of them."""
    return "*\ue000" if name == "*" else name


def spark_quoted(name: str) -> str:
    """Return a name quoted for Spark."""
    return f"`{name.replace('`', '``')}`"


def spark_name(name: str) -> str:
    """Return what a column is called in Spark, quoted."""
    return spark_quoted(plain_name(name))


def as_typed(value: str, column: SqlColumn, name: str) -> str:
    """Return Spark's SQL for a value as a column of its type; UsageError if Spark has no such type."""
    return f"CAST({value} AS {type_name(column.type)}) AS {name}"


def for_file(column: SqlColumn) -> str:
    """Return DuckDB's SQL for a column in a file that Spark can read: a HUGEINT would become a double there."""
    name = quote_name(column.name)
    if column.type in ("HUGEINT", "UHUGEINT", "UBIGINT"):
        return f"CAST({name} AS DECIMAL(38, 0))"
    return f"CAST({name} AS VARCHAR)" if column.type == "UUID" else name


def as_written(value: str, column: SqlColumn) -> str:
    """Return a value as a task takes it to write it: a UUID as its 16 bytes."""
    return f"unhex(replace({value}, '-', ''))" if column.type == "UUID" else value


def as_python(value: Any, kind: str) -> Any:
    """Return a value of Spark's as DuckDB gives it to Python."""
    if isinstance(value, Decimal) and not kind.startswith("DECIMAL"):
        return int(value)
    if isinstance(value, datetime) and kind == "TIMESTAMP WITH TIME ZONE":
        return value.astimezone(UTC)
    if hasattr(value, "asDict"):
        return value.asDict(recursive=True)
    if isinstance(value, list):
        return [as_python(item, kind.removesuffix("[]")) for item in value]
    if kind == "UUID" and value is not None:
        return UUID(value)
    return value


def arrow_schema(columns: Sequence[SqlColumn], ids: Mapping[str, Any]) -> pa.Schema:
    """Return how rows are written: a file's columns are of Iceberg's types, with the field ids of `Engine.write`."""
    import pyarrow as pa

    fields = (pa.field(column.name, _arrow_type(_parsed(column.type))) for column in columns)
    return pa.schema([_with_ids(field, ids.get(field.name)) for field in fields])


def _with_ids(field: pa.Field, ids: Any) -> pa.Field:
    import pyarrow as pa
    import pyarrow.types as types

    if ids is None:
        return field
    if isinstance(ids, int):
        return field.with_metadata({"PARQUET:field_id": str(ids)})
    of = field.type
    if types.is_struct(of):
        inner: pa.DataType = pa.struct([_with_ids(part, ids.get(part.name)) for part in of.fields])
    elif types.is_map(of):
        inner = pa.map_(_with_ids(of.key_field, ids["key"]), _with_ids(of.item_field, ids["value"]))
    else:
        inner = pa.list_(_with_ids(of.value_field.with_name("element"), ids["element"]))
    return pa.field(field.name, inner, field.nullable, {"PARQUET:field_id": str(ids[""])})


def _arrow_type(kind: exp.DataType) -> pa.DataType:
    import pyarrow as pa

    spark, parts = spark_type(kind), kind.expressions
    if kind.this is exp.DType.UUID:
        return pa.uuid()
    match spark.this.value:
        case "DECIMAL":
            return pa.decimal128(*(int(part.name) for part in spark.expressions))
        case "ARRAY" | "LIST":
            return pa.list_(_arrow_type(parts[0]))
        case "MAP":
            return pa.map_(_arrow_type(parts[0]), _arrow_type(parts[1]))
        case "STRUCT":
            return pa.struct([pa.field(part.name, _arrow_type(part.args["kind"])) for part in parts])
        case "TIMESTAMPNTZ":
            return pa.timestamp("us")
        case "TIMESTAMPTZ" | "TIMESTAMPLTZ":
            return pa.timestamp("us", tz="UTC")
        case name:
            return getattr(pa, _ARROW[name])()
