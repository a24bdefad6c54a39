"""A school in a small lake: learners, their sessions and classes over weeks, and what a plain reading says of them.

Its facts are built by date, its bridge has history. Records come late, change, go and come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from kept_engine import FAST
from lake import Built, TempLake

from starberg.engines.duckdb import DuckDBEngine
from starberg.etl.build_writer import BuildOptions
from starberg.etl.dates import Dates
from starberg.etl.day_ranges import every_day

FIRST = date(2026, 3, 1)
DAYS = list(every_day(FIRST, date(2026, 3, 30)))
TABLES = {
    "staging/stg_learners": "select id as learner_id, grade, since from learners",
    "staging/stg_sessions": "select id as session_id, learner as learner_id, started as started_at, "
    "score from sessions",
    "staging/stg_classes": "select id as class_id, learners from classes",
    "dimensions/dim_learner": "/*\nnatural_key: learner_id\nhistory: type2\nvalid_from: since\norder: valid_time\n*/\n"
    "select learner_id, grade, since from stg_learners",
    "bridges/brg_class_learner": "/*\ngrain: [class_id, learner_id]\nhistory: type2\nweight: equal\nkeys:\n"
    "  learner_key: dim_learner(learner_id)\n*/\n"
    "select c.class_id, l.learner_id from stg_classes as c cross join unnest(c.learners) as l(learner_id)",
    "facts/fact_sessions": "/*\ngrain: session_id\nload: by date\ndate: day\nrestate_days: 500\nkeys:\n"
    "  learner_key: dim_learner(learner_id) as of started_at\n*/\n"
    "select session_id, started_at::date as day, score from stg_sessions",
    "facts/fact_learner_days": "/*\ngrain: [learner_id, day]\nload: by date\ndate: day\nrestate_days: 500\nkeys:\n"
    "  learner_key: dim_learner(learner_id) as of day\n*/\n"
    "select s.learner_id, s.started_at::date as day, l.grade, count(*) as sessions, sum(s.score) as score "
    "from stg_sessions as s left join stg_learners as l on l.learner_id = s.learner_id group by all",
    "facts/fact_last_sessions": "/*\ngrain: learner_id\nload: by date\ndate: day\nrestate_days: 500\n*/\n"
    "select learner_id, max(started_at)::date as day from stg_sessions group by learner_id",
    "facts/fact_learner_snapshot": "/*\ngrain: [learner_id, day]\nload: snapshot daily\ndate: day\nrestate_days: 500\n"
    "keys:\n  learner_key: dim_learner(learner_id)\n*/\n"
    "select learner_id, run_date() as day, grade, since from stg_learners",
    "facts/fact_grade_months": "/*\ngrain: [grade, month]\nload: snapshot monthly\ndate: month\nrestate_days: 500\n*/\n"
    "select coalesce(grade, '') as grade, run_date() as month, count(*) as learners from stg_learners group by all",
}
BY_DATE = ("fact_sessions", "fact_learner_days", "fact_last_sessions")
BUILT = ("dim_learner", "brg_class_learner", *BY_DATE, "fact_learner_snapshot", "fact_grade_months")
Row = tuple[Any, ...]


class Differs(AssertionError):
    """A table is not what a plain reading says."""


@dataclass
class School:
    """What happens by a seed; `seen` are the learners' observations, in order of arrival, by when they took effect."""

    lake: TempLake
    random: Random
    learners: dict[int, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[int, dict[str, Any]] = field(default_factory=dict)
    classes: list[tuple[datetime, dict[int, list[int]]]] = field(default_factory=list)
    seen: list[tuple[int, datetime, dict[str, Any] | None]] = field(default_factory=list)
    reader: DuckDBEngine = field(init=False)
    checked: bool = True
    """Whether the product's own checks are made."""

    @property
    def now(self) -> datetime:
        return self.lake.clock.now().replace(tzinfo=None)

    def until(self, now: datetime) -> None:
        """Let time pass."""
        self.lake.clock.sleep((now - self.now).total_seconds())

    def learn(self, changes: int) -> None:
        """Change, add and remove learners, some as of days ago, sessions on any day, and classes; read all of them."""
        for _ in range(changes):
            self._change_learner()
            self._change_session()
        self._observe()
        classes = {number: self.random.sample(range(1, 9), self.random.randint(0, 3)) for number in (1, 2)}
        if not self.classes or self.random.random() < 0.5:
            self.classes.append((self.now, classes))
        self.lake.land("learners", list(self.learners.values()), whole=True)
        self.lake.land("sessions", list(self.sessions.values()), whole=True)
        listed = [{"id": number, "learners": of} for number, of in self.classes[-1][1].items()]
        self.lake.land("classes", listed, whole=True)

    def _change_learner(self) -> None:
        key = self.random.randint(1, 6)
        if key in self.learners and self.random.random() < 0.2:
            del self.learners[key]
            return
        since = self.now - timedelta(hours=self.random.choice([1, 1, 5, 30, 24 * 4, 24 * 20]))
        self.learners[key] = {"id": key, "grade": self.random.choice(["1", "2", None]), "since": since.isoformat()}

    def _change_session(self) -> None:
        number = self.random.randint(1, 40)
        if number in self.sessions and self.random.random() < 0.2:
            del self.sessions[number]
            return
        started = datetime.combine(self.random.choice(DAYS), time(9))
        learner, score = self.random.randint(1, 8), self.random.randint(0, 3)
        self.sessions[number] = {"id": number, "learner": learner, "started": started.isoformat(), "score": score}

    def _observe(self) -> None:
        known = {key: record for key, _, record in self.seen}
        for key in sorted({*known, *self.learners}):
            record = self.learners.get(key)
            if record is None and known.get(key) is not None:
                self.seen.append((key, self.now, None))
            elif record is not None and record != known.get(key):
                self.seen.append((key, datetime.fromisoformat(record["since"]), dict(record)))

    def live(self, days: int) -> None:
        """Build the days there were; then let days pass, with changes and one run or another on most of them.

        What a run built is checked.
        """
        self.learn(9)
        self.build(dates=DAYS)
        self.lake.clock.sleep(24 * 3600)
        for _ in range(days):
            self.learn(6)
            match self.random.choice(["due", "due", "dates", "keys", "killed", "missed"]):
                case "dates":
                    self.build(dates=self.random.sample(DAYS, 5))
                case "keys":
                    self.build()
                    self.learn(3)
                    self.build(only=["stg_learners", "dim_learner"])  # facts are left as they are, but for their keys
                    self.build()
                case "killed":
                    self.die()
                    self.build()
                case "missed":
                    self.lake.clock.sleep(24 * 3600)
                    continue
                case _:
                    self.build()
            self.check()
            self.lake.clock.sleep(24 * 3600)
        self.learn(3)
        self.build()
        self.check()

    # Building

    def build(self, **options: Any) -> Built:
        """Build and publish."""
        deletes = ["stg_learners", "stg_sessions", "stg_classes"]
        return self.lake.build(allow_deletes=deletes, check=self.checked, **options)

    def die(self, **options: Any) -> None:
        """Build, and never publish: what a killed run leaves of itself."""
        with self.lake.session() as (branch, engine, tables):
            self.lake.build_on(branch, engine, tables, BuildOptions(allow_deletes=["*"], **options))

    def days(self, table: str) -> set[date]:
        """Return the days a fact has."""
        return set(Dates.of(self.lake._states[table]).built)

    def contents(self) -> dict[str, Counter[Row]]:
        """Return all rows of what is built."""
        return {t: Counter(self.lake.rows(f"SELECT * EXCLUDE (_run_id, _load_id) FROM {t}")) for t in BUILT}

    # A plain reading

    def check(self) -> None:
        """Compare every table, on the days it has, with what the records say; Differs names the first that differs."""
        self.reader = self.lake.reader()
        grade = "if(d.learner_key = 0, 'no member', d.grade)"
        joined = f"SELECT {{}}, {grade} FROM {{}} f LEFT JOIN dim_learner d USING (learner_key)"
        days = self.days("fact_sessions")
        self._same("fact_sessions", joined.format("session_id, day, score", "fact_sessions"), self._sessions(days))
        columns = "f.learner_id, day, f.grade, sessions, score"
        days = self.days("fact_learner_days")
        self._same("fact_learner_days", joined.format(columns, "fact_learner_days"), self._learner_days(days))
        last = [row for row in self._last() if row[1] in self.days("fact_last_sessions")]
        self._same("fact_last_sessions", "SELECT learner_id, day FROM fact_last_sessions", last)
        there = [row for day in self.days("fact_learner_snapshot") for row in self.at_end_of(day)]
        columns = "f.learner_id, day, f.grade, f.since"
        found = joined.format(columns, "fact_learner_snapshot")
        self._same("fact_learner_snapshot", found, [(*row, row[2]) for row in there])
        self._same("fact_grade_months", "SELECT grade, month, learners FROM fact_grade_months", self._months())
        bridge = (
            "SELECT m.at, class_id, b.learner_id, round(weight, 9), if(d.learner_key = 0, 'no member', d.grade) "
            f"FROM (SELECT unnest({[str(at) for at in self._moments()]})::TIMESTAMP AS at) m JOIN brg_class_learner b "
            "ON b.effective_from <= m.at AND m.at < coalesce(b.effective_to, TIMESTAMP '9999-12-31') "
            "LEFT JOIN dim_learner d USING (learner_key)"
        )
        self._same("brg_class_learner", bridge, [row for at in self._moments() for row in self._classes(at)])

    def _same(self, table: str, sql: str, wanted: list[Row]) -> None:
        found, there = Counter(self.reader.rows(sql)), Counter(wanted)
        if found != there:
            raise Differs(
                f"{table}: lacks {list((there - found).items())[:3]}, has {list((found - there).items())[:3]}"
            )

    def _sessions(self, days: set[date]) -> list[Row]:
        found = []
        for number, session in self.sessions.items():
            at = datetime.fromisoformat(session["started"])
            if at.date() in days:
                found.append((number, at.date(), session["score"], self._grade(session["learner"], at)))
        return found

    def _learner_days(self, days: set[date]) -> list[Row]:
        scores: dict[tuple[int, date], list[int]] = {}
        for session in self.sessions.values():
            day = datetime.fromisoformat(session["started"]).date()
            scores.setdefault((session["learner"], day), []).append(session["score"])
        return [
            (
                learner,
                day,
                self.learners.get(learner, {}).get("grade"),
                len(of),
                sum(of),
                self._grade(learner, datetime.combine(day, time())),
            )
            for (learner, day), of in scores.items()
            if day in days
        ]

    def _last(self) -> list[Row]:
        last: dict[int, date] = {}
        for session in self.sessions.values():
            day = datetime.fromisoformat(session["started"]).date()
            last[session["learner"]] = max(day, last.get(session["learner"], day))
        return list(last.items())

    def _grade(self, learner: int, at: datetime) -> str | None:
        """Return a learner's grade at a time, after a delete the last and before the first version that one's."""
        taken = {effective: record for key, effective, record in self.seen if key == learner}  # at one time the last
        versions = sorted((effective, record["grade"]) for effective, record in taken.items() if record is not None)
        before = [grade for effective, grade in versions if effective <= at]
        return before[-1] if before else versions[0][1] if versions else None

    def at_end_of(self, day: date) -> list[Row]:
        """Return the learners there were: id, day, grade, since."""
        end = datetime.combine(day, time()) + timedelta(days=1)
        last: dict[int, tuple[datetime, int, dict[str, Any] | None]] = {}
        for number, (key, at, record) in enumerate(self.seen):
            if at < end and (key not in last or (at, number) > last[key][:2]):
                last[key] = (at, number, record)
        return [
            (key, day, record["grade"], datetime.fromisoformat(record["since"]))
            for key, (_, _, record) in last.items()
            if record is not None
        ]

    def _months(self) -> list[Row]:
        found: list[Row] = []
        for month in self.days("fact_grade_months"):
            grades = Counter(row[2] or "" for row in self.at_end_of(month))
            found += [(grade, month, learners) for grade, learners in grades.items()]
        return found

    def _moments(self) -> list[datetime]:
        return [at + timedelta(hours=hours) for at, _ in self.classes for hours in (0, 7, 50)]

    def _classes(self, at: datetime) -> list[Row]:
        """Return the learners that each class had at a moment, in the versions they then had, with their weights."""
        classes = [said for since, said in self.classes if since <= at][-1]
        return [
            (at, number, learner, round(1 / len(of), 9), self._grade(learner, at))
            for number, of in classes.items()
            for learner in of
        ]


@contextmanager
def school(seed: int) -> Iterator[School]:
    """Open a school in an empty lake; its clock stands at the 25th of March 2026, 02:00."""
    with TemporaryDirectory(prefix="starberg-school-", dir=FAST) as folder:
        lake = TempLake(Path(folder))
        lake.stream("learners", {"id": "BIGINT", "grade": "VARCHAR", "since": "TIMESTAMP"})
        lake.stream("sessions", {"id": "BIGINT", "learner": "BIGINT", "started": "TIMESTAMP", "score": "BIGINT"})
        lake.stream("classes", {"id": "BIGINT", "learners": "BIGINT[]"})
        for name, sql in TABLES.items():
            lake.declare(name, sql)
        past = School(lake, Random(seed))
        past.until(datetime(2026, 3, 25, 2))
        yield past
