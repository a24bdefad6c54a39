"""Bad input through the commands: a row set aside with its reason, or one line that names stream and page.

Nothing published changes by it, nothing vanishes silently, and the next good run repairs. Proven beside: what each
client makes of an answer (tests/unit/test_http_client.py, test_rest.py, test_pagination.py), how values are typed
(test_records.py), answers that name an exit code (test_secrets.py), limits (test_staging.py), damaged loads
(test_raw_chain.py).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from product import Answer, Product, source
from servers import Asked, Say, Server

from starberg.utils.clock import Clock

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_pauses_and_own_scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Clock, "sleep", lambda *_: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # pages nobody can read are kept there


# Records and values: one warehouse whose streams hold all of them


TEXTS = [
    "",
    " ",
    "\t\n\r",
    "\0",
    "nul\0inside",
    "עברית",
    "\u202ertl",
    "e\u0301",
    "😀",
    "\ufeff",
    '"',
    "\\",
    "ü" * 500_000,
]
NUMBERS = ["NaN", "Infinity", "-Infinity", -0.0, 5e-324, 1.7976931348623157e308, 0.1]
STAMPS = {
    "2026-03-29T01:30:00": "2026-03-29 00:30:00",
    "2026-03-29T02:30:00": "2026-03-29 01:30:00",  # skipped that night: read as winter time
    "2026-03-29T03:30:00": "2026-03-29 01:30:00",
    "2026-10-25T02:30:00": "2026-10-25 01:30:00",  # comes twice: the later one
    "2026-10-25T02:30:00+02:00": "2026-10-25 00:30:00",
    "2026-06-01T12:00:00Z": "2026-06-01 12:00:00",
    "0001-01-01T00:00:00Z": "0001-01-01 00:00:00",
    "9999-12-31T00:00:00Z": "9999-12-31 00:00:00",
}
BROKEN = "bytes that are no UTF-8"
SPOILT: dict[int, dict[str, Any]] = {
    1: {"id": None},
    2: {"id": "two"},
    3: {"added": "many"},
    4: {"added": 3_000_000_000},
    5: {"released": "2026-02-30"},
    6: {"name": "\ud800"},
    7: {"name": BROKEN},
}
SET_ASIDE = [
    ["_unreadable", "not a valid Unicode text", '{"id": 6, "name": "\\ud800", "added": 2, "released": "2026-01-31"}'],
    [
        "_unreadable",
        "not a valid Unicode text",
        '{"id": 7, "name": "\\xff\\xfe", "added": 2, "released": "2026-01-31"}',
    ],
    ["added", "not a INTEGER", "3000000000"],
    ["added", "not a INTEGER", "many"],
    ["id", "the key is missing or unreadable", "two"],
    ["key", "the key is missing or unreadable", None],
    ["released", "not a DATE", "2026-02-30"],
]


def games(added: int) -> Rows:
    """Return games that differ in one value from those of another time."""
    return [{"id": n, "name": f"game {n}", "added": added, "released": "2026-01-31"} for n in range(1, 31)]


def numbered(column: str, values: Any) -> Rows:
    return [{"id": n, column: value} for n, value in enumerate(values)]


@dataclass
class World:
    product: Product
    says: dict[str, Rows] = field(default_factory=dict)

    def run(self) -> str:
        answer = self.product("run", "odd")
        assert answer.code == 0, answer.err
        return answer.out

    def quarantine(self, stream: str) -> list[list[Any]]:
        return self.product.query(f"select column_name, reason, raw_value from odd.quarantine_{stream} order by all")

    def games(self) -> dict[int, int]:
        rows = self.product.query("select game_id, added from odd.stg_games where _deleted_at is null")
        return {int(game): added for game, added in rows}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Read good and odd values, then bad ones; two sources have a stream called games."""
    world = World(Product(tmp_path_factory.mktemp("odd")))
    world.says = {
        "/texts": numbered("text", TEXTS),
        "/numbers": [*numbered("number", NUMBERS), {"id": 99, "number": "?"}],
        "/stamps": numbered("stamp", STAMPS),
        "/games": games(1),
        "/shop/games": games(1),
    }

    def serve(asked: Asked) -> Say:
        return Say(json.dumps(world.says[asked.path]).encode().replace(BROKEN.encode(), b"\xff\xfe"))

    with Server(serve) as server:
        declare_world(world.product, server.url)
        world.run()
        yield world


def declare_world(product: Product, url: str) -> None:
    def stream(path: str, **columns: str) -> dict[str, Any]:
        return {"key": ["id"], "path": path, "columns": {"id": "BIGINT", **columns}, "undeclared": "ignore"}

    game = {"name": "VARCHAR", "added": "INTEGER", "released": "DATE"}
    streams = {
        "texts": stream("/texts", text="VARCHAR"),
        "numbers": stream("/numbers", number="DOUBLE"),
        "stamps": stream("/stamps", stamp="TIMESTAMP"),
        "games": stream("/games", **game),
    }
    shop = {**source(url, {"games": stream("/shop/games", **game)}), "name": "shop"}
    product.declare("odd", source(url, streams, timezone="Europe/Paris"), shop)
    for name, column in (("texts", "text"), ("numbers", "number"), ("stamps", "stamp")):
        product.table("odd", f"staging/stg_{name}", f"select id, {column} from {name}")
    select = "select id as game_id, name, added, released from games"
    product.table("odd", "staging/stg_games", f"/* stream: api.games */ {select}")
    product.table("odd", "staging/stg_shop_games", f"/* stream: shop.games */ {select}")


def test_text_comes_back_byte_for_byte(world: World) -> None:
    found = world.product.query("select sha256(text) from odd.stg_texts order by id")
    assert found == [[hashlib.sha256(text.encode()).hexdigest()] for text in TEXTS]


def test_odd_numbers_are_kept(world: World) -> None:
    """NaN is no number of JSON, but a text that says so is one."""
    found = [float(text) for (text,) in world.product.query("select number::varchar from odd.stg_numbers order by id")]
    assert [str(number) for number in found] == [str(float(value)) for value in NUMBERS]
    assert math.copysign(1, found[3]) == -1
    assert world.quarantine("numbers") == [["number", "not a DOUBLE", "?"]]


def test_times_without_a_zone_are_the_sources_and_stored_in_utc(world: World) -> None:
    found = world.product.query("select stamp::varchar from odd.stg_stamps order by id")
    assert found == [[stamp] for stamp in STAMPS.values()]


def test_odd_values_are_no_change_the_next_time(world: World) -> None:
    assert "SKIPPED" in world.run()


def test_unreadable_records_are_set_aside_and_their_games_stay(world: World) -> None:
    """Game 30 is gone, which nobody can tell from a list with unreadable keys."""
    rows, others = [{**row, **SPOILT.get(row["id"], {})} for row in games(2)[:29]], games(2)
    others[8]["added"] = "?"
    world.says |= {
        "/games": rows,
        "/shop/games": [{**row, "added": "?"} if row["id"] == 9 else row for row in games(2)],
    }
    assert "7 of 29 records of games are in odd.quarantine_api_games" in world.run()
    assert world.quarantine("api_games") == SET_ASIDE
    assert world.quarantine("shop_games") == [["added", "not a INTEGER", "?"]]
    assert world.games() == {n: 1 if n in (*SPOILT, 30) else 2 for n in range(1, 31)}


def test_a_rebuild_sets_the_same_records_aside(world: World) -> None:
    answer = world.product("verify", "odd")
    assert answer.code == 0, answer.out


def test_a_good_run_takes_the_records_in_and_the_deletes_too(world: World) -> None:
    world.says["/games"] = games(3)[:29]
    world.run()
    assert world.games() == dict.fromkeys(range(1, 30), 3)


# Pages nobody can read, and lists that contradict themselves


def things(version: int) -> Rows:
    return [{"id": n, "text": f"thing {n} of {version}"} for n in range(1, 31)]


PAGE_2: dict[str, tuple[Callable[[bytes], Say], str]] = {
    "cut JSON": (lambda body: Say(body[:-20]), "not JSON"),
    "NaN": (lambda body: Say(body.replace(b'"thing 11 of 2"', b"NaN")), "NaN is not JSON"),
    "nothing": (lambda body: Say(b""), "not JSON"),
    "HTML": (lambda body: Say(b"<html>Please log in</html>", headers={"Content-Type": "text/html"}), "text/html"),
    "garbage": (lambda body: Say(b"\x1f\x8bjunk", headers={"Content-Encoding": "gzip"}), "broken gzip"),
    "cut gzip": (lambda body: Say(gzip.compress(body)[:-9], headers={"Content-Encoding": "gzip"}), "truncated gzip"),
    "no list": (lambda body: Say({"detail": "soon"}), "items"),
    "no records": (lambda body: Say({"items": ["thing"], "total": 30}), "not an object"),
    "page 1 again": (lambda body: Say({"items": things(2)[:10], "total": 30}), "loops"),
}
"""What a server may say instead of page 2, and a word of the complaint."""


@dataclass
class Shop:
    """A warehouse of one stream that comes in pages of ten."""

    product: Product
    rows: Rows
    spoil: Callable[[bytes], Say] = Say
    more: int = 0

    def serve(self, asked: Asked) -> Say:
        page = int(asked.query["page"])
        rows = self.rows[10 * page - 10 : 10 * page]
        body = json.dumps({"items": rows, "total": len(self.rows) + self.more}).encode()
        return self.spoil(body) if page == 2 else Say(body)

    def run(self) -> Answer:
        return self.product("--json", "run", "shop")

    def things(self) -> list[list[Any]]:
        return self.product.query("select id, text from shop.stg_things where _deleted_at is null order by id")

    def published(self) -> dict[str, str]:
        """Return a description of each published table but the log of runs."""
        found = self.product("--json", "tables", "shop").rows
        return {row["table"]: str(row) for row in found if row["table"] != "shop.etl_runs"}

    def recovers(self) -> bool:
        """Tell whether a good run publishes what the source holds."""
        self.spoil, self.more = Say, 0
        answer = self.run()
        return answer.code == 0 and self.things() == [list(row.values()) for row in self.rows]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(Product(tmp_path_factory.mktemp("shop")), things(1))
    paging = {"kind": "page", "param": "page", "size": 10, "total": "total"}
    stream = {"path": "/things", "records": "items", "pagination": paging, "undeclared": "ignore"}
    with Server(shop.serve) as server:
        columns = {"id": "BIGINT", "text": "VARCHAR"}
        shop.product.declare("shop", source(server.url, {"things": {"key": ["id"], "columns": columns, **stream}}))
        shop.product.table("shop", "staging/stg_things", "select id, text from things")
        assert shop.recovers()
        yield shop


@pytest.mark.parametrize("how", PAGE_2)
def test_a_page_nobody_can_read_is_named_and_nothing_is_published(shop: Shop, how: str) -> None:
    before = shop.published()
    shop.rows = things(2)
    shop.spoil, word = PAGE_2[how]
    answer = shop.run()
    assert answer.code == 1, answer.err
    assert answer.out == ""
    assert "things" in answer.complaint
    assert re.search("page.2", answer.complaint)
    assert word in answer.complaint
    assert shop.published() == before


def test_after_all_that_a_good_run_publishes_what_the_source_holds(shop: Shop) -> None:
    assert shop.recovers()


def test_a_list_that_contradicts_its_total_deletes_nothing_and_says_so(shop: Shop) -> None:
    assert shop.recovers()
    before = len(shop.things())
    shop.rows, shop.more = things(3)[:29], 11
    answer = shop.run()
    assert answer.code == 0, answer.err
    assert len(shop.things()) == before
    assert "no deletes are derived" in answer.err
    assert shop.recovers()


# Files of the lake that are cut, changed or gone


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))


def newest(shop: Shop, pattern: str) -> Path:
    return max((shop.product.home / "lake").glob(pattern), key=lambda path: path.stat().st_mtime_ns)


RAW, DATA = "raw/shop/api/things/*", "tables/shop/stg_things/data/*.parquet"
REBUILD, RUN, QUERY = ("rebuild", "shop"), ("run", "shop"), ("query", "from shop.stg_things")
DAMAGES = [
    *((f"{RAW}/part-*.parquet", damage, REBUILD) for damage in (cut, flip, Path.unlink)),
    *((f"{RAW}/index-*.parquet", damage, RUN) for damage in (cut, flip, Path.unlink)),
    *((f"{RAW}/manifest.json", damage, REBUILD) for damage in (cut, Path.unlink)),
    (DATA, Path.unlink, QUERY),
    (DATA, cut, QUERY),
]


@pytest.mark.proof
@pytest.mark.parametrize(("pattern", "damage", "typed"), DAMAGES)
def test_a_damaged_file_is_named_and_never_taken_for_empty(
    shop: Shop, pattern: str, damage: Callable[[Path], None], typed: tuple[str, ...]
) -> None:
    before = shop.published()
    path = newest(shop, pattern)
    whole = path.read_bytes()
    damage(path)
    try:
        answer = shop.product(*typed)
        assert answer.code == 1, answer.err
        assert answer.out == ""
        assert path.name in answer.complaint or " load " in answer.complaint
        assert shop.published() == before
    finally:
        path.write_bytes(whole)
    assert shop.things() == [list(row.values()) for row in shop.rows]
