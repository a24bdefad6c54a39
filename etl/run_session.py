"""Where a run works: the warehouse's lease, a branch of the catalog, an engine over it.

Whatever ends badly leaves main as it was. A branch goes with its run, but for one on which a check failed: people look
at it. What dead runs left is swept away by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starberg.engines.base import Engine
from starberg.etl.control import ControlTables
from starberg.etl.control_tables import STATE, TABLES
from starberg.etl.row_delta import RowDelta
from starberg.storage.branch_tables import BranchTables
from starberg.storage.branches import Branch, Catalog, gone
from starberg.storage.lake_file import check_claim, claim
from starberg.storage.lease import Held, Lease, hold, is_held
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import Chains
from starberg.utils.clock import Clock
from starberg.utils.errors import CheckFailed, LakeError, StarbergError
from starberg.utils.sql import text

log = logging.getLogger(__name__)

LOG = ".log"
"""Ends the run id under which a run's row is published by itself."""


@dataclass(frozen=True)
class Session:
    """A branch, the engine over it, and the tables on it; `before` says where they were when it was cut."""

    branch: Branch
    engine: Engine
    tables: BranchTables
    control: ControlTables
    delta: RowDelta
    before: Mapping[str, str]

    @property
    def moved(self) -> set[str]:
        """The tables (`warehouse.table`) that are not where they were."""
        return {name for name, location in self.tables.pointers.items() if self.before.get(name) != location}

    def write(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of a control table."""
        self.control.write(self.delta, table, rows)


class Sessions:
    """Opens sessions over one warehouse."""

    def __init__(
        self,
        warehouse: str,
        *,
        catalog: Catalog,
        store: ObjectStore,
        open_engine: Callable[[], Engine],
        scratch: Path,
        clock: Clock,
    ) -> None:
        self.warehouse = warehouse
        self.catalog = catalog
        self.store = store
        self.scratch = scratch
        self.chains = Chains(store, warehouse)
        self.clock = clock
        self._open_engine = open_engine

    @contextmanager
    def leased(self, run_id: str, wait_s: float, record: Callable[[Lease], None], about: str = "") -> Iterator[Held]:
        """Hold the warehouse, and say what for; a dead holder is given to `record` first.

        Raises Busy; LakeError if the lake is another catalog's, or the catalog's tables are in another lake.
        """

        def reclaim(dead: Lease) -> None:
            record(dead)
            self._sweep(dead.run_id)

        claim(self.store, self.catalog, self.clock)
        self.pointers()
        with hold(self.store, self.warehouse, run_id, self.clock, wait_s=wait_s, reclaim=reclaim, about=about) as held:
            self._sweep()
            yield held

    def is_held(self, run_id: str) -> bool:
        """Tell whether a run still holds the warehouse."""
        return is_held(self.store, self.warehouse, run_id)

    @contextmanager
    def open(self, run_id: str, of: str = "") -> Iterator[Session]:
        """Cut a run's branch and open an engine over it; rows are marked as written by the run `of` (default: it)."""
        branch = self.catalog.create_branch(run_id, self.warehouse)
        try:
            with self._over(branch, self.pointers(branch.name), of or run_id) as session:
                try:
                    yield session
                except CheckFailed:
                    session.tables.save()  # so that people can look at what failed
                    raise
        except CheckFailed:
            raise
        except BaseException:
            self.tidy(branch)
            raise

    @contextmanager
    def reopen(self, run_id: str, before: Mapping[str, str]) -> Iterator[Session]:
        """Open an engine over the branch that an earlier stage of a run cut from `before`; it stays whatever happens.

        Conflict if the branch is gone.
        """
        of_run = (branch for branch in self.catalog.branches(self.warehouse) if branch.run_id == run_id)
        branch = next(of_run, None)
        if branch is None:
            raise gone(Branch(run_id, self.warehouse, self.clock.now(), ""))
        with self._over(branch, self.pointers(branch.name), run_id) as session:
            session.engine.attach(dict(session.tables.pointers))
            session.engine.run(f"SET search_path = {text(self.warehouse)}")
            yield replace(session, before=dict(before))

    @contextmanager
    def look(self) -> Iterator[Session]:
        """Open an engine over main, on no branch: what is written cannot be published."""
        check_claim(self.store, self.catalog)
        nowhere = Branch("", self.warehouse, self.clock.now(), "")
        with self._over(nowhere, self.pointers(), "") as session:
            yield session

    def still_ours(self, session: Session) -> None:
        """Raise Conflict if the run was frozen for so long that another one took over, and maybe published."""
        if not self.is_held(session.branch.run_id):
            raise gone(session.branch)

    def pointers(self, branch: str = "main") -> dict[str, str]:
        """Return where the warehouse's tables are on a branch; LakeError if that is another lake."""
        tables = self.catalog.state(branch).tables
        own = {name: location for name, location in tables.items() if name.startswith(f"{self.warehouse}.")}
        elsewhere = next((place for place in own.values() if not place.startswith(f"{self.store.root}/")), "")
        if elsewhere:
            raise LakeError(
                f"the catalog's tables of {self.warehouse} are not in the lake {self.store.root}: {elsewhere}",
                hint="Set STARBERG_LAKE (or --home) to the lake they are in, or STARBERG_CATALOG to this lake's own.",
            )
        return own

    def tidy(self, branch: Branch, tag: str = "") -> None:
        """Name the day's state and drop a branch; what fails is only logged: it changes nothing that was published."""
        try:
            if tag:
                self.catalog.tag(tag)
            self.catalog.drop_branch(branch)
        except StarbergError as error:
            log.warning("%s was not tidied up: %s", branch.name, error)

    @contextmanager
    def _over(self, branch: Branch, pointers: Mapping[str, str], run_id: str) -> Iterator[Session]:
        with closing(self._open_engine()) as engine:
            engine.confine([self.store.root, str(self.scratch)])
            engine.attach({name: place for name, place in pointers.items() if name.split(".")[1] in STATE})
            tables = BranchTables(self.catalog, self.store, branch, pointers)
            existing = [name for name in TABLES if f"{self.warehouse}.{name}" in pointers]
            control = ControlTables(engine.local, self.warehouse, existing)
            yield Session(branch, engine, tables, control, RowDelta(engine.local, tables, run_id), dict(pointers))

    def _sweep(self, dead: str = "") -> None:
        """Drop the branches that ended runs left: those of logs, of published runs and of a dead one.

        A dead run's branch may be half made, and then names no warehouse.
        """
        for branch in self.catalog.branches(None if dead else self.warehouse):
            of_dead = bool(dead) and branch.run_id.split(LOG)[0] == dead
            if of_dead or (branch.warehouse == self.warehouse and self._is_over(branch)):
                self.catalog.drop_branch(branch)

    def _is_over(self, branch: Branch) -> bool:
        return LOG in branch.run_id or self.catalog.published(branch.run_id) is not None
