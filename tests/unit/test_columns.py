"""Which columns a record's keys become."""

import json

import duckdb
import pytest

from starberg.ingestion.columns import RESERVED, column_of_key, json_columns, json_path_of_key, newly_seen
from starberg.ingestion.streams import Stream

STREAM = Stream(key=["id"], columns={"id": "BIGINT", "maker": {"type": "VARCHAR", "path": "brand.name"}})


@pytest.mark.parametrize(
    "key", ['a"; DROP TABLE x;--', "a'b", "and/or", "~1", "*", "dot.ted", "$", "[0]", "\\", "a\tb"]
)
def test_any_key_is_found_by_its_pointer(key: str) -> None:
    record = json.dumps({key: "here", "a": {"b": "not here"}})
    found = duckdb.execute("SELECT json_extract_string(?::VARCHAR, [?])", [record, json_path_of_key(key)]).fetchone()
    assert found == (["here"],)


@pytest.mark.parametrize("key", [*sorted(RESERVED), "Record", "FILENAME"])
def test_a_key_named_as_a_column_of_the_engine_gets_another_name(key: str) -> None:
    assert newly_seen(json.dumps({key: "VARCHAR"}), STREAM, {}) == {key: "VARCHAR"}
    column = json_columns(STREAM, {key: "VARCHAR"})[f"{key}_"]
    assert column.path == f"/{key}"
    assert column_of_key(f"{key}_") == f"{key}_"


def test_of_keys_that_would_be_one_column_the_first_stands() -> None:
    shape = {"Size": "BIGINT", "size": "VARCHAR", "filename": "VARCHAR", "filename_": "VARCHAR", "ID": "VARCHAR"}
    assert newly_seen(json.dumps(shape), STREAM, {}) == {"Size": "BIGINT", "filename": "VARCHAR"}
    assert newly_seen(json.dumps(shape), STREAM, {"size": "VARCHAR", "filename": "VARCHAR"}) == {}


def test_keys_no_column_can_be_named_by_are_left_out() -> None:
    assert newly_seen(json.dumps({"": "VARCHAR", "a\0b": "VARCHAR", "unknown yet": "NULL"}), STREAM, {}) == {}


def test_what_is_declared_by_its_path_is_not_seen_again() -> None:
    assert newly_seen(json.dumps({"brand": {"name": "VARCHAR"}, "size": {"w": "BIGINT"}}), STREAM, {}) == {
        "size": "JSON"
    }
