"""The operational systems there are, by the warehouse that reads them."""

from __future__ import annotations

from collections.abc import Mapping

from starberg.samples.operational.learning_life import LEARNING
from starberg.samples.operational.mafia_life import MAFIA
from starberg.samples.operational.projects_life import PROJECTS
from starberg.samples.operational.retail_life import RETAIL
from starberg.samples.operational.system import System
from starberg.utils.errors import UsageError

SYSTEMS: Mapping[str, System] = {
    "retail": RETAIL,
    "mafia": MAFIA,
    "learning": LEARNING,
    "projects": PROJECTS,
}


def system_of(warehouse: str) -> System:
    """Return a warehouse's operational system; UsageError lists those there are."""
    if warehouse not in SYSTEMS:
        raise UsageError(f"there is no sample database for {warehouse}", hint=f"There are: {', '.join(SYSTEMS)}.")
    return SYSTEMS[warehouse]
