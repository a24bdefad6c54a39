"""The questions every catalog must answer alike. A catalog may be shared, so each test has a warehouse of its own."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest

from starberg.storage.branches import Branch, Catalog, Move, State, TableIds
from starberg.utils.errors import Conflict, UsageError

IDS = TableIds(snapshot_id=-1, schema_id=0, spec_id=0, sort_order_id=0)


class MakeCatalog(Protocol):
    """Makes another client of the same catalog."""

    def __call__(self) -> Catalog: ...


class Warehouse:
    """A warehouse no other test knows, in a catalog others may use too."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.name = self.known_as = f"w{uuid4().hex[:8]}"
        self.cut: list[Branch] = []

    def move(self, table: str, base: str | None, location: str | None, at: str = "main") -> Move:
        """Name a table and its files shortly: `a`, from `a1` (as it is on main, or elsewhere) to `a2`."""
        return Move(f"{self.name}.{table}", self.file(base), self.file(location), IDS if location else None)

    def file(self, name: str | None) -> str | None:
        return name and f"s3://lake/{self.name}/{name}.metadata.json"

    def branch(self, *moves: Move) -> Branch:
        """Cut a branch for a new run and move pointers on it."""
        branch = self.catalog.create_branch(f"run-{uuid4().hex[:12]}", self.name)
        self.cut.append(branch)
        if moves:
            self.catalog.move(branch, moves)
        return branch

    def publish(self, *moves: Move) -> str:
        return self.catalog.publish(self.branch(*moves), "test")

    def tables(self, at: str | State = "main") -> dict[str, str]:
        """Return this warehouse's tables at a state, by short names."""
        state = self.catalog.state(at) if isinstance(at, str) else at
        return {
            table.removeprefix(f"{self.name}."): location.rpartition("/")[2].removesuffix(".metadata.json")
            for table, location in state.tables.items()
            if table.startswith(f"{self.name}.")
        }


class CatalogQuestions:
    """Subclasses give a fixture `make_catalog`."""

    @pytest.fixture
    def catalog(self, make_catalog: MakeCatalog) -> Any:
        catalog = make_catalog()
        yield catalog
        catalog.close()

    @pytest.fixture
    def games(self, catalog: Catalog) -> Iterator[Warehouse]:
        games = self.warehouse(catalog)
        yield games
        for branch in games.cut:
            catalog.drop_branch(branch)

    def warehouse(self, catalog: Catalog) -> Warehouse:
        """Return a new warehouse of a catalog."""
        return Warehouse(catalog)

    # branches and their moves

    def test_a_new_warehouse_has_no_tables(self, games: Warehouse) -> None:
        games.branch()
        assert games.tables() == {}

    def test_moves_are_seen_on_their_branch_alone_until_published(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"), games.move("b", None, "b1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        other = games.branch()
        assert games.tables(branch.name) == {"a": "a2", "b": "b1"}
        assert games.tables(other.name) == {"a": "a1", "b": "b1"}
        assert games.tables() == {"a": "a1", "b": "b1"}
        games.catalog.publish(branch, "test")
        assert games.tables() == {"a": "a2", "b": "b1"}

    def test_a_branch_sees_main_as_it_was_when_it_was_cut(self, games: Warehouse) -> None:
        movies = self.warehouse(games.catalog)
        games.publish(games.move("a", None, "a1"))
        movies.publish(movies.move("m", None, "m1"))
        branch = games.branch()
        games.publish(games.move("a", "a1", "a2"))
        movies.publish(movies.move("m", "m1", "m2"))
        state = games.catalog.state(branch.name)
        assert games.tables(state) == {"a": "a1"}
        assert movies.tables(state) == {"m": "m1"}
        assert state.position == branch.base

    def test_a_table_can_be_moved_again_dropped_and_made_anew_on_a_branch(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        games.catalog.move(branch, [games.move("a", "a2", "a3"), games.move("b", None, "b1")])
        games.catalog.move(branch, [games.move("a", "a3", None)])
        assert games.tables(branch.name) == {"b": "b1"}
        games.catalog.move(branch, [games.move("a", None, "a4")])
        games.catalog.publish(branch, "test")
        assert games.tables() == {"a": "a4", "b": "b1"}

    def test_a_move_from_another_base_moves_nothing_of_its_step(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch()
        with pytest.raises(Conflict, match=rf"{games.known_as}\.a"):
            games.catalog.move(branch, [games.move("b", None, "b1"), games.move("a", "a0", "a2")])
        with pytest.raises(Conflict):
            games.catalog.move(branch, [games.move("a", None, "a2")])
        assert games.tables(branch.name) == {"a": "a1"}

    def test_a_repeated_move_is_done_once(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"), games.move("b", None, "b1"))
        step = [games.move("a", "a1", "a2"), games.move("b", "b1", None), games.move("c", None, "c1")]
        branch = games.branch(*step)
        games.catalog.move(branch, step)
        assert games.tables(branch.name) == {"a": "a2", "c": "c1"}

    def test_tables_of_other_warehouses_cannot_be_moved(self, games: Warehouse) -> None:
        branch = games.branch()
        for table in (f"{games.name}2.a", "a", f"{games.name}.a.b", f"{games.name}.", f"{games.name}.a'b"):
            with pytest.raises(UsageError):
                games.catalog.move(branch, [Move(table, None, "s3://lake/x.metadata.json", IDS)])

    def test_branches_are_listed_oldest_first(self, games: Warehouse) -> None:
        before = datetime.now(UTC) - timedelta(seconds=1)
        first, second = games.branch(), games.branch(games.move("a", None, "a1"))
        games.catalog.publish(second, "test")
        other = self.warehouse(games.catalog).branch()
        assert games.catalog.branches(games.name) == [first, second]
        every = games.catalog.branches()
        assert [branch for branch in every if branch in (first, second, other)] == [first, second, other]
        assert before <= first.created_at <= second.created_at <= datetime.now(UTC) + timedelta(seconds=1)

    def test_a_branch_asked_for_again_is_the_same_one(self, games: Warehouse) -> None:
        branch = games.branch(games.move("a", None, "a1"))
        assert games.catalog.create_branch(branch.run_id, games.name) == branch
        assert games.tables(branch.name) == {"a": "a1"}
        with pytest.raises(Conflict, match=games.name):
            games.catalog.create_branch(branch.run_id, f"{games.name}2")

    def test_a_dropped_branch_is_gone_for_its_run_too(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        games.catalog.drop_branch(branch)
        games.catalog.drop_branch(branch)
        assert branch not in games.catalog.branches(games.name)
        with pytest.raises(Conflict, match="gone"):
            games.catalog.move(branch, [games.move("a", "a2", "a3")])
        with pytest.raises(Conflict, match="gone"):
            games.catalog.publish(branch, "test")
        assert games.tables() == {"a": "a1"}

    # publishing

    def test_two_runs_of_different_tables_both_publish(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"), games.move("b", None, "b1"))
        one = games.branch(games.move("a", "a1", "a2"))
        two = games.branch(games.move("b", "b1", "b2"), games.move("c", None, "c1"))
        first, second = games.catalog.publish(one, "one"), games.catalog.publish(two, "two")
        assert games.tables(first) == {"a": "a2", "b": "b1"}
        assert games.tables(second) == games.tables() == {"a": "a2", "b": "b2", "c": "c1"}

    @pytest.mark.parametrize(
        ("first", "second"),
        [("change", "change"), ("change", "drop"), ("drop", "change"), ("drop", "drop"), ("create", "create")],
    )
    def test_of_two_runs_of_one_table_the_second_publishes_nothing(
        self, games: Warehouse, first: str, second: str
    ) -> None:
        games.publish(games.move("a", None, "a1"), games.move("b", None, "b1"))
        moves: dict[str, Callable[[str], Move]] = {
            "change": lambda to: games.move("a", "a1", to),
            "drop": lambda to: games.move("a", "a1", None),
            "create": lambda to: games.move("new", None, to),
        }
        winner = games.branch(moves[first]("x"))
        loser = games.branch(games.move("b", "b1", "b2"), moves[second]("y"))
        games.catalog.publish(winner, "winner")
        published = games.tables()
        with pytest.raises(Conflict):
            games.catalog.publish(loser, "loser")
        assert games.tables() == published
        assert published["b"] == "b1"
        assert games.catalog.published(loser.run_id) is None

    def test_a_publish_asked_for_again_changes_nothing(self, games: Warehouse, make_catalog: MakeCatalog) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        position = games.catalog.publish(branch, "test")
        games.publish(games.move("a", "a2", "a3"))
        again = make_catalog()
        assert again.publish(branch, "test") == position
        again.drop_branch(branch)
        assert again.publish(branch, "test") == position
        assert games.tables() == {"a": "a3"}
        with pytest.raises(Conflict, match="published"):
            again.create_branch(branch.run_id, games.name)
        again.close()

    def test_a_branch_without_moves_publishes_nothing(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch()
        assert games.catalog.publish(branch, "test") == games.catalog.state().position
        assert games.catalog.published(branch.run_id) is None
        assert games.tables() == {"a": "a1"}

    def test_a_dropped_table_is_gone_from_main_and_stays_in_the_past(self, games: Warehouse) -> None:
        before = games.publish(games.move("a", None, "a1"), games.move("b", None, "b1"))
        games.publish(games.move("a", "a1", None))
        assert games.tables() == {"b": "b1"}
        assert games.tables(before) == {"a": "a1", "b": "b1"}

    def test_of_runs_that_publish_one_table_at_once_exactly_one_wins(
        self, games: Warehouse, make_catalog: MakeCatalog
    ) -> None:
        games.publish(games.move("a", None, "a0"))
        branches = [
            games.branch(games.move("a", "a0", f"x{run}"), games.move(f"t{run}", None, "t")) for run in range(4)
        ]
        together = threading.Barrier(len(branches))

        def run(branch: Branch) -> str | None:
            catalog = make_catalog()
            together.wait()
            try:
                return catalog.publish(branch, "race")
            except Conflict:
                return None
            finally:
                catalog.close()

        with ThreadPoolExecutor(len(branches)) as pool:
            positions = list(pool.map(run, branches))
        won = [number for number, position in enumerate(positions) if position]
        assert len(won) == 1
        assert games.tables() == {"a": f"x{won[0]}", f"t{won[0]}": "t"}

    def test_runs_of_different_warehouses_that_publish_at_once_all_land(
        self, catalog: Catalog, make_catalog: MakeCatalog
    ) -> None:
        together = threading.Barrier(4)

        def run(_: int) -> Warehouse:
            mine = make_catalog()
            warehouse = self.warehouse(mine)
            together.wait()
            for version in range(3):
                warehouse.publish(warehouse.move("a", f"a{version - 1}" if version else None, f"a{version}"))
            mine.close()
            return warehouse

        with ThreadPoolExecutor(4) as pool:
            warehouses = list(pool.map(run, range(4)))
        state = catalog.state()
        assert [warehouse.tables(state) for warehouse in warehouses] == [{"a": "a2"}] * 4

    # the past

    def test_states_are_found_by_run_id_branch_tag_time_and_position(self, games: Warehouse) -> None:
        branch = games.branch(games.move("a", None, "a1"))
        assert games.tables(branch.run_id) == {"a": "a1"}
        position = games.catalog.publish(branch, "test")
        tag = f"tag-{games.name}"
        games.catalog.tag(tag)
        time.sleep(0.01)
        between = datetime.now(UTC)
        time.sleep(0.01)
        last = games.publish(games.move("a", "a1", "a2"))
        for at in (branch.run_id, tag, position, between.isoformat(), between.isoformat().replace("+00:00", "Z")):
            state = games.catalog.state(at)
            assert (games.tables(state), state.position, state.ref) == ({"a": "a1"}, position, at)
        zoned = between.astimezone(tz=None) + timedelta(0)
        assert games.tables(zoned.isoformat()) == {"a": "a1"}
        assert games.tables(between.replace(tzinfo=None).isoformat()) == {"a": "a1"}
        assert games.catalog.state("2999-01-01").position == games.catalog.state().position == last
        assert games.tables("2000-01-01") == {}
        assert games.catalog.published(branch.run_id) == position

    def test_a_tag_can_be_moved_listed_and_dropped(self, games: Warehouse) -> None:
        first = games.publish(games.move("a", None, "a1"))
        second = games.publish(games.move("a", "a1", "a2"))
        tag = f"before-{games.name}"
        games.catalog.tag(tag)
        games.catalog.tag(tag, first)
        games.catalog.tag(tag, first)
        assert games.tables(tag) == {"a": "a1"}
        assert games.catalog.tags()[tag] == first
        games.catalog.tag(tag, second)
        assert games.tables(tag) == {"a": "a2"}
        games.catalog.drop_tag(tag)
        games.catalog.drop_tag(tag)
        assert tag not in games.catalog.tags()

    def test_all_that_can_be_looked_up_since_an_instant_is_told(self, games: Warehouse) -> None:
        """What main had at the instant and since, what it has, what branches and tags have: and nothing else, later."""
        games.publish(games.move("a", None, "a1"))
        games.publish(games.move("a", "a1", "a2"))
        tag = f"kept-{games.name}"
        games.catalog.tag(tag)
        games.publish(games.move("a", "a2", "a3"))
        time.sleep(0.01)
        since = datetime.now(UTC)
        time.sleep(0.01)
        games.publish(games.move("a", "a3", "a4"))
        left = games.branch(games.move("a", "a4", "b1"))
        games.publish(games.move("a", "a4", "a5"))
        for branch in games.cut:
            if branch != left:
                games.catalog.drop_branch(branch)

        def at(*states: str) -> set[str]:
            return {games.catalog.state(state).tables[f"{games.name}.a"] for state in states}

        def told(moment: datetime) -> set[str]:
            return {place for table, place in games.catalog.pointers(moment) if table.startswith(f"{games.name}.")}

        assert at(tag, left.name, left.base, "main", since.isoformat()) <= told(since)
        later = told(since + timedelta(days=1))
        assert at(tag, left.name, "main") <= later
        assert not at(since.isoformat()) & later
        games.catalog.drop_tag(tag)

    def test_a_tag_must_be_a_position_of_main(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        for position in ("99999999", "deadbeefdeadbeef", "-1", ""):
            with pytest.raises(UsageError, match="position"):
                games.catalog.tag("t", position)
        assert "t" not in games.catalog.tags()

    @pytest.mark.parametrize(
        "name", ["", "main", "run/x", "2026-11-21", "a b", "../x", "a/../b", "x" * 101, "deadbeef" * 8]
    )
    def test_names_that_mean_something_else_cannot_be_tags(self, catalog: Catalog, name: str) -> None:
        with pytest.raises(UsageError, match="tag"):
            catalog.tag(name)

    @pytest.mark.parametrize("run_id", ["", "../x", "a b", "a/b", "%2e%2e", "-x", "x" * 101, "a..b", "é", "x."])
    def test_names_that_could_leave_their_place_are_no_run_ids(self, catalog: Catalog, run_id: str) -> None:
        with pytest.raises(UsageError, match="run id"):
            catalog.create_branch(run_id, "games")

    def test_an_unknown_state_is_an_error_that_names_the_nearest(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        games.catalog.tag(f"release-{games.name}")
        with pytest.raises(UsageError, match=f"release-{games.name}"):
            games.catalog.state(f"relase-{games.name}")
        for at in ("", "nowhere", "run/nowhere", "99999999", "0" * 15 + "f", "main@x", "main~1", "2026-13-45", "a b"):
            with pytest.raises(UsageError):
                games.catalog.state(at)

    def test_a_catalog_keeps_its_identity(self, catalog: Catalog, make_catalog: MakeCatalog) -> None:
        again = make_catalog()
        assert catalog.identity() == again.identity() != ""
        again.close()

    def test_another_client_sees_what_was_published(self, games: Warehouse, make_catalog: MakeCatalog) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("b", None, "b1"))
        again = make_catalog()
        assert games.tables(again.state()) == {"a": "a1"}
        assert games.tables(again.state(branch.name)) == {"a": "a1", "b": "b1"}
        assert again.branches(games.name)[-1] == branch
        again.close()

    @pytest.mark.parametrize("seed", range(2))
    def test_random_histories_of_overlapping_runs_follow_the_model(self, games: Warehouse, seed: int) -> None:
        """A dictionary for main, and for each run what it saw and what it changed."""
        chance, fresh = random.Random(seed), itertools.count()
        main: dict[str, str | None] = {f"old{number}": f"s{number}" for number in range(3)}
        games.publish(*[games.move(table, None, location) for table, location in main.items()])
        runs: dict[Branch, tuple[dict[str, str | None], dict[str, str | None]]] = {}
        past: list[tuple[str, dict[str, str | None]]] = []
        for _ in range(30):
            if not runs or (len(runs) < 3 and chance.random() < 0.4):
                runs[games.branch()] = (dict(main), {})
                continue
            branch = chance.choice(list(runs))
            cut, moved = runs[branch]
            here = cut | moved
            if chance.random() < 0.6:
                # Dropped tables stay dropped: whether a table that came and went has changed is each catalog's affair.
                table = chance.choice([*(name for name in here if here[name]), *{"new0", "new1"}.difference(here)])
                drop = table.startswith("old") and chance.random() < 0.2
                moved[table] = None if drop else f"x{next(fresh)}"
                games.catalog.move(branch, [games.move(table, here.get(table), moved[table], branch.name)])
                assert games.tables(branch.name) == alive(cut | moved)
            elif any(main.get(table) != cut.get(table) for table in moved):
                with pytest.raises(Conflict):
                    games.catalog.publish(branch, "conflict")
                games.catalog.drop_branch(branch)
                del runs[branch]
            else:
                position = games.catalog.publish(branch, "random")
                main |= moved
                past.append((position, dict(main)))
                del runs[branch]
            assert games.tables() == alive(main)
        assert past
        for position, then in past:
            assert games.tables(position) == alive(then)


def alive(tables: dict[str, str | None]) -> dict[str, str | None]:
    """Return the tables that were not dropped."""
    return {table: location for table, location in tables.items() if location}
