"""Whole runs of a warehouse whose object store or catalog fails: they end rightly, or the next run needs no help.

What each server's client does by itself is shown elsewhere, line by line of the faults a lake must stand:

| fault | one call of the store or catalog | a whole run |
|---|---|---|
| store answers 500, 503, SlowDown | `S3Questions.test_a_busy_server_…`, `test_a_server_that_stays_busy_…` | here |
| store hangs or is slow | `S3Questions.test_a_server_that_hangs_…`, `TestMinioAsAServer.test_a_slow_network_…` | here |
| connection cut in a put | `S3Questions.test_a_put_cut_off_…`, `test_half_a_file_never_passes_…` | here |
| store answers 403, keys expire | `S3Questions.test_a_refusal_is_asked_once`, `test_wrong_keys_are_…` | here |
| Nessie down around the merge | `TestNessie.test_a_merge_that_never_gets_an_answer_…` | here |
| merge conflict | `CatalogQuestions.test_of_two_runs_of_one_table_…` | `ConcurrencyQuestions.test_a_run_frozen_…` |
| outcome of a commit unknown | `TestNessie.test_a_lost_answer_changes_nothing_twice` | here |
| refusal of a merge that landed | `TestNessie.test_a_merge_whose_answer_is_lost_…` | here |
| Nessie restarted, its store lost | `TestNessie.test_a_restart_keeps_the_identity` | here |
| disk full | | here; of this machine's own disk also `e2e/test_machine_faults.py` |
"""

from __future__ import annotations

import os
import resource
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "behaviours"))

from concurrency import run, run_to, whole
from conftest import client
from crash import Known, read
from fault_proxy import fault_proxy
from faults import At, Failed, Task, run_task
from nessie_lakes import LAKE, NessieGround, nessie_ground
from places import Place, Standing
from stack import Server, Stack

from starberg.utils.clock import Clock

Plan = tuple[Any, ...]
"""What `FaultProxy.plan` takes: a request, a fault and its details."""

POLICIES = Path(__file__).parents[2] / "deploy/minio"
ALWAYS = 999
COMMIT, MERGE = "POST .*/run%2F.*/history/commit", "POST .*/history/merge"


@pytest.fixture(scope="module")
def lake(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NessieGround, Known]]:
    with nessie_ground(stack, tmp_path_factory.mktemp("faults")) as ground:
        yield ground, ground.known()


@pytest.fixture
def place(lake: tuple[NessieGround, Known]) -> Place:
    return lake[0].fresh()


@pytest.fixture
def known(lake: tuple[NessieGround, Known]) -> Known:
    return lake[1]


def run_through(
    _talk: Connection, place: Place, store_faults: Sequence[Plan], catalog_faults: Sequence[Plan], times: int
) -> tuple[str, str, list[str]]:
    """Run with a way to each server on which requests fail; return status, run id and the faults nobody met."""
    _be_impatient()
    with ExitStack() as ways:
        store = ways.enter_context(fault_proxy(place.settings["MINIO_ENDPOINT"]))
        catalog = ways.enter_context(fault_proxy(place.settings["NESSIE_URI"]))
        for proxy, plans in ((store, store_faults), (catalog, catalog_faults)):
            for plan in plans:
                proxy.plan(*plan, times=times)
        through = {**place.settings, "MINIO_ENDPOINT": store.url, "NESSIE_URI": catalog.url}
        result = replace(place, settings=through).open().run(place.warehouse, wait_s=0)
        return result.status.value, result.run_id, store.pending + catalog.pending


def run_to_impatiently(talk: Connection, place: Place, stop: At) -> str:
    """Run as `run_to` does, with short pauses."""
    _be_impatient()
    return run_to(talk, place, stop)


def run_with_files_of(_talk: Connection, place: Place, kilobytes: int) -> None:
    """Run where no file of this machine may grow larger, as on a disk that is full."""
    lake = place.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))
    lake.run(place.warehouse, wait_s=0)


def run_with_keys(_talk: Connection, place: Place, keys: dict[str, str]) -> str:
    """Run with the keys that AWS's own variables hold; return the status."""
    os.environ.update(keys)
    ours = ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")
    without = {name: value for name, value in place.settings.items() if name not in ours}
    return replace(place, settings=without).open().run(place.warehouse, wait_s=0).status.value


def _be_impatient() -> None:
    """Make pauses short and a server that hangs given up soon: what is waited for does not come."""
    import botocore.endpoint
    import tenacity.nap

    from starberg.storage.s3_store import S3Store

    pause: Any = SimpleNamespace(sleep=lambda _seconds: None)
    for module in (botocore.endpoint, tenacity.nap):
        vars(module)["time"] = pause
    S3Store.__init__.__kwdefaults__.update(read_timeout_s=1.0)  # type: ignore[union-attr]
    Standing.sleep = _sleep_little  # type: ignore[method-assign, assignment]


def _sleep_little(_clock: Clock, seconds: float) -> None:
    time.sleep(min(seconds, 0.05))


def merges_of(ground: NessieGround, run_id: str) -> int:
    """Count the merges into main that publish a run."""
    wanted = {"filter": f"'starberg.run' in commit.properties && commit.properties['starberg.run'] == '{run_id}'"}
    return len(ground.catalog._service.get("trees/main/history", wanted).body["logEntries"])  # type: ignore[attr-defined]


def check_next_run(place: Place, known: Known) -> dict[str, str]:
    """Check that nothing was published, and that the next run mends everything; return the runs' statuses."""
    assert run_task(read, place)[0] == known.old
    assert run_task(run, place)[0] == "SUCCESS"
    statuses: dict[str, str] = run_task(whole, place, known)
    return statuses


@pytest.mark.parametrize(
    ("store_faults", "catalog_faults", "times"),
    [
        (
            [
                ("PUT .*/leases/", "refuse", 503, "SlowDown"),
                ("GET .*/metadata/", "refuse", 500, "InternalError"),
                ("GET .*/metadata/", "cut answer"),
                ("PUT .*/part-", "cut request"),
                ("PUT .*/manifest.json", "hang"),
                ("PUT .*/data/", "cut request"),
                ("PUT .*/data/", "drop answer"),
            ],
            [],
            2,
        ),
        ([], [(COMMIT, "drop answer"), (COMMIT, "refuse", 503, "x"), (COMMIT, "refuse afterwards", 500, "x")], 1),
        ([], [(MERGE, "refuse", 502, "x"), (MERGE, "drop answer")], 1),
        ([], [(MERGE, "refuse afterwards", 409, "x")], 1),
    ],
    ids=["store", "commits", "merge, answer lost", "merge, refused afterwards"],
)
def test_a_run_gets_over_faults_that_pass(
    lake: tuple[NessieGround, Known],
    place: Place,
    known: Known,
    store_faults: Sequence[Plan],
    catalog_faults: Sequence[Plan],
    times: int,
) -> None:
    status, run_id, pending = run_task(run_through, place, store_faults, catalog_faults, times)
    assert (status, pending) == ("SUCCESS", [])
    assert merges_of(lake[0], run_id) == 1
    run_task(whole, place, known)


STAYING = [
    ([("PUT .*/data/", "refuse", 503, "SlowDown")], [], "Unreachable", 6, "SlowDown"),
    ([("PUT .*/data/", "hang")], [], "Unreachable", 6, "timeout"),
    ([("PUT .*/data/", "cut request")], [], "Unreachable", 6, "s3://"),
    ([("PUT .*/data/", "refuse", 507, "XMinioStorageFull")], [], "Unreachable", 6, "XMinioStorageFull"),
    ([("PUT .*/data/", "refuse", 403, "AccessDenied")], [], "CredentialsError", 7, "AccessDenied"),
    ([("PUT .*/data/", "refuse", 400, "ExpiredToken")], [], "CredentialsError", 7, "ExpiredToken"),
    ([], [(COMMIT, "refuse", 503, "x")], "Unreachable", 6, "503"),
    ([], [(MERGE, "refuse", 502, "x")], "Unreachable", 6, "502"),
]


def test_a_fault_that_stays_ends_the_run_in_one_line_and_the_next_one_goes_on(
    lake: tuple[NessieGround, Known], place: Place, known: Known
) -> None:
    published = lake[0].data_tables()
    for store_faults, catalog_faults, kind, exit_code, said in STAYING:
        lake[0].put_back()
        with Task(run_through, place, store_faults, catalog_faults, ALWAYS) as task:
            failed = task.end()
        assert isinstance(failed, Failed), f"{said}: {failed}"
        assert (failed.kind, failed.exit_code) == (kind, exit_code), failed
        assert said in failed.message
        assert "\n" not in failed.message
        assert place.settings["MINIO_SECRET_KEY"] not in failed.message
        assert lake[0].data_tables() == published
    statuses = check_next_run(place, known)
    assert list(statuses.values()).count("FAILED") == 1


def test_a_full_disk_of_this_machine_fails_the_run_and_the_next_one_goes_on(place: Place, known: Known) -> None:
    with Task(run_with_files_of, place, 4) as task:
        failed = task.end()
    assert isinstance(failed, Failed)
    assert failed.exit_code in (1, 6), failed
    assert "\n" not in failed.message
    assert list((place.project / "tmp").iterdir()) == []
    check_next_run(place, known)


def test_a_nessie_that_dies_before_the_merge_fails_the_run(nessie: Server, place: Place, known: Known) -> None:
    with Task(run_to_impatiently, place, At("before", "publish")) as task:
        run_id = task.hear()
        nessie.kill()
        task.say()
        failed = task.end()
    nessie.start()
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.exit_code) == ("Unreachable", 6), failed
    assert nessie.url in failed.message
    assert check_next_run(place, known)[run_id] == "FAILED"


def test_a_nessie_that_dies_after_the_merge_changes_nothing(
    lake: tuple[NessieGround, Known], nessie: Server, place: Place, known: Known
) -> None:
    with Task(run_to_impatiently, place, At("after", "publish")) as task:
        run_id = task.hear()
        nessie.kill()
        task.say()
        assert task.end() == "SUCCESS"
    nessie.start()
    assert merges_of(lake[0], run_id) == 1
    assert run_task(run, place)[0] == "SKIPPED"
    assert run_task(whole, place, known)[run_id] == "SUCCESS"


def test_a_run_goes_on_with_servers_that_were_restarted(
    nessie: Server, minio: Server, place: Place, known: Known
) -> None:
    with Task(run_to, place, At("before", "move", "fact_games")) as task:
        task.hear()
        for server in (nessie, minio):
            server.kill()
            server.start()
        task.say()
        assert task.end() == "SUCCESS"
    run_task(whole, place, known)


def test_a_nessie_that_lost_its_store_is_not_taken_for_an_empty_lake(
    nessie: Server, place: Place, known: Known
) -> None:
    store, kept = nessie.directory / "data", nessie.directory / "kept"
    nessie.stop()
    store.rename(kept)
    try:
        nessie.start()
        with Task(run, place) as task:
            refused = task.end()
    finally:
        nessie.stop()
        store.rename(nessie.directory / f"lost-{secrets.token_hex(4)}")
        kept.rename(store)
        nessie.start()
    assert isinstance(refused, Failed)
    assert (refused.kind, refused.exit_code) == ("LakeError", 1), refused
    assert "restore the catalog from its backup" in refused.message
    check_next_run(place, known)


def test_a_run_needs_no_more_than_its_policy_for_the_prefix_of_its_lake(
    minio: Server, place: Place, known: Known
) -> None:
    prefix = LAKE.removeprefix("s3://starberg/")
    policy = (POLICIES / "read-write.json").read_text().replace("starberg/*", f"starberg/{prefix}/*")
    root = client("sts", minio, minio.env["MINIO_ACCESS_KEY"], minio.env["MINIO_SECRET_KEY"])
    role = "arn:aws:iam::000000000000:role/any"  # asked for by the protocol, unused by MinIO
    drawn = root.assume_role(RoleArn=role, RoleSessionName="test", Policy=policy)["Credentials"]
    keys = {
        "AWS_ACCESS_KEY_ID": drawn["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": drawn["SecretAccessKey"],
        "AWS_SESSION_TOKEN": drawn["SessionToken"],
    }
    assert run_task(run_with_keys, place, keys) == "SUCCESS"
    run_task(whole, place, known)
    elsewhere = replace(place, settings={**place.settings, "STARBERG_LAKE": "s3://starberg/elsewhere"})
    with Task(run_with_keys, elsewhere, keys) as task:
        refused = task.end()
    assert isinstance(refused, Failed)
    assert (refused.kind, refused.exit_code) == ("CredentialsError", 7), refused
    assert "AccessDenied" in refused.message
