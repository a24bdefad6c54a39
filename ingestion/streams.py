"""How a warehouse declares its sources and streams (`warehouse.yml`), as pydantic models."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from starberg.utils.time_zones import TimeZone

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


_SETTING = re.compile(r"\w*")


class Declared(BaseModel):
    """Base of every declaration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Declared):
    """One declared column: its SQL type and, for JSON records, the dotted path it is read from (default: its name).

    Of a list of structs `only` keeps the elements whose fields have these values (`{language: eng}`).
    """

    type: str
    path: str = ""
    only: dict[str, str] = {}
    out_of_range: Literal["quarantine", "null"] = "quarantine"
    """What becomes of a table's value its type cannot hold: ±infinity, BC, a NaN among decimals."""


class Pagination(Declared):
    """How a REST endpoint pages.

    page: `page=1,2,…`; offset: `offset=0,100,…`; cursor: the next cursor stands at `next` in the body and is sent as
    `param`; keyset: `param` is the last record's `key` field; link: the `Link: <…>; rel="next"` header (RFC 8288);
    url: the absolute URL of the next page stands at `next` in the body; none: one request is everything.
    """

    kind: Literal["page", "offset", "cursor", "keyset", "link", "url", "none"] = "none"
    param: str = ""
    size_param: str = ""
    size: int = Field(default=100, ge=1, le=100_000)
    """Asked for, not relied on: a server that cuts it is followed by what it sends."""
    start: int = 1
    """Number of the first page (page only)."""
    next: str = ""
    key: str = ""
    total: str = ""
    """Where the server states the number of rows: a dotted path in the body or `header:X-Total-Count`."""
    parallel: int = Field(default=1, ge=1, le=64)
    """Pages of one list asked at once, once its total is known (page and offset only)."""
    max_pages: int = Field(default=100_000, ge=1)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        needed = {
            "page": ["param"],
            "offset": ["param"],
            "cursor": ["param", "next"],
            "keyset": ["param", "key"],
            "url": ["next"],
        }.get(self.kind, [])
        missing = [field for field in needed if not getattr(self, field)]
        if missing:
            raise ValueError(f"pagination kind {self.kind} needs {' and '.join(missing)}")
        return self


class Window(Declared):
    """A date range the server filters by, so that a large history is read in pieces, several at once.

    Each of `params` is sent with {from} and {to} replaced by whole days, both inclusive; a piece is halved while the
    total it states exceeds `ceiling`, down to one day.
    """

    params: dict[str, str]
    column: str = ""
    """The record's date the server filters by; if given, rows outside a piece stop the reading: the server ignored
    the filter and would send everything."""
    start: date
    end: date | Literal["today"] = "today"
    """`today` is the day it is in UTC when the extraction starts."""
    by: Literal["year", "month", "day"] = "month"
    ceiling: int = Field(default=10_000, ge=1)


class Stream(Declared):
    """One stream: a list endpoint or a source table.

    capture: full (every row, compared with the last load), incremental (an API's records past the cursor column),
    high_water_mark (a table's rows past the cursor column), keys (the same, and key sets are compared: hard deletes
    are found), log (logical replication). `volatile` columns do not count as a change.
    """

    name: Name = ""
    key: list[str]
    table: str = ""
    """The source table, `schema.name` (kind postgres)."""
    path: str = ""
    records: str = ""
    params: dict[str, str | int | float | bool] = {}
    capture: Literal["full", "incremental", "high_water_mark", "keys", "log"] = "full"
    cursor: str = ""
    cursor_param: str = ""
    cursor_format: str = "{value}"
    verify_filter: bool = True
    """Stop when the server sends rows below the asked cursor: it ignored `cursor_param` and would send everything."""
    count: bool = False
    """Count the table's rows in every snapshot that is read, for `high_water_mark.source_rows`."""
    every: Literal["run", "day", "week"] = "run"
    pagination: Pagination = Pagination()
    window: Window | None = None
    columns: dict[str, Column | str] = {}
    undeclared: Literal["infer", "ignore"] = "infer"
    volatile: list[str] = []
    options: dict[str, Any] = {}
    """Settings of a source kind's own (rest: checkpoint_requests; RAWG: scope and budgets)."""

    def path_of(self, name: str) -> str:
        """Return the dotted path a column is read from in a JSON record."""
        spec = self.columns.get(name)
        return (spec.path if isinstance(spec, Column) else "") or name

    def column(self, name: str) -> Column:
        """Return a declared column in its long form."""
        spec = self.columns[name]
        return spec if isinstance(spec, Column) else Column(type=spec)


class Auth(Declared):
    """How requests prove who they are; the secret itself comes from settings by name."""

    kind: Literal["none", "header", "query", "oauth_client_credentials"] = "none"
    name: str = "Authorization"
    format: str = "Bearer {secret}"
    secret: str = ""
    """Name of the setting (environment variable or its _FILE) that holds the secret."""
    client_id: str = ""
    token_url: str = ""
    scope: str = ""
    client_auth: Literal["basic", "body"] = "basic"
    """How client_id and secret go to `token_url` (RFC 6749, section 2.3.1)."""


class Budget(Declared):
    """How much a source may be asked: shared by all its streams."""

    per_second: float | None = Field(default=None, gt=0)
    per_run: int | None = Field(default=None, ge=1)
    per_month: int | None = Field(default=None, ge=1)


class Connection(Declared):
    """How a database is reached: `url`, or host, database and user; `url` and `password` are names of settings."""

    url: str = ""
    """Name of the setting that holds `postgresql://user:password@host:port/database`."""
    host: str = ""
    port: int = Field(default=5432, ge=1, le=65535)
    database: str = ""
    user: str = ""
    password: str = ""
    """Name of the setting that holds the password; empty: none is needed."""
    sslmode: Literal["", "disable", "prefer", "require", "verify-ca", "verify-full"] = ""
    """libpq's; empty: verify-full, but for loopback and sockets."""
    sslrootcert: str = ""

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if not self.url and not (self.host and self.database and self.user):
            hint = "Write url: NAME_OF_A_SETTING, or host, database, user and password: NAME_OF_A_SETTING."
            raise ValueError("does not say where the database is", hint, "url")
        for field in ("url", "password"):
            if not _SETTING.fullmatch(getattr(self, field)):
                raise ValueError("is no name of a setting, which holds what is secret", "Write SHOP_URL, say.", field)
        return self


class SourceSpec(Declared):
    """One source of a warehouse."""

    name: Name = ""
    kind: str
    url: str = ""
    timezone: TimeZone = "UTC"
    auth: Auth = Auth()
    budget: Budget = Budget()
    allow_private_hosts: bool = False
    """Loopback and private addresses are refused unless the configured URL itself is one or this is set."""
    timeout_s: float = Field(default=30.0, gt=0)
    """The longest silence while connecting or reading."""
    deadline_s: float = Field(default=300.0, gt=0)
    """The longest a whole response may take."""
    retries: int = Field(default=5, ge=0, le=20)
    max_page_bytes: int = 64 * 1024 * 1024
    parallel: int = Field(default=8, ge=1, le=64)
    headers: dict[str, str] = {}
    connection: Connection | None = None
    """Of a database (kind postgres)."""
    slot: str = Field(default="", pattern=r"^[a-z0-9_]{0,63}$")
    """Replication slot of streams with `capture: log`; empty: starberg_<source>."""
    publications: list[str] = ["starberg"]
    """Publications that hold the tables of streams with `capture: log`."""
    streams: dict[Name, Stream]

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if self.kind == "postgres" and self.connection is None:
            raise ValueError("kind postgres needs it", "Write connection: {url: NAME_OF_A_SETTING}.", "connection")
        for name, stream in self.streams.items():
            if problem := _of_table(stream) if self.kind == "postgres" else _of_no_table(stream):
                field, said, hint = problem
                raise ValueError(f"stream {name} {said}", hint, "streams", name, field)
        return self


Problem = tuple[str, str, str]
"""A field, what is wrong with it, what to type."""


def _of_table(stream: Stream) -> Problem | None:
    if stream.table.count(".") != 1 or not all(stream.table.split(".")):
        name = stream.table.strip(".") or "name"
        return "table", f"has table {stream.table!r}" if stream.table else "needs table", f"Write schema.{name}."
    if stream.capture == "incremental":
        return "capture", "has capture incremental, which is for APIs", "Write capture: high_water_mark."
    if stream.capture == "high_water_mark" and not stream.cursor:
        return "cursor", "needs cursor", "Name the column that grows with every change."
    if stream.capture not in ("high_water_mark", "keys") and stream.cursor:
        said = f"has cursor, which capture {stream.capture} does not read"
        return "cursor", said, "Remove it, or write capture: high_water_mark."
    if stream.capture == "log" and stream.count:
        return "count", "has count, which is for captures that read the table at every run", "Remove it."
    return None


def _of_no_table(stream: Stream) -> Problem | None:
    if stream.capture in ("high_water_mark", "keys", "log"):
        said = f"has capture {stream.capture}, which is for tables"
        return "capture", said, "Write capture: incremental, or full."
    field = "table" if stream.table else "count" if stream.count else ""
    return (field, f"has {field}, which is for kind postgres", "Remove it.") if field else None
