"""Dremio's REST API, version 3: sources, spaces and folders, SQL as jobs.

Written to docs.dremio.com, "API Reference": a login gives a token for the header `_dremio…`, a personal access token
goes as Bearer. Tested against a server that refuses what the documentation does not allow, never against Dremio.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from starberg.engines.clients import Login
from starberg.engines.dremio_sources import differs
from starberg.storage.json_service import TIMEOUTS_S, JsonService, Reply, message
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, StarbergError, UsageError

_DONE = {"COMPLETED", "FAILED", "CANCELED"}
_LONGEST_WAIT_S = 2.0


class DremioRest:
    """One Dremio; nothing connects before the first call. Raises CredentialsError, Unreachable, UsageError."""

    def __init__(self, login: Login, *, clock: Clock, timeouts_s: tuple[float, float] = TIMEOUTS_S) -> None:
        self._login = login
        self._clock = clock
        self._timeouts_s = timeouts_s
        self._logged_in: JsonService | None = None

    def entity(self, *path: str) -> dict[str, Any] | None:
        """Return a source, space or folder by its path, or None."""
        reply = self._service.get(f"api/v3/catalog/by-path/{'/'.join(quote(part, safe='') for part in path)}")
        return None if reply.status == 404 else dict(self._done(reply).body)

    def ensure(self, entity: Mapping[str, Any], *, force: bool = False) -> str:
        """Make a source, space or folder if it is missing, bring a source to what is wanted; return what was done.

        `force` writes a source anew though it looks the same: a changed secret does not show.
        """
        return self._service.decide(lambda: self._ensure(entity, force=force))

    def state(self, source: str) -> str:
        """Return what Dremio finds wrong with a source it has, nothing if it is good."""
        state = (self.entity(source) or {}).get("state") or {}
        if state.get("status") == "good":
            return ""
        said = [str(each.get("message", "")) for each in state.get("messages") or []]
        return self._login.cleaned("; ".join([str(state.get("status")), *said]))

    def run(self, sql: str) -> None:
        """Run a statement and wait for its end; an interruption cancels it."""
        # Statements are such as may be run twice: an answer that got lost is asked for again.
        reply = self._service.decide(lambda: self._service.send("POST", "api/v3/sql", body={"sql": sql}))
        job = str(self._done(reply).body["id"])
        try:
            status = self._wait(job)
        except BaseException:
            self._service.send("POST", f"api/v3/job/{job}/cancel")
            raise
        if status["jobState"] != "COMPLETED":
            said = status.get("errorMessage") or status.get("cancellationReason") or status["jobState"].lower()
            raise UsageError(f"Dremio: {self._login.cleaned(str(said))}")

    def close(self) -> None:
        """Release connections."""
        if self._logged_in:
            self._logged_in.close()

    @property
    def _service(self) -> JsonService:
        if self._logged_in is None:
            self._logged_in = self._logged_in_service()
        return self._logged_in

    def _logged_in_service(self) -> JsonService:
        if self._login.token:
            return self._new_service(self._login.token, "Bearer ")
        service = self._new_service(None, "")
        body = {"userName": self._login.user, "password": _shown(self._login.password)}
        try:
            reply = service.decide(lambda: service.send("POST", "apiv2/login", body=body))
        except CredentialsError as error:
            hint = "Check DREMIO_USER and DREMIO_PASSWORD."
            raise CredentialsError(f"{self._login.address} refused the login", hint=hint) from error
        finally:
            service.close()
        token = self._done(reply).body.get("token")
        if not isinstance(token, str):
            raise StarbergError(f"{self._login.address} gave no token for the login")
        return self._new_service(SecretStr(token), "_dremio")

    def _new_service(self, token: SecretStr | None, scheme: str) -> JsonService:
        root = f"{'https' if self._login.uses_tls else 'http'}://{self._login.netloc}"
        return JsonService(
            root,
            "Dremio",
            token=token,
            oauth2=None,
            timeouts_s=self._timeouts_s,
            clock=self._clock,
            scheme=scheme,
            ca=self._login.ca,
        )

    def _ensure(self, entity: Mapping[str, Any], *, force: bool) -> str:
        path = entity["path"] if "path" in entity else [entity["name"]]
        found = self.entity(*path)
        if found is None:
            self._done(self._service.send("POST", "api/v3/catalog", body=entity))
            return "made"
        if found.get("entityType") != entity["entityType"] or found.get("type") != entity.get("type"):
            there = found.get("type") or found.get("entityType")
            hint = "Choose other names: DREMIO_SOURCE, DREMIO_SPACE."
            raise UsageError(f"Dremio has another {'.'.join(path)}: of kind {there}", hint=hint)
        if "config" not in entity or not (force or differs(entity, found)):
            return "kept"
        changed = {**entity, "id": found["id"], "tag": found["tag"]}
        for name in ("metadataPolicy", "accelerationRefreshPeriodMs", "accelerationGracePeriodMs"):
            if name in found:
                changed[name] = found[name]
        self._done(self._service.send("PUT", f"api/v3/catalog/{quote(found['id'], safe='')}", body=changed))
        return "changed"

    def _wait(self, job: str) -> Mapping[str, Any]:
        pause_s = 0.1
        while True:
            status = self._done(self._service.get(f"api/v3/job/{job}")).body
            if status.get("jobState") in _DONE:
                return status
            self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_WAIT_S)

    def _done(self, reply: Reply) -> Reply:
        if not reply.ok:
            said = self._login.cleaned(message(reply.body)) or str(reply.status)
            raise UsageError(f"Dremio: {said}")
        return reply


def _shown(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
