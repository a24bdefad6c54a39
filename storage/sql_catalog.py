"""A catalog in SQLite or PostgreSQL, in the tables of PyIceberg's SqlCatalog.

Main is the catalog named `starberg`, and a run's branch is the catalog named `run/<run_id>` over the same rows:
`pyiceberg.catalog.sql.SqlCatalog("starberg", uri=…)` opens what is published, by the same database URL. Beside them
stand where each branch was cut, every publish with its number, and every pointer it moved, so that any state main ever
had can be looked up. Only starberg may write main: another writer's commits are seen, but in no state of the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from starberg.storage.branches import (
    BRANCH_PREFIX,
    MAIN,
    Branch,
    Move,
    State,
    check_moves,
    check_run_id,
    check_tag,
    check_warehouse,
    gone,
    instant,
    no_such_state,
)
from starberg.storage.sql_database import (
    Database,
    branch_base,
    branches,
    iceberg_tables,
    pointers,
    publishes,
    tags,
)
from starberg.utils.clock import Clock
from starberg.utils.errors import Conflict, StarbergError, UsageError

MAIN_NAME = "starberg"
"""The `catalog_name` of main's rows."""

_WIDTH = "microseconds"


class SqlCatalog:
    """The `Catalog` in one database. Nothing connects before the first call; threads may share it."""

    writes_metadata = False

    def __init__(self, uri: str, *, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._database = Database(uri, self._clock)

    def __repr__(self) -> str:
        return f"SqlCatalog({self._database.name})"

    def state(self, at: str = MAIN) -> State:
        """Return all tables at `at` (see `Catalog.state`)."""
        return self._database.read(lambda connection: _state(connection, at))

    def create_branch(self, run_id: str, warehouse: str) -> Branch:
        """Cut `run/<run_id>` from main, or return it if it is there."""
        branch = Branch(check_run_id(run_id), check_warehouse(warehouse), self._clock.now(), "")
        return self._database.write(lambda connection: _create_branch(connection, branch))

    def move(self, branch: Branch, moves: Sequence[Move]) -> None:
        """Move pointers on a branch, all or none."""
        check_moves(branch, moves)
        self._database.write(lambda connection: _move(connection, branch, moves))

    def publish(self, branch: Branch, message: str) -> str:
        """Move main's pointers to the branch's in one transaction; return the number of this publish."""
        now = self._clock.now()
        return self._database.write(lambda connection: _publish(connection, branch, message, now))

    def published(self, run_id: str) -> str | None:
        """Return the number of the run's publish, or None."""
        seq = self._database.read(lambda connection: _seq_of_run(connection, run_id))
        return None if seq is None else str(seq)

    def branches(self, warehouse: str | None = None) -> list[Branch]:
        """List branches, oldest first."""
        wanted = select(branches).order_by(branches.c.created_at, branches.c.run_id)
        if warehouse is not None:
            wanted = wanted.where(branches.c.warehouse == warehouse)
        return self._database.read(lambda connection: [_as_branch(row) for row in connection.execute(wanted)])

    def drop_branch(self, branch: Branch) -> None:
        """Forget a branch."""
        self._database.write(lambda connection: _forget(connection, branch.run_id))

    def pointers(self, since: datetime) -> set[tuple[str, str]]:
        """Return every pointer that can still be looked up (see `Catalog.pointers`)."""
        return self._database.read(lambda connection: _pointers(connection, since))

    def tag(self, name: str, position: str | None = None) -> None:
        """Name a position of main (default: now)."""
        check_tag(name)
        self._database.write(lambda connection: _tag(connection, name, position))

    def tags(self) -> dict[str, str]:
        """Return tag names with their positions."""
        every = select(tags).order_by(tags.c.name)
        return self._database.read(lambda connection: {row.name: str(row.seq) for row in connection.execute(every)})

    def drop_tag(self, name: str) -> None:
        """Forget a tag."""
        self._database.write(lambda connection: connection.execute(delete(tags).where(tags.c.name == name)))

    def identity(self) -> str:
        """Return the id drawn when the database became a catalog."""
        return self._database.identity()

    def close(self) -> None:
        """Release connections."""
        self._database.close()


def _state(connection: Connection, at: str) -> State:
    head = _head(connection)
    if at == MAIN:
        return State(at, str(head), _rows(connection, MAIN_NAME))
    seq = _seq_of_tag(connection, at)
    if seq is None and (moment := instant(at)):
        seq = _seq_at(connection, moment)
    if seq is None and at.isdecimal() and int(at) <= head:
        seq = int(at)
    if seq is None:
        seq = _seq_of_run(connection, at)
    if seq is None and (branch := _branch(connection, at.removeprefix(BRANCH_PREFIX))):
        return State(at, branch.base, _tables_of_branch(connection, branch))
    if seq is None:
        raise no_such_state(at, _known(connection))
    return State(at, str(seq), _tables_at(connection, seq))


def _create_branch(connection: Connection, wanted: Branch) -> Branch:
    if (seq := _seq_of_run(connection, wanted.run_id)) is not None:
        raise Conflict(f"run {wanted.run_id} was published already, as {seq}")
    if there := _branch(connection, wanted.run_id):
        if there.warehouse != wanted.warehouse:
            raise Conflict(f"{there.name} is a branch of {there.warehouse}, not of {wanted.warehouse}")
        return there
    base = _head(connection)
    published = _rows(connection, MAIN_NAME, wanted.warehouse)
    for table, location in published.items():
        connection.execute(insert(iceberg_tables).values(_row(wanted.name, table, location)))
        connection.execute(insert(branch_base).values(run_id=wanted.run_id, table_id=table, location=location))
    created_at = wanted.created_at.isoformat(timespec=_WIDTH)
    row = {"run_id": wanted.run_id, "warehouse": wanted.warehouse, "base_seq": base, "created_at": created_at}
    connection.execute(insert(branches).values(row))
    return Branch(wanted.run_id, wanted.warehouse, wanted.created_at, str(base))


def _move(connection: Connection, branch: Branch, moves: Sequence[Move]) -> None:
    if not _branch(connection, branch.run_id):
        raise gone(branch)
    current = _rows(connection, branch.name, branch.warehouse)
    for move in moves:
        here = current.get(move.table)
        if here == move.location:
            continue
        lost = Conflict(f"{move.table} on {branch.name} is at {here}, not at {move.base}")
        if here != move.base:
            raise lost
        _repoint(connection, branch.name, move.table, move.base, move.location, lost)


def _publish(connection: Connection, branch: Branch, message: str, now: datetime) -> str:
    if (seq := _seq_of_run(connection, branch.run_id)) is not None:
        return str(seq)
    if not _branch(connection, branch.run_id):
        raise gone(branch)
    base = _base(connection, branch.run_id)
    moved = _rows(connection, branch.name, branch.warehouse)
    changed = sorted(table for table in base.keys() | moved.keys() if base.get(table) != moved.get(table))
    head = _head(connection)
    if not changed:
        return str(head)
    seq = head + 1
    for table in changed:
        lost = Conflict(f"{table} was published by another run after {branch.name} was cut")
        _repoint(connection, MAIN_NAME, table, base.get(table), moved.get(table), lost)
        connection.execute(insert(pointers).values(seq=seq, table_id=table, location=moved.get(table)))
    # A clock that stepped back must not make an older state the one of a later instant.
    last = connection.scalar(select(func.max(publishes.c.published_at))) or ""
    published_at = max(now.isoformat(timespec=_WIDTH), last)
    row = {"run_id": branch.run_id, "warehouse": branch.warehouse, "message": message, "published_at": published_at}
    connection.execute(insert(publishes).values(seq=seq, **row))
    return str(seq)


def _repoint(
    connection: Connection, catalog: str, table: str, old: str | None, new: str | None, lost: StarbergError
) -> None:
    """Move one pointer if it is still at `old`, else raise `lost`, which ends the transaction."""
    if old is None:
        present = connection.scalar(select(func.count()).where(_is(catalog, table)))
        if present:
            raise lost
        connection.execute(insert(iceberg_tables).values(_row(catalog, table, new)))
        return
    still = and_(_is(catalog, table), iceberg_tables.c.metadata_location == old)
    if new is None:
        result = connection.execute(delete(iceberg_tables).where(still))
    else:
        values = {"metadata_location": new, "previous_metadata_location": old}
        result = connection.execute(update(iceberg_tables).where(still).values(values))
    if result.rowcount != 1:
        raise lost


def _tag(connection: Connection, name: str, position: str | None) -> None:
    head = _head(connection)
    if position is not None and not (position.isdecimal() and int(position) <= head):
        raise UsageError(f"main has no position {position!r}", hint=f"The last one is {head}")
    connection.execute(delete(tags).where(tags.c.name == name))
    connection.execute(insert(tags).values(name=name, seq=head if position is None else int(position)))


def _forget(connection: Connection, run_id: str) -> None:
    connection.execute(delete(iceberg_tables).where(iceberg_tables.c.catalog_name == BRANCH_PREFIX + run_id))
    connection.execute(delete(branch_base).where(branch_base.c.run_id == run_id))
    connection.execute(delete(branches).where(branches.c.run_id == run_id))


def _head(connection: Connection) -> int:
    return connection.scalar(select(func.max(publishes.c.seq))) or 0


def _seq_of_run(connection: Connection, run_id: str) -> int | None:
    return connection.scalar(select(publishes.c.seq).where(publishes.c.run_id == run_id))


def _seq_of_tag(connection: Connection, name: str) -> int | None:
    return connection.scalar(select(tags.c.seq).where(tags.c.name == name))


def _seq_at(connection: Connection, moment: datetime) -> int:
    until = publishes.c.published_at <= moment.isoformat(timespec=_WIDTH)
    return connection.scalar(select(func.max(publishes.c.seq)).where(until)) or 0


def _branch(connection: Connection, run_id: str) -> Branch | None:
    row = connection.execute(select(branches).where(branches.c.run_id == run_id)).first()
    return None if row is None else _as_branch(row)


def _as_branch(row: Any) -> Branch:
    return Branch(row.run_id, row.warehouse, datetime.fromisoformat(row.created_at), str(row.base_seq))


def _base(connection: Connection, run_id: str) -> dict[str, str]:
    cut = select(branch_base).where(branch_base.c.run_id == run_id)
    return {row.table_id: row.location for row in connection.execute(cut)}


def _rows(connection: Connection, catalog: str, warehouse: str | None = None) -> dict[str, str]:
    wanted = select(iceberg_tables).where(iceberg_tables.c.catalog_name == catalog)
    if warehouse is not None:
        wanted = wanted.where(iceberg_tables.c.table_namespace == warehouse)
    rows = connection.execute(wanted.order_by(iceberg_tables.c.table_namespace, iceberg_tables.c.table_name))
    return {f"{row.table_namespace}.{row.table_name}": row.metadata_location for row in rows}


def _tables_at(connection: Connection, seq: int) -> dict[str, str]:
    latest = (
        select(pointers.c.table_id, func.max(pointers.c.seq).label("seq"))
        .where(pointers.c.seq <= seq)
        .group_by(pointers.c.table_id)
        .subquery()
    )
    same = and_(pointers.c.table_id == latest.c.table_id, pointers.c.seq == latest.c.seq)
    wanted = select(pointers).join(latest, same).where(pointers.c.location.is_not(None)).order_by(pointers.c.table_id)
    return {row.table_id: row.location for row in connection.execute(wanted)}


def _pointers(connection: Connection, since: datetime) -> set[tuple[str, str]]:
    rows = connection.execute(select(iceberg_tables))
    found = {(f"{row.table_namespace}.{row.table_name}", str(row.metadata_location)) for row in rows}
    first = _seq_at(connection, since.astimezone(UTC))
    later = connection.execute(select(pointers).where(pointers.c.seq > first, pointers.c.location.is_not(None)))
    found |= {(row.table_id, row.location) for row in later}
    named = {*connection.scalars(select(tags.c.seq)), *connection.scalars(select(branches.c.base_seq))}
    for seq in {first, *(seq for seq in named if seq < first)}:
        found |= set(_tables_at(connection, seq).items())
    return found


def _tables_of_branch(connection: Connection, branch: Branch) -> dict[str, str]:
    """Other warehouses are as main had them at the cut; only the branch's own were copied."""
    cut = _tables_at(connection, int(branch.base))
    others = {table: location for table, location in cut.items() if table.rpartition(".")[0] != branch.warehouse}
    return others | _rows(connection, branch.name, branch.warehouse)


def _known(connection: Connection) -> list[str]:
    """Names a person may have meant: branches, tags and the latest runs."""
    latest = select(publishes.c.run_id).order_by(publishes.c.seq.desc()).limit(100)
    runs = [*connection.scalars(select(branches.c.run_id)), *connection.scalars(latest)]
    return [*runs, *(BRANCH_PREFIX + run for run in runs), *connection.scalars(select(tags.c.name))]


def _is(catalog: str, table: str) -> ColumnElement[bool]:
    namespace, _, name = table.rpartition(".")
    columns = iceberg_tables.c
    return and_(columns.catalog_name == catalog, columns.table_namespace == namespace, columns.table_name == name)


def _row(catalog: str, table: str, location: str | None) -> dict[str, str | None]:
    namespace, _, name = table.rpartition(".")
    return {
        "catalog_name": catalog,
        "table_namespace": namespace,
        "table_name": name,
        "metadata_location": location,
        "iceberg_type": "TABLE",
    }
