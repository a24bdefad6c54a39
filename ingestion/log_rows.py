"""From a stream's changes as text to the rows of a raw part, in the order of commits.

Two things a log leaves out are looked up in the chain: values that an update left where they were (TOAST), and the
keys a TRUNCATE removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starberg.engines.base import Engine, ParquetFile
from starberg.ingestion.log_spool import ChangeFile
from starberg.ingestion.streams import Stream
from starberg.ingestion.table_columns import TableColumns, key_columns_of, key_json
from starberg.ingestion.table_index import TableIndex
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.sql import quote_name, text

_TABLES = ("changes", "lined", "before", "known")
_META = "_n::BIGINT AS _n, _op, make_timestamp(_us) AS _observed, _same, _line, _tag"


@dataclass(frozen=True)
class LogRows:
    """The changes of one stream; `previous` is the chain's last load."""

    engine: Engine
    chain: RawStream
    stream: Stream
    scratch: Path
    columns: TableColumns
    previous: Manifest

    def write(self, file: ChangeFile) -> list[ParquetFile]:
        """Write them as a part's file."""
        kinds = self.columns.raw_types
        listed = ", ".join(quote_name(name) for name in kinds)
        key = key_json(self.stream.key, kinds)
        self.engine.run(
            f"CREATE OR REPLACE TEMP TABLE changes AS SELECT *, CASE WHEN _op <> 'T' THEN {key} END AS _key FROM "
            f"(SELECT {_META}, {self.columns.from_texts()} FROM ({self._texts(file.files)}))"
        )
        rows = f"SELECT _n, _op, _observed, _unread, {listed} FROM changes WHERE _op <> 'T'"
        if file.carries:
            rows = self._carried()
        if file.truncates:
            rows += f" UNION ALL BY NAME {self._truncated()}"
        seq = self.previous.seq + 1
        try:
            return self.engine.write(
                f"SELECT {seq}::BIGINT AS _load_id, _op, _observed, _unread, {listed} FROM ({rows}) "
                f"ORDER BY _n, {quote_name(self.stream.key[0])}",
                {},
                ordered=True,
            )
        finally:
            self.engine.run(
                "; ".join(f"DROP TABLE IF EXISTS {name}" for name in ("changes", "lined", "before", "known"))
            )

    @property
    def _index(self) -> TableIndex:
        return TableIndex(self.engine, self.chain, self.stream, self.scratch, self.columns.raw_types)

    def _texts(self, files: Sequence[Path]) -> str:
        """The files' rows, with every column that the table has now: null where the log had none."""
        names = ", ".join(f"NULL::VARCHAR AS {quote_name(found.source_name)}" for found in self.columns.readings)
        listed = ", ".join(text(str(path)) for path in files)
        return (
            f"SELECT * FROM read_parquet([{listed}], union_by_name = true) UNION ALL BY NAME SELECT {names} WHERE false"
        )

    def _known(self, where: str, select: str) -> str:
        """The newest row of each key of the chain, deleted ones left out."""
        loads = [*(self.chain.load(seq) for seq in range(1, self.previous.seq)), self.previous]
        rows = self._index.landed(loads)
        key = key_json(self.stream.key, self.columns.raw_types)
        return (
            f"SELECT {select} FROM (SELECT *, {key} AS _key FROM ({rows})) WHERE {where} "
            "QUALIFY row_number() OVER (PARTITION BY _key ORDER BY _load_id DESC, _row DESC) = 1 AND _op = 'U'"
        )

    def _carried(self) -> str:
        """The changes with each value that stayed as it was taken from the row's last state before."""
        kinds = self.columns.raw_types
        by_name = {found.name: found for found in self.columns.readings}
        parts = ", ".join(
            f"({by_name[name].from_text(f'_line_texts[{n + 1}]')})::VARCHAR" for n, name in enumerate(self.stream.key)
        )
        self.engine.run(
            "CREATE OR REPLACE TEMP TABLE lined AS SELECT *, "
            f"CASE WHEN _line IS NOT NULL THEN to_json([{parts}])::VARCHAR END AS _first FROM "
            "(SELECT *, json_extract_string(_line, '$[*]') AS _line_texts FROM changes WHERE _op <> 'T')"
        )
        listed = ", ".join(quote_name(name) for name in kinds)
        needed = "_key IN (SELECT _first FROM lined WHERE len(_same) > 0 AND _tag = 0)"
        self.engine.run(f"CREATE OR REPLACE TEMP TABLE before AS {self._known(needed, f'_key, _unread, {listed}')}")
        every = (
            f"SELECT _n, _op, _observed, _same, _first, _tag, _unread, {listed} FROM lined UNION ALL BY NAME "
            f"SELECT 0::BIGINT AS _n, 'B' AS _op, []::VARCHAR[] AS _same, _key AS _first, 0::BIGINT AS _tag, _unread, "
            f"{listed} FROM before"
        )
        carried = ", ".join(self._last(name) for name in kinds)
        return (
            f"SELECT _n, _op, _observed, _unread, {carried} FROM ({every}) "
            "WINDOW w AS (PARTITION BY _first, _tag ORDER BY _n ROWS UNBOUNDED PRECEDING) QUALIFY _op <> 'B'"
        )

    def _last(self, name: str) -> str:
        column = quote_name(name)
        if name in self.stream.key or name not in {found.name for found in self.columns.readings}:
            return column
        source = text(self.columns.of(name).source_name)
        said = f"CASE WHEN _op <> 'D' AND NOT list_contains(_same, {source}) THEN {{v: {column}}} END"
        kept = f"last_value({said} IGNORE NULLS) OVER w"
        return f"CASE WHEN list_contains(_same, {source}) THEN ({kept}).v ELSE {column} END AS {column}"

    def _truncated(self) -> str:
        """A delete of every key that lived when a TRUNCATE came."""
        self._index.fill(self.previous)
        known = "SELECT _key, 0::BIGINT AS _n, 'U' AS _op FROM known"
        keys = key_columns_of(self.stream.key, self.columns.raw_types)
        return (
            f"SELECT _n, 'D' AS _op, _observed, NULL::VARCHAR AS _unread, {keys} FROM ("
            "SELECT t._n, t._observed, e._key FROM (SELECT _n, _observed, coalesce(lag(_n) OVER (ORDER BY _n), -1) "
            "AS _since FROM changes WHERE _op = 'T') t JOIN "
            f"({known} UNION ALL SELECT _key, _n, _op FROM changes WHERE _op <> 'T') e "
            "ON e._n < t._n AND e._n > t._since "
            "GROUP BY t._n, t._observed, e._key HAVING arg_max(e._op, e._n) = 'U')"
        )
