"""Runs at the same time on a local lake with a SQLite catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from concurrency import ConcurrencyQuestions, Fresh
from crash import Known, publish
from faults import run_task
from ground import Ground, grounds
from places import Place, declare_games

from starberg.samples.rawg_remote import spawn


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Known]]:
    with grounds(tmp_path_factory.mktemp("runs")) as ([ground], known):
        yield ground, known


class TestLocal(ConcurrencyQuestions):
    @pytest.fixture
    def fresh(self, lake: tuple[Ground, Known]) -> Fresh:
        def put_back() -> Place:
            lake[0].put_back()
            return lake[0].place

        return put_back

    @pytest.fixture
    def known(self, lake: tuple[Ground, Known]) -> Known:
        return lake[1]

    @pytest.fixture
    def two(self, tmp_path: Path) -> Iterator[list[tuple[Place, str]]]:
        with spawn(games=60, seed=1) as one, spawn(games=80, seed=2) as other:
            sources = {"games1": one.url, "games2": other.url}
            for name, url in sources.items():
                declare_games(tmp_path, name, url)
            home = {"STARBERG_HOME": str(tmp_path / "home")}
            places = {name: Place(tmp_path, name, home) for name in sources}
            for place in places.values():
                run_task(publish, place)
            yield [(places[name], url) for name, url in sources.items()]
