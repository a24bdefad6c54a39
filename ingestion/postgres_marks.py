"""How far a high-water mark may move: never past a row that an open transaction may still commit. Pure.

A row stamped by its transaction's clock (`now()`) bears a time not before that transaction's start. So the next
reading starts at the start of the oldest transaction that was open before this reading's snapshot, prepared ones
included; rows stamped earlier than that (by other clocks) are found by a full or reconciling run. Numbers from a
sequence become visible out of order: they may be passed once every transaction open at their reading has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from starberg.ingestion.source import Cursor
from starberg.utils.errors import SourceDataError

MARGIN = timedelta(seconds=2)
"""A session may have read its clock a moment before it can be seen."""
_KINDS = {
    "TIMESTAMP WITH TIME ZONE": "instant",
    "TIMESTAMP": "local",
    "DATE": "date",
    "SMALLINT": "number",
    "INTEGER": "number",
    "BIGINT": "number",
}


@dataclass(frozen=True)
class Horizon:
    """What was open before the snapshot: `asked_at` the server's clock, `oldest` the earliest start (None: none open).

    `prepared`: prepared transactions are open, whose starts nobody knows: no mark moves.
    """

    asked_at: datetime
    oldest: datetime | None
    prepared: bool

    @property
    def bound(self) -> datetime:
        """Return the time before which nothing can appear any more."""
        return min(self.asked_at, self.oldest or self.asked_at) - MARGIN


@dataclass(frozen=True)
class Mark:
    """The mark of one cursor column; values are text that orders as they do (numbers: integers)."""

    column: str
    kind: str
    timezone: str

    @classmethod
    def of(cls, column: str, raw_type: str, timezone: str) -> Mark:
        """Return a column's mark; SourceDataError if its type does not grow."""
        if raw_type not in _KINDS:
            raise SourceDataError(
                f"cursor column {column} is {raw_type}", hint="A cursor is a timestamp, a date or an integer."
            )
        return cls(column, _KINDS[raw_type], timezone)

    def sql(self, column: str) -> str:
        """Return DuckDB's SQL for a value as the cursor keeps it; ±infinity is null."""
        match self.kind:
            case "number":
                return f"{column}::BIGINT"
            case "date":
                return f"CASE WHEN isfinite({column}) THEN strftime({column}, '%Y-%m-%d') END"
            case _:
                stamp = f"make_timestamp(epoch_us({column}))"
                return f"CASE WHEN isfinite({column}) THEN strftime({stamp}, '%Y-%m-%dT%H:%M:%S.%f') END"

    def literal(self, value: Any) -> str:
        """Return a cursor's value as a literal that PostgreSQL and DuckDB read alike."""
        if self.kind == "number":
            return str(int(value))
        return f"'{value}{'Z' if self.kind == 'instant' else ''}'"

    def after(self, before: Mapping[str, Any], seen: Any, horizon: Horizon) -> dict[str, Any]:
        """Return the cursor after a reading whose greatest value was `seen` (None: no row)."""
        top = _greatest(before.get("seen"), seen)
        cursor: dict[str, Any] = {} if top is None else {"seen": top}
        value = self._number(before, top, horizon, cursor) if self.kind == "number" else self._time(top, horizon)
        if horizon.prepared:
            value = None
        value = _greatest(before.get("value"), value)
        return cursor if value is None else cursor | {"value": value}

    def _time(self, top: Any, horizon: Horizon) -> Any:
        if top is None:
            return None
        bound = horizon.bound.astimezone(UTC)
        if self.kind == "instant":
            said = _stamp(bound.replace(tzinfo=None))
        else:
            local = earliest_local(bound, self.timezone)
            said = local.date().isoformat() if self.kind == "date" else _stamp(local)
        return min(top, said)

    def _number(self, before: Mapping[str, Any], top: Any, horizon: Horizon, cursor: dict[str, Any]) -> Any:
        """A number may be passed once everything open when it was read has ended; one waits at a time."""
        waiting, since = before.get("waiting"), before.get("waiting_since")
        passed = None
        if since is not None and horizon.bound > datetime.fromisoformat(since) and not horizon.prepared:
            passed, waiting = waiting, None
        if waiting is None and top is not None and top != _greatest(before.get("value"), passed):
            waiting, since = top, horizon.asked_at.astimezone(UTC).isoformat()
        if waiting is not None:
            cursor |= {"waiting": waiting, "waiting_since": since}
        return passed


def earliest_local(moment: datetime, timezone: str) -> datetime:
    """Return the earliest wall-clock time from a moment on: clocks set back repeat up to some hours."""
    zone = ZoneInfo(timezone)
    quarters = (moment + timedelta(minutes=15 * n) for n in range(13))
    return min(quarter.astimezone(zone).replace(tzinfo=None) for quarter in quarters)


def same_place(one: Cursor, other: Cursor) -> bool:
    """Tell whether two cursors start the next reading at the same value."""
    return one.get("value") == other.get("value")


def _greatest(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
