"""Checks: the dimensional invariants every publish must hold, and a warehouse's own SQL checks.

Each check is a SELECT whose rows are failures. They run on the branch, before publish.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from starberg.engines.base import Engine
from starberg.etl.compile import lookups
from starberg.etl.dimensions import header_of
from starberg.etl.facts import grain, group
from starberg.etl.model import UNKNOWN_KEY, BridgeHeader, CheckHeader, Kind, Lookup, Table, Warehouse
from starberg.etl.sql_body import parse_body
from starberg.etl.sql_columns import Columns, key_columns
from starberg.utils.sql import names, quote, quote_name

SAMPLE_ROWS = 5


@dataclass(frozen=True)
class Check:
    """One check of one table; `select` returns the failing rows. A warning does not stop the publish."""

    name: str
    table: str
    select: str
    severity: str = "error"


@dataclass(frozen=True)
class CheckResult:
    """What a check found: the number of failing rows and the first few of them as JSON objects."""

    check: Check
    failures: int
    sample: str

    @property
    def status(self) -> str:
        """passed, failed, or warned."""
        if not self.failures:
            return "passed"
        return "failed" if self.check.severity == "error" else "warned"


def run_check(engine: Engine, check: Check) -> CheckResult:
    """Run one check."""
    [(failures, sample)] = engine.rows(
        f"WITH failing AS ({check.select}) SELECT (SELECT count(*) FROM failing), "
        f"(SELECT to_json(list(f))::VARCHAR FROM (SELECT * FROM failing LIMIT {SAMPLE_ROWS}) f)"
    )
    return CheckResult(check, failures, sample or json.dumps([]))


def invariants(table: Table, warehouse: Warehouse) -> Iterator[Check]:
    """Return what must hold for a table of its kind."""
    if table.kind == Kind.STAGING:
        yield _unique("natural_key_unique", table.id, _staging_key(table, warehouse))
    elif table.kind == Kind.DIMENSION:
        yield from _dimension(table)
    elif table.kind in (Kind.FACT, Kind.BRIDGE):
        yield _unique("grain_unique", table.id, list(grain(table)))
        for column, lookup in lookups(table).items():
            yield from _lookup(table, column, lookup, warehouse.tables[lookup.dimension])
        if isinstance(table.header, BridgeHeader) and table.header.weight != "none":
            yield _weights(table, table.header)
    elif table.kind == Kind.MART and getattr(table.header, "grain", []):
        yield _unique("grain_unique", table.id, table.header.grain)  # type: ignore[union-attr]


def own_checks(warehouse: Warehouse) -> list[Check]:
    """Return the warehouse's declared checks."""
    checks = []
    for table in warehouse.of_kind(Kind.CHECK):
        assert isinstance(table.header, CheckHeader)
        checks.append(Check(table.name, table.name, table.select, table.header.severity))
    return checks


def _staging_key(table: Table, warehouse: Warehouse) -> list[str]:
    """Return the staging table's columns that hold its stream's key."""
    _, stream = warehouse.stream_of(table)
    columns = Columns.of([*stream.columns, *stream.key], complete=False)
    return key_columns(parse_body(table.select), stream.key, lambda _: columns)


def _dimension(table: Table) -> Iterator[Check]:
    header, key = header_of(table), table.surrogate_key
    yield _unique("surrogate_key_unique", table.id, [key])
    yield Check(
        "one_unknown_member",
        table.id,
        f"SELECT count(*) AS rows FROM {quote(table.id)} WHERE {quote_name(key)} = {UNKNOWN_KEY} HAVING count(*) <> 1",
    )
    if header.natural_key:
        known = f"{quote_name(key)} <> {UNKNOWN_KEY}"
        yield _unique("natural_key_unique", table.id, header.natural_key, where=known)


def _unique(name: str, table: str, columns: list[str], where: str = "true") -> Check:
    listed = names(columns)
    empty = " OR ".join(f"{quote_name(column)} IS NULL" for column in columns)
    return Check(
        name,
        table,
        f"SELECT {listed}, count(*) AS rows FROM {quote(table)} WHERE {where} GROUP BY {listed} "
        f"HAVING count(*) > 1 OR {empty}",
    )


def _lookup(table: Table, column: str, lookup: Lookup, target: Table) -> Iterator[Check]:
    key = quote_name(column)
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
    yield Check(
        f"{column}_is_the_member",
        table.id,
        f"SELECT f.{key}, d.{quote_name(target.surrogate_key)} AS member FROM {quote(table.id)} f "
        f"JOIN {quote(target.id)} d ON {on} WHERE d.{quote_name(target.surrogate_key)} <> f.{key}",
    )


def _weights(table: Table, header: BridgeHeader) -> Check:
    listed = names(list(group(header)))
    return Check(
        "weights_sum_to_1",
        table.id,
        f"SELECT {listed}, sum(weight) AS weight FROM {quote(table.id)} GROUP BY {listed} "
        "HAVING count(weight) < count(*) OR abs(sum(weight) - 1) > 1e-9",
    )
