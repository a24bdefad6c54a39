"""What happens in the software house all day: issues move on, reviews are done, services run, money is spent."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from starberg.samples.operational import delivery, people, projects, projects_issues, projects_reviews
from starberg.samples.operational.life import Kind
from starberg.samples.operational.projects_issues import member_of
from starberg.samples.operational.system import System
from starberg.samples.operational.work import CHANGE, KEEP, REMOVE, Work

_HOUSE = "operations"
_LIVE = "status IN ('active', 'on hold')"


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
    user = member_of(work, project["project_id"]) if category != "licences" else None
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
    manager = member_of(work, project["project_id"]) or project["manager_id"]
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
        budget=delivery.budget(work.rng),
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
        *projects_issues.KINDS,
        *projects_reviews.KINDS,
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
