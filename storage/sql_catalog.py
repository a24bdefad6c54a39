"""A catalog in SQLite or PostgreSQL, in the tables of PyIceberg's SqlCatalog.

Main is the catalog named `starberg`, and a run's branch is the catalog named `run/<run_id>` over the same rows:
`pyiceberg.catalog.sql.SqlCatalog("starberg", uri=…)` opens what is published, by the same database URL. Beside them
stand where each branch was cut, every publish with its number, and every pointer it moved, so that any state main ever
had can be looked up. Only starberg may write main: another writer's commits are seen, but in no state of the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

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
from starberg.storage.sql_database import Database, Transaction
from starberg.utils.clock import Clock
from starberg.utils.errors import Conflict, StarbergError, UsageError

MAIN_NAME = "starberg"
"""The `catalog_name` of main's rows."""

_WIDTH = "microseconds"
_BRANCH = "run_id, warehouse, created_at, base_seq"
_NO_VIEW = "(iceberg_type IS NULL OR iceberg_type = 'TABLE')"
"""Other engines keep their views in the same table."""
_IS_TABLE = "catalog_name = :catalog AND table_namespace = :namespace AND table_name = :name"


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
        return self._database.read(lambda do: _state(do, at))

    def create_branch(self, run_id: str, warehouse: str) -> Branch:
        """Cut `run/<run_id>` from main, or return it if it is there."""
        branch = Branch(check_run_id(run_id), check_warehouse(warehouse), self._clock.now(), "")
        return self._database.write(lambda do: _create_branch(do, branch))

    def move(self, branch: Branch, moves: Sequence[Move]) -> None:
        """Move pointers on a branch, all or none."""
        check_moves(branch, moves)
        self._database.write(lambda do: _move(do, branch, moves))

    def publish(self, branch: Branch, message: str) -> str:
        """Move main's pointers to the branch's in one transaction; return the number of this publish."""
        now = self._clock.now()
        return self._database.write(lambda do: _publish(do, branch, message, now))

    def published(self, run_id: str) -> str | None:
        """Return the number of the run's publish, or None."""
        seq = self._database.read(lambda do: _seq_of_run(do, run_id))
        return None if seq is None else str(seq)

    def branches(self, warehouse: str | None = None) -> list[Branch]:
        """List branches, oldest first."""
        sql = f"SELECT {_BRANCH} FROM starberg_branch ORDER BY created_at, run_id"
        found = self._database.read(lambda do: [_as_branch(*row) for row in do.rows(sql)])
        return [branch for branch in found if warehouse in (None, branch.warehouse)]

    def drop_branch(self, branch: Branch) -> None:
        """Forget a branch."""
        self._database.write(lambda do: _forget(do, branch.run_id))

    def pointers(self, since: datetime) -> set[tuple[str, str]]:
        """Return every pointer that can still be looked up (see `Catalog.pointers`)."""
        return self._database.read(lambda do: _pointers(do, since))

    def tag(self, name: str, position: str | None = None) -> None:
        """Name a position of main (default: now)."""
        check_tag(name)
        self._database.write(lambda do: _tag(do, name, position))

    def tags(self) -> dict[str, str]:
        """Return tag names with their positions."""
        every = "SELECT name, seq FROM starberg_tag ORDER BY name"
        return self._database.read(lambda do: {name: str(seq) for name, seq in do.rows(every)})

    def drop_tag(self, name: str) -> None:
        """Forget a tag."""
        self._database.write(lambda do: do.run("DELETE FROM starberg_tag WHERE name = :name", name=name))

    def identity(self) -> str:
        """Return the id drawn when the database became a catalog."""
        return self._database.identity()

    def close(self) -> None:
        """Release connections."""
        self._database.close()


def _state(do: Transaction, at: str) -> State:
    head = _head(do)
    if at == MAIN:
        return State(at, str(head), _rows(do, MAIN_NAME))
    seq = do.value("SELECT seq FROM starberg_tag WHERE name = :name", name=at)
    if seq is None and (moment := instant(at)):
        until = moment.isoformat(timespec=_WIDTH)
        seq = do.value("SELECT max(seq) FROM starberg_publish WHERE published_at <= :until", until=until) or 0
    if seq is None and at.isdecimal() and int(at) <= head:
        seq = int(at)
    if seq is None:
        seq = _seq_of_run(do, at)
    if seq is None and (branch := _branch(do, at.removeprefix(BRANCH_PREFIX))):
        return State(at, branch.base, _tables_of_branch(do, branch))
    if seq is None:
        raise no_such_state(at, _known(do))
    return State(at, str(seq), _tables_at(do, seq))


def _create_branch(do: Transaction, wanted: Branch) -> Branch:
    if (seq := _seq_of_run(do, wanted.run_id)) is not None:
        raise Conflict(f"run {wanted.run_id} was published already, as {seq}")
    if there := _branch(do, wanted.run_id):
        if there.warehouse != wanted.warehouse:
            raise Conflict(f"{there.name} is a branch of {there.warehouse}, not of {wanted.warehouse}")
        return there
    base = _head(do)
    for table, location in _rows(do, MAIN_NAME, wanted.warehouse).items():
        _insert_pointer(do, wanted.name, table, location)
        do.run(
            "INSERT INTO starberg_branch_base (run_id, table_id, location) VALUES (:run_id, :table_id, :location)",
            run_id=wanted.run_id, table_id=table, location=location,
        )  # fmt: skip
    do.run(
        f"INSERT INTO starberg_branch ({_BRANCH}) VALUES (:run_id, :warehouse, :created_at, :base)",
        run_id=wanted.run_id, warehouse=wanted.warehouse, base=base,
        created_at=wanted.created_at.isoformat(timespec=_WIDTH),
    )  # fmt: skip
    return Branch(wanted.run_id, wanted.warehouse, wanted.created_at, str(base))


def _move(do: Transaction, branch: Branch, moves: Sequence[Move]) -> None:
    if not _branch(do, branch.run_id):
        raise gone(branch)
    current = _rows(do, branch.name, branch.warehouse)
    for move in moves:
        here = current.get(move.table)
        if here == move.location:
            continue
        lost = Conflict(f"{move.table} on {branch.name} is at {here}, not at {move.base}")
        if here != move.base:
            raise lost
        _repoint(do, branch.name, move.table, move.base, move.location, lost)


def _publish(do: Transaction, branch: Branch, message: str, now: datetime) -> str:
    if (seq := _seq_of_run(do, branch.run_id)) is not None:
        return str(seq)
    if not _branch(do, branch.run_id):
        raise gone(branch)
    cut = "SELECT table_id, location FROM starberg_branch_base WHERE run_id = :run_id"
    base = dict(do.rows(cut, run_id=branch.run_id))
    moved = _rows(do, branch.name, branch.warehouse)
    changed = sorted(table for table in base.keys() | moved.keys() if base.get(table) != moved.get(table))
    head = _head(do)
    if not changed:
        return str(head)
    seq = head + 1
    for table in changed:
        lost = Conflict(f"{table} was published by another run after {branch.name} was cut")
        _repoint(do, MAIN_NAME, table, base.get(table), moved.get(table), lost)
        do.run(
            "INSERT INTO starberg_pointer (seq, table_id, location) VALUES (:seq, :table_id, :location)",
            seq=seq, table_id=table, location=moved.get(table),
        )  # fmt: skip
    # A clock that stepped back must not make an older state the one of a later instant.
    last = do.value("SELECT max(published_at) FROM starberg_publish") or ""
    do.run(
        "INSERT INTO starberg_publish (seq, run_id, warehouse, message, published_at) "
        "VALUES (:seq, :run_id, :warehouse, :message, :published_at)",
        seq=seq, run_id=branch.run_id, warehouse=branch.warehouse, message=message,
        published_at=max(now.isoformat(timespec=_WIDTH), last),
    )  # fmt: skip
    return str(seq)


def _repoint(do: Transaction, catalog: str, table: str, old: str | None, new: str | None, lost: StarbergError) -> None:
    """Move one pointer if it is still at `old`, else raise `lost`, which ends the transaction."""
    named = _named(catalog, table)
    if old is None:
        if do.value(f"SELECT count(*) FROM iceberg_tables WHERE {_IS_TABLE}", **named):
            raise lost
        _insert_pointer(do, catalog, table, new)
        return
    still = f"{_IS_TABLE} AND metadata_location = :old"
    if new is None:
        count = do.run(f"DELETE FROM iceberg_tables WHERE {still}", old=old, **named)
    else:
        moved = "SET metadata_location = :new, previous_metadata_location = :old"
        count = do.run(f"UPDATE iceberg_tables {moved} WHERE {still}", old=old, new=new, **named)
    if count != 1:
        raise lost


def _insert_pointer(do: Transaction, catalog: str, table: str, location: str | None) -> None:
    do.run(
        "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type) "
        "VALUES (:catalog, :namespace, :name, :location, 'TABLE')",
        location=location, **_named(catalog, table),
    )  # fmt: skip


def _named(catalog: str, table: str) -> dict[str, str]:
    namespace, _, name = table.rpartition(".")
    return {"catalog": catalog, "namespace": namespace, "name": name}


def _tag(do: Transaction, name: str, position: str | None) -> None:
    head = _head(do)
    if position is not None and not (position.isdecimal() and int(position) <= head):
        raise UsageError(f"main has no position {position!r}", hint=f"The last one is {head}")
    do.run("DELETE FROM starberg_tag WHERE name = :name", name=name)
    seq = head if position is None else int(position)
    do.run("INSERT INTO starberg_tag (name, seq) VALUES (:name, :seq)", name=name, seq=seq)


def _forget(do: Transaction, run_id: str) -> None:
    do.run("DELETE FROM iceberg_tables WHERE catalog_name = :name", name=BRANCH_PREFIX + run_id)
    for table in ("starberg_branch_base", "starberg_branch"):
        do.run(f"DELETE FROM {table} WHERE run_id = :run_id", run_id=run_id)


def _head(do: Transaction) -> int:
    return do.value("SELECT max(seq) FROM starberg_publish") or 0


def _seq_of_run(do: Transaction, run_id: str) -> int | None:
    seq: int | None = do.value("SELECT seq FROM starberg_publish WHERE run_id = :run_id", run_id=run_id)
    return seq


def _branch(do: Transaction, run_id: str) -> Branch | None:
    rows = do.rows(f"SELECT {_BRANCH} FROM starberg_branch WHERE run_id = :run_id", run_id=run_id)
    return _as_branch(*rows[0]) if rows else None


def _as_branch(run_id: str, warehouse: str, created_at: str, base_seq: int) -> Branch:
    return Branch(run_id, warehouse, datetime.fromisoformat(created_at), str(base_seq))


def _rows(do: Transaction, catalog: str, warehouse: str | None = None) -> dict[str, str]:
    rows = do.rows(
        "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables WHERE catalog_name = :catalog "
        f"AND {_NO_VIEW} ORDER BY table_namespace, table_name",
        catalog=catalog,
    )
    return {f"{space}.{name}": location for space, name, location in rows if warehouse in (None, space)}


def _pointers(do: Transaction, since: datetime) -> set[tuple[str, str]]:
    rows = do.rows(f"SELECT table_namespace, table_name, metadata_location FROM iceberg_tables WHERE {_NO_VIEW}")
    found = {(f"{space}.{name}", str(location)) for space, name, location in rows}
    moment = since.astimezone(UTC).isoformat(timespec=_WIDTH)
    first = do.value("SELECT max(seq) FROM starberg_publish WHERE published_at <= :moment", moment=moment) or 0
    later = "SELECT table_id, location FROM starberg_pointer WHERE seq > :first AND location IS NOT NULL"
    found |= {(table, location) for table, location in do.rows(later, first=first)}
    named = do.rows("SELECT seq FROM starberg_tag UNION SELECT base_seq FROM starberg_branch")
    for seq in {first, *(seq for (seq,) in named if seq < first)}:
        found |= set(_tables_at(do, seq).items())
    return found


def _tables_at(do: Transaction, seq: int) -> dict[str, str]:
    rows = do.rows(
        "SELECT table_id, location FROM starberg_pointer p WHERE location IS NOT NULL AND seq = "
        "(SELECT max(l.seq) FROM starberg_pointer l WHERE l.table_id = p.table_id AND l.seq <= :seq) ORDER BY table_id",
        seq=seq,
    )
    return dict(rows)


def _tables_of_branch(do: Transaction, branch: Branch) -> dict[str, str]:
    """Other warehouses are as main had them at the cut; only the branch's own were copied."""
    cut = _tables_at(do, int(branch.base))
    others = {table: location for table, location in cut.items() if table.rpartition(".")[0] != branch.warehouse}
    return others | _rows(do, branch.name, branch.warehouse)


def _known(do: Transaction) -> list[str]:
    """Names a person may have meant: branches, tags and the latest runs."""
    runs = [run for (run,) in do.rows("SELECT run_id FROM starberg_branch")]
    runs += [run for (run,) in do.rows("SELECT run_id FROM starberg_publish ORDER BY seq DESC LIMIT 100")]
    tags = [tag for (tag,) in do.rows("SELECT name FROM starberg_tag")]
    return [*runs, *(BRANCH_PREFIX + run for run in runs), *tags]
