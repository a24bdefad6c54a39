"""Homework of the learning platform: set, started, submitted, perhaps again, and graded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starberg.samples.operational import curriculum, learning
from starberg.samples.operational.life import Kind
from starberg.samples.operational.work import KEEP, REMOVE, Row, Work

_OLTP = "oltp"


def _set_homework(work: Work) -> bool:
    teacher = work.pick("users", KEEP, where="role = 'teacher' AND is_active")
    if teacher is None:
        return False
    skill, at = work.rng.choice(curriculum.skills()), work.now()
    work.insert(
        "homework",
        tenant_id=teacher["tenant_id"],
        teacher_id=teacher["user_id"],
        skill_id=skill.id,
        title=learning.title(skill, work.rng),
        questions=work.rng.randint(5, 12),
        assigned_at=at,
        due_at=at + timedelta(days=5),
        updated_at=at,
    )
    return True


def _do_homework(work: Work) -> bool:
    """Start a homework as one of the teacher's learners, or submit it, perhaps again."""
    homework = work.pick("homework", KEEP, newest=60)
    if homework is None:
        return False
    learners = work.rows(
        "SELECT learner_id FROM learners WHERE teacher_id = %s AND is_active AND created_at < %s "
        "ORDER BY learner_number FOR KEY SHARE SKIP LOCKED",
        [homework["teacher_id"], work.now()],
    )
    if not learners:
        return False
    learner = work.rng.choice(learners)
    did = [event["event_type"] for event in _submission(work, homework, learner)]
    if "graded" in did or did.count("submitted") > 2:
        return False
    correct = work.rng.randint(homework["questions"] // 3, homework["questions"]) if did else None
    _write(work, homework, learner, "submitted" if did else "started", answers_correct=correct)
    return True


def _grade(work: Work) -> bool:
    """Grade a submission by its last answers."""
    event = work.pick(
        "homework_events",
        where="event_type = 'submitted' AND NOT EXISTS (SELECT FROM homework_events g WHERE "
        "g.homework_id = t.homework_id AND g.learner_id = t.learner_id AND (g.event_id > t.event_id))",
        newest=2000,
    )
    if event is None:
        return False
    [homework] = work.rows("SELECT * FROM homework WHERE homework_id = %s", [event["homework_id"]])
    points = curriculum.score(homework["questions"], event["answers_correct"])
    _write(work, homework, event, "graded", score=points)
    return True


def _submission(work: Work, homework: Row, learner: Row) -> list[Row]:
    return work.rows(
        "SELECT * FROM homework_events WHERE homework_id = %s AND learner_id = %s ORDER BY event_id",
        [homework["homework_id"], learner["learner_id"]],
    )


def _write(work: Work, homework: Row, learner: Row, event: str, **values: Any) -> None:
    before = [row["occurred_at"] for row in _submission(work, homework, learner)]
    at = max([work.now(), homework["assigned_at"], *before])
    who = {"homework_id": homework["homework_id"], "learner_id": learner["learner_id"]}
    work.insert("homework_events", **who, event_type=event, occurred_at=at, updated_at=at, **values)


def _withdraw_homework(work: Work) -> bool:
    homework = work.pick(
        "homework",
        REMOVE,
        where="NOT EXISTS (SELECT FROM homework_events e WHERE e.homework_id = t.homework_id)",
        newest=60,
    )
    if homework is None:
        return False
    work.remove("homework", homework)
    return True


KINDS = (
    Kind("homework set", _OLTP, 3, _set_homework, may_stay_open=True),
    Kind("homework done", _OLTP, 11, _do_homework, may_stay_open=True),
    Kind("homework graded", _OLTP, 6, _grade),
    Kind("homework withdrawn", _OLTP, 1, _withdraw_homework),
)
