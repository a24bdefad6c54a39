"""Landing: from what a source said to one committed load of changed records.

Records are compared by key and content hash with the last committed load of the chain, published or not, so an
unchanged record is not landed again and a whole reading yields the deletes. All per-record work is SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starberg.engines.base import Engine
from starberg.engines.records import UNREADABLE, JsonColumn, key_text, typed_records
from starberg.ingestion.columns import json_columns, newly_seen
from starberg.ingestion.source import Extract
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.storage.raw_chain import Manifest, Part, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import SourceDataError
from starberg.utils.sql import quote_name, text

_MOST_LOADS_WITHOUT_INDEX = 16
_BYTES_WORTH_A_LOAD = 512 * 1024
"""Reading a load (its manifest and part: two requests) takes about as long as writing so much of an index."""
_LEAST_OBJECT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Landing:
    """Lands extracts of one stream; `engine` keeps the order of rows (`preserve_insertion_order`)."""

    engine: Engine
    chain: RawStream
    source: SourceSpec
    stream: Stream
    scratch: Path
    clock: Clock

    def land(self, extract: Extract, previous: Manifest | None, run_id: str, identity: str) -> Manifest | None:
        """Commit one load holding what changed; None (and nothing written) if nothing did and the cursor stands.

        Raises SourceDataError for records that are no JSON objects, Conflict if another extractor was first, LakeError
        if the chain's files are damaged.
        """
        self._read_records(extract)
        columns = self._columns(previous)
        self._digest(columns)
        checkpoint = self._known(previous)
        self._changes(extract)
        changed, deleted, unchanged, duplicates, unreadable, fetched = self._counts()
        looked = self.stream.every != "run"
        if previous and not (changed or deleted or looked) and extract.cursor == previous.cursor:
            return None
        seq = previous.seq + 1 if previous else 1
        part = self._write(seq, f"part-{run_id}", _PART.format(seq=seq, at=text(_stamp(extract))))
        index_seq, index = self._checkpoint(seq, checkpoint, changed + deleted, run_id)
        notes = [*extract.notes, *self._notes(extract, unreadable)]
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
            columns=columns,
            parts=part,
            index=index[0] if index else None,
            index_seq=index_seq,
            fetched=fetched,
            changed=changed,
            unchanged=unchanged,
            deleted=deleted,
            duplicates=duplicates,
            unreadable=unreadable,
            requests=extract.requests,
            bytes_read=extract.bytes_read,
            notes=notes,
        )
        self.chain.commit(manifest)
        return manifest

    def _read_records(self, extract: Extract) -> None:
        files = ", ".join(text(str(path)) for path in extract.spools)
        source = (
            f"read_json([{files}], format = 'newline_delimited', columns = {{page: 'VARCHAR', records: 'JSON[]'}}, "
            f"maximum_object_size = {max(extract.largest_envelope + 1, _LEAST_OBJECT_BYTES)})"
            if files
            else "(SELECT NULL::VARCHAR AS page, NULL::JSON[] AS records WHERE false)"
        )
        self.engine.run(
            "CREATE OR REPLACE TEMP TABLE fetched AS "
            "SELECT row_number() OVER () AS _n, page, record::VARCHAR AS record, "
            "coalesce(json_type(record), 'NULL') AS kind "
            f"FROM (SELECT page, unnest(records) AS record FROM {source})"
        )
        odd = self.engine.rows("SELECT page, kind FROM fetched WHERE kind <> 'OBJECT' LIMIT 1")
        if odd:
            raise SourceDataError(
                f"stream {self.chain.name} holds a record that is {odd[0][1]}, not an object, on page {odd[0][0]}",
                hint="Check `records` of the stream in warehouse.yml.",
            )

    def _columns(self, previous: Manifest | None) -> dict[str, str]:
        """Return the stream's pinned columns: those of the chain so far and those first seen now."""
        pinned = dict(previous.columns) if previous else {}
        structure = None
        if self.stream.undeclared == "infer":
            [(structure,)] = self.engine.rows("SELECT json_group_structure(record::JSON) FROM fetched")
        seen = newly_seen(structure, self.stream, pinned)
        seen.pop(UNREADABLE, None)
        return pinned | seen

    def _digest(self, pinned: dict[str, str]) -> None:
        """Fill `records`: one row per key (the greatest cursor wins, then the last seen), with key and content hash.

        The hash is over typed values, so that the same content in another spelling or shape is no change, and over
        those there are, so that a column first seen in another record is none either. A key that cannot be typed is
        unreadable, as a missing one: it may stand for any of the keys that are absent.
        """
        columns = json_columns(self.stream, pinned)
        key = ", ".join(key_text(quote_name(name), columns[name].type) for name in self.stream.key)
        content = ", ".join(
            f"[{text(name)}, {_said(name, columns[name])}]" for name in sorted(columns.keys() - {*self.stream.volatile})
        )
        digest = f"md5(to_json(list_filter([{content}], lambda c: c[2] IS NOT NULL))::VARCHAR)"
        newest = f"{quote_name(self.stream.cursor)} DESC NULLS LAST, " if self.stream.cursor in columns else ""
        typed = typed_records("fetched", columns, self.source.timezone, "_n, record")
        readable = f"list_count(_k) = {len(self.stream.key)}"
        self.engine.run(
            "CREATE OR REPLACE TEMP TABLE records AS "
            f"SELECT _n, record, CASE WHEN {readable} THEN to_json(_k)::VARCHAR END AS _key, "
            f"CASE WHEN _bad IS NULL THEN {digest} ELSE md5(record) END AS _digest "
            f"FROM (SELECT *, [{key}] AS _k FROM ({typed})) "
            f"QUALIFY _key IS NULL OR row_number() OVER (PARTITION BY _key ORDER BY {newest}_n DESC) = 1"
        )

    def _known(self, previous: Manifest | None) -> Manifest | None:
        """Fill `known`: the chain's live keys with their digests, from the newest checkpoint and the loads after it.

        Return the load with that checkpoint.
        """
        checkpoint = None
        select = "SELECT NULL::VARCHAR AS _key, NULL::VARCHAR AS _digest WHERE false"
        if previous:
            loads = [self.chain.load(seq) for seq in range(max(1, previous.index_seq), previous.seq)] + [previous]
            checkpoint = next((load for load in loads if load.seq == previous.index_seq), None)
            base = [checkpoint.index] if checkpoint and checkpoint.index else []
            parts = [part for load in loads if load.seq > previous.index_seq for part in load.parts]
            select = _KNOWN.format(base=self._local(base, _NO_INDEX), parts=self._local(parts, _NO_PARTS))
        self.engine.run(f"CREATE OR REPLACE TEMP TABLE known AS {select}")
        return checkpoint

    def _local(self, parts: Sequence[Part], nothing: str) -> str:
        files = ", ".join(text(str(self.chain.fetch(part, self.scratch))) for part in parts)
        return f"read_parquet([{files}])" if files else nothing

    def _changes(self, extract: Extract) -> None:
        """Fill `changes`: records that are new or differ, and deletes if every live key was seen and readable."""
        upserts = (
            "SELECT 'U' AS _op, _n, _key, _digest, record FROM records r WHERE NOT EXISTS "
            "(FROM known k WHERE k._key IS NOT DISTINCT FROM r._key AND k._digest = r._digest)"
        )
        if extract.keys_only:
            upserts += " AND false"
        whole = "true" if extract.whole else "false"
        deletes = (
            f"SELECT 'D', 9e18::BIGINT, _key, NULL, NULL FROM known k WHERE {whole} "
            "AND _key IS NOT NULL AND NOT EXISTS (FROM records r WHERE r._key = k._key) "
            "AND NOT EXISTS (FROM records WHERE _key IS NULL)"
        )
        self.engine.run(f"CREATE OR REPLACE TEMP TABLE changes AS {upserts} UNION ALL {deletes}")

    def _counts(self) -> tuple[int, int, int, int, int, int]:
        """Return changed, deleted, unchanged, duplicates, unreadable and fetched records."""
        [(changed, deleted, kept, unreadable, fetched)] = self.engine.rows(
            "SELECT (SELECT count(*) FROM changes WHERE _op = 'U'), (SELECT count(*) FROM changes WHERE _op = 'D'), "
            "(SELECT count(*) FROM records), (SELECT count(*) FROM records WHERE _key IS NULL), "
            "(SELECT count(*) FROM fetched)"
        )
        return changed, deleted, kept - changed, fetched - kept, unreadable, fetched

    def _write(self, seq: int, name: str, select: str) -> list[Part]:
        files = self.engine.write(select, {})
        return [self.chain.put_part(seq, f"{name}-{number}", file.path, file.rows) for number, file in enumerate(files)]

    def _checkpoint(self, seq: int, last: Manifest | None, rows: int, run_id: str) -> tuple[int, list[Part]]:
        """Write a checkpoint of the key index when reading the loads since the last one would cost more."""
        since, size = (last.seq, last.index.bytes) if last and last.index else (0, 0)
        if not rows or not is_due(seq - since, size):
            return since, []
        return seq, self._write(seq, f"index-{run_id}", _INDEX)

    def _notes(self, extract: Extract, unreadable: int) -> list[str]:
        if extract.whole and unreadable:
            return [f"{unreadable} records have no readable key: no deletes were derived"]
        return []


def is_due(loads: int, index_bytes: int) -> bool:
    """Tell whether to write an index again, `loads` loads after one of `index_bytes`."""
    return loads >= min(index_bytes // _BYTES_WORTH_A_LOAD, _MOST_LOADS_WITHOUT_INDEX)


_PART = (
    "SELECT {seq}::BIGINT AS _load_id, row_number() OVER (ORDER BY _n, _key) AS _row, _op, "
    "{at}::TIMESTAMP AS _observed, _key, _digest, record FROM changes ORDER BY _row"
)
_INDEX = (
    "SELECT _key, _digest FROM known k WHERE NOT EXISTS (FROM changes c WHERE c._key = k._key) "
    "UNION ALL SELECT _key, _digest FROM changes WHERE _op = 'U' ORDER BY _key"
)
_KNOWN = (
    "SELECT _key, _digest FROM ("
    "SELECT _key, _digest, 'U' AS _op, 0 AS _load_id, 0 AS _row FROM {base} "
    "UNION ALL SELECT _key, _digest, _op, _load_id, _row FROM {parts}) "
    "QUALIFY row_number() OVER (PARTITION BY _key, CASE WHEN _key IS NULL THEN _digest END "
    "ORDER BY _load_id DESC, _row DESC) = 1 AND _op = 'U'"
)
_NO_INDEX = "(SELECT NULL::VARCHAR AS _key, NULL::VARCHAR AS _digest WHERE false)"
_NO_PARTS = "(SELECT NULL::VARCHAR AS _key, NULL::VARCHAR AS _digest, '' AS _op, 0 AS _load_id, 0 AS _row WHERE false)"


def _said(name: str, column: JsonColumn) -> str:
    """Return a column's text for the content hash; an empty list is nothing, as APIs say either for it."""
    said = f"{quote_name(name)}::VARCHAR"
    return f"nullif({said}, '[]')" if column.is_list else said


def _stamp(extract: Extract) -> str:
    return extract.observed_at.replace(tzinfo=None).isoformat(sep=" ")
