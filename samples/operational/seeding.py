"""Fills a system's databases with its generated past: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starberg.samples.operational.tables import Table, copy
from starberg.utils.errors import UsageError
from starberg.utils.sql import names

if TYPE_CHECKING:
    import psycopg2.extensions

    from starberg.samples.operational.life import Connect
    from starberg.samples.operational.system import Size, System

_SHOWN = 5
_RELATIONS = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'a', 'i'))
ORDER BY c.relname"""


def seed(system: System, connect: Connect, size: Size, *, replace: bool = False) -> list[dict[str, Any]]:
    """Make the tables of each database and fill them; return what was written, by table.

    Raises UsageError if a schema is not empty, unless `replace`: then tables of the same names are dropped first, and
    what else there is stays.
    """
    tables = system.rows(size)
    written = []
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(closing(connect(name))) for name in system.databases}
        for name, session in sessions.items():
            _prepare(session, [table.name for table in tables[name]], replace=replace)
        for name, session in sessions.items():
            with session.cursor() as cursor:
                cursor.execute(schema(system.databases[name]))
                written += [{"database": name, **line} for line in _fill(cursor, tables[name])]
        for session in sessions.values():
            session.commit()
    return written


def is_seeded(system: System, connect: Connect) -> bool:
    """Tell whether every database has something in its schema."""
    for name in system.databases:
        with closing(connect(name)) as session:
            if not _relations(session):
                return False
    return True


def schema(file: str) -> str:
    """Return the SQL that makes a database's tables."""
    return (files("starberg.samples.operational") / file).read_text(encoding="utf-8")


def _prepare(session: psycopg2.extensions.connection, ours: Sequence[str], *, replace: bool) -> None:
    found = _relations(session)
    same = [name for name in ours if name in found]
    if found and not replace:
        shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        drops = f"drops {', '.join(same)} and makes them anew" if same else f"adds {', '.join(ours)} beside them"
        raise UsageError(
            f"the database {session.info.dbname} is not empty: it has {shown}",
            hint=f"Type it again with --yes, which {drops}.",
        )
    if same:
        with session.cursor() as cursor:
            cursor.execute(f"DROP TABLE {names(same)}")


def _relations(session: psycopg2.extensions.connection) -> list[str]:
    with session.cursor() as cursor:
        cursor.execute(_RELATIONS)
        return [name for (name,) in cursor.fetchall()]


def _fill(cursor: psycopg2.extensions.cursor, tables: Sequence[Table]) -> Iterator[dict[str, Any]]:
    for table in tables:
        yield {"table": table.name, "rows": copy(cursor, table)}
        cursor.execute(f"ANALYZE {names([table.name])}")
