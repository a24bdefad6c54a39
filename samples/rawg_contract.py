"""What the API answers to a GET: a path and parameters in, bytes out. No sockets, no keys (rawg_server has both)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from starberg.samples.rawg_dimensions import dimension_rows
from starberg.samples.rawg_filters import effective_filters, effective_ordering, search_score, select, whole_number
from starberg.samples.rawg_pages import (
    DEFAULT_PAGE_SIZE,
    WINDOW,
    Answer,
    NotFoundError,
    Page,
    Request,
    bounds,
    detail,
    make_page,
)
from starberg.samples.rawg_shapes import detailed, filtered, listed, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starberg.samples.rawg_catalogue import Catalogue
    from starberg.samples.rawg_games import Game

PAID_ONLY = ("suggested", "twitch", "youtube")
_CACHED_ROWS, _CACHED_SELECTIONS = 20_000, 64


class Contract:
    """Answers requests from a catalogue; texts of rows and results of filters are kept until the catalogue changes."""

    def __init__(self, catalogue: Catalogue, *, window: int = WINDOW) -> None:
        self._catalogue = catalogue
        self._window = window
        self._version = -1
        self._rows: dict[tuple[int, str | None, bool], bytes] = {}
        self._selections: OrderedDict[object, list[Game]] = OrderedDict()
        self._members: dict[tuple[str, str], list[bytes]] = {}
        self._years: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Answer:
        """Answer a request whose key was accepted."""
        try:
            if request.path in DEFAULT_PAGE_SIZE:
                return self.page(request).answer()
            return self._one_game(request.path)
        except NotFoundError as missing:
            return detail(404, str(missing))

    def page(self, request: Request) -> Page:
        """Return one page of a list; raises NotFoundError for a page or path that is not there."""
        if request.path not in DEFAULT_PAGE_SIZE:
            raise NotFoundError("Not found.")
        with self._catalogue.lock:
            self._forget_stale()
            return self._games(request) if request.path == "games" else self._dimension(request)

    def selection(self, request: Request) -> tuple[list[Game], bool]:
        """Return all games a /games request is about, in order, and whether it filters."""
        with self._catalogue.lock:
            self._forget_stale()
            filters, ordering = effective_filters(request.parameters), effective_ordering(request.parameters)
            games = self._selections.get((filters, ordering))
            if games is None:
                games = self._selections[filters, ordering] = select(self._catalogue, filters, ordering)
                if len(self._selections) > _CACHED_SELECTIONS:
                    self._selections.popitem(last=False)
            return games, bool(filters)

    def _games(self, request: Request) -> Page:
        games, is_filtered = self.selection(request)
        page, start, end = bounds(request, len(games), self._window if is_filtered else len(games))
        write = self._filtered_row if is_filtered else self._listed_row
        rows = [write(game, request) for game in games[start:end]]
        extra = {"user_platforms": False} if is_filtered else self._envelope()
        return make_page(request, page, len(games), rows, extra)

    def _dimension(self, request: Request) -> Page:
        key = (request.path, request.parameters.get("ordering", ""))
        if key not in self._members:
            self._members[key] = [to_text(row).encode() for row in dimension_rows(self._catalogue, *key)]
        rows = self._members[key]
        page, start, end = bounds(request, len(rows), len(rows))
        return make_page(request, page, len(rows), rows[start:end], {})

    def _listed_row(self, game: Game, _request: Request) -> bytes:
        return self._row((game.id, None, False), lambda: listed(game, self._catalogue.cards()))

    def _filtered_row(self, game: Game, request: Request) -> bytes:
        score = search_score(game, request.parameters)
        return self._row((game.id, score, True), lambda: filtered(game, self._catalogue.cards(), score))

    def _one_game(self, path: str) -> Answer:
        name, _, id_or_slug = path.partition("/")
        id_or_slug, _, part = id_or_slug.partition("/")
        number = whole_number(id_or_slug)
        with self._catalogue.lock:
            game = self._catalogue.game(id_or_slug if number is None else number)
            moved_to = self._catalogue.moved_to(id_or_slug)
            if name != "games" or (game is None and moved_to is None):
                raise NotFoundError("Not found.")
            if part:
                return _part_of_game(part)
            if game is None:
                return Answer(200, to_text({"redirect": True, "slug": moved_to}).encode())
            return Answer(200, detailed(game, self._catalogue.cards()).encode())

    def _forget_stale(self) -> None:
        if self._version != self._catalogue.version:
            self._version = self._catalogue.version
            for cache in (self._rows, self._selections, self._members, self._years):
                cache.clear()

    def _row(self, key: tuple[int, str | None, bool], write: Callable[[], str]) -> bytes:
        """Return a row's bytes, written once; the key is game id, search score, whether the list is filtered."""
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= _CACHED_ROWS:
                self._rows.clear()
            row = self._rows[key] = write().encode()
        return row

    def _envelope(self) -> dict[str, Any]:
        """Return the keys only a list without filter has."""
        if not self._years:
            self._years.extend(_decades(self._catalogue.ordered("released")))
        return {
            "seo_title": "All Games",
            "seo_description": "",
            "seo_keywords": "",
            "seo_h1": "All Games",
            "noindex": False,
            "nofollow": False,
            "description": "",
            "filters": {"years": self._years},
            "nofollow_collections": ["stores"],
        }


def _part_of_game(part: str) -> Answer:
    if part in PAID_ONLY:
        return Answer(401)
    raise NotFoundError("Not found.")


def _decades(games: Sequence[Game]) -> list[dict[str, Any]]:
    """Return the years games were released in, newest decade first, as the envelope's `filters` shows them."""
    per_year: Mapping[int, int] = Counter(int(game.released[:4]) for game in games if game.released)
    decades = []
    for first in sorted({year // 10 * 10 for year in per_year}, reverse=True):
        years = [year for year in sorted(per_year, reverse=True) if year // 10 * 10 == first]
        decades.append(
            {
                "from": first,
                "to": first + 9,
                "filter": f"{first}-01-01,{first + 9}-12-31",
                "decade": first,
                "years": [{"year": year, "count": per_year[year], "nofollow": False} for year in years],
                "nofollow": True,
                "count": sum(per_year[year] for year in years),
            }
        )
    return decades
