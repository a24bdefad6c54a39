"""Checks: the dimensional invariants every publish must hold, and a warehouse's own SQL checks.

Each check is a SELECT whose rows are failures. They run on the branch, before publish.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from starberg.engines.base import Engine
from starberg.etl.build_writer import Touched
from starberg.etl.compile import DELETED_AT, OP, lookups, staging_key
from starberg.etl.dimensions import header_of
from starberg.etl.facts import grain, group, has_spans, valid_for
from starberg.etl.headers import BridgeHeader, Lookup
from starberg.etl.history import NEVER, History, valid_versions
from starberg.etl.model import UNKNOWN_KEY, Kind, Table, Warehouse
from starberg.etl.sql_body import SqlProblem, parse_body
from starberg.etl.sql_refused import refused
from starberg.utils.errors import UsageError
from starberg.utils.sql import names, quote, quote_name

SAMPLE_ROWS = 5


@dataclass(frozen=True)
class Check:
    """One check of one table; `select` returns the failing rows. A warning does not stop the publish.

    Up to `tolerance` failing rows pass.
    """

    name: str
    table: str
    select: str
    severity: str = "error"
    tolerance: int = 0

    @property
    def title(self) -> str:
        """What it is called; a warehouse's own check is of no one table and has its name in `table`, too."""
        return self.name if self.name == self.table else f"{self.name} of {self.table}"


@dataclass(frozen=True)
class DataQualityCheck:
    """A check that a caller passes to a run: the rows its SELECT returns are failures.

    The SELECT reads the warehouse's tables as the run would publish them; severity: error stops the publish, warn is
    recorded. Up to `tolerance` failing rows pass. UsageError where the SQL is not one SELECT.

    >>> DataQualityCheck("no_free_sales", "select * from fact_sales where amount = 0", severity="warn").name
    'no_free_sales'
    """

    name: str
    sql: str
    severity: Literal["error", "warn"] = "error"
    tolerance: int = 0

    def __post_init__(self) -> None:
        if self.severity not in ("error", "warn") or self.tolerance < 0:
            raise UsageError(f"check {self.name}: severity is error or warn, tolerance a number of rows")
        try:
            body = parse_body(self.sql)
            problem = next(refused(body), None)
        except SqlProblem as found:
            problem = found
        if problem:
            raise UsageError(f"check {self.name}: {problem.message}", hint=problem.hint)

    def check(self) -> Check:
        """Return it as a check of no one table."""
        return Check(self.name, self.name, parse_body(self.sql).select, self.severity, self.tolerance)


@dataclass(frozen=True)
class CheckResult:
    """What a check found: the number of failing rows and the first few of them as JSON objects."""

    check: Check
    failures: int
    sample: str

    @property
    def status(self) -> str:
        """passed, failed, or warned."""
        if self.failures <= self.check.tolerance:
            return "passed"
        return "failed" if self.check.severity == "error" else "warned"


def run_check(engine: Engine, check: Check) -> CheckResult:
    """Run one check."""
    [(failures,)] = engine.rows(f"SELECT count(*) FROM ({check.select})")
    if not failures:
        return CheckResult(check, 0, json.dumps([]))
    engine.run(f"CREATE OR REPLACE TEMP TABLE failing AS SELECT * FROM ({check.select}) LIMIT {SAMPLE_ROWS}")
    [(sample,)] = engine.local.rows("SELECT to_json(list(f))::VARCHAR FROM failing f")
    return CheckResult(check, failures, sample)


def invariants(table: Table, warehouse: Warehouse, scopes: Mapping[str, Touched] | None = None) -> Iterator[Check]:
    """Return what must hold for a table of its kind; `scopes` limit that to what a build computed again, by table."""
    scopes = scopes or {}
    touched = scopes.get(table.id)
    if table.kind == Kind.STAGING:
        yield _unique(
            "natural_key_unique", table.id, staging_key(table, warehouse), rows=touched.rows if touched else ""
        )
    elif table.kind == Kind.DIMENSION:
        yield from _dimension(table, warehouse, scopes)
    elif table.kind in (Kind.FACT, Kind.BRIDGE):
        yield _unique("grain_unique", table.id, list(grain(table)))
        for column, lookup in lookups(table).items():
            yield from _lookup(table, column, lookup, warehouse)
        if isinstance(table.header, BridgeHeader) and table.header.weight != "none":
            yield _weights(table, table.header)
        if has_spans(table):
            yield _spans(table)
    elif table.kind == Kind.MART and getattr(table.header, "grain", []):
        yield _unique("grain_unique", table.id, table.header.grain)  # type: ignore[union-attr]


def _dimension(table: Table, warehouse: Warehouse, scopes: Mapping[str, Touched]) -> Iterator[Check]:
    header, key, touched = header_of(table), table.surrogate_key, scopes.get(table.id)
    given = f"{quote_name(key)} IN (SELECT {quote_name(key)} FROM {touched.rows})" if touched else "true"
    yield _unique("surrogate_key_unique", table.id, [key], where=given)
    yield Check(
        "one_unknown_member",
        table.id,
        f"SELECT count(*) AS rows FROM {quote(table.id)} WHERE {quote_name(key)} = {UNKNOWN_KEY} HAVING count(*) <> 1",
    )
    if header.is_type2:
        yield from _history(History.of(table, warehouse), scopes)
    elif header.natural_key:
        known = f"{quote_name(key)} <> {UNKNOWN_KEY}"
        yield _unique("natural_key_unique", table.id, header.natural_key, where=known)


def _unique(name: str, table: str, columns: list[str], where: str = "true", rows: str = "") -> Check:
    listed = names(columns)
    empty = " OR ".join(f"{quote_name(column)} IS NULL" for column in columns)
    return Check(
        name,
        table,
        f"SELECT {listed}, count(*) AS rows FROM {rows or quote(table)} WHERE {where} GROUP BY {listed} "
        f"HAVING count(*) > 1 OR {empty}",
    )


def _lookup(table: Table, column: str, lookup: Lookup, warehouse: Warehouse) -> Iterator[Check]:
    key, target = quote_name(column), warehouse.tables[lookup.dimension]
    yield Check(
        f"{column}_exists",
        table.id,
        f"SELECT f.{key}, count(*) AS rows FROM {quote(table.id)} f "
        f"ANTI JOIN {quote(target.id)} d ON d.{quote_name(target.surrogate_key)} = f.{key} GROUP BY ALL",
    )
    if header_of(target).calendar:
        return
    pairs = lookup.pairs(header_of(target).natural_key)
    own = names([own for _, own in pairs])
    if lookup.missing == "fail":
        present = " AND ".join(f"f.{quote_name(own)} IS NOT NULL" for _, own in pairs)
        yield Check(
            f"{column}_found",
            table.id,
            f"SELECT {own}, count(*) AS rows FROM {quote(table.id)} f WHERE f.{key} = {UNKNOWN_KEY} AND {present} "
            "GROUP BY ALL",
        )
    on = " AND ".join(f"d.{quote_name(natural)} = f.{quote_name(own)}" for natural, own in pairs)
    members, name = quote(target.id), "member"
    if header_of(target).is_type2:
        members, name = valid_versions(target), "version"
        on += f" AND {valid_for('d', 'f', lookup, table, warehouse.zone)}"
    yield Check(
        f"{column}_is_the_{name}",
        table.id,
        f"SELECT f.{key}, d.{quote_name(target.surrogate_key)} AS {name} FROM {quote(table.id)} f "
        f"JOIN {members} d ON {on} WHERE d.{quote_name(target.surrogate_key)} <> f.{key}",
    )


def _history(history: History, scopes: Mapping[str, Touched]) -> Iterator[Check]:
    """Return what must hold of the versions of a type 2 dimension, or of the touched keys' versions."""
    table, key, touched = history.table.id, list(history.key), scopes.get(history.table.id)
    number = quote_name(history.table.surrogate_key)
    held = touched.rows if touched else quote(table)
    versions = f"{held} WHERE {number} <> {UNKNOWN_KEY}"
    window = f"WINDOW w AS (PARTITION BY {names(key)} ORDER BY effective_from)"
    following = f"(SELECT *, lead(effective_from) OVER w AS _next FROM {versions} {window})"
    listed = f"{names(key)}, {number}, effective_from, effective_to"
    yield _unique("version_unique", table, [*key, "effective_from"], where=f"{number} <> {UNKNOWN_KEY}", rows=held)
    yield Check("version_has_a_span", table, f"SELECT {listed} FROM {versions} AND effective_to <= effective_from")
    yield Check(
        "current_has_no_end", table, f"SELECT {listed} FROM {versions} AND is_current <> (effective_to IS NULL)"
    )
    yield Check(
        "versions_do_not_overlap",
        table,
        f"SELECT {listed} FROM {following} WHERE _next < coalesce(effective_to, {NEVER})",
    )
    same = " AND ".join(f"c.{quote_name(own)} = d.{quote_name(name)}" for name, own in history.key.items())
    yield Check(
        "gap_is_a_delete",
        table,
        f"SELECT {listed} FROM {following} d WHERE (_next > effective_to OR is_deleted) "
        f"AND NOT EXISTS (FROM {quote(history.changes)} c WHERE {same} AND c.{OP} IN ('D', 'X'))",
    )
    yield Check(
        "deleted_is_the_last_and_closed",
        table,
        f"SELECT {listed} FROM {following} WHERE is_deleted AND (_next IS NOT NULL OR effective_to IS NULL) "
        "OR NOT is_deleted AND _next IS NULL AND effective_to IS NOT NULL",
    )
    same_values = " AND ".join(
        f"{quote_name(name)} IS NOT DISTINCT FROM lead({quote_name(name)}) OVER w" for name in history.tracked
    )
    again = f"SELECT *, lead(effective_from) OVER w = effective_to AND {same_values} AS _again FROM {versions} {window}"
    yield Check("version_says_something_new", table, f"SELECT {listed} FROM ({again}) WHERE _again")
    if history.header.order == "observed":
        yield _live_keys(history, versions, touched, scopes.get(history.staging.id))


def _live_keys(history: History, versions: str, touched: Touched | None, staged: Touched | None) -> Check:
    """The keys with a current version are those the source has (and those inferred).

    Of those `staged`, which was read already, staging is not asked once more.
    """
    own = ", ".join(f"{quote_name(own)} AS {quote_name(name)}" for name, own in history.key.items())
    key = names(list(history.key))
    staging = quote(history.staging.id)

    def live(of: str, keys: str) -> str:
        rows = f"SELECT {own} FROM {of} WHERE {DELETED_AT} IS NULL"
        return f"SELECT {key} FROM ({rows}) SEMI JOIN {keys} USING ({key})" if keys else rows

    there = live(staging, touched.keys if touched else "")
    if touched and staged:
        others = f"(FROM {touched.keys} ANTI JOIN (SELECT {own} FROM {staged.keys}) USING ({key}))"
        there = f"{live(staged.rows, touched.keys)} UNION ALL {live(staging, others)}"
    current = f"SELECT {key} FROM {versions} AND is_current AND NOT is_inferred"
    return Check(
        "live_keys_are_current",
        history.table.id,
        f"(SELECT {key}, 'has no current version' AS problem FROM (({there}) EXCEPT {current})) UNION ALL "
        f"(SELECT {key}, 'is current and deleted' AS problem FROM ({current} EXCEPT ({there})))",
    )


def _weights(table: Table, header: BridgeHeader) -> Check:
    listed, rows = names(list(group(header))), quote(table.id)
    if header.is_type2:  # at each moment at which anything changes
        same = " AND ".join(f"b.{quote_name(c)} IS NOT DISTINCT FROM a.{quote_name(c)}" for c in group(header))
        there = f"b.effective_from <= a.effective_from AND a.effective_from < coalesce(b.effective_to, {NEVER})"
        moments = f"SELECT DISTINCT {listed}, effective_from FROM {rows}"
        listed = names([*group(header), "effective_from"], of="a")
        rows = f"({moments}) a JOIN {rows} b ON {same} AND {there}"
    return Check(
        "weights_sum_to_1",
        table.id,
        f"SELECT {listed}, sum(weight) AS weight FROM {rows} GROUP BY {listed} "
        "HAVING count(weight) < count(*) OR abs(sum(weight) - 1) > 1e-9",
    )


def _spans(table: Table) -> Check:
    """Of a bridge with history: a pair has one row at a time."""
    assert isinstance(table.header, BridgeHeader)
    listed = names(table.header.grain)
    following = f"lead(effective_from) OVER (PARTITION BY {listed} ORDER BY effective_from) AS _next"
    return Check(
        "spans_do_not_overlap",
        table.id,
        f"SELECT {listed}, effective_from, effective_to FROM (SELECT *, {following} FROM {quote(table.id)}) "
        f"WHERE _next < coalesce(effective_to, {NEVER}) OR effective_to <= effective_from",
    )
