"""Build facts date by date: the days asked for or due are computed and replaced as a whole, the others only re-keyed.

Once a build it is decided for each fact which days those are, after staging is built and before dimensions are: what a
day's rows refer to may become an inferred member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from starberg.engines.base import Engine
from starberg.etl import facts
from starberg.etl.build_writer import BuildOptions, Writer, target
from starberg.etl.compile import LOAD, RUN, staging_key
from starberg.etl.control import BuildState
from starberg.etl.dates import Dates, due_dates, header_of, last_period, period, without_dates, zone_of
from starberg.etl.dates_reached import Days, days_reached
from starberg.etl.day_ranges import packed
from starberg.etl.fingerprints import fingerprint, zone_in
from starberg.etl.headers import Lookup
from starberg.etl.keyed import Refused
from starberg.etl.model import Table, Warehouse
from starberg.etl.rekey import Rekey, placed
from starberg.etl.row_delta import Counts, Target
from starberg.etl.snapshots import Snapshots, covered
from starberg.utils.errors import DeclarationError
from starberg.utils.sql import differing, names, quote, quote_name


@dataclass(frozen=True)
class Plan:
    """What a build does of a fact built by date: the days it builds, and its days afterwards."""

    days: Sequence[date]
    dates: Dates
    state: BuildState | None
    anew: bool


class DatedBuild:
    """Builds the facts of one warehouse that are built by date; `notes` fills with what a person should know."""

    def __init__(
        self,
        warehouse: Warehouse,
        engine: Engine,
        writer: Writer,
        pointers: Mapping[str, str],
        options: BuildOptions,
        today: date,
    ) -> None:
        self.notes: list[str] = []
        self.rekey = Rekey(warehouse, engine, writer, pointers)
        self._warehouse = warehouse
        self._engine = engine
        self._writer = writer
        self._pointers = pointers
        self._options = options
        self._today = today
        self.snapshots = Snapshots(warehouse, engine)
        self._plans: dict[str, Plan] = {}

    def plan(self, table: Table, state: BuildState | None, inputs: Mapping[str, str], *, anew: bool) -> Plan:
        """Return which days of a fact are built, once staging is; `state` is its last build's."""
        if table.name not in self._plans:
            self._plans[table.name] = self._planned(table, state, inputs, anew=anew)
        return self._plans[table.name]

    def source(self, table: Table) -> None:
        """Compute the rows before lookups of the days that a plan names."""
        days, header = self._plans[table.name].days, header_of(table)
        if header.is_snapshot:
            self._writer.temp(facts.source_relation(table), self.snapshots.source(table, days))
            self._check_days(table, days)
        else:
            self._check_type(table)
            on_days = zone_of(table, self._warehouse).within(quote_name(header.date), days)
            rows = f"SELECT * FROM ({facts.source_rows(table)}) WHERE {on_days}"
            self._writer.temp(facts.source_relation(table), rows)

    def references(self, table: Table, inferring: Mapping[str, Lookup], dimension: str) -> list[tuple[str, Lookup]]:
        """Return the relations through which a fact refers to a dimension: whatever is staged, on whichever day.

        So inferred members are numbered alike in whatever order days are built.
        """
        own = names(list(dict.fromkeys(own for lookup in inferring.values() for own in lookup.read_columns())))
        snapshot = header_of(table).is_snapshot
        every = self.snapshots.ever(table) if snapshot else facts.source_rows(table)
        rows = f"SELECT {own} FROM ({every})"
        if snapshot:
            rows += f" UNION ALL SELECT {own} FROM {facts.source_relation(table)}"
        return facts.references(inferring, table, dimension, f"({rows})")

    def built(self, table: Table) -> list[str]:
        """Return the days that were built of a table, as ISO texts."""
        return [str(day) for day in self._plans[table.name].days] if table.name in self._plans else []

    def apply(self, table: Table) -> Counts:
        """Replace a plan's days, and look keys of other days up again."""
        plan = self._plans[table.name]
        self._writer.temp("computed", facts.fact(table, self._warehouse))
        if plan.anew or table.id not in self._pointers:
            return self._writer.bring(target(table, list(facts.grain(table))), "computed")
        column = f"s.{quote_name(header_of(table).date)}"
        on_days = zone_of(table, self._warehouse).within(column, plan.days)
        rekeyed = self.rekey.find(table, plan.state.inputs if plan.state else {}, but=on_days)
        if not plan.days and not rekeyed:
            return Counts()
        if rekeyed:  # of a row that is on another day now, the new one stands
            rows = f"SELECT * FROM ({self.rekey.rows(table, rekeyed)}) s WHERE NOT {_in_computed(table)}"
            self._engine.run(f"INSERT INTO computed BY NAME {rows}")
        return self._writer.bring(self._replaced(table, on_days, rekeyed), "computed")

    def _replaced(self, table: Table, on_days: str, rekeyed: str) -> Target:
        """Return the fact as a target of its days: their rows, those to re-key, and those that came from other days."""
        old, scan = quote_name(f"old_{table.name}"), self._engine.scan(self._pointers[table.id])
        leaving = [on_days, _in_computed(table)]
        if rekeyed:
            leaving.append(f"EXISTS (FROM {rekeyed} r WHERE r._file = s.filename AND r._pos = s.file_row_number)")
        self._writer.temp(old, f"{placed(scan)} WHERE {' OR '.join(leaving)}")
        return target(table, list(facts.grain(table)), old, old=old)

    def _planned(self, table: Table, state: BuildState | None, inputs: Mapping[str, str], *, anew: bool) -> Plan:
        header = header_of(table)
        dates = Dates.of(state) if table.id in self._pointers else Dates()
        if anew:
            dates = Dates(dates.built | self._days_now(table, state, dates))
            dates = dates.changed(() if header.is_snapshot else self._every_day(table))
        elif state and without_dates(dict(state.inputs)) != dict(inputs):
            dates = dates.changed(self._changed(table, state, dates))
        known = replace(state or BuildState("", {}, {}), inputs=dates.inputs())
        due = due_dates(table, known, self._today)
        days = set(dates.built) if anew else set()
        if self._options.dates:
            days |= self._asked(table) | (set(due.late) if self._options.restate_late else set())
        elif not self._options.verify:
            days |= {*due.missing, *due.late}
        dates = dates.build(days)
        self._tell(table, due_dates(table, replace(known, inputs=dates.inputs()), self._today).older)
        return Plan(sorted(days), dates, state, anew)

    def _asked(self, table: Table) -> set[date]:
        """Return the days or months asked for, without those of a snapshot that are not over."""
        header = header_of(table)
        days = {period(header, day) for day in self._options.dates}
        if not header.is_snapshot:
            return days
        early = {day for day in days if day > last_period(header, self._today)}
        if early:
            self.notes.append(f"{table.id} is a {header.load} and {packed(early)} is not over: not built")
        return days - early

    def _tell(self, table: Table, older: Sequence[date]) -> None:
        """Note the days that are due and that no run builds unless it is asked for them."""
        if older:
            what = f"{len(older)} day{'s' * (len(older) > 1)} older than restate_days ({header_of(table).restate_days})"
            span = f"{older[0]} to {older[-1]}"
            self.notes.append(
                f"{table.id}: {what} changed or were never built, {span}: build them by --date or backfill"
            )

    def _changed(self, table: Table, state: BuildState, dates: Dates) -> set[date]:
        """Return the days whose rows may be others than when the fact was last looked at."""
        if header_of(table).is_snapshot:
            found: set[date] = set()
            for name in table.reads:
                changes = f"{table.warehouse}.{self._warehouse.tables[name].changes}"
                before, now = state.inputs.get(changes, ""), self._pointers.get(changes, "")
                if not before:
                    return set(dates.built)
                if before != now:
                    found |= covered(dates.built, self.snapshots.touched(table, name, self._engine.scan(before)))
            return found
        moved = [name for name in table.reads if state.inputs.get(self._id(name)) != self._pointers.get(self._id(name))]
        if not moved:
            return set()
        if any(not state.inputs.get(self._id(name)) for name in moved):
            return self._every_day(table) | dates.built
        try:
            how = days_reached(table, self._warehouse)
        except Refused:
            return self._differing(table, state, moved)
        reached = [select for name in moved for select in self._reached(how, name, state)]
        return self._days_of(f"SELECT day FROM ({' UNION ALL '.join(reached)})", "day")

    def _reached(self, how: Days, name: str, state: BuildState) -> list[str]:
        """Return SELECTs of the days that the rows of a staging table reach that are others than they were."""
        before, now = self._engine.scan(state.inputs[self._id(name)]), quote(self._id(name))
        key = names(staging_key(self._warehouse.tables[name], self._warehouse))
        touched = self._writer.scopes.get(self._id(name))
        if touched and state.inputs[self._id(name)] == self._writer.published.get(self._id(name)):
            keys = touched.keys
        else:
            keys = quote_name(f"differing_{name}")
            there = {column.name for column in self._engine.columns(f"FROM {before}")} - {LOAD, RUN}
            shared = names([c.name for c in self._engine.columns(f"FROM {now}") if c.name in there])
            moved = differing(f"SELECT {shared} FROM {before}", f"SELECT {shared} FROM {now}")
            self._writer.temp(keys, f"SELECT DISTINCT {key} FROM ({moved})")

        def rows(columns: Sequence[str]) -> str:
            """The touched rows, as they were and as they are."""
            selects = (
                f"SELECT {names(list(columns))} FROM {of} SEMI JOIN {keys} USING ({key})" for of in (before, now)
            )
            return f"({' UNION ALL '.join(selects)})"

        if name == how.driver:
            return [how.driven(rows(how.columns))]
        driver = quote(self._id(how.driver))
        return [how.reached(to, rows(list(to.on)), driver) for to in how.joined if to.table == name]

    def _differing(self, table: Table, state: BuildState, moved: Sequence[str]) -> set[date]:
        """Return the days on which the SELECT's rows differ between the staging tables then and now."""

        def then(name: str) -> Callable[[str], str]:
            before = self._engine.scan(state.inputs[self._id(name)])
            return lambda rows: rows.replace(quote(self._id(name)), before)

        part = {name: then(name) for name in moved}
        self._writer.temp("rows_then", f"SELECT * EXCLUDE ({LOAD}) FROM ({facts.source_rows(table, part)})")
        self._writer.temp("rows_now", f"SELECT * EXCLUDE ({LOAD}) FROM ({facts.source_rows(table)})")
        columns = names([column.name for column in self._engine.columns("FROM rows_now")])
        moved = differing(f"SELECT {columns} FROM rows_then", f"SELECT {columns} FROM rows_now")
        return self._days_of(moved, header_of(table).date)

    def _days_of(self, rows: str, column: str) -> set[date]:
        """Return the days of some rows; those without a day are in no fact."""
        day = self._warehouse.zone.day_of(quote_name(column))
        return {
            date.fromisoformat(found)
            for (found,) in self._engine.rows(f"SELECT DISTINCT {day}::VARCHAR FROM ({rows}) WHERE {day} IS NOT NULL")
        }

    def _days_now(self, table: Table, state: BuildState | None, dates: Dates) -> set[date]:
        """Return the days on which the rows of the built days are in another time zone than they were built with."""
        if state is None or not dates.built or header_of(table).is_snapshot:
            return set()
        before = zone_in(state.columns)
        if before == zone_in(fingerprint(table, self._warehouse)[1]):
            return set()
        column = header_of(table).date
        rows = f"SELECT * FROM ({facts.source_rows(table)}) WHERE {before.within(quote_name(column), dates.built)}"
        return self._days_of(rows, column)

    def _every_day(self, table: Table) -> set[date]:
        self._check_type(table)
        return self._days_of(facts.source_rows(table), header_of(table).date)

    def _id(self, name: str) -> str:
        return f"{self._warehouse.name}.{name}"

    def _check_days(self, table: Table, days: Sequence[date]) -> None:
        column = header_of(table).date
        outside = f"NOT coalesce({zone_of(table, self._warehouse).within(quote_name(column), days)}, false)"
        [(wrong,)] = self._engine.rows(f"SELECT count(*) FROM {facts.source_relation(table)} WHERE {outside}")
        if wrong:
            hint = f"Write run_date() as {column}: the day, or the month's last."
            raise DeclarationError(f"{table.path}: date", f"{column} is not the day of the snapshot", hint=hint)

    def _check_type(self, table: Table) -> None:
        """Refuse a day that is none, before it is compared with days."""
        column = header_of(table).date
        types = {c.name.lower(): c.type for c in self._engine.columns(facts.source_rows(table))}
        if types[column.lower()] not in ("DATE", "TIMESTAMP"):
            message = f"{column} is {types[column.lower()]}, not a date or a timestamp (UTC)"
            raise DeclarationError(f"{table.path}: date", message, hint=f"Cast it: {column}::date.")


def _in_computed(table: Table) -> str:
    """Return the condition that a row `s` has the grain of a computed one."""
    same = " AND ".join(f"c.{quote_name(k)} = s.{quote_name(k)}" for k in facts.grain(table))
    return f"EXISTS (FROM computed c WHERE {same})"
