"""Key reconciliation: which keys are gone, and which were missed, without reading rows.

Keys fall into ranges by their hash. PostgreSQL counts and sums each range's hashes, the chain's keys are counted the
same way, and only the keys of ranges that differ are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from starberg.engines.base import Engine
from starberg.ingestion.table_columns import TableColumns
from starberg.utils.errors import StarbergError
from starberg.utils.sql import quote, quote_name, text

_ASKED_AT_ONCE = 500
_TABLES = ("ours", "there", "gone", "missed")


@dataclass(frozen=True)
class KeyRanges:
    """The ranges of one table, through the scanner's connection `attached`; `key` are the stream's key columns."""

    engine: Engine
    attached: str
    table: str
    key: Sequence[str]
    columns: TableColumns

    @contextmanager
    def of(self, known: str) -> Iterator[None]:
        """Compare with the keys of `known` (SQL); meanwhile there are the tables `gone` and `missed`.

        `gone` are key columns of `known` that the source lacks, `missed` those it has besides.
        """
        try:
            self.engine.run(f"CREATE TEMP TABLE ours AS SELECT *, {self._said_here()} AS _said FROM ({known})")
            self._compare(self._differing())
            yield
        except BaseException:
            with suppress(StarbergError):  # the transaction may be what failed; with it the tables are gone
                self._drop()
            raise
        self._drop()

    def _drop(self) -> None:
        self.engine.run("; ".join(f"DROP TABLE IF EXISTS {name}" for name in _TABLES))

    def missed(self) -> int:
        """Return how many keys were missed."""
        [(count,)] = self.engine.rows("SELECT count(*) FROM missed")
        return int(count)

    def _differing(self) -> list[int]:
        """Return the ranges in which the source's keys are not ours."""
        mine = (
            "SELECT ('0x' || substr(m, 1, 3))::INTEGER AS bucket, count(*) AS n, "
            "sum(('0x' || substr(m, 4, 13))::BIGINT)::VARCHAR AS h FROM (SELECT md5(_said) AS m FROM ours) GROUP BY 1"
        )
        theirs = (
            "SELECT ('x' || substr(m, 1, 3))::bit(12)::int AS bucket, count(*) AS n, "
            "sum(('x' || substr(m, 4, 13))::bit(52)::bigint)::text AS h "
            f"FROM (SELECT md5({self._said_there()}) AS m FROM {quote(self.table)}) AS k GROUP BY 1"
        )
        rows = self.engine.rows(
            f"SELECT coalesce(a.bucket, b.bucket) FROM ({self._ask(theirs)}) a FULL JOIN ({mine}) b "
            "ON a.bucket = b.bucket WHERE (a.n, a.h) IS DISTINCT FROM (b.n, b.h)"
        )
        return [int(bucket) for (bucket,) in rows]

    def _compare(self, buckets: Sequence[int]) -> None:
        """Fill `gone` and `missed` from the keys of some ranges."""
        keys = ", ".join(self.columns.of(name).query(careful=False) for name in self.key)
        among = ", ".join(map(str, buckets or [-1]))
        there = (
            f"SELECT {keys} FROM {quote(self.table)} "
            f"WHERE ('x' || substr(md5({self._said_there()}), 1, 3))::bit(12)::int IN ({among})"
        )
        values = ", ".join(f"{self.columns.of(name).value(careful=False)} AS {quote_name(name)}" for name in self.key)
        there += "" if buckets else " LIMIT 0"
        self.engine.run(
            f"CREATE TEMP TABLE there AS SELECT *, {self._said_here()} AS _said FROM (SELECT {values} "
            f"FROM ({self._ask(there)}))"
        )
        here = f"(FROM ours WHERE ('0x' || substr(md5(_said), 1, 3))::INTEGER IN ({among}))"
        for name, left, right in (("gone", here, "there"), ("missed", "there", "ours")):
            self.engine.run(f"CREATE TEMP TABLE {name} AS FROM {left} ANTI JOIN {right} USING (_said)")

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
