"""How a software house works: what its projects, issues and reviews are made of, and which step follows which."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

INDUSTRIES = ("banking", "energy", "health", "logistics", "media", "public", "retail")
TIERS = ("standard", "standard", "plus", "key")
TYPES = (("Development", True), ("Maintenance", True), ("Consulting", True), ("Research", False), ("Internal", False))
ROLES = ("developer", "developer", "developer", "designer", "tester", "analyst")
AREAS = ("Billing", "Search", "Checkout", "Portal", "Archive", "Mail", "Reports", "Login", "Calendar", "Maps")
PARTS = ("API", "Gateway", "Worker", "Store", "Web")
CRITICALITIES = ("low", "medium", "high")
ISSUE_TYPES = ("bug", "bug", "feature", "task")
PRIORITIES = ("low", "medium", "medium", "high", "urgent")
FAULTS = ("is slow", "fails at midnight", "shows the wrong total", "loses the filter", "times out")
WISHES = ("export as CSV", "dark mode", "keyboard shortcuts", "bulk edit", "a weekly summary")
POINTS = (1, 2, 3, 3, 5, 5, 8, 13)
CATEGORIES = ("performance", "correctness", "usability", "security", "other")
SENTIMENTS = ("negative", "neutral", "neutral", "positive")
ROOT_CAUSES = ("code", "configuration", "data", "third party", None)
OUTCOMES = ("approved", "approved", "changes", "rejected")
CATEGORIES_OF_COST = ("labour", "labour", "labour", "licences", "travel")

CLOSED = ("done", "cancelled")
_STEPS = {
    "open": (("in progress", 80), ("cancelled", 8), ("done", 4)),
    "in progress": (("in review", 75), ("open", 10), ("cancelled", 3)),
    "in review": (("done", 75), ("in progress", 25)),
    "done": (("in progress", 1),),
    "cancelled": (("open", 1),),
}


def next_status(status: str, rng: random.Random) -> str:
    """Return a status that may follow one; a closed issue is opened again."""
    after = _STEPS[status]
    return rng.choices([name for name, _ in after], [weight for _, weight in after])[0]


def title(kind: str, rng: random.Random) -> str:
    """Return what an issue is called."""
    if kind == "bug":
        return f"{rng.choice(AREAS)} {rng.choice(FAULTS)}"
    return f"{rng.choice(AREAS)}: {rng.choice(WISHES)}"


def analysis(kind: str, rng: random.Random) -> dict[str, Any]:
    """Return what is found in an issue's text, by column; only a bug has a cause."""
    cause = rng.choice(ROOT_CAUSES) if kind == "bug" else None
    return {"category": rng.choice(CATEGORIES), "sentiment": rng.choice(SENTIMENTS), "root_cause": cause}


def measured(service: int, weekday: int, rng: random.Random) -> dict[str, int]:
    """Return what is measured of a service on a day, by column."""
    requests = round(random.Random(service).randint(2, 90) * 1000 * (0.4 if weekday >= 5 else 1.0) * rng.gauss(1, 0.1))
    incidents = rng.choices((0, 1, 2), (94, 5, 1))[0]
    return {
        "requests": max(requests, 0),
        "downtime_minutes": sum(rng.randint(3, 90) for _ in range(incidents)),
        "incidents": incidents,
    }


def cost(category: str, rng: random.Random) -> Decimal:
    """Return an amount that is spent at once."""
    low, high = {"labour": (300, 2400), "licences": (50, 900), "travel": (40, 600)}[category]
    return Decimal(rng.randint(low * 100, high * 100)).scaleb(-2)


def budget(rng: random.Random) -> Decimal:
    """Return what a project may cost: for some it will not be enough."""
    return Decimal(rng.randrange(15, 90) * 1000)
