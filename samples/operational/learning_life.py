"""What happens on the learning platform all day: sessions, homework, recommendations, and schools that change."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from starberg.samples.operational import curriculum, learning, people
from starberg.samples.operational.life import Kind
from starberg.samples.operational.system import System
from starberg.samples.operational.work import KEEP, REMOVE, Row, Work

_OLTP = "oltp"
_RUNNING = "t.ended_at IS NULL"
_NEVER_CAME = " AND ".join(
    f"NOT EXISTS (SELECT FROM {table} s WHERE s.learner_id = t.learner_id)"
    for table in ("sessions", "mastery_changes", "homework_events", "recommendations")
)
_LONGEST_PAUSE = timedelta(minutes=20)
_LONGEST_SESSION = timedelta(hours=3)
_ACTIVITY = timedelta(minutes=4)


def _start(work: Work) -> bool:
    """Start a session of a learner who has none running."""
    learner = work.pick(
        "learners",
        KEEP,
        where="is_active AND NOT EXISTS "
        "(SELECT FROM sessions s WHERE s.learner_id = t.learner_id AND ended_at IS NULL)",
    )
    if learner is None:
        return False
    at = work.now()
    work.insert("sessions", **_session(work, learner, at), updated_at=at)
    return True


def _session(work: Work, learner: Row, at: datetime) -> dict[str, Any]:
    return {
        "session_id": learning.new_id(work.rng),
        "tenant_id": learner["tenant_id"],
        "learner_id": learner["learner_id"],
        "subject_id": work.rng.randint(1, len(curriculum.SUBJECTS)),
        "device": work.rng.choice(curriculum.DEVICES),
        "started_at": at,
        "activities_completed": 0,
        "responses": 0,
        "correct_responses": 0,
    }


def _practise(work: Work) -> bool:
    """Complete an activity of a running session."""
    session = work.pick("sessions", where=_RUNNING, newest=200)
    if session is None or (at := work.at(session)) > session["started_at"] + _LONGEST_SESSION:
        return False
    given, right = _learn(work, session, session["subject_id"], at, at)
    work.change(
        "sessions",
        session,
        activities_completed=session["activities_completed"] + 1,
        responses=session["responses"] + given,
        correct_responses=session["correct_responses"] + right,
    )
    return True


def _learn(work: Work, learner: Row, subject: int, at: datetime, written: datetime) -> tuple[int, int]:
    """Change how well a learner has a skill of a subject; return the responses and how many were right."""
    rows = work.rows("SELECT skill_id FROM skills WHERE subject_id = %s ORDER BY skill_id", [subject])
    skill = work.rng.choice(rows)["skill_id"]
    known = work.rows(
        "SELECT mastery FROM mastery_changes WHERE learner_id = %s AND skill_id = %s AND changed_at <= %s "
        "ORDER BY changed_at DESC, change_id DESC LIMIT 1",
        [learner["learner_id"], skill, at],
    )
    before = Decimal(known[0]["mastery"]) if known else learning.first_mastery(skill, work.rng)
    given, right = curriculum.answered(before, work.rng)
    work.insert(
        "mastery_changes",
        learner_id=learner["learner_id"],
        skill_id=skill,
        mastery=curriculum.practised(before, given, right),
        responses=given,
        correct_responses=right,
        changed_at=at,
        updated_at=written,
    )
    return given, right


def _lose_focus(work: Work) -> bool:
    session = work.pick("sessions", KEEP, where=_RUNNING, newest=200)
    if session is None:
        return False
    at = _last_moment(work, session)
    if at <= session["started_at"]:
        return False
    _focus(work, session["session_number"], session, at, work.now())
    return True


def _focus(work: Work, session: int, learner: Row, at: datetime, written: datetime) -> None:
    """Lose the learner's attention, or get it back if it was lost."""
    last = work.rows(
        "SELECT event_type, cause FROM focus_events WHERE session_number = %s ORDER BY event_id DESC LIMIT 1", [session]
    )
    lost = not last or last[0]["event_type"] == "regained"
    work.insert(
        "focus_events",
        session_number=session,
        learner_id=learner["learner_id"],
        event_type="lost" if lost else "regained",
        cause=work.rng.choice(curriculum.CAUSES) if lost else last[0]["cause"],
        occurred_at=at,
        updated_at=max(written, at),
    )


def _end(work: Work) -> bool:
    """End a session; one that was only left ends soon after the last thing that was done in it."""
    session = work.pick("sessions", where=_RUNNING, newest=200)
    if session is None:
        return False
    at = _last_moment(work, session)
    if at <= session["started_at"]:
        return False
    work.change("sessions", session, ended_at=at)
    return True


def _last_moment(work: Work, session: Row) -> datetime:
    """Return when a running session was last in use: now, unless it was left."""
    left: datetime = min(session["updated_at"] + _LONGEST_PAUSE, session["started_at"] + _LONGEST_SESSION)
    return min(work.at(session), left)


def _sync(work: Work) -> bool:
    """A tablet is online again: it brings a session of the last three days, with all that happened in it."""
    learner = work.pick("learners", KEEP, where="is_active")
    if learner is None:
        return False
    written = work.now()
    start = written - timedelta(seconds=work.rng.randint(6 * 3600, 3 * 86400))
    if start <= learner["created_at"]:
        return False
    session = _session(work, learner, start)
    at, focus = start, []
    for _ in range(work.rng.randint(1, 3)):
        at += _ACTIVITY
        given, right = _learn(work, learner, session["subject_id"], at, written)
        session["activities_completed"] += 1
        session["responses"] += given
        session["correct_responses"] += right
        focus.append(at - timedelta(seconds=work.rng.randint(1, 200)))
    key = work.insert("sessions", **session, ended_at=at + timedelta(seconds=20), updated_at=written)
    for moment in focus:
        _focus(work, key, learner, moment, written)
    return True


def _void(work: Work) -> bool:
    """Delete a session somebody else sat in, and its focus events; what was practised stands."""
    session = work.pick("sessions", REMOVE, where="t.ended_at IS NOT NULL", newest=500)
    if session is None:
        return False
    work.remove_all("focus_events", "session_number", session["session_number"])
    work.remove("sessions", session)
    return True


def _regrade(work: Work) -> bool:
    """Count an answer as right after all: the mastery of then was another."""
    change = work.pick("mastery_changes", where="correct_responses < responses", newest=2000)
    if change is None:
        return False
    better = min(Decimal(1), Decimal(change["mastery"]) + Decimal("0.0300"))
    work.change("mastery_changes", change, mastery=better, correct_responses=change["correct_responses"] + 1)
    return True


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
        Kind("session starts", _OLTP, 11, _start, may_stay_open=True),
        Kind("activity completed", _OLTP, 14, _practise),
        Kind("focus lost or regained", _OLTP, 9, _lose_focus, may_stay_open=True),
        Kind("session ends", _OLTP, 8, _end),
        Kind("offline session synced", _OLTP, 4, _sync, may_stay_open=True),
        Kind("session voided", _OLTP, 2, _void),
        Kind("answer regraded", _OLTP, 3, _regrade),
        Kind("homework set", _OLTP, 3, _set_homework, may_stay_open=True),
        Kind("homework done", _OLTP, 11, _do_homework, may_stay_open=True),
        Kind("homework graded", _OLTP, 6, _grade),
        Kind("homework withdrawn", _OLTP, 1, _withdraw_homework),
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
