"""Faults of the machine a lake is on: no room, a lost catalog, a signal, a service that fails after the publish."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
from concurrency import run, whole
from crash import Known, read
from faults import At, Failed, Step, Task, run_task
from ground import Ground, grounds
from places import KEY, Place, files, holder

from starberg.entrypoints.cli import main
from starberg.utils.errors import TransientError, Unreachable

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Known]]:
    with grounds(tmp_path_factory.mktemp("faults")) as ([ground], known):
        yield ground, known


@pytest.fixture
def place(lake: tuple[Ground, Known]) -> Place:
    lake[0].put_back()
    return lake[0].place


@pytest.fixture
def known(lake: tuple[Ground, Known]) -> Known:
    return lake[1]


def run_with_files_of(_talk: Connection, place: Place, kilobytes: int, landed: bool) -> None:
    """Run where no file may grow larger, as on a disk that is full, perhaps only once the loads are landed."""
    lake = place.open()
    if landed:
        lake.run(place.warehouse, etl=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))
    lake.run(place.warehouse, ingest=not landed, wait_s=0)


def run_without_room(_talk: Connection, place: Place, at: At) -> str:
    """Run with a store or catalog whose disk is full at a step; return the status."""

    def hook(step: Step) -> None:
        if at.fits(step):
            raise TransientError("cannot write: No space left on device", hint="Free space there and run again")

    return place.open(hook).run(place.warehouse, wait_s=0).status.value


def run_with_lost_answer(_talk: Connection, place: Place) -> None:
    """Run; the publish lands, but its answer does not come back."""

    def hook(step: Step) -> None:
        if At("after", "publish", "run/").fits(step) and ".log" not in step.subject:
            raise Unreachable("the catalog does not answer")

    place.open(hook).run(place.warehouse, wait_s=0)


def command(talk: Connection, place: Place, at: At) -> int:
    """Type `starberg run`; at a step, tell the test who holds the warehouse and wait. Return the exit code."""

    def hook(step: Step) -> None:
        if at.fits(step):
            talk.send(holder(opened, place.warehouse))
            talk.recv()

    opened = place.open(hook)
    environ = {**KEY, **place.settings}
    typed = ["run", place.warehouse, "--project", str(place.project)]
    return main(typed, environ=environ, open_lake=lambda _settings: opened)


def left(_talk: Connection, place: Place) -> tuple[str | None, list[str]]:
    """Return the holder of the lease and the branches."""
    lake = place.open()
    return holder(lake, place.warehouse), [branch.name for branch in lake.catalog.branches()]


def look(_talk: Connection, place: Place) -> None:
    """Ask for the tables."""
    place.open().tables()


def files_of(_talk: Connection, place: Place) -> dict[str, int]:
    """Return the lake's objects with their sizes."""
    return files(place.open())


def left_in_scratch(place: Place) -> list[str]:
    return [str(path) for path in (place.project / "tmp").iterdir()]


@pytest.mark.parametrize(("kilobytes", "landed"), [(0, False), (16, False), (1, True), (8, True)])
def test_a_full_disk_fails_the_run_in_one_line_and_the_next_one_goes_on(
    place: Place, known: Known, kilobytes: int, landed: bool
) -> None:
    with Task(run_with_files_of, place, kilobytes, landed) as task:
        failed = task.end()
    assert isinstance(failed, Failed)
    assert failed.exit_code in (1, 6), failed
    assert "\n" not in failed.message
    assert run_task(read, place)[0] == known.old
    assert left_in_scratch(place) == []
    assert run_task(run, place)[0] == "SUCCESS"
    run_task(whole, place, known)


@pytest.mark.parametrize("effect", ["put_file", "publish", "tag"])
def test_a_store_or_catalog_without_room_fails_the_run_unless_it_has_published(
    place: Place, known: Known, effect: str
) -> None:
    with Task(run_without_room, place, At("before", effect)) as task:
        end = task.end()
    if effect == "tag":
        assert end == "SUCCESS"
    else:
        assert isinstance(end, Failed)
        assert (end.kind, end.exit_code) == ("TransientError", 6)
        assert run_task(read, place)[0] == known.old
    assert run_task(run, place)[0] == ("SKIPPED" if effect == "tag" else "SUCCESS")
    run_task(whole, place, known)


def test_a_run_that_has_published_is_never_shown_as_failed(place: Place, known: Known) -> None:
    """Whatever goes wrong after the publish, also an answer of it that was lost."""
    with Task(run_with_lost_answer, place) as task:
        assert task.end().kind == "Unreachable"
    assert set(run_task(whole, place, known).values()) == {"SUCCESS", "SKIPPED"}


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGTERM, At("before", "put", "manifest.json")),
        (signal.SIGINT, At("before", "move", "fact_games")),
    ],
    ids=str,
)
def test_a_run_that_is_told_to_stop_lets_go_and_the_next_one_starts_at_once(
    place: Place, known: Known, number: signal.Signals, at: At
) -> None:
    with Task(command, place, at) as task:
        run_id = task.hear()
        task.signal(number)
        task.say()  # what is being landed is landed; whatever comes after it is not begun
        assert task.end() == 128 + number
    assert run_task(left, place) == (None, [])
    assert run_task(run, place)[0] == "SUCCESS"
    assert run_task(whole, place, known)[run_id] == "FAILED"


def test_a_lost_catalog_is_noticed_before_anything_is_built_anew(lake: tuple[Ground, Known], place: Place) -> None:
    (lake[0].base / "home" / "catalog.db").unlink()
    before = run_task(files_of, place)
    for function in (run, look):
        with Task(function, place) as task:
            refused = task.end()
        assert isinstance(refused, Failed)
        assert (refused.kind, refused.exit_code) == ("LakeError", 1)
        assert "restore the catalog from its backup" in refused.message
    assert run_task(files_of, place) == before
    shutil.copyfile(lake[0].base / "kept" / "catalog.db", lake[0].base / "home" / "catalog.db")
    assert run_task(run, place)[0] == "SUCCESS"


def test_a_catalog_that_is_given_up_is_built_anew_from_raw(lake: tuple[Ground, Known], place: Place) -> None:
    known = lake[1]
    for lost in ("catalog.db", "lake/lake.json"):
        (lake[0].base / "home" / lost).unlink()
    assert run_task(run, place)[0] == "SUCCESS"
    rebuilt, last = run_task(read, place)
    assert {name: rows for name, (rows, _) in rebuilt.items()} == {n: rows for n, (rows, _) in known.new.items()}
    assert last == known.loads
