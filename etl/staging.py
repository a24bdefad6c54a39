"""Staging: from raw records to one current row per natural key, as SQL.

A record that cannot be typed, or has no readable key, is quarantined; a quarantined key counts as present and keeps its
last good row. A deleted key keeps its last values with `_deleted_at`, the time of the load that missed it (UTC), so
that everything downstream can be derived again. What a key is depends only on its records in arrival order
(`_load_id`, `_row`): building from new loads on top of the table equals building from all loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starberg.engines.records import JsonColumn, typed, typed_records
from starberg.engines.typed_rows import raw_rows, typed_rows
from starberg.etl.compile import (
    DELETED_AT,
    LOAD,
    OBSERVED,
    OP,
    ROW_NUMBER,
    RUN,
    changes_select,
    staging_select,
    with_relations,
)
from starberg.etl.model import Table
from starberg.etl.sql_body import parse_body
from starberg.utils.sql import names, quote, quote_name, text

_PLACE = f"{{load: {LOAD}, row: _row}}"
"""Where a record stands in its stream; compares in order of arrival."""


@dataclass(frozen=True)
class StagingStep:
    """One staging build. `key` maps the stream's key columns to the staging table's; `files` are local raw parts."""

    table: Table
    files: Sequence[str]
    columns: Mapping[str, JsonColumn]
    key: Mapping[str, str]
    timezone: str
    incremental: bool
    raw_types: Mapping[str, str] = field(default_factory=dict)
    """Types of the parts' own columns, if the source is a database; else the parts hold JSON records."""
    numbers: Sequence[int] = ()
    """Each file's number within its load."""

    def observed(self) -> str:
        """All records of the loads, typed: `_bad` names the column that could not be, `_raw` its text.

        `record` is there for those that cannot be read only: they alone are shown, and texts are most of the bytes.
        """
        if self.raw_types:
            rows = raw_rows(list(zip(self.files, self.numbers, strict=True)), self.raw_types)
            return typed_rows(rows, self.columns, self.raw_types, list(self.key), self.timezone)
        keep = f"{LOAD}, _row, _op, _observed, _key, record"
        files = ", ".join(text(path) for path in self.files)
        source = f"(SELECT {keep} FROM read_parquet([{files}]))" if files else f"({_NO_RECORDS})"
        every = typed_records(source, self.columns, self.timezone, keep)
        return f"SELECT * REPLACE (CASE WHEN _key IS NULL OR _bad IS NOT NULL THEN record END AS record) FROM ({every})"

    def quarantined(self) -> str:
        """The records that cannot be read, with the reason. Grain: one raw record."""
        return (
            "SELECT _key AS key, coalesce(_bad, 'key') AS column_name, "
            "CASE WHEN _key IS NULL THEN 'the key is missing or unreadable' "
            f"ELSE 'not a ' || {self._type_of_bad()} END AS reason, _raw AS raw_value, record, "
            f"_observed AS observed_at, {LOAD}, _row AS _row_number FROM observed "
            "WHERE _op = 'U' AND (_key IS NULL OR _bad IS NOT NULL)"
        )

    def touched(self) -> str:
        """Each key of the loads: its last good record's place, and when it was deleted after its last record.

        Columns: the staging table's key columns, `_key`, `u_load`, `u_row` (null: no good record), `has_bad`,
        `gone_at` (null: present).
        """
        return (
            "WITH p AS (SELECT *, _op = 'U' AND _bad IS NULL AS good, "
            f"max({_PLACE}) FILTER (_op = 'U') OVER (PARTITION BY _key) AS last_u "
            "FROM observed WHERE _key IS NOT NULL), "
            f"k AS (SELECT _key, max({_PLACE}) FILTER (good) AS u, "
            "bool_or(_op = 'U' AND _bad IS NOT NULL) AS has_bad, "
            f"min(_observed) FILTER (_op = 'D' AND (last_u IS NULL OR {_PLACE} > last_u)) AS gone_at "
            "FROM p GROUP BY _key) "
            f"SELECT {self._keys()}, _key, u.load AS u_load, u.row AS u_row, has_bad, gone_at FROM k"
        )

    def wanted(self) -> str:
        """The rows the touched keys must have; an incremental build reads those they have from the relation `old`."""
        latest = (
            f"SELECT {names(list(self.columns), of='o')}, o.{LOAD}, t.gone_at AS {DELETED_AT} "
            f"FROM observed o JOIN touched t ON o._key = t._key AND o.{LOAD} = t.u_load AND o._row = t.u_row"
        )
        fresh = with_relations({self.table.reads[0]: latest}, staging_select(self.table))
        if not self.incremental:
            return fresh
        on = " AND ".join(f"e.{quote_name(k)} = t.{quote_name(k)}" for k in self.key.values())
        kept = (
            f"SELECT e.* EXCLUDE ({RUN}, {DELETED_AT}, _file, _pos), "
            f"CASE WHEN t.has_bad THEN t.gone_at ELSE coalesce(e.{DELETED_AT}, t.gone_at) END AS {DELETED_AT} "
            f"FROM old e JOIN touched t ON {on} WHERE t.u_load IS NULL"
        )
        return f"SELECT * FROM ({fresh}) UNION ALL BY NAME SELECT * FROM ({kept})"

    def changes(self) -> str:
        """Every accepted observation of the touched keys. Grain: one raw record.

        Columns: those of the staging table but `_deleted_at`, and `_row_number`, `_observed` (UTC), `_op`: U (the row
        was so); with only the key set: D (it was gone), X (the SELECT leaves it out), P (it was there, unreadable).
        """
        seen = f"{LOAD}, _row AS {ROW_NUMBER}, {OBSERVED}"
        source = "(FROM observed SEMI JOIN touched USING (_key))"
        good = f"SELECT {names(list(self.columns))}, {seen} FROM {source} WHERE _op = 'U' AND _bad IS NULL"
        rows = with_relations({self.table.reads[0]: good}, changes_select(self.table))
        keys = f"SELECT {self._keys()}, {seen}"
        others = (
            f"{keys}, CASE _op WHEN 'D' THEN 'D' ELSE 'P' END AS {OP} FROM {source} WHERE _op = 'D' OR _bad IS NOT NULL"
        )
        if parse_body(self.table.select).query.args.get("where"):  # What it leaves out is not there.
            same = f"r.{LOAD} = o.{LOAD} AND r.{ROW_NUMBER} = o._row"
            others += (
                f" UNION ALL BY NAME {keys}, 'X' AS {OP} FROM {source} o WHERE _op = 'U' AND _bad IS NULL "
                f"AND NOT EXISTS (FROM rows r WHERE {same})"
            )
        relations = {"rows": rows, "others": others}
        return with_relations(relations, f"SELECT *, 'U' AS {OP} FROM rows UNION ALL BY NAME FROM others")

    def live(self) -> str:
        """How many rows are live before the build."""
        return f"SELECT count(*) FROM {quote(self.table.id)} WHERE {DELETED_AT} IS NULL"

    def closed(self) -> str:
        """How many live rows the build deletes; those it may delete stand in the relation `old`."""
        on = " AND ".join(f"e.{quote_name(k)} = w.{quote_name(k)}" for k in self.key.values())
        deleted = f"e.{DELETED_AT} IS NULL AND w.{DELETED_AT} IS NOT NULL"
        return f"SELECT count(*) FROM old e JOIN wanted w ON {on} WHERE {deleted}"

    def _keys(self) -> str:
        """The staging table's key columns, typed from a record's key."""
        types = [self.columns[name].type for name in self.key]
        return ", ".join(
            f"{typed(f'''json_extract_string(_key, '$[{n}]')''', kind)} AS {quote_name(out)}"
            for n, (out, kind) in enumerate(zip(self.key.values(), types, strict=True))
        )

    def _type_of_bad(self) -> str:
        cases = " ".join(f"WHEN {text(name)} THEN {text(column.type)}" for name, column in self.columns.items())
        return f"CASE _bad {cases} ELSE 'valid Unicode text' END"


_NO_RECORDS = (
    f"SELECT 0::BIGINT AS {LOAD}, 0::BIGINT AS _row, '' AS _op, NULL::TIMESTAMP AS _observed, "
    "NULL::VARCHAR AS _key, NULL::VARCHAR AS record WHERE false"
)
