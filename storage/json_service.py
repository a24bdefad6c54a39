"""A catalog server's JSON over HTTP: time-outs, who we are, and what may be asked again.

A question (GET) is repeated by itself. Anything else is sent once; if its outcome is not known it raises `Undecided`,
and `decide` repeats the whole step, which looks at the server first. An answer that is no JSON comes from something in
between (a proxy's error page, a login form) and decides nothing, whatever its status.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, TransientError, Unreachable, UsageError
from starberg.utils.secrets import MASK

ATTEMPTS = 4
ATTEMPTS_OVERTAKEN = 40
"""A minute and more: each time somebody else got on, so the server is well, and quiet comes."""
TIMEOUTS_S = (5.0, 30.0)
"""Seconds to connect, and to wait for the next bytes of an answer."""
_RENEW_BEFORE_S = 30.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class OAuth2:
    """Client credentials (RFC 6749, section 4.4), sent in the form."""

    token_url: str
    client_id: str
    client_secret: SecretStr
    scope: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer that decides: 2xx or a refusal (4xx)."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Tell whether it was done."""
        return self.status < 300


class Undecided(TransientError):
    """Whether a request was carried out is not known, or another one came first: look, then ask again."""


class Overtaken(Undecided):
    """Others publish while we look: look again, for as long as a busy lake may take."""


class JsonService:
    """One server's API below `root`. Threads may share it; nothing connects before the first call."""

    def __init__(
        self,
        root: str,
        what: str,
        *,
        token: SecretStr | None,
        oauth2: OAuth2 | None,
        timeouts_s: tuple[float, float],
        clock: Clock,
        scheme: str = "Bearer ",
        ca: Path | None = None,
    ) -> None:
        """`scheme` is what stands before the token in its header, `ca` a PEM file of the server's authority."""
        parts = urlsplit(root)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{what}: its address is no http(s) URL", hint="Give http://host:port")
        if parts.username or parts.password:
            raise UsageError(f"{what}: its address holds a login", hint="Set the token or client credentials instead")
        self.root = root.rstrip("/")
        self.name = f"{what} at {self.root}"
        self.clock = clock
        self._timeouts_s = timeouts_s
        self._session = requests.Session()
        self._session.verify = str(ca) if ca else True
        self._auth = _Auth(token, oauth2, self, scheme)
        self._session.auth = self._auth  # set even without login: requests would look one up in ~/.netrc

    def rebase(self, uri: str) -> None:
        """Take the path of the address a server gives for its API. The host stays the one we were told.

        Behind a proxy a server is often wrong about its host, and our token goes to no other.
        """
        told, ours = urlsplit(uri), urlsplit(self.root)
        self.root = ours._replace(path=told.path.rstrip("/")).geturl()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Reply:
        """Ask, again if need be; Unreachable if the server stays silent, CredentialsError if it refuses us."""
        return self.decide(lambda: self.send("GET", path, params=params))

    def send(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None) -> Reply:
        """Send one request once; Undecided if its outcome is not known."""
        used = self._auth.token
        response = self._exchange(method, path, params, body)
        if response.status_code == 401 and self._auth.renew(used):
            response = self._exchange(method, path, params, body)
        return self._reply(response, f"{method} {path}")

    def decide(self, step: Callable[[], Result]) -> Result:
        """Take a step until it is decided, waiting longer each time; Unreachable after four attempts.

        Being overtaken is no fault of the server's and has more of them.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(Undecided),
            stop=_enough,
            wait=wait_random_exponential(0.3, max=5),
            sleep=self.clock.sleep,
            reraise=True,
        )
        try:
            result: Result = attempts(step)
        except Undecided as error:
            raise Unreachable(str(error)) from error
        return result

    def fetch_token(self, login: OAuth2) -> tuple[str, float]:
        """Fetch an access token; return it and the seconds it is good for."""
        form = {
            "grant_type": "client_credentials",
            "client_id": login.client_id,
            "client_secret": login.client_secret.get_secret_value(),
        }
        if login.scope:
            form["scope"] = login.scope
        try:
            response = self._session.post(
                login.token_url, data=form, auth=_no_auth, timeout=self._timeouts_s, allow_redirects=False
            )
        except requests.RequestException as error:
            raise Undecided(f"{login.token_url} does not answer ({type(error).__name__})") from None
        if response.status_code == 429 or response.status_code >= 500:
            raise Undecided(f"{login.token_url} answered {response.status_code}")
        answer = _json(response) or {}
        token = answer.get("access_token")
        if not response.ok or not isinstance(token, str):
            hint = "Check the client id, secret and scope"
            raise CredentialsError(f"{login.token_url} gave no token ({response.status_code})", hint=hint)
        return token, float(answer.get("expires_in") or 3600)

    def close(self) -> None:
        """Release connections."""
        self._session.close()

    def _exchange(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any) -> requests.Response:
        try:
            return self._session.request(
                method,
                f"{self.root}/{path}",
                params=params,
                json=body,
                timeout=self._timeouts_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            hint = "Is the server running there?"
            raise Undecided(f"{self.name} does not answer ({type(error).__name__})", hint=hint) from error

    def _reply(self, response: requests.Response, asked: str) -> Reply:
        status, answer = response.status_code, _json(response)
        said = self._auth.cleaned(message(answer or {}))
        if status in (401, 403):
            hint = "Check the token or client credentials, and what they are allowed to do"
            raise CredentialsError(f"{self.name} refused {asked} ({status}): {said}", hint=hint)
        if 300 <= status < 400:
            there = response.headers.get("Location", "elsewhere")
            raise UsageError(f"{self.name} is not there: it points to {there}", hint="Set its own address")
        if status == 429 or status >= 500 or answer is None:
            raise Undecided(f"{self.name} answered {asked} with {status}: {said or 'no JSON'}")
        return Reply(status, answer)


def message(body: Mapping[str, Any]) -> str:
    """Return what a server says in an error's body (Nessie's, Iceberg REST's or Dremio's)."""
    inner = body.get("error")
    text = inner.get("message") if isinstance(inner, Mapping) else body.get("message") or body.get("errorMessage")
    return str(text or "")[:500]


def _enough(state: RetryCallState) -> bool:
    overtaken = state.outcome is not None and isinstance(state.outcome.exception(), Overtaken)
    return state.attempt_number >= (ATTEMPTS_OVERTAKEN if overtaken else ATTEMPTS)


class _Auth(requests.auth.AuthBase):
    """Adds the bearer token to each request, fetching one when there is none or it is about to end."""

    def __init__(self, token: SecretStr | None, oauth2: OAuth2 | None, service: JsonService, scheme: str) -> None:
        self._scheme = scheme
        self._oauth2 = oauth2
        self._service = service
        self._lock = threading.Lock()
        self._ends_at = 0.0 if oauth2 else float("inf")
        self.token = token.get_secret_value() if token and not oauth2 else ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._service.clock.monotonic() >= self._ends_at:
            self.renew(self.token)
        if self.token:
            request.headers["Authorization"] = f"{self._scheme}{self.token}"
        return request

    def renew(self, used: str) -> bool:
        """Fetch a token in place of the one used, unless another thread did; False if there is none to be had."""
        if not self._oauth2:
            return False
        with self._lock:
            if self.token == used:
                self.token, lasts_s = self._service.fetch_token(self._oauth2)
                self._ends_at = self._service.clock.monotonic() + max(lasts_s - _RENEW_BEFORE_S, lasts_s / 2)
        return True

    def cleaned(self, text: str) -> str:
        """Return a server's text without our secrets."""
        secrets = [self.token, self._oauth2.client_secret.get_secret_value() if self._oauth2 else ""]
        for secret in filter(None, secrets):
            text = text.replace(secret, MASK)
        return text


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _json(response: requests.Response) -> dict[str, Any] | None:
    """Return the JSON object of an answer, {} for an empty success, None for anything else."""
    if not response.content and response.ok:
        return {}
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None
