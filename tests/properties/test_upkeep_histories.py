"""Random histories with upkeep in between: no row changes, what is kept answers as it did, and a rebuild agrees.

`UPKEEP_SEEDS` in the environment plays more of them.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_engine import FAST, kept_engines
from lake import examples
from test_row_delta import History, Step, steps, table_of
from upkept import Upkept, upkept

from starberg.etl.upkeep import Folding
from starberg.storage.branches import MAIN
from starberg.storage.maintenance import Policy

SEEDS = range(int(os.environ.get("UPKEEP_SEEDS", "4")))
ACTS = 24
KEPT = Policy().keep_states

pytestmark = pytest.mark.proof


@examples(15)
@given(steps(), st.sampled_from([["k"], ["k"], []]), st.sampled_from([1, 100, 1 << 24]))
def test_a_table_of_any_history_is_folded_without_a_change_of_rows(
    runs: list[Step], key: list[str], small_bytes: int
) -> None:
    """`small_bytes` of 1: all files are large, so that deletes are merged; of 1 << 24: all are small."""
    policy = Policy(small_bytes=small_bytes, deleted_share=0.2, keep_snapshots=1)
    with table_of(key, 0) as history:
        for step in runs:
            history.run(step)
            before, files = _rows(history), history._files()
            Folding(history.engine, history.tables, policy).fold("w.t")
            assert _rows(history) == before, "rows and the runs that wrote them are the same"
            history._readers_agree(step)
            table = history.tables.load("w.t")
            assert table is not None
            assert len(table.metadata.snapshots) <= 3
            summary = table.metadata.current_snapshot().summary.additional_properties  # type: ignore[union-attr]
            deletes = history.tables.delete_files(table)
            assert int(summary["total-data-files"]) == len(history.tables.data_files(table))
            if files:
                assert int(summary.get("total-delete-files", 0)) == len(deletes)
            assert not Folding(history.engine, history.tables, policy).plan("w.t").fold, "what is folded stays"


def _rows(history: History) -> Counter[str]:
    return Counter(map(repr, history.engine.rows(f"FROM iceberg_scan('{history._location}')")))


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_history_what_is_kept_answers_as_it_did(seed: int) -> None:
    random = Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="starberg-upkeep-", dir=FAST) as home,
        kept_engines() as open_engine,
        patch("starberg.etl.pipeline.Policy", lambda: Policy(commits=random.randint(3, 8))),
        upkept(Path(home), open_engine=open_engine) as lake,
    ):
        lake.start()
        for _ in range(ACTS):
            _act(random, lake)
        lake.after_days(2)
        lake.maintain()
        _check_past(lake)
        assert lake.lake.verify(lake.name).equal


def _act(random: Random, lake: Upkept) -> None:
    match random.choice(["run", "run", "run", "idle", "maintain", "days", "days", "tag", "rebuild", "check"]):
        case "run":
            lake.run(random.sample(range(lake.members), random.randint(1, 6)))
        case "idle":
            assert lake.run().status == "SKIPPED"
        case "maintain":
            lake.maintain()
            _check_past(lake)
        case "days":
            lake.after_days(random.choice([0.1, 1, 3, 8]))
        case "tag":
            lake.lake.catalog.tag(f"kept-{random.randint(1, 3)}")
        case "rebuild":
            before = lake.content(control=False)
            lake.lake.rebuild(lake.name)
            assert lake.content(control=False) == before
        case "check":
            branch = lake.lake.catalog.create_branch(f"check-{random.getrandbits(40)}", lake.name)
            lake.held[branch.name] = lake.clock.now() + KEPT, lake.content()


def _check_past(lake: Upkept) -> None:
    """What main had within a week, what tags name, and branches younger than a week answer; nothing answers wrongly."""
    catalog, now = lake.lake.catalog, lake.clock.now()
    there = {branch.name for branch in catalog.branches()}
    week_ago = catalog.state((now - KEPT).isoformat()).position
    for at, (moment, _) in lake.held.items():
        if at.startswith("run/"):
            if at in there:
                assert lake.answers(at)
            else:
                assert moment - KEPT < now - KEPT + timedelta(seconds=1)
            continue
        position = catalog.published(at)
        assert position is not None
        if int(position) >= int(week_ago):
            assert lake.answers(at), f"{at} of {moment} is within a week of {now}"
        else:
            lake.answers(at)
    for tag in catalog.tags():
        assert lake.answers(tag)
    assert lake.answers(MAIN)
