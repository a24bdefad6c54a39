"""A reader of a lake on MinIO and Nessie never sees half a publish."""

from __future__ import annotations

from pathlib import Path

from nessie_lakes import GAMES, nessie_ground
from observer import check_observed
from stack import Stack


def test_a_reader_sees_each_publish_whole_or_not_at_all(stack: Stack, tmp_path: Path) -> None:
    with nessie_ground(stack, tmp_path) as ground:
        check_observed(ground.place, ground.server.url, first=GAMES)
