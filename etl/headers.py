"""Headers: what a table's leading comment says of it, by kind, in YAML.

A mistake in a field is told as the declaration is read.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from starberg.ingestion.streams import Declared, Name


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[str], BeforeValidator(_as_list)]


_LOOKUP = re.compile(
    r"^\s*(?P<dimension>\w+)\s*\(\s*(?P<columns>\w+(?:\s*,\s*\w+)*)\s*\)(?:\s+as\s+of\s+(?P<as_of>\w+))?\s*$",
    re.IGNORECASE,
)


class Lookup(Declared):
    """How a fact or bridge finds a dimension's surrogate key.

    Short form `dim_customers(customer_id) as of sold_at`: the columns stand for the dimension's natural key, in its
    order. Long form: `{dimension: dim_users, on: {user_id: seller_id}, as_of: sold_at, missing: infer}`; `on` maps
    natural key column to own column. A date dimension's key is computed (yyyymmdd), not looked up.

    `as of` is for dimensions with history: the version is found that was valid at that time (a date is its first
    moment), key 0 where the time is null or before the first version. Without it the newest version is found.

    missing: infer (the dimension gets an inferred member), unknown (key 0), fail (a check stops the publish). A null
    natural key is always the unknown member.
    """

    dimension: Name
    columns: list[str] = []
    on: dict[str, str] = {}
    as_of: Name = ""
    missing: Literal["infer", "unknown", "fail"] = "infer"

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = _LOOKUP.match(value)
        if not found:
            raise ValueError(f"{value!r} is not of the form dim_name(column[, column]) [as of column]")
        columns = re.split(r"\s*,\s*", found["columns"].strip())
        as_of = {"as_of": found["as_of"]} if found["as_of"] else {}
        return {"dimension": found["dimension"], "columns": columns, **as_of}

    @model_validator(mode="after")
    def _one_form(self) -> Lookup:
        if bool(self.columns) == bool(self.on):
            raise ValueError("needs either dim_name(column, …) or `on: {natural_key_column: own_column}`")
        return self

    def own_columns(self) -> list[str]:
        """Return the fact's columns that stand for the natural key."""
        return self.columns or list(self.on.values())

    def read_columns(self) -> list[str]:
        """Return all of the fact's columns the lookup reads."""
        return [*self.own_columns(), *([self.as_of] if self.as_of else [])]

    def pairs(self, natural_key: list[str]) -> list[tuple[str, str]]:
        """Return (natural key column, own column), in the dimension's order."""
        return (
            list(zip(natural_key, self.columns, strict=True))
            if self.columns
            else [(k, self.on[k]) for k in natural_key]
        )


class Limit(Declared):
    """A limit that holds from a share and a number of rows on; both must be passed to trip it."""

    share: float = Field(ge=0, le=1)
    rows: int = Field(ge=0)


Value = str | int | float | bool | date


class HeaderCheck(Declared):
    """One check of a table, declared in its header: exactly one of these, and how bad it is.

    not_null: columns that have a value; unique: columns that together name one row; accepted: values by column; range:
    [least, greatest] by column, null where there is no bound; relationship: `table(column)` that has a column's values,
    by column; identity: a condition that holds for every row, such as `amount = quantity * unit_price`. Null values
    pass all but not_null and unique.
    volume: a run (of a fact built by date: the newest day that is over) brings at least that share of the median of the
    7 before, if 5 are known. freshness: the table changed within so many hours.

    severity: error stops the publish, warn is recorded (default: error; of volume and freshness warn). Up to
    `tolerance` failing rows pass.
    """

    not_null: Columns = []
    unique: Columns = []
    accepted: dict[str, list[Value]] = {}
    range: dict[str, Annotated[list[Value | None], Field(min_length=2, max_length=2)]] = {}
    relationship: dict[str, str] = {}
    identity: str = ""
    volume: float | None = Field(default=None, gt=0, le=1)
    freshness: float | None = Field(default=None, gt=0)
    severity: Literal["error", "warn"] | None = None
    tolerance: int = Field(default=0, ge=0)

    @property
    def what(self) -> str:
        """The one thing that is checked."""
        return next(name for name in CHECKED if getattr(self, name) not in (None, [], {}, ""))

    @property
    def columns(self) -> list[str]:
        """The columns it names."""
        return [*self.not_null, *self.unique, *self.accepted, *self.range, *self.relationship]

    @model_validator(mode="after")
    def _one_thing(self) -> HeaderCheck:
        given = [name for name in CHECKED if getattr(self, name) not in (None, [], {}, "")]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(CHECKED)}")
        for column, refers in self.relationship.items():
            if not _REFERENCE.match(refers):
                raise ValueError(f"{column}: {refers!r} is not of the form table(column)")
        return self


CHECKED = ("not_null", "unique", "accepted", "range", "relationship", "identity", "volume", "freshness")


_REFERENCE = re.compile(r"^\w+\(\w+\)$")


class StagingHeader(Declared):
    """A staging table: one stream, row by row.

    `stream` is `source.stream`, or a stream name that only one source has; by default the table the SELECT reads.
    `guard` stops a run that deletes more than that of the stream's keys; `quarantine` one that cannot read more.
    """

    stream: str = ""
    guard: Limit = Limit(share=0.2, rows=20)
    quarantine: Limit = Limit(share=0.01, rows=10)
    partition: Columns = []
    checks: list[HeaderCheck] = []


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError(f"{value!r} is not a day such as 2015-01-31") from None


Day = Annotated[str, AfterValidator(_day)]


class Calendar(Declared):
    """The range of a generated date dimension, both days inclusive; years in use outside it are added."""

    start: Day = Field(default="1900-01-01", alias="from")
    end: Day = Field(default="2099-12-31", alias="to")


class DimensionHeader(Declared):
    """A dimension: one row per natural key (type 1), or one per version of it (type 2).

    `surrogate_key` is by default the table's name without its prefix plus `_key`. With `calendar`, the SELECT reads the
    generated relation `calendar(date)` and the surrogate key is the date as yyyymmdd.

    A type 2 dimension reads one staging table row by row and has its key. `track` are the columns whose change makes a
    version (default: all but the natural key, `valid_from` and `created_at`); the others show the last observation
    inside the version. `valid_from` is the column that dates a change (default, and where it is null: the observation's
    own time); the first version starts at `created_at` if that is declared and set, else at 1900-01-01. order: observed
    (arrival decides the state, `valid_from` only dates it), valid_time (`valid_from` decides; for streams that are
    change logs).
    """

    natural_key: Columns = []
    surrogate_key: Name = ""
    history: Literal["type1", "type2"] = "type1"
    track: Columns = []
    valid_from: Name = ""
    created_at: Name = ""
    order: Literal["observed", "valid_time"] = "observed"
    calendar: Calendar | None = None
    partition: Columns = []
    checks: list[HeaderCheck] = []

    @property
    def is_type2(self) -> bool:
        """Whether the dimension keeps versions."""
        return self.history == "type2"

    @model_validator(mode="after")
    def _key_or_calendar(self) -> DimensionHeader:
        if bool(self.natural_key) == bool(self.calendar):
            raise ValueError("needs `natural_key`, or `calendar` for a date dimension")
        return self

    @model_validator(mode="after")
    def _type2_alone(self) -> DimensionHeader:
        given = [name for name in ("track", "valid_from", "created_at") if getattr(self, name)]
        given += ["order"] if self.order != "observed" else []
        if given and not self.is_type2:
            raise ValueError(f"`{given[0]}` is for dimensions with `history: type2`")
        if self.is_type2 and self.calendar:
            raise ValueError("a date dimension has no history")
        if both := [name for name in self.track if name in self.natural_key]:
            raise ValueError(f"`track` names {both[0]}, which is of the natural key: it never changes")
        if self.order == "valid_time" and not self.valid_from:
            raise ValueError("`order: valid_time` needs `valid_from`")
        return self


BY_DATE = ("by date", "snapshot daily", "snapshot monthly")
"""Kinds of facts that are built date by date."""


class Times(Declared):
    """How the changes of a staging table are dated; the fields are those of a dimension with history."""

    valid_from: Name = ""
    created_at: Name = ""
    order: Literal["observed", "valid_time"] = "observed"

    @model_validator(mode="after")
    def _dated(self) -> Times:
        if self.order == "valid_time" and not self.valid_from:
            raise ValueError("`order: valid_time` needs `valid_from`")
        return self


class FactHeader(Declared):
    """A fact: one row per grain.

    load: merge (all rows, brought up to date by grain), by date (the rows of a day are replaced as a whole), snapshot
    daily and snapshot monthly (the SELECT as it would have answered at the end of the day or month `run_date()`, from
    the changes of the staging tables it reads), accumulating (merge, with the days between `milestones`).
    `date` is the column that tells the day a row of a fact built by date belongs to (a date, or a timestamp in UTC), of
    a monthly snapshot the month's last. A built day whose staged rows change is built again for `restate_days`; later
    that is only told.
    `times` says how the changes of a staging table are dated, by its name (default: as the type 2 dimension made from
    it says, else when they were observed).
    deletes: remove (a row leaves with its source row), mark (it stays with `is_deleted` and `deleted_at`, UTC), keep.
    """

    grain: Columns
    keys: dict[Name, Lookup] = {}
    load: Literal["merge", "by date", "snapshot daily", "snapshot monthly", "accumulating"] = "merge"
    date: Name = ""
    restate_days: int = Field(default=35, ge=0)
    times: dict[Name, Times] = {}
    milestones: Columns = []
    deletes: Literal["remove", "mark", "keep"] = "remove"
    partition: Columns = []
    checks: list[HeaderCheck] = []

    @property
    def is_by_date(self) -> bool:
        """Whether the fact is built date by date."""
        return self.load in BY_DATE

    @property
    def is_snapshot(self) -> bool:
        """Whether the fact shows what was so at the end of a day or month."""
        return self.load.startswith("snapshot")

    @property
    def lags(self) -> dict[str, tuple[str, str]]:
        """The columns of days between milestones: from each to the next, and from the first to the last."""
        pairs = [*zip(self.milestones, self.milestones[1:], strict=False)]
        if len(pairs) > 1:
            pairs.append((self.milestones[0], self.milestones[-1]))
        return {f"days_{_event(one)}_to_{_event(other)}": (one, other) for one, other in pairs}

    @model_validator(mode="after")
    def _fields_of_load(self) -> FactHeader:
        if self.is_by_date and not self.date:
            raise ValueError(f"`load: {self.load}` needs `date`, the column with the day of a row")
        if self.is_snapshot and self.date not in self.grain:
            raise ValueError(f"`grain` lacks {self.date}: a snapshot has its rows once a day or month")
        if self.is_snapshot and self.deletes != "remove":
            raise ValueError("a snapshot has the rows that were there: leave out `deletes`")
        if (self.load == "accumulating") != bool(self.milestones):
            raise ValueError("`load: accumulating` and `milestones` (columns, in their order) go together")
        if len(self.milestones) == 1:
            raise ValueError("`milestones` are two columns or more")
        for name, wrong in (("date", not self.is_by_date), ("times", not self.is_snapshot)):
            if getattr(self, name) and wrong:
                raise ValueError(f"`{name}` is for {'snapshots' if name == 'times' else 'facts built by date'}")
        return self


def _event(column: str) -> str:
    """Return what a milestone's column is called without what says that it is a time."""
    return re.sub(r"_(at|on|date|time)$", "", column)


class BridgeHeader(Declared):
    """A bridge: exactly the source's current pairs.

    `weight: equal` adds a column `weight`, 1 / pairs of the group; `weight: declared` checks the SELECT's own. `group`
    is what weights sum to 1 over (default: the grain's first column).
    history: type1 (the pairs there are), type2 (each pair for every span in which it and the versions of its type 2
    members were so: `effective_from`, `effective_to`, `is_current`; reads one staging table, `times` as of a snapshot).
    """

    grain: Columns
    keys: dict[Name, Lookup] = {}
    weight: Literal["none", "equal", "declared"] = "none"
    group: Columns = []
    history: Literal["type1", "type2"] = "type1"
    times: dict[Name, Times] = {}
    partition: Columns = []
    checks: list[HeaderCheck] = []

    @property
    def is_type2(self) -> bool:
        """Whether the bridge keeps pairs that are no more."""
        return self.history == "type2"

    @model_validator(mode="after")
    def _of_history(self) -> BridgeHeader:
        if self.times and not self.is_type2:
            raise ValueError("`times` is for bridges with `history: type2`")
        if self.is_type2 and any(lookup.as_of for lookup in self.keys.values()):
            raise ValueError("`as of` is not for a bridge with history: it has every version of its members")
        return self


class MartHeader(Declared):
    """A mart: any SELECT over the warehouse, stored as a table; with a grain it is updated row by row."""

    grain: Columns = []
    partition: Columns = []
    checks: list[HeaderCheck] = []


class ViewHeader(Declared):
    """A view: any SELECT over the warehouse and its control tables, computed when it is asked."""

    description: str = ""


class FunctionHeader(Declared):
    """A function: a SELECT with arguments, computed when it is called.

    `arguments` maps names to types; the SELECT has each as `$name`, so that no column is taken for one.
    returns: table, or scalar (one column, at most one row; a struct holds several values). `CALL name(…)` leaves a
    table function's rows in the temporary table `into`.
    """

    returns: Literal["table", "scalar"]
    arguments: dict[Name, str] = {}
    into: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,62})?$")] = ""
    description: str = ""

    @model_validator(mode="after")
    def _rows_for_into(self) -> FunctionHeader:
        if self.into and self.returns == "scalar":
            raise ValueError("`into` is for `returns: table`")
        return self


class CheckHeader(Declared):
    """A check: the rows its SELECT returns are failures; error stops the publish, warn is recorded."""

    severity: Literal["error", "warn"] = "error"
    description: str = ""


Header = (
    StagingHeader | DimensionHeader | FactHeader | BridgeHeader | MartHeader | ViewHeader | FunctionHeader | CheckHeader
)
