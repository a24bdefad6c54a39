"""Ingest a warehouse: fetch what changed in every stream that is due, and land it.

Needs no catalog: a stream's chain of loads says where to go on, so ingestion can run alone on any schedule
(`starberg ingest games`, or `python -m starberg.ingestion.ingest_pipeline games`).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from starberg.engines.base import Engine
from starberg.ingestion.budget import BudgetLedger, StoreLedger, Unlimited
from starberg.ingestion.landing import Landing
from starberg.ingestion.source import Extract, Source
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.ingestion.table_landing import TableLanding
from starberg.ingestion.table_source import TableSource
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import Chains, Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import SourceDataError, StarbergError, UsageError

log = logging.getLogger(__name__)

SOURCES = {
    "rest": "starberg.ingestion.rest",
    "rawg": "starberg.ingestion.rawg_fetcher",
    "postgres": "starberg.ingestion.postgres",
}
"""Modules by source kind; each has `open_source(spec, secret_of, ledger, clock) -> Source`."""

SecretOf = Callable[[str], str | None]

_AHEAD = 2
"""Extracts that may wait to be landed."""


@dataclass(frozen=True)
class Ingestion:
    """Ingests the sources of one warehouse."""

    warehouse: str
    sources: Mapping[str, SourceSpec]
    store: ObjectStore
    chains: Chains
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
                previous = self.chains.of(spec.name, stream.name).last()
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
            with _scratch() as scratch, self._engine() as engine:
                if isinstance(opened, TableSource):
                    yield from self._tables(spec, opened, engine, scratch, run_id, full=full)
                else:
                    work = self._work(spec, opened, engine, scratch, full=full)
                    yield from _while_reading_on(work, lambda task: task.land(run_id, opened.identity))
        finally:
            ledger.settle()
            if isinstance(opened, TableSource):
                opened.close()

    def _work(self, spec: SourceSpec, source: Source, engine: Engine, scratch: Path, *, full: bool) -> Iterator[_Task]:
        """Read every stream that is due, in order."""
        for stream, chain, previous in self._due_streams(spec, self._chains(spec), source.identity, full=full):
            end = _End(Landing(engine, chain, spec, stream, scratch, self.clock), previous)
            for extract in source.extract(stream, previous.cursor if previous else None, scratch, full=full):
                yield _Task(end, extract)

    def _tables(
        self, spec: SourceSpec, source: TableSource, engine: Engine, scratch: Path, run_id: str, *, full: bool
    ) -> Iterator[Manifest]:
        """Read and land every table that is due, in order, then what is left of the log.

        Nothing is read ahead: what to read next depends on the load before.
        """
        chains = self._chains(spec)
        due = list(self._due_streams(spec, chains, source.identity, full=full))
        while due:
            for stream, chain, previous in due:
                landing = TableLanding(engine, chain, stream, scratch, self.clock)
                yield from _land_table(source, landing, previous, run_id, full=full)
            full = False
            logs = [stream for stream in spec.streams.values() if stream.capture == "log"]
            more = source.settle(chains)
            due = [(stream, chains[stream.name], chains[stream.name].last()) for stream in logs] if more else []

    def _chains(self, spec: SourceSpec) -> dict[str, RawStream]:
        return {name: self.chains.of(spec.name, name) for name in spec.streams}

    def _due_streams(
        self, spec: SourceSpec, chains: Mapping[str, RawStream], identity: str, *, full: bool
    ) -> Iterator[tuple[Stream, RawStream, Manifest | None]]:
        """Yield the streams that are due, each with the end of its chain; SourceDataError if the source is another."""
        for stream in spec.streams.values():
            chain = chains[stream.name]
            previous = chain.last()
            if previous and not full and not self._due(stream, previous):
                continue
            if previous and previous.source_identity != identity:
                raise SourceDataError(
                    f"source {spec.name} is now {identity}; its stream {stream.name} was loaded from "
                    f"{previous.source_identity}",
                    hint="If that is right, start a new lake (--home) or give the source another name.",
                )
            yield stream, chain, previous

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


def open_source(spec: SourceSpec, secret_of: SecretOf, ledger: BudgetLedger, clock: Clock) -> Source | TableSource:
    """Open a source by its kind; UsageError names the kinds there are."""
    if spec.kind not in SOURCES:
        raise UsageError(f"source {spec.name} has kind {spec.kind!r}", hint=f"Known kinds: {', '.join(SOURCES)}.")
    opened: Source | TableSource = import_module(SOURCES[spec.kind]).open_source(spec, secret_of, ledger, clock)
    return opened


def _land_table(
    source: TableSource, landing: TableLanding, previous: Manifest | None, run_id: str, *, full: bool
) -> Iterator[Manifest]:
    for extract in source.read(landing.stream, landing.chain, landing.engine, landing.scratch, full=full):
        landed = landing.land(extract, previous, run_id, source.identity)
        for note in extract.notes:
            log.warning("noted while reading", extra={"stream": landing.chain.name, "note": note})
        if landed:
            previous = landed
            yield landed


@dataclass
class _End:
    """The end of a chain, which moves as extracts are landed."""

    landing: Landing
    last: Manifest | None


@dataclass(frozen=True)
class _Task:
    """An extract to be landed."""

    end: _End
    extract: Extract

    def land(self, run_id: str, identity: str) -> Manifest | None:
        """Commit what changed, if anything did."""
        landing = self.end.landing
        landed = landing.land(self.extract, self.end.last, run_id, identity)
        for note in landed.notes if landed else self.extract.notes:
            log.warning("noted while reading", extra={"stream": landing.chain.name, "note": note})
        for spool in self.extract.spools:
            spool.unlink()
        self.end.last = landed or self.end.last
        return landed


def _while_reading_on(work: Iterator[_Task], land: Callable[[_Task], Manifest | None]) -> Iterator[Manifest]:
    """Land extracts one after the other while the next ones are being read; yield what was committed.

    What was read before the source failed is landed, and yielded, ahead of its error. After an extract that could not
    be landed none is: its rows are read again from the chain's cursor.
    """
    stopped = threading.Event()

    def unless_stopped(task: _Task) -> Manifest | None:
        try:
            return None if stopped.is_set() else land(task)
        except BaseException:
            stopped.set()
            raise

    failure: StarbergError | None = None
    landing: deque[Future[Manifest | None]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="landing") as pool:
        try:
            more = True
            while more:
                try:
                    task = next(work, None)
                except StarbergError as stop:
                    failure, task = stop, None
                more = task is not None
                if task is not None:
                    landing.append(pool.submit(unless_stopped, task))
                while landing and (not more or len(landing) > _AHEAD or landing[0].done()):
                    if landed := landing.popleft().result():
                        yield landed
        finally:
            stopped.set()
    if failure:
        raise failure


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

    sys.exit(main(["ingest", *sys.argv[1:]]))
