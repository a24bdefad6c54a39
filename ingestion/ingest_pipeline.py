"""Ingest a warehouse: fetch what changed in every stream that is due, and land it.

Needs no catalog: a stream's chain of loads says where to go on, so ingestion can run alone on any schedule
(`starberg ingest games`, or `python -m starberg.ingestion.ingest_pipeline games`).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from starberg.engines.base import Engine
from starberg.ingestion.budget import BudgetLedger, StoreLedger, Unlimited
from starberg.ingestion.landing import Landing
from starberg.ingestion.source import Source
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import SourceDataError, UsageError

log = logging.getLogger(__name__)

SOURCES = {"rest": "starberg.ingestion.rest", "rawg": "starberg.ingestion.rawg_fetcher"}
"""Modules by source kind; each has `open_source(spec, secret_of, ledger, clock) -> Source`."""

SecretOf = Callable[[str], str | None]


@dataclass(frozen=True)
class Ingestion:
    """Ingests the sources of one warehouse."""

    warehouse: str
    sources: Mapping[str, SourceSpec]
    store: ObjectStore
    open_engine: Callable[[], Engine]
    secret_of: SecretOf
    clock: Clock

    def run(self, run_id: str, *, source: str | None = None, full: bool = False) -> Iterator[Manifest]:
        """Yield every load as it is committed; `source` asks for one source only, `full` for every row of it.

        Raises what `Source.extract` and `Landing.land` raise; loads yielded before stay.
        """
        for name in [source] if source else list(self.sources):
            if name not in self.sources:
                raise UsageError(f"{self.warehouse} has no source {name}", hint=f"It has: {', '.join(self.sources)}.")
            yield from self._source(self.sources[name], run_id, full=full)

    def plan(self) -> list[dict[str, Any]]:
        """Return the parts of the next ingestion with the requests each will send (None: not known before asking)."""
        rows: list[dict[str, Any]] = []
        for spec in self.sources.values():
            opened = open_source(spec, self.secret_of, Unlimited(), self.clock)
            for stream in spec.streams.values():
                previous = RawStream(self.store, self.warehouse, spec.name, stream.name).last()
                if previous and not self._due(stream, previous):
                    continue
                for planned in opened.plan(stream, previous.cursor if previous else None):
                    row = {"source": spec.name, "part": planned.part, "requests_at_least": planned.at_least}
                    rows.append(row | {"requests_at_most": planned.at_most})
        return rows

    def _source(self, spec: SourceSpec, run_id: str, *, full: bool) -> Iterator[Manifest]:
        ledger = self._ledger(spec, run_id)
        opened = open_source(spec, self.secret_of, ledger, self.clock)
        try:
            for stream in spec.streams.values():
                yield from self._stream(spec, stream, opened, run_id, full=full)
        finally:
            ledger.settle()

    def _stream(
        self, spec: SourceSpec, stream: Stream, source: Source, run_id: str, *, full: bool
    ) -> Iterator[Manifest]:
        chain = RawStream(self.store, self.warehouse, spec.name, stream.name)
        previous = chain.last()
        if previous and not full and not self._due(stream, previous):
            return
        if previous and previous.source_identity != source.identity:
            raise SourceDataError(
                f"source {spec.name} is now {source.identity}; its stream {stream.name} was loaded from "
                f"{previous.source_identity}",
                hint="If that is right, start a new lake (--home) or give the source another name.",
            )
        with _scratch() as scratch, self._engine() as engine:
            landing = Landing(engine, chain, spec, stream, scratch, self.clock)
            for extract in source.extract(stream, previous.cursor if previous else None, scratch, full=full):
                landed = landing.land(extract, previous, run_id, source.identity)
                for note in landed.notes if landed else extract.notes:
                    log.warning("noted while reading", extra={"stream": chain.name, "note": note})
                for spool in extract.spools:
                    spool.unlink()
                if landed:
                    previous = landed
                    yield landed

    def _due(self, stream: Stream, previous: Manifest) -> bool:
        """A daily stream is due on another day (UTC) than its last load, a weekly one in another ISO week."""
        now, then = self.clock.now(), previous.observed_at
        if stream.every == "day":
            return now.date() != then.date()
        if stream.every == "week":
            return now.isocalendar()[:2] != then.isocalendar()[:2]
        return True

    def _ledger(self, spec: SourceSpec, run_id: str) -> BudgetLedger:
        if spec.budget.per_run is None and spec.budget.per_month is None:
            return Unlimited()
        month = f"{self.clock.now():%Y-%m}"
        folder, budget = f"requests/{self.warehouse}/{spec.name}", spec.budget
        return StoreLedger(self.store, folder, month, run_id, per_month=budget.per_month, per_run=budget.per_run)

    @contextmanager
    def _engine(self) -> Iterator[Engine]:
        engine = self.open_engine()
        try:
            engine.run("SET preserve_insertion_order = true")
            yield engine
        finally:
            engine.close()


def open_source(spec: SourceSpec, secret_of: SecretOf, ledger: BudgetLedger, clock: Clock) -> Source:
    """Open a source by its kind; UsageError names the kinds there are."""
    if spec.kind not in SOURCES:
        raise UsageError(f"source {spec.name} has kind {spec.kind!r}", hint=f"Known kinds: {', '.join(SOURCES)}.")
    opened: Source = import_module(SOURCES[spec.kind]).open_source(spec, secret_of, ledger, clock)
    return opened


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for spools; of it stays a page that could not be read, which the error names."""
    folder = Path(tempfile.mkdtemp(prefix="starberg-extract-"))
    named = False
    try:
        yield folder
    except SourceDataError as error:
        named = any(str(page) in str(error) for page in folder.glob("bad-page*"))
        for spool in folder.glob("*.jsonl"):
            spool.unlink()
        raise
    finally:
        if not named:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    import sys

    from starberg.entrypoints.cli import main

    main(["ingest", *sys.argv[1:]])
