"""An Iceberg REST catalog's server: namespaces, tables, and one commit of many tables (the protocol, no branches).

The protocol: https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starberg.storage.json_service import JsonService, Reply, Undecided, message
from starberg.utils.errors import LakeError, UsageError

_AT_ONCE = 8  # requests


@dataclass(frozen=True)
class ServedTable:
    """A table as the server has it: where it keeps the metadata (perhaps no file one can open), and the metadata."""

    location: str
    metadata: Mapping[str, Any]


class RestServer:
    """What we ask of a server. Tables are named `namespace.table`; namespaces of several levels are not looked into."""

    def __init__(self, service: JsonService, warehouse: str) -> None:
        self.service = service
        self._warehouse = warehouse
        self._lock = threading.Lock()
        self._prefix: str | None = None

    def tables(self) -> dict[str, ServedTable]:
        """Return all tables. They are asked for one by one, so this is not one look."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            namespaces = [space for (space, *deeper) in self._pages("namespaces", "namespaces") if not deeper]
            names = [name for found in pool.map(self._names, namespaces) for name in found]
            served = zip(names, pool.map(self.table, names), strict=True)
            return {name: table for name, table in served if table}

    def table(self, name: str) -> ServedTable | None:
        """Return one table, or None."""
        reply = self.service.get(self._path(_table_path(name)))
        if reply.status == 404:
            return None
        body = self._done(reply, f"table {name}").body
        return ServedTable(str(body.get("metadata-location") or ""), body["metadata"])

    def namespace(self, name: str, properties: Mapping[str, str]) -> Mapping[str, str]:
        """Make a namespace if there is none; return its properties."""
        return self.service.decide(lambda: self._namespace(name, properties))

    def commit(self, changes: Sequence[Mapping[str, Any]]) -> Reply:
        """Send changes of tables that are all made, or none (409: refused); Undecided if the outcome is not known."""
        reply = self.service.send("POST", self._path("transactions/commit"), body={"table-changes": list(changes)})
        if reply.status in (404, 405, 406) and not _is_table_missing(reply):
            what = f"{self.service.name} cannot commit several tables at once (transactions/commit: {reply.status})"
            raise UsageError(what, hint="Use a catalog that can, or sqlite, postgresql or nessie")
        return reply if reply.status in (404, 409) else self._done(reply, "the commit")

    def drop(self, name: str) -> None:
        """Drop a table and leave its files; an absent one is no error."""
        self.service.decide(lambda: self._drop(name))

    def _names(self, namespace: str) -> list[str]:
        path = f"namespaces/{_quoted(namespace)}/tables"
        return [f"{namespace}.{found['name']}" for found in self._pages(path, "identifiers")]

    def _namespace(self, name: str, properties: Mapping[str, str]) -> Mapping[str, str]:
        reply = self.service.get(self._path(f"namespaces/{_quoted(name)}"))
        if reply.status == 404:
            body = {"namespace": [name], "properties": properties}
            reply = self.service.send("POST", self._path("namespaces"), body=body)
            if reply.status == 409:
                raise Undecided(f"{self.service.name}: another one made namespace {name}")
        found: Mapping[str, str] = self._done(reply, f"namespace {name}").body.get("properties") or {}
        return found

    def _drop(self, name: str) -> None:
        path = self._path(_table_path(name))
        reply = self.service.send("DELETE", path, params={"purgeRequested": "false"})
        if reply.status != 404:
            self._done(reply, f"dropping {name}")

    def _pages(self, path: str, what: str) -> Iterator[Any]:
        params: dict[str, str] = {}
        while True:
            reply = self.service.get(self._path(path), params)
            if reply.status == 404:  # a namespace that was dropped since it was listed
                return
            body = self._done(reply, path).body
            yield from body.get(what) or []
            if not body.get("next-page-token"):
                return
            params["pageToken"] = body["next-page-token"]

    def _path(self, path: str) -> str:
        """Put the prefix before a path that the server wants; its configuration is asked for once."""
        with self._lock:
            if self._prefix is None:
                params = {"warehouse": self._warehouse} if self._warehouse else {}
                config = self._done(self.service.get("v1/config", params), "its configuration").body
                told = {**(config.get("defaults") or {}), **(config.get("overrides") or {})}
                if told.get("uri"):
                    self.service.rebase(told["uri"])
                self._prefix = str(told.get("prefix") or "")
        return f"v1/{_quoted(self._prefix)}/{path}" if self._prefix else f"v1/{path}"

    def _done(self, reply: Reply, asked: str) -> Reply:
        if not reply.ok:
            raise LakeError(f"{self.service.name} refused {asked} ({reply.status}): {message(reply.body)}")
        return reply


def change(name: str, requirements: list[dict[str, Any]], updates: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one table's part of a commit."""
    namespace, _, table = name.rpartition(".")
    return {
        "identifier": {"namespace": [namespace], "name": table},
        "requirements": requirements,
        "updates": updates,
    }


def _is_table_missing(reply: Reply) -> bool:
    error = reply.body.get("error")
    return isinstance(error, Mapping) and error.get("type") == "NoSuchTableException"


def _table_path(name: str) -> str:
    namespace, _, table = name.rpartition(".")
    return f"namespaces/{_quoted(namespace)}/tables/{_quoted(table)}"


def _quoted(part: str) -> str:
    return quote(part, safe="")
