"""Issues of the software house: opened, moved on, read from a client's tracker days later, estimated, analysed."""

from __future__ import annotations

from datetime import datetime, timedelta

from starberg.samples.operational import delivery
from starberg.samples.operational.life import Kind
from starberg.samples.operational.work import KEEP, REMOVE, Row, Work

_HOUSE = "operations"


def _open_issue(work: Work) -> bool:
    """Report an issue; its first status is recorded with it."""
    project = work.pick("projects", KEEP, where="status = 'active'")
    if project is None:
        return False
    kind, at = work.rng.choice(delivery.ISSUE_TYPES), work.now()
    points = work.rng.choice(delivery.POINTS) if work.rng.random() < 0.9 else None
    issue = work.insert(
        "issues",
        project_id=project["project_id"],
        reporter_id=member_of(work, project["project_id"]) or project["manager_id"],
        title=delivery.title(kind, work.rng),
        issue_type=kind,
        priority=work.rng.choice(delivery.PRIORITIES),
        status="open",
        story_points=points,
        due_on=at.date() + timedelta(days=work.rng.randint(3, 30)) if work.rng.random() < 0.7 else None,
        created_at=at,
        updated_at=at,
    )
    _record(work, issue, "open", points, at, at)
    return True


def member_of(work: Work, project: int) -> int | None:
    """Return somebody who works on a project."""
    found = work.rows("SELECT user_id FROM project_members WHERE project_id = %s ORDER BY user_id", [project])
    return int(work.rng.choice(found)["user_id"]) if found else None


def _record(work: Work, issue: int, status: str, points: int | None, at: datetime, written: datetime) -> None:
    work.insert(
        "issue_status_history", issue_id=issue, status=status, story_points=points, changed_at=at, updated_at=written
    )


def _move(work: Work) -> bool:
    """Let an issue go one step on."""
    issue = work.pick("issues", where="status NOT IN ('done', 'cancelled')")
    if issue is None:
        return False
    _step(work, issue)
    return True


def _rush(work: Work) -> bool:
    """Let an issue go several steps in one transaction."""
    issue = work.pick("issues", where="status NOT IN ('done', 'cancelled')")
    if issue is None:
        return False
    for _ in range(work.rng.randint(2, 3)):
        issue["status"] = _step(work, issue)
        issue["updated_at"] = work.at(issue)
    return True


def _reopen(work: Work) -> bool:
    issue = work.pick("issues", where="status IN ('done', 'cancelled')", newest=400)
    if issue is None:
        return False
    _step(work, issue)
    return True


def _step(work: Work, issue: Row) -> str:
    status, at = delivery.next_status(issue["status"], work.rng), work.at(issue)
    assignee = issue["assignee_id"] or member_of(work, issue["project_id"])
    work.change("issues", issue, status=status, assignee_id=assignee)
    _record(work, issue["issue_id"], status, issue["story_points"], at, at)
    return status


def _import(work: Work) -> bool:
    """Read the client's tracker: the last steps of an issue were taken there, up to four days ago."""
    issue = work.pick(
        "issues",
        where="status NOT IN ('done', 'cancelled') AND EXISTS (SELECT FROM issue_status_history h "
        "WHERE h.issue_id = t.issue_id HAVING max(h.changed_at) = max(h.updated_at))",
    )
    if issue is None:
        return False
    [last] = work.rows(
        "SELECT max(changed_at) AS at FROM issue_status_history WHERE issue_id = %s", [issue["issue_id"]]
    )
    written = work.now()
    earliest = max(last["at"], written - timedelta(days=4))
    if written - earliest < timedelta(hours=12):
        return False
    status, at = issue["status"], earliest
    for _ in range(work.rng.randint(1, 2)):
        at += (written - at) * work.rng.uniform(0.1, 0.6)
        status = delivery.next_status(status, work.rng)
        _record(work, issue["issue_id"], status, issue["story_points"], at, written)
    work.change("issues", issue, status=status)
    return True


def _estimate(work: Work) -> bool:
    """Change the points of an issue, which is recorded with its status."""
    issue = work.pick("issues", where="status NOT IN ('done', 'cancelled')")
    if issue is None:
        return False
    points, at = work.rng.choice(delivery.POINTS), work.at(issue)
    work.change("issues", issue, story_points=points)
    _record(work, issue["issue_id"], issue["status"], points, at, at)
    return True


def _plan(work: Work) -> bool:
    """Change an issue's priority, its date or who does it."""
    issue = work.pick("issues", where="status NOT IN ('done', 'cancelled')")
    if issue is None:
        return False
    due = work.now().date() + timedelta(days=work.rng.randint(2, 20))
    someone = member_of(work, issue["project_id"])
    changes = ({"priority": work.rng.choice(delivery.PRIORITIES)}, {"due_on": due}, {"assignee_id": someone})
    work.change("issues", issue, **work.rng.choice(changes))
    return True


def _delete_issue(work: Work) -> bool:
    """Delete an issue that was none, with all that hangs on it."""
    issue = work.pick("issues", REMOVE, newest=150)
    if issue is None:
        return False
    for table in ("issue_reviews", "issue_analytics", "issue_status_history"):
        work.remove_all(table, "issue_id", issue["issue_id"])
    work.remove("issues", issue)
    return True


def _analyse(work: Work) -> bool:
    """Look at an issue's text, or look again."""
    if work.rng.random() < 0.2 and (known := work.pick("issue_analytics", newest=300)):
        there = work.rows("SELECT * FROM issues WHERE issue_id = %s FOR NO KEY UPDATE SKIP LOCKED", [known["issue_id"]])
        for held in there:
            found = delivery.analysis(held["issue_type"], work.rng)
            work.change("issue_analytics", known, **found)
            work.change("issues", held, **found)
        return bool(there)
    issue = work.pick(
        "issues",
        where="NOT EXISTS (SELECT FROM issue_analytics a WHERE a.issue_id = t.issue_id)",
        newest=200,
    )
    if issue is None:
        return False
    if work.rows("SELECT 1 FROM issue_analytics WHERE issue_id = %s", [issue["issue_id"]]):
        return False  # another session was faster
    at, found = work.now(), delivery.analysis(issue["issue_type"], work.rng)
    work.change("issues", issue, **found)
    work.insert("issue_analytics", issue_id=issue["issue_id"], **found, processed_at=at, updated_at=at)
    return True


KINDS = (
    Kind("issue opened", _HOUSE, 9, _open_issue, may_stay_open=True),
    Kind("issue moved", _HOUSE, 18, _move),
    Kind("issue moved several steps", _HOUSE, 3, _rush),
    Kind("issue opened again", _HOUSE, 1, _reopen),
    Kind("client's tracker read", _HOUSE, 5, _import),
    Kind("issue estimated", _HOUSE, 4, _estimate),
    Kind("issue planned", _HOUSE, 5, _plan),
    Kind("issue deleted", _HOUSE, 2, _delete_issue),
    Kind("issue analysed", _HOUSE, 8, _analyse),
)
