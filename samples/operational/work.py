"""One transaction of an application: it looks for rows nobody else holds, changes them, and counts what it did."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from starberg.utils.sql import names, quote_name

if TYPE_CHECKING:
    import psycopg2.extensions

KEEP = "FOR KEY SHARE"
CHANGE = "FOR NO KEY UPDATE"
REMOVE = "FOR UPDATE"

Row = dict[str, Any]


@dataclass
class Memory:
    """What one session of the application remembers between its transactions."""

    forgotten: list[Row] = field(default_factory=list)
    """People it deleted: their keys may come back."""


@dataclass
class Work:
    """One open transaction in one database; `peek` reads another database of the system.

    Rows are picked with a lock that skips what others hold, so that no transaction ever waits for one left open.
    """

    cursor: psycopg2.extensions.cursor
    rng: random.Random
    now: Callable[[], datetime]
    memory: Memory
    peek: Callable[[str, str, Sequence[Any]], list[Row]]
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def pick(
        self,
        table: str,
        lock: str = CHANGE,
        *,
        where: LiteralString = "TRUE",
        newest: int = 0,
    ) -> Row | None:
        """Return a random row and hold it until the transaction ends; `newest` picks among the last keys only."""
        key, name = quote_name(key_of(table)), quote_name(table)
        [(top,)] = self._rows(f"SELECT max({key}) FROM {name}")
        if top is None:
            return None
        low = max(1, top - newest) if newest else 1
        start = self.rng.randint(low, top)
        rows = f"SELECT * FROM {name} AS t WHERE {key} BETWEEN %s AND %s AND ({where})"
        sql = f"{rows} ORDER BY {key} LIMIT 1 {lock} SKIP LOCKED"
        for first, last in ((start, top), (low, start - 1)):
            if found := self.rows(sql, (first, last)):
                return found[0]
        return None

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a SELECT."""
        found = self._rows(sql, parameters)
        columns = [column.name for column in self.cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in found]

    def next_key(self, table: str) -> int:
        """Take the next key of a table, for rows that need to know it."""
        [(key,)] = self._rows("SELECT nextval(pg_get_serial_sequence(%s, %s))", (quote_name(table), key_of(table)))
        return int(key)

    def at(self, row: Row) -> datetime:
        """Return when a row is changed: never before it was last."""
        last: datetime = row["updated_at"]
        return max(self.now(), last)

    def insert(self, table: str, **values: Any) -> int:
        """Insert a row; return its key."""
        holes = ", ".join(["%s"] * len(values))
        columns, key = names(list(values)), quote_name(key_of(table))
        [(made,)] = self._rows(
            f"INSERT INTO {quote_name(table)} ({columns}) VALUES ({holes}) RETURNING {key}", [*values.values()]
        )
        self.inserted += 1
        return int(made)

    def change(self, table: str, row: Row, **values: Any) -> None:
        """Update a row by its key; the application stamps it."""
        if "updated_at" in row:
            values["updated_at"] = self.at(row)
        assigned = ", ".join(f"{quote_name(column)} = %s" for column in values)
        key = key_of(table)
        self.cursor.execute(
            f"UPDATE {quote_name(table)} SET {assigned} WHERE {quote_name(key)} = %s", [*values.values(), row[key]]
        )
        self.updated += self.cursor.rowcount

    def remove(self, table: str, row: Row) -> None:
        """Delete a row by its key."""
        key = key_of(table)
        self.cursor.execute(f"DELETE FROM {quote_name(table)} WHERE {quote_name(key)} = %s", (row[key],))
        self.deleted += self.cursor.rowcount

    def remove_all(self, table: str, column: str, value: Any) -> None:
        """Delete the rows that have a value in a column."""
        self.cursor.execute(f"DELETE FROM {quote_name(table)} WHERE {quote_name(column)} = %s", (value,))
        self.deleted += self.cursor.rowcount

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.cursor.execute(sql, tuple(parameters) or None)
        return self.cursor.fetchall()


_KEYS = {"lobbies": "lobby_id", "player_sessions": "session_id", "game_actions": "action_id"}
_KEYS |= {"currency_transactions": "transaction_id", "access_events": "event_id"}
_KEYS |= {"tenants": "tenant_number", "learners": "learner_number", "sessions": "session_number"}
_KEYS |= {"focus_events": "event_id", "homework": "homework_id", "homework_events": "event_id"}
_KEYS |= {"mastery_changes": "change_id", "project_types": "type_id", "project_members": "member_id"}
_KEYS |= {"project_services": "link_id", "issue_reviews": "link_id", "issue_status_history": "change_id"}
_KEYS |= {"issue_analytics": "analysis_id", "review_cycles": "cycle_id", "service_metrics": "metric_id"}


def key_of(table: str) -> str:
    """Return the name of a table's key.

    >>> key_of("customers"), key_of("game_actions")
    ('customer_id', 'action_id')
    """
    return _KEYS.get(table, f"{table.removesuffix('s')}_id")
