"""A reader that looks again and again while runs publish: the same for every store and catalog."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection

from faults import Failed, Step, Task
from places import Place

from starberg.entrypoints.lake import Lake
from starberg.samples.rawg_remote import RemoteServer

ADDED = 3
"""Games added by each batch."""
PUBLISHES = 20
LOOKS = 20

_MIXED = """
with facts as (select count(*) as games, max(_load_id) as load from fact_games),
staged as (select count(*) as games, max(_load_id) as load from stg_games),
pairs as (select count(*) as pairs from bridge_game_genre),
dated as (
    select count(*) as pairs
    from fact_games
    join bridge_game_genre using (game_id)
    where released_on is not null and not is_deleted
),
mart as (select sum(games) as pairs from mart_games_by_genre_year),
counted as (select sum(genre_count) as pairs from fact_games where not is_deleted),
mark as (select load_seq as load from high_water_mark where stream = 'games'),
runs as (select count(*) as runs from etl_runs where status = 'SUCCESS' and command <> 'maintain')
select facts.games, {first} + {added} * (runs.runs - 1), staged.games, facts.load, staged.load, mark.load, runs.runs,
    pairs.pairs, counted.pairs, mart.pairs, dated.pairs
from facts, staged, pairs, dated, mart, counted, mark, runs
"""


@dataclass(frozen=True)
class Look:
    """One look: when it began and ended (the machine's monotonic clock), the games it saw, what disagreed."""

    began: float
    ended: float
    games: int
    disagreed: str


def look(lake: Lake, place: Place, first: int) -> Look:
    """Connect once, ask whether all tables fit together, and read them; `first` is how many games the first run had."""
    began = time.monotonic()
    con = lake.connect(place.warehouse)
    answer = con.execute(_MIXED.format(first=first, added=ADDED)).fetchone()
    for (name,) in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
        con.execute(f"SELECT count(*), sum(hash(t)) FROM {name} t").fetchone()
    con.close()
    assert answer is not None
    games, expected, staged, load, staged_load, mark, runs, pairs, counted, mart, dated = answer
    agree = {
        "games": (games, expected, staged),
        "loads": (load, staged_load, mark, runs),
        "pairs of genres": (pairs, counted),
        "games of the mart": (mart, dated),
    }
    disagreed = "; ".join(f"{what}: {said}" for what, said in agree.items() if len(set(said)) > 1)
    return Look(began, time.monotonic(), games, disagreed)


def observe(talk: Connection, place: Place, first: int) -> list[Look]:
    """Look until the test says so."""
    lake, looks = place.open(), []
    while not talk.poll():
        looks.append(look(lake, place, first))
    return looks


def publish_often(talk: Connection, place: Place, url: str) -> None:
    """Add games and run, some times; tell the test when each publish began and ended."""
    moments: list[float] = []

    def hook(step: Step) -> None:
        if step.effect == "publish":
            moments.append(time.monotonic())

    source, lake = RemoteServer(url), place.open(hook)
    for _ in range(PUBLISHES):
        source.add(ADDED)
        source.change(ADDED)
        assert lake.run(place.warehouse, wait_s=0).status == "SUCCESS"
        talk.send((moments[-2], moments[-1]))


def check_observed(place: Place, url: str, first: int, observers: int = 2) -> None:
    """Let readers look while runs publish; AssertionError if one saw a mix, or too few looks overlapped a publish."""
    with ExitStack() as stack:
        watching = [stack.enter_context(Task(observe, place, first)) for _ in range(observers)]
        publisher = stack.enter_context(Task(publish_often, place, url))
        publishes = []
        for _ in range(PUBLISHES):
            publishes.append(publisher.hear())
            assert not isinstance(publishes[-1], Failed), publishes[-1]
        for task in watching:
            task.say("enough")
        seen = [task.end() for task in watching]
    looks: list[Look] = []
    for found in seen:
        assert not isinstance(found, Failed), found
        looks += found
    mixes = [one for one in looks if one.disagreed]
    assert not mixes, f"{len(mixes)} of {len(looks)} looks saw a mix, such as {mixes[0].disagreed}"
    overlapped = [one for one in looks if any(one.began < end and began < one.ended for began, end in publishes)]
    assert len(overlapped) >= LOOKS, f"only {len(overlapped)} of {len(looks)} looks overlapped a publish"
    assert {one.games for one in looks} <= {first + ADDED * number for number in range(PUBLISHES + 1)}
    assert len({one.games for one in looks}) > PUBLISHES / 2, "the readers saw too few of the states"
