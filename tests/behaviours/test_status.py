"""A run that failed where not even its failure could be written is shown all the same, and written down by the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import CUSTOMERS, NAME, SALES, Shop, opened

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.storage.lease import TTL
from starberg.utils.errors import TransientError
from starberg.utils.settings import Settings


class Full:
    """A store whose disk has no room left, but maybe for what its lease has to say."""

    def __init__(self, inner: Any, *, room_for_leases: bool) -> None:
        self._inner = inner
        self._room_for_leases = room_for_leases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> Any:
        if key.startswith("leases/") and (if_absent or self._room_for_leases):
            return self._inner.put(key, data, if_absent=if_absent)
        raise TransientError(f"cannot write {key}: No space left on device")

    def put_file(self, key: str, *_: Any, **__: Any) -> Any:
        raise TransientError(f"cannot write {key}: No space left on device")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path / "project") as shop:
        shop.say(customers=CUSTOMERS, sales=SALES)
        shop.run()
        yield shop


def full(shop: Shop, *, room_for_leases: bool) -> Lake:
    settings = Settings.load(shop.product.folder, {}, {})
    return open_lake(
        settings,
        clock=shop.clock,
        wrap=lambda store, catalog: (Full(store, room_for_leases=room_for_leases), catalog),  # type: ignore[return-value]
    )


@pytest.mark.parametrize("room_for_leases", [True, False])
def test_a_run_without_room_is_shown_as_failed_at_once_and_for_good(shop: Shop, room_for_leases: bool) -> None:
    shop.clock.sleep(60)
    shop.say(sales=SALES[1:])
    with pytest.raises(TransientError, match="No space left"):
        full(shop, room_for_leases=room_for_leases).run(NAME)
    if not room_for_leases:  # its lease is found dead when it runs out, or when its process has ended
        shop.clock.sleep(TTL.total_seconds() + 1)
    wanted = "No space left" if room_for_leases else "ended without a word"

    shown, first = shop.lake().status(NAME)
    assert (shown["status"], first["status"]) == ("FAILED", "SUCCESS")
    assert wanted in shown["error"]
    shop.say(sales=SALES[1:])
    assert shop.run().status == "SUCCESS"
    _, recorded, _ = shop.lake().status(NAME)
    assert (recorded["run_id"], recorded["status"], recorded["error"]) == (shown["run_id"], "FAILED", shown["error"])
    assert shop.rows("select status from etl_runs order by run_id") == [("SUCCESS",), ("FAILED",), ("SUCCESS",)]
