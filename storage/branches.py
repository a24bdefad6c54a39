"""What a catalog is here: named branches of pointers from tables to Iceberg metadata files.

An Iceberg commit is a new metadata file and one moved pointer. So a catalog needs to know nothing of Iceberg but
pointers: a *state* maps each table (`namespace.table`) to the location of its metadata JSON; `main` is what is
published; a run works on a branch cut from main; publishing moves all pointers the branch changed in one atomic step,
or raises Conflict and moves none. Metadata files are immutable and written before their pointer moves, so every state
ever published can be read again.

The rules every implementation keeps (tests/behaviours/test_catalogs.py asks all of them):

- A branch sees main as it was when the branch was cut, and its own moves; nobody else sees them before publish.
- `publish` compares, for each table moved on the branch, main's pointer with the one at the cut: any difference raises
  Conflict and changes nothing. Tables the branch did not move may have changed on main meanwhile.
- Every call may be repeated after an unknown outcome: it looks first and does only what is missing. `create_branch`
  returns the branch there is, `move` counts a pointer that is already at its location as moved, `publish` of a run id
  that was published changes nothing and returns the first position. Outcomes are decided by looking at the catalog,
  never by the class of an exception.
- A branch that was dropped is gone for its run too: `move` and `publish` raise Conflict (the run was reclaimed).
- `publish` of a branch that moved nothing changes nothing and is not recorded. A published branch is kept until it is
  dropped.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from starberg.utils.errors import Conflict, UsageError

MAIN = "main"
BRANCH_PREFIX = "run/"

_RUN_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-])){0,99}")
# What Nessie takes as a reference name.
_REF = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]|[./](?=[A-Za-z0-9_-])){0,99}")
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class State:
    """One look at a catalog: all tables at one position of one branch.

    `position` orders the publishes of main: a sequence number (SQL) or a commit hash (Nessie). A branch's state has
    the position of main at which the branch was cut.
    """

    ref: str
    position: str
    tables: Mapping[str, str]


@dataclass(frozen=True)
class TableIds:
    """The ids Nessie keeps beside a metadata location, from the metadata file itself (no snapshot: -1)."""

    snapshot_id: int
    schema_id: int
    spec_id: int
    sort_order_id: int


@dataclass(frozen=True)
class Move:
    """One pointer to move on a branch: from `base` (None: new table) to `location` (None: drop)."""

    table: str
    base: str | None
    location: str | None
    ids: TableIds | None = None


@dataclass(frozen=True)
class Branch:
    """One run's branch, cut at main's position `base`. `created_at` is UTC.

    `warehouse` is empty if its creation was cut off half-way (such a branch has no moves).
    """

    run_id: str
    warehouse: str
    created_at: datetime
    base: str

    @property
    def name(self) -> str:
        """Return `run/<run_id>`."""
        return BRANCH_PREFIX + self.run_id


class Catalog(Protocol):
    """Branches, tags and atomic publish over pointers."""

    writes_metadata: bool
    """Whether its server writes metadata files of its own into the tables' folders, which then are not ours to drop."""

    def state(self, at: str = MAIN) -> State:
        """Return all tables at `at`, in one look; UsageError naming the nearest refs if there is no such state.

        `at` is `main`, a branch, a tag, an instant in ISO 8601 (the state main had then; without offset UTC, a date
        alone is its midnight), a position of main, or a run id (the state that run published; of an unpublished run,
        its branch).
        """

    def create_branch(self, run_id: str, warehouse: str) -> Branch:
        """Cut `run/<run_id>` from main; only tables of the namespace `warehouse` can be moved on it.

        Conflict if the run id was published, or is another warehouse's.
        """

    def move(self, branch: Branch, moves: Sequence[Move]) -> None:
        """Move pointers on a branch in one step; Conflict if a base is not what the branch has."""

    def publish(self, branch: Branch, message: str) -> str:
        """Move every pointer the branch changed on main, in one step; return main's new position.

        Raises Conflict (nothing changed) or Unreachable (outcome unknown even after looking).
        """

    def published(self, run_id: str) -> str | None:
        """Return the position a run was published at, or None."""

    def branches(self, warehouse: str | None = None) -> list[Branch]:
        """List branches, oldest first."""

    def drop_branch(self, branch: Branch) -> None:
        """Forget a branch; its files stay for maintenance to sweep. An absent branch is no error."""

    def pointers(self, since: datetime) -> set[tuple[str, str]]:
        """Return all that can still be looked up: tables, each with every metadata file it has.

        That is on main, on any branch, at any tag (also those that are not ours), and in each state main had at the
        instant `since` or later.
        """

    def tag(self, name: str, position: str | None = None) -> None:
        """Name a position of main (default: now); moving an existing tag is allowed."""

    def tags(self) -> dict[str, str]:
        """Return tag names with their positions."""

    def drop_tag(self, name: str) -> None:
        """Forget a tag; an absent one is no error."""

    def identity(self) -> str:
        """Return what names this catalog's store for life, so that a lost or swapped store is noticed."""

    def close(self) -> None:
        """Release connections."""


def check_run_id(run_id: str) -> str:
    """Return the run id; UsageError unless it is at most 100 letters, digits, `._-`, and no position or time."""
    if not is_name(run_id, run_id=True):
        raise UsageError(f"{run_id!r} is no run id", hint="use letters, digits, '.', '_', '-'; no number, hash or time")
    return run_id


def check_warehouse(warehouse: str) -> str:
    """Return the warehouse; UsageError unless it can be a namespace in every catalog."""
    if not _NAME.fullmatch(warehouse):
        raise UsageError(f"{warehouse!r} is no warehouse name", hint="use letters, digits and '_'")
    return warehouse


def check_tag(name: str) -> str:
    """Return the tag name; UsageError if it could be taken for another kind of reference."""
    if not is_name(name) or name == MAIN or name.startswith(BRANCH_PREFIX) or is_hash(name):
        hint = "start with a letter; letters, digits, '.', '_', '-', '/'; not 'main', 'run/…' or a hash"
        raise UsageError(f"{name!r} cannot be a tag", hint=hint)
    return name


def is_name(name: str, *, run_id: bool = False) -> bool:
    """Tell whether a text can name a branch or tag, or a run."""
    if run_id:
        other = name == MAIN or name.isdecimal() or is_hash(name) or instant(name) is not None
        return bool(_RUN_ID.fullmatch(name)) and not other
    return bool(_REF.fullmatch(name))


def is_hash(text: str) -> bool:
    """Tell whether a text can only be a Nessie commit hash."""
    return bool(_HASH.fullmatch(text))


def check_moves(branch: Branch, moves: Sequence[Move]) -> None:
    """Raise UsageError unless every move is of one table of the branch's warehouse, each table once."""
    for move in moves:
        namespace, _, name = move.table.rpartition(".")
        if namespace != branch.warehouse or not _NAME.fullmatch(name):
            raise UsageError(f"{move.table!r} cannot be moved on a branch of {branch.warehouse!r}")
    if len({move.table for move in moves}) != len(moves):
        raise UsageError(f"a table is moved twice in one step on {branch.name}")


def gone(branch: Branch) -> Conflict:
    """Return the error of a run whose branch another one dropped."""
    return Conflict(f"{branch.name} is gone: the run was reclaimed", hint="Run it again.")


def instant(at: str) -> datetime | None:
    """Read an ISO 8601 instant as UTC (without offset: UTC; a date: its midnight), or return None."""
    if not re.match(r"\d{4}-\d{2}-\d{2}", at):
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def no_such_state(at: str, known: Iterable[str]) -> UsageError:
    """Return the error for a reference that names no state, with the nearest known ones."""
    nearest = difflib.get_close_matches(at, [MAIN, *known], n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(nearest)}?" if nearest else "Give main, a branch, tag, run id or UTC time"
    return UsageError(f"the catalog has no state {at!r}", hint=hint)
