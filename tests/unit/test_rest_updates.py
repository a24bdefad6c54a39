"""REST updates against PyIceberg, which applies them as a server does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import TypeAdapter
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.update import TableRequirement, TableUpdate, update_table_metadata
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import LongType, StructType

from starberg.storage.rest_updates import current_snapshot, requirements, updates

_UPDATES = TypeAdapter(tuple[TableUpdate, ...])
_REQUIREMENTS = TypeAdapter(tuple[TableRequirement, ...])


@pytest.fixture
def table(tmp_path: Path) -> Any:
    catalog = SqlCatalog("files", uri="sqlite://", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("games")
    yield catalog.create_table("games.a", pa.schema([("n", pa.int64()), ("s", pa.string())]), properties={"p": "1"})
    catalog.engine.dispose()


def written(table: Table) -> dict[str, Any]:
    """Return the metadata as it stands in its file."""
    with table.io.new_input(table.metadata_location).open() as file:
        found: dict[str, Any] = json.loads(file.read())
        return found


def served(base: dict[str, Any], new: dict[str, Any]) -> TableMetadata:
    """Return what a server at `base` makes of the updates to `new`, having checked the requirements."""
    at = TableMetadataUtil.parse_obj(base)
    for requirement in _REQUIREMENTS.validate_python(requirements(base)):
        requirement.validate(at)
    return update_table_metadata(at, _UPDATES.validate_python(updates(base, new)))


def evolve(table: Table) -> None:
    table.append(pa.table({"n": [1], "s": ["x"]}))
    with table.update_schema() as schema:
        schema.add_column("more", LongType()).add_column("deep", StructType())
    with table.update_schema() as schema:
        schema.rename_column("s", "text")
    with table.update_spec() as spec:
        spec.add_field("text", IdentityTransform())
    with table.update_spec() as spec:
        spec.add_field("n", BucketTransform(4))
    with table.update_sort_order() as order:
        order.asc("n", IdentityTransform())
    table.transaction().set_properties(p="2", q="3").commit_transaction()
    table.transaction().remove_properties("p").commit_transaction()


def test_updates_lead_a_server_from_one_metadata_to_the_next(table: Table) -> None:
    base = written(table)
    evolve(table)
    new = written(table)
    made = json.loads(served(base, new).model_dump_json(by_alias=True))
    for part in ("schemas", "partition-specs", "sort-orders", "properties", "snapshots", "refs", "location"):
        assert made[part] == json.loads(TableMetadataUtil.parse_obj(new).model_dump_json(by_alias=True))[part], part
    for number in ("current-schema-id", "default-spec-id", "default-sort-order-id", "current-snapshot-id"):
        assert made[number] == new[number], number


def test_no_difference_is_no_update(table: Table) -> None:
    assert updates(written(table), written(table)) == []


def test_an_item_that_is_current_again_is_named_by_its_id(table: Table) -> None:
    first = written(table)
    evolve(table)
    back = {**written(table), "current-schema-id": 0, "default-spec-id": 0, "default-sort-order-id": 0}
    chosen = [update for update in updates(written(table), back) if update["action"].startswith("set-")]
    assert chosen == [
        {"action": "set-current-schema", "schema-id": 0},
        {"action": "set-default-spec", "spec-id": 0},
        {"action": "set-default-sort-order", "sort-order-id": 0},
    ]
    assert first["current-schema-id"] == 0


def test_a_new_table_is_made_from_nothing(table: Table) -> None:
    evolve(table)
    actions = [update["action"] for update in updates(None, written(table))]
    assert requirements(None) == [{"type": "assert-create"}]
    assert actions[:2] == ["assign-uuid", "upgrade-format-version"]
    assert actions.count("add-schema") == 3
    assert actions[-2:] == ["add-snapshot", "set-snapshot-ref"]
    assert [update["last-column-id"] for update in updates(None, written(table)) if "schema" in update] == [4, 4, 4]


def test_a_server_that_moved_on_does_not_meet_the_requirements(table: Table) -> None:
    base = written(table)
    evolve(table)
    failed = set()
    for requirement in _REQUIREMENTS.validate_python(requirements(base)):
        try:
            requirement.validate(table.metadata)
        except CommitFailedException:
            failed.add(requirement.type)
    assert failed == {"assert-ref-snapshot-id", "assert-current-schema-id", "assert-default-spec-id"}


@pytest.mark.parametrize("none", [{}, {"current-snapshot-id": None}, {"current-snapshot-id": -1}])
def test_a_table_without_snapshot_has_no_current_one(none: dict[str, Any]) -> None:
    assert current_snapshot(none) is None


def test_expired_snapshots_are_removed(table: Table) -> None:
    table.append(pa.table({"n": [1], "s": ["x"]}))
    table.append(pa.table({"n": [2], "s": ["y"]}))
    base = written(table)
    kept = [snapshot for snapshot in base["snapshots"] if snapshot["snapshot-id"] == base["current-snapshot-id"]]
    (update,) = updates(base, {**base, "snapshots": kept})
    assert update["action"] == "remove-snapshots"
    assert len(update["snapshot-ids"]) == 1
