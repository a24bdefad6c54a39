"""Declarations: what a warehouse says of its tables, as pure data.

A table is one SQL file: the folder is the kind, the file name is the table, a YAML header in the leading comment
(etl/headers.py) says what SQL cannot, the body is one SELECT in DuckDB's dialect. Kimball's words throughout: grain,
natural key, surrogate key, unknown member (key 0), inferred member.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel

from starberg.etl.headers import (
    BridgeHeader,
    CheckHeader,
    DimensionHeader,
    FactHeader,
    FunctionHeader,
    Header,
    MartHeader,
    StagingHeader,
    ViewHeader,
)
from starberg.etl.schedule import Alerts, Job, Schedule
from starberg.etl.zone import UTC_DAYS, Zone
from starberg.ingestion.streams import Declared, Name, SourceSpec, Stream
from starberg.utils.time_zones import TimeZone

UNKNOWN_KEY = 0
"""Surrogate key of the unknown member, in every dimension."""


class Kind(StrEnum):
    """What a table is; the value is its folder's name, the order is the order of building."""

    STAGING = "staging"
    DIMENSION = "dimensions"
    BRIDGE = "bridges"
    FACT = "facts"
    MART = "marts"
    VIEW = "views"
    FUNCTION = "functions"
    CHECK = "checks"


QUERIED = (Kind.VIEW, Kind.FUNCTION)
"""Kinds that are no tables: their SQL runs when somebody asks."""


PREFIXES: Mapping[Kind, tuple[str, ...]] = {
    Kind.STAGING: ("stg_", "mrr_"),
    Kind.DIMENSION: ("dim_", "dwh_dim_"),
    Kind.BRIDGE: ("bridge_", "brg_"),
    Kind.FACT: ("fact_", "dwh_fact_"),
    Kind.MART: (),
    Kind.VIEW: (),
    Kind.FUNCTION: ("fn_", "sp_"),
    Kind.CHECK: (),
}
"""What a table's name starts with, by kind; marts, views and checks are free."""


HEADERS: Mapping[Kind, type[Header]] = {
    Kind.STAGING: StagingHeader,
    Kind.DIMENSION: DimensionHeader,
    Kind.BRIDGE: BridgeHeader,
    Kind.FACT: FactHeader,
    Kind.MART: MartHeader,
    Kind.VIEW: ViewHeader,
    Kind.FUNCTION: FunctionHeader,
    Kind.CHECK: CheckHeader,
}


@dataclass(frozen=True)
class Table:
    """One declared table, view, function or check.

    `select` has the key columns its header needs, also where the file leaves them to the engine; `first_line` is the
    line of the file it starts at. `reads` are the tables it names, as written: of its own warehouse without, of
    another with the warehouse's name; a staging table reads its stream, a date dimension `calendar`.
    """

    warehouse: str
    kind: Kind
    name: str
    header: Header
    select: str
    path: Path
    first_line: int = 1
    reads: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name in the catalog."""
        return f"{self.warehouse}.{self.name}"

    @property
    def changes(self) -> str:
        """The name, without the warehouse, of the table of a staging table's changes."""
        return f"{self.name}_changes"

    @property
    def surrogate_key(self) -> str:
        """A dimension's key column: as its header says, else `dim_store` has `store_key`. Empty for other kinds."""
        if not isinstance(self.header, DimensionHeader):
            return ""
        return self.header.surrogate_key or f"{self.name.split('dim_', 1)[-1]}_key"


def needs_history(table: Table) -> bool:
    """Return whether a table is made from the changes of the staging tables it reads."""
    header = table.header
    if isinstance(header, DimensionHeader | BridgeHeader):
        return header.is_type2
    return isinstance(header, FactHeader) and header.is_snapshot


@dataclass(frozen=True)
class Warehouse:
    """One warehouse: sources and tables, the tables in the order they are built.

    `library` are its views, each after what it reads, and its functions. `jobs` have their tables, each at least one.
    `zone` is the one whose days are meant wherever a day is; `namespace` is that of its tables in the catalog, if it is
    not its name.
    """

    name: str
    path: Path
    sources: Mapping[str, SourceSpec]
    tables: Mapping[str, Table]
    description: str = ""
    library: Mapping[str, Table] = field(default_factory=dict)
    jobs: Mapping[str, Job] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    alerts: Alerts | None = None
    zone: Zone = UTC_DAYS
    namespace: str = ""

    def of_kind(self, *kinds: Kind) -> list[Table]:
        """Return the tables of some kinds, in building order."""
        return [table for table in self.tables.values() if table.kind in kinds]

    def stream_of(self, table: Table) -> tuple[SourceSpec, Stream]:
        """Return the source and stream a staging table reads."""
        assert isinstance(table.header, StagingHeader)
        source, stream = table.header.stream.split(".")
        return self.sources[source], self.sources[source].streams[stream]

    def with_same_stream(self, names: Collection[str]) -> list[str]:
        """Return tables' names with those of all staging tables made from the same streams."""
        streams = {getattr(self.tables[name].header, "stream", None) for name in names} - {None}
        return [*names, *(t.name for t in self.of_kind(Kind.STAGING) if getattr(t.header, "stream", "") in streams)]

    def keeps_changes(self, table: Table) -> bool:
        """Return whether a staging table feeds a dimension with history or a snapshot, and so keeps every change."""
        return table.kind is Kind.STAGING and any(
            table.name in other.reads for other in self.of_kind(*Kind) if needs_history(other)
        )

    def quarantine_of(self, table: Table) -> str:
        """Return the table (`warehouse.name`) for a staging table's unreadable records: its stream's.

        Streams of one name are told apart by their source.
        """
        assert isinstance(table.header, StagingHeader)
        source, stream = table.header.stream.split(".")
        shared = sum(stream in other.streams for other in self.sources.values()) > 1
        return f"{self.name}.quarantine_{f'{source}_{stream}' if shared else stream}"


def _namespace(name: str) -> str:
    """Check a name, and return it in lower case, in which every engine finds it: Trino knows no other."""
    if not re.fullmatch(r"([A-Za-z][A-Za-z0-9_]{0,62})?", name):
        raise ValueError("must be a letter, then letters, digits or _")
    return name.lower()


Namespace = Annotated[str, AfterValidator(_namespace)]


class Named(BaseModel):
    """What every command reads of a warehouse.yml; `namespace` is that of its tables in the catalog.

    Without it they have the warehouse's name there.
    """

    namespace: Namespace = ""


class WarehouseFile(Declared, Named):
    """`warehouse.yml`. `calendar_timezone` is the time zone whose days are meant wherever a day is."""

    description: str = ""
    calendar_timezone: TimeZone = UTC_DAYS.name
    sources: dict[Name, SourceSpec] = {}
    jobs: dict[Name, Job] = {}
    schedules: dict[Name, Schedule] = {}
    alerts: Alerts | None = None

    @property
    def zone(self) -> Zone:
        """The time zone of its days."""
        return Zone(self.calendar_timezone)
