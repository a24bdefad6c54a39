"""`count: true`: a load tells how many rows its table had in the snapshot that was read."""

from __future__ import annotations

from pathlib import Path

import pytest
from database import Database, Feed
from pydantic import ValidationError

from starberg.ingestion.streams import SourceSpec

STREAM = {"table": "public.t", "key": ["id"], "count": True}


@pytest.mark.parametrize("capture", [{}, {"capture": "high_water_mark", "cursor": "at"}, {"capture": "keys"}])
def test_rows_are_counted_in_the_snapshot_that_is_read(
    tmp_path: Path, database: Database, capture: dict[str, str]
) -> None:
    database.run(
        "create table t (id int primary key, at timestamptz not null default now())",
        "insert into t select generate_series(1, 5)",
    )
    feed = Feed(tmp_path, database, {"t": {**STREAM, **capture}})
    open_at_first = database.connect()
    open_at_first.cursor().execute("insert into t values (6)")  # not there for any snapshot before it commits
    assert [load.source_rows for load in feed.ingest()] == [5]
    open_at_first.commit()
    open_at_first.close()
    assert [load.source_rows for load in feed.ingest()] == [6]
    database.run("delete from t where id < 4", "insert into t values (9)")
    assert [load.source_rows for load in feed.ingest()] == [4]  # however the deletes are found


def test_nothing_is_counted_unless_it_is_asked_for(tmp_path: Path, database: Database) -> None:
    database.run("create table t (id int primary key)", "insert into t values (1)")
    feed = Feed(tmp_path, database, {"t": {**STREAM, "count": False}})
    assert [load.source_rows for load in feed.ingest()] == [None]


@pytest.mark.parametrize(
    ("source", "stream", "said"),
    [
        ({"kind": "postgres", "connection": {"url": "A"}}, {**STREAM, "capture": "log"}, "stream t has count"),
        ({"kind": "rest", "url": "http://a"}, {"key": ["id"], "count": True}, "stream t has count"),
    ],
)
def test_a_count_is_for_tables_that_are_read_at_every_run(
    source: dict[str, object], stream: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        SourceSpec.model_validate({**source, "streams": {"t": stream}})
