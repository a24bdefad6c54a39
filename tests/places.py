"""The games warehouse in a temporary project, on any store and catalog, and what can be asked of its lake.

A place is plain data: each process of a test opens the lake for itself.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import yaml
from faults import Hook, Steps

import starberg
from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl.control_tables import TABLES
from starberg.storage.lease import Lease
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import RawStream
from starberg.utils.clock import Clock
from starberg.utils.settings import Settings

GAMES = Path(starberg.__file__).parent / "warehouses" / "games"
SMALL = (
    "staging/stg_games",
    "staging/stg_genres",
    "dimensions/dim_date",
    "dimensions/dim_esrb_rating",
    "dimensions/dim_genre",
    "bridges/bridge_game_genre",
    "facts/fact_games",
    "marts/mart_games_by_genre_year",
    "checks/deleted_games_are_dated",
    "checks/ratings_in_range",
    "checks/release_date_key_is_the_date",
)
"""The declarations of games around its facts, one bridge and one mart."""

KEY = {"RAWG_API_KEY": "sample-key"}

Content = Mapping[str, tuple[int, int]]
"""Each table's rows and a hash of them in any order, without what differs from run to run: which one wrote a row, and
when it missed a deleted one."""


class Standing(Clock):
    """Real time to wait by, but the date and time stand: midnight changes nothing."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


@dataclass(frozen=True)
class Place:
    """A lake of the games warehouse (under any name) in a project folder; `settings` are by environment name."""

    project: Path
    warehouse: str
    settings: Mapping[str, str]
    now: datetime = datetime(2026, 11, 2, 12, tzinfo=UTC)

    def open(self, hook: Hook | None = None, *, ahead: timedelta = timedelta(), clock: Clock | None = None) -> Lake:
        """Open the lake, its clock `ahead` of the place's; each step is told to `hook`."""
        tempfile.tempdir = str(self.project / "tmp")
        (self.project / "tmp").mkdir(exist_ok=True)
        settings = Settings.load(self.project, {"STARBERG_THREADS": "1", **self.settings}, {})
        wrap = Steps(hook).wrap if hook else lambda store, catalog: (store, catalog)
        return open_lake(settings, clock=clock or Standing(self.now + ahead), environment=KEY, wrap=wrap)


def declare_games(project: Path, warehouse: str, url: str, tables: Sequence[str] = SMALL) -> None:
    """Write a project with the games warehouse, or some of its tables, read from a sample server by `kind: rest`."""
    (project / "starberg.toml").touch()
    folder = project / "warehouses" / warehouse
    for table in tables:
        target = folder / f"{table}.sql"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(GAMES / f"{table}.sql", target)
    (folder / "warehouse.yml").write_text(json.dumps({"sources": {"rawg": _source(url, tables)}}))


def _source(url: str, tables: Sequence[str]) -> dict[str, Any]:
    """Return the declared source with the streams the tables read, paged plainly."""
    source: dict[str, Any] = yaml.safe_load((GAMES / "warehouse.yml").read_text())["sources"]["rawg"]
    read = [name for name in source["streams"] if f"staging/stg_{name}" in tables]
    paging = {"kind": "page", "param": "page", "size_param": "page_size", "size": 40, "total": "count"}
    streams = {name: source["streams"][name] | {"pagination": paging, "options": {}} for name in read}
    return source | {"kind": "rest", "url": url, "budget": {"per_month": 10_000}, "streams": streams}


def content(lake: Lake, warehouse: str) -> Content:
    """Return what the published tables hold, control tables left out; every file is read."""
    engine = lake.reader(warehouse, own=True)
    try:
        tables = [name for (name,) in engine.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal")]
        for name in set(tables) & set(TABLES):
            engine.rows(f"SELECT count(*), sum(hash(t)) FROM {name} t")
        return {name: _hashed(engine, name) for name in sorted(set(tables) - set(TABLES))}
    finally:
        engine.close()


def _hashed(engine: DuckDBEngine, name: str) -> tuple[int, int]:
    columns = [column.name for column in engine.columns(f"SELECT * FROM {name}") if column.name != "_run_id"]
    compared = [f"{column} IS NULL" if column.endswith("deleted_at") else column for column in columns]
    [found] = engine.rows(f"SELECT count(*), sum(hash({', '.join(compared)})::HUGEINT) FROM {name}")
    return found[0], int(found[1] or 0)


def rows_by_pyiceberg(lake: Lake, warehouse: str) -> dict[str, int]:
    """Return the rows of every published table, control tables too, as another Iceberg reader reads them in full."""
    from pyiceberg.table import StaticTable

    access = lake.store.credentials() if hasattr(lake.store, "credentials") else None
    properties = (
        {
            "s3.endpoint": f"http://{access.endpoint_host}",
            "s3.access-key-id": access.access_key,
            "s3.secret-access-key": access.secret_key,
            "s3.region": access.region,
        }
        if access
        else {}
    )
    pointers = {n: at for n, at in lake.catalog.state().tables.items() if n.startswith(f"{warehouse}.")}
    return {
        name.partition(".")[2]: StaticTable.from_metadata(at, properties).scan().to_arrow().num_rows
        for name, at in pointers.items()
    }


class HasStore(Protocol):
    """Anything with a store: a lake, or less."""

    @property
    def store(self) -> ObjectStore: ...


def files(lake: HasStore) -> dict[str, int]:
    """Return the lake's objects with their sizes."""
    return {found.key: found.size for found in lake.store.list("")}


def is_of(key: str, warehouse: str) -> bool:
    """Tell whether an object is a warehouse's."""
    return key.split("/")[1:2] in ([warehouse], [f"{warehouse}.json"])


def is_control(table: str) -> bool:
    """Tell whether a table (`warehouse.table`) is a control table, which every run writes."""
    return table.partition(".")[2] in TABLES


def is_bookkeeping(key: str, warehouse: str) -> bool:
    """Tell whether an object is of a control table or the request budget, which every run writes."""
    return key.startswith(("requests/", *(f"tables/{warehouse}/{name}/" for name in TABLES)))


def holder(lake: Lake, warehouse: str) -> str | None:
    """Return the run that the warehouse's lease names, alive or not."""
    key = f"leases/{warehouse}.json"
    return Lease.model_validate_json(lake.store.get(key)).run_id if lake.store.size(key) is not None else None


def loads(lake: Lake, warehouse: str) -> dict[str, int]:
    """Return the last load of each stream; LakeError if a chain has a gap."""
    return {
        stream: len(RawStream(lake.store, warehouse, "rawg", stream).loads())
        for stream in lake.warehouse(warehouse).sources["rawg"].streams
    }
