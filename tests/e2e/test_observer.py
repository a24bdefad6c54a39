"""A reader of a local lake never sees half a publish."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash import publish
from faults import run_task
from observer import check_observed
from places import Place, declare_games

from starberg.samples.rawg_remote import spawn


@pytest.mark.proof
def test_a_reader_sees_each_publish_whole_or_not_at_all(tmp_path: Path) -> None:
    with spawn(games=60) as server:
        declare_games(tmp_path, "games2", server.url)
        place = Place(tmp_path, "games2", {"STARBERG_HOME": str(tmp_path / "home")})
        run_task(publish, place)
        check_observed(place, server.url, first=60)
