"""Runs at the same time on MinIO and Nessie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from concurrency import ConcurrencyQuestions, Fresh
from crash import Known
from nessie_lakes import NessieGround, nessie_ground
from places import Place
from stack import Stack


@pytest.fixture(scope="module")
def lake(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NessieGround, Known]]:
    with nessie_ground(stack, tmp_path_factory.mktemp("nessie")) as ground:
        yield ground, ground.known()


class TestNessie(ConcurrencyQuestions):
    @pytest.fixture
    def fresh(self, lake: tuple[NessieGround, Known]) -> Fresh:
        return lake[0].fresh

    @pytest.fixture
    def known(self, lake: tuple[NessieGround, Known]) -> Known:
        return lake[1]

    @pytest.fixture
    def two(self, stack: Stack, tmp_path: Path) -> Iterator[list[tuple[Place, str]]]:
        with nessie_ground(stack, tmp_path, seed=1) as one, nessie_ground(stack, tmp_path, seed=2) as other:
            yield [(ground.place, ground.server.url) for ground in (one, other)]
