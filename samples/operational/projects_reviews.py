"""Review cycles of the software house: planned, started with their reviews, reviewed, finished."""

from __future__ import annotations

from datetime import timedelta

from starberg.samples.operational import delivery
from starberg.samples.operational.life import Kind
from starberg.samples.operational.projects_issues import member_of
from starberg.samples.operational.work import KEEP, REMOVE, Work

_HOUSE = "operations"
_LIVE = "status IN ('active', 'on hold')"


def _plan_cycle(work: Work) -> bool:
    project = work.pick("projects", KEEP, where=_LIVE)
    if project is None:
        return False
    at = work.now()
    planned = at.date() + timedelta(days=work.rng.randint(1, 10))
    work.insert(
        "review_cycles",
        project_id=project["project_id"],
        lead_id=member_of(work, project["project_id"]) or project["manager_id"],
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


KINDS = (
    Kind("review cycle planned", _HOUSE, 2, _plan_cycle, may_stay_open=True),
    Kind("review cycle started", _HOUSE, 3, _start_cycle),
    Kind("review completed", _HOUSE, 5, _review),
    Kind("review cycle finished", _HOUSE, 2, _finish_cycle),
    Kind("issue taken off a review", _HOUSE, 1, _unlink),
)
