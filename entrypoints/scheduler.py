"""The scheduler: looks at the clock, claims what is due, runs each warehouse by itself.

One look after the other, each with a fresh reading of clock, declarations and ledger. A warehouse at work is not looked
at; what comes due meanwhile is late, and its policy says what becomes of it. A warehouse whose source, store or catalog
is down, or whose declarations are wrong, waits by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from starberg.entrypoints.ledger import Ledger
from starberg.etl.due import (
    BACKOFF,
    LONGEST_BACKOFF,
    Item,
    Part,
    TickRecord,
    TickState,
    Work,
    decide,
    next_look,
    postponed,
    work_of,
)
from starberg.etl.results import JobResult, Status
from starberg.utils.clock import Clock
from starberg.utils.errors import StarbergError
from starberg.utils.logging import log_context

log = logging.getLogger(__name__)

LONGEST_SLEEP_S = 20.0
"""How soon a step of the clock, an edited declaration or the end of an outage is noticed."""


@dataclass(frozen=True)
class Ran:
    """How one run ended; `down` if it is worth another try: a service is down, or another run holds the warehouse."""

    status: Status
    run_id: str = ""
    error: str = ""
    down: bool = False
    jobs: Sequence[JobResult] = ()


Runner = Callable[[str, Part], Ran]
"""Runs a part of a warehouse's work; raises nothing."""
Timetable = Callable[[], Mapping[str, Sequence[Item] | StarbergError]]
"""Returns what is scheduled, by warehouse, as it is declared now; for a wrong declaration its error."""
Start = Callable[[str, Callable[[], None]], None]
"""Starts a function in a thread of a name."""


@dataclass
class Busy:
    """What a warehouse is doing, and since when."""

    work: Work
    since: datetime


class Watch(Protocol):
    """Is told what happens; raises nothing."""

    def ended(self, warehouse: str, part: Part, ran: Ran, now: datetime) -> None:
        """One run ended."""

    def looked(self, now: datetime, items: Mapping[str, Sequence[Item]], busy: Mapping[str, Busy]) -> None:
        """A look is over."""


@dataclass
class _Trouble:
    """A warehouse that could not even be looked at."""

    error: str
    since: datetime
    times: int = 0
    until: datetime | None = None


def in_a_thread(name: str, function: Callable[[], None]) -> None:
    """Start a function in a thread that ends with the process."""
    threading.Thread(target=function, name=name, daemon=True).start()


@dataclass
class Scheduler:
    """Runs what is due until it is told to stop; `beat` is given what it is doing at each look."""

    timetable: Timetable
    ledger_of: Callable[[str], Ledger]
    runner: Runner
    clock: Clock
    beat: Callable[[Mapping[str, Any]], None]
    watch: Watch | None = None
    start: Start = in_a_thread
    _ledgers: dict[str, Ledger] = field(default_factory=dict)
    _busy: dict[str, Busy] = field(default_factory=dict)
    _last: dict[str, Ran] = field(default_factory=dict)
    _trouble: dict[str, _Trouble] = field(default_factory=dict)
    _unwritten: list[tuple[str, TickRecord]] = field(default_factory=list)
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, grace_s: float) -> bool:
        """Look until `stop`, then give runs at work `grace_s` to end; return whether they did.

        A run that is left ends with the process, as if killed: nothing of it is published, and the next one repairs.
        """
        while not self._stop.is_set():
            self._wake.wait(min(self.look(), LONGEST_SLEEP_S))
            self._wake.clear()
        deadline = self.clock.monotonic() + grace_s
        while self._busy and self.clock.monotonic() < deadline:
            log.info("stopping: waiting for runs", extra={"warehouses": sorted(self._busy)})
            self._wake.wait(1)
            self._wake.clear()
        return not self._busy

    def stop(self) -> None:
        """Begin nothing any more; may be called from anywhere, a signal's handler too."""
        self._stop.set()
        self._wake.set()

    def look(self) -> float:
        """Start what is due and return in how many seconds something may be due again."""
        now = self.clock.now()
        self._write_down()
        items = self._items(now)
        moments = [self._look_at(warehouse, found, now) for warehouse, found in items.items()]
        if self.watch:
            self.watch.looked(now, items, dict(self._busy))
        self.beat(self._state(now, items))
        following = min((moment for moment in moments if moment), default=now + timedelta(seconds=LONGEST_SLEEP_S))
        return max((following - self.clock.now()).total_seconds(), 0.0)

    def _items(self, now: datetime) -> dict[str, Sequence[Item]]:
        found: dict[str, Sequence[Item]] = {}
        for warehouse, items in self.timetable().items():
            if isinstance(items, StarbergError):
                self._noted(warehouse, items, now)
            else:
                found[warehouse] = items
        return found

    def _look_at(self, warehouse: str, items: Sequence[Item], now: datetime) -> datetime | None:
        """Start a warehouse's work, and return when to look again: at once if something else may be due by then."""
        trouble = self._trouble.get(warehouse)
        if warehouse in self._busy:
            return None
        if trouble and trouble.until and now < trouble.until <= now + LONGEST_BACKOFF:
            return trouble.until
        ledger = self._ledgers.setdefault(warehouse, self.ledger_of(warehouse))
        try:
            claimed = [record for item in items if (record := self._claim(ledger, item, now))]
            newest = {item.name: record for item in items if (record := ledger.newest(item.name, now))}
        except StarbergError as error:
            del self._ledgers[warehouse]  # what it remembers may be half of it
            return self._noted(warehouse, error, now)
        self._trouble.pop(warehouse, None)
        if claimed:
            work = work_of(items, claimed)
            self._busy[warehouse] = Busy(work, now)
            self.start(f"run {warehouse}", lambda: self._work(warehouse, ledger, work))
            return now
        return next_look(items, newest, now)

    def _claim(self, ledger: Ledger, item: Item, now: datetime) -> TickRecord | None:
        """Write an item's next record, if it has one; return it if it is to be run."""
        record = decide(item, ledger.newest(item.name, now), now)
        if record is None:
            return None
        if record.attempt > 1:
            written = ledger.newest(item.name, now, fresh=True)
            if written and written.state is TickState.DONE:  # by another scheduler
                return None
            ledger.write(record)
        elif not ledger.claim(record):
            return None
        if record.passed:
            extra = {"item": item.name, "passed": record.passed, "since": record.passed_from}
            log.warning("ticks were passed over", extra=extra)
        return record if record.state is TickState.CLAIMED else None

    def _work(self, warehouse: str, ledger: Ledger, work: Work) -> None:
        by_item = {record.item: record for record in work.records}
        ran = Ran(Status.SKIPPED)
        try:
            with log_context(warehouse=warehouse):
                for part in work.parts:
                    ran = ran if ran.down else self.runner(warehouse, part)
                    self._ended(warehouse, ledger, part, [by_item[name] for name in part.items], ran)
        finally:
            del self._busy[warehouse]
            self._wake.set()

    def _ended(self, warehouse: str, ledger: Ledger, part: Part, records: Sequence[TickRecord], ran: Ran) -> None:
        now = self.clock.now()
        self._last[warehouse] = ran
        level = logging.WARNING if ran.error else logging.INFO
        log.log(level, "run ended", extra={"run_id": ran.run_id, "status": ran.status.value, "error": ran.error})
        for record in records:
            done = {"state": TickState.DONE, "at": now, "status": ran.status.value}
            done |= {"run_id": ran.run_id, "error": ran.error}
            settled = postponed(record, now, ran.error) if ran.down else record.model_copy(update=done)
            try:
                ledger.write(settled)
            except StarbergError as error:
                log.warning("a tick's end could not be written down yet: %s", error)
                self._unwritten.append((warehouse, settled))
        if self.watch:
            self.watch.ended(warehouse, part, ran, now)

    def _write_down(self) -> None:
        """Write what could not be written when it happened."""
        waiting, self._unwritten = self._unwritten, []
        for place, (warehouse, record) in enumerate(waiting):
            try:
                self._ledgers.setdefault(warehouse, self.ledger_of(warehouse)).write(record)
            except StarbergError:
                self._unwritten += waiting[place:]
                return

    def _noted(self, warehouse: str, error: StarbergError, now: datetime) -> datetime:
        """Log what is wrong with a warehouse, once, and let it wait, each time longer."""
        trouble = self._trouble.setdefault(warehouse, _Trouble("", now))
        if trouble.error != str(error):
            log.warning("%s waits: %s", warehouse, error)
        trouble.error = str(error)
        trouble.until = now + min(BACKOFF * 2 ** min(trouble.times, 10), LONGEST_BACKOFF)
        trouble.times += 1
        return trouble.until

    def _state(self, now: datetime, items: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
        warehouses = {
            name: {
                "busy_since": self._busy[name].since if name in self._busy else None,
                "last": self._last[name].status.value if name in self._last else None,
                "trouble": self._trouble[name].error if name in self._trouble else None,
                "next_at": next_look(items.get(name, ()), {}, now),
            }
            for name in sorted({*items, *self._trouble})
        }
        return {"at": now, "warehouses": warehouses}
