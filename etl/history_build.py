"""Build a type 2 dimension: the versions of the touched keys, numbered, as a row delta."""

from __future__ import annotations

from collections.abc import Sequence

from starberg.engines.base import Engine
from starberg.etl.build_writer import Writer, target
from starberg.etl.compile import LOAD, OBSERVED, OP, ROW_NUMBER
from starberg.etl.history import ADDED, CHANGED_AT, History, referenced
from starberg.etl.model import UNKNOWN_KEY, Lookup
from starberg.etl.row_delta import Counts
from starberg.etl.surrogate_keys import numbered_versions
from starberg.storage.columns import SqlColumn
from starberg.utils.errors import DeclarationError
from starberg.utils.sql import names, quote, quote_name

_TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_TEMPORARY = ("referenced", "touched", "observations", "versions", "old", "decided", "contents", "lacking")


class HistoryBuild:
    """Builds one type 2 dimension in an engine's session that has its changes attached."""

    def __init__(
        self, history: History, engine: Engine, writer: Writer, references: Sequence[tuple[str, Lookup]]
    ) -> None:
        self._history = history
        self._engine = engine
        self._writer = writer
        self._references = references
        self._table = history.table

    def apply(self, before: Sequence[SqlColumn], changed: str, mark: int, *, published: int = 0) -> tuple[Counts, int]:
        """Bring the dimension to its versions; return what changed and the highest number ever given.

        `before` are the published dimension's columns (none: it is new); `changed` selects the keys with new changes
        (empty: every key is computed). `published` says that all changes until that load are in it.
        """
        seen = self._engine.columns(self._history.observations())
        self._check_times(seen)
        types = {column.name: column.type for column in seen}
        key = list(self._history.key)
        wanted = target(self._table, [self._table.surrogate_key], "touched" if changed else "", key)
        looked_at = [self._table.surrogate_key, *ADDED, *self._history.tracked]
        self._writer.temp("referenced", referenced(key, self._references, types))
        if changed:
            self._writer.temp("touched", self._history.touched(changed, "referenced", quote(self._table.id)))
            [(count,)] = self._engine.rows("SELECT count(*) FROM touched")
            if not count:
                self._writer.touched(self._table, key, looked_at)
                return Counts(), mark
            wanted = self._writer.read(wanted, "old")
        observations = self._history.observations("touched" if changed else "")
        narrow = f"SELECT {names(self._history.decisive)} FROM ({observations})" if published else observations
        self._writer.temp("observations", narrow)
        [(unreadable,)] = self._engine.rows(f"SELECT count(*) FROM observations WHERE {OP} = 'P'")
        self._writer.temp("decided", self._history.decided("observations", unreadable=bool(unreadable)))
        columns = [column.name for column in seen if column.name not in (ROW_NUMBER, OP, OBSERVED)]
        alike = {column.name for column in before if types.get(column.name) == column.type}
        values = "observations"
        if published:
            values = self._values(columns, published, kept=alike >= set(columns))
        versions = f"({self._history.versions('decided', values, columns)})"
        if self._references:
            self._writer.temp("versions", f"FROM {versions}")
            looked_up = f"(FROM referenced SEMI JOIN touched USING ({names(key)}))" if changed else "referenced"
            versions = f"({self._history.members('versions', looked_up)})"
        known = self._known(before, wanted.old)
        rows = numbered_versions(
            versions,
            known,
            key,
            [name for name in self._history.tracked if name in alike],
            self._table.surrogate_key,
            mark,
        )
        if not changed:
            unknown = self._history.unknown(self._engine.columns(f"SELECT * EXCLUDE (_place) FROM {versions}"))
            rows = f"SELECT * FROM ({rows}) UNION ALL BY NAME {unknown}"
        self._writer.temp("computed", rows)
        counts = self._writer.bring(wanted, "computed")
        if changed:
            self._writer.touched(self._table, key, looked_at)
        [(highest,)] = self._engine.rows(
            f"SELECT coalesce(max({quote_name(self._table.surrogate_key)}), 0) FROM computed"
        )
        for name in _TEMPORARY:
            self._engine.run(f"DROP TABLE IF EXISTS {name}")
        return counts, max(mark, highest)

    def _values(self, columns: Sequence[str], published: int, *, kept: bool) -> str:
        """Collect the values of the decided versions without reading the long table of changes in full width.

        Those of new loads stand in its last files; most others are in the dimension already.
        """
        history, listed = self._history, f"{names([*columns, ROW_NUMBER])}"
        selects = [f"SELECT {listed} FROM ({history.observations(after=published)})"]
        if kept:
            selects.append(history.kept_values("observations", "decided", "old", columns, published))
        self._writer.temp("contents", " UNION ALL ".join(selects))
        self._writer.temp(
            "lacking", f"SELECT {LOAD}, {ROW_NUMBER} FROM decided ANTI JOIN contents USING ({LOAD}, {ROW_NUMBER})"
        )
        [(lacking,)] = self._engine.rows("SELECT count(*) FROM lacking")
        if lacking:
            self._engine.run(f"INSERT INTO contents SELECT {listed} FROM ({history.observations(places='lacking')})")
        return "contents"

    def _known(self, before: Sequence[SqlColumn], old: str) -> str:
        """Return a relation of the old versions, of the touched keys (`old`) or all; none for a new dimension.

        A type 1 member counts as a version without a time.
        """
        key, number = list(self._history.key), quote_name(self._table.surrogate_key)
        has = {column.name for column in before}
        if not {*key, self._table.surrogate_key} <= has:
            return ""
        time = "" if CHANGED_AT in has else f", NULL::TIMESTAMP AS {CHANGED_AT}"
        return f"(SELECT *{time} FROM {old or quote(self._table.id)} WHERE {number} <> {UNKNOWN_KEY})"

    def _check_times(self, columns: Sequence[SqlColumn]) -> None:
        """Refuse times that are none, before they are cast."""
        types = {column.name.lower(): column.type for column in columns}
        for field in ("valid_from", "created_at"):
            name = getattr(self._history.header, field)
            if name and types[name] not in _TIMES:
                raise DeclarationError(
                    f"{self._table.path}: {field}",
                    f"{name} is {types[name]}, not a date or a timestamp",
                    hint="Declare the stream's column with that type, or cast it in staging.",
                )
