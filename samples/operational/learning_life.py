"""What happens on the learning platform all day: sessions, homework, recommendations, and schools that change."""

from __future__ import annotations

from typing import Any

from starberg.samples.operational import curriculum, learning, learning_homework, learning_sessions, people
from starberg.samples.operational.life import Kind
from starberg.samples.operational.system import System
from starberg.samples.operational.work import KEEP, REMOVE, Work

_OLTP = "oltp"
_NEVER_CAME = " AND ".join(
    f"NOT EXISTS (SELECT FROM {table} s WHERE s.learner_id = t.learner_id)"
    for table in ("sessions", "mastery_changes", "homework_events", "recommendations")
)


def _recommend(work: Work) -> bool:
    learner = work.pick("learners", KEEP, where="is_active")
    if learner is None:
        return False
    at = work.now()
    work.insert(
        "recommendations",
        learner_id=learner["learner_id"],
        skill_id=work.rng.choice(curriculum.skills()).id,
        reason=work.rng.choice(curriculum.REASONS),
        shown_at=at,
        updated_at=at,
    )
    return True


def _answer(work: Work) -> bool:
    """Accept or dismiss a recommendation."""
    shown = work.pick("recommendations", where="accepted_at IS NULL AND dismissed_at IS NULL", newest=400)
    if shown is None or (at := work.at(shown)) <= shown["shown_at"]:
        return False
    work.change("recommendations", shown, **{work.rng.choice(("accepted_at", "accepted_at", "dismissed_at")): at})
    return True


def _take_back(work: Work) -> bool:
    """Delete a recommendation that should not have been shown."""
    shown = work.pick("recommendations", REMOVE, where="accepted_at IS NULL", newest=400)
    if shown is None:
        return False
    work.remove("recommendations", shown)
    return True


def _join(work: Work) -> bool:
    teacher = work.pick("users", KEEP, where="role = 'teacher' AND is_active")
    if teacher is None:
        return False
    first, last = people.name(work.rng)
    _insert_learner(
        work,
        learner_id=learning.new_id(work.rng),
        tenant_id=teacher["tenant_id"],
        teacher_id=teacher["user_id"],
        first_name=first,
        last_name=last,
        grade=work.rng.randint(1, 12),
    )
    return True


def _insert_learner(work: Work, **values: Any) -> None:
    at = work.now()
    work.insert("learners", **values, is_active=True, created_at=at, updated_at=at)


def _move_up(work: Work) -> bool:
    """Put a learner into another grade, with another teacher of the school."""
    learner = work.pick("learners")
    if learner is None:
        return False
    teachers = work.rows(
        "SELECT user_id FROM users WHERE tenant_id = %s AND role = 'teacher' ORDER BY user_id", [learner["tenant_id"]]
    )
    teacher = work.rng.choice(teachers)["user_id"]
    grade = learner["grade"] % 12 + 1 if work.rng.random() < 0.6 else learner["grade"]
    work.change("learners", learner, grade=grade, teacher_id=teacher)
    return True


def _rename(work: Work) -> bool:
    """Change one learner several times in one transaction: what was typed wrong is put right."""
    learner = work.pick("learners")
    if learner is None:
        return False
    for _ in range(work.rng.randint(1, 3)):
        work.change("learners", learner, last_name=people.name(work.rng)[1])
    return True


def _pause(work: Work) -> bool:
    learner = work.pick("learners")
    if learner is None:
        return False
    work.change("learners", learner, is_active=not learner["is_active"])
    return True


def _forget(work: Work) -> bool:
    """Delete a learner who asks for it and never did anything."""
    learner = work.pick("learners", REMOVE, where=_NEVER_CAME)
    if learner is None:
        return False
    work.remove("learners", learner)
    work.memory.forgotten.append(learner)
    return True


def _come_back(work: Work) -> bool:
    """Add a learner again, by the id they had before they asked to be forgotten."""
    if not work.memory.forgotten:
        return False
    learner = work.memory.forgotten.pop(0)
    kept = ("learner_id", "tenant_id", "teacher_id", "first_name", "last_name", "grade")
    _insert_learner(work, **{name: learner[name] for name in kept})
    return True


def _change_school(work: Work) -> bool:
    tenant = work.pick("tenants")
    if tenant is None:
        return False
    plan = work.rng.choice([plan for plan in curriculum.PLANS if plan != tenant["plan"]])
    change = work.rng.choice(({"plan": plan}, {"is_active": not tenant["is_active"]}, learning.school(work.rng)))
    work.change("tenants", tenant, **change)
    return True


def _change_user(work: Work) -> bool:
    user = work.pick("users")
    if user is None:
        return False
    work.change("users", user, **learning.profile(user["user_id"], work.rng))
    return True


def _revise_skill(work: Work) -> bool:
    skill = work.pick("skills")
    if skill is None:
        return False
    work.change("skills", skill, difficulty=skill["difficulty"] % 5 + 1)
    return True


LEARNING = System(
    databases={_OLTP: "learning.sql"},
    people=300,
    days=60,
    rows=learning.tables,
    kinds=(
        *learning_sessions.KINDS,
        *learning_homework.KINDS,
        Kind("recommendation shown", _OLTP, 5, _recommend, may_stay_open=True),
        Kind("recommendation answered", _OLTP, 5, _answer),
        Kind("recommendation taken back", _OLTP, 1, _take_back),
        Kind("learner joins", _OLTP, 4, _join, may_stay_open=True),
        Kind("learner moves up", _OLTP, 4, _move_up),
        Kind("learner renamed", _OLTP, 2, _rename),
        Kind("learner pauses or is back", _OLTP, 2, _pause),
        Kind("learner forgotten", _OLTP, 2, _forget),
        Kind("learner back", _OLTP, 2, _come_back),
        Kind("school changed", _OLTP, 1, _change_school),
        Kind("user changed", _OLTP, 2, _change_user),
        Kind("skill revised", _OLTP, 1, _revise_skill),
    ),
)
