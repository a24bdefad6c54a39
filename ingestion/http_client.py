"""One polite HTTP client per source: paced, budgeted, retried, bounded, and silent about secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import tenacity

from starberg.ingestion.auth import signer_of
from starberg.ingestion.budget import BudgetLedger
from starberg.ingestion.json_pages import Decoder, JsonBody, Malformed, TooLarge, read_json, unpack
from starberg.ingestion.pace import Pace
from starberg.ingestion.streams import SourceSpec
from starberg.ingestion.transport import RUN_LATER, Again, Reply, Transport, too_large
from starberg.ingestion.url_guard import admitted
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, SourceDataError, StarbergError, Unreachable

MAX_WAIT_S = 120.0
"""The longest pause before a retry, whatever `Retry-After` asks for."""
BAD_PAGE_BYTES = 1024 * 1024
"""How much of an unreadable body is kept for people to look at."""


class NotFound(SourceDataError):
    """404: for some ways of paging that is the end of the list."""


@dataclass(frozen=True)
class Answer:
    """A successful reply and its JSON."""

    reply: Reply
    body: JsonBody


Refusal = Callable[[str, int, str], StarbergError]
"""Turns (what was asked, status 401 or 403, text of the body) into the error to raise."""


def default_refusal(what: str, status: int, text: str) -> StarbergError:
    """Return a CredentialsError."""
    return CredentialsError(f"{what}: refused with {status}: {text}", hint="Check the source's auth and its secret")


class HttpClient:
    """The one way to a source; safe to use from many threads.

    `secret_of` returns the value of a named setting or None. A URL that is none (UsageError) and a missing secret
    (CredentialsError) are noticed here; nothing is sent before the first `get`.
    """

    def __init__(
        self,
        spec: SourceSpec,
        secret_of: Callable[[str], str | None],
        ledger: BudgetLedger,
        clock: Clock,
        *,
        refusal: Refusal = default_refusal,
    ) -> None:
        self._spec = spec
        self._ledger = ledger
        self._clock = clock
        self._refusal = refusal
        self._pace = Pace(spec.budget.per_second, clock)
        self._signer = signer_of(spec, secret_of, clock)
        self._transport = Transport(spec.url, f"source {spec.name}: url", spec, self._signer.clean)
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(spec.retries + 1),
            wait=_pause,
            retry=tenacity.retry_if_exception_type(Again),
            sleep=clock.sleep,
            reraise=True,
        )

    @property
    def host(self) -> str:
        """Return the host that is asked."""
        return self._transport.origin[1]

    @property
    def sent(self) -> int:
        """Return how many requests were sent, retries and redirects included."""
        return self._transport.sent

    @property
    def bytes_read(self) -> int:
        """Return how many body bytes came, compressed as they were."""
        return self._transport.bytes_read

    def get(
        self, path: str, params: Mapping[str, Any], what: str, bad_pages: Path, decoder: Decoder | None = None
    ) -> Answer:
        """Ask for a path below the source's URL, or an absolute URL of its host, until there is an answer.

        `what` names stream and page in errors; a body that is not JSON is kept in the folder `bad_pages`; `decoder`
        tells how much of one is looked at.
        Raises NotFound (404), SourceDataError (not JSON, too large, another host, other 4xx), what `refusal` returns
        (401, 403), QuotaSpent (the ledger) and Unreachable (retries used up).
        """
        request = requests.Request("GET", self._url(path, what), params=dict(params))
        generation = self._signer.generation
        answer = self._persist(request, what, bad_pages, decoder)
        if isinstance(answer, Reply) and answer.status == 401 and self._signer.renew(generation):
            answer = self._persist(request, what, bad_pages, decoder)
        if isinstance(answer, Reply):
            raise self._verdict(answer, what)
        return answer

    def _url(self, path: str, what: str) -> str:
        if "://" not in path:
            return f"{self._spec.url.rstrip('/')}/{path.lstrip('/')}"
        return self._signer.clean_url(admitted(path, self._transport.origin, what))

    def _persist(
        self, request: requests.Request, what: str, bad_pages: Path, decoder: Decoder | None
    ) -> Answer | Reply:
        try:
            return self._retrying(self._attempt, request, what, bad_pages, decoder)
        except Again as last:
            outcome = last.outcome
        raise outcome

    def _attempt(
        self, request: requests.Request, what: str, bad_pages: Path, decoder: Decoder | None
    ) -> Answer | Reply:
        """Return an answer, or the reply of a request that asking again will not mend."""
        reply = self._transport.send(request, what, before=self._admit, sign=self._signer.sign)
        self._wait_if_busy(reply, what)
        if not 200 <= reply.status < 300:
            return reply
        try:
            body = self._signer.clean_body(self._unpack(reply))
            return Answer(reply, read_json(body, _charset(reply), decoder))
        except TooLarge:
            outcome: SourceDataError = too_large(what, self._spec.max_page_bytes)
            lasting = True
        except Malformed as fault:
            outcome, lasting = self._unreadable(reply, fault, what, bad_pages), fault.lasting
        raise outcome if lasting else Again(outcome)

    def _admit(self) -> None:
        self._ledger.reserve()
        self._pace.wait()

    def _wait_if_busy(self, reply: Reply, what: str) -> None:
        if not reply.is_busy:
            return
        rest_s = min(reply.rest_asked_for(self._clock.now()), MAX_WAIT_S)
        self._pace.hold(rest_s)
        times = self._spec.retries + 1
        said = f"{what}: {self.host} answered {reply.status} {times} times: {self._text(reply)}"
        raise Again(Unreachable(said, hint=RUN_LATER), rest_s)

    def _verdict(self, reply: Reply, what: str) -> StarbergError:
        text = self._text(reply)
        if reply.status in (401, 403):
            return self._refusal(what, reply.status, text)
        kind = NotFound if reply.status == 404 else SourceDataError
        hint = "Check `url`, `path` and `params` of the stream in warehouse.yml"
        return kind(f"{what}: {self.host} answered {reply.status}: {text}", hint=hint)

    def _unpack(self, reply: Reply) -> bytes:
        return unpack(reply.body, reply.headers.get("Content-Encoding", ""), self._spec.max_page_bytes)

    def _text(self, reply: Reply) -> str:
        """Return the beginning of a body for an error message."""
        try:
            body = self._unpack(reply)
        except (Malformed, TooLarge):
            return ""
        return self._signer.clean(body[:2000].decode("utf-8", "replace"))[:200]

    def _unreadable(self, reply: Reply, fault: Malformed, what: str, bad_pages: Path) -> SourceDataError:
        """Keep the body and name it: decompressed if it can be."""
        body = reply.body if fault.packed else self._unpack(reply)
        kept = bad_pages / f"bad-page-{re.sub(r'[^A-Za-z0-9]+', '-', what)[:80]}.txt"
        kept.write_bytes(
            self._signer.clean(body[:BAD_PAGE_BYTES].decode("utf-8", "surrogateescape")).encode(
                "utf-8", "surrogateescape"
            )
        )
        kind = reply.headers.get("Content-Type", "no content type")
        hint = "Look what it is, then run again"
        return SourceDataError(f"{what}: not JSON ({kind}): {fault}; the body is kept in {kept}", hint=hint)


def _pause(state: tenacity.RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome else None
    asked_for = fault.after_s if isinstance(fault, Again) else 0.0
    return max(_BACKOFF(state), asked_for)


_BACKOFF = tenacity.wait_exponential_jitter(multiplier=0.5, max=30, jitter=1)


def _charset(reply: Reply) -> str:
    return requests.utils.get_encoding_from_headers(requests.structures.CaseInsensitiveDict(reply.headers)) or ""
