"""How JSON records become typed columns: pure SQL in DuckDB's dialect.

Every cast is a TRY_CAST; a value that is there but cannot be typed makes its record *bad*; the caller quarantines it.
Nothing is rounded, shifted or guessed on the way: an integer with a fraction, a decimal with more digits than its type,
or a date outside 0001 to 9999 is bad.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import dumps

from sqlglot import exp

from starberg.utils.sql import quote_name, text

_D = exp.DataType.Type
_INTEGERS = {_D.TINYINT, _D.SMALLINT, _D.INT, _D.BIGINT, _D.UTINYINT, _D.USMALLINT, _D.UINT, _D.UBIGINT, _D.INT128}
_TIMES = {_D.TIMESTAMP, _D.TIMESTAMPNTZ}
_TEXTS = {_D.TEXT, _D.VARCHAR}
_NESTED = {_D.STRUCT: "OBJECT", _D.MAP: "OBJECT", _D.ARRAY: "ARRAY", _D.LIST: "ARRAY"}
"""Types made of others, with the JSON they are read from."""
_ZONE = r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)\s*$"
"""A time of day with its offset; the end of a bare date looks like an offset too."""


UNREADABLE = "_unreadable"
"""The field of a record that stands for one whose text is no valid Unicode: that text, escaped."""


@dataclass(frozen=True)
class JsonColumn:
    """A column of a record: its SQL type and the JSON path it is read from (`$.a.b`).

    Of a list of structs `only` keeps the elements whose fields have these values.
    """

    type: str
    path: str
    only: Mapping[str, str] = field(default_factory=dict)
    out_of_range: str = "quarantine"
    """Of a table's column: what becomes of a value its type cannot hold, `quarantine` or `null`."""

    @property
    def is_list(self) -> bool:
        """Whether the column holds a list."""
        return self.type.rstrip().endswith("]")


def typed_records(source: str, columns: Mapping[str, JsonColumn], timezone: str, keep: str) -> str:
    """Return a SELECT over `source` (with `record`): the columns `keep`, each column typed, and `_bad`, `_raw`.

    `_bad` is the first column that could not be typed (null: none), or `_unreadable`; `_raw` its text.
    `timezone` is what zoneless timestamps are in; typed timestamps are UTC.
    """
    paths = ", ".join(text(path) for path in (*(column.path for column in columns.values()), f"$.{UNREADABLE}"))
    names = list(columns)
    exprs = [_picked(f"_x[{n}]", column, timezone) for n, column in enumerate(columns.values(), start=1)]
    listed = ", ".join(f"{expr} AS {quote_name(name)}" for expr, name in zip(exprs, names, strict=True))
    bad = " ".join(
        f"WHEN _x[{n}] IS NOT NULL AND {quote_name(name)} IS NULL THEN {n}" for n, name in enumerate(names, start=1)
    )
    bad = f"WHEN _x[{len(names) + 1}] IS NOT NULL THEN {len(names) + 1} {bad}"
    labels = ", ".join(text(name) for name in (*names, UNREADABLE))
    return (
        f"SELECT {keep}, {', '.join(quote_name(name) for name in names)}, "
        f"[{labels}][_bad_n] AS _bad, _x[_bad_n] AS _raw FROM ("
        f"SELECT *, CASE {bad} END AS _bad_n FROM ("
        f"SELECT {keep}, _x, {listed} FROM ("
        f"SELECT {keep}, json_extract_string(record, [{paths}]) AS _x FROM {source})))"
    )


def _picked(value: str, column: JsonColumn, timezone: str) -> str:
    every = typed(value, column.type, timezone)
    if not column.only:
        return every
    kept = " AND ".join(f"e.{quote_name(name)} = {text(wanted)}" for name, wanted in column.only.items())
    return f"list_filter({every}, lambda e: {kept})"


def typed(value: str, sql_type: str, timezone: str = "UTC") -> str:
    """Return the SQL that types the text `value`, or yields null."""
    kind = exp.DataType.build(sql_type, dialect="duckdb")
    target = kind.sql("duckdb")
    if kind.this in _TEXTS or kind.this == _D.JSON:
        return value
    if kind.this in _INTEGERS:
        return _when(value, r"\s*[+-]?\d+(\.0*)?\s*", f"TRY_CAST({value} AS {target})")
    if kind.this == _D.DECIMAL:
        scale = kind.expressions[1].name if len(kind.expressions) > 1 else ("0" if kind.expressions else "3")
        return _when(value, rf"\s*[+-]?\d*(\.\d{{0,{scale}}}0*)?\s*", f"TRY_CAST({value} AS {target})")
    if kind.this == _D.DATE:
        return _within(f"TRY_CAST({value} AS DATE)", "DATE")
    if kind.this in _TIMES:
        return _within(_instant(value, timezone), "TIMESTAMP")
    if kind.this == _D.TIMESTAMPTZ:
        return f"{_within(_instant(value, timezone), 'TIMESTAMP')} AT TIME ZONE 'UTC'"
    if _is_nested(kind):
        return _nested(value, kind, timezone)
    return f"TRY_CAST({value} AS {target})"


def key_text(value: str, sql_type: str) -> str:
    """Return SQL for a typed value's text: one for all its spellings, and typing it again gives the value."""
    stamp = exp.DataType.build(sql_type, dialect="duckdb").this in _TIMES
    return f"CAST({value} AS VARCHAR)" + (" || 'Z'" if stamp else "")


def _nested(value: str, kind: exp.DataType, timezone: str) -> str:
    """Type a nested value; keys that are missing or undeclared are no fault, all else that cannot be typed is.

    Leaves are read as text first, then typed as columns are: a cast of the whole would round and shift them. JSON of
    another shape than the type's would be read as null: that is looked at by itself.
    """
    json = f"TRY_CAST({value} AS JSON)"
    texts = f"[TRY_CAST({json} AS {_with_text_leaves(kind).sql('duckdb')})]"
    leaves = f"CASE WHEN NOT {_any_bad('v0', kind, timezone)} THEN {_leaves('v0', kind, timezone)} END"
    found = f"TRY_CAST(list_transform({texts}, lambda v0: {leaves})[1] AS {kind.sql('duckdb')})"
    return f"CASE WHEN {' AND '.join(_shapes(json, kind))} THEN {found} END"


def _is_nested(kind: exp.DataType) -> bool:
    return kind.this in _NESTED and bool(kind.expressions)


def _with_text_leaves(kind: exp.DataType) -> exp.DataType:
    if not _is_nested(kind):
        return exp.DataType.build("VARCHAR")
    texts = kind.copy()
    for part in texts.expressions:
        inner = part.args["kind"] if kind.this == _D.STRUCT else part
        inner.replace(_with_text_leaves(inner))
    return texts


def _fields(value: str, kind: exp.DataType) -> Iterator[tuple[str, str, exp.DataType]]:
    """Yield the name, value and type of each field of a struct."""
    for part in kind.expressions:
        yield part.this.name, f"struct_extract({value}, {text(part.this.name)})", part.args["kind"]


def _leaves(value: str, kind: exp.DataType, timezone: str, depth: int = 1) -> str:
    """Type the leaves of a value of text leaves."""
    if not _is_nested(kind):
        return typed(value, kind.sql("duckdb"), timezone)

    def each(values: str, inner: exp.DataType) -> str:
        return f"list_transform({values}, lambda v{depth}: {_leaves(f'v{depth}', inner, timezone, depth + 1)})"

    if kind.this == _D.STRUCT:
        fields = ", ".join(
            f"{quote_name(name)} := {_leaves(field, inner, timezone, depth)}"
            for name, field, inner in _fields(value, kind)
        )
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({fields}) END"
    if kind.this == _D.MAP:
        keys, values = kind.expressions
        return f"map({each(f'map_keys({value})', keys)}, {each(f'map_values({value})', values)})"
    return each(value, kind.expressions[0])


def _any_bad(value: str, kind: exp.DataType, timezone: str, depth: int = 1) -> str:
    """Tell whether a value of text leaves has one that cannot be typed (or a map's keys are the same once typed)."""
    if not _is_nested(kind):
        return f"({value} IS NOT NULL AND {typed(value, kind.sql('duckdb'), timezone)} IS NULL)"
    if kind.this == _D.STRUCT:
        return "(" + " OR ".join(_any_bad(f, inner, timezone, depth) for _, f, inner in _fields(value, kind)) + ")"

    def any_of(values: str, inner: exp.DataType) -> str:
        bad = f"list_transform({values}, lambda v{depth}: {_any_bad(f'v{depth}', inner, timezone, depth + 1)})"
        return f"coalesce(list_bool_or({bad}), false)"

    if kind.this == _D.MAP:
        keys = f"list_transform(map_keys({value}), lambda k: {typed('k', kind.expressions[0].sql('duckdb'), timezone)})"
        same = f"coalesce(len(list_distinct({keys})) < len({keys}), false)"
        return f"({same} OR {any_of(f'map_values({value})', kind.expressions[1])})"
    return any_of(value, kind.expressions[0])


def _shapes(json: str, kind: exp.DataType, path: str = "$", *, many: bool = False) -> Iterator[str]:
    """Yield conditions: where the type has an object or a list, the JSON has one too, or nothing."""
    if not _is_nested(kind):
        return
    there = f"json_type({json}, {text(path)})"
    others = f"list_filter({there if many else f'[{there}]'}, lambda t: t NOT IN ('{_NESTED[kind.this]}', 'NULL'))"
    yield f"len({others}) = 0"
    if kind.this == _D.STRUCT:
        for part in kind.expressions:
            yield from _shapes(json, part.args["kind"], f"{path}.{dumps(part.this.name)}", many=many)
    else:
        inside = ".*" if kind.this == _D.MAP else "[*]"
        yield from _shapes(json, kind.expressions[-1], path + inside, many=True)


def _when(value: str, pattern: str, then: str) -> str:
    return f"CASE WHEN regexp_full_match({value}, {text(pattern)}) THEN {then} END"


def _within(value: str, kind: str) -> str:
    low, high = (
        f"{kind} '0001-01-01'",
        "DATE '9999-12-31'" if kind == "DATE" else "TIMESTAMP '9999-12-31 23:59:59.999999'",
    )
    return f"CASE WHEN {value} BETWEEN {low} AND {high} THEN {value} END"


def _instant(value: str, timezone: str) -> str:
    """A stamp with a zone is that instant; one without is in the source's zone."""
    zoned = f"TRY_CAST({value} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    if timezone == "UTC":
        return f"({zoned})"
    local = f"(TRY_CAST({value} AS TIMESTAMP) AT TIME ZONE {text(timezone)}) AT TIME ZONE 'UTC'"
    return f"(CASE WHEN regexp_matches({value}, {text(_ZONE)}) THEN {zoned} ELSE {local} END)"
