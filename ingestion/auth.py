"""How requests prove who they are, and how the proof is kept out of every text.

A signer changes a prepared request just before it is sent, so URLs, errors and logs made before that cannot hold the
secret; `clean` takes it out of what libraries and servers say afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

from requests import PreparedRequest, Request

from starberg.ingestion.json_pages import Malformed, TooLarge, at, read_json, unpack
from starberg.ingestion.streams import Auth, SourceSpec
from starberg.ingestion.transport import Again, Reply, Transport
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, Unreachable
from starberg.utils.secrets import MASK, Redactor


class Signer:
    """Signs nothing: the API is open. The other kinds derive from it."""

    def __init__(self, secret: str = "") -> None:
        self._secret = secret
        self.clean = Redactor(self._secrets)
        """Takes the secret out of a text, in any of the forms a URL gives it."""

    def _secrets(self) -> list[str]:
        return [self._secret] if self._secret else []

    def sign(self, request: PreparedRequest) -> None:
        """Add the proof to a request about to be sent."""

    def renew(self, used: int) -> bool:
        """Get a new proof after the one of generation `used` was refused; False if there is no newer one to get."""
        return False

    @property
    def generation(self) -> int:
        """Return which proof is in use, for `renew`."""
        return 0

    def clean_url(self, url: str) -> str:
        """Return a URL without the proof a server may have written into it."""
        return url

    def clean_body(self, body: bytes) -> bytes:
        """Return a body without the proof a server may have written into its links; other text is left alone."""
        return body


class HeaderKey(Signer):
    """A fixed header, such as `Authorization: Bearer …`."""

    def __init__(self, auth: Auth, secret: str) -> None:
        super().__init__(secret)
        self._name = auth.name
        self._value = auth.format.replace("{secret}", secret)

    def sign(self, request: PreparedRequest) -> None:
        """Set the header."""
        request.headers[self._name] = self._value


class QueryKey(Signer):
    """A query parameter, such as `key=…`, which servers like to repeat in their links."""

    def __init__(self, auth: Auth, secret: str) -> None:
        super().__init__(secret)
        self._name = auth.name
        self._forms = {secret, quote(secret, safe=""), quote_plus(secret)}

    def sign(self, request: PreparedRequest) -> None:
        """Add the parameter."""
        request.prepare_url(request.url, {self._name: self._secret})

    def clean_url(self, url: str) -> str:
        """Drop the parameter."""
        parts = urlsplit(url)
        kept = [pair for pair in parts.query.split("&") if pair.partition("=")[0] != self._name]
        return urlunsplit(parts._replace(query="&".join(kept)))

    def clean_body(self, body: bytes) -> bytes:
        """Hide the value where it follows the parameter's name."""
        for form in self._forms:
            body = body.replace(f"{self._name}={form}".encode(), f"{self._name}={MASK}".encode())
        return body


class ClientCredentials(Signer):
    """OAuth2 client credentials (RFC 6749, section 4.4): one token for all threads, fetched anew when refused."""

    def __init__(self, secret: str, fetch_token: Callable[[], str]) -> None:
        self._token = ""
        super().__init__(secret)
        self._fetch_token = fetch_token
        self._lock = threading.Lock()
        self._generation = 0

    @property
    def generation(self) -> int:
        """Return how often a token was given up."""
        return self._generation

    def sign(self, request: PreparedRequest) -> None:
        """Set the bearer token, fetching the first one."""
        with self._lock:
            self._token = self._token or self._fetch_token()
            request.headers["Authorization"] = f"Bearer {self._token}"

    def renew(self, used: int) -> bool:
        """Give up the token, unless another thread did since generation `used`; the next request fetches one."""
        with self._lock:
            if used == self._generation:
                self._generation += 1
                self._token = ""
        return True

    def _secrets(self) -> list[str]:
        return [secret for secret in (self._secret, self._token) if secret]


class TokenEndpoint:
    """Where access tokens come from; the only other host a source may talk to."""

    def __init__(self, spec: SourceSpec, secret: str, clock: Clock) -> None:
        self._auth = spec.auth
        self._what = f"token of source {spec.name}"
        self._secret = secret
        self._now = clock.now
        where = f"source {spec.name}: token_url"
        self._transport = Transport(spec.auth.token_url, where, spec, Redactor(lambda: [secret]))
        self._limit = spec.max_page_bytes

    def fetch(self) -> str:
        """POST for a token: CredentialsError if refused, Again if the endpoint is busy."""
        reply = self._transport.send(self._request(), self._what)
        if reply.is_busy:
            outcome = Unreachable(f"{self._what}: {self._transport.origin[1]} answered {reply.status}")
            raise Again(outcome, reply.rest_asked_for(self._now()))
        token = at(self._json(reply), "access_token")
        if reply.status != 200 or not isinstance(token, str) or not token:
            hint = f"Check client_id, {self._auth.secret} and scope"
            raise CredentialsError(f"{self._what}: refused with {reply.status}", hint=hint)
        return token

    def _request(self) -> Request:
        auth = self._auth
        form = {"grant_type": "client_credentials", **({"scope": auth.scope} if auth.scope else {})}
        if auth.client_auth == "body":
            form |= {"client_id": auth.client_id, "client_secret": self._secret}
            return Request("POST", auth.token_url, data=form)
        return Request("POST", auth.token_url, data=form, auth=(auth.client_id, self._secret))

    def _json(self, reply: Reply) -> Any:
        try:
            return read_json(unpack(reply.body, reply.headers.get("Content-Encoding", ""), self._limit)).data
        except (Malformed, TooLarge):
            return None


def signer_of(spec: SourceSpec, secret_of: Callable[[str], str | None], clock: Clock) -> Signer:
    """Return the signer a source declares; CredentialsError naming the setting that is not set."""
    auth = spec.auth
    if auth.kind == "none":
        return Signer()
    secret = secret_of(auth.secret)
    if not secret:
        raise CredentialsError(
            f"source {spec.name} needs {auth.secret}", hint=f"Set {auth.secret} or {auth.secret}_FILE"
        )
    if auth.kind == "header":
        return HeaderKey(auth, secret)
    if auth.kind == "query":
        return QueryKey(auth, secret)
    return ClientCredentials(secret, TokenEndpoint(spec, secret, clock).fetch)
