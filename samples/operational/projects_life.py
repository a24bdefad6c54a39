"""What happens in the software house all day: issues move on, reviews are done, services run, money is spent."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

from starberg.samples.operational import delivery, people, projects
from starberg.samples.operational.life import Kind
from starberg.samples.operational.system import System
from starberg.samples.operational.work import CHANGE, KEEP, REMOVE, Row, Work

_HOUSE = "operations"
_LIVE = "status IN ('active', 'on hold')"


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
        reporter_id=_member(work, project["project_id"]) or project["manager_id"],
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


def _member(work: Work, project: int) -> int | None:
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
    assignee = issue["assignee_id"] or _member(work, issue["project_id"])
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
    someone = _member(work, issue["project_id"])
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


def _plan_cycle(work: Work) -> bool:
    project = work.pick("projects", KEEP, where=_LIVE)
    if project is None:
        return False
    at = work.now()
    planned = at.date() + timedelta(days=work.rng.randint(1, 10))
    work.insert(
        "review_cycles",
        project_id=project["project_id"],
        lead_id=_member(work, project["project_id"]) or project["manager_id"],
        name=f"Review of {planned:%B}",
        planned_on=planned,
        due_on=planned + timedelta(days=work.rng.randint(7, 12)),
        created_at=at,
        updated_at=at,
    )
    return True


def _start_cycle(work: Work) -> bool:
    """Start a cycle: its reviews are opened, on some issues each."""
    cycle = work.pick("review_cycles", where="started_at IS NULL", newest=60)
    if cycle is None:
        return False
    at, project = work.at(cycle), cycle["project_id"]
    reviewers = work.rows("SELECT user_id FROM project_members WHERE project_id = %s ORDER BY user_id", [project])
    if not reviewers:
        return False
    work.change("review_cycles", cycle, started_at=at)
    for reviewer in work.rng.sample(reviewers, min(len(reviewers), work.rng.randint(1, 3))):
        review = work.insert(
            "reviews",
            cycle_id=cycle["cycle_id"],
            reviewer_id=reviewer["user_id"],
            findings=0,
            opened_at=at,
            updated_at=at,
        )
        _link_issues(work, review, project)
    return True


def _link_issues(work: Work, review: int, project: int) -> None:
    issues = work.rows(
        "SELECT issue_id FROM issues WHERE project_id = %s ORDER BY issue_id DESC LIMIT 12 FOR KEY SHARE SKIP LOCKED",
        [project],
    )
    for issue in work.rng.sample(issues, min(len(issues), work.rng.randint(0, 4))):
        work.insert("issue_reviews", issue_id=issue["issue_id"], review_id=review, updated_at=work.now())


def _review(work: Work) -> bool:
    """Complete a review; if it was the last one of its cycle, that is noted."""
    cycle = work.pick("review_cycles", where="started_at IS NOT NULL AND reviewed_at IS NULL")
    if cycle is None:
        return False
    reviews = work.rows(
        "SELECT * FROM reviews WHERE cycle_id = %s AND completed_at IS NULL ORDER BY review_id", [cycle["cycle_id"]]
    )
    if reviews:
        review = reviews[0]
        at = max(work.at(review), review["opened_at"] + timedelta(milliseconds=1))
        outcome = work.rng.choice(delivery.OUTCOMES)
        work.change("reviews", review, completed_at=at, outcome=outcome, findings=work.rng.randint(0, 9))
    if len(reviews) < 2:
        work.change("review_cycles", cycle, reviewed_at=work.at(cycle))
    return True


def _finish_cycle(work: Work) -> bool:
    cycle = work.pick("review_cycles", where="reviewed_at IS NOT NULL AND finished_at IS NULL")
    if cycle is None:
        return False
    work.change("review_cycles", cycle, finished_at=work.at(cycle))
    return True


def _unlink(work: Work) -> bool:
    link = work.pick("issue_reviews", REMOVE, newest=200)
    if link is None:
        return False
    work.remove("issue_reviews", link)
    return True


def _measure(work: Work) -> bool:
    """Write down what was measured yesterday of a service, if that was not done yet."""
    day = work.now().date() - timedelta(days=1)
    service = work.pick("services", CHANGE)  # held: nobody else writes it down
    if service is None or _measured(work, service["service_id"], day):
        return False
    found = delivery.measured(service["service_id"], day.weekday(), work.rng)
    work.insert("service_metrics", service_id=service["service_id"], measured_on=day, **found, updated_at=work.now())
    return True


def _measured(work: Work, service: int, day: date) -> bool:
    known = work.rows("SELECT 1 FROM service_metrics WHERE service_id = %s AND measured_on = %s", [service, day])
    return bool(known)


def _correct_metric(work: Work) -> bool:
    """Correct what was measured: an outage was not seen, or is found to have been longer."""
    metric = work.pick("service_metrics", newest=600)
    if metric is None:
        return False
    down = min(1440, metric["downtime_minutes"] + work.rng.randint(2, 40))
    work.change("service_metrics", metric, downtime_minutes=down, incidents=max(1, metric["incidents"]))
    return True


def _spend(work: Work) -> bool:
    """Book what a project cost, today or some days late."""
    project = work.pick("projects", KEEP, where=_LIVE)
    if project is None:
        return False
    category, at = work.rng.choice(delivery.CATEGORIES_OF_COST), work.now()
    user = _member(work, project["project_id"]) if category != "licences" else None
    work.insert(
        "expenses",
        project_id=project["project_id"],
        user_id=user,
        category=category,
        amount=delivery.cost(category, work.rng),
        spent_on=at.date() - timedelta(days=work.rng.choice((0, 0, 0, 1, 3, 9))),
        updated_at=at,
    )
    return True


def _correct_expense(work: Work) -> bool:
    expense = work.pick("expenses", newest=300)
    if expense is None:
        return False
    work.change("expenses", expense, amount=delivery.cost(expense["category"], work.rng))
    return True


def _cancel_expense(work: Work) -> bool:
    expense = work.pick("expenses", REMOVE, newest=300)
    if expense is None:
        return False
    work.remove("expenses", expense)
    return True


def _change_project(work: Work) -> bool:
    """Give a project more money, more time, another manager or another status."""
    project = work.pick("projects", where=_LIVE)
    if project is None:
        return False
    status = "on hold" if project["status"] == "active" else "active"
    manager = _member(work, project["project_id"]) or project["manager_id"]
    changes = (
        {"budget": Decimal(project["budget"]) + 5000},
        {"ends_on": project["ends_on"] + timedelta(days=14)},
        {"manager_id": manager},
        {"status": status},
    )
    work.change("projects", project, **work.rng.choice(changes))
    return True


def _start_project(work: Work) -> bool:
    """Win a project, with a manager and one more member, on a service that is there."""
    client, manager = work.pick("clients", KEEP), work.pick("users", KEEP, where="is_active")
    service = work.pick("services", KEEP)
    if client is None or manager is None or service is None:
        return False
    at = work.now()
    project = work.insert(
        "projects",
        client_id=client["client_id"],
        type_id=work.rng.randint(1, len(delivery.TYPES)),
        manager_id=manager["user_id"],
        name=f"{work.rng.choice(delivery.AREAS)} {at:%j}",
        status="active",
        budget=Decimal(work.rng.randrange(40, 400) * 1000),
        starts_on=at.date(),
        ends_on=at.date() + timedelta(days=work.rng.randint(60, 300)),
        created_at=at,
        updated_at=at,
    )
    _add_member(work, project, manager["user_id"])
    work.insert("project_services", project_id=project, service_id=service["service_id"], updated_at=at)
    return True


def _add_member(work: Work, project: int, user: int) -> None:
    work.insert(
        "project_members",
        project_id=project,
        user_id=user,
        role=work.rng.choice(delivery.ROLES),
        allocation=work.rng.choice((10, 20, 25, 50, 100)),
        updated_at=work.now(),
    )


def _join_project(work: Work) -> bool:
    project, user = work.pick("projects", where=_LIVE), work.pick("users", KEEP, where="is_active")
    if project is None or user is None:
        return False
    pair = [project["project_id"], user["user_id"]]
    if work.rows("SELECT 1 FROM project_members WHERE project_id = %s AND user_id = %s", pair):
        return False
    _add_member(work, *pair)
    return True


def _reallocate(work: Work) -> bool:
    member = work.pick("project_members")
    if member is None:
        return False
    work.change("project_members", member, allocation=work.rng.choice((10, 20, 25, 50, 100)))
    return True


def _leave_project(work: Work) -> bool:
    """Leave a project that others still work on."""
    member = work.pick(
        "project_members",
        REMOVE,
        where="(SELECT count(*) FROM project_members m WHERE m.project_id = t.project_id) > 2",
    )
    if member is None:
        return False
    work.remove("project_members", member)
    return True


def _change_service_link(work: Work) -> bool:
    """Let a project use one more service, or one less."""
    project, service = work.pick("projects", where=_LIVE), work.pick("services", KEEP)
    if project is None or service is None:
        return False
    pair = [project["project_id"], service["service_id"]]
    links = work.rows("SELECT * FROM project_services WHERE project_id = %s AND service_id = %s", pair)
    if links:
        work.remove("project_services", links[0])
    else:
        work.insert("project_services", project_id=pair[0], service_id=pair[1], updated_at=work.now())
    return True


def _change_service(work: Work) -> bool:
    service, owner = work.pick("services"), work.pick("users", KEEP, where="is_active")
    if service is None or owner is None:
        return False
    other = work.rng.choice([name for name in delivery.CRITICALITIES if name != service["criticality"]])
    work.change("services", service, **work.rng.choice(({"criticality": other}, {"owner_id": owner["user_id"]})))
    return True


def _hire(work: Work) -> bool:
    user, at = work.next_key("users"), work.now()
    who = projects.person(user, work.rng)
    work.insert("users", user_id=user, **who, is_active=True, created_at=at, updated_at=at)
    return True


def _promote(work: Work) -> bool:
    """Change what somebody costs and does; in one transaction, twice."""
    user = work.pick("users")
    if user is None:
        return False
    work.change("users", user, hourly_rate=Decimal(user["hourly_rate"]) + 5)
    work.change("users", user, role=work.rng.choice(delivery.ROLES), is_active=work.rng.random() < 0.95)
    return True


def _win_client(work: Work) -> bool:
    at = work.now()
    work.insert("clients", **projects.client(work.rng), created_at=at, updated_at=at)
    return True


def _change_client(work: Work) -> bool:
    client = work.pick("clients")
    if client is None:
        return False
    tier = work.rng.choice([tier for tier in ("standard", "plus", "key") if tier != client["tier"]])
    country = people.untidy(people.country(work.rng).name, work.rng)
    work.change("clients", client, **work.rng.choice(({"tier": tier}, {"country": country})))
    return True


def _forget_client(work: Work) -> bool:
    """Delete a client who never had a project; sometimes they come back by their number."""
    client = work.pick("clients", REMOVE, where="NOT EXISTS (SELECT FROM projects p WHERE p.client_id = t.client_id)")
    if client is None:
        return False
    work.remove("clients", client)
    work.memory.forgotten.append(client)
    return True


def _client_back(work: Work) -> bool:
    if not work.memory.forgotten:
        return False
    at, client = work.now(), work.memory.forgotten.pop(0)
    work.insert("clients", **{**client, "created_at": at, "updated_at": at})
    return True


PROJECTS = System(
    databases={_HOUSE: "projects.sql"},
    people=60,
    days=90,
    rows=projects.tables,
    kinds=(
        Kind("issue opened", _HOUSE, 9, _open_issue, may_stay_open=True),
        Kind("issue moved", _HOUSE, 18, _move),
        Kind("issue moved several steps", _HOUSE, 3, _rush),
        Kind("issue opened again", _HOUSE, 1, _reopen),
        Kind("client's tracker read", _HOUSE, 5, _import),
        Kind("issue estimated", _HOUSE, 4, _estimate),
        Kind("issue planned", _HOUSE, 5, _plan),
        Kind("issue deleted", _HOUSE, 2, _delete_issue),
        Kind("issue analysed", _HOUSE, 8, _analyse),
        Kind("review cycle planned", _HOUSE, 2, _plan_cycle, may_stay_open=True),
        Kind("review cycle started", _HOUSE, 3, _start_cycle),
        Kind("review completed", _HOUSE, 5, _review),
        Kind("review cycle finished", _HOUSE, 2, _finish_cycle),
        Kind("issue taken off a review", _HOUSE, 1, _unlink),
        Kind("service measured", _HOUSE, 7, _measure),
        Kind("measurement corrected", _HOUSE, 2, _correct_metric),
        Kind("money spent", _HOUSE, 9, _spend, may_stay_open=True),
        Kind("expense corrected", _HOUSE, 2, _correct_expense),
        Kind("expense cancelled", _HOUSE, 1, _cancel_expense),
        Kind("project changed", _HOUSE, 2, _change_project),
        Kind("project started", _HOUSE, 1, _start_project),
        Kind("member joins", _HOUSE, 2, _join_project),
        Kind("member's part changed", _HOUSE, 2, _reallocate),
        Kind("member leaves", _HOUSE, 1, _leave_project),
        Kind("service of a project", _HOUSE, 2, _change_service_link),
        Kind("service changed", _HOUSE, 1, _change_service),
        Kind("somebody hired", _HOUSE, 1, _hire),
        Kind("somebody promoted", _HOUSE, 2, _promote),
        Kind("client won", _HOUSE, 1, _win_client),
        Kind("client changed", _HOUSE, 2, _change_client),
        Kind("client forgotten", _HOUSE, 1, _forget_client),
        Kind("client back", _HOUSE, 1, _client_back),
    ),
)
