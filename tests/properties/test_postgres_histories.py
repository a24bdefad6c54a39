"""Databases with history: one table captured in every way, changed by several sessions between and during runs.

After each run the versions and the facts of every capture mode are what a plain reading of what was committed gives.
A failure names the seed; `HISTORY=17 pytest -m proof tests/properties/test_postgres_histories.py -k committed` plays
that one again. `make soak` plays two thousand, each with one capture mode, by turns: the seed modulo 4 (to play one
of these again, add `--hypothesis-profile=soak`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from book import Book
from club import Change, Club, now
from database import Database, DatabaseServer, running
from defects import Defect, no_checks, replaced, rewritten
from histories import PROJECT, Differs
from hypothesis import settings
from kept_engine import FAST, kept_engines
from members import Members, with_inferred

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.ingestion.log_spool import ChangeFile, Snapshot
from starberg.ingestion.pgoutput import Truncate
from starberg.ingestion.postgres_connection import Control
from starberg.ingestion.postgres_keys import KeyRanges
from starberg.ingestion.postgres_log import LogReader
from starberg.ingestion.postgres_marks import Horizon, Mark
from starberg.ingestion.postgres_session import Session
from starberg.storage.raw_chain import RawStream
from starberg.utils.errors import StarbergError
from starberg.utils.settings import Settings

pytestmark = pytest.mark.proof

NAME = "club"
RUNS, CHANGES = 6, 30
MODES = ("whole", "marked", "keyed", "logged")
soak = settings.default.max_examples > 100  # type: ignore[union-attr]
HISTORY = os.environ.get("HISTORY", "")
COUNT, PART = (2000, 20) if soak else (50, 5)
PARTS = [range(first, first + PART) for first in range(0, COUNT, PART)]
if HISTORY:
    PARTS = [range(int(HISTORY), int(HISTORY) + 1)]
COLUMNS = "member_id, city, name, effective_from, effective_to, is_current, is_deleted, is_inferred, _changed_at"


@dataclass
class Capture:
    """What one stream has read of the members."""

    members: Members = field(default_factory=Members)
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The table at the newest snapshot."""
    loads: int = 0
    read: bool = False

    def hear(self, observed: datetime, *, whole: bool, timed: bool) -> None:
        """Take the table as it was seen; of a partial reading nothing is known of what is gone."""
        records = [_record(key, row, row["updated_at"] if timed else None) for key, row in self.seen.items()]
        self.members.hear(records, observed, whole=whole)


class Play(Book):
    """One history of the club in a lake."""

    def __init__(self, seed: int, lake: Lake, club: Club, modes: Sequence[str]) -> None:
        super().__init__(seed, NAME, lake)
        self.club = club
        self.modes = modes
        self.captures = {mode: Capture() for mode in modes}
        self.first = 0
        """Changes that the log's first snapshot saw."""
        self.applied = 0
        """Changes that it saw, or that were landed since."""
        self.asked = 0
        """Changes that were committed when the log was last looked at."""
        self.reading = ""
        self.meddling = True

    def go(self, runs: int) -> None:
        for number in range(1, runs + 1):
            if self.random.random() < 0.1:
                self.club.empty()
            self.club.change(CHANGES)
            if number == 1:
                self.club.commit_all()  # a slot is created once all transactions have ended
            self.run(f"run {number}", full=number > 1 and self.random.random() < 0.25)
        self.meddling = False
        self.club.commit_all()
        self.run("the last run", full=True)
        self.check_current("the last run", dict.fromkeys(self.modes, self.club.members))
        self.check_same("a run without news", lambda: self.lake.run(NAME))
        day = now().date()
        self.check_same("a restatement", lambda: self.lake.restate(NAME, day, day))
        self.check_verify()

    def run(self, when: str, *, full: bool) -> None:
        with self.meddled(full=full):
            self.lake.run(NAME, full=full, allow_deletes=[f"stg_{mode}" for mode in (*self.modes, "visits")])
        for mode in self.modes:
            self.take(mode, full=full)
        if "logged" in self.modes:
            self.check_log(when)
        self.check_current(when, {mode: capture.members.known for mode, capture in self.captures.items()})
        self.check(when)

    @contextmanager
    def meddled(self, *, full: bool) -> Iterator[None]:
        """Let sessions go on while a run reads: before a table is locked, before its snapshot is taken, and after it.

        A full reading of a logged table takes its log as it was: what commits between the two has no history.
        """
        locked, snapshot, look = Control.locked, Session.snapshot, LogReader._look

        def before_lock(control: Control, stream: Any) -> Any:
            self.reading = stream.name
            return locked(control, stream)

        @contextmanager
        def around_snapshot(session: Session, engine: Any) -> Iterator[None]:
            meddle = self.meddle if self.reading in MODES else lambda: None  # the next slot waits for open sessions
            if self.reading == "logged" and not self.captures["logged"].loads:
                self.club.change(CHANGES // 3)  # in the slot and in the snapshot
            elif self.reading != "logged":
                meddle()
            with snapshot(session, engine):
                self.see()
                meddle()
                yield
                meddle()

        def before_look(reader: LogReader, chain: Any) -> Any:
            if not full:
                self.meddle()
            self.asked = len(self.club.log)
            return look(reader, chain)

        self.asked = 0
        with (
            patch.object(Control, "locked", before_lock),
            patch.object(Session, "snapshot", around_snapshot),
            patch.object(LogReader, "_look", before_look),
        ):
            yield

    def meddle(self) -> None:
        if self.meddling and self.random.random() < 0.5:
            self.club.change(self.random.randint(1, 4))

    def see(self) -> None:
        if capture := self.captures.get(self.reading):
            capture.seen = {key: dict(row) for key, row in self.club.members.items()}
            capture.read = True
            if self.reading == "logged" and not capture.loads:
                self.first = self.applied = len(self.club.log)

    def take(self, mode: str, *, full: bool) -> None:
        """Tell the plain reading what a stream saw in this run, at the time its load says."""
        capture = self.captures[mode]
        loads = RawStream(self.lake.store, NAME, "db", mode).loads(capture.loads)
        first = not capture.loads
        capture.loads += len(loads)
        if capture.read and (mode != "logged" or first):
            observed = loads[-1].observed_at if loads else datetime.now(UTC)
            capture.hear(observed.replace(tzinfo=None), whole=mode != "marked" or full or first, timed=mode != "logged")
        capture.read = False

    def check_log(self, when: str) -> None:
        """Every change that had committed is there, once, in order of commits."""
        with self.published() as engine:
            rows = engine.rows(
                "SELECT _op, member_id, city, name, _observed FROM stg_logged_changes WHERE _load_id > 1 "
                "ORDER BY _load_id, _row_number"
            )
        first = self.first
        wanted = [_landed(change) for change in self.club.log[first : first + len(rows)]]
        for number, (right, found) in enumerate(zip(wanted, rows, strict=False)):
            if right != found:
                self.fail(f"{when}, change {number} of the log", (right, found))
        if len(rows) > len(wanted) or first + len(rows) < self.asked:
            self.fail(f"{when}, the log", f"{len(rows)} of {self.asked - first} changes")
        members, applied = self.captures["logged"].members, self.applied
        self.applied = first + len(rows)
        for change in self.club.log[applied : self.applied]:
            if change.row is None:
                members.lose(change.key, change.committed)
            else:
                members.hear([_record(change.key, change.row, None)], change.committed, whole=False)

    def check_current(self, when: str, tables: Mapping[str, Mapping[int, Any]]) -> None:
        """The live rows are those of the table."""
        with self.published() as engine:
            for mode, members in tables.items():
                wanted = Counter((key, row["city"], row["name"]) for key, row in members.items())
                sql = f"SELECT member_id, city, name FROM stg_{mode} WHERE _deleted_at IS NULL"
                self.same(f"{when}, stg_{mode}", wanted, Counter(engine.rows(sql)))

    def check(self, when: str) -> None:
        """Versions and facts are those of a plain reading."""
        with self.published() as engine:
            keys = ", ".join(f"{mode}_key" for mode in self.modes)
            facts = engine.rows(f"SELECT visit_id, member_id, visited_at, {keys} FROM fact_visits")
            referenced = [member for _, member, *_ in facts if member is not None]
            versions = {
                mode: with_inferred(capture.members.versions(by_time=False), referenced)
                for mode, capture in self.captures.items()
            }
            for place, mode in enumerate(self.modes):
                name = f"dim_{mode}"
                found = engine.rows(f"SELECT {COLUMNS} FROM {name} WHERE {mode}_key > 0")
                wanted = Counter(
                    (v.member, v.city, v.name, v.start, v.end, v.end is None, v.is_deleted, v.is_inferred, v.changed_at)
                    for v in versions[mode]
                )
                self.same(f"{when}, {name}", wanted, Counter(found))
                starts = self.check_numbers(when, engine, name, f"{mode}_key")
                for _, member, at, *numbers in facts:
                    what = f"{when}, {mode} of fact_visits"
                    self.check_lookup(what, versions[mode], starts, member, numbers[place], at)
        self.check_visits(when, facts)

    def check_visits(self, when: str, facts: list[Any]) -> None:
        if self.meddling:
            return
        wanted = Counter((number, v["member"], v["visited_at"]) for number, v in self.club.visits.items())
        self.same(f"{when}, fact_visits", wanted, Counter(fact[:3] for fact in facts))


def declared(modes: Sequence[str], folder: Path) -> Path:
    """Return the project, or a copy of the club in it that has only some of the capture modes."""
    others = [mode for mode in MODES if mode not in modes]
    if not others:
        return PROJECT
    club = folder / "project" / "warehouses" / NAME
    unwanted = shutil.ignore_patterns(*(f"*_{mode}.sql" for mode in others))
    shutil.copytree(PROJECT / "warehouses" / NAME, club, ignore=unwanted)
    sources = club / "warehouse.yml"
    said = yaml.safe_load(sources.read_text())
    for mode in others:
        del said["sources"]["db"]["streams"][mode]
    sources.write_text(yaml.safe_dump(said, sort_keys=False))
    fact = club / "facts" / "fact_visits.sql"
    lines = fact.read_text().splitlines()
    fact.write_text("\n".join(line for line in lines if not line.strip().startswith(tuple(f"{m}_key" for m in others))))
    shutil.copy(PROJECT / "starberg.toml", folder / "project")
    return folder / "project"


def _record(key: int, row: Mapping[str, Any], updated: datetime | None) -> dict[str, Any]:
    stamp = updated.isoformat() if updated else None
    return {"id": key, "city": row["city"], "name": row["name"], "updated": stamp, "born": None}


def _landed(change: Change) -> tuple[Any, ...]:
    row = change.row or {"city": None, "name": None}
    return ("D" if change.row is None else "U", change.key, row["city"], row["name"], change.committed)


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    with running() as found:
        Database(found.server, found.url).run(
            "alter system set track_commit_timestamp = on", "alter system set fsync = off"
        )
        found.server.restart()
        yield found


@contextmanager
def play(seed: int, server: DatabaseServer, modes: Sequence[str] = MODES) -> Iterator[Play]:
    database = server.database()
    club = Club(database, Random(seed))
    try:
        with (
            tempfile.TemporaryDirectory(prefix="starberg-club-", dir=FAST) as home,
            patch.object(tempfile, "tempdir", home),
            kept_engines() as open_engine,
        ):
            environ = {"CLUB_DATABASE_URL": database.reader_url}
            lake = open_lake(Settings.load(declared(modes, Path(home)), {"STARBERG_HOME": home}, environ))
            try:
                yield Play(seed, replace(lake, open_engine=open_engine), club, modes)
            finally:
                lake.catalog.close()
    finally:
        club.close()
        server.drop(database)


@pytest.mark.parametrize("seeds", PARTS, ids=lambda seeds: f"seeds {seeds[0]} to {seeds[-1]}")
def test_versions_and_facts_of_every_capture_mode_are_what_was_committed(seeds: range, server: DatabaseServer) -> None:
    for seed in seeds:
        with play(seed, server, [MODES[seed % len(MODES)]] if soak else MODES) as past:
            past.go(RUNS)


def _no_deletes(right: Any, file: ChangeFile, begin: Any, change: Any) -> None:
    if getattr(change, "op", "") != "D":
        right(file, begin, change)


def _no_truncates(right: Any, file: ChangeFile, begin: Any, change: Any) -> None:
    if not isinstance(change, Truncate):
        right(file, begin, change)


def _key_stays(right: Any, file: ChangeFile, begin: Any, change: Any) -> None:
    right(file, begin, replace(change, old=None) if getattr(change, "op", "") == "U" else change)


DEFECTS: Mapping[str, Defect] = {
    "the mark passes open transactions": lambda: patch.object(Horizon, "bound", property(lambda self: self.asked_at)),
    "the mark is the greatest value there is": replaced(Mark, "_time", lambda right, self, top, horizon: top),
    "what is read again is landed again": rewritten("k._digest = p._digest", "k._digest = p._digest + 1"),
    "a whole reading finds no deletes": rewritten("FROM known WHERE true AND", "FROM known WHERE false AND"),
    "keys are not compared": replaced(KeyRanges, "_differing", lambda right, self: []),
    "gone keys stay": rewritten("(TABLE gone AS FROM .*) ANTI JOIN", r"\1 SEMI JOIN"),
    "the log's deletes are ignored": replaced(ChangeFile, "add", _no_deletes),
    "the log's truncates are ignored": replaced(ChangeFile, "add", _no_truncates),
    "the old key of an update stays": replaced(ChangeFile, "add", _key_stays),
    "values out of line are lost": rewritten(r"WHEN list_contains\(_same, '\w+'\) THEN", "WHEN false THEN"),
    "what the snapshot saw comes again": replaced(Snapshot, "has", lambda right, self, begin: False),
    "what the snapshot missed never comes": replaced(Snapshot, "has", lambda right, self, begin: begin.lsn < self.lsn),
    "a change has another time than its commit": rewritten(r"make_timestamp\(_us\)", "make_timestamp(_us + 1)"),
    "changes of a batch are turned around": rewritten("ORDER BY _n,", "ORDER BY _n DESC,"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str, server: DatabaseServer) -> None:
    for seed in range(4):
        with play(seed, server) as past, DEFECTS[defect](), no_checks():
            try:
                past.go(RUNS)
            except (Differs, StarbergError):
                return
    pytest.fail(f"no history noticed that {defect}")
