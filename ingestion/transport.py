"""One bounded exchange with one host: no redirect leaves it, no response outgrows or outlasts its limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from starberg.ingestion.connections import guarded_adapter
from starberg.ingestion.streams import SourceSpec
from starberg.ingestion.url_guard import AddressGuard, absolute, admitted, declared_origin
from starberg.utils.errors import SourceDataError, StarbergError, TransientError, Unreachable

MAX_REDIRECTS = 3
RUN_LATER = "Check `url` of the source, or run again later"
_REDIRECTS = (301, 302, 303, 307, 308)
_TRY_LATER = (408, 425, 429)
_CHUNK = 64 * 1024


class Again(TransientError):
    """This attempt failed and another may not; `outcome` is what the caller is told when no attempt is left."""

    def __init__(self, outcome: StarbergError, after_s: float = 0.0) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome
        self.after_s = after_s


@dataclass(frozen=True)
class Reply:
    """One response, read to its end: the body as it came (perhaps compressed), the URL without secrets."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def answered_at(self) -> datetime | None:
        """Return the server's clock (header Date: UTC, whole seconds)."""
        return http_date(self.headers.get("Date", ""))

    def rest_asked_for(self, now: datetime) -> float:
        """Read `Retry-After`: seconds, or a date judged by the server's own clock; 0 without one."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isdigit():
            return float(text)
        until = http_date(text)
        return max(0.0, (until - (self.answered_at or now)).total_seconds()) if until else 0.0

    @property
    def is_busy(self) -> bool:
        """Tell whether the same request may be answered later."""
        return self.status >= 500 or self.status in _TRY_LATER

    def absolute(self, link: str) -> str:
        """Return the URL a link on this page leads to."""
        return absolute(self.url, link)

    @property
    def next_link(self) -> str:
        """Return the target of `Link: <…>; rel="next"` (RFC 8288), or nothing."""
        links = requests.utils.parse_header_links(self.headers.get("Link", ""))
        return next((link["url"] for link in links if "next" in link.get("rel", "").lower().split()), "")


def http_date(text: str) -> datetime | None:
    """Read a date as HTTP headers hold it; None if it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Transport:
    """Pooled connections to the host of one URL."""

    def __init__(self, url: str, where: str, spec: SourceSpec, clean: Callable[[str], str]) -> None:
        self.origin = declared_origin(url, where)
        self._spec = spec
        self._clean = clean
        guard = AddressGuard(self.origin, allow_private=spec.allow_private_hosts)
        self._adapter = guarded_adapter(guard.check, connections=spec.parallel, deadline_s=spec.deadline_s)
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "starberg",
            **spec.headers,
        }
        # Proxies and CA bundle of the environment. Requests go through the adapter, not the session, which would
        # follow redirects, keep cookies and let a .netrc entry replace the declared proof.
        session = requests.Session()
        self._settings: dict[str, Any] = {**session.merge_environment_settings(url, {}, True, None, None)}
        self._counting = threading.Lock()
        self.sent = 0
        self.bytes_read = 0

    def send(
        self,
        request: requests.Request,
        what: str,
        *,
        before: Callable[[], None] = lambda: None,
        sign: Callable[[requests.PreparedRequest], None] = lambda request: None,
    ) -> Reply:
        """Send, following redirects within the host; `before` is called ahead of each request, `sign` last.

        Raises Again (it may work later), Unreachable (TLS), SourceDataError (another host, too large, a loop).
        """
        for _ in range(MAX_REDIRECTS + 1):
            prepared = self._prepare(request, what)
            url = prepared.url or ""
            before()
            sign(prepared)
            reply = self._exchange(prepared, url, what)
            target = reply.headers.get("Location", "")
            if reply.status not in _REDIRECTS or not target or request.method != "GET":
                return reply
            request = requests.Request("GET", admitted(absolute(url, target), self.origin, what))
        raise SourceDataError(f"{what}: more than {MAX_REDIRECTS} redirects", hint="Check `url` of the source")

    def _prepare(self, request: requests.Request, what: str) -> requests.PreparedRequest:
        try:
            prepared = request.prepare()
        except requests.RequestException as fault:
            raise SourceDataError(f"{what}: {self._clean(str(fault))}") from None
        prepared.url = admitted(prepared.url or "", self.origin, what)
        prepared.headers.update(self._headers)
        return prepared

    def _exchange(self, prepared: requests.PreparedRequest, url: str, what: str) -> Reply:
        timeouts = (min(10.0, self._spec.timeout_s), self._spec.timeout_s)
        self._count(requests=1)
        try:
            with self._adapter.send(prepared, timeout=timeouts, **self._settings) as response:
                return Reply(url, response.status_code, response.headers, self._read(response, what))
        except requests.exceptions.SSLError as fault:
            outcome, lasting = self._unreachable(what, fault), True
        except (requests.RequestException, HTTPError, OSError) as fault:
            outcome, lasting = self._unreachable(what, fault), False
        # Raised out here, so that the library's error, which quotes the signed URL, is not attached.
        raise outcome if lasting else Again(outcome)

    def _read(self, response: requests.Response, what: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        while chunk := response.raw.read(_CHUNK, decode_content=False):
            parts.append(chunk)
            size += len(chunk)
            if size > self._spec.max_page_bytes:
                raise too_large(what, self._spec.max_page_bytes)
        self._count(read=size)
        return b"".join(parts)

    def _count(self, *, requests: int = 0, read: int = 0) -> None:
        with self._counting:
            self.sent += requests
            self.bytes_read += read

    def _unreachable(self, what: str, fault: Exception) -> Unreachable:
        reason = self._clean(_innermost(fault))
        return Unreachable(f"{what}: {self.origin[1]} did not answer: {reason}", hint=RUN_LATER)


def too_large(what: str, limit: int) -> SourceDataError:
    """Return the error for a body over the limit."""
    hint = "Ask for fewer records a page, or raise max_page_bytes of the source"
    return SourceDataError(f"{what}: the body is larger than max_page_bytes = {limit}", hint=hint)


def _innermost(fault: BaseException) -> str:
    """Return what the operating system or the protocol said, without the layers around it."""
    while inner := fault.__cause__ or fault.__context__:
        fault = inner
    return f"{type(fault).__name__}: {fault}"
