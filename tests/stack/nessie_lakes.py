"""The games warehouse on MinIO and Nessie, under names of its own. A catalog has one lake: theirs share a prefix."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crash import Known, publish, read
from faults import NAMES, run_task
from ground import change
from places import Place, declare_games, files, is_control, is_of
from stack import Stack

from starberg.entrypoints.bootstrap import open_catalog, open_store
from starberg.samples.rawg_remote import RemoteServer, spawn
from starberg.storage.branches import MAIN, Branch, Move, TableIds
from starberg.storage.iceberg_tables import read_table
from starberg.storage.lease import Lease
from starberg.utils.settings import Settings

GAMES = 60
LAKE = "s3://starberg/lake-of-tests"


@dataclass(frozen=True)
class _Kept:
    """Where a lake stood: its tables on main with what Nessie keeps of them, its objects with their sizes."""

    tables: Mapping[str, str]
    ids: Mapping[str, TableIds]
    sizes: Mapping[str, int]
    small: Mapping[str, bytes]


@dataclass
class NessieGround:
    """A warehouse that can be put back to where it was kept, with its source."""

    place: Place
    server: RemoteServer
    _kept: dict[str, _Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = Settings.load(self.place.project, self.place.settings, {})
        self.store = open_store(settings)
        self.catalog = open_catalog(settings, self.store)

    def keep(self, name: str = "kept") -> None:
        """Remember the lake as it is."""
        tables = self.tables()
        metadata = {table: read_table(self.store, table, at).metadata for table, at in tables.items()}
        ids = {
            table: TableIds(
                found.current_snapshot_id or -1,
                found.current_schema_id,
                found.default_spec_id,
                found.default_sort_order_id,
            )
            for table, found in metadata.items()
        }
        sizes = self.objects()
        small = {key: self.store.get(key) for key in sizes if not _is_of_tables(key)}
        self._kept[name] = _Kept(tables, ids, sizes, small)

    def put_back(self, name: str = "kept") -> None:
        """Move main back to the kept tables, and remove what came since."""
        kept = self._kept[name]
        self.drop_branches()
        self._move(kept.tables, kept.ids)
        now = self.objects()
        self.store.delete(sorted(now.keys() - kept.sizes.keys()))
        for key, body in kept.small.items():
            if key not in now:
                self.store.put(key, body)
        for tag in self._tags():
            self.catalog.tag(tag)

    def wreck(self) -> str:
        """Describe what a dead process left.

        Left out are objects of tables no pointer leads to: nothing looks for them by their names.
        """
        at_main = self.tables()
        lines = [f"main {table} {at}" for table, at in at_main.items()]
        for branch in self._branches():
            lines += [f"branch {branch.warehouse} {branch.name}"]
            lines += [f"{branch.name} {table} {at}" for table, at in self.tables(branch.name).items()]
        lines += [f"tag {tag} is at main: {self.tables(tag) == at_main}" for tag in self._tags()]
        lines += [key for key in self.objects() if not key.startswith("tables/")]
        return "\n".join(sorted(NAMES.sub("*", line).replace(self.place.warehouse, "games") for line in lines))

    def lost(self) -> set[str]:
        """Return the kept tables' and loads' objects that are gone or have another size."""
        now = self.objects()
        return {key for key, size in self._kept["kept"].sizes.items() if _is_of_tables(key) and now.get(key) != size}

    def fresh(self) -> Place:
        """Put the lake back; return its place."""
        self.put_back()
        return self.place

    def known(self) -> Known:
        """Change the source; return what the lake holds before and after its next run."""
        change(self.server)
        self.put_back()
        old, _ = run_task(read, self.place)
        return Known(old, *run_task(publish, self.place))

    def tables(self, at: str = MAIN) -> dict[str, str]:
        """Return where the warehouse's tables are at a state."""
        found = self.catalog.state(at).tables
        return {table: place for table, place in found.items() if table.startswith(f"{self.place.warehouse}.")}

    def objects(self) -> dict[str, int]:
        """Return the warehouse's objects with their sizes."""
        return {key: size for key, size in files(self).items() if is_of(key, self.place.warehouse)}

    def data_tables(self) -> dict[str, str]:
        """Return where the warehouse's published tables are, control tables left out."""
        return {table: at for table, at in self.tables().items() if not is_control(table)}

    def drop_branches(self) -> None:
        """Drop the warehouse's branches, also one that its run had only begun to make."""
        for branch in self._branches():
            self.catalog.drop_branch(branch)

    def remove(self) -> None:
        """Take the lake from main and from the bucket."""
        self.drop_branches()
        self._move({}, {})
        for tag in self._tags():
            self.catalog.drop_tag(tag)
        self.store.delete(list(self.objects()))
        self.catalog.close()

    def _move(self, tables: Mapping[str, str], ids: Mapping[str, TableIds]) -> None:
        now = self.tables()
        wanted = {table: tables.get(table) for table in {**now, **tables}}
        moves = [Move(t, now.get(t), at, ids[t] if at else None) for t, at in wanted.items() if at != now.get(t)]
        if moves:
            branch = self.catalog.create_branch(f"back-{secrets.token_hex(6)}", self.place.warehouse)
            self.catalog.move(branch, moves)
            self.catalog.publish(branch, "put a test's tables back")
            self.catalog.drop_branch(branch)

    def _branches(self) -> list[Branch]:
        """Return the warehouse's branches, also one that names no warehouse yet but the run that holds the lease."""
        key = f"leases/{self.place.warehouse}.json"
        run_id = Lease.model_validate_json(self.store.get(key)).run_id if self.store.size(key) is not None else ""
        ours = (self.place.warehouse, "")
        found = [branch for branch in self.catalog.branches() if branch.warehouse in ours]
        return [branch for branch in found if branch.warehouse or branch.run_id == run_id]

    def _tags(self) -> list[str]:
        return [tag for tag in self.catalog.tags() if tag.startswith(f"{self.place.warehouse}-")]


@contextmanager
def nessie_ground(stack: Stack, folder: Path, *, seed: int = 7, lake: str = "") -> Iterator[NessieGround]:
    """Make a warehouse with one published load, in a lake of its own unless given, and remove both at the end."""
    name = secrets.token_hex(4)
    project = folder / name
    project.mkdir(parents=True)
    known = stack.service("minio").env | stack.service("nessie").env
    known |= {"STARBERG_LAKE": LAKE, "STARBERG_HOME": str(project / "home")}
    with spawn(games=GAMES, seed=seed) as server:
        place = Place(project, f"games_{name}", known)
        declare_games(project, place.warehouse, server.url)
        ground = NessieGround(place, server)
        try:
            run_task(publish, place)
            ground.keep()
            yield ground
        finally:
            ground.remove()


def _is_of_tables(key: str) -> bool:
    """Tell whether an object is of a table or a load, which are written once."""
    return key.startswith(("tables/", "raw/"))
