"""The live keys of a table's chain with a digest of each row: what a reading of the whole table is compared with.

The first load is a whole reading, so its rows are an index. Later on checkpoints are written, as often as landing
writes them, so that a comparison reads one small file and a few loads, however many there are.

A digest is DuckDB's `hash` of a row's columns: ten times as fast as MD5, but no two versions need agree on it. A
checkpoint's name says what it was made with; one made otherwise (version, columns, types) is passed over and the index
made anew from the loads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from starberg.engines.base import Engine, ParquetFile
from starberg.engines.typed_rows import raw_rows
from starberg.ingestion.landing import is_due
from starberg.ingestion.streams import Stream
from starberg.ingestion.table_columns import key_json
from starberg.storage.raw_chain import Manifest, Part, RawStream
from starberg.utils.sql import quote_name, text

_NAME = re.compile(r"/index-([0-9a-f]+)-[^/]*$")


@dataclass(frozen=True)
class TableIndex:
    """The index of one chain, whose rows are seen as `raw_types`; it lives in the engine's table `known`."""

    engine: Engine
    chain: RawStream
    stream: Stream
    scratch: Path
    raw_types: Mapping[str, str]

    @property
    def digested(self) -> str:
        """Return the SELECT list `_key, _digest` over rows of `raw_types`."""
        digest = f"hash({', '.join(quote_name(name) for name in self._content)})"
        return f"{key_json(self.stream.key, self.raw_types)} AS _key, {digest} AS _digest"

    def fill(self, previous: Manifest) -> None:
        """Let `known` hold `_key` and `_digest` of every row that lives after the load `previous`."""
        base = self._checkpoint(previous)
        after = base.seq if base else 1
        later = [self.chain.load(seq) for seq in range(after + 1, previous.seq)]
        later += [previous] if previous.seq > after else []
        if base and base.index:
            rows = f"SELECT _key, _digest FROM {self._file(base.index)}"
        else:
            first = previous if previous.seq == 1 else self.chain.load(1)
            rows = f"SELECT {self.digested} FROM ({self.landed([first])})"
        self._replace(rows, self.landed(later))

    def fill_lately(self, loads: Sequence[Manifest], where: str) -> None:
        """Let `lately` hold the live rows of some loads that are `where`, as they were landed last."""
        nothing = "SELECT ''::VARCHAR AS _key, 0::UBIGINT AS _digest WHERE false"
        self._replace(nothing, self.landed(loads), where=where, into="lately")

    def write(self, seq: int, run_id: str, changed: Sequence[ParquetFile]) -> Part | None:
        """Write a checkpoint as of load `seq`: `known`, and the rows in `changed` files; None if no row lives."""
        self._replace("FROM known", rows_of(changed, self.raw_types))
        files = self.engine.write("SELECT _key, _digest FROM known", {}, ordered=True)
        name = f"index-{self._made_with}-{run_id}"
        return self.chain.put_part(seq, name, files[0].path, files[0].rows) if files else None

    def is_due(self, previous: Manifest, seq: int) -> bool:
        """Tell whether load `seq` should have a checkpoint."""
        last = self._checkpoint(previous)
        return is_due(seq - (last.seq if last else 0), last.index.bytes if last and last.index else 0)

    def landed(self, loads: Sequence[Manifest]) -> str:
        """Return SQL for all rows of some loads (`raw_rows`), their files fetched and proven."""
        parts = [(part, number) for load in loads for number, part in enumerate(load.parts)]
        return raw_rows([(str(self.chain.fetch(part, self.scratch)), n) for part, n in parts], self.raw_types)

    def _replace(self, base: str, newer: str, *, where: str = "true", into: str = "known") -> None:
        """Let a table hold the rows of `base`, but of the keys among `newer` rows what was landed last."""
        place = "{load: _load_id, row: _row}"
        self.engine.run(
            f"CREATE OR REPLACE TEMP TABLE newer AS SELECT _key, arg_max(_digest, {place}) AS _digest, "
            f"arg_max(_op, {place}) AS _op FROM (SELECT _load_id, _row, _op, {self.digested} FROM ({newer}) "
            f"WHERE ({where}) OR _op = 'D') GROUP BY _key"
        )
        self.engine.run(
            f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT _key, _digest FROM ({base}) b "
            "WHERE NOT EXISTS (FROM newer n WHERE n._key = b._key) "
            "UNION ALL SELECT _key, _digest FROM newer WHERE _op = 'U'"
        )
        self.engine.run("DROP TABLE newer")

    def _checkpoint(self, previous: Manifest) -> Manifest | None:
        """Return the load with the newest checkpoint, if that was made as one would be now."""
        if not previous.index_seq:
            return None
        load = previous if previous.seq == previous.index_seq else self.chain.load(previous.index_seq)
        made = _NAME.search(load.index.key) if load.index else None
        return load if made and made[1] == self._made_with else None

    def _file(self, part: Part) -> str:
        return f"read_parquet({text(str(self.chain.fetch(part, self.scratch)))})"

    @property
    def _content(self) -> list[str]:
        return sorted({*self.raw_types, "_unread"} - {*self.stream.key, *self.stream.volatile})

    @property
    def _made_with(self) -> str:
        [(version,)] = self.engine.rows("SELECT version()")
        kinds = {name: self.raw_types.get(name) for name in (*self.stream.key, *self._content)}
        return hashlib.sha256(json.dumps([version, kinds]).encode()).hexdigest()[:12]


def rows_of(files: Sequence[ParquetFile], raw_types: Mapping[str, str]) -> str:
    """Return SQL for all rows of files that are not landed yet."""
    return raw_rows([(str(file.path), number) for number, file in enumerate(files)], raw_types)
