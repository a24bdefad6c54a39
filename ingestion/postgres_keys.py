"""Key reconciliation: which keys are gone, and which were missed, without reading rows.

Keys fall into ranges by their hash. PostgreSQL counts and sums each range's hashes, the chain's keys are counted the
same way, and only the keys of ranges that differ are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starberg.engines.base import Engine
from starberg.ingestion.table_columns import TableColumns
from starberg.utils.sql import quote, quote_name, text

_ASKED_AT_ONCE = 500


@dataclass(frozen=True)
class KeyRanges:
    """The ranges of one table, through the scanner's connection `attached`; `key` are the stream's key columns."""

    engine: Engine
    attached: str
    table: str
    key: Sequence[str]
    columns: TableColumns

    def differing(self, known: str) -> tuple[list[int], int]:
        """Return the ranges in which the source's keys are not those of `known` (SQL), and how many keys it has."""
        here = f"SELECT {self._said_here()} AS said FROM ({known})"
        mine = (
            "SELECT ('0x' || substr(m, 1, 3))::INTEGER AS bucket, count(*) AS n, "
            "sum(('0x' || substr(m, 4, 13))::BIGINT)::VARCHAR AS h "
            f"FROM (SELECT md5(said) AS m FROM ({here})) GROUP BY 1"
        )
        theirs = (
            "SELECT ('x' || substr(m, 1, 3))::bit(12)::int AS bucket, count(*) AS n, "
            "sum(('x' || substr(m, 4, 13))::bit(52)::bigint)::text AS h "
            f"FROM (SELECT md5({self._said_there()}) AS m FROM {quote(self.table)}) AS k GROUP BY 1"
        )
        self.engine.run(f"CREATE OR REPLACE TEMP TABLE theirs AS {self._ask(theirs)}")
        rows = self.engine.rows(
            f"SELECT coalesce(a.bucket, b.bucket) FROM theirs a FULL JOIN ({mine}) b ON a.bucket = b.bucket "
            "WHERE (a.n, a.h) IS DISTINCT FROM (b.n, b.h) ORDER BY 1"
        )
        [(total,)] = self.engine.rows("SELECT coalesce(sum(n), 0)::BIGINT FROM theirs")
        return [int(bucket) for (bucket,) in rows], int(total)

    def compare(self, buckets: Sequence[int], known: str) -> None:
        """Fill the tables `gone` (key columns of `known` that the source lacks) and `missed` (those it has besides)."""
        keys = ", ".join(self.columns.of(name).query(careful=False) for name in self.key)
        among = ", ".join(map(str, buckets))
        there = (
            f"SELECT {keys} FROM {quote(self.table)} "
            f"WHERE ('x' || substr(md5({self._said_there()}), 1, 3))::bit(12)::int IN ({among})"
        )
        values = ", ".join(f"{self.columns.of(name).value(careful=False)} AS {quote_name(name)}" for name in self.key)
        said = self._said_here()
        inside = f"('0x' || substr(md5({said}), 1, 3))::INTEGER IN ({among})"
        self.engine.run(
            f"CREATE OR REPLACE TEMP TABLE there AS SELECT *, {said} AS _said FROM (SELECT {values} FROM "
            f"({self._ask(there)}))"
        )
        self.engine.run(f"CREATE OR REPLACE TEMP TABLE here AS SELECT *, {said} AS _said FROM ({known}) WHERE {inside}")
        for name, left, right in (("gone", "here", "there"), ("missed", "there", "here")):
            self.engine.run(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {left} ANTI JOIN {right} USING (_said)")

    def missed_conditions(self) -> list[str]:
        """Return PostgreSQL's conditions for the rows of `missed`, some hundred keys in each."""
        said = ", ".join(f"{quote_name(name)}::VARCHAR" for name in self.key)
        rows = self.engine.rows(f"SELECT {said} FROM missed ORDER BY _said")
        columns = ", ".join(quote_name(self.columns.of(name).source_name) for name in self.key)
        listed = [f"({', '.join(text(value) for value in row)})" for row in rows]
        pieces = [listed[at : at + _ASKED_AT_ONCE] for at in range(0, len(listed), _ASKED_AT_ONCE)]
        return [f"({columns}) IN ({', '.join(piece)})" for piece in pieces]

    def _ask(self, sql: str) -> str:
        return f"SELECT * FROM postgres_query({text(self.attached)}, {text(sql)})"

    def _said_there(self) -> str:
        parts = []
        for name in self.key:
            found = self.columns.of(name)
            column = quote_name(found.source_name)
            said = f"{column}::text"
            if found.raw_type.startswith("TIMESTAMP"):
                said = f"(extract(epoch FROM {column}) * 1000000)::bigint::text"
            elif found.padded:
                said = f"rtrim({column}::text, ' ')"
            parts.append(f"length({said}) || ':' || {said}")
        return " || ".join(parts)

    def _said_here(self) -> str:
        parts = []
        for name in self.key:
            stamp = self.columns.of(name).raw_type.startswith("TIMESTAMP")
            said = f"epoch_us({quote_name(name)})::VARCHAR" if stamp else f"{quote_name(name)}::VARCHAR"
            parts.append(f"length({said}) || ':' || {said}")
        return " || ".join(parts)
