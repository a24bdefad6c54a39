"""Requests, pages and answers of the API: links, sizes, limits, error bodies.

`next` and `previous` are absolute, repeat the caller's parameters in sorted order, its key in clear, with `,` as %2C.
A list with a filter ends at `window` results (10,000, the default window of the search index behind the API), while
its `count` still tells the whole number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starberg.samples.rawg_filters import whole_number
from starberg.samples.rawg_shapes import to_text

MAX_PAGE_SIZE = 40
WINDOW = 10_000
# What a page holds if nothing is asked; platforms give 50 although asking for 50 gives 40.
DEFAULT_PAGE_SIZE = {
    "games": 20,
    "genres": 40,
    "platforms": 50,
    "platforms/lists/parents": 50,
    "stores": 20,
    "tags": 10,
    "developers": 10,
    "publishers": 10,
    "creators": 10,
}


@dataclass(slots=True)
class Answer:
    """An HTTP answer: status, body, headers beyond Content-Type and Content-Length."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Page:
    """One page of a list before it is written: rows are JSON, `extra` the envelope's further keys."""

    count: int
    next: str | None
    previous: str | None
    rows: list[bytes]
    extra: dict[str, Any] = field(default_factory=dict)

    def answer(self) -> Answer:
        """Write the page."""
        head = to_text({"count": self.count, "next": self.next, "previous": self.previous})
        tail = to_text(self.extra)[1:-1]
        return Answer(
            200,
            b'%s,"results":[%s]%s}' % (head[:-1].encode(), b",".join(self.rows), f",{tail}".encode() if tail else b""),
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A GET: `path` below /api without slashes around it, parameters, and the absolute URL without the query."""

    path: str
    parameters: dict[str, str]
    url: str

    @property
    def page(self) -> int | None:
        """Number of the page that is asked, None if it is not a number (`last` is one only the server knows)."""
        return whole_number(self.parameters.get("page", "1"))

    def link(self, page: int) -> str:
        """Return the URL of another page; the first one has no `page` parameter."""
        parameters = {**self.parameters, "page": str(page)}
        if page == 1:
            del parameters["page"]
        return f"{self.url}?{urlencode(sorted(parameters.items()))}" if parameters else self.url


class NotFoundError(Exception):
    """The API answers 404 with this detail."""


def error(status: int, message: str) -> Answer:
    """Return a refusal of the API's front: `{"error": …}`."""
    return Answer(status, to_text({"error": message}).encode())


def detail(status: int, message: str) -> Answer:
    """Return a refusal of the framework behind the API: `{"detail": …}`."""
    return Answer(status, to_text({"detail": message}).encode())


def page_size(request: Request) -> int:
    """Return the rows of a page: at most 40 if asked for, the path's default if not or unreadable."""
    asked = whole_number(request.parameters.get("page_size", ""))
    return min(asked, MAX_PAGE_SIZE) if asked else DEFAULT_PAGE_SIZE[request.path]


def bounds(request: Request, count: int, window: int) -> tuple[int, int, int]:
    """Return (page, first row, row after the last); raises NotFoundError past the last page or past the window."""
    size = page_size(request)
    pages = max(1, -(-count // size))
    page = pages if request.parameters.get("page") == "last" else request.page
    if page is None or not 1 <= page <= pages or min(page * size, count) > window:
        raise NotFoundError("Invalid page.")
    return page, (page - 1) * size, min(page * size, count)


def make_page(request: Request, page: int, count: int, rows: list[bytes], extra: dict[str, Any]) -> Page:
    """Return page number `page` of `count` rows, with its links."""
    end = page * page_size(request)
    return Page(
        count=count,
        next=request.link(page + 1) if end < count else None,
        previous=request.link(page - 1) if page > 1 else None,
        rows=rows,
        extra=extra,
    )
