"""The real API against the contract the sample server keeps. Needs RAWG_API_KEY; asks 6 times.

RAWG_API_KEY=… uv run pytest -m rawg_live
"""

import os
from typing import Any

import pytest
import requests

from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_server import RawgServer

REAL = "https://api.rawg.io/api"
pytestmark = [
    pytest.mark.rawg_live,
    pytest.mark.skipif("RAWG_API_KEY" not in os.environ, reason="needs RAWG_API_KEY"),
]


def ask(url: str, path: str, **parameters: Any) -> requests.Response:
    return requests.get(f"{url}{path}", params=parameters, timeout=30)


@pytest.fixture(scope="module")
def sample() -> Any:
    with RawgServer(Catalogue(games=200)) as server:
        yield server.url


def games(url: str, key: str, **parameters: Any) -> dict[str, Any]:
    answer = ask(url, "/games", key=key, page_size=40, **parameters)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("parameters", [{}, {"dates": "2020-01-01,2020-12-31"}], ids=["whole", "filtered"])
def test_lists_have_the_shape_of_the_sample(sample: str, parameters: dict[str, str]) -> None:
    real = games(REAL, os.environ["RAWG_API_KEY"], **parameters)
    ours = games(sample, "sample-key", **parameters)
    assert set(ours) <= set(real)
    assert len(real["results"]) <= 40
    for name, value in ours["results"][0].items():
        seen = [game.get(name) for game in real["results"]]
        assert any(name in game for game in real["results"]), name
        kinds = {type(one) for one in seen if one is not None}
        assert value is None or not kinds or kinds & {type(value), int, float}, name


def test_a_filter_that_is_none_is_ignored() -> None:
    real = games(REAL, os.environ["RAWG_API_KEY"], dates="2020-01-01")
    assert real["count"] > 500_000


def test_nulls_come_first_when_ordered_by_release() -> None:
    real = games(REAL, os.environ["RAWG_API_KEY"], ordering="released")
    assert real["results"][0]["released"] is None


def test_an_unknown_key_and_a_page_past_the_end() -> None:
    assert ask(REAL, "/genres", key="no-such-key").status_code == 401
    past = ask(REAL, "/genres", key=os.environ["RAWG_API_KEY"], page=1000)
    assert (past.status_code, past.json()) == (404, {"detail": "Invalid page."})
