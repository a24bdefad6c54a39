"""A lake whose source changes a little from run to run, for upkeep: what it held at each run, and what it holds now."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memory_source import Said, feed_of, playing
from product import Product
from servers import FakeClock

from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl.control_tables import TABLES
from starberg.etl.results import MaintainResult, RunResult
from starberg.storage.branch_tables import BranchTables
from starberg.storage.branches import MAIN, Branch
from starberg.storage.sql_catalog import SqlCatalog
from starberg.utils.errors import UsageError
from starberg.utils.settings import Settings

DAY_S = 86_400
Content = Mapping[str, tuple[Any, ...]]
"""Each table's number of rows and a hash of them in any order."""


@dataclass
class Upkept:
    """A lake of one warehouse, `name`: members with history, and their visits by month."""

    lake: Lake
    clock: FakeClock
    open_reader: Callable[[], DuckDBEngine]
    name: str = "club"
    members: int = 30
    visits: int = 0
    held: dict[str, tuple[datetime, Content]] = field(default_factory=dict)
    """When each run published, and what it made main hold."""

    def run(self, changed: Sequence[int] = (), *, remember: bool = True) -> RunResult:
        """Run after some members moved and visited (none: after nothing)."""
        if changed:
            day = self.clock.now().date()
            moved = [{"id": member, "city": f"{day} {self.visits}"} for member in changed]
            visits = [{"id": self.visits + n, "member": m, "day": str(day)} for n, m in enumerate(changed)]
            self.visits += len(visits)
            self._feed.say("members", Said([moved]))
            self._feed.say("visits", Said([visits]))
        result = self.lake.run(self.name)
        if remember:
            self._remember(result.run_id)
        return result

    def start(self) -> RunResult:
        """Run for the first time."""
        return self.run(range(self.members))

    def maintain(self, **how: Any) -> MaintainResult:
        """Maintain the warehouse: its tables stay what they are."""
        before = self.content(control=False)
        [result] = self.lake.maintain(self.name, **how)
        assert self.content(control=False) == before, "maintenance changed rows"
        return result

    def content(self, at: str = MAIN, *, control: bool = True) -> Content:
        """Return what the tables hold at a state, every file read."""
        own = self.pointers(at).items()
        return self.read({name: where for name, where in own if control or name.partition(".")[2] not in TABLES})

    def pointers(self, at: str = MAIN) -> dict[str, str]:
        """Return where the tables are at a state."""
        found = self.lake.look(at).tables.items()
        return {name: where for name, where in sorted(found) if name.startswith(f"{self.name}.")}

    def read(self, pointers: Mapping[str, str]) -> Content:
        """Read every file of some tables."""
        engine = self.open_reader()
        return {
            name: engine.rows(f"SELECT count(*), sum(hash(t)) FROM iceberg_scan('{where}') t")[0]
            for name, where in pointers.items()
        }

    def answers(self, at: str) -> bool:
        """Tell whether a state is kept: then it holds what it held, else it says that it is not."""
        try:
            found = self.content(at)
        except UsageError as error:
            if "no longer kept" in str(error):
                return False
            raise
        if at in self.held:
            assert found == self.held[at][1], f"{at} is not what it was"
        return True

    def files(self) -> dict[str, int]:
        """Return how many files a reader of each table opens: data and deletes."""
        tables = self.tables()
        found = {name: tables.load(name) for name in sorted(tables.pointers)}
        return {
            name: len(tables.data_files(table)) + len(tables.delete_files(table))
            for name, table in found.items()
            if table
        }

    def tables(self) -> BranchTables:
        """Return the published tables, to look at."""
        nowhere = Branch("", self.name, self.clock.now(), "")
        return BranchTables(self.lake.catalog, self.lake.store, nowhere, self.pointers())

    def objects(self) -> set[str]:
        """Return the keys of all objects but the lease."""
        return {one.key for one in self.lake.store.list("")}

    def after_days(self, days: float) -> None:
        """Let time pass."""
        self.clock.sleep(days * DAY_S)

    def _remember(self, run_id: str) -> None:
        self.held[run_id] = self.clock.now(), self.content(run_id)

    @property
    def _feed(self) -> Any:
        return feed_of(f"memory:{self.name}")


def declare(folder: Path, name: str = "club") -> Path:
    """Write the warehouse into a project; return its folder."""
    product = Product(folder)
    streams = {
        "members": {"key": ["id"], "columns": {"id": "BIGINT", "city": "VARCHAR"}, "undeclared": "ignore"},
        "visits": {
            "key": ["id"],
            "columns": {"id": "BIGINT", "member": "BIGINT", "day": "DATE"},
            "undeclared": "ignore",
        },
    }
    product.declare(name, {"name": "app", "kind": "memory", "url": f"memory:{name}", "streams": streams})
    product.table(name, "staging/stg_members", "select id as member_id, city from members")
    product.table(name, "staging/stg_visits", "select id as visit_id, member as member_id, day from visits")
    product.table(
        name,
        "dimensions/dim_member",
        "/*\nnatural_key: member_id\nhistory: type2\n*/\nselect member_id, city from stg_members",
    )
    product.table(
        name,
        "facts/fact_visits",
        "/*\ngrain: visit_id\npartition: month(day)\n*/\nselect visit_id, member_id, day from stg_visits",
    )
    product.table(
        name, "marts/mart_days", "/* grain: day */ select day, count(*) as visits from fact_visits group by day"
    )
    return folder


@contextmanager
def upkept(folder: Path, settings: Mapping[str, str] | None = None, name: str = "club", **how: Any) -> Iterator[Upkept]:
    """Open a lake without any run; the clock starts now, as the store's does, and moves when told."""
    folder.mkdir(exist_ok=True)
    declare(folder, name)
    clock = FakeClock(datetime.now(UTC))
    loaded = Settings.load(folder, {"STARBERG_HOME": str(folder / "home"), **(settings or {})}, {})
    lake = open_lake(loaded, clock=clock, environment={})
    if not settings:  # the catalog tells when states were published: by the same clock
        lake = replace(lake, catalog=SqlCatalog(f"sqlite:///{folder / 'home'}/catalog.db", clock=clock))
    reader = lake.open_engine()
    reader.read_lake()
    (folder / "tmp").mkdir(exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder / "tmp")
    try:
        with playing("memory"):
            open_engine = how.pop("open_engine", None)
            yield Upkept(replace(lake, open_engine=open_engine) if open_engine else lake, clock, lambda: reader, name)
    finally:
        tempfile.tempdir = before
        reader.close()
        lake.catalog.close()
