"""Which ticks of a schedule are to be run now: pure decisions, each written down before it is acted upon.

A tick is accounted for by one record: it ran, or it lies in the range that the record of a later one says was passed
over. The newest record at or before now says where to go on, so that a clock that steps, a restart or another scheduler
of the same lake can neither run a tick twice nor lose one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from starberg.etl.jobs import yesterday
from starberg.etl.schedule import GRACE, Job, Missed, Schedule, Timed, after, ticks
from starberg.etl.zone import UTC_DAYS, Zone

BACKOFF = timedelta(seconds=30)
"""How long to wait after the first try that met a service that is down; it doubles with each."""
LONGEST_BACKOFF = timedelta(minutes=15)


class TickState(StrEnum):
    """How a tick stands."""

    REGISTERED = "registered"
    """No tick: from here on ticks are counted, as the schedule is new or was edited."""
    CLAIMED = "claimed"
    """Its run is at work, or died."""
    RETRY = "retry"
    """Its run met a service that is down or a busy warehouse, and is tried again."""
    DONE = "done"
    PASSED = "passed"
    """Passed over, as the schedule says `missed: skip`."""


class TickRecord(BaseModel):
    """What became of a tick; times are UTC. `passed` earlier ticks, from `passed_from` on, were passed over for it.

    `attempt` counts its own tries, `tries` also those of ticks it took the place of while a service was down.
    """

    model_config = ConfigDict(frozen=True)

    item: str
    tick: datetime
    rule: str
    state: TickState
    at: datetime
    attempt: int = 1
    tries: int = 1
    passed_from: datetime | None = None
    passed: int = 0
    not_before: datetime | None = None
    status: str = ""
    run_id: str = ""
    error: str = ""


@dataclass(frozen=True)
class Item:
    """A schedule or job of a warehouse, by its name, and the time zone of the warehouse's days."""

    name: str
    timed: Schedule | Job
    zone: Zone = UTC_DAYS

    @property
    def rule(self) -> str:
        """Its rule as text."""
        return self.timed.rule

    @property
    def missed(self) -> Missed:
        """Its policy."""
        return self.timed.missed


@dataclass(frozen=True)
class Work:
    """What is due in a warehouse at one look, to be run one part after the other, oldest date first."""

    parts: Sequence[Part]
    records: Sequence[TickRecord] = ()


@dataclass(frozen=True)
class Part:
    """One run: of a whole warehouse (`do` is run), of its sources, of what has landed; or of some jobs for a date.

    `items` are the schedules or jobs whose ticks it settles.
    """

    items: tuple[str, ...]
    do: str = "run"
    full: bool = False
    source: str | None = None
    jobs: tuple[tuple[str, datetime], ...] = ()
    date: date | None = None


def decide(item: Item, newest: TickRecord | None, now: datetime) -> TickRecord | None:
    """Return the record to write next for an item, None if nothing is due; a CLAIMED one is to be run.

    `newest` is its newest record at or before `now`.
    """
    if newest is None:
        return _record(item, now.replace(microsecond=0), TickState.REGISTERED, now)
    if newest.rule != item.rule:
        return _edited(item, newest, now)
    unfinished = newest.state in (TickState.CLAIMED, TickState.RETRY)
    if unfinished and newest.not_before and now < newest.not_before <= now + LONGEST_BACKOFF:
        return None
    due = ticks(item.rule, newest.tick, now)
    if unfinished and (item.missed == "each" or not due):
        again = {"state": TickState.CLAIMED, "at": now, "not_before": None}
        return newest.model_copy(update=again | {"attempt": newest.attempt + 1, "tries": newest.tries + 1})
    if not due:
        return None
    if item.missed == "each":
        return _record(item, due[0], TickState.CLAIMED, now)
    late = item.missed == "skip" and now - due[-1] > GRACE
    found = _record(item, due[-1], TickState.PASSED if late else TickState.CLAIMED, now)
    passed = len(due) - 1 + unfinished
    if not passed:
        return found
    first = newest.tick if unfinished else after(item.rule, newest.tick)
    tries = newest.tries + 1 if unfinished else 1
    return found.model_copy(update={"passed": passed, "passed_from": first, "tries": tries})


def postponed(record: TickRecord, now: datetime, error: str) -> TickRecord:
    """Return a tick's record after a try that met a service that is down: later tries wait longer."""
    wait = min(BACKOFF * 2 ** min(record.tries - 1, 10), LONGEST_BACKOFF)
    changed = {"state": TickState.RETRY, "at": now, "not_before": now + wait, "error": error}
    return record.model_copy(update=changed)


def next_look(items: Iterable[Item], newest: dict[str, TickRecord], now: datetime) -> datetime | None:
    """Return when the next of some items is due, or is tried again."""
    moments = []
    for item in items:
        record = newest.get(item.name)
        moments.append(after(item.rule, now))
        if record and record.state is TickState.RETRY and record.not_before:
            moments.append(record.not_before)
    return min(moments, default=None)


def work_of(items: Sequence[Item], claimed: Sequence[TickRecord]) -> Work:
    """Return what claimed ticks ask for: one run for the warehouse's schedules, one for each date of its jobs.

    A run of all covers the others; else each schedule is a run of its own, ingestion first.
    """
    by_name = {item.name: item for item in items}
    schedules: dict[str, Schedule] = {}
    jobs: dict[date, list[tuple[str, datetime]]] = {}
    for record in claimed:
        timed = by_name[record.item].timed
        if isinstance(timed, Schedule):
            schedules[record.item] = timed
        else:
            jobs.setdefault(yesterday(record.tick, by_name[record.item].zone), []).append((record.item, record.tick))
    parts = _schedule_parts(schedules)
    parts += [Part(tuple(name for name, _ in due), jobs=tuple(due), date=day) for day, due in sorted(jobs.items())]
    return Work(parts, claimed)


def _schedule_parts(schedules: dict[str, Schedule]) -> list[Part]:
    if any(schedule.do == "run" and not schedule.source for schedule in schedules.values()):
        full = any(schedule.full and not schedule.source for schedule in schedules.values())
        return [Part(tuple(schedules), full=full)]
    order = ("ingest", "run", "etl")
    found = sorted(schedules.items(), key=lambda named: order.index(named[1].do))
    return [Part((name,), schedule.do, schedule.full, schedule.source) for name, schedule in found]


def _edited(item: Item, newest: TickRecord, now: datetime) -> TickRecord:
    """Count from now on by the new rule; ticks of the old one that were due till now are said to be passed over."""
    due = ticks(newest.rule, newest.tick, now)
    found = _record(item, now.replace(microsecond=0), TickState.REGISTERED, now)
    return found.model_copy(update={"passed": len(due), "passed_from": due[0] if due else None})


def _record(item: Item, tick: datetime, state: TickState, now: datetime) -> TickRecord:
    return TickRecord(item=item.name, tick=tick, rule=item.rule, state=state, at=now)


def items_of(schedules: dict[str, Schedule], jobs: dict[str, Job], zone: Zone = UTC_DAYS) -> list[Item]:
    """Return the items of a warehouse that counts in the days of a time zone."""
    timed: dict[str, Timed] = {**schedules, **jobs}
    return [Item(name, rule, zone) for name, rule in timed.items() if isinstance(rule, Schedule | Job)]
