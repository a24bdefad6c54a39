"""Build a type 2 dimension: the versions of the touched keys, numbered, as a row delta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starberg.engines.base import Engine
from starberg.etl.build_writer import Writer, target
from starberg.etl.compile import LOAD, OBSERVED, OP, ROW_NUMBER
from starberg.etl.headers import Lookup
from starberg.etl.history import ADDED, CHANGED_AT, History, referenced
from starberg.etl.model import UNKNOWN_KEY
from starberg.etl.row_delta import Counts, Target
from starberg.etl.surrogate_keys import numbered_versions
from starberg.storage.columns import SqlColumn
from starberg.utils.errors import DeclarationError
from starberg.utils.sql import names, quote, quote_name

_TIMES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_TEMPORARY = (
    "referenced", "touched", "old", "observations", "decided", "versions", "numbered", "alone", "kept", "contents",
    "lacking", "doubted", "leaving",
)  # fmt: skip


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
        self._key = list(history.key)

    def apply(
        self, before: Sequence[SqlColumn], changed: str, mark: int, *, published: int = 0, staged: str = ""
    ) -> tuple[Counts, int]:
        """Bring the dimension to its versions; return what changed and the highest number ever given.

        `before` are the published dimension's columns (none: it is new); `changed` selects the keys with new changes
        (empty: every key is computed). `published` says that all changes until that load are in it, and `staged` has
        the staging rows of the changed keys as they were then.
        """
        seen = self._engine.columns(self._history.observations())
        self._check_times(seen)
        self._writer.temp("referenced", referenced(self._key, self._references, {c.name: c.type for c in seen}))
        count = self._touch(changed)
        if changed and not count:
            self._checked()
            return Counts(), mark
        types = {column.name: column.type for column in seen}
        alike = {column.name for column in before if types.get(column.name) == column.type}
        columns = [column.name for column in seen if column.name not in (ROW_NUMBER, OP, OBSERVED)]
        narrow = bool(published and staged and alike >= {*columns})
        wanted = target(self._table, [self._table.surrogate_key], "touched" if changed else "", self._key)
        if changed:
            wanted = self._writer.read(wanted, "old", self._deciding() if narrow else ())
        self._decide(changed, whole=not published)
        self._number(before, wanted.old, mark, [name for name in self._history.tracked if name in alike])
        if narrow:
            wanted = self._leave_kept(wanted)
        self._writer.temp("computed", self._shown(columns, published, staged if narrow else "", unknown=not changed))
        counts = self._writer.bring(wanted, "computed")
        if changed:
            self._checked()
        [(highest,)] = self._engine.rows(
            f"SELECT coalesce(max({quote_name(self._table.surrogate_key)}), 0) FROM numbered"
        )
        for name in _TEMPORARY:
            self._engine.run(f"DROP TABLE IF EXISTS {name}")
        return counts, max(mark, highest)

    def _touch(self, changed: str) -> int:
        """Fill `touched` with the keys to compute again; return how many there are."""
        if not changed:
            return 0
        self._writer.temp("touched", self._history.touched(changed, "referenced", quote(self._table.id)))
        [(count,)] = self._engine.rows("SELECT count(*) FROM touched")
        return int(count)

    def _checked(self) -> None:
        looked_at = [self._table.surrogate_key, *ADDED, *self._history.tracked]
        self._writer.touched(self._table, self._key, looked_at)

    def _deciding(self) -> Sequence[str]:
        """Return the columns of a version without those that only show what was observed."""
        columns = [self._table.surrogate_key, *self._key, *self._history.tracked, *ADDED, LOAD]
        return list(dict.fromkeys(columns))

    def _decide(self, changed: str, *, whole: bool) -> None:
        """Fill `observations` with the changes, `whole` or in the columns that decide, and `versions` from them."""
        observations = self._history.observations("touched" if changed else "")
        narrow = f"SELECT {names(self._history.decisive)} FROM ({observations})"
        self._writer.temp("observations", observations if whole else narrow)
        [(unreadable,)] = self._engine.rows(f"SELECT count(*) FROM observations WHERE {OP} = 'P'")
        self._writer.temp("decided", self._history.decided("observations", unreadable=bool(unreadable)))
        self._writer.temp("versions", self._history.versions("decided", "observations"))

    def _number(self, before: Sequence[SqlColumn], old: str, mark: int, tracked: Sequence[str]) -> None:
        """Fill `numbered` with the versions and inferred members, each with its number."""
        members = "versions"
        if self._references:
            touched = f"SEMI JOIN touched USING ({names(self._key)})" if old else ""
            members = f"({self._history.members('versions', f'(FROM referenced {touched})')})"
        known, number = self._known(before, old), self._table.surrogate_key
        self._writer.temp("numbered", numbered_versions(members, known, self._key, tracked, number, mark))

    def _leave_kept(self, wanted: Target) -> Target:
        """Take what stays as it is out of `numbered`; return the target with the rows that leave or may differ.

        Those that surely differ, in what was computed of them, are not read in full width.
        """
        number = quote_name(self._table.surrogate_key)
        self._writer.temp("alone", self._history.alone("observations"))
        self._writer.temp("kept", self._history.kept("numbered", "old", "alone"))
        self._engine.run(f"DELETE FROM numbered WHERE {number} IN (SELECT {number} FROM kept WHERE _sure)")
        leaving = f"FROM old ANTI JOIN kept USING ({number})"
        [(doubtful,)] = self._engine.rows("SELECT count(*) FROM kept WHERE NOT _sure")
        if doubtful:
            doubted = f"(SELECT DISTINCT {names(self._key)} FROM kept WHERE NOT _sure)"
            self._writer.read(replace(wanted, scope=doubted), "doubted")
            leaving += f" UNION ALL BY NAME FROM doubted SEMI JOIN (FROM kept WHERE NOT _sure) USING ({number})"
        self._writer.temp("leaving", f"FROM (FROM {quote(self._table.id)} LIMIT 0) UNION ALL BY NAME {leaving}")
        return replace(wanted, old="leaving")

    def _shown(self, columns: Sequence[str], published: int, staged: str, *, unknown: bool) -> str:
        """Return the numbered versions in all columns, with the unknown member if that is wanted."""
        if published:
            self._collect(columns, published, staged)
        rows = self._history.shown("numbered", "contents" if published else "observations", columns)
        return f"{rows} UNION ALL BY NAME {self._history.unknown(self._engine.columns(rows))}" if unknown else rows

    def _collect(self, columns: Sequence[str], published: int, staged: str) -> None:
        """Fill `contents` with the values of numbered versions, not reading the long table of changes in full width.

        Those of new loads stand in its last files; most others staging has read already.
        """
        history, listed = self._history, names([*columns, ROW_NUMBER])
        selects = [f"SELECT {listed} FROM ({history.observations(after=published)})"]
        if staged:
            selects.append(history.staged_values(staged, "numbered", "alone", columns))
        self._writer.temp("contents", " UNION ALL ".join(selects))
        self._writer.temp(
            "lacking",
            f"SELECT {LOAD}, {ROW_NUMBER} FROM numbered ANTI JOIN contents USING ({LOAD}, {ROW_NUMBER}) "
            f"WHERE {LOAD} IS NOT NULL",
        )
        [(lacking,)] = self._engine.rows("SELECT count(*) FROM lacking")
        if lacking:
            self._engine.run(f"INSERT INTO contents SELECT {listed} FROM ({history.observations(places='lacking')})")

    def _known(self, before: Sequence[SqlColumn], old: str) -> str:
        """Return a relation of the old versions, of the touched keys (`old`) or all; none for a new dimension.

        A type 1 member counts as a version without a time.
        """
        number, has = quote_name(self._table.surrogate_key), {column.name for column in before}
        if not {*self._key, self._table.surrogate_key} <= has:
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
