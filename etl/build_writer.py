"""Where computed rows become tables: temporary relations, row deltas, and on `verify` a comparison of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date

from starberg.engines.base import Engine
from starberg.etl.model import Table
from starberg.etl.results import TableDifference
from starberg.etl.row_delta import BOOKKEEPING, Counts, RowDelta, Target
from starberg.etl.zone import Zone
from starberg.storage.branch_tables import BranchTables
from starberg.storage.columns import PartitionBy
from starberg.utils.sql import names, quote, quote_name, text


@dataclass(frozen=True)
class Restate:
    """The keys of some type 2 dimensions (default: all) that changed from one day to another, both inclusive."""

    since: date
    until: date
    tables: Collection[str] = ()

    def within(self, column: str, zone: Zone) -> str:
        """Return the condition that a time (UTC) is in the range."""
        since = zone.start_of(f"DATE {text(str(self.since))}")
        until = zone.start_of(f"DATE {text(str(self.until))} + INTERVAL 1 DAY")
        return f"{column} >= {since} AND {column} < {until}"


@dataclass(frozen=True)
class BuildOptions:
    """How to build. `rebuild` names tables to build anew (`*`: all); `verify` compares instead of trusting.

    `restate` derives the history of some keys again from the raw loads that are published. `only` names the tables to
    build (none: all); the others stay as they are, even if they are stale. `dates` are the days to build of facts
    that are built by date (none: those that are due); other tables have no dates. With `dates`, built days whose rows
    changed since are built again too, unless `restate_late` is off.
    """

    rebuild: Collection[str] = ()
    restate: Restate | None = None
    allow_deletes: Collection[str] = ()
    stop_on_edit: bool = False
    verify: bool = False
    only: Collection[str] = ()
    dates: Collection[date] = ()
    restate_late: bool = True


@dataclass(frozen=True)
class Touched:
    """What a build computed again of one table; all other rows are as they were.

    Temporary tables: `keys`, and what the table holds for them afterwards, `rows`, in the columns that checks look at.
    Of a staging table `before` is what it held, in full.
    """

    keys: str
    rows: str
    before: str = ""


class Writer:
    """Brings the tables of one branch to computed relations, under one run id.

    `published` is the branch's state at the start; `differences` fills on `verify`, `scopes` with what was built of
    tables that were built in part.
    """

    def __init__(self, engine: Engine, tables: BranchTables, run_id: str, *, verify: bool) -> None:
        self.published = dict(tables.pointers)
        self.differences: list[TableDifference] = []
        self.scopes: dict[str, Touched] = {}
        self._engine = engine
        self._tables = tables
        self._delta = RowDelta(engine, tables, run_id)
        self._verify = verify

    def temp(self, name: str, select: str) -> None:
        """Compute a SELECT into a temporary table, replacing an earlier one."""
        self._engine.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")

    def drop(self, name: str) -> None:
        """Drop a temporary table, if it is there."""
        self._engine.run(f"DROP TABLE IF EXISTS {name}")

    def read(self, wanted: Target, into: str, columns: Sequence[str] = ()) -> Target:
        """Copy the rows in a target's scope, and where they stand, to a temporary table; return the target with it."""
        self._delta.read(wanted, into, columns)
        return replace(wanted, old=into)

    def bring(self, wanted: Target, relation: str) -> Counts:
        """Make a table hold the rows of a temporary table; return what changed."""
        if self._verify:
            self._compare(wanted.name, relation)
        return self._delta.apply(wanted, relation)

    def touched(self, table: Table, key: Sequence[str], looked_at: Sequence[str], before: str = "") -> None:
        """Note that only the keys in the relation `touched` were built, and read back what became of them.

        The temporary table `before` of their rows as they were, if there is one, is kept under another name.
        """
        found = Touched(quote_name(f"touched_{table.name}"), quote_name(f"checked_{table.name}"))
        self.temp(found.keys, f"SELECT {names(list(key))} FROM touched")
        looked_at = list(dict.fromkeys([*key, *looked_at]))
        self.temp(
            found.rows,
            f"SELECT {names(looked_at)} FROM {quote(table.id)} SEMI JOIN {found.keys} USING ({names(list(key))})",
        )
        if before:
            found = replace(found, before=quote_name(f"before_{table.name}"))
            self._engine.run(f"ALTER TABLE {before} RENAME TO {found.before}")
        self.scopes[table.id] = found

    def append(self, wanted: Target, relation: str) -> Counts:
        """Add the rows of a temporary table, none of whose keys the table has; the engine reads them from then on."""
        counts = self._delta.append(wanted, relation)
        self._engine.attach({wanted.name: self._tables.pointers[wanted.name]})
        return counts

    def _compare(self, table: str, relation: str) -> None:
        """Compare computed rows with the published table, independently of how differences are written."""
        short = table.split(".", 1)[1]
        [(rows,)] = self._engine.rows(f"SELECT count(*) FROM {relation}")
        if table not in self.published:
            self.differences.append(TableDifference(short, rows, 0, rows))
            return
        columns = [c.name for c in self._engine.columns(f"SELECT * FROM {relation}") if c.name not in BOOKKEEPING]
        published = f"SELECT {names(columns)} FROM {self._engine.scan(self.published[table])}"
        rebuilt = f"SELECT {names(columns)} FROM {relation}"
        [(only_published, only_rebuilt)] = self._engine.rows(
            f"SELECT (SELECT count(*) FROM ({published} EXCEPT ALL {rebuilt})), "
            f"(SELECT count(*) FROM ({rebuilt} EXCEPT ALL {published}))"
        )
        self.differences.append(TableDifference(short, rows, only_published, only_rebuilt))


def target(table: Table, key: Sequence[str], scope: str = "", scope_key: Sequence[str] = (), old: str = "") -> Target:
    """Return a declared table as the target of a row delta."""
    partition = [PartitionBy.parse(part) for part in getattr(table.header, "partition", [])]
    return Target(table.id, key, partition, scope, scope_key=scope_key, old=old)
