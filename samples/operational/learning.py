"""The learning platform's past: learners who join, sessions, homework, and skills that grow with practice."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from starberg.samples.operational import curriculum, people
from starberg.samples.operational.curriculum import Skill
from starberg.samples.operational.system import Size
from starberg.samples.operational.tables import Table

TENANT = ["tenant_number", "tenant_id", "name", "country", "plan", "is_active", "created_at", "updated_at"]
USER = [
    *("user_id", "tenant_id", "role", "first_name", "last_name", "email", "is_active", "created_at", "updated_at"),
]
LEARNER = [
    *("learner_number", "learner_id", "tenant_id", "teacher_id", "parent_id", "first_name", "last_name", "grade"),
    *("is_active", "created_at", "updated_at"),
]
SUBJECT = ["subject_id", "code", "name", "is_active"]
SKILL = ["skill_id", "subject_id", "code", "name", "difficulty"]
SESSION = [
    *("session_number", "session_id", "tenant_id", "learner_id", "subject_id", "device", "started_at", "ended_at"),
    *("activities_completed", "responses", "correct_responses", "updated_at"),
]
FOCUS = ["event_id", "session_number", "learner_id", "event_type", "cause", "occurred_at", "updated_at"]
HOMEWORK = [
    *("homework_id", "tenant_id", "teacher_id", "skill_id", "title", "questions", "assigned_at", "due_at"),
    "updated_at",
]
HOMEWORK_EVENT = [
    *("event_id", "homework_id", "learner_id", "event_type", "answers_correct", "score", "occurred_at", "updated_at"),
]
MASTERY = [
    *("change_id", "learner_id", "skill_id", "mastery", "responses", "correct_responses", "changed_at", "updated_at"),
]
RECOMMENDATION = [
    *("recommendation_id", "learner_id", "skill_id", "reason", "shown_at", "accepted_at", "dismissed_at"),
    "updated_at",
]

LEARNERS_PER_TENANT = 40
_SESSIONS_PER_DAY = 0.4
_WEEKDAYS = (1.2, 1.2, 1.1, 1.2, 1.0, 0.5, 0.8)
_HOURS = (0, 0, 0, 0, 0, 1, 3, 9, 12, 12, 11, 9, 6, 8, 11, 12, 11, 8, 6, 4, 2, 1, 0, 0)
_DAY = timedelta(days=1)


@dataclass(slots=True)
class Learner:
    """A learner, and how well they have each skill they practised."""

    id: str
    tenant: str
    teacher: int
    joined_at: datetime
    skills: list[Skill]
    mastery: dict[int, Decimal] = field(default_factory=dict)
    busy_until: datetime | None = None


@dataclass
class _Past:
    """What happened, in rows without their keys."""

    size: Size
    sessions: list[list[Any]] = field(default_factory=list)
    focus: list[list[Any]] = field(default_factory=list)
    mastery: list[list[Any]] = field(default_factory=list)
    recommendations: list[list[Any]] = field(default_factory=list)

    def before(self, at: datetime) -> bool:
        return at < self.size.until


def tables(size: Size) -> Mapping[str, Sequence[Table]]:
    """Return the platform's tables; what happens has keys in the order of its time."""
    rng = people.stream(size.seed, "schools")
    first_day = size.until - size.days * _DAY
    tenants = [_tenant(number, first_day, rng) for number in range(1, 2 + size.people // LEARNERS_PER_TENANT)]
    users = _users(tenants, size, rng)
    learners, rows = _learners(tenants, users, size, first_day)
    homework, events = _homework(learners, size, first_day)
    past = _practise(learners, size, first_day)
    taught = enumerate(curriculum.SUBJECTS.items(), 1)
    return {
        "oltp": [
            Table("tenants", TENANT, tenants),
            Table("users", USER, users),
            Table("learners", LEARNER, rows),
            Table("subjects", SUBJECT, [[number, code, name, True] for number, (code, (name, _)) in taught]),
            Table("skills", SKILL, [[s.id, s.subject, s.code, s.name, s.difficulty] for s in curriculum.skills()]),
            Table("sessions", SESSION, past.sessions),
            Table("focus_events", FOCUS, _numbered(past.focus)),
            Table("homework", HOMEWORK, homework),
            Table("homework_events", HOMEWORK_EVENT, _numbered(events)),
            Table("mastery_changes", MASTERY, _numbered(past.mastery)),
            Table("recommendations", RECOMMENDATION, _numbered(past.recommendations)),
        ]
    }


def new_id(rng: random.Random) -> str:
    """Return a random UUID, as text."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def school(rng: random.Random) -> dict[str, Any]:
    """Return what a school says of itself, by column."""
    home = people.country(rng)
    name = f"{rng.choice(home.cities)} {rng.choice(curriculum.SCHOOLS)}"
    return {"name": people.untidy(name, rng), "country": people.untidy(home.name, rng)}


def profile(number: int, rng: random.Random) -> dict[str, str]:
    """Return a user's name and address, by column."""
    first, last = people.name(rng)
    return {"first_name": first, "last_name": last, "email": people.email(first, last, number, rng)}


def first_mastery(skill: int, rng: random.Random) -> Decimal:
    """Return how well somebody has a skill they never practised: less of a later one."""
    return curriculum.mastery_of(rng.uniform(0.15, 0.5) - 0.02 * (skill % 6))


def _tenant(number: int, first_day: datetime, rng: random.Random) -> list[Any]:
    born = _seconds(first_day - _DAY * rng.uniform(60, 900))
    changed = _seconds(born + (first_day - born) * rng.random()) if rng.random() < 0.4 else born
    plan = rng.choices(curriculum.PLANS, (1, 5, 4))[0]
    return [number, new_id(rng), *school(rng).values(), plan, rng.random() > 0.05, born, changed]


def _users(tenants: Sequence[Sequence[Any]], size: Size, rng: random.Random) -> list[list[Any]]:
    """Return the teachers of each school, and parents: about one for two learners."""
    users: list[list[Any]] = []
    for tenant in tenants:
        for _ in range(max(1, min(size.people, LEARNERS_PER_TENANT) // 12)):
            users.append(_user(len(users) + 1, tenant, "teacher", rng))
    for _ in range(size.people // 2):
        users.append(_user(len(users) + 1, rng.choice(tenants), "parent", rng))
    return users


def _user(number: int, tenant: Sequence[Any], role: str, rng: random.Random) -> list[Any]:
    born = _seconds(tenant[-2] + _DAY * rng.uniform(0, 30))
    return [number, tenant[1], role, *profile(number, rng).values(), rng.random() > 0.04, born, born]


def _learners(
    tenants: Sequence[Sequence[Any]], users: Sequence[Sequence[Any]], size: Size, first_day: datetime
) -> tuple[list[Learner], list[list[Any]]]:
    """Return the learners in the order they joined, most of them before the first day, and their rows."""
    rng = people.stream(size.seed, "learners")
    schools: dict[str, tuple[datetime, list[int], list[int]]] = {
        tenant[1]: (
            tenant[-2],
            [user[0] for user in users if user[1] == tenant[1] and user[2] == "teacher"],
            [user[0] for user in users if user[1] == tenant[1] and user[2] == "parent"],
        )
        for tenant in tenants
    }
    drawn = []
    for _ in range(size.people):
        tenant = rng.choice(list(schools))
        late = rng.random() < min(0.3, size.days / 400)
        start, end = (first_day, size.until) if late else (schools[tenant][0] + 30 * _DAY, first_day)
        drawn.append((_seconds(start + (end - start) * rng.random()), tenant))
    learners, rows = [], []
    for number, (joined, tenant) in enumerate(sorted(drawn), 1):
        _, teachers, parents = schools[tenant]
        subjects = rng.sample(range(1, len(curriculum.SUBJECTS) + 1), 2)
        skills = [skill for skill in curriculum.skills() if skill.subject in subjects and rng.random() < 0.6]
        learner = Learner(new_id(rng), tenant, rng.choice(teachers), joined, skills or curriculum.skills()[:1])
        learners.append(learner)
        changed = _seconds(joined + (size.until - joined) * rng.random()) if rng.random() < 0.2 else joined
        parent = rng.choice(parents) if parents and rng.random() < 0.8 else None
        who = [number, learner.id, tenant, learner.teacher, parent, *people.name(rng)]
        rows.append([*who, rng.randint(1, 12), rng.random() > 0.04, joined, changed])
    return learners, rows


def _practise(learners: Sequence[Learner], size: Size, first_day: datetime) -> _Past:
    rng = people.stream(size.seed, "sessions")
    past = _Past(size)
    for number in range(size.days):
        day = first_day + number * _DAY
        mean = _SESSIONS_PER_DAY * _WEEKDAYS[day.weekday()]
        starts = [(_time(day, rng), learner) for learner in learners for _ in range(1 + (rng.random() < 0.2))]
        for at, learner in sorted((start for start in starts if rng.random() < mean), key=lambda start: start[0]):
            free = learner.busy_until is None or learner.busy_until < at
            if learner.joined_at < at and free:
                _session(past, at, learner, rng)
        for learner in learners:
            if learner.joined_at < day and rng.random() < 0.08:
                _recommend(past, _time(day, rng), learner, rng)
    past.focus = sorted((row for row in past.focus if past.before(row[-2])), key=lambda row: row[-2])
    past.mastery = sorted((row for row in past.mastery if past.before(row[-2])), key=lambda row: row[-2])
    past.recommendations.sort(key=lambda row: row[3])
    return past


def _session(past: _Past, at: datetime, learner: Learner, rng: random.Random) -> None:
    """Let a learner practise one to four skills; a session that goes on at the end of the past has no end yet."""
    subject = rng.choice(learner.skills).subject
    known = [skill for skill in learner.skills if skill.subject == subject]
    session, now, activities, responses, correct = len(past.sessions) + 1, at, 0, 0, 0
    stamp = at
    for skill in rng.choices(known, k=rng.randint(1, 4)):
        now += timedelta(seconds=rng.randint(90, 600))
        if not past.before(now):
            break
        before = learner.mastery.get(skill.id) or first_mastery(skill.id, rng)
        given, right = curriculum.answered(before, rng)
        learner.mastery[skill.id] = after = curriculum.practised(before, given, right)
        past.mastery.append([learner.id, skill.id, after, given, right, now, now])
        activities, responses, correct, stamp = activities + 1, responses + given, correct + right, now
    end = now + timedelta(seconds=rng.randint(5, 60))
    for moment in _moments(at, end, rng):
        cause = rng.choice(curriculum.CAUSES)
        back = min(moment + timedelta(seconds=rng.randint(3, 120)), end)
        past.focus.append([session, learner.id, "lost", cause, moment, moment])
        past.focus.append([session, learner.id, "regained", cause, back, back])
    ended = end if past.before(end) else None
    learner.busy_until = end
    did = [activities, responses, correct, ended or stamp]
    device = rng.choice(curriculum.DEVICES)
    past.sessions.append([session, new_id(rng), learner.tenant, learner.id, subject, device, at, ended, *did])


def _moments(start: datetime, end: datetime, rng: random.Random) -> Iterator[datetime]:
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        yield start + timedelta(milliseconds=rng.randrange(1, round((end - start).total_seconds() * 1000)))


def _recommend(past: _Past, at: datetime, learner: Learner, rng: random.Random) -> None:
    luck, answer = rng.random(), at + timedelta(seconds=rng.randint(5, 3 * 86400))
    accepted = answer if luck < 0.45 and past.before(answer) else None
    dismissed = answer if 0.45 <= luck < 0.75 and past.before(answer) else None
    said = [accepted, dismissed, accepted or dismissed or at]
    past.recommendations.append([learner.id, rng.choice(learner.skills).id, rng.choice(curriculum.REASONS), at, *said])


def _homework(learners: Sequence[Learner], size: Size, first_day: datetime) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return what teachers set, about once a week, and what their learners make of it."""
    rng = people.stream(size.seed, "homework")
    classes: dict[int, list[Learner]] = {}
    for learner in learners:
        classes.setdefault(learner.teacher, []).append(learner)
    homework: list[list[Any]] = []
    events: list[tuple[Any, ...]] = []
    for number in range(size.days):
        day = first_day + number * _DAY
        for teacher, taught in sorted(classes.items()):
            if day.weekday() >= 5 or rng.random() > 0.22:
                continue
            at, skill, questions = _time(day, rng), rng.choice(curriculum.skills()), rng.randint(5, 12)
            homework.append([at, taught[0].tenant, teacher, skill.id, title(skill, rng), questions])
            for learner in taught:
                if learner.joined_at < at and rng.random() < 0.75:
                    events += [(homework[-1], learner.id, *event) for event in _submission(at, questions, rng)]
    homework.sort(key=lambda row: row[0])
    numbers = {id(row): number for number, row in enumerate(homework, 1)}
    done = sorted((row for row in events if row[-1] < size.until), key=lambda row: row[-1])
    return (
        [[numbers[id(row)], *row[1:], row[0], row[0] + 5 * _DAY, row[0]] for row in homework],
        [[numbers[id(row[0])], *row[1:], row[-1]] for row in done],
    )


def title(skill: Skill, rng: random.Random) -> str:
    """Return what a homework is called."""
    return f"{skill.name}, sheet {rng.randint(1, 40)}"


def _submission(assigned: datetime, questions: int, rng: random.Random) -> Iterator[list[Any]]:
    """Yield what a learner does with a homework, and when: type, right answers, score, time."""
    at = assigned + _DAY * rng.uniform(0.05, 4.5)
    yield ["started", None, None, at]
    correct = 0
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at += timedelta(seconds=rng.randint(300, 3600))
        correct = min(questions, max(correct, rng.randint(questions // 3, questions)))
        yield ["submitted", correct, None, at]
    if rng.random() < 0.9:
        yield ["graded", None, curriculum.score(questions, correct), at + _DAY * rng.uniform(0.2, 3)]


def _numbered(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [[number, *row] for number, row in enumerate(rows, 1)]


def _time(day: datetime, rng: random.Random) -> datetime:
    hour = rng.choices(range(24), _HOURS)[0]
    return day + timedelta(hours=hour, milliseconds=rng.randrange(3_600_000))


def _seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)
