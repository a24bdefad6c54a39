"""What a SELECT must be by its kind, and what the engine asks of a table's SELECT.

Staging is its stream row by row; dimensions, bridges and facts say their columns one by one; nothing is named as the
engine names its own columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlglot import exp

from starberg.etl.headers import BridgeHeader, DimensionHeader, FactHeader, FunctionHeader, Header
from starberg.etl.model import QUERIED, Kind
from starberg.etl.sql_body import Body, SqlProblem, output_name, star_of, table_name
from starberg.etl.sql_refused import called_name, refused
from starberg.etl.sql_types import COMMON, type_problem
from starberg.utils.did_you_mean import did_you_mean

_MORE_AGGREGATES = {"arbitrary", "entropy", "favg", "fsum", "geomean", "histogram", "kahan_sum", "product", "sumkahan"}
"""DuckDB's aggregates that sqlglot does not know as such."""

BOOKKEEPING = ("_load_id", "_run_id", "_deleted_at")
"""Columns the engine adds to tables."""
_PLACES = ("_file", "_pos", "_row", "file_row_number", "filename")
"""What the engine calls where a row of a table stands."""

_PARTITION = re.compile(r"^(?:(?:identity|year|month|day|hour)\((\w+)\)|(\w+))$")


def problems(kind: Kind, header: Header, body: Body, surrogate_key: str = "") -> Iterator[SqlProblem]:
    """Yield what is wrong with a SELECT of a kind, as far as its own file tells."""
    arguments = header.arguments if isinstance(header, FunctionHeader) else {}
    yield from refused(body, arguments, snapshot=isinstance(header, FactHeader) and header.is_snapshot)
    if isinstance(header, FunctionHeader):
        yield from _function(header, body)
    if kind is Kind.STAGING:
        yield from _staging(body)
    if isinstance(header, DimensionHeader) and header.is_type2:
        yield from _with_history(body)
    if kind in (Kind.DIMENSION, Kind.BRIDGE, Kind.FACT):
        yield from _stars(body)
    if kind is not Kind.CHECK and not (isinstance(header, FunctionHeader) and header.returns == "scalar"):
        yield from _names(body, reserved_columns(kind, header, surrogate_key))


def reserved_columns(kind: Kind, header: Header, surrogate_key: str = "") -> dict[str, str]:
    """Return the columns a SELECT of a kind may not yield, with what they are."""
    found = dict.fromkeys((*BOOKKEEPING, *_PLACES), "the engine's own") if kind not in (Kind.CHECK, *QUERIED) else {}
    if isinstance(header, DimensionHeader):
        found |= {surrogate_key: "the surrogate key, which the engine adds"} if surrogate_key else {}
        found |= dict.fromkeys(("is_inferred", "is_deleted"), "the engine's own in a dimension")
        if header.is_type2:
            added = ("effective_from", "effective_to", "is_current")
            found |= dict.fromkeys(added, "the engine's own in a dimension with history")
    if isinstance(header, FactHeader | BridgeHeader):
        found |= dict.fromkeys(header.keys, "a lookup's key, which the engine adds")
    if isinstance(header, FactHeader) and header.deletes == "mark":
        found |= dict.fromkeys(("is_deleted", "deleted_at"), "the engine's own with `deletes: mark`")
    if isinstance(header, FactHeader):
        found |= dict.fromkeys(header.lags, "the days between two milestones, which the engine adds")
    if isinstance(header, BridgeHeader) and header.is_type2:
        found |= dict.fromkeys(("effective_from", "effective_to", "is_current"), "the engine's own with history")
    if isinstance(header, BridgeHeader) and header.weight == "equal":
        found["weight"] = "the engine's own with `weight: equal`"
    return found


def partition_columns(partition: Sequence[str]) -> list[str]:
    """Return the columns a table is partitioned by; ValueError says what a partition may be."""
    matches = [(text, _PARTITION.match(text.strip())) for text in partition]
    for text, match in matches:
        if match is None:
            raise ValueError(f"{text!r} is not a column or year|month|day|hour(column)")
    return [match[1] or match[2] for _, match in matches if match is not None]


_SHAPES: Sequence[tuple[tuple[type[exp.Expr], ...], str]] = (
    ((exp.Join, exp.Lateral), "a join"),
    ((exp.Window,), "a window function"),
    ((exp.AggFunc, exp.Group, exp.Having), "an aggregate"),
    ((exp.Distinct,), "DISTINCT"),
    ((exp.SetOperation,), "a UNION"),
    ((exp.With, exp.Subquery, exp.Exists), "WITH or a subquery"),
    ((exp.Explode, exp.Unnest), "unnest()"),
    ((exp.Order, exp.Limit, exp.Offset, exp.Fetch, exp.Qualify), "ORDER BY, LIMIT or QUALIFY"),
)
"""What makes the rows of a result others than those that are read."""


def _staging(body: Body) -> Iterator[SqlProblem]:
    hint = "Staging is its stream row by row; do this in a dimension, bridge, fact or mart."
    reshaped = list(_reshaped(body, "in staging", hint))
    yield from reshaped
    if reshaped:
        return
    tables = list(body.reads.values())
    if len(tables) != 1:
        yield SqlProblem("staging reads exactly one stream", hint="Write FROM stream.", line=body.first_line, column=1)
    elif len(tables[0].parts) > 1:
        hint = f"Write FROM {tables[0].name}, and `stream: {table_name(tables[0])}` in the header."
        yield body.problem(tables[0], "a stream is read by its own name", hint)


def _function(header: FunctionHeader, body: Body) -> Iterator[SqlProblem]:
    for name, kind in header.arguments.items():
        if problem := type_problem(kind):
            yield SqlProblem(f"argument {name}: {problem}", hint=did_you_mean(kind.upper(), COMMON))
    used = {parameter.name for parameter in body.parameters}
    for name in header.arguments:
        if name not in used:
            last = body.tokens[-1]
            hint = f"Write ${name} where its value belongs."
            yield SqlProblem(f"argument {name!r} is never used", hint=hint, line=last.line, column=last.col)
    if header.returns == "scalar" and (len(body.projections) != 1 or star_of(body.projections[0]) is not None):
        hint = "Select one column; {'name': value, …} holds several."
        yield SqlProblem("a scalar function returns one value", hint=hint, line=body.first_line)


def _with_history(body: Body) -> Iterator[SqlProblem]:
    """A version is one staged row as it was; that it is not read is no change of it."""
    hint = "A dimension with history is one staging table row by row; do this in staging or in a mart."
    reshaped = list(_reshaped(body, "in a dimension with history", hint))
    yield from reshaped
    where = body.query.args.get("where")
    if where is not None:
        yield body.problem(
            where, "WHERE in a dimension with history", "Filter in staging: what is left out is deleted."
        )
    elif not reshaped and len(body.reads) != 1:
        message = "a dimension with history reads exactly one staging table"
        yield SqlProblem(message, hint="Write FROM stg_….", line=body.first_line, column=1)
    for projection in body.projections:
        if output_name(projection).startswith("_"):
            message = (
                f"column {output_name(projection)!r} starts with _, as the engine's own in a dimension with history"
            )
            yield body.problem(projection, message, "Name it AS another.")


def _reshaped(body: Body, where: str, hint: str) -> Iterator[SqlProblem]:
    told: set[str] = set()
    for node in body.query.walk():
        what = next((what for types, what in _SHAPES if isinstance(node, types)), "")
        what = "an aggregate" if called_name(node) in _MORE_AGGREGATES else what
        if what and what not in told:
            told.add(what)
            yield body.problem(node, f"{what} {where}", hint)


def _stars(body: Body) -> Iterator[SqlProblem]:
    for projection in body.projections:
        if star_of(projection) is not None:
            yield body.problem(projection, "* hides what the table holds", "List the columns.")


def _names(body: Body, reserved: dict[str, str]) -> Iterator[SqlProblem]:
    told: set[str] = set()
    for projection in body.projections:
        name = output_name(projection).lower()
        if star_of(projection) is not None:
            continue
        if not name:
            yield body.problem(projection, "a column has no name", "Add AS name.")
        elif name in told:
            yield body.problem(projection, f"two columns are named {name!r}", "Name one of them AS another.")
        elif name in reserved:
            yield body.problem(
                projection, f"column {name!r} is {reserved[name]}", "Leave it out, or name it AS another."
            )
        told.add(name)
