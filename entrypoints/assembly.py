"""What works on one warehouse of a lake, put together: what reads its sources, and what builds and publishes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starberg.etl.results import LoadResult

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake
    from starberg.etl.model import Warehouse
    from starberg.etl.pipeline import Pipeline
    from starberg.ingestion.ingest_pipeline import Ingestion
    from starberg.storage.raw_chain import Chains


def ingestion_of(lake: Lake, declared: Warehouse, chains: Chains) -> Ingestion:
    """Return what reads the sources of a warehouse."""
    from starberg.ingestion.ingest_pipeline import Ingestion

    return Ingestion(declared.name, declared.sources, lake.store, chains, lake.open_engine, lake.secret_of, lake.clock)


def loads_of(
    lake: Lake, declared: Warehouse, chains: Chains, source: str | None = None, *, full: bool = False
) -> Callable[[str], Iterator[LoadResult]]:
    """Return a function from a run id to its loads, landed one by one as they are asked for."""

    def loads(run_id: str) -> Iterator[LoadResult]:
        for manifest in ingestion_of(lake, declared, chains).run(run_id, source=source, full=full):
            yield LoadResult(f"{manifest.source}.{manifest.stream}", manifest.seq, manifest.rows, manifest.requests)

    return loads


@contextmanager
def pipeline_of(lake: Lake, declared: Warehouse) -> Iterator[Pipeline]:
    """Yield the pipeline of a warehouse, with a folder for its spills that is gone afterwards."""
    from starberg.etl.pipeline import Pipeline
    from starberg.etl.run_session import Sessions

    with tempfile.TemporaryDirectory(prefix="starberg-run-") as scratch:
        sessions = Sessions(
            declared.name,
            catalog=lake.catalog,
            store=lake.store,
            open_engine=lambda: lake.computing(lake.open_engine()),
            scratch=Path(scratch),
            clock=lake.clock,
        )
        yield Pipeline(declared, sessions)
