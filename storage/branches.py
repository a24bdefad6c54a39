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
- `publish` of a run id that was published already changes nothing and returns the first position, so a retry after an
  unknown outcome is safe. Outcomes are decided by looking at main, never by the class of an exception.
- States can be looked up by `main`, a branch, a tag, a run id (the state that run published; of an unpublished run, its
  branch), or a UTC timestamp in ISO 8601 (the state main had then).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

MAIN = "main"


@dataclass(frozen=True)
class State:
    """One look at a catalog: all tables at one position of one branch.

    `position` orders the publishes of main: a sequence number (SQL) or a commit hash (Nessie).
    """

    ref: str
    position: str
    tables: Mapping[str, str]


@dataclass(frozen=True)
class TableIds:
    """The ids Nessie keeps beside a metadata location, from the metadata file itself."""

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
    """One run's branch. `name` is `run/<run_id>`; `created_at` is UTC."""

    name: str
    run_id: str
    warehouse: str
    created_at: datetime


class Catalog(Protocol):
    """Branches, tags and atomic publish over pointers."""

    def state(self, at: str = MAIN) -> State:
        """Return all tables at `at`; UsageError naming the nearest refs if there is no such state."""

    def create_branch(self, run_id: str, warehouse: str) -> Branch:
        """Cut `run/<run_id>` from main; only tables of the namespace `warehouse` can be moved on it."""

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
