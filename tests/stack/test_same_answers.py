"""The shipped games warehouse on MinIO and Nessie: by settings alone, with the answers of the embedded lake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import pytest
from faults import run_task
from ground import change
from nessie_lakes import LAKE, NessieGround
from places import Place
from stack import Server, Stack

from starberg.engines import duckdb as duckdb_engine
from starberg.engines.duckdb import DuckDBEngine
from starberg.samples.rawg_remote import RemoteServer, spawn

Rows = list[tuple[Any, ...]]

WAREHOUSE = "games"
STORE_REQUESTS_OF_AN_IDLE_RUN = 50

UNLIKE = (
    *("_run_id", "run_id", "inputs"),
    *("duration_ms", "seconds_by_stage", "peak_rss_bytes", "store_requests", "bytes_read", "bytes_written"),
    "ended_at",
)
"""The columns of names drawn anew, of locations and of what a run cost. The clocks stand, so other times are alike."""


@dataclass(frozen=True)
class Lakes:
    """One source, and two lakes read from it that differ in their settings."""

    server: RemoteServer
    embedded: Place
    served: Place


@pytest.fixture(scope="module")
def lakes(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakes]:
    """Run both lakes twice: from nothing, and after the source changed."""
    folder = tmp_path_factory.mktemp("same")
    with spawn(games=200) as server:
        variables = f'[variables]\nRAWG_URL = "{server.url}"\nGAMES_REQUESTS_PER_SECOND = "1000"\n'
        (folder / "starberg.toml").write_text(variables)
        embedded = Place(folder, WAREHOUSE, {"STARBERG_HOME": str(folder / "home")})
        servers = stack.service("minio").env | stack.service("nessie").env
        served = replace(embedded, settings={**embedded.settings, **servers, "STARBERG_LAKE": LAKE})
        ground = NessieGround(served, server)
        ground.remove()
        try:
            for place in (embedded, served):
                assert run_task(run, place) == "SUCCESS"
            change(server)
            for place in (embedded, served):
                assert run_task(run, place) == "SUCCESS"
            yield Lakes(server, embedded, served)
        finally:
            ground.remove()


def run(_talk: Connection, place: Place) -> str:
    """Run the warehouse; return the status."""
    return place.open().run(place.warehouse).status.value


def tables(_talk: Connection, place: Place) -> dict[str, Rows]:
    """Return the rows of every table, control tables too, without the columns that are unlike."""
    lake = place.open()
    con = lake.connect(WAREHOUSE)
    names = [name.partition(".")[2] for name in lake.catalog.state().tables if name.startswith(f"{WAREHOUSE}.")]
    columns = f"COLUMNS(c -> c NOT IN {UNLIKE})"
    return {name: sorted(con.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr) for name in names}


def run_idle(_talk: Connection, place: Place) -> tuple[str, int]:
    """Run the warehouse; return the status and the requests made of the object store, the engine's own too."""
    connect, close, asked = duckdb_engine._connect, DuckDBEngine.close, []

    def listening(*given: Any) -> Any:
        connection = connect(*given)
        connection.execute("CALL enable_logging('HTTP', storage = 'memory')")
        return connection

    def counted(engine: DuckDBEngine) -> None:
        asked.extend(engine.rows("SELECT request.url FROM duckdb_logs_parsed('HTTP')"))
        close(engine)

    with patch.object(duckdb_engine, "_connect", listening), patch.object(DuckDBEngine, "close", counted):
        lake = place.open()
        status = lake.run(place.warehouse).status.value
    assert asked
    return status, lake.store.counters.requests + len(asked)


def facts(_talk: Connection, place: Place) -> Rows:
    """Return fact_games, whole."""
    return sorted(place.open().connect(WAREHOUSE).execute("SELECT * FROM fact_games").fetchall())


def test_every_table_holds_the_same(lakes: Lakes) -> None:
    embedded, served = (run_task(tables, place) for place in (lakes.embedded, lakes.served))
    assert embedded.keys() == served.keys()
    assert len(embedded) > 20
    for name, rows in embedded.items():
        assert served[name] == rows, name
    assert {name for name, rows in embedded.items() if not rows} <= {"etl_job_runs"}, "it declares no jobs"


def test_another_iceberg_client_reads_the_same_from_nessie(lakes: Lakes, nessie: Server) -> None:
    """PyIceberg, through Nessie's Iceberg REST endpoint, with no settings of ours but keys for the files."""
    from pyiceberg.catalog.rest import RestCatalog

    given = lakes.served.settings
    keys = {
        "s3.endpoint": given["MINIO_ENDPOINT"],
        "s3.access-key-id": given["MINIO_ACCESS_KEY"],
        "s3.secret-access-key": given["MINIO_SECRET_KEY"],
        "s3.region": given["MINIO_REGION"],
    }
    catalog = RestCatalog("nessie", uri=f"{nessie.url}/iceberg", **keys)
    read = catalog.load_table(f"{WAREHOUSE}.fact_games").scan().to_arrow()
    assert sorted(tuple(row.values()) for row in read.to_pylist()) == run_task(facts, lakes.served)


def test_a_run_that_finds_nothing_new_asks_little_of_the_store(lakes: Lakes) -> None:
    (status, requests), again = (run_task(run_idle, lakes.served) for _ in range(2))
    assert status == "SKIPPED"
    assert requests <= STORE_REQUESTS_OF_AN_IDLE_RUN
    assert again == (status, requests), "an idle run costs more for every run before it"
