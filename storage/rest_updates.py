"""The Iceberg REST updates that lead from one table metadata to the next (pure).

Metadata JSON and the REST protocol share their parts (schemas, specs, snapshots …), so what changed between two
metadata files can be said in updates, and what must still hold in requirements (Iceberg's
open-api/rest-catalog-open-api.yaml, TableUpdate and TableRequirement). Branches and tags other than `main` are not
looked at: those are the table's own, not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
_LAST_ADDED = -1


def requirements(base: Json | None) -> list[dict[str, Any]]:
    """Return what a server must find for a commit on `base` (None: no such table)."""
    if base is None:
        return [{"type": "assert-create"}]
    return [
        {"type": "assert-table-uuid", "uuid": base["table-uuid"]},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": current_snapshot(base)},
        {"type": "assert-current-schema-id", "current-schema-id": base["current-schema-id"]},
        {"type": "assert-default-spec-id", "default-spec-id": base["default-spec-id"]},
    ]


def updates(base: Json | None, new: Json) -> list[dict[str, Any]]:
    """Return the updates from `base` (None: the table is new) to `new`."""
    old: Json = base or {}
    changes: list[dict[str, Any]] = []
    if base is None:
        changes.append({"action": "assign-uuid", "uuid": new["table-uuid"]})
        changes.append({"action": "upgrade-format-version", "format-version": new["format-version"]})
    changes += _schemas(old, new)
    changes += _numbered(old, new, "partition-specs", "spec-id", "default-spec-id", "spec")
    changes += _numbered(old, new, "sort-orders", "order-id", "default-sort-order-id", "sort-order")
    if old.get("location") != new["location"]:
        changes.append({"action": "set-location", "location": new["location"]})
    return changes + _properties(old.get("properties", {}), new.get("properties", {})) + _snapshots(old, new)


def current_snapshot(metadata: Json) -> int | None:
    """Return the id of the current snapshot; some writers say -1 for none."""
    snapshot_id = metadata.get("current-snapshot-id")
    return None if snapshot_id in (None, -1) else int(snapshot_id)


def _schemas(old: Json, new: Json) -> list[dict[str, Any]]:
    added = _added(old, new, "schemas", "schema-id")
    # The last column id is no longer asked for, but Nessie before 0.105.3 insists on it.
    changes: list[dict[str, Any]] = [
        {"action": "add-schema", "schema": schema, "last-column-id": new["last-column-id"]} for schema in added
    ]
    return changes + _chosen(old, new, "current-schema-id", "set-current-schema", "schema-id", added)


def _numbered(old: Json, new: Json, items: str, id_name: str, default: str, what: str) -> list[dict[str, Any]]:
    added = _added(old, new, items, id_name)
    changes: list[dict[str, Any]] = [{"action": f"add-{what}", what: item} for item in added]
    return changes + _chosen(old, new, default, f"set-default-{what}", id_name, added)


def _chosen(old: Json, new: Json, which: str, action: str, id_name: str, added: Sequence[Json]) -> list[dict[str, Any]]:
    """Return the update that makes one of the items current, if another one was."""
    if old.get(which) == new[which]:
        return []
    is_last = bool(added) and added[-1][id_name] == new[which]
    # The update names its id as the item does, but for sort orders, where it says `sort-order-id`.
    named = "sort-order-id" if id_name == "order-id" else id_name
    return [{"action": action, named: _LAST_ADDED if is_last else new[which]}]


def _properties(old: Mapping[str, str], new: Mapping[str, str]) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    if changed := {name: value for name, value in new.items() if old.get(name) != value}:
        changes.append({"action": "set-properties", "updates": changed})
    if removed := sorted(old.keys() - new.keys()):
        changes.append({"action": "remove-properties", "removals": removed})
    return changes


def _snapshots(old: Json, new: Json) -> list[dict[str, Any]]:
    added = sorted(_added(old, new, "snapshots", "snapshot-id"), key=lambda snapshot: snapshot["sequence-number"])
    changes: list[dict[str, Any]] = [{"action": "add-snapshot", "snapshot": snapshot} for snapshot in added]
    current = current_snapshot(new)
    if current is not None and current != current_snapshot(old):
        ref = {"ref-name": "main", "type": "branch", "snapshot-id": current}
        changes.append({"action": "set-snapshot-ref", **ref})
    if expired := sorted(_ids(old.get("snapshots"), "snapshot-id") - _ids(new.get("snapshots"), "snapshot-id")):
        changes.append({"action": "remove-snapshots", "snapshot-ids": expired})
    return changes


def _added(old: Json, new: Json, items: str, id_name: str) -> list[Json]:
    known = _ids(old.get(items), id_name)
    return [item for item in new.get(items) or [] if item[id_name] not in known]


def _ids(items: Iterable[Json] | None, id_name: str) -> set[int]:
    return {item[id_name] for item in items or []}
