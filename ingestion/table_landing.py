"""Landing of tables: from typed rows to one committed load of changed rows and tombstones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starberg.engines.base import Engine, ParquetFile
from starberg.ingestion.streams import Stream
from starberg.ingestion.table_columns import key_columns_of, key_json
from starberg.ingestion.table_index import TableIndex, rows_of
from starberg.ingestion.table_source import TableExtract
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import SourceDataError
from starberg.utils.sql import quote_name, text

_TABLES = ("known", "lately", "present", "differing")
_WORTH_A_CHECKPOINT = 16
"""So many loads since the last checkpoint are worth a load that only holds one."""


@dataclass(frozen=True)
class TableLanding:
    """Lands extracts of one stream."""

    engine: Engine
    chain: RawStream
    stream: Stream
    scratch: Path
    clock: Clock

    def land(self, extract: TableExtract, previous: Manifest | None, run_id: str, identity: str) -> Manifest | None:
        """Commit one load holding what changed; None (and nothing written) if nothing did.

        Raises SourceDataError if the key is not unique, Conflict if another extractor was first.
        """
        try:
            return self._land(extract, previous, run_id, identity)
        finally:
            self.engine.run("; ".join(f"DROP TABLE IF EXISTS {name}" for name in _TABLES))
            for file in extract.files:
                file.path.unlink(missing_ok=True)

    def _land(self, extract: TableExtract, previous: Manifest | None, run_id: str, identity: str) -> Manifest | None:
        if not extract.is_unique and extract.kind != "log":
            self._check_unique(extract)
        seq, notes = previous.seq + 1 if previous else 1, list(extract.notes)
        index = TableIndex(self.engine, self.chain, self.stream, self.scratch, extract.raw_types)
        files = extract.files
        if previous and extract.kind == "whole":
            index.fill(previous)
            files = self._differing(extract, index, seq, notes)
        elif extract.compared and files:
            index.fill_lately(extract.compared, extract.compared_where)
            files = self._differing(extract, index, seq, notes)
        due = bool(previous and (extract.indexed or extract.kind == "whole") and index.is_due(previous, seq))
        alone = bool(previous and due and seq - previous.index_seq > _WORTH_A_CHECKPOINT)
        if previous and not (files or extract.moved or alone or self.stream.every != "run"):
            return None
        checkpoint = index.write(seq, run_id, files) if due else None
        fetched, (changed, deleted) = sum(file.rows for file in extract.files), self._count(files)
        landed = changed + (deleted if extract.kind == "rows" else 0)
        manifest = Manifest(
            warehouse=self.chain.warehouse,
            source=self.chain.source,
            stream=self.chain.stream,
            seq=seq,
            previous=seq - 1,
            run_id=run_id,
            source_identity=identity,
            observed_at=extract.observed_at,
            committed_at=self.clock.now(),
            cursor_before=previous.cursor if previous else None,
            cursor=extract.cursor,
            columns=extract.columns,
            raw_types=extract.raw_types,
            parts=[
                self.chain.put_part(seq, f"part-{run_id}-{number}", file.path, file.rows)
                for number, file in enumerate(files)
            ],
            index=checkpoint,
            index_seq=seq if checkpoint else previous.index_seq if previous else 0,
            fetched=fetched,
            changed=changed,
            unchanged=fetched - landed if previous and extract.kind != "log" else 0,
            deleted=deleted,
            duplicates=0,
            unreadable=0,
            requests=extract.requests,
            bytes_read=sum(file.size_bytes for file in extract.files),
            source_rows=extract.source_rows,
            notes=notes,
        )
        self.chain.commit(manifest)
        return manifest

    def _check_unique(self, extract: TableExtract) -> None:
        key = key_json(self.stream.key, extract.raw_types)
        found = self.engine.rows(
            f"SELECT {key}, count(*) FROM ({rows_of(extract.files, extract.raw_types)}) WHERE _op = 'U' "
            "GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        )
        if found:
            raise SourceDataError(
                f"{self.stream.table}: {found[0][1]} rows have the key {', '.join(self.stream.key)} = {found[0][0]}; "
                "nothing was landed",
                hint=f"Name columns that identify a row as `key` of stream {self.stream.name}.",
            )

    def _differing(self, extract: TableExtract, index: TableIndex, seq: int, notes: list[str]) -> list[ParquetFile]:
        """Write the rows that are new or differ from those landed; of a whole reading also the deletes."""
        whole = extract.kind == "whole"
        rows = rows_of(extract.files, extract.raw_types)
        self.engine.run(
            f"CREATE OR REPLACE TEMP TABLE present AS SELECT _row, _op, {index.digested} FROM ({rows})",
        )
        self.engine.run(
            "CREATE OR REPLACE TEMP TABLE differing AS SELECT _row FROM present p WHERE _op = 'D' OR NOT EXISTS "
            f"(FROM {'known' if whole else 'lately'} k WHERE k._key = p._key AND k._digest = p._digest)"
        )
        listed = ", ".join(quote_name(name) for name in extract.raw_types)
        select = f"SELECT _load_id, _op, _observed, _unread, {listed} FROM ({rows}) SEMI JOIN differing USING (_row)"
        if whole:
            select += f" UNION ALL {self._gone(extract, seq, notes)}"
        return self.engine.write(select, {}, ordered=True)

    def _gone(self, extract: TableExtract, seq: int, notes: list[str]) -> str:
        """Return SQL for a delete of each known key that is not present, of none if any key cannot be read."""
        nulls = " OR ".join(f"json_extract_string(_key, '$[{n}]') IS NULL" for n in range(len(self.stream.key)))
        [(unreadable,)] = self.engine.rows(f"SELECT count(*) FROM present WHERE {nulls}")
        if unreadable:
            notes.append(f"{unreadable} rows have no key: no deletes were derived")
        stamp = extract.observed_at.replace(tzinfo=None).isoformat(sep=" ")
        keys = key_columns_of(self.stream.key, extract.raw_types)
        return (
            f"SELECT {seq}::BIGINT, 'D', TIMESTAMP {text(stamp)}, NULL, {keys} FROM known "
            f"WHERE {'false' if unreadable else 'true'} AND NOT EXISTS (FROM present p WHERE p._key = known._key)"
        )

    def _count(self, files: Sequence[ParquetFile]) -> tuple[int, int]:
        """Return how many rows of files are changes, and how many deletes."""
        if not files:
            return 0, 0
        listed = ", ".join(text(str(file.path)) for file in files)
        [(changed, deleted)] = self.engine.rows(
            f"SELECT count(*) FILTER (_op = 'U'), count(*) FILTER (_op = 'D') FROM read_parquet([{listed}])"
        )
        return changed, deleted
