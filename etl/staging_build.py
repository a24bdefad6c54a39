"""Build a staging table from its stream's loads: only the keys of new loads, or all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from starberg.engines.base import Engine
from starberg.etl.build_writer import BuildOptions, Writer, target
from starberg.etl.compile import DELETED_AT, LOAD, OBSERVED, ROW_NUMBER
from starberg.etl.dimensions import header_of
from starberg.etl.headers import StagingHeader
from starberg.etl.history import CHANGED_AT, History
from starberg.etl.model import Kind, Table, Warehouse
from starberg.etl.row_delta import Counts, Target
from starberg.etl.sql_body import parse_body
from starberg.etl.sql_columns import Columns, key_columns
from starberg.etl.staging import StagingStep
from starberg.ingestion.columns import json_columns
from starberg.storage.raw_chain import Chains, Manifest, RawStream
from starberg.utils.errors import CheckFailed, GuardStopped
from starberg.utils.sql import names, quote, quote_name


@dataclass(frozen=True)
class Loaded:
    """What a staging table has to take in: the chain's loads after the published one, or all of them (`anew`)."""

    table: Table
    chain: RawStream
    manifests: Sequence[Manifest]
    published: int
    anew: bool
    restated: bool = False

    @property
    def seq(self) -> int:
        """The load the table stands at afterwards."""
        return self.manifests[-1].seq if self.manifests else self.published

    @property
    def inputs(self) -> dict[str, str]:
        """The stream with that load, as a build state records it."""
        return {self.chain.name: str(self.seq)}

    @property
    def moves_mark(self) -> bool:
        """Whether the stream's high-water mark moves."""
        return self.seq != self.published

    @property
    def is_due(self) -> bool:
        """Whether there is anything to compute."""
        return self.anew or self.restated or any(manifest.parts for manifest in self.manifests)

    @property
    def strategy(self) -> str:
        """How it is built."""
        if self.restated:
            return "restate"
        if self.anew:
            return "rebuild" if self.published else "full"
        return "incremental" if self.is_due else "skip"


def restated_keys(table: Table) -> str:
    """Return the temporary table of the keys whose changes a restatement derived again."""
    return quote_name(f"restated_{table.name}")


class StagingBuild:
    """Builds the staging tables of one warehouse; `notes` fills with what a person should know.

    Raw loads are typed and put in order by the engine's local one; the engine itself compares the rows that come of it
    with the table, however long that is.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        engine: Engine,
        writer: Writer,
        chains: Chains,
        scratch: Path,
        options: BuildOptions,
    ) -> None:
        self.notes: list[str] = []
        self._warehouse = warehouse
        self._local = engine.local
        self._writer = writer
        self._chains = chains
        self._scratch = scratch
        self._options = options

    def plan(self, table: Table, loads: Mapping[str, int], *, anew: bool) -> Loaded:
        """Return what a table has to take in; a verification or restatement stops at what is published."""
        assert isinstance(table.header, StagingHeader)
        chain = self._chains.of(*table.header.stream.split("."))
        published, restated = loads.get(chain.name, 0), self._is_restated(table) and not anew
        manifests = chain.loads(0 if anew or restated else published, at_least=published)
        if self._options.verify or self._options.restate:
            manifests = [manifest for manifest in manifests if manifest.seq <= published]
        return Loaded(table, chain, manifests, published, anew, restated)

    def apply(self, loaded: Loaded) -> tuple[Counts, Counts]:
        """Build the table; return what changed in it, and in its table of changes.

        Raises CheckFailed (too much in quarantine), GuardStopped, LakeError (raw is damaged).
        """
        step, keeps_changes = self._step(loaded), self._warehouse.keeps_changes(loaded.table)
        self._temp("observed", step.observed())
        touched = step.touched()
        if loaded.restated:
            touched = f"SELECT * FROM ({touched}) t WHERE {self._in_range(step)}"
        self._temp("touched", touched)
        wanted = target(step.table, list(step.key.values()), "" if loaded.anew else "touched")
        if step.incremental:
            wanted = self._writer.read(wanted, "old")
        self._temp("wanted", step.wanted())
        if not loaded.restated:
            self._quarantine(step, loaded.chain.stream)
        if step.incremental:
            self._guard(step)
        counts = self._writer.bring(wanted, "wanted")
        if step.incremental:
            before = "old" if keeps_changes else ""  # whoever is made from the changes asks what was there
            self._writer.touched(step.table, list(step.key.values()), [DELETED_AT], before)
        changes = Counts()
        if keeps_changes:
            changes = self._changes(step, loaded)
        self._writer.drop("old")
        for name in ("observed", "touched", "wanted"):
            self._local.run(f"DROP TABLE IF EXISTS {name}")
        return counts, changes

    def _changes(self, step: StagingStep, loaded: Loaded) -> Counts:
        """Add the new loads' observations to the table of changes; those of restated keys replace what it has."""
        self._temp("changes", step.changes())
        key = list(step.key.values())
        wanted = Target(f"{self._warehouse.name}.{step.table.changes}", [LOAD, ROW_NUMBER])
        if loaded.restated:
            self._writer.temp(restated_keys(step.table), f"SELECT {names(key)} FROM touched")
            counts = self._writer.bring(replace(wanted, scope="touched", scope_key=key), "changes")
        elif step.incremental:
            counts = self._writer.append(replace(wanted, scope="changes"), "changes")
        else:
            counts = self._writer.bring(wanted, "changes")
        self._local.run("DROP TABLE changes")
        return counts

    def _temp(self, name: str, select: str) -> None:
        self._local.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")

    def _is_restated(self, table: Table) -> bool:
        asked = self._options.restate
        return asked is not None and any(h.staging is table for h in self._restated(table))

    def _restated(self, table: Table) -> list[History]:
        """Return the histories that are made from a staging table and asked to be restated."""
        asked = self._options.restate.tables if self._options.restate else ()
        dimensions = [d for d in self._warehouse.of_kind(Kind.DIMENSION) if not asked or d.name in asked]
        return [History.of(d, self._warehouse) for d in dimensions if header_of(d).is_type2 and table.name in d.reads]

    def _in_range(self, step: StagingStep) -> str:
        """Return the condition that a key was observed, or a version of it took effect, in the range to restate."""
        assert self._options.restate
        within = partial(self._options.restate.within, zone=self._warehouse.zone)
        found = [f"EXISTS (FROM observed o WHERE o._key = t._key AND {within('o.' + OBSERVED)})"]
        for history in self._restated(step.table):
            if history.table.id not in self._writer.published:
                continue
            same = " AND ".join(f"d.{quote_name(n)} = t.{quote_name(own)}" for n, own in history.key.items())
            found.append(f"EXISTS (FROM {quote(history.table.id)} d WHERE {same} AND {within('d.' + CHANGED_AT)})")
        return " OR ".join(found)

    def _step(self, loaded: Loaded) -> StagingStep:
        source, stream = self._warehouse.stream_of(loaded.table)
        placed = [(part, number) for manifest in loaded.manifests for number, part in enumerate(manifest.parts)]
        with ThreadPoolExecutor(8) as pool:
            files = [str(path) for path in pool.map(lambda found: loaded.chain.fetch(found[0], self._scratch), placed)]
        last = loaded.manifests[-1] if loaded.manifests else None
        columns = json_columns(stream, last.columns if last else {})
        outputs = key_columns(parse_body(loaded.table.select), stream.key, lambda _: Columns.of(columns))
        key = dict(zip(stream.key, outputs, strict=True))
        return StagingStep(
            loaded.table,
            files,
            columns,
            key,
            source.timezone,
            incremental=not loaded.anew and not loaded.restated,
            raw_types=last.raw_types if last else {},
            numbers=[number for _, number in placed],
        )

    def _quarantine(self, step: StagingStep, stream: str) -> None:
        """Move unreadable records aside; CheckFailed if those an earlier run did not accept pass the table's limit."""
        assert isinstance(step.table.header, StagingHeader)
        limit, name = step.table.header.quarantine, self._warehouse.quarantine_of(step.table)
        self._temp("quarantined", step.quarantined())
        [(bad, total)] = self._local.rows(
            "SELECT (SELECT count(*) FROM quarantined), (SELECT count(*) FROM observed WHERE _op = 'U')"
        )
        fresh = self._fresh(name)
        if fresh >= limit.rows and fresh > limit.share * total:
            raise self._too_many(step, stream, fresh, total)
        if bad or name in self._writer.published:
            scope = "quarantined" if step.incremental else ""
            self._writer.bring(Target(name, ["_load_id", "_row_number"], scope=scope), "quarantined")
        if bad:
            self.notes.append(f"{bad} of {total} records of {stream} are in {name}")
        self._local.run("DROP TABLE quarantined")

    def _fresh(self, quarantine: str) -> int:
        """Return how many unreadable records are neither in the published quarantine nor followed by a good one.

        So a source that was mended mends its next run.
        """
        same = "k._load_id = q._load_id AND k._row_number = q._row_number"
        known = f" ANTI JOIN {quote(quarantine)} k ON {same}" if quarantine in self._writer.published else ""
        later = "t._key = q.key AND t.u_load IS NOT NULL AND (t.u_load, t.u_row) > (q._load_id, q._row_number)"
        [(count,)] = self._local.rows(
            f"SELECT count(*) FROM (SELECT q.* FROM quarantined q{known}) q ANTI JOIN touched t ON {later}"
        )
        return int(count)

    def _too_many(self, step: StagingStep, stream: str, bad: int, total: int) -> CheckFailed:
        [(column, reason, raw)] = self._local.rows(
            "SELECT column_name, reason, left(raw_value, 80) FROM quarantined ORDER BY _load_id, _row_number LIMIT 1"
        )
        return CheckFailed(
            f"{step.table.id}: {bad} of {total} records of stream {stream} cannot be read "
            f"(first: column {column} {reason}: {raw!r})",
            hint="Nothing was published. Correct the column's type in warehouse.yml, or raise `quarantine` in "
            f"{step.table.path.name}.",
        )

    def _guard(self, step: StagingStep) -> None:
        """Stop before a publish that would delete more than the table's limit, or everything."""
        assert isinstance(step.table.header, StagingHeader)
        limit, name = step.table.header.guard, step.table.name
        [(closed,)] = self._local.rows(step.closed())
        if not closed:
            return
        [(live,)] = self._local.rows(step.live())
        emptied = closed == live
        if not emptied and not (closed >= limit.rows and closed > limit.share * live):
            return
        if name in self._options.allow_deletes:
            self.notes.append(f"{closed} of {live} rows of {name} deleted, as --allow-deletes said")
            return
        raise GuardStopped(
            f"{step.table.id}: the source would delete {closed} of {live} rows; nothing was published",
            hint=f"If that is right, run again with --allow-deletes {name}.",
        )
