"""Dremio's REST API as its documentation has it, in this process: what that does not allow is refused.

docs.dremio.com, API Reference: "API Reference" (login, headers, errors), "Source", "Source Configuration", "Space",
"Folder", "SQL", "Job", "Job Results". No Dremio ran: this says that we keep to the documents, not that Dremio does.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from servers import Asked, Say

MASKED = "$DREMIO_EXISTING_VALUE$"
COMMON = {"entityType", "name", "id", "tag", "type", "config", "description", "metadataPolicy"} | {
    f"acceleration{rest}"
    for rest in (
        "GracePeriodMs",
        "RefreshPeriodMs",
        "NeverExpire",
        "NeverRefresh",
        "ActivePolicyType",
        "RefreshSchedule",
        "RefreshOnDataChanges",
    )
}
ENTITIES = {
    "source": (COMMON, {"entityType", "type", "name", "config"}),
    "space": ({"entityType", "name", "id", "tag"}, {"entityType", "name"}),
    "folder": ({"entityType", "path", "id", "tag"}, {"entityType", "path"}),
}
"""Fields each may have, and must have."""
STORAGE = {"secure", "propertyList", "credentialType", "assumedRoleARN", "isCachingEnabled", "maxCacheSpacePct"}
CONFIGS = {
    "NESSIE": (
        STORAGE
        | {"nessieEndpoint", "nessieAuthType", "nessieAccessToken", "awsAccessKey", "awsAccessSecret", "awsRootPath"}
        | {"asyncEnabled", "storageProvider", "awsProfile"},
        {"nessieEndpoint", "nessieAuthType", "credentialType", "awsRootPath"},
        {"nessieAccessToken", "awsAccessSecret"},
    ),
    "S3": (
        STORAGE
        | {"accessKey", "accessSecret", "rootPath", "enableAsync", "compatibilityMode", "whitelistedBuckets"}
        | {"externalBucketList", "requesterPays", "enableFileStatusCheck", "defaultCtasFormat"}
        | {"isPartitionInferenceEnabled"},
        {"credentialType"},
        {"accessSecret"},
    ),
}
"""Of each kind of source the settings it may have, must have, and never tells."""


class Refused(Exception):
    """A request the documentation does not allow."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.say = Say({"errorMessage": message, "moreInfo": ""}, status)


@dataclass
class DremioContract:
    """`entities` by path; `job` gives the end of a statement: its state, its error."""

    user: str = "ann"
    password: str = "hush-hush-1"
    access_token: str = "pat-123456"
    entities: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    end: Callable[[str], dict[str, Any]] = lambda sql: {"jobState": "COMPLETED"}
    polls: int = 2
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __call__(self, asked: Asked) -> Say:
        try:
            if asked.path == "/apiv2/login":
                return self._login(asked)
            self._check_token(asked)
            for pattern, verbs in self._routes().items():
                if (rest := _matched(pattern, asked.path)) is not None:
                    if asked.method not in verbs:
                        raise Refused(405, f"HTTP 405 Method Not Allowed: {asked.method} {asked.path}")
                    return verbs[asked.method](asked, rest)
            raise Refused(404, f"HTTP 404 Not Found: {asked.path}")
        except Refused as refused:
            return refused.say

    def _routes(self) -> dict[str, dict[str, Callable[[Asked, str], Say]]]:
        return {
            "/api/v3/catalog": {"POST": self._create},
            "/api/v3/catalog/by-path/*": {"GET": self._by_path},
            "/api/v3/catalog/*": {"PUT": self._update},
            "/api/v3/sql": {"POST": self._sql},
            "/api/v3/job/*/cancel": {"POST": self._cancel},
            "/api/v3/job/*": {"GET": self._job},
        }

    def _login(self, asked: Asked) -> Say:
        body = _body(asked, {"userName", "password"}, {"userName", "password"})
        if (body["userName"], body["password"]) != (self.user, self.password):
            raise Refused(401, "Login failed: Invalid username or password")
        return Say({"userName": self.user, "token": "session1", "expires": 0})

    def _check_token(self, asked: Asked) -> None:
        given = {name.lower(): value for name, value in asked.headers.items()}.get("authorization", "")
        if given not in ("_dremiosession1", f"Bearer {self.access_token}"):
            raise Refused(401, "HTTP 401 Unauthorized")

    def _create(self, asked: Asked, rest: str) -> Say:
        entity = self._entity(asked)
        path = tuple(entity["path"]) if "path" in entity else (entity["name"],)
        if "id" in entity or "tag" in entity:
            raise Refused(400, "a new entity has neither id nor tag")
        if path in self.entities:
            raise Refused(409, f"Unable to create {'.'.join(path)}, as it already exists")
        if len(path) > 1 and path[:-1] not in self.entities:
            raise Refused(400, f"Could not find entity with path [{'.'.join(path[:-1])}]")
        return Say(self._keep(path, entity, f"id-{next(self._numbers)}"))

    def _update(self, asked: Asked, rest: str) -> Say:
        entity = self._entity(asked)
        path = next((path for path, found in self.entities.items() if found["id"] == rest), None)
        if path is None:
            raise Refused(404, f"Could not find entity with id [{rest}]")
        if entity.get("id") != rest or entity.get("tag") != self.entities[path]["tag"]:
            raise Refused(409, "Cannot update a source because it was changed in the meantime")
        return Say(self._keep(path, entity, rest))

    def _keep(self, path: tuple[str, ...], entity: dict[str, Any], number: str) -> dict[str, Any]:
        self.written.append(".".join(path))
        kept = {**entity, "id": number, "tag": f"tag-{next(self._numbers)}"}
        if entity["entityType"] == "source":
            kept |= {"state": {"status": "good", "suggestedUserAction": "", "messages": []}, "children": []}
            kept["metadataPolicy"] = {"authTTLMs": 86400000, "namesRefreshMs": 3600000}
        self.entities[path] = kept
        return _told(kept)

    def _entity(self, asked: Asked) -> dict[str, Any]:
        kind = _body(asked, None, {"entityType"})["entityType"]
        if kind not in ENTITIES:
            raise Refused(400, f"unknown entityType {kind}")
        entity = _body(asked, *ENTITIES[kind])
        if kind == "source":
            if entity["type"] not in CONFIGS:
                raise Refused(400, f"unknown source type {entity['type']}")
            allowed, needed, _ = CONFIGS[entity["type"]]
            _check(entity["config"], allowed, needed)
            for each in entity["config"].get("propertyList", []):
                _check(each, {"name", "value"}, {"name", "value"})
                if not isinstance(each["value"], str):
                    raise Refused(400, "the value of a property is text")
        return entity

    def _by_path(self, asked: Asked, rest: str) -> Say:
        path = tuple(unquote(part) for part in rest.split("/"))
        if path not in self.entities:
            raise Refused(404, f"Could not find entity with path [{rest}]")
        return Say(_told(self.entities[path]))

    def _sql(self, asked: Asked, rest: str) -> Say:
        sql = _body(asked, {"sql", "context", "references", "engineName"}, {"sql"})["sql"]
        self.statements.append(sql)
        number = f"job-{next(self._numbers)}"
        self.jobs[number] = {"left": self.polls, "end": self.end(sql)}
        return Say({"id": number})

    def _job(self, asked: Asked, rest: str) -> Say:
        job = self._found(rest)
        job["left"] -= 1
        if job["left"] > 0:
            return Say({"jobState": "RUNNING", "queryType": "REST"})
        return Say({"rowCount": 0, "errorMessage": "", "cancellationReason": "", "queryType": "REST"} | job["end"])

    def _cancel(self, asked: Asked, rest: str) -> Say:
        self._found(rest)
        self.cancelled.append(rest)
        return Say(b"", 204)

    def _found(self, number: str) -> dict[str, Any]:
        if number not in self.jobs:
            raise Refused(404, f"Could not find a job with id [{number}]")
        return self.jobs[number]


def _told(entity: dict[str, Any]) -> dict[str, Any]:
    """Return an entity as the API shows it: without its secrets."""
    hidden = CONFIGS[entity["type"]][2] if entity["entityType"] == "source" else set()
    config = {name: MASKED if name in hidden else value for name, value in entity.get("config", {}).items()}
    return {**entity, "config": config} if config else entity


def _body(asked: Asked, allowed: set[str] | None, needed: set[str]) -> dict[str, Any]:
    kind = {name.lower(): value for name, value in asked.headers.items()}.get("content-type", "")
    if not kind.startswith("application/json"):
        raise Refused(415, "HTTP 415 Unsupported Media Type")
    body = json.loads(asked.body)
    _check(body, allowed, needed)
    return dict(body)


def _check(given: dict[str, Any], allowed: set[str] | None, needed: set[str]) -> None:
    if unknown := set(given) - (allowed if allowed is not None else set(given)):
        raise Refused(400, f"unknown field {sorted(unknown)[0]}")
    if missing := needed - set(given):
        raise Refused(400, f"missing field {sorted(missing)[0]}")


def _matched(pattern: str, path: str) -> str | None:
    """Return what the star of a pattern stands for, or None."""
    before, star, after = pattern.partition("*")
    if not star:
        return "" if path == pattern else None
    inner = path[len(before) : len(path) - len(after) if after else None]
    fits = path.startswith(before) and path.endswith(after) and inner
    return inner if fits and ("/" not in inner or "by-path" in before) else None
