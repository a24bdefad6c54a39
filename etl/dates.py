"""Facts that are built date by date: which days they have, and which are due. Pure.

Days are those of the warehouse's time zone; a month is named by its last day. What a fact has is part of its build
state, in the same publish as its rows.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from starberg.etl.day_ranges import DAY, every_day, packed, unpacked
from starberg.etl.headers import FactHeader
from starberg.etl.zone import UTC_DAYS, Zone

if TYPE_CHECKING:
    from starberg.etl.control import BuildState
    from starberg.etl.model import Table, Warehouse

_FIELDS = ("built", "late", "missing")


@dataclass(frozen=True)
class Dates:
    """A fact's days: those built, those of them whose rows changed since (`late`), those with rows never built."""

    built: frozenset[date] = frozenset()
    late: frozenset[date] = frozenset()
    missing: frozenset[date] = frozenset()

    @classmethod
    def of(cls, state: BuildState | None) -> Dates:
        """Return the days that a build state tells."""
        inputs = state.inputs if state else {}
        return cls(**{name: unpacked(inputs.get(f"days {name}", "")) for name in _FIELDS})

    def inputs(self) -> dict[str, str]:
        """Return them as part of a build state."""
        return {f"days {name}": packed(getattr(self, name)) for name in _FIELDS if getattr(self, name)}

    def changed(self, days: Collection[date]) -> Dates:
        """Return them after the staged rows of some days changed."""
        days = frozenset(days)
        return replace(self, late=self.late | (days & self.built), missing=self.missing | (days - self.built))

    def build(self, days: Collection[date]) -> Dates:
        """Return them after some days were built."""
        done = frozenset(days)
        return Dates(self.built | done, self.late - done, self.missing - done)


def without_dates(inputs: dict[str, str]) -> dict[str, str]:
    """Return the inputs of a build state that are no days."""
    return {name: at for name, at in inputs.items() if not name.startswith("days ")}


@dataclass(frozen=True)
class Due:
    """The days a fact is due for: `missing` were never built, `late` changed since; `older` are past `restate_days`."""

    missing: list[date] = field(default_factory=list)
    late: list[date] = field(default_factory=list)
    older: list[date] = field(default_factory=list)


def due_dates(table: Table, state: BuildState | None, today: date) -> Due:
    """Return the days that are due of a fact built by date, as far as its last build knew of its staged rows.

    Of a snapshot, each day or month between the first that is built and yesterday, both inclusive, is missing until it
    is built. Nothing is due that is not over, but for rows of a fact `by date`. A fact never built is due for
    yesterday, or the month before.
    """
    header = header_of(table)
    dates = Dates.of(state)
    missing = set(dates.missing)
    if header.is_snapshot:
        last = last_period(header, today)
        first = min(dates.built, default=last)
        missing = {period(header, day) for day in every_day(first, last)} - dates.built
        missing = {day for day in missing if day <= last}
    elif not dates.built:
        return Due(sorted(missing), [], [])
    since = today - timedelta(days=header.restate_days)
    older = [day for day in missing | dates.late if day < since]
    return Due(
        sorted(day for day in missing if day >= since),
        sorted(day for day in dates.late if day >= since),
        sorted(older),
    )


def header_of(table: Table) -> FactHeader:
    """Return the header of a fact."""
    assert isinstance(table.header, FactHeader)
    return table.header


def zone_of(table: Table, warehouse: Warehouse) -> Zone:
    """Return the zone in which a fact's `date` is read: that of a snapshot is the day itself, whatever its type."""
    return UTC_DAYS if header_of(table).is_snapshot else warehouse.zone


def is_by_date(table: Table) -> bool:
    """Return whether a table is a fact that is built date by date."""
    return isinstance(table.header, FactHeader) and table.header.is_by_date


def period(header: FactHeader, day: date) -> date:
    """Return the day a row is named by: itself, of a monthly snapshot the month's last."""
    return _month_end(day) if header.load == "snapshot monthly" else day


def last_period(header: FactHeader, today: date) -> date:
    """Return the last day, or month by its last day, that is over."""
    if header.load == "snapshot monthly":
        return today.replace(day=1) - DAY
    return today - DAY


def _month_end(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - DAY
