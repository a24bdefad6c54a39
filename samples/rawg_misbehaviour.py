"""The ways the sample server fails on request, each seen in some API in the wild.

Instead of an answer: `quota`, `status` (`code`, `retry_after` in seconds or as an HTTP date), `html` (200),
`garbage_gzip`, `redirect` (`url`). While sending it: `hang` (`seconds` of silence first), `slow` (trickles over
`seconds`), `malformed` (JSON cut in half), `drop` (the connection is cut in half). Within a page: `duplicate_page`
(the page before, again), `shift` (a game is inserted at the front, so that rows move on by one), `loop_next` (`next` is
the page itself, or `url`), `count_mismatch` (`by`), `bad_rows` (`how`: names of `SPOILT`, one row each), `empty`.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starberg.samples.rawg_filters import effective_filters, effective_ordering
from starberg.samples.rawg_pages import DEFAULT_PAGE_SIZE, Answer, Page, Request, error
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from starberg.samples.rawg_catalogue import Catalogue
    from starberg.samples.rawg_contract import Contract

QUOTA_SPENT = "The monthly API limit reached"
HTML = {"Content-Type": "text/html; charset=utf-8"}

# kind -> its options and their defaults
KINDS: dict[str, dict[str, Any]] = {
    "quota": {},
    "status": {"code": 500, "retry_after": None},
    "html": {},
    "garbage_gzip": {},
    "redirect": {"url": "http://127.0.0.1:1/"},
    "hang": {"seconds": 30.0},
    "slow": {"seconds": 2.0},
    "malformed": {},
    "drop": {},
    "duplicate_page": {},
    "shift": {},
    "loop_next": {"url": None},
    "count_mismatch": {"by": 7},
    "bad_rows": {"how": None},
    "empty": {},
}
IN_PAGES = ("duplicate_page", "shift", "loop_next", "count_mismatch", "bad_rows", "empty")
_FROM_PAGE_TWO = ("duplicate_page", "shift")

# Values that break readers: what is put into a row (`...` takes the key out).
SPOILT: dict[str, dict[str, Any]] = {
    "missing_id": {"id": ...},
    "null_id": {"id": None},
    "string_id": {"id": "forty-two"},
    "nan": {"rating": float("nan")},
    "surrogate": {"name": "half a pair \ud800"},
    "nul": {"name": "before\x00after"},
    "huge": {"name": "x" * 1_000_000},
    "types": {"added": "many", "released": 20240101, "updated": False, "platforms": "none", "genres": {"id": 1}},
}


@dataclass(slots=True)
class Misbehaviour:
    """One planned failure: for `times` matching requests (None: for good), the first `after` of them spared."""

    kind: str
    options: dict[str, Any]
    times: int | None
    after: int
    path_prefix: str

    def matches(self, request: Request) -> bool:
        """Tell whether the request can fail this way."""
        if not request.path.startswith(self.path_prefix):
            return False
        if self.kind in IN_PAGES and request.path not in DEFAULT_PAGE_SIZE:
            return False
        if self.kind == "shift" and request.path != "games":
            return False
        return self.kind not in _FROM_PAGE_TWO or (request.page or 0) >= 2


class Misbehaviours:
    """The planned failures, in the order they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Misbehaviour] = []

    def plan(
        self, kind: str, *, times: int | None = 1, path_prefix: str | None = None, after: int = 0, **options: Any
    ) -> None:
        """Plan a failure; raises UsageError for an unknown kind or option."""
        if kind not in KINDS or not options.keys() <= KINDS[kind].keys():
            known = ", ".join(KINDS.get(kind, KINDS)) or "none"
            raise UsageError(
                f"the sample server cannot misbehave as {kind} with {sorted(options)}", hint=f"Known: {known}"
            )
        _check_rows(options.get("how"))
        prefix = (path_prefix or "").removeprefix("/api").strip("/")
        with self._lock:
            self._planned.append(Misbehaviour(kind, {**KINDS[kind], **options}, times, after, prefix))

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._planned.clear()

    def take(self, request: Request) -> Misbehaviour | None:
        """Return the failure that is due for this request, and count it."""
        with self._lock:
            for planned in self._planned:
                if not planned.matches(request):
                    continue
                if planned.after:
                    planned.after -= 1
                    continue
                if planned.times is not None:
                    planned.times -= 1
                    if planned.times <= 0:
                        self._planned.remove(planned)
                return planned
        return None


def answer_instead(misbehaviour: Misbehaviour) -> Answer | None:
    """Return what is sent instead of an answer, or None where the answer itself is needed."""
    options = misbehaviour.options
    match misbehaviour.kind:
        case "quota":
            return error(401, QUOTA_SPENT)
        case "status":
            headers = {} if options["retry_after"] is None else {"Retry-After": str(options["retry_after"])}
            return Answer(int(options["code"]), b"<html><body>Try again later</body></html>", HTML | headers)
        case "html":
            return Answer(200, b"<!DOCTYPE html><html><body>Checking your browser</body></html>", dict(HTML))
        case "garbage_gzip":
            return Answer(200, b"\x1f\x8b\x08\x00this is not deflated data", {"Content-Encoding": "gzip"})
        case "redirect":
            return Answer(302, b"", {"Location": str(options["url"])})
    return None


def page_that_misbehaves(
    misbehaviour: Misbehaviour, request: Request, contract: Contract, catalogue: Catalogue
) -> Page:
    """Return the page with something wrong in it; raises NotFoundError as the page itself does."""
    if misbehaviour.kind == "shift":
        _shift(request, contract, catalogue)
    page = contract.page(request)
    options = misbehaviour.options
    match misbehaviour.kind:
        case "duplicate_page":
            before = replace(request, parameters={**request.parameters, "page": str((request.page or 2) - 1)})
            page.rows = contract.page(before).rows
        case "loop_next":
            page.next = options["url"] or request.link(request.page or 1)
        case "count_mismatch":
            page.count += options["by"]
        case "bad_rows":
            hows = _hows(options["how"])
            page.rows[: len(hows)] = [spoil(row, how) for row, how in zip(page.rows, hows, strict=False)]
        case "empty":
            page.count, page.next, page.rows = 0, None, []
    return page


def spoil(row: bytes, how: str) -> bytes:
    """Return the row with a value of `SPOILT` in it."""
    values = {**json.loads(row), **SPOILT[how]}
    return json.dumps({key: value for key, value in values.items() if value is not ...}).encode()


def _shift(request: Request, contract: Contract, catalogue: Catalogue) -> None:
    """Insert a game before the first one; it keeps that one's `updated` where the request asks by it."""
    with catalogue.lock:
        games, _ = contract.selection(request)
        if games:
            filters = dict(effective_filters(request.parameters))
            by_updated = "updated" in filters or effective_ordering(request.parameters).endswith("updated")
            catalogue.insert_like(games[0], keep_updated=by_updated)


def _hows(how: str | list[str] | None) -> list[str]:
    return list(SPOILT) if how is None else [how] if isinstance(how, str) else list(how)


def _check_rows(how: str | list[str] | None) -> None:
    unknown = [name for name in _hows(how) if name not in SPOILT]
    if unknown:
        raise UsageError(f"the sample server cannot spoil rows as {unknown}", hint=f"Known: {', '.join(SPOILT)}")
