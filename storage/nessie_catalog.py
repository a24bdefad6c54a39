"""A catalog in a Nessie server, through its own API (v2, https://projectnessie.org/develop/api).

A run's branch is a Nessie branch `run/<run_id>`, and a publish is a merge into main, which Nessie makes atomic and
checks table by table. Nessie gets to know a table by the location of the metadata file we wrote, and serves that file
to Iceberg REST clients (Spark, Trino, PyIceberg …) below `/iceberg`, on main or any branch.

Two things Nessie does not keep for us are put into commit properties: every commit on a branch carries whose branch it
is, and every merge the run it publishes. A branch's first commit changes nothing (operation UNCHANGED) but carries
these. A warehouse's namespace is made on main when its first branch is cut, because tables need one, and because an
empty main has no commit that a branch could share with it ("No common ancestor", 0.99.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from starberg.storage.branches import (
    BRANCH_PREFIX,
    MAIN,
    Branch,
    Move,
    State,
    check_moves,
    check_run_id,
    check_tag,
    check_warehouse,
    gone,
    instant,
    is_hash,
    is_name,
    no_such_state,
)
from starberg.storage.json_service import TIMEOUTS_S, JsonService, OAuth2, Reply, Undecided, message
from starberg.utils.clock import Clock
from starberg.utils.errors import Conflict, LakeError, UsageError

_RUN = "starberg.run"  # on a merge: the run it publishes
_OWNER = "starberg.branch"  # on a branch's commits: its run, and with it …
_WAREHOUSE, _BASE, _CREATED = "starberg.warehouse", "starberg.base", "starberg.created_at"


class NessieCatalog:
    """The `Catalog` in Nessie 0.99 or later. Nothing connects before the first call; threads may share it."""

    writes_metadata = False

    def __init__(
        self,
        uri: str,
        *,
        token: SecretStr | None = None,
        oauth2: OAuth2 | None = None,
        timeouts_s: tuple[float, float] = TIMEOUTS_S,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        root = f"{server_of(uri)}/api/v2"
        self._service = JsonService(
            root, "Nessie", token=token, oauth2=oauth2, timeouts_s=timeouts_s, clock=self._clock
        )

    def __repr__(self) -> str:
        return f"NessieCatalog({self._service.root})"

    def state(self, at: str = MAIN) -> State:
        """Return all tables at `at` (see `Catalog.state`)."""
        for ref in self._refs(at):
            if (found := self._look(ref)) is None:
                continue
            position, contents = found
            branch = self._branch(ref.removeprefix(BRANCH_PREFIX)) if ref.startswith(BRANCH_PREFIX) else None
            tables = {table: str(content["metadataLocation"]) for table, content in sorted(contents.items())}
            return State(at, branch.base if branch else position, tables)
        names = [name for one in self._references("true") for name in (one["name"], one["name"].removeprefix("run/"))]
        raise no_such_state(at, names)

    def create_branch(self, run_id: str, warehouse: str) -> Branch:
        """Cut `run/<run_id>` from main, or return it if it is there."""
        check_run_id(run_id)
        check_warehouse(warehouse)
        if position := self.published(run_id):
            raise Conflict(f"run {run_id} was published already, as {position}")
        return self._service.decide(lambda: self._create_branch(run_id, warehouse))

    def move(self, branch: Branch, moves: Sequence[Move]) -> None:
        """Move pointers on a branch in one Nessie commit."""
        check_moves(branch, moves)
        self._service.decide(lambda: self._move(branch, moves))

    def publish(self, branch: Branch, message: str) -> str:
        """Merge the branch into main; return main's hash after it."""
        return self._service.decide(lambda: self._publish(branch, message))

    def published(self, run_id: str) -> str | None:
        """Return the hash of the run's merge, or None. Nessie reads all of main's log for it (1500 commits: 0.3 s)."""
        return self._merge_of(run_id, since="")

    def branches(self, warehouse: str | None = None) -> list[Branch]:
        """List branches, oldest first."""
        names = [str(one["name"]) for one in self._references(f"ref.name.startsWith('{BRANCH_PREFIX}')")]
        found = [self._branch(name.removeprefix(BRANCH_PREFIX)) for name in names]
        wanted = [branch for branch in found if branch and warehouse in (None, branch.warehouse)]
        return sorted(wanted, key=lambda branch: (branch.created_at, branch.run_id))

    def drop_branch(self, branch: Branch) -> None:
        """Delete the Nessie branch."""
        self._service.decide(lambda: self._delete(branch.name))

    def pointers(self, since: datetime) -> set[tuple[str, str]]:
        """Return every pointer that can still be looked up (see `Catalog.pointers`), from one reading of main's log."""
        found: set[tuple[str, str]] = set()
        for one in self._references("true"):
            found |= self._located(f"{one['name']}@{one['hash']}")
        # Commits are read to the second.
        until = since.astimezone(UTC) - timedelta(seconds=1)
        for entry in self._pages(f"trees/{MAIN}/history", {"fetch": "ALL"}, "logEntries"):
            if _committed_at(entry["commitMeta"]) < until:
                return found | self._located(f"{MAIN}@{entry['commitMeta']['hash']}")
            for operation in entry.get("operations") or []:
                if location := (operation.get("content") or {}).get("metadataLocation"):
                    found.add((".".join(operation["key"]["elements"]), str(location)))
        return found

    def tag(self, name: str, position: str | None = None) -> None:
        """Name a position of main (default: now) by a Nessie tag."""
        check_tag(name)
        wanted = self._hash(MAIN) if position is None else self._position(position)
        if not wanted:
            raise UsageError(f"main has no position {position!r}", hint="Give a hash of main's log")
        self._service.decide(lambda: self._tag(name, wanted))

    def tags(self) -> dict[str, str]:
        """Return tag names with their hashes."""
        return {one["name"]: one["hash"] for one in self._references("refType == 'TAG'")}

    def drop_tag(self, name: str) -> None:
        """Delete a Nessie tag."""
        check_tag(name)
        self._service.decide(lambda: self._delete(name))

    def identity(self) -> str:
        """Return when Nessie's store was made, which it keeps with the store."""
        reply = self._service.get("config")
        created = reply.body.get("repositoryCreationTimestamp")
        if not created:
            raise LakeError(
                f"{self._service.name} does not say when its store was made", hint="Use Nessie 0.99 or later"
            )
        return f"nessie:{created}"

    def close(self) -> None:
        """Release connections."""
        self._service.close()

    # one step each, which looks before it acts

    def _create_branch(self, run_id: str, warehouse: str) -> Branch:
        there = self._branch(run_id)
        if there and there.warehouse == warehouse:
            return there
        if there and there.warehouse:
            raise Conflict(f"{there.name} is a branch of {there.warehouse}, not of {warehouse}")
        base = there.base if there else self._base_with_namespace(warehouse)
        branch = Branch(run_id, warehouse, self._clock.now(), base)
        if not there:
            origin = {"type": "BRANCH", "name": MAIN, "hash": base}
            self._sent("POST", "trees", params={"name": branch.name, "type": "BRANCH"}, body=origin)
        marker = {"type": "UNCHANGED", "key": {"elements": [warehouse]}}
        self._commit(branch.name, base, [marker], f"cut for run {run_id}", _properties(branch))
        return branch

    def _base_with_namespace(self, warehouse: str) -> str:
        """Return main's hash, having made the warehouse's namespace there."""
        reply = self._get(f"trees/{MAIN}/entries", {"filter": f"entry.encodedKey == '{warehouse}'"})
        head = str(reply.body["effectiveReference"]["hash"])
        if reply.body["entries"]:
            return head
        namespace = {"type": "NAMESPACE", "elements": [warehouse], "properties": {}}
        put = {"type": "PUT", "key": {"elements": [warehouse]}, "content": namespace}
        return self._commit(MAIN, head, [put], f"make namespace {warehouse}", {})

    def _move(self, branch: Branch, moves: Sequence[Move]) -> None:
        found = self._look(branch.name, branch.warehouse)
        if found is None:
            raise gone(branch)
        head, contents = found
        operations = []
        for move in moves:
            content = contents.get(move.table, {})
            here = content.get("metadataLocation")
            if here == move.location:
                continue
            if here != move.base:
                raise Conflict(f"{move.table} on {branch.name} is at {here}, not at {move.base}")
            operations.append(_operation(move, content.get("id")))
        if operations:
            names = ", ".join(move.table for move in moves)
            self._commit(branch.name, head, operations, f"move {names}", _properties(branch))

    def _publish(self, branch: Branch, text: str) -> str:
        if position := self._merge_of(branch.run_id, since=branch.base):
            return position
        head, main = self._hash(branch.name), self._hash(MAIN)
        if not head:
            raise gone(branch)
        properties = {_RUN: branch.run_id, _WAREHOUSE: branch.warehouse}
        merge = {
            "fromRefName": branch.name,
            "fromHash": head,
            "defaultKeyMergeMode": "NORMAL",  # never FORCE: it drops the other run's changes
            "commitMeta": {"message": text, "authors": ["starberg"], "properties": properties},
        }
        reply = self._service.send("POST", f"trees/{MAIN}@{main}/history/merge", body=merge)
        if reply.status == 409:
            # An earlier attempt may have landed meanwhile, or something in between may have made up the refusal.
            if position := self._merge_of(branch.run_id, since=branch.base):
                return position
            raise Conflict(f"{branch.name} cannot be published: {message(reply.body)}")
        if reply.status == 404:
            raise Undecided(f"{branch.name} cannot be merged: {message(reply.body)}")
        body = self._done(reply, "merge").body
        if not body["wasApplied"]:  # nothing moved, or merged between the look and now
            return self._merge_of(branch.run_id, since=branch.base) or str(body["resultantTargetHash"])
        return str(body["resultantTargetHash"])

    def _tag(self, name: str, position: str) -> None:
        at = self._hash(name)
        target = {"type": "BRANCH", "name": MAIN, "hash": position}
        if not at:
            self._sent("POST", "trees", params={"name": name, "type": "TAG"}, body=target)
        elif at != position:
            self._sent("PUT", f"trees/{_quoted(name)}@{at}", params={"type": "TAG"}, body=target)

    def _delete(self, name: str) -> None:
        if head := self._hash(name):
            kind = "BRANCH" if name.startswith(BRANCH_PREFIX) else "TAG"
            self._sent("DELETE", f"trees/{_quoted(name)}@{head}", params={"type": kind})

    # looks

    def _refs(self, at: str) -> Iterator[str]:
        """Yield the Nessie references `at` may mean, the likeliest first."""
        if at == MAIN or (is_name(at) and not is_hash(at)):
            yield at
        if moment := instant(at):
            # Commits are timed to the nanosecond, our instants to the microsecond.
            yield f"{MAIN}*{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}999Z"
        elif position := self._position(at):
            yield f"{MAIN}@{position}"
        elif at != MAIN and is_name(at, run_id=True):
            merge = self._merge_of(at, since="")
            yield f"{MAIN}@{merge}" if merge else BRANCH_PREFIX + at

    def _look(self, ref: str, warehouse: str = "") -> tuple[str, dict[str, Mapping[str, Any]]] | None:
        """Return the hash of a reference and the tables there, read at that one hash; None if it does not exist."""
        conditions = ["entry.contentType == 'ICEBERG_TABLE'"]
        if warehouse:
            conditions.append(f"entry.encodedKey.startsWith('{warehouse}.')")
        params = {"content": "true", "filter": " && ".join(conditions)}
        tables: dict[str, Mapping[str, Any]] = {}
        while True:
            reply = self._service.get(f"trees/{_quoted(ref)}/entries", params)
            if reply.status == 404:
                return None
            body = self._done(reply, f"entries of {ref}").body
            tables |= {".".join(entry["name"]["elements"]): entry["content"] for entry in body["entries"]}
            effective = body["effectiveReference"]
            if not body["hasMore"]:
                return str(effective["hash"]), tables
            ref = f"{effective['name']}@{effective['hash']}"
            params["page-token"] = body["token"]

    def _located(self, ref: str) -> set[tuple[str, str]]:
        """Return the tables of a reference with their metadata files; nothing if it vanished meanwhile."""
        _, contents = self._look(ref) or ("", {})
        return {(table, str(content["metadataLocation"])) for table, content in contents.items()}

    def _hash(self, name: str) -> str:
        """Return the hash a branch or tag is at, or nothing."""
        reply = self._service.get(f"trees/{_quoted(name)}")
        return "" if reply.status == 404 else str(self._done(reply, name).body["reference"]["hash"])

    def _position(self, position: str) -> str:
        """Return a hash if it is in main's log, else nothing."""
        if not is_hash(position):
            return ""
        reply = self._service.get(f"trees/{MAIN}@{position}/history", {"max-records": 1})
        return "" if reply.status == 404 else position

    def _branch(self, run_id: str) -> Branch | None:
        """Read a branch from its last commit (Nessie's own `fetch=ALL` counts commits back to main: slow with many)."""
        reply = self._service.get(f"trees/{_quoted(BRANCH_PREFIX + run_id)}/history", {"max-records": 1})
        if reply.status == 404:
            return None
        log = self._done(reply, f"log of {run_id}").body["logEntries"]
        return _branch(run_id, log[0]["commitMeta"]) if log else None

    def _merge_of(self, run_id: str, since: str) -> str | None:
        """Return the merge that published a run, looking through main's log back to a hash."""
        params = {"filter": f"'{_RUN}' in commit.properties && commit.properties['{_RUN}'] == '{check_run_id(run_id)}'"}
        if since:
            params["limit-hash"] = since
        for entry in self._pages(f"trees/{MAIN}/history", params, "logEntries"):
            return str(entry["commitMeta"]["hash"])
        return None

    def _references(self, condition: str) -> list[Mapping[str, Any]]:
        return list(self._pages("trees", {"filter": condition}, "references"))

    def _pages(self, path: str, params: Mapping[str, str], what: str) -> Iterator[Mapping[str, Any]]:
        params = dict(params)
        while True:
            body = self._get(path, params).body
            yield from body[what]
            if not body["hasMore"]:
                return
            params["page-token"] = body["token"]

    # requests

    def _get(self, path: str, params: Mapping[str, str]) -> Reply:
        return self._done(self._service.get(path, params), path)

    def _commit(
        self, ref: str, head: str, operations: list[dict[str, Any]], text: str, properties: Mapping[str, str]
    ) -> str:
        meta = {"message": text, "authors": ["starberg"], "properties": properties}
        path = f"trees/{_quoted(ref)}@{head}/history/commit"
        reply = self._sent("POST", path, body={"commitMeta": meta, "operations": operations})
        return str(reply.body["targetBranch"]["hash"])

    def _sent(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None) -> Reply:
        """Send a change; Undecided if it met another one (409) or its reference vanished (404): look again."""
        reply = self._service.send(method, path, params=params, body=body)
        if reply.status in (404, 409):
            raise Undecided(f"{self._service.name} refused {method} {path}: {message(reply.body)}")
        return self._done(reply, f"{method} {path}")

    def _done(self, reply: Reply, asked: str) -> Reply:
        if not reply.ok:
            raise LakeError(f"{self._service.name} refused {asked} ({reply.status}): {message(reply.body)}")
        return reply


def server_of(uri: str) -> str:
    """Return a Nessie server's root, given that or the address of one of its APIs.

    >>> server_of("http://nessie:19120/iceberg/main"), server_of("http://nessie:19120/api/v1/")
    ('http://nessie:19120', 'http://nessie:19120')
    """
    root = uri.rstrip("/")
    for api in ("/api/", "/iceberg/"):
        head, found, _ = f"{root}/".partition(api)
        root = head if found else root
    return root


def _branch(run_id: str, meta: Mapping[str, Any]) -> Branch:
    """Read a branch from the properties of its last commit, which are its own once its creation is complete."""
    properties = {name: values[0] for name, values in (meta.get("allProperties") or {}).items() if values}
    if properties.get(_OWNER) == run_id:
        created_at = datetime.fromisoformat(properties[_CREATED])
        return Branch(run_id, properties[_WAREHOUSE], created_at, properties[_BASE])
    return Branch(run_id, "", _committed_at(meta), str(meta["hash"]))


def _committed_at(meta: Mapping[str, Any]) -> datetime:
    """Return when a commit was made, to the second."""
    return datetime.fromisoformat(f"{str(meta['commitTime'])[:19]}+00:00")


def _properties(branch: Branch) -> dict[str, str]:
    created_at = branch.created_at.isoformat(timespec="microseconds")
    return {_OWNER: branch.run_id, _WAREHOUSE: branch.warehouse, _BASE: branch.base, _CREATED: created_at}


def _operation(move: Move, content_id: str | None) -> dict[str, Any]:
    """Return the Nessie operation of a move; a table keeps its content id for life."""
    key = {"elements": move.table.split(".")}
    if move.location is None:
        return {"type": "DELETE", "key": key}
    if move.ids is None:
        raise UsageError(f"{move.table} cannot move without the ids of its metadata")
    content = {
        "type": "ICEBERG_TABLE",
        "metadataLocation": move.location,
        "snapshotId": move.ids.snapshot_id,
        "schemaId": move.ids.schema_id,
        "specId": move.ids.spec_id,
        "sortOrderId": move.ids.sort_order_id,
    }
    return {"type": "PUT", "key": key, "content": content | ({"id": content_id} if content_id else {})}


def _quoted(ref: str) -> str:
    return quote(ref, safe="@*~")
