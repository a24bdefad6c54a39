"""Which columns a table's stream has now: the catalog's, held against those pinned by earlier loads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from starberg.ingestion.columns import column_of_key
from starberg.ingestion.postgres_types import PgColumn, Reading, is_wider, reading, unread
from starberg.ingestion.streams import Stream
from starberg.utils.errors import SourceDataError
from starberg.utils.sql import quote_name


@dataclass(frozen=True)
class TableColumns:
    """How each column is read, and the types of the part that results; columns that are gone are null."""

    readings: Sequence[Reading]
    raw_types: Mapping[str, str]
    """Name → raw type: those of earlier loads first."""
    notes: tuple[str, ...]

    @property
    def columns(self) -> dict[str, str]:
        """Return the types SQL sees."""
        zoned = "TIMESTAMP WITH TIME ZONE"
        return {name: "TIMESTAMP" if kind == zoned else kind for name, kind in self.raw_types.items()}

    def of(self, name: str) -> Reading:
        """Return the reading of a column that is there."""
        return next(found for found in self.readings if found.name == name)

    @property
    def scanned(self) -> bool:
        """Tell whether a plain scan of the table gives every value."""
        return all(found.scanned for found in self.readings)

    def items(self, *, careful: bool) -> str:
        """Return PostgreSQL's SELECT list."""
        return ", ".join(found.query(careful=careful) for found in self.readings)

    def values(self, *, careful: bool = False) -> str:
        """Return SQL for the columns of the part and `_unread`, over a scan or the answer to `items`."""
        given = {found.name: found.value(careful=careful) for found in self.readings}
        doubted = {
            found.name: (quote_name(found.source_name), given[found.name])
            for found in self.readings
            if (found.by_text or (careful and found.has_nan)) and found.raw_type != "VARCHAR"
        }
        return self._listed(given, unread(doubted))

    def from_texts(self) -> str:
        """Return SQL for the columns of the part and `_unread`, over PostgreSQL's texts under the source's names."""
        given = {found.name: found.from_text(quote_name(found.source_name)) for found in self.readings}
        doubted = {
            found.name: (quote_name(found.source_name), given[found.name])
            for found in self.readings
            if found.raw_type != "VARCHAR"
        }
        return self._listed(given, unread(doubted))

    def _listed(self, given: Mapping[str, str], unread_sql: str) -> str:
        columns = (
            f"CAST({given.get(name, 'NULL')} AS {kind}) AS {quote_name(name)}" for name, kind in self.raw_types.items()
        )
        return ", ".join([f"{unread_sql} AS _unread", *columns])


def table_columns(stream: Stream, table: Sequence[PgColumn], pinned: Mapping[str, str]) -> TableColumns:
    """Hold a table's columns against the pinned ones: new ones join, wider ones widen, missing ones are null.

    Raises SourceDataError naming the column where a person has to choose.
    """
    names = {(stream.path_of(name)): name for name in stream.columns}
    wanted = {*stream.columns, *stream.key, stream.cursor}
    readings: list[Reading] = []
    raw_types = dict(pinned)
    notes: list[str] = []
    for column in table:
        name = names.get(column.name) or column_of_key(column.name)
        if stream.undeclared == "ignore" and name not in wanted and name not in pinned:
            continue
        found = reading(column, name)
        if found.beyond_decimals and name not in stream.columns:
            raise SourceDataError(
                f"{stream.table}: column {column.name} is {column.said}, which no decimal of 38 digits holds",
                hint=f"Declare it in stream {stream.name}: columns: {{{name}: VARCHAR}} (exact text), or a DECIMAL.",
            )
        before = pinned.get(name)
        if before and before != found.raw_type:
            found = _changed(stream, found, before, notes)
        elif pinned and before is None:
            notes.append(f"column {name} ({column.said}) is new: null in rows landed before")
        readings.append(found)
        raw_types[name] = found.raw_type
    _check_case(stream, raw_types)
    _check_there(stream, readings, raw_types)
    present = {found.name for found in readings}
    notes += [f"column {name} is gone from the table: null from now on" for name in pinned if name not in present]
    return TableColumns(readings, raw_types, tuple(notes))


def _changed(stream: Stream, found: Reading, before: str, notes: list[str]) -> Reading:
    if is_wider(before, found.raw_type):
        notes.append(f"column {found.name} was {before} and is now {found.raw_type}")
        return found
    if found.name in stream.columns and found.name not in stream.key:
        notes.append(f"column {found.name} was {before} and is now {found.said}: read as text and typed as declared")
        return replace(found, raw_type="VARCHAR", by_text=True, scanned=False)
    raise SourceDataError(
        f"{stream.table}: column {found.name} was {before} and is now {found.said}; nothing was landed",
        hint="A key column cannot change so: give the stream another name to load it anew."
        if found.name in stream.key
        else f"Declare the type it shall have in stream {stream.name}: columns: {{{found.name}: {before}}}; "
        "what does not fit goes to quarantine.",
    )


def _check_case(stream: Stream, names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise SourceDataError(
                f"{stream.table}: columns {other} and {name} differ only in case",
                hint=f"Name one otherwise: columns: {{{name.lower()}_2: {{type: VARCHAR, path: {name}}}}}.",
            )


def _check_there(stream: Stream, readings: Sequence[Reading], known: Mapping[str, str]) -> None:
    present = {found.name for found in readings}
    needed = [*stream.key, *([stream.cursor] if stream.cursor else [])]
    needed += [name for name in stream.columns if name not in known]
    for name in needed:
        if name not in present:
            what = "key" if name in stream.key else "cursor" if name == stream.cursor else "declared"
            raise SourceDataError(
                f"{stream.table} has no column {stream.path_of(name)}, the {what} column of stream {stream.name}",
                hint=f"It has: {', '.join(sorted(found.source_name for found in readings))}.",
            )


def unproven_key(stream: Stream, unique: Sequence[frozenset[str]]) -> list[str]:
    """Return a note if none of the table's unique sets of columns makes the stream's key one."""
    identifying = {stream.path_of(name) for name in stream.key}
    if any(columns <= identifying for columns in unique):
        return []
    return [f"no unique constraint of {stream.table} says that {', '.join(stream.key)} is a key"]


def key_json(names: Sequence[str], raw_types: Mapping[str, str]) -> str:
    """Return SQL for a row's key as text, one for all spellings."""
    texts = ", ".join(f"{quote_name(name)}::VARCHAR" for name in names if name in raw_types)
    return f"to_json([{texts}])::VARCHAR"


def key_columns_of(names: Sequence[str], raw_types: Mapping[str, str], key: str = "_key") -> str:
    """Return SQL for the key columns of `key_json`'s text, all other columns null."""
    place = {name: number for number, name in enumerate(names)}

    def one(name: str, kind: str) -> str:
        said = f"json_extract_string({key}, '$[{place[name]}]')" if name in place else "NULL"
        said = f"unhex(replace({said}, chr(92) || 'x', ''))" if kind == "BLOB" and name in place else said
        return f"CAST({said} AS {kind}) AS {quote_name(name)}"

    return ", ".join(one(name, kind) for name, kind in raw_types.items())
