"""Incremental equals full: after every run of a random history each table is what a plain reading of the source gives.

A history is told by one number. A failure says which (`Falsifying example: play(number=…)`), the run and the table;
`HISTORY=1048581 pytest -m proof tests/properties/test_incremental_equals_full.py -k films` plays that one again and
verifies after every run. `--hypothesis-profile=soak` plays hundreds of new ones.
"""

from __future__ import annotations

import os
from types import ModuleType

import films
import games
import pytest
from histories import CHANGES, RUNS, history
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.proof

PARTS = 10
"""The histories are dealt out to so many tests, for test runners with several processes."""
MANY = 2**20
"""Numbers of one part."""

HISTORY = os.environ.get("HISTORY", "")
soak = settings.default.max_examples > 100  # type: ignore[union-attr]


def play_some(kit: ModuleType, part: int, examples: int) -> None:
    numbers = st.just(int(HISTORY)) if HISTORY else st.integers(part * MANY, (part + 1) * MANY - 1)

    @settings(max_examples=examples, phases=[Phase.generate])
    @given(numbers)
    def play(number: int) -> None:
        with history(kit, number) as past:
            past.go(RUNS, CHANGES, verify_each=soak or bool(HISTORY))

    (play if soak else seed(part)(play))()


@pytest.mark.parametrize("part", [0] if HISTORY else range(PARTS))
def test_every_run_of_films_equals_a_plain_reading_of_the_source(part: int) -> None:
    play_some(films, part, 50 if soak else 5)


@pytest.mark.parametrize("part", [0] if HISTORY else range(2))
def test_every_run_of_games_equals_a_plain_reading_of_the_source(part: int) -> None:
    play_some(games, part, 10 if soak else 1)
