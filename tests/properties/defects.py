"""Planted defects: each changes one thing in the product that the histories must notice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from starberg.engines.duckdb import DuckDBEngine
from starberg.etl import dimensions, facts, pipeline, row_delta
from starberg.etl.build import Build
from starberg.etl.model import Kind
from starberg.etl.quality import CheckResult
from starberg.etl.row_delta import RowDelta
from starberg.ingestion import landing

Defect = Callable[[], AbstractContextManager[Any]]


def rewritten(pattern: str, by: str) -> Defect:
    """Return a defect in a piece of generated SQL; an error if no SQL holds that piece any more."""

    @contextmanager
    def plant() -> Iterator[None]:
        execute, hits = DuckDBEngine.execute, 0

        def other(self: DuckDBEngine, sql: str, *parameters: Any) -> Any:
            nonlocal hits
            sql, found = re.subn(pattern, by, sql)
            hits += found
            return execute(self, sql, *parameters)

        with patch.object(DuckDBEngine, "execute", other):
            yield
        if not hits:
            raise LookupError(f"no SQL matches {pattern}")

    return plant


def replaced(owner: Any, name: str, wrong: Callable[..., Any]) -> Defect:
    """Return a defect in one function: `wrong` is called with the right one and its arguments."""
    right = getattr(owner, name)
    return lambda: patch.object(owner, name, lambda *args, **more: wrong(right, *args, **more))


def _reads_no(kind: Kind, prefix: str) -> Defect:
    """Tables of a kind do not notice that some of their inputs changed."""

    def inputs(right: Callable[..., Any], build: Build, table: Any) -> dict[str, str]:
        found: dict[str, str] = right(build, table)
        dropped = (f"{table.warehouse}.{prefix}",)
        return {name: at for name, at in found.items() if table.kind is not kind or not name.startswith(dropped)}

    return replaced(Build, "_inputs", inputs)


DEFECTS: Mapping[str, Defect] = {
    # Landing
    "of one key's records the smallest cursor stands": rewritten("DESC NULLS LAST, _n DESC", "ASC NULLS LAST, _n DESC"),
    "of one key's records the first stands": rewritten(r"_n DESC\) = 1", "_n ASC) = 1"),
    "a partial reading deletes what it has not seen": rewritten("FROM known k WHERE false", "FROM known k WHERE true"),
    "a reading with an unreadable key deletes": rewritten(
        r"AND NOT EXISTS \(FROM records WHERE _key IS NULL\)", "AND true"
    ),
    "a key sweep is taken for records": replaced(
        landing.Landing, "_changes", lambda right, self, extract: right(self, replace(extract, keys_only=False))
    ),
    "a deleted key is deleted again by every reading": rewritten("= 1 AND _op = 'U'", "= 1"),
    # Staging
    "the first record of the new loads stands": rewritten(
        r"max\((\{load: \S+, row: \S+\})\) FILTER \(good\)", r"min(\1) FILTER (good)"
    ),
    "tombstones are ignored": rewritten(r"min\(_observed\) FILTER \(_op = 'D'", "min(_observed) FILTER (_op = 'X'"),
    "a tombstone before a record deletes it": rewritten(r"last_u IS NULL OR \{load[^}]*\} > last_u", "true"),
    "a key whose new record is unreadable goes": rewritten(
        r"WHERE t\.u_load IS NULL\)", "WHERE t.u_load IS NULL AND NOT t.has_bad)"
    ),
    # Row deltas
    "nulls are not compared": replaced(
        row_delta, "_distinct", lambda right, columns: right(columns).replace("IS DISTINCT FROM", "<>")
    ),
    "positions are off by one": rewritten("file_row_number AS _pos", "file_row_number + 1 AS _pos"),
    "a delete file is lost": replaced(RowDelta, "_change", lambda right, *args: _without_deletes(right(*args))),
    "a rewritten file loses the rows that stay": replaced(
        RowDelta, "_staying", lambda right, *args: right(*args) + " AND false"
    ),
    "keys out of scope are deleted": replaced(
        RowDelta,
        "_old_rows",
        lambda right, self, before, staged, target: right(self, before, staged, replace(target, scope="")),
    ),
    # Dimensions
    "no member is inferred": replaced(dimensions, "_referenced", lambda right, key, references: right(key, [])),
    "members are numbered anew": replaced(
        dimensions, "numbered", lambda right, members, known, *more: right(members, "", *more)
    ),
    "a deleted member leaves the dimension": rewritten(
        "SELECT \\*, true AS is_deleted FROM ever e WHERE", "\\g<0> false AND"
    ),
    # Facts and bridges
    "deleted rows keep their pairs": rewritten(r"WHERE \"?_deleted_at\"? IS NULL", "WHERE true"),
    "weights sum over the wrong group": replaced(facts, "group", lambda right, header: header.grain[-1:]),
    "a null key is looked up as null": rewritten(r"coalesce\((d\d\.\S+), 0\)::BIGINT", r"\1::BIGINT"),
    # Skipping
    "a dimension does not notice new references": _reads_no(Kind.DIMENSION, "stg_films"),
    "a fact does not notice its staging table": _reads_no(Kind.FACT, "stg_"),
    "a fact does not notice its dimension": _reads_no(Kind.FACT, "dim_"),
    "a mart does not notice a changed dimension": _reads_no(Kind.MART, "dim_"),
}


def no_checks() -> AbstractContextManager[Any]:
    """Let the product's own checks find nothing: the histories must notice by themselves."""
    return patch.object(pipeline, "run_check", lambda engine, check: CheckResult(check, 0, "[]"))


def _without_deletes(change: Any) -> Any:
    change.deletes = []
    return change
