"""Upkeep on MinIO, with Nessie's own API as the catalog and with its Iceberg REST endpoint."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from nessie_lakes import LAKE
from stack import Server, Stack
from test_rest_catalog import EMPTY
from upkept import Upkept, upkept

from starberg.etl.results import Status
from starberg.storage.branches import MAIN, Move
from starberg.storage.rest_catalog import RestCatalog

SMALL, IDLE = int(os.environ.get("UPKEEP_SMALL", "12")), int(os.environ.get("UPKEEP_IDLE", "24"))
"""A run after a small change takes two seconds of CPU here, one after none a quarter: 100 and 300 take six minutes.
`tests/properties/test_upkeep_files.py` makes these on a local lake; upkeep folds after each ten."""
REPEATS = 7
REST_LAKE = "s3://starberg/lake-of-rest"


@contextmanager
def on_servers(stack: Stack, folder: Path, lake: str = LAKE) -> Iterator[Upkept]:
    """Open a warehouse of its own, and take it away at the end; its clock is the servers' until it is moved."""
    settings = stack.service("minio").env | stack.service("nessie").env | {"STARBERG_LAKE": lake}
    with upkept(folder, settings, f"club_{secrets.token_hex(4)}") as opened:
        try:
            yield opened
        finally:
            take_away(opened)
            opened.lake.store.delete([key for key in opened.objects() if opened.name in key])


def take_away(lake: Upkept) -> None:
    """Let main have no table of the warehouse any more."""
    catalog = lake.lake.catalog
    branch = catalog.create_branch(f"away-{secrets.token_hex(4)}", lake.name)
    catalog.move(branch, [Move(name, at, None) for name, at in lake.tables().pointers.items()])
    catalog.publish(branch, "take a test's tables away")
    catalog.drop_branch(branch)


def beside_a_rebuild(lake: Upkept) -> None:
    """Build the warehouse anew from raw: what was kept has at most twice its files and reads at half its speed."""
    files, kept = lake.files(), lake.pointers()
    take_away(lake)
    lake.lake.run(lake.name, ingest=False)
    anew, fresh = lake.files(), lake.pointers()
    assert {name for name in files if files[name] > 2 * anew[name]} == set()
    reads = [(_read_s(lake, kept), _read_s(lake, fresh)) for _ in range(REPEATS)]
    assert min(before for before, _ in reads) <= 2 * min(after for _, after in reads)


def _read_s(lake: Upkept, pointers: Mapping[str, str]) -> float:
    """Return the seconds until some tables are read; most of them are waited for the store."""
    before = time.perf_counter()
    lake.read(pointers)
    return time.perf_counter() - before


@pytest.fixture
def lake(stack: Stack, tmp_path: Path) -> Iterator[Upkept]:
    with on_servers(stack, tmp_path) as opened:
        yield opened


def test_a_lake_on_nessie_keeps_few_files_and_what_tags_name_answers(lake: Upkept) -> None:
    lake.start()
    catalog = lake.lake.catalog
    first = lake.run([1]).run_id
    tag = f"kept-{lake.name}"
    catalog.tag(tag, catalog.published(first))
    for number in range(SMALL):
        assert lake.run([number % 30, number * 7 % 30], remember=False).status == Status.SUCCESS
        for _ in range(IDLE // SMALL):
            assert lake.run(remember=False).status == Status.SKIPPED
    last = lake.run([2]).run_id
    assert lake.maintain().status == Status.SUCCESS
    assert max(lake.files().values()) == 1
    lake.after_days(30)
    done = lake.maintain()
    assert done.files_dropped > 0
    assert lake.answers(MAIN)
    assert lake.answers(tag)
    assert lake.answers(first)
    assert last in lake.held
    assert lake.lake.verify(lake.name).equal
    catalog.drop_tag(tag)
    lake.after_days(2)
    assert lake.maintain().files_dropped > 0
    assert not lake.answers(first)
    beside_a_rebuild(lake)


def test_a_lake_of_a_rest_catalog_is_kept_and_the_server_reads_on(stack: Stack, nessie: Server, tmp_path: Path) -> None:
    """The server's own metadata files stay, and so does what they list."""
    name = f"rest-{secrets.token_hex(4)}"
    requests.post(
        f"{nessie.url}/api/v2/trees",
        params={"name": name, "type": "BRANCH"},
        json={"type": "BRANCH", "name": "main", "hash": EMPTY},
        timeout=60,
    ).raise_for_status()
    with on_servers(stack, tmp_path, f"{REST_LAKE}-{name}") as lake:
        catalog = RestCatalog(f"{nessie.url}/iceberg/{name}", lake.lake.store)
        lake.lake = replace(lake.lake, catalog=catalog)
        lake.start()
        first = lake.run([1]).run_id
        for number in range(6):
            lake.run([number], remember=False)
        tag = f"kept-{lake.name}"
        catalog.tag(tag, catalog.published(first))
        assert lake.maintain().status == Status.SUCCESS
        assert max(lake.files().values()) == 1
        lake.after_days(30)
        assert lake.maintain().files_dropped > 0
        for at in (MAIN, tag, first):
            assert lake.answers(at)
        assert lake.run([3]).status == Status.SUCCESS
        assert lake.lake.verify(lake.name).equal
