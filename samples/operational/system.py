"""What an operational system is: its databases, the data it starts with, and the transactions it lives by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from starberg.samples.operational.tables import Table

if TYPE_CHECKING:
    from starberg.samples.operational.life import Kind


@dataclass(frozen=True)
class Size:
    """How much is seeded: people, and days of their past before `until` (UTC). The same size is the same data."""

    people: int
    days: int
    seed: int
    until: datetime


@dataclass(frozen=True)
class System:
    """An operational system. Each of `databases`, named as the warehouse's sources, has a schema and some tables.

    `people` and `days` are the usual size. `rows` makes the tables of each database, in an order that foreign keys
    allow.
    """

    databases: Mapping[str, str]
    people: int
    days: int
    rows: Callable[[Size], Mapping[str, Sequence[Table]]]
    kinds: Sequence[Kind]
