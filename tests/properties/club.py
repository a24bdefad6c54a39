"""An application that changes a PostgreSQL database over several sessions at once, and remembers what it committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from database import Database

CITIES = ["Rome", "Bonn", "Oslo", "", None]
NAMES = ["Ann", "Bob", None, "x" * 3000, "y" * 5000]
"""The long ones are stored out of line: an update of another column leaves them out of the log."""
MEMBERS, VISITS, SESSIONS = 14, 30, 3

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One committed change of a member; no row: it was deleted. Times are UTC."""

    key: int
    row: Row | None
    committed: datetime


@dataclass
class Session:
    """One open transaction: what it would commit, and whom it has locked until then."""

    connection: Any
    changes: list[tuple[int, Row | None]] = field(default_factory=list)
    locked: set[int] = field(default_factory=set)


class Club:
    """The database, and what is committed in it: `members` now, and `log` in order of commits."""

    def __init__(self, database: Database, random: Random) -> None:
        self.database = database
        self.random = random
        self.members: dict[int, Row] = {}
        self.log: list[Change] = []
        self.visits: dict[int, Row] = {}
        self.sessions: list[Session] = []
        self._idle: list[Any] = []
        self._plain = self._connect(autocommit=True)
        self._ask(
            "create table members (id bigint primary key, city text, name text, updated_at timestamp not null)",
            "alter table members alter name set storage external",
            "create table visits (id bigint primary key, member bigint, visited_at timestamp)",
            "create publication starberg for table members, visits",
        )

    def change(self, count: int) -> None:
        """Make some changes in new and open transactions; now and then one ends."""
        for _ in range(count):
            session = self._session()
            with self._maybe_undone(session):
                self._change_in(session)
            if self.random.random() < 0.6:
                self._end(session)
        self._visit(count // 3)

    def empty(self) -> None:
        """Truncate the members, all transactions ended."""
        self.commit_all()
        session = Session(self._connection())
        session.connection.cursor().execute("truncate members")
        session.changes = [(key, None) for key in sorted(self.members)]
        self.sessions.append(session)
        self._end(session)

    def commit_all(self) -> None:
        """End every open transaction."""
        for session in list(self.sessions):
            self._end(session)

    def close(self) -> None:
        """End all sessions, uncommitted ones undone."""
        for connection in (*(session.connection for session in self.sessions), *self._idle, self._plain):
            connection.close()

    # Transactions

    def _session(self) -> Session:
        if len(self.sessions) == SESSIONS or (self.sessions and self.random.random() < 0.6):
            return self.random.choice(self.sessions)
        self.sessions.append(Session(self._connection()))
        return self.sessions[-1]

    def _end(self, session: Session) -> None:
        self.sessions.remove(session)
        cursor = session.connection.cursor()
        if self.random.random() < 0.1:
            session.connection.rollback()
        else:
            cursor.execute("select pg_current_xact_id_if_assigned()::text")
            [number] = cursor.fetchone()
            session.connection.commit()
            self._committed(session, number)
        self._idle.append(session.connection)

    def _committed(self, session: Session, number: str | None) -> None:
        if number is None:
            return
        [(committed,)] = self._ask(f"select pg_xact_commit_timestamp('{number}'::xid) at time zone 'UTC'")
        for key, row in session.changes:
            self.log.append(Change(key, row, committed))
            if row is None:
                del self.members[key]
            else:
                self.members[key] = row

    @contextmanager
    def _maybe_undone(self, session: Session) -> Iterator[None]:
        """Roll back to a savepoint sometimes."""
        undone, before = self.random.random() < 0.1, len(session.changes)
        cursor = session.connection.cursor()
        if undone:
            cursor.execute("savepoint s")
        yield
        if undone:
            cursor.execute("rollback to savepoint s")
            del session.changes[before:]

    def _change_in(self, session: Session) -> None:
        """Add, edit, renumber, remove, or remove and add again one member nobody else has locked."""
        others = {key for other in self.sessions if other is not session for key in other.locked}
        free = [key for key in range(1, MEMBERS + 1) if key not in others]
        if not free:
            return
        key = self.random.choice(free)
        session.locked.add(key)
        here = {
            **self.members,
        }
        for changed, row in session.changes:
            here.pop(changed, None)
            if row is not None:
                here[changed] = row
        if key not in here:
            self._insert(session, key)
            return
        chance = self.random.random()
        empty = [other for other in free if other not in here]
        if chance < 0.15:
            self._delete(session, key)
        elif chance < 0.25:
            self._delete(session, key)
            self._insert(session, key)
        elif chance < 0.35 and empty:
            session.locked.add(empty[0])
            self._renumber(session, key, empty[0], here[key])
        else:
            self._update(session, key, here[key])

    def _insert(self, session: Session, key: int) -> None:
        row = {"city": self.random.choice(CITIES), "name": self.random.choice(NAMES)}
        sql = f"insert into members values (%s, %s, %s, {self._now()}) returning updated_at"
        self._do(session, sql, [key, row["city"], row["name"]], (key, row))

    def _update(self, session: Session, key: int, before: Row) -> None:
        column = self.random.choice(["city", "city", "name"])
        row = {**before, column: self.random.choice(CITIES if column == "city" else NAMES)}
        sql = f"update members set {column} = %s, updated_at = {self._now()} where id = %s returning updated_at"
        self._do(session, sql, [row[column], key], (key, row))

    def _renumber(self, session: Session, key: int, to: int, before: Row) -> None:
        session.changes.append((key, None))
        sql = f"update members set id = %s, updated_at = {self._now()} where id = %s returning updated_at"
        self._do(session, sql, [to, key], (to, dict(before)))

    def _delete(self, session: Session, key: int) -> None:
        self._do(session, "delete from members where id = %s returning updated_at", [key], (key, None))

    def _do(self, session: Session, sql: str, values: list[Any], change: tuple[int, Row | None]) -> None:
        cursor = session.connection.cursor()
        cursor.execute(sql, values)
        [stamp] = cursor.fetchone()
        if change[1] is not None:
            change[1]["updated_at"] = stamp
        session.changes.append(change)

    def _now(self) -> str:
        """The transaction's time, or the clock's: both are what applications write."""
        return self.random.choice(["now()", "clock_timestamp()"])

    # Visits

    def _visit(self, count: int) -> None:
        for _ in range(count):
            number = self.random.randint(1, VISITS)
            if self.visits.pop(number, None) and self.random.random() < 0.3:
                self._ask(f"delete from visits where id = {number}")
                continue
            row = {"member": self.random.choice([None, *range(1, MEMBERS + 3)]), "visited_at": self._visited()}
            self._ask(
                "insert into visits values (%s, %s, %s) on conflict (id) "
                "do update set member = excluded.member, visited_at = excluded.visited_at",
                values=[number, row["member"], row["visited_at"]],
            )
            self.visits[number] = row

    def _visited(self) -> datetime | None:
        """A time around the changes: at one, right before or after it, long ago, never, or to come."""
        if self.random.random() < 0.1 or not self.log:
            return self.random.choice([None, datetime(1880, 1, 1), datetime(2000, 1, 1), datetime(2100, 1, 1)])
        change = self.random.choice(self.log)
        at = change.committed if change.row is None or self.random.random() < 0.5 else change.row["updated_at"]
        return at + timedelta(microseconds=self.random.choice([-1, 0, 0, 1]))

    def _connection(self) -> Any:
        """One without a transaction, as an application's pool gives it."""
        return self._idle.pop() if self._idle else self._connect()

    def _connect(self, *, autocommit: bool = False) -> Any:
        connection = self.database.connect()
        connection.autocommit = autocommit
        connection.cursor().execute("set timezone = 'UTC'; set lock_timeout = '10s'")
        if not autocommit:
            connection.commit()
        return connection

    def _ask(self, *statements: str, values: list[Any] | None = None) -> list[Any]:
        with self._plain.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


def now() -> datetime:
    """The time, as the tables have it."""
    return datetime.now(UTC).replace(tzinfo=None)
