"""What must hold of published versions and the facts that look them up; keeps book of surrogate keys over runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from random import Random
from typing import Any

from histories import Differs
from members import Version, valid

from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.lake import Lake
from starberg.etl.control_tables import TABLES
from starberg.etl.results import Status

FAR = datetime(9999, 1, 1)

Row = tuple[Any, ...]


class Book:
    """One history of one warehouse, told by its seed."""

    def __init__(self, seed: int, name: str, lake: Lake) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.name = name
        self.lake = lake
        self.numbers: dict[str, dict[int, Row]] = {}
        self.highest = Counter[str]()

    def check_lookup(
        self, what: str, versions: Sequence[Version], starts: Mapping[int, Row], member: Any, key: int, at: Any
    ) -> None:
        """A fact's key is the version valid at its time."""
        wanted = valid(list(versions), member, at)
        found = starts.get(key, ("no such key",))[:2] if key else None
        if wanted != found:
            self.fail(what, (member, at, wanted, found))

    def check_numbers(self, when: str, engine: DuckDBEngine, name: str, key: str) -> dict[int, Row]:
        """A version keeps its number; a number is never given to another member, or again.

        Returns member, effective_from, when it really began, and whether it is current, by number.
        """
        rows = engine.rows(f"SELECT {key}, member_id, effective_from, _changed_at, is_current FROM {name}")
        now = {row[0]: row[1:] for row in rows}
        what, known = f"{when}, numbers of {name}", self.numbers.get(name, {})
        before = {(m, changed): number for number, (m, _, changed, _) in known.items() if changed}
        for number, (member, _, changed, _) in now.items():
            if before.get((member, changed), number) != number or known.get(number, (member,))[0] != member:
                self.fail(what, (number, member, changed))
        there = {member for member, *_ in now.values()}
        for number, (member, _, changed, _) in known.items():
            if not changed and member in there and number not in now:
                self.fail(what, f"{member} lost its inferred number {number}")
        new = now.keys() - known.keys()
        if any(0 < number <= self.highest[name] for number in new):
            self.fail(what, f"{new} were given after {self.highest[name]}")
        self.numbers[name] = now
        self.highest[name] = max(self.highest[name], *now)
        return now

    def check_same(self, what: str, act: Callable[[], Any]) -> None:
        """Something changes no table but the control tables."""
        before, status = self.tables(), act().status
        if moved := {name for name, at in self.tables().items() if before.get(name) != at}:
            self.fail(what, (moved, status))
        if what.startswith("a run") and status is not Status.SKIPPED:
            self.fail(what, status)

    def check_verify(self) -> None:
        """A rebuild from raw gives the same."""
        if not (result := self.lake.verify(self.name)).equal:
            self.fail("verify", [t for t in result.tables if t.only_published or t.only_rebuilt])

    def tables(self) -> Mapping[str, str]:
        """Return where each table but the control tables is."""
        tables = self.lake.catalog.state().tables
        return {name: at for name, at in tables.items() if name.split(".")[1] not in TABLES}

    @contextmanager
    def published(self) -> Iterator[DuckDBEngine]:
        """An engine with what is published."""
        engine = self.lake.open_engine()
        try:
            engine.attach(self.lake.catalog.state().tables)
            engine.run(f"SET search_path = '{self.name}'")
            yield engine
        finally:
            engine.close()

    def same(self, what: str, wanted: Counter[Any], found: Counter[Any]) -> None:
        """Rows are equal, order apart."""
        if wanted != found:
            lacking, odd = list((wanted - found).elements()), list((found - wanted).elements())
            self.fail(what, f"{len(lacking)} lack: {lacking[:3]}\n {len(odd)} should not be: {odd[:3]}")

    def fail(self, what: str, found: object) -> None:
        """Raise Differs with the seed; long values are cut."""
        shown = re.sub(r"(.)\1{20,}", r"\1…", str(found))
        raise Differs(f"seed {self.seed}, {what}: {shown}")
