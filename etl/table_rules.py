"""What a table's declaration must be among the others: the streams, tables and columns it names are looked up.

Dimensions, bridges and facts read staging tables of their own warehouse; marts and checks read anything. Key columns
that a SELECT leaves out are added to it from its driver, the first relation after FROM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from starberg.etl.control_tables import TABLES
from starberg.etl.declarations import Draft
from starberg.etl.headers import BridgeHeader, DimensionHeader, FactHeader, Lookup, MartHeader, StagingHeader
from starberg.etl.model import QUERIED, Kind, Table, needs_history
from starberg.etl.sql_body import SqlProblem, parse_body
from starberg.etl.sql_columns import UNKNOWN, Columns, driver_columns, key_columns, output_columns, with_columns
from starberg.etl.sql_refused import refused
from starberg.etl.sql_rules import partition_columns, reserved_columns
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.utils.did_you_mean import did_you_mean
from starberg.utils.errors import DeclarationError

CALENDAR = "calendar"
"""The generated relation a date dimension reads; its one column is `date`."""

_ADDED = {"effective_from", "effective_to", "is_current", "is_deleted", "is_inferred", "weight"}
"""Columns the engine adds to tables of some kinds."""

Wanted = tuple[tuple[str, ...], str]
"""A field of the header and a column it names."""


@dataclass
class TableRules:
    """The drafts of one warehouse, by name, and its sources."""

    warehouse: str
    sources: Mapping[str, SourceSpec]
    drafts: Mapping[str, Draft]
    _columns: dict[str, Columns] = field(default_factory=dict)
    _keys: dict[str, list[str]] = field(default_factory=dict)

    def tables(self) -> list[Table]:
        """Return the tables with all names looked up; DeclarationError tells the first mistake."""
        ordered = sorted(self.drafts.values(), key=lambda draft: list(Kind).index(draft.table.kind))
        return [self._staging(draft) if draft.table.kind is Kind.STAGING else self._built(draft) for draft in ordered]

    def _staging(self, draft: Draft) -> Table:
        header = draft.table.header
        assert isinstance(header, StagingHeader)
        source, stream = self._stream(draft, header.stream)
        read = Columns.of([*stream.columns, *stream.key], complete=stream.undeclared == "ignore")
        try:
            self._keys[draft.table.name] = key_columns(draft.body, stream.key, lambda _: read)
        except SqlProblem as problem:
            raise draft.in_sql(problem) from None
        self._columns[draft.table.name] = output_columns(draft.body, lambda _: read)
        self._select(draft, list(_partition(draft)))
        self._check_checks(draft, draft.table)
        return replace(draft.table, header=header.model_copy(update={"stream": f"{source}.{stream.name}"}))

    def _stream(self, draft: Draft, declared: str) -> tuple[str, Stream]:
        """Return the stream a staging table reads, with its source's name."""
        [(read, place)] = draft.body.reads.items()
        source, _, name = (declared or read).rpartition(".")
        streams = [(spec.name, stream) for spec in self.sources.values() for stream in spec.streams.values()]
        found = [(of, stream) for of, stream in streams if stream.name == name and source in ("", of)]
        if len(found) > 1:
            listed = " or ".join(f"`stream: {of}.{name}`" for of, _ in found)
            message, hint = f"several sources have a stream {name!r}", f"Write {listed} in the header."
        elif not found:
            known = [f"{of}.{stream.name}" if source else stream.name for of, stream in streams]
            message, hint = f"no stream {declared or read!r} in warehouse.yml", did_you_mean(declared or read, known)
        elif name != read:
            message, hint = f"the header says stream {declared!r}, the SELECT reads {read!r}", f"Write FROM {name}."
        else:
            return found[0]
        if declared:
            raise draft.in_header(("stream",), message, hint=hint)
        raise draft.in_sql(draft.body.problem(place, message, hint))

    def _built(self, draft: Draft) -> Table:
        for name in draft.body.reads:
            problem = self._unreadable(draft, name)
            if problem:
                message, hint = problem
                raise draft.in_sql(draft.body.problem(draft.body.reads[name], message, hint))
        if isinstance(draft.table.header, FactHeader | BridgeHeader):
            for key, lookup in draft.table.header.keys.items():
                self._check_lookup(draft, key, lookup)
        table = replace(draft.table, select=self._select(draft, [*_wanted(draft), *_partition(draft)]))
        self._check_checks(draft, table)
        if isinstance(table.header, DimensionHeader) and table.header.is_type2:
            self._check_key(draft, table)
        if needs_history(table):
            self._check_history(draft, table)
        return table

    def _check_history(self, draft: Draft, table: Table) -> None:
        """The engine keeps the changes of what a table with history reads, under a name of its own."""
        if isinstance(table.header, BridgeHeader) and len(table.reads) != 1:
            raise draft.in_header(("history",), "a bridge with history reads exactly one staging table")
        for staging in table.reads:
            if f"{staging}_changes" in self.drafts:
                hint = f"{staging} feeds {table.name}, so the engine keeps its changes under that name."
                raise DeclarationError(
                    str(self.drafts[f"{staging}_changes"].table.path), "the name is taken", hint=hint
                )
        for staging, times in getattr(table.header, "times", {}).items():
            at = ("times", staging)
            if staging not in table.reads:
                raise draft.in_header(
                    at, f"the SELECT does not read {staging}", hint=did_you_mean(staging, table.reads)
                )
            for name in filter(None, (times.valid_from, times.created_at)):
                if self._columns_of(staging).lacks(name):
                    known = [output.name for output in self._columns_of(staging).by_name.values()]
                    raise draft.in_header(at, f"{staging} has no column {name!r}", hint=did_you_mean(name, known))

    def _check_checks(self, draft: Draft, table: Table) -> None:
        """The columns that checks name are there, and the tables and columns they refer to."""
        outputs = output_columns(parse_body(table.select), self._columns_of)
        added = _ADDED | reserved_columns(table.kind, table.header, table.surrogate_key).keys()
        for number, check in enumerate(getattr(table.header, "checks", [])):
            at = ("checks", number, check.what)
            for column in check.columns:
                if outputs.lacks(column) and column not in added:
                    known = [output.name for output in outputs.by_name.values()]
                    raise draft.in_header(at, f"the table has no column {column!r}", hint=did_you_mean(column, known))
            for refers in check.relationship.values():
                other = refers.partition("(")[0]
                if other not in self.drafts:
                    hint = did_you_mean(other, self._names(*(kind for kind in Kind if kind not in QUERIED)))
                    raise draft.in_header(at, f"there is no table {other!r}", hint=hint)
            if check.identity:
                self._check_condition(draft, at, check.identity)

    def _check_condition(self, draft: Draft, at: Sequence[str | int], condition: str) -> None:
        try:
            found = next(refused(parse_body(f"SELECT {condition} AS holds FROM t")), None)
        except SqlProblem as problem:
            found = problem
        if found:
            raise draft.in_header(at, found.message, hint=found.hint)

    def _check_key(self, draft: Draft, table: Table) -> None:
        """A member's versions are made from the changes of one row of staging: it has that row's key."""
        assert isinstance(table.header, DimensionHeader)
        [staging] = table.reads
        known = Columns.of(self._keys[staging], complete=False)
        outputs = output_columns(parse_body(table.select), lambda _: known).by_name
        passed = [outputs[name.lower()].source for name in table.header.natural_key if name.lower() in outputs]
        if sorted(passed) != sorted(self._keys[staging]):
            hint = f"Pass {', '.join(self._keys[staging])} on as it is, and name it here."
            raise draft.in_header(("natural_key",), f"a dimension with history has the key of {staging}", hint=hint)

    def _unreadable(self, draft: Draft, name: str) -> tuple[str, str] | None:
        """Return why a table may not be read, and what to write instead."""
        header, kind = draft.table.header, draft.table.kind
        if isinstance(header, DimensionHeader) and header.calendar:
            return None if name == CALENDAR else ("a date dimension reads calendar alone", "Write FROM calendar.")
        owner, _, table = name.rpartition(".")
        other = self.drafts.get(table) if owner in ("", self.warehouse) else None
        if kind in (Kind.MART, Kind.CHECK, *QUERIED):
            return self._unknown(kind, name, owner, table, other)
        what = f"{kind.value} read staging tables of their own warehouse"
        if other is None:
            return f"there is no staging table {name!r}; {what}", did_you_mean(table, self._names(Kind.STAGING))
        if other.table.kind is not Kind.STAGING:
            return f"{name!r} is no staging table; {what}", "Keys of dimensions are looked up by `keys` in the header."
        return ("a staging table is read by its own name", f"Write FROM {table}.") if owner else None

    def _unknown(self, kind: Kind, name: str, owner: str, table: str, other: Draft | None) -> tuple[str, str] | None:
        """Return why a kind may not read a table; another warehouse's is looked up when all are known."""
        if other is not None:
            what = {Kind.CHECK: "check", Kind.FUNCTION: "function", Kind.VIEW: "view"}.get(other.table.kind)
            if what is None or (what == "view" and kind in QUERIED):
                return None
            return f"{name!r} is a {what}, not a table", "Repeat its SELECT."
        if owner not in ("", self.warehouse) or table in TABLES or table.startswith("quarantine_"):
            return None
        tables = self._names(*(kind for kind in Kind if kind not in (Kind.CHECK, Kind.FUNCTION)))
        return f"there is no table {name!r}", did_you_mean(table, tables)

    def _names(self, *kinds: Kind) -> list[str]:
        return [name for name, draft in self.drafts.items() if draft.table.kind in kinds]

    def _check_lookup(self, draft: Draft, key: str, lookup: Lookup) -> None:
        at = ("keys", key)
        target = self.drafts.get(lookup.dimension)
        header = target.table.header if target else None
        if not isinstance(header, DimensionHeader):
            hint = did_you_mean(lookup.dimension, self._names(Kind.DIMENSION))
            raise draft.in_header(at, f"there is no dimension {lookup.dimension!r}", hint=hint)
        natural = [] if header.calendar else header.natural_key
        if lookup.as_of and not header.is_type2:
            hint = f"Leave out `as of`, or declare `history: type2` in {lookup.dimension}."
            raise draft.in_header(at, f"{lookup.dimension} keeps no history", hint=hint)
        if header.calendar and len(lookup.columns) != 1:
            raise draft.in_header(at, f"{lookup.dimension} takes one date", hint=f"Write {lookup.dimension}(column).")
        if lookup.columns and natural and len(lookup.columns) != len(natural):
            hint = f"Its natural key is {', '.join(natural)}."
            raise draft.in_header(at, f"{lookup.dimension} takes {len(natural)} columns", hint=hint)
        if lookup.on and set(lookup.on) != set(natural):
            hint = f"`on` maps each of {', '.join(natural)} to a column of this table."
            raise draft.in_header((*at, "on"), f"these are not the natural key of {lookup.dimension}", hint=hint)

    def _select(self, draft: Draft, wanted: list[Wanted]) -> str:
        """Return the SELECT with wanted columns it lacks added; DeclarationError for one that cannot be."""
        outputs = output_columns(draft.body, self._columns_of)
        missing = [(at, column) for at, column in wanted if outputs.lacks(column)]
        driver = (
            Columns() if draft.table.kind in (Kind.STAGING, Kind.MART) else driver_columns(draft.body, self._columns_of)
        )
        for at, column in missing:
            if driver.lacks(column):
                known = [output.name for output in outputs.by_name.values()]
                hint = did_you_mean(column, known) or f"Add {column} to the SELECT."
                raise draft.in_header(at, f"the SELECT has no column {column!r}", hint=hint)
        return with_columns(draft.body, list(dict.fromkeys(column for _, column in missing)))

    def _columns_of(self, name: str) -> Columns:
        return Columns.of(["date"]) if name == CALENDAR else self._columns.get(name, UNKNOWN)


def _wanted(draft: Draft) -> Iterator[Wanted]:
    """Yield the columns a table's key and lookups need."""
    header = draft.table.header
    if isinstance(header, DimensionHeader):
        yield from [(("calendar",), "date")] if header.calendar else ((("natural_key",), c) for c in header.natural_key)
        yield from ((("track",), column) for column in header.track)
        yield from (
            (f, column)
            for f, column in ((("valid_from",), header.valid_from), (("created_at",), header.created_at))
            if column
        )
    if isinstance(header, FactHeader | BridgeHeader | MartHeader):
        added = getattr(header, "keys", {})
        yield from ((("grain",), column) for column in header.grain if column not in added)
    if isinstance(header, FactHeader | BridgeHeader):
        yield from ((("keys", key), column) for key, lookup in header.keys.items() for column in lookup.read_columns())
    if isinstance(header, FactHeader):
        yield from [(("date",), header.date)] if header.date else []
        yield from ((("milestones",), column) for column in header.milestones)
    if isinstance(header, BridgeHeader) and header.weight != "none":
        yield from ((("group" if header.group else "grain",), c) for c in header.group or header.grain[:1])
        yield from [(("weight",), "weight")] if header.weight == "declared" else []


def _partition(draft: Draft) -> Iterator[Wanted]:
    """Yield the columns a table is partitioned by, but for the engine's own."""
    table = draft.table
    try:
        columns = partition_columns(getattr(table.header, "partition", []))
    except ValueError as error:
        raise draft.in_header(("partition",), str(error)) from None
    added = reserved_columns(table.kind, table.header, table.surrogate_key)
    yield from ((("partition",), column) for column in columns if column not in added)
