"""Trino's types as Arrow's: its HTTP protocol sends the types as text, and the values as Python objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

_PLAIN = {
    "BOOLEAN": "bool_",
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INT": "int32",
    "BIGINT": "int64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "DATE": "date32",
    "VARBINARY": "binary",
}


def schema(columns: Sequence[tuple[str, str]]) -> pa.Schema:
    """Return the Arrow schema of columns given as (name, Trino's type)."""
    import pyarrow as pa

    return pa.schema([pa.field(name, arrow_type(kind)) for name, kind in columns])


def batch(columns: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Return rows of Python values as a record batch."""
    import pyarrow as pa

    arrays = [
        pa.array(_values([row[number] for row in rows], field.type), type=field.type)
        for number, field in enumerate(columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def arrow_type(text: str) -> pa.DataType:
    """Return the Arrow type of one of Trino's; text for those Arrow has no name for (json, uuid, intervals).

    >>> str(arrow_type("decimal(18,2)")), str(arrow_type("array(timestamp(6) with time zone)"))
    ('decimal128(18, 2)', 'list<item: timestamp[us, tz=UTC]>')
    """
    from sqlglot import exp

    return _arrow(exp.DataType.build(text, dialect="trino"))


def _arrow(kind: exp.DataType) -> pa.DataType:
    import pyarrow as pa

    name = getattr(kind.this, "value", "")
    if name in _PLAIN:
        return getattr(pa, _PLAIN[name])()
    match name:
        case "DECIMAL":
            precision, scale = (int(part.name) for part in kind.expressions)
            return pa.decimal128(precision, scale)
        case "TIMESTAMP":
            return pa.timestamp("us")
        case "TIMESTAMPTZ":
            return pa.timestamp("us", tz="UTC")
        case "TIME":
            return pa.time64("us")
        case "ARRAY":
            return pa.list_(_arrow(kind.expressions[0]))
        case "MAP":
            return pa.map_(*(_arrow(inner) for inner in kind.expressions))
        case "STRUCT":
            return pa.struct([_field(number, inner) for number, inner in enumerate(kind.expressions)])
    return pa.string()


def _field(number: int, inner: exp.DataType | exp.ColumnDef) -> pa.Field:
    """Return a field of a row; Trino's may have no name."""
    import pyarrow as pa
    from sqlglot import exp

    if isinstance(inner, exp.ColumnDef):
        return pa.field(inner.name, _arrow(inner.args["kind"]))
    return pa.field(f"field{number}", _arrow(inner))


def _values(values: Sequence[Any], kind: pa.DataType) -> Sequence[Any]:
    """Return a column's values as Arrow takes them; those of most types are so already."""
    import pyarrow as pa

    if pa.types.is_nested(kind) or pa.types.is_string(kind):
        return [_value(value, kind) for value in values]
    return values


def _value(value: Any, kind: pa.DataType) -> Any:
    """Return a value as Arrow takes it: rows as records, maps as pairs, and text for what has no type of its own."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _value(part, field.type) for field, part in zip(kind, value, strict=True)}
    if pa.types.is_map(kind):
        pairs: Mapping[Any, Any] = value
        return [(_value(key, kind.key_type), _value(item, kind.item_type)) for key, item in pairs.items()]
    if pa.types.is_list(kind):
        return [_value(item, kind.value_type) for item in value]
    if pa.types.is_string(kind) and not isinstance(value, str):
        return str(value)
    return value
