"""A system's life: a seeded mix of transactions over real sessions, some of which stay open while others commit.

With one session the same seed does the same to the same data. A transaction that stays open has already written, and
stamped, its rows; it commits after several others of its session.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from starberg.samples.operational.people import stream
from starberg.samples.operational.work import Memory, Row, Work
from starberg.utils.clock import Clock
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    import psycopg2.extensions

    from starberg.samples.operational.system import System

Connect = Callable[[str], "psycopg2.extensions.connection"]
"""Opens a session to a database of the system, by name."""

_OPEN_FOR = (3, 25)
"""How many transactions of its session commit while one stays open."""
_STAYS_OPEN = 0.06
_LOCK_WAIT_MS = 10_000
_TRIES = 100


@dataclass(frozen=True)
class Kind:
    """A kind of transaction in one database.

    `weight` is how often it happens. `act` does it, or returns False if there is nothing to do it to. One that
    `may_stay_open` locks no row that others need.
    """

    name: str
    database: str
    weight: float
    act: Callable[[Work], bool]
    may_stay_open: bool = False


@dataclass
class Done:
    """What the transactions of a kind did, all committed; `late` of them stayed open while others committed."""

    kind: str
    transactions: int = 0
    late: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def add(self, work: Work | Done, *, transactions: int = 1, late: int = 0) -> None:
        """Count a committed transaction, or those of another session."""
        self.transactions += transactions
        self.late += late
        self.inserted += work.inserted
        self.updated += work.updated
        self.deleted += work.deleted


def mutate(
    system: System,
    connect: Connect,
    *,
    transactions: int,
    seed: int,
    sessions: int = 1,
    clock: Clock | None = None,
    day: date | None = None,
) -> list[Done]:
    """Run transactions, all of them committed on return; tell by kind what they did, the most frequent first.

    `clock` is the application's, by which it stamps rows. With `day` they take place over that day (UTC): days are
    lived one after the other, from the end of the seeded past. Raises UsageError if there is nothing to change.
    """
    shares = [transactions // sessions + (number < transactions % sessions) for number in range(sessions)]
    clocks = [_Day(day, share) if day else clock or Clock() for share in shares]
    workers = [
        _Worker(system, connect, share, stream(seed, f"session {number} {day or ''}".rstrip()), clock)
        for number, (share, clock) in enumerate(zip(shares, clocks, strict=True))
    ]
    if sessions == 1:
        workers[0].run()
    else:
        threads = [threading.Thread(target=worker.run_and_keep_error, daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for worker in workers:
        if worker.error:
            raise worker.error
    total: dict[str, Done] = {}
    for worker in workers:
        for kind, done in worker.done.items():
            total.setdefault(kind, Done(kind)).add(done, transactions=done.transactions, late=done.late)
    return sorted(total.values(), key=lambda done: (-done.transactions, done.kind))


def as_rows(done: Sequence[Done]) -> list[dict[str, Any]]:
    """Return what was done as a table with its sum."""
    total = Done("all")
    for one in done:
        total.add(one, transactions=one.transactions, late=one.late)
    return [asdict(one) for one in [*done, total]]


class _Day(Clock):
    """The time of day at each of a session's transactions, on a day that may be long past."""

    def __init__(self, day: date, transactions: int) -> None:
        self._midnight = datetime.combine(day, time(), UTC)
        self._each = timedelta(days=1) / max(transactions, 1)
        self._at = self._midnight

    def begin(self, number: int) -> None:
        """A transaction begins."""
        self._at = max(self._at, self._midnight + number * self._each)

    def now(self) -> datetime:
        """Each look is a little later, but of the same day."""
        self._at = min(self._at + timedelta(milliseconds=1), self._midnight + timedelta(days=1, microseconds=-1))
        return self._at


@dataclass
class _Open:
    """A transaction that stays open until the session's transaction number `until`."""

    until: int
    kind: Kind
    work: Work
    connection: psycopg2.extensions.connection


@dataclass
class _Worker:
    """One session of the application to each database, and the sessions whose transactions stay open."""

    system: System
    connect: Connect
    transactions: int
    rng: random.Random
    clock: Clock
    done: dict[str, Done] = field(default_factory=dict)
    error: BaseException | None = None
    _memory: Memory = field(default_factory=Memory)
    _open: list[_Open] = field(default_factory=list)
    _free: dict[str, list[psycopg2.extensions.connection]] = field(default_factory=lambda: defaultdict(list))
    _readers: dict[str, psycopg2.extensions.connection] = field(default_factory=dict)

    def run_and_keep_error(self) -> None:
        """Run in a thread: whoever waits for it raises the error."""
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def run(self) -> None:
        """Run the transactions."""
        try:
            for number in range(self.transactions):
                self._commit_until(number)
                if isinstance(self.clock, _Day):
                    self.clock.begin(number)
                self._one(number)
            self._commit_until(None)
        finally:
            idle = [connection for free in self._free.values() for connection in free]
            for connection in [*idle, *(left.connection for left in self._open), *self._readers.values()]:
                connection.close()

    def _one(self, number: int) -> None:
        """Do one transaction of any kind there is something to do for."""
        weights = [kind.weight for kind in self.system.kinds]
        for _ in range(_TRIES):
            [kind] = self.rng.choices(self.system.kinds, weights)
            if self._tried(kind, number):
                return
        raise UsageError("there is nothing to change", hint="Fill the database with `starberg seed` first.")

    def _tried(self, kind: Kind, number: int) -> bool:
        connection = self._session(kind.database)
        with connection.cursor() as cursor:
            work = Work(cursor, self.rng, self.clock.now, self._memory, self._peek)
            try:
                found = kind.act(work)
            except BaseException:
                connection.close()
                raise
        if not found:
            connection.rollback()
            self._free[kind.database].append(connection)
        elif self._stays_open(kind, number):
            self._open.append(_Open(number + self.rng.randint(*_OPEN_FOR), kind, work, connection))
        else:
            self._commit(kind, work, connection)
        return found

    def _stays_open(self, kind: Kind, number: int) -> bool:
        """Tell whether a transaction is one that stays open: only while enough others follow it."""
        return kind.may_stay_open and number + _OPEN_FOR[0] < self.transactions and self.rng.random() < _STAYS_OPEN

    def _commit_until(self, number: int | None) -> None:
        """Commit what stayed open until a transaction; None: whatever is open."""
        due = [left for left in self._open if number is None or left.until <= number]
        for left in due:
            self._open.remove(left)
            self._commit(left.kind, left.work, left.connection, late=1)

    def _commit(self, kind: Kind, work: Work, connection: psycopg2.extensions.connection, *, late: int = 0) -> None:
        connection.commit()
        self._free[kind.database].append(connection)
        self.done.setdefault(kind.name, Done(kind.name)).add(work, late=late)

    def _session(self, database: str) -> psycopg2.extensions.connection:
        free = self._free[database]
        return free.pop() if free else self._connected(database)

    def _connected(self, database: str) -> psycopg2.extensions.connection:
        connection = self.connect(database)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = %s", (_LOCK_WAIT_MS,))
        connection.commit()
        return connection

    def _peek(self, database: str, sql: str, parameters: Sequence[Any]) -> list[Row]:
        if database not in self._readers:
            self._readers[database] = self._connected(database)
            self._readers[database].autocommit = True
        with self._readers[database].cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            columns = [column.name for column in cursor.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
