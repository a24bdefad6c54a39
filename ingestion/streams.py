"""How a warehouse declares its sources and streams (`warehouse.yml`), as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Declared(BaseModel):
    """Base of every declaration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Declared):
    """One declared column: its SQL type and, for JSON records, the dotted path it is read from (default: its name)."""

    type: str
    path: str = ""


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
    start: int = 1
    next: str = ""
    key: str = ""
    total: str = ""
    """Where the server states the number of rows: a dotted path in the body or `header:X-Total-Count`."""
    parallel: int = Field(default=1, ge=1, le=64)
    """Pages asked at once once the total is known (page and offset only)."""
    max_pages: int = Field(default=100_000, ge=1)


class Window(Declared):
    """A date range the server filters by, so that a large history is fetched in parallel pieces.

    `param` gets `format` with {from} and {to} (whole days, both inclusive); pieces are split while the stated total
    exceeds `ceiling`.
    """

    param: str
    format: str = "{from},{to}"
    start: str
    end: str = "today"
    by: Literal["year", "month", "day"] = "month"
    ceiling: int = 10_000


class Stream(Declared):
    """One stream: a list endpoint or a source table.

    capture: full (every row, compared with the last load), incremental (rows past the cursor column), sweep-able by
    the source's own means. `volatile` columns do not count as a change.
    """

    name: Name = ""
    key: list[str]
    path: str = ""
    records: str = ""
    params: dict[str, str | int | float | bool] = {}
    capture: Literal["full", "incremental"] = "full"
    cursor: str = ""
    cursor_param: str = ""
    cursor_format: str = "{value}"
    every: Literal["run", "day", "week"] = "run"
    pagination: Pagination = Pagination()
    window: Window | None = None
    columns: dict[str, Column | str] = {}
    undeclared: Literal["infer", "ignore"] = "infer"
    volatile: list[str] = []
    options: dict[str, Any] = {}
    """Settings of a source kind's own (RAWG: scope and windows)."""

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


class Budget(Declared):
    """How much a source may be asked: shared by all its streams."""

    per_second: float | None = None
    per_run: int | None = None
    per_month: int | None = None


class SourceSpec(Declared):
    """One source of a warehouse."""

    name: Name = ""
    kind: str
    url: str = ""
    timezone: str = "UTC"
    auth: Auth = Auth()
    budget: Budget = Budget()
    allow_private_hosts: bool = False
    """Loopback and private addresses are refused unless the configured URL itself is one or this is set."""
    timeout_s: float = 30.0
    retries: int = Field(default=5, ge=0, le=20)
    max_page_bytes: int = 64 * 1024 * 1024
    parallel: int = Field(default=8, ge=1, le=64)
    headers: dict[str, str] = {}
    streams: dict[Name, Stream]
