"""Landing of tables: from typed rows to one committed load of changed rows and tombstones.

Nothing is hashed before there is something to compare with: the digests of earlier loads are computed from their parts
when a later reading of the whole table needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from starberg.engines.base import Engine, ParquetFile
from starberg.engines.typed_rows import raw_rows
from starberg.ingestion.streams import Stream
from starberg.ingestion.table_columns import key_columns_of, key_json
from starberg.ingestion.table_source import TableExtract
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import SourceDataError
from starberg.utils.sql import quote_name, text

_PLACE = "{load: _load_id, row: _row}"


@dataclass(frozen=True)
class _Counts:
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    fetched: int = 0


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
        fetched = sum(file.rows for file in extract.files)
        if not extract.is_unique and extract.kind != "log":
            self._check_unique(extract)
        notes = list(extract.notes)
        if extract.kind == "log" or previous is None or (extract.kind == "rows" and not extract.compared):
            files, counts = extract.files, self._count(extract.files)
        elif extract.kind == "whole":
            files = self._compared(extract, self._all_loads(previous), notes)
            counts = self._count(files, fetched)
        else:
            files = self._compared(extract, extract.compared, notes)
            counts = self._count(files, fetched)
        looked = self.stream.every != "run"
        if previous and not files and not extract.moved and not looked:
            return None
        seq = previous.seq + 1 if previous else 1
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
            fetched=fetched,
            changed=counts.changed,
            unchanged=counts.unchanged,
            deleted=counts.deleted,
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
            f"SELECT {key}, count(*) FROM ({_rows_of(extract.files, extract)}) WHERE _op = 'U' "
            "GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        )
        if found:
            raise SourceDataError(
                f"{self.stream.table}: {found[0][1]} rows have the key {', '.join(self.stream.key)} = {found[0][0]}; "
                "nothing was landed",
                hint=f"Name columns that identify a row as `key` of stream {self.stream.name}.",
            )

    def _all_loads(self, previous: Manifest) -> list[Manifest]:
        return [*(self.chain.load(seq) for seq in range(1, previous.seq)), previous]

    def _compared(self, extract: TableExtract, loads: Sequence[Manifest], notes: list[str]) -> list[ParquetFile]:
        """Write the rows that are new or differ from the newest landed ones; of a whole reading also the deletes."""
        kinds = extract.raw_types
        known = known_rows(self.chain, loads, self.scratch, kinds)
        where = extract.compared_where if extract.kind == "rows" else "true"
        key, digest = key_json(self.stream.key, kinds), self._digest(extract)
        self.engine.run(
            f"CREATE OR REPLACE TEMP TABLE known AS SELECT _key, digest FROM (SELECT {key} AS _key, "
            f"arg_max({digest}, {_PLACE}) AS digest, arg_max(_op, {_PLACE}) AS op FROM ({known}) "
            f"WHERE ({where}) OR _op = 'D' GROUP BY 1) WHERE op = 'U'"
        )
        rows = f"SELECT *, {key} AS _key, {digest} AS _digest FROM ({_rows_of(extract.files, extract)})"
        listed = ", ".join(quote_name(name) for name in kinds)
        same = "FROM known k WHERE k._key = r._key AND k.digest = r._digest"
        select = (
            f"SELECT _load_id, _op, _observed, _unread, {listed} FROM ({rows}) r WHERE _op = 'D' OR NOT EXISTS ({same})"
        )
        if extract.kind == "whole":
            self.engine.run(f"CREATE OR REPLACE TEMP TABLE present AS SELECT _key FROM ({rows})")
            select += self._deletes(extract, loads[-1].seq + 1, notes)
        try:
            return self.engine.write(select, {}, ordered=True)
        finally:
            self.engine.run("DROP TABLE IF EXISTS known; DROP TABLE IF EXISTS present")

    def _deletes(self, extract: TableExtract, seq: int, notes: list[str]) -> str:
        nulls = " OR ".join(f"json_extract_string(_key, '$[{n}]') IS NULL" for n in range(len(self.stream.key)))
        [(unreadable,)] = self.engine.rows(f"SELECT count(*) FROM present WHERE {nulls}")
        if unreadable:
            notes.append(f"{unreadable} rows have no key: no deletes were derived")
            return ""
        stamp = extract.observed_at.replace(tzinfo=None).isoformat(sep=" ")
        keys = key_columns_of(self.stream.key, extract.raw_types)
        return (
            f" UNION ALL SELECT {seq}::BIGINT, 'D', TIMESTAMP {text(stamp)}, NULL, {keys} "
            "FROM known WHERE _key NOT IN (SELECT _key FROM present)"
        )

    def _digest(self, extract: TableExtract) -> str:
        """Return SQL for the content hash: of the values there are, each with its name and length."""
        content = sorted({*extract.raw_types, "_unread"} - {*self.stream.key, *self.stream.volatile})
        parts = (
            f"CASE WHEN {quote_name(name)} IS NOT NULL THEN "
            f"{text(f'{name}=')} || length({quote_name(name)}::VARCHAR) || ':' || {quote_name(name)}::VARCHAR END"
            for name in content
        )
        return f"md5(concat('', {', '.join(parts)}))"

    def _count(self, files: Sequence[ParquetFile], fetched: int | None = None) -> _Counts:
        if not files:
            return _Counts(unchanged=fetched or 0, fetched=fetched or 0)
        listed = ", ".join(text(str(file.path)) for file in files)
        [(changed, deleted)] = self.engine.rows(
            f"SELECT count(*) FILTER (_op = 'U'), count(*) FILTER (_op = 'D') FROM read_parquet([{listed}])"
        )
        total = changed + deleted if fetched is None else fetched
        return _Counts(changed, deleted, max(total - changed, 0) if fetched is not None else 0, total)


def known_rows(chain: RawStream, loads: Sequence[Manifest], scratch: Path, raw_types: Mapping[str, str]) -> str:
    """Return SQL for all rows of some loads (`raw_rows`), their files fetched and proven."""
    parts = [(part, number) for load in loads for number, part in enumerate(load.parts)]
    return raw_rows([(str(chain.fetch(part, scratch)), number) for part, number in parts], raw_types)


def _rows_of(files: Sequence[ParquetFile], extract: TableExtract) -> str:
    return raw_rows([(str(file.path), number) for number, file in enumerate(files)], extract.raw_types)
