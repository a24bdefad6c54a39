"""Any Iceberg REST catalog, with branches it does not have.

The server keeps main and nothing else. A branch is an object of our store with the pointers a run moved; its metadata
files are written by us, as everywhere. A publish is one commit of all these tables (`transactions/commit`): the
differences between the metadata at the cut and on the branch, and the requirement that each table is still what it was
at the cut. What main was after each publish is kept beside (see rest_records.py).

A server's metadata location may be one that only the server can open (Nessie), or in a bucket that is not ours. So main
points to copies: `catalog/metadata/<table>/…`, one for each location the server names.

What a REST catalog cannot promise, and the others do:

- One look at several tables is not atomic: they are asked for one by one. A look during which a publish was recorded is
  taken again, but between a commit and its record, and between the commits of foreign writers, a look may be mixed.
- A table cannot be dropped and made anew by one run: UsageError.
- Tables are dropped one by one after the commit: a reader may see the commit and not yet the drops. If a publish that
  only drops tables is cut off in the middle, asking for it again raises Conflict.
- A commit whose answer was lost is recognised by its snapshots. If the server shows only the current one (Nessie) and
  another run changed every table of it before we asked again, it is taken for lost; our runs ask first.
- A run that is cut off between its commit and the record of it is recorded when anyone asks for it by its run id.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import SecretStr

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
    is_name,
    no_such_state,
)
from starberg.storage.json_service import TIMEOUTS_S, JsonService, OAuth2, Overtaken, message
from starberg.storage.object_store import ObjectStore
from starberg.storage.rest_records import BranchRecord, PublishRecord, Records
from starberg.storage.rest_server import RestServer, ServedTable, change
from starberg.storage.rest_updates import current_snapshot, requirements, updates
from starberg.utils.clock import Clock
from starberg.utils.errors import Conflict, UsageError

_OWN_NAMESPACE, _ID = "starberg", "starberg.catalog-id"


class RestCatalog:
    """The `Catalog` over an Iceberg REST server and an object store. Nothing connects before the first call."""

    writes_metadata = True

    def __init__(
        self,
        uri: str,
        store: ObjectStore,
        *,
        warehouse: str = "",
        token: SecretStr | None = None,
        oauth2: OAuth2 | None = None,
        timeouts_s: tuple[float, float] = TIMEOUTS_S,
        clock: Clock | None = None,
    ) -> None:
        """`warehouse` is the server's own word for which of its catalogs is meant."""
        self._clock = clock or Clock()
        root = re.sub(r"/v1/?$", "", uri.rstrip("/"))
        service = JsonService(
            root, "the REST catalog", token=token, oauth2=oauth2, timeouts_s=timeouts_s, clock=self._clock
        )
        self._service = service
        self._server = RestServer(service, warehouse)
        self._store = store
        self._records = Records(store)
        self._copied: set[str] = set()

    def __repr__(self) -> str:
        return f"RestCatalog({self._service.root})"

    def state(self, at: str = MAIN) -> State:
        """Return all tables at `at` (see `Catalog.state`)."""
        if at == MAIN:
            seq, tables = self._service.decide(self._main)
            return State(at, str(seq), tables)
        if (found := self._seq(at)) is not None:
            return State(at, str(found), dict(self._records.publish(found).tables) if found else {})
        run_id = at.removeprefix(BRANCH_PREFIX)
        branch = self._records.branch(run_id) if is_name(run_id, run_id=True) else None
        if branch is None:
            runs = [record.run_id for record in self._records.branches()]
            tags = [name for name, _ in self._records.tags()]
            raise no_such_state(at, [*runs, *(BRANCH_PREFIX + run for run in runs), *tags])
        return State(at, str(branch.base), branch.tables)

    def create_branch(self, run_id: str, warehouse: str) -> Branch:
        """Note the pointers of main under the run's name, or return the branch there is."""
        check_run_id(run_id)
        check_warehouse(warehouse)
        if position := self.published(run_id):
            raise Conflict(f"run {run_id} was published already, as {position}")
        there = self._records.branch(run_id)
        if there is None:
            self._server.namespace(warehouse, {})
            seq, cut = self._service.decide(self._main)
            new = BranchRecord(run_id=run_id, warehouse=warehouse, created_at=self._clock.now(), base=seq, cut=cut)
            self._records.put_branch(new, new=True)
            there = self._records.branch(run_id) or new
        if there.warehouse != warehouse:
            raise Conflict(f"{BRANCH_PREFIX}{run_id} is a branch of {there.warehouse}, not of {warehouse}")
        return there.as_branch()

    def move(self, branch: Branch, moves: Sequence[Move]) -> None:
        """Note moved pointers in the branch's object; a branch has one writer, its run."""
        check_moves(branch, moves)
        record = self._branch(branch)
        here = record.tables
        moved = dict(record.moved)
        for move in moves:
            at = here.get(move.table)
            if at not in (move.base, move.location):
                raise Conflict(f"{move.table} on {branch.name} is at {at}, not at {move.base}")
            if move.location and at is None and move.table in record.cut:
                hint = "Drop it in one run and make it in the next"
                raise UsageError(f"{self._service.name} cannot replace table {move.table}", hint=hint)
            moved[move.table] = move.location
        if moved != record.moved:
            self._records.put_branch(record.model_copy(update={"moved": moved}))

    def publish(self, branch: Branch, message: str) -> str:
        """Commit what the branch changed; return the number of this publish."""
        return self._service.decide(lambda: self._publish(branch, message))

    def published(self, run_id: str) -> str | None:
        """Return the number of the run's publish, or None; a publish that landed unrecorded is recorded now."""
        if (seq := self._records.run(check_run_id(run_id))) is None:
            record = self._records.branch(run_id)
            if record is None or record.publishing is None:
                return None
            seq = self._recorded(record)
            if seq is None and self._landed(record):
                seq = self._finish(record)
        return None if seq is None else str(seq)

    def branches(self, warehouse: str | None = None) -> list[Branch]:
        """List branches, oldest first."""
        found = [record.as_branch() for record in self._records.branches()]
        return [branch for branch in found if warehouse in (None, branch.warehouse)]

    def drop_branch(self, branch: Branch) -> None:
        """Delete the branch's object."""
        self._records.drop_branch(branch.run_id)

    def pointers(self, since: datetime) -> set[tuple[str, str]]:
        """Return every pointer that can still be looked up (see `Catalog.pointers`)."""
        last, main = self._service.decide(self._main)
        found = set(main.items())
        for branch in self._records.branches():
            found |= {*branch.cut.items(), *branch.tables.items()}
        recent = range(max(self._records.seq_at(since), 1), last + 1)
        for seq in {*recent, *(seq for _, seq in self._records.tags() if seq)}:
            found |= set(self._records.publish(seq).tables.items())
        return found

    def tag(self, name: str, position: str | None = None) -> None:
        """Name a publish (default: the last)."""
        check_tag(name)
        seq = self._records.last() if position is None else self._position(position)
        if seq is None:
            raise UsageError(f"main has no position {position!r}", hint=f"The last one is {self._records.last()}")
        self._records.put_tag(name, seq)

    def tags(self) -> dict[str, str]:
        """Return tag names with their positions."""
        return {name: str(seq) for name, seq in self._records.tags()}

    def drop_tag(self, name: str) -> None:
        """Delete a tag."""
        self._records.drop_tag(check_tag(name))

    def identity(self) -> str:
        """Return the id that stands in the properties of the server's namespace `starberg`, drawn at the first use."""
        properties = self._server.namespace(_OWN_NAMESPACE, {_ID: str(uuid.uuid4())})
        if _ID not in properties:
            hint = f"Give it the property {_ID}, any unique value"
            raise UsageError(f"{self._service.name} has a namespace {_OWN_NAMESPACE} that is not ours", hint=hint)
        return properties[_ID]

    def close(self) -> None:
        """Release connections."""
        self._service.close()

    # publishing

    def _publish(self, branch: Branch, text: str) -> str:
        if position := self.published(branch.run_id):
            return position
        record = self._branch(branch)
        if not record.changed:
            return str(self._records.last())
        changes = self._changes(record)
        record = record.model_copy(update={"publishing": text})
        self._records.put_branch(record)
        if changes:
            reply = self._server.commit(changes)
            # A refusal may answer the second of two requests, of which the first landed.
            if not reply.ok and not self._landed(record):
                raise Conflict(f"{branch.name} cannot be published: {message(reply.body)}")
        return str(self._finish(record))

    def _changes(self, record: BranchRecord) -> list[dict[str, Any]]:
        """Return the commit; Conflict if a table is not what it was at the cut."""
        changes = []
        for table, location in sorted(record.changed.items()):
            served, cut = self._server.table(table), record.cut.get(table)
            if (self._pointer(table, served) if served else None) != cut:
                raise Conflict(f"{table} was published by another run after {BRANCH_PREFIX}{record.run_id} was cut")
            if location is not None:
                base = self._metadata(cut) if cut else None
                changes.append(change(table, requirements(base), updates(base, self._metadata(location))))
        return changes

    def _landed(self, record: BranchRecord) -> bool:
        """Tell whether a table has a snapshot that the branch made: as a commit is all or nothing, one tells of all."""
        for table, location in record.changed.items():
            if location is None:
                continue
            base = record.cut.get(table)
            ours = current_snapshot(self._metadata(location))
            before = current_snapshot(self._metadata(base)) if base else None
            if ours is None or ours == before:
                continue
            served = self._server.table(table)
            known = served.metadata.get("snapshots") or [] if served else []
            return any(snapshot["snapshot-id"] == ours for snapshot in known)
        return False

    def _finish(self, record: BranchRecord) -> int:
        """Do what follows a commit that landed: drop tables, then record the publish."""
        pointers: dict[str, str] = {}
        dropped = []
        for table, location in record.changed.items():
            served = self._server.table(table)
            pointer = self._pointer(table, served) if served else None
            if location is None:
                dropped.append(table)
                if pointer == record.cut.get(table):
                    self._server.drop(table)
            else:  # unless another run has moved it on meanwhile, what the server made of our metadata
                is_ours = served and current_snapshot(served.metadata) == current_snapshot(self._metadata(location))
                pointers[table] = pointer if is_ours and pointer else location
        while (seq := self._recorded(record)) is None:
            self._record(record, pointers, dropped)
        return seq

    def _record(self, record: BranchRecord, pointers: Mapping[str, str], dropped: Sequence[str]) -> None:
        """Try to take the next number; another run may be faster."""
        seq, now = self._records.last(), self._clock.now()
        before = self._records.publish(seq) if seq else None
        tables = {**(before.tables if before else record.cut), **pointers}
        publish = PublishRecord(
            run_id=record.run_id,
            warehouse=record.warehouse,
            message=record.publishing or "",
            # A clock that stepped back must not make an older state the one of a later instant.
            published_at=max(now, before.published_at) if before else now,
            tables={table: location for table, location in sorted(tables.items()) if table not in dropped},
        )
        self._records.put_publish(seq + 1, publish)

    def _recorded(self, record: BranchRecord) -> int | None:
        """Return the run's publish among those since the cut, and make sure that the run leads to it."""
        for seq in range(record.base + 1, self._records.last() + 1):
            if self._records.publish(seq).run_id == record.run_id:
                self._records.put_run(record.run_id, seq)
                return seq
        return None

    # looks

    def _main(self) -> tuple[int, dict[str, str]]:
        """Return main's last position and its pointers; Overtaken if a publish was recorded while we looked."""
        before = self._records.last()
        if before and not self._copied:
            self._copied.update(self._records.publish(before).tables.values())
        tables = {name: self._pointer(name, served) for name, served in sorted(self._server.tables().items())}
        if self._records.last() != before:
            raise Overtaken(f"{self._service.name} was published to during every look")
        return before, tables

    def _seq(self, at: str) -> int | None:
        """Return the publish that a tag, an instant, a position or a run id means, or None."""
        seq = self._records.tag(at) if is_name(at) and not at.startswith(BRANCH_PREFIX) else None
        if seq is None and (moment := instant(at)):
            seq = self._records.seq_at(moment)
        if seq is None:
            seq = self._position(at)
        if seq is None and is_name(at, run_id=True) and (position := self.published(at)):
            seq = int(position)
        return seq

    def _position(self, position: str) -> int | None:
        return int(position) if position.isdecimal() and int(position) <= self._records.last() else None

    def _branch(self, branch: Branch) -> BranchRecord:
        if record := self._records.branch(branch.run_id):
            return record
        raise gone(branch)

    def _pointer(self, table: str, served: ServedTable) -> str:
        """Return where our copy of a served table's metadata is, having made it if need be."""
        digest = hashlib.sha256(served.location.encode()).hexdigest()[:32]
        version = re.match(r"\d+", served.location.rpartition("/")[2])
        key = f"catalog/metadata/{table.replace('.', '/')}/{version[0] if version else '00000'}-{digest}.metadata.json"
        location = self._store.uri(key)
        if location not in self._copied:
            self._store.put(key, json.dumps(served.metadata).encode(), if_absent=True)
            self._copied.add(location)
        return location

    def _metadata(self, location: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self._store.get(self._store.key(location)))
        return found
