"""Dimensions with history: after every run of a random history, versions and facts are what a plain reading gives.

A failure names the seed; `HISTORY=17 pytest -m proof tests/properties/test_history.py -k plain_reading` plays
that one again.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from defects import Defect, no_checks, rewritten
from histories import PROJECT, Differs, keyed_share
from hypothesis import settings
from kept_engine import FAST, kept_engines
from members import Members, moment, valid, with_inferred
from memory_source import Said, feed_of, playing
from servers import FakeClock

from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl import keyed_build
from starberg.etl.control_tables import TABLES
from starberg.etl.results import Status
from starberg.utils.settings import Settings

pytestmark = pytest.mark.proof

NAME = "members"
RUNS, CHANGES = 6, 30
PARTS = 8
soak = settings.default.max_examples > 100  # type: ignore[union-attr]
SEEDS = [int(os.environ["HISTORY"])] if "HISTORY" in os.environ else range(1000 if soak else 24)

COLUMNS = (
    "member_id, city, name, updated_at, {born} AS born_at, effective_from, effective_to, is_deleted, is_inferred, "
    "_changed_at"
)


class Play:
    """One history of members and visits in a lake."""

    def __init__(self, seed: int, lake: Lake, clock: FakeClock) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.lake = lake
        self.clock = clock
        self.feed = feed_of("memory:members")
        self.members = Members()
        self.now: dict[int, dict[str, Any]] = {}
        self.visits: dict[int, dict[str, Any]] = {}
        self.heard_visits: list[dict[str, Any]] = []
        self.numbers: dict[str, dict[int, tuple[Any, ...]]] = {"dim_member": {}, "dim_dated": {}}
        self.highest = Counter[str]()

    def go(self, runs: int) -> None:
        for number in range(1, runs + 1):
            self.run(self.random.randint(1, 4))
            self.check(f"run {number}")
        self.check_same("a run without news", lambda: self.lake.run(NAME))
        day = self.random_time().date()
        restate = lambda: self.lake.restate(NAME, day, day + timedelta(days=self.random.choice([0, 3, 40])))  # noqa: E731
        self.check_same("a restatement", restate)
        if not (result := self.lake.verify(NAME)).equal:
            self.fail("verify", [t for t in result.tables if t.only_published or t.only_rebuilt])

    def run(self, readings: int) -> None:
        """Change members and visits, read them several times, run once."""
        self.feed.heard.clear()
        for _ in range(readings):
            changed = {self.change() for _ in range(CHANGES // readings)}
            whole = self.random.random() < 0.4
            records = [dict(r) for key, r in self.now.items() if whole or key in changed]
            self.random.shuffle(records)
            self.feed.say("members", Said([records], whole=whole))
        for _ in range(8):
            self.visit()
        if self.random.random() < 0.8:
            self.feed.say("visits", Said([list(self.visits.values())], whole=True))
        self.lake.run(NAME, allow_deletes=["stg_members", "stg_visits"])
        for stream, said, observed in self.feed.heard:
            if stream == "members":
                self.members.hear(said.records, observed.replace(tzinfo=None), whole=said.whole)
            else:
                self.heard_visits = [dict(record) for record in said.records]
        self.clock.sleep(self.random.choice([1, 3600, 90000]))

    def change(self) -> int:
        """Edit, add, remove, break or revive one member."""
        key = self.random.randint(1, 14)
        here = self.now.get(key)
        if here and self.random.random() < 0.15:
            del self.now[key]
        else:
            self.now[key] = {
                "id": key,
                "city": self.random.choice(["Rome", "Bonn", "Oslo", None, "", "Test"]),
                "name": self.random.choice(["Ann", "Bob", None]),
                "updated": self._updated(0.04 if here else 0.2),
                "born": self.random.choice([None, "1890-01-01T00:00:00", self.random_time().isoformat()]),
            }
        return key

    def _updated(self, unreadable: float) -> str | None:
        if self.random.random() < unreadable:
            return "soon"
        return self.random_time().isoformat() if self.random.random() < 0.7 else None

    def visit(self) -> None:
        number = self.random.randint(1, 30)
        if self.random.random() < 0.2:
            self.visits.pop(number, None)
            return
        member = self.random.choice([None, *range(1, 17)])
        at = self.random.choice([None, "1880-01-01T00:00:00", *([self.random_time().isoformat()] * 8)])
        self.visits[number] = {"id": number, "member": member, "visited": at}

    def random_time(self) -> datetime:
        """A time of few, around now: so that many are equal."""
        day = self.clock.now().replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        return day + timedelta(hours=12 * self.random.randint(-20, 4))

    # What must hold after a run

    def check(self, when: str) -> None:
        versions = {name: self.members.versions(by_time=name == "dim_dated") for name in self.numbers}
        referenced = [visit["member"] for visit in self.heard_visits if visit["member"] is not None]
        versions["dim_member"] = with_inferred(versions["dim_member"], referenced)
        with self.published() as engine:
            starts: dict[str, dict[int, tuple[Any, ...]]] = {}
            for name, wanted in versions.items():
                born = "born_at" if name == "dim_dated" else "NULL"
                key = f"{name.removeprefix('dim_')}_key"
                columns = COLUMNS.format(born=born)
                found = engine.rows(f"SELECT {columns} FROM {name} WHERE {key} > 0")
                rows = [replace(v, born=v.born if name == "dim_dated" else None) for v in wanted]
                self.same(f"{when}, {name}", Counter(astuple(v) for v in rows), Counter(found))
                keys = f"SELECT {key}, member_id, effective_from, _changed_at, is_current FROM {name}"
                starts[name] = {row[0]: row[1:] for row in engine.rows(keys)}
                self.check_numbers(f"{when}, numbers of {name}", name, starts[name])
            facts = engine.rows(
                "SELECT visit_id, member_id, visited_at, member_key, dated_key, newest_key FROM fact_visits"
            )
        self.check_facts(f"{when}, fact_visits", versions, starts, facts)

    def check_facts(self, what: str, versions: Any, starts: Any, facts: list[tuple[Any, ...]]) -> None:
        visits = Counter((v["id"], v["member"], moment(v["visited"])) for v in self.heard_visits)
        self.same(what, visits, Counter(fact[:3] for fact in facts))
        for _, member, at, member_key, dated_key, newest_key in facts:
            far = datetime(9999, 1, 1)
            for name, key, time in (
                ("dim_member", member_key, at), ("dim_dated", dated_key, at), ("dim_member", newest_key, far)
            ):  # fmt: skip
                wanted = valid(versions[name], member, time)
                found = starts[name].get(key, ("no such key",))[:2] if key else None
                if wanted != found:
                    self.fail(what, (name, member, time, wanted, found))

    def check_numbers(self, what: str, name: str, now: dict[int, tuple[Any, ...]]) -> None:
        """A version keeps its number; a number is never given to another member, or again."""
        before = {(m, changed): key for key, (m, _, changed, _) in self.numbers[name].items() if changed}
        for key, (member, _, changed, _) in now.items():
            if before.get((member, changed), key) != key or self.numbers[name].get(key, (member,))[0] != member:
                self.fail(what, (key, member, changed))
        there = {member for member, *_ in now.values()}
        for key, (member, _, changed, _) in self.numbers[name].items():
            if not changed and member in there and key not in now:
                self.fail(what, f"{member} lost its inferred number {key}")
        new = now.keys() - self.numbers[name].keys()
        if any(0 < key <= self.highest[name] for key in new):
            self.fail(what, f"{new} were given after {self.highest[name]}")
        self.numbers[name] = now
        self.highest[name] = max(self.highest[name], *now)

    def check_same(self, what: str, act: Any) -> None:
        """Something changes no table but the control tables."""
        before, status = self.tables(), act().status
        if moved := {name for name, at in self.tables().items() if before.get(name) != at}:
            self.fail(what, (moved, status))
        if what.startswith("a run") and status is not Status.SKIPPED:
            self.fail(what, status)

    def tables(self) -> Mapping[str, str]:
        tables = self.lake.catalog.state().tables
        return {name: at for name, at in tables.items() if name.split(".")[1] not in TABLES}

    @contextmanager
    def published(self) -> Iterator[DuckDBEngine]:
        engine = self.lake.open_engine()
        try:
            engine.attach(self.lake.catalog.state().tables)
            engine.run(f"SET search_path = '{NAME}'")
            yield engine
        finally:
            engine.close()

    def same(self, what: str, wanted: Counter[Any], found: Counter[Any]) -> None:
        if wanted != found:
            lacking, odd = list((wanted - found).elements()), list((found - wanted).elements())
            self.fail(what, f"{len(lacking)} lack: {lacking[:3]}\n {len(odd)} should not be: {odd[:3]}")

    def fail(self, what: str, found: object) -> None:
        raise Differs(f"seed {self.seed}, {what}: {found}")


@contextmanager
def play(seed: int) -> Iterator[Play]:
    with (
        tempfile.TemporaryDirectory(prefix="starberg-history-", dir=FAST) as home,
        patch.object(tempfile, "tempdir", home),
        patch.object(keyed_build, "KEYED_SHARE", keyed_share(seed)),
        playing("memory"),
        kept_engines() as open_engine,
    ):
        clock = FakeClock()
        lake = open_lake(Settings.load(PROJECT, {"STARBERG_HOME": home}, {}), clock=clock)
        lake = replace(lake, open_engine=open_engine)
        try:
            yield Play(seed, lake, clock)
        finally:
            lake.catalog.close()


@pytest.mark.parametrize("part", range(PARTS))
def test_versions_and_facts_are_what_a_plain_reading_gives(part: int) -> None:
    for seed in SEEDS:
        if seed % PARTS == part:
            with play(seed) as past:
                past.go(RUNS)


DEFECTS: Mapping[str, Defect] = {
    "of changes at one instant the first stands": rewritten(r"_at ORDER BY _seq DESC\)", "_at ORDER BY _seq)"),
    "a late time rewrites what came before": rewritten(r"ELSE greatest\(_observed, _latest\) END", "ELSE _base END"),
    "an unreadable record revives nobody": rewritten(r"p\._op = 'P' AND p\._before = 'D'", "false"),
    "a delete ends no version": rewritten("SELECT \\*, CASE WHEN _was IS NULL", "\\g<0> OR _op = 'D'"),
    "an untracked column shows its first value": rewritten("AND _ends = 1", "AND _step = 1"),
    "null and a value are alike": rewritten(
        r'("city") IS DISTINCT FROM (_was\d)', r"coalesce(\1, '') <> coalesce(\2, '')"
    ),
    "the first version starts at its change": rewritten("CASE WHEN _place = 1 THEN", "CASE WHEN false THEN"),
    "versions are numbered anew": rewritten(r"coalesce\(v\._exact, a\._alike,", "coalesce(a._alike,"),
    "the first version takes a number of its own": rewritten(r"k\._changed_at IS NULL AND v\._place = 1", "false"),
    "new loads touch nothing": rewritten(r"WHERE _load_id > (\d+)", r"WHERE _load_id > 1\1"),
    "an inferred member stays": rewritten("d WHERE is_inferred AND", "d WHERE false AND"),
    "a fact at the start of a version has the one before": rewritten(
        r">= d(\d)\.effective_from", r"> d\1.effective_from"
    ),
    "a version ends where the next but one starts": rewritten(r"lead\(_changed_at\)", "lead(_changed_at, 2)"),
    "the second of two deletes is a change": rewritten(r"ELSE _op <> _was OR", "ELSE _op = 'D' OR _op <> _was OR"),
    "what staging leaves out stays": rewritten(r"'X' AS _op FROM", "'P' AS _op FROM"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str) -> None:
    for seed in range(4):
        with DEFECTS[defect](), no_checks(), play(seed) as past:
            try:
                past.go(RUNS)
            except Differs:
                return
    pytest.fail(f"no history noticed that {defect}")
