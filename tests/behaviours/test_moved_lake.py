"""A lake that is not where its catalog says is refused in one line, before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from shop import CUSTOMERS, NAME, SALES, opened

from starberg.utils.errors import LakeError


def test_a_lake_at_another_place_than_its_tables_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with opened(tmp_path / "project") as shop:
        shop.say(customers=CUSTOMERS, sales=SALES)
        shop.run()
        shop.say(customers=CUSTOMERS, sales=SALES)
        elsewhere = tmp_path / "elsewhere"
        shop.product.home.rename(elsewhere)
        with pytest.raises(LakeError, match=f"not in the lake {elsewhere}") as caught:
            shop.lake(elsewhere).run(NAME)
        assert str(shop.product.home / "lake") in str(caught.value)
        assert "STARBERG_LAKE" in caught.value.hint
        assert shop.feed.next.keys() == {"customers", "sales"}

        elsewhere.rename(shop.product.home)
        assert shop.run().status == "SKIPPED"
