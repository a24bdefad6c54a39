"""Sessions of the learning platform: practised in, lost attention in, ended, brought by a tablet days later."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from starberg.samples.operational import curriculum, learning
from starberg.samples.operational.life import Kind
from starberg.samples.operational.work import KEEP, REMOVE, Row, Work

_OLTP = "oltp"
_RUNNING = "t.ended_at IS NULL"
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


KINDS = (
    Kind("session starts", _OLTP, 11, _start, may_stay_open=True),
    Kind("activity completed", _OLTP, 14, _practise),
    Kind("focus lost or regained", _OLTP, 9, _lose_focus, may_stay_open=True),
    Kind("session ends", _OLTP, 8, _end),
    Kind("offline session synced", _OLTP, 4, _sync, may_stay_open=True),
    Kind("session voided", _OLTP, 2, _void),
    Kind("answer regraded", _OLTP, 3, _regrade),
)
