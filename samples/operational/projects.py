"""The software house's past: projects with budgets, issues on their way, review cycles, services measured every day."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from starberg.samples.operational import delivery, people
from starberg.samples.operational.system import Size
from starberg.samples.operational.tables import Table

_STAMPS = ("created_at", "updated_at")
CLIENT = ["client_id", "name", "country", "industry", "tier", *_STAMPS]
TYPE = ["type_id", "name", "is_billable", *_STAMPS]
USER = ["user_id", "first_name", "last_name", "email", "role", "hourly_rate", "is_active", *_STAMPS]
SERVICE = ["service_id", "name", "criticality", "owner_id", *_STAMPS]
PROJECT = [
    *("project_id", "client_id", "type_id", "manager_id", "name", "status", "budget", "starts_on", "ends_on"),
    *_STAMPS,
]
MEMBER = ["member_id", "project_id", "user_id", "role", "allocation", "updated_at"]
SERVICE_LINK = ["link_id", "project_id", "service_id", "updated_at"]
ISSUE = [
    *("issue_id", "project_id", "reporter_id", "assignee_id", "title", "issue_type", "priority", "status"),
    *("story_points", "due_on", "category", "sentiment", "root_cause", *_STAMPS),
]
HISTORY = ["change_id", "issue_id", "status", "story_points", "changed_by", "changed_at", "updated_at"]
ANALYSIS = ["analysis_id", "issue_id", "category", "sentiment", "root_cause", "processed_at", "updated_at"]
CYCLE = [
    *("cycle_id", "project_id", "lead_id", "name", "planned_on", "due_on", "started_at", "reviewed_at", "finished_at"),
    *_STAMPS,
]
REVIEW = ["review_id", "cycle_id", "reviewer_id", "outcome", "findings", "opened_at", "completed_at", "updated_at"]
REVIEW_LINK = ["link_id", "issue_id", "review_id", "updated_at"]
METRIC = ["metric_id", "service_id", "measured_on", "requests", "downtime_minutes", "incidents", "updated_at"]
EXPENSE = ["expense_id", "project_id", "user_id", "category", "amount", "spent_on", "updated_at"]

_DAY = timedelta(days=1)
_ISSUES_PER_PROJECT_AND_DAY = 0.6
_STEP_DAYS = 3.5
_CYCLE_DAYS = 21
_HOURS = (0, 0, 0, 0, 0, 0, 1, 4, 9, 12, 12, 11, 7, 10, 11, 10, 8, 4, 2, 1, 0, 0, 0, 0)


def tables(size: Size) -> Mapping[str, Sequence[Table]]:
    """Return the house's tables; what happens has keys in the order of its time."""
    rng = people.stream(size.seed, "house")
    first_day = size.until - size.days * _DAY
    users = [_user(number, first_day, rng) for number in range(1, size.people + 1)]
    clients = [_client(number, first_day, rng) for number in range(1, max(2, size.people // 6) + 1)]
    types = [[number, *kind, *_stamps(first_day, rng)] for number, kind in enumerate(delivery.TYPES, 1)]
    services = [_service(number, users, first_day, rng) for number in range(1, max(2, size.people // 5) + 1)]
    projects = [_project(number, clients, users, size, rng) for number in range(1, max(2, size.people // 4) + 1)]
    members = _members(projects, users, rng)
    issues, history = _issues(projects, members, size)
    analytics = _analytics(issues, size)
    cycles, reviews = _cycles(projects, members, size)
    return {
        "operations": [
            Table("clients", CLIENT, clients),
            Table("project_types", TYPE, types),
            Table("users", USER, users),
            Table("services", SERVICE, services),
            Table("projects", PROJECT, projects),
            Table("project_members", MEMBER, members),
            Table("project_services", SERVICE_LINK, _service_links(projects, services, rng)),
            Table("issues", ISSUE, issues),
            Table("issue_status_history", HISTORY, history),
            Table("issue_analytics", ANALYSIS, analytics),
            Table("review_cycles", CYCLE, cycles),
            Table("reviews", REVIEW, reviews),
            Table("issue_reviews", REVIEW_LINK, _review_links(issues, reviews, cycles, rng)),
            Table("service_metrics", METRIC, _metrics(services, size)),
            Table("expenses", EXPENSE, _expenses(projects, members, size)),
        ]
    }


def person(number: int, rng: random.Random) -> dict[str, Any]:
    """Return who somebody is, and what they cost an hour, by column."""
    first, last = people.name(rng)
    rate = Decimal(rng.randrange(5500, 16000, 500)).scaleb(-2)
    mail = people.email(first, last, number, rng)
    return {
        "first_name": first,
        "last_name": last,
        "email": mail,
        "role": rng.choice(delivery.ROLES),
        "hourly_rate": rate,
    }


def client(rng: random.Random) -> dict[str, str]:
    """Return what a client says of itself, by column."""
    home = people.country(rng)
    name = people.untidy(f"{rng.choice(home.cities)} {rng.choice(delivery.AREAS)} Group", rng)
    industry = people.untidy(rng.choice(delivery.INDUSTRIES), rng)
    return {
        "name": name,
        "country": people.untidy(home.name, rng),
        "industry": industry,
        "tier": rng.choice(delivery.TIERS),
    }


def _stamps(first_day: datetime, rng: random.Random) -> tuple[datetime, datetime]:
    born = _seconds(first_day - _DAY * rng.uniform(40, 900))
    return born, _seconds(born + (first_day - born) * rng.random()) if rng.random() < 0.3 else born


def _user(number: int, first_day: datetime, rng: random.Random) -> list[Any]:
    return [number, *person(number, rng).values(), rng.random() > 0.05, *_stamps(first_day, rng)]


def _client(number: int, first_day: datetime, rng: random.Random) -> list[Any]:
    return [number, *client(rng).values(), *_stamps(first_day, rng)]


def _service(number: int, users: Sequence[Sequence[Any]], first_day: datetime, rng: random.Random) -> list[Any]:
    name = f"{rng.choice(delivery.AREAS)} {rng.choice(delivery.PARTS)} {number}"
    return [number, name, rng.choice(delivery.CRITICALITIES), rng.choice(users)[0], *_stamps(first_day, rng)]


def _project(
    number: int, clients: Sequence[Sequence[Any]], users: Sequence[Sequence[Any]], size: Size, rng: random.Random
) -> list[Any]:
    """Return a project: most of them began before the first day and go on after the last one."""
    begin = size.until - _DAY * rng.uniform(size.days * 0.2 + 1, size.days + 60)
    born = _seconds(begin - _DAY * rng.uniform(1, 20))
    ends = begin + _DAY * rng.uniform(size.days * 0.5 + 20, size.days + 200)
    status = "finished" if ends < size.until else rng.choices(("active", "on hold"), (9, 1))[0]
    changed = _seconds(min(ends, size.until - _DAY * rng.random())) if status != "active" else born
    who = [rng.choice(clients)[0], rng.randint(1, len(delivery.TYPES)), rng.choice(users)[0]]
    name, budget = f"{rng.choice(delivery.AREAS)} {number}", delivery.budget(rng)
    return [number, *who, name, status, budget, begin.date(), ends.date(), born, max(born, changed)]


def _members(projects: Sequence[Sequence[Any]], users: Sequence[Sequence[Any]], rng: random.Random) -> list[list[Any]]:
    members: list[list[Any]] = []
    for project in projects:
        for user in sorted(rng.sample(range(1, len(users) + 1), min(len(users), rng.randint(2, 6)))):
            role, part = rng.choice(delivery.ROLES), rng.choice((10, 20, 20, 25, 50, 100))
            members.append([len(members) + 1, project[0], user, role, part, project[-2]])
    return members


def _service_links(
    projects: Sequence[Sequence[Any]], services: Sequence[Sequence[Any]], rng: random.Random
) -> list[list[Any]]:
    links: list[list[Any]] = []
    for project in projects:
        for service in sorted(rng.sample(range(1, len(services) + 1), min(len(services), rng.randint(1, 3)))):
            links.append([len(links) + 1, project[0], service, project[-2]])
    return links


def _issues(
    projects: Sequence[Sequence[Any]], members: Sequence[Sequence[Any]], size: Size
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the issues, each as it is at the end, and every status they had."""
    rng = people.stream(size.seed, "issues")
    first_day, team = size.until - size.days * _DAY, _teams(members)
    born = []
    for number in range(size.days):
        day = first_day + number * _DAY
        for project in projects:
            share = _ISSUES_PER_PROJECT_AND_DAY * (0.1 if day.weekday() >= 5 else 1.3)
            if project[7] <= day.date() < project[8]:
                born += [(_time(day, rng), project[0]) for _ in range(3) if rng.random() < share / 3]
    issues: list[list[Any]] = []
    history: list[list[Any]] = []
    for number, (at, project) in enumerate(sorted(born), 1):
        kind = rng.choice(delivery.ISSUE_TYPES)
        steps = _steps(at, size.until, rng)
        points = rng.choice(delivery.POINTS) if rng.random() < 0.9 else None
        who = [rng.choice(team[project]), rng.choice(team[project]) if len(steps) > 1 else None]
        due = at.date() + _DAY * rng.randint(3, 30) if rng.random() < 0.7 else None
        what = [
            delivery.title(kind, rng),
            kind,
            rng.choice(delivery.PRIORITIES),
            steps[-1][0],
            points,
            due,
            *[None] * 3,
        ]
        issues.append([number, project, *who, *what, at, steps[-1][1]])
        history += [[number, status, points, rng.choice(team[project]), when, when] for status, when in steps]
    history.sort(key=lambda row: (row[-1], row[0]))
    return issues, _numbered(history)


def _steps(at: datetime, until: datetime, rng: random.Random) -> list[tuple[str, datetime]]:
    """Return the statuses of an issue and when it got them, up to `until`; few are opened again."""
    steps = [("open", at)]
    while steps[-1][0] not in delivery.CLOSED or rng.random() < 0.06:
        at += _DAY * rng.expovariate(1 / _STEP_DAYS) + timedelta(minutes=1)
        if at >= until:
            break
        steps.append((delivery.next_status(steps[-1][0], rng), at))
    return steps


def _analytics(issues: Sequence[list[Any]], size: Size) -> list[list[Any]]:
    """Return what is found in most issues' texts, and copy it to them."""
    rng = people.stream(size.seed, "analytics")
    done = [(issue[-2] + _DAY * rng.uniform(0.01, 2), issue) for issue in issues if rng.random() < 0.85]
    found = sorted(((at, issue[0], issue[5]) for at, issue in done if at < size.until))
    rows = [[issue, *delivery.analysis(kind, rng).values(), at, at] for at, issue, kind in found]
    for issue, *result, at, _ in rows:
        of = issues[issue - 1]
        of[10:13], of[-1] = result, max(of[-1], at)
    return _numbered(rows)


def _cycles(
    projects: Sequence[Sequence[Any]], members: Sequence[Sequence[Any]], size: Size
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the review cycles of each project, one after the other, and their reviews."""
    rng = people.stream(size.seed, "reviews")
    team, cycles, reviews = _teams(members), [], []
    for project in projects:
        planned, number = max(project[7], (size.until - (size.days + 5) * _DAY).date()) + 5 * _DAY, 1
        while planned < min(project[8], (size.until + 20 * _DAY).date()):
            created = min(_at(planned, rng) - 14 * _DAY, size.until - timedelta(minutes=rng.randint(1, 600)))
            cycles.append(_cycle(project[0], number, planned, max(created, project[-2]), team[project[0]], rng))
            planned, number = planned + _CYCLE_DAYS * _DAY, number + 1
    cycles.sort(key=lambda row: row[-2])
    for number, cycle in enumerate(cycles, 1):
        reviews += _review_cycle(number, cycle, team[cycle[0]], size.until, rng)
    reviews.sort(key=lambda row: row[4])
    return _numbered(cycles), _numbered(reviews)


def _cycle(
    project: int, number: int, planned: date, created: datetime, team: Sequence[int], rng: random.Random
) -> list[Any]:
    due = planned + rng.randint(7, 12) * _DAY
    return [project, rng.choice(team), f"Review {number}", planned, due, None, None, None, created, created]


def _review_cycle(
    number: int, cycle: list[Any], team: Sequence[int], until: datetime, rng: random.Random
) -> list[list[Any]]:
    """Let a cycle go on up to `until`, in place; return its reviews."""
    started = _at(cycle[3], rng) + _DAY * rng.choice((0, 0, 0, 1, 2, 5))
    if started >= until or started <= cycle[-2]:
        return []
    reviews: list[list[Any]] = []
    for reviewer in rng.sample(list(team), min(len(team), rng.randint(1, 3))):
        opened = started + timedelta(minutes=rng.randint(1, 2000))
        ended = opened + _DAY * rng.uniform(0.5, 7)
        if opened < until:
            done = ended < until
            outcome = rng.choice(delivery.OUTCOMES) if done else None
            findings = rng.randint(0, 9) if done else 0
            stamps = [opened, ended if done else None, ended if done else opened]
            reviews.append([number, reviewer, outcome, findings, *stamps])
    reviewed = max((row[-1] for row in reviews), default=started) + timedelta(minutes=5)
    all_done = bool(reviews) and all(row[-2] for row in reviews) and reviewed < until
    finished = reviewed + _DAY * rng.uniform(0.1, 4)
    cycle[5], cycle[6] = started, reviewed if all_done else None
    cycle[7] = finished if all_done and finished < until else None
    cycle[-1] = max(at for at in (cycle[-1], *cycle[5:8]) if at)
    return reviews


def _review_links(
    issues: Sequence[Sequence[Any]],
    reviews: Sequence[Sequence[Any]],
    cycles: Sequence[Sequence[Any]],
    rng: random.Random,
) -> list[list[Any]]:
    """Link each review with some issues of its project that were there when it opened."""
    links: list[list[Any]] = []
    for review in reviews:
        project = cycles[review[1] - 1][1]
        there = [issue[0] for issue in issues if issue[1] == project and issue[-2] < review[5]][-15:]
        links += [
            [issue, review[0], review[5]] for issue in sorted(rng.sample(there, min(len(there), rng.randint(0, 4))))
        ]
    return _numbered(links)


def _metrics(services: Sequence[Sequence[Any]], size: Size) -> list[list[Any]]:
    """Return what was measured, written down in the first hour of the next day."""
    rng = people.stream(size.seed, "metrics")
    rows = []
    for back in range(size.days, 1, -1):
        day = size.until - back * _DAY
        for service in services:
            found = delivery.measured(service[0], day.weekday(), rng).values()
            rows.append([service[0], day.date(), *found, day + _DAY + timedelta(minutes=service[0] % 60)])
    return _numbered(rows)


def _expenses(projects: Sequence[Sequence[Any]], members: Sequence[Sequence[Any]], size: Size) -> list[list[Any]]:
    """Return what projects cost, in the order it was booked: up to ten days late."""
    rng = people.stream(size.seed, "expenses")
    team, rows = _teams(members), []
    for number in range(size.days):
        day = size.until - (size.days - number) * _DAY
        for project in projects:
            if not project[7] <= day.date() < project[8] or rng.random() > 0.5:
                continue
            category = rng.choice(delivery.CATEGORIES_OF_COST)
            booked = _time(day, rng) + _DAY * rng.choice((0, 0, 0, 1, 2, 10))
            user = rng.choice(team[project[0]]) if category != "licences" else None
            rows.append([project[0], user, category, delivery.cost(category, rng), day.date(), booked])
    return _numbered(sorted((row for row in rows if row[-1] < size.until), key=lambda row: row[-1]))


def _teams(members: Sequence[Sequence[Any]]) -> dict[int, list[int]]:
    teams: dict[int, list[int]] = {}
    for member in members:
        teams.setdefault(member[1], []).append(member[2])
    return teams


def _numbered(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [[number, *row] for number, row in enumerate(rows, 1)]


def _at(day: date, rng: random.Random) -> datetime:
    return _time(datetime(day.year, day.month, day.day, tzinfo=UTC), rng)


def _time(day: datetime, rng: random.Random) -> datetime:
    hour = rng.choices(range(24), _HOURS)[0]
    return day + timedelta(hours=hour, milliseconds=rng.randrange(3_600_000))


def _seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)
