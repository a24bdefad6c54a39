"""What `starberg demo` can show: for each warehouse a sample source, and the questions its marts answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

Variables = Mapping[str, str]


@dataclass(frozen=True)
class Demo:
    """One demo: `source` runs the sample source and yields the variables that point the declarations at it."""

    source: Callable[[], AbstractContextManager[Variables]]
    questions: Mapping[str, str]


@contextmanager
def _games() -> Iterator[Variables]:
    from starberg.samples.rawg_catalogue import Catalogue
    from starberg.samples.rawg_server import RawgServer

    with RawgServer(Catalogue(seed=7, games=5000)) as server:
        yield {"RAWG_URL": server.url, "RAWG_API_KEY": "sample-key", "GAMES_REQUESTS_PER_SECOND": "1000"}


DEMOS: Mapping[str, Demo] = {
    "games": Demo(
        _games,
        {
            "Which genres had the most games in 2025?": (
                "SELECT genre, release_year, games, round(average_rating, 2) AS average_rating "
                "FROM mart_games_by_genre_year WHERE release_year = 2025 ORDER BY games DESC, genre LIMIT 5"
            ),
            "On which platforms did the games of 2024 appear?": (
                "SELECT platform, games, round(share, 3) AS share FROM mart_platform_share_by_year "
                "WHERE release_year = 2024 ORDER BY games DESC, platform LIMIT 5"
            ),
            "Which games do players rate highest?": (
                "SELECT place, name, released_on, rating, ratings_count FROM mart_top_rated ORDER BY place LIMIT 5"
            ),
        },
    ),
}
