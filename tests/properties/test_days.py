"""Facts built by date and snapshots: the same tables by whatever way their days were built."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_engine import FAST
from lake import TempLake, examples

from starberg.etl.build_writer import BuildOptions
from starberg.etl.day_ranges import every_day

pytestmark = pytest.mark.proof

FIRST = date(2026, 3, 1)
DAYS = list(every_day(FIRST, date(2026, 3, 30)))
TABLES = {
    "staging/stg_learners": "select id as learner_id, grade, since from learners",
    "staging/stg_sessions": "select id as session_id, learner as learner_id, started as started_at, "
    "score from sessions",
    "dimensions/dim_learner": "/*\nnatural_key: learner_id\nhistory: type2\nvalid_from: since\norder: valid_time\n*/\n"
    "select learner_id, grade, since from stg_learners",
    "facts/fact_sessions": "/*\ngrain: session_id\nload: by date\ndate: day\nrestate_days: 500\nkeys:\n"
    "  learner_key: dim_learner(learner_id) as of started_at\n*/\n"
    "select session_id, started_at::date as day, score from stg_sessions",
    "facts/fact_learner_days": "/*\ngrain: [learner_id, day]\nload: by date\ndate: day\nrestate_days: 500\nkeys:\n"
    "  learner_key: dim_learner(learner_id) as of day\n*/\n"
    "select s.learner_id, s.started_at::date as day, l.grade, count(*) as sessions, sum(s.score) as score "
    "from stg_sessions as s left join stg_learners as l on l.learner_id = s.learner_id group by all",
    "facts/fact_learner_snapshot": "/*\ngrain: [learner_id, day]\nload: snapshot daily\ndate: day\nrestate_days: 500\n"
    "keys:\n  learner_key: dim_learner(learner_id)\n*/\n"
    "select learner_id, run_date() as day, grade, since from stg_learners",
    "facts/fact_grade_months": "/*\ngrain: [grade, month]\nload: snapshot monthly\ndate: month\nrestate_days: 500\n*/\n"
    "select coalesce(grade, '') as grade, run_date() as month, count(*) as learners from stg_learners group by all",
}
COMPARED = ("dim_learner", "fact_sessions", "fact_learner_days", "fact_learner_snapshot", "fact_grade_months")


@dataclass
class School:
    """Learners and sessions of a month or so, by a seed; `seen` are the learners' observations in order of arrival."""

    lake: TempLake
    random: Random
    learners: dict[int, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[int, dict[str, Any]] = field(default_factory=dict)
    seen: list[tuple[int, datetime, dict[str, Any] | None]] = field(default_factory=list)

    def until(self, now: datetime) -> None:
        self.lake.clock.sleep((now - self.lake.clock.now().replace(tzinfo=None)).total_seconds())

    def learn(self, changes: int) -> None:
        """Change, add and remove learners, some as of days ago; then sessions."""
        now = self.lake.clock.now().replace(tzinfo=None)
        for _ in range(changes):
            key = self.random.randint(1, 6)
            if key in self.learners and self.random.random() < 0.2:
                del self.learners[key]
            else:
                since = now - timedelta(hours=self.random.choice([1, 1, 5, 30, 24 * 4, 24 * 20]))
                grade = self.random.choice(["1", "2", None])
                self.learners[key] = {"id": key, "grade": grade, "since": since.isoformat()}
            number = self.random.randint(1, 40)
            if number in self.sessions and self.random.random() < 0.2:
                del self.sessions[number]
            else:
                started = datetime.combine(self.random.choice(DAYS), datetime.min.time()) + timedelta(hours=9)
                learner, score = self.random.randint(1, 8), self.random.randint(0, 3)
                self.sessions[number] = {
                    "id": number, "learner": learner, "started": started.isoformat(), "score": score
                }  # fmt: skip
        self._observe(now)
        self.lake.land("learners", list(self.learners.values()), whole=True)
        self.lake.land("sessions", list(self.sessions.values()), whole=True)

    def _observe(self, now: datetime) -> None:
        known = {key: record for key, _, record in self.seen}
        for key in sorted({*known, *self.learners}):
            record = self.learners.get(key)
            if record is None and known.get(key) is not None:
                self.seen.append((key, now, None))
            elif record is not None and record != known.get(key):
                self.seen.append((key, datetime.fromisoformat(record["since"]), dict(record)))

    def at_end_of(self, day: date) -> list[tuple[Any, ...]]:
        """What a plain reading of the observations says was so."""
        end = datetime.combine(day, datetime.min.time()) + timedelta(days=1)
        last: dict[int, tuple[datetime, int, dict[str, Any] | None]] = {}
        for number, (key, at, record) in enumerate(self.seen):
            if at < end and (key not in last or (at, number) > last[key][:2]):
                last[key] = (at, number, record)
        return [
            (key, day, record["grade"], datetime.fromisoformat(record["since"]))
            for key, (_, _, record) in last.items()
            if record is not None
        ]


def school(folder: str, seed: int) -> School:
    lake = TempLake(Path(folder))
    lake.stream("learners", {"id": "BIGINT", "grade": "VARCHAR", "since": "TIMESTAMP"})
    lake.stream("sessions", {"id": "BIGINT", "learner": "BIGINT", "started": "TIMESTAMP", "score": "BIGINT"})
    for name, sql in TABLES.items():
        lake.declare(name, sql)
    return School(lake, Random(seed))


def contents(lake: TempLake) -> dict[str, Counter[tuple[Any, ...]]]:
    return {t: Counter(lake.rows(f"SELECT * EXCLUDE (_run_id, _load_id) FROM {t}")) for t in COMPARED}


def build(lake: TempLake, **options: Any) -> None:
    lake.build(allow_deletes=["stg_learners", "stg_sessions"], **options)


@given(seed=st.integers(0, 10_000), order=st.permutations(DAYS), data=st.data())
@examples(2)
def test_days_in_any_order_twice_or_after_a_kill_give_the_same_tables(
    seed: int, order: list[date], data: st.DataObject
) -> None:
    found = []
    for shuffled in (False, True):
        with TemporaryDirectory(prefix="starberg-days-", dir=FAST) as folder:
            past = school(folder, seed)
            for hours in (0, 30, 70):
                past.until(datetime(2026, 4, 2, 2) + timedelta(hours=hours))
                past.learn(20)
            left = list(order) if shuffled else list(DAYS)
            while left:
                size = data.draw(st.integers(4, 15), label="days at once") if shuffled else 30
                now, left = left[:size], left[size:]
                if shuffled and data.draw(st.booleans(), label="killed"):
                    with past.lake.session() as (branch, engine, tables):
                        past.lake.build_on(branch, engine, tables, BuildOptions(allow_deletes=["*"], dates=now))
                again = data.draw(st.sampled_from(DAYS), label="again") if shuffled else now[0]
                build(past.lake, dates=[*now, *([again] if again not in left else [])])
                build(past.lake, dates=now[:1])
            found.append(contents(past.lake))
            assert past.lake.verify() == []
    assert found[0] == found[1]


@given(seed=st.integers(0, 10_000))
@examples(2)
def test_snapshots_rebuilt_from_history_equal_what_daily_runs_had_built(seed: int) -> None:
    with TemporaryDirectory(prefix="starberg-days-", dir=FAST) as folder:
        past = school(folder, seed)
        past.until(datetime(2026, 3, 25, 2))
        for _ in range(12):
            past.learn(6)
            if past.random.random() < 0.8:  # else the day is missed
                build(past.lake)
            past.lake.clock.sleep(24 * 3600)
        past.learn(3)
        build(past.lake)
        daily = past.lake.rows("SELECT learner_id, day, grade, since FROM fact_learner_snapshot")
        days = sorted({row[1] for row in daily})
        assert [*every_day(days[0], days[-1])] == days
        assert Counter(daily) == Counter(row for day in days for row in past.at_end_of(day))
        assert past.lake.verify() == []
        assert {t.strategy for n, t in past.lake.build().tables.items()} == {"skip"}
