"""What is wrong with a declared database source is told in one line: file, field, what to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from starberg.etl.project import load_warehouse
from starberg.ingestion.budget import Unlimited
from starberg.ingestion.postgres import open_source
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, DeclarationError, UsageError

SOURCE = """\
sources:
  shop:
    kind: postgres
    connection: {url: SHOP_URL}
    streams:
      items:
        table: public.items
        key: [id]
"""
CAPTURE = SOURCE + "        capture: "


def declared(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "warehouse.yml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            CAPTURE + "cdc\n",
            ("9: streams.items.capture: expected 'full', 'incremental', 'high_water_mark', 'keys' or 'log', not 'cdc'"),
        ),
        (
            CAPTURE + "high_water_mark\n",
            ("6: streams.items.cursor: stream items needs cursor. Name the column that grows with every change."),
        ),
        (
            CAPTURE + "incremental\n        cursor: at\n",
            (
                "9: streams.items.capture: stream items has capture incremental, which is for APIs. "
                "Write capture: high_water_mark."
            ),
        ),
        (
            SOURCE + "        cursor: at\n",
            (
                "9: streams.items.cursor: stream items has cursor, which capture full does not read. "
                "Remove it, or write capture: high_water_mark."
            ),
        ),
        (
            SOURCE.replace("public.items", "items"),
            "7: streams.items.table: stream items has table 'items'. Write schema.items.",
        ),
        (
            SOURCE.replace("        table: public.items\n", ""),
            "6: streams.items.table: stream items needs table. Write schema.name.",
        ),
        (SOURCE.replace("        key: [id]\n", ""), "6: streams.items.key: is missing"),
        (
            SOURCE.replace("    connection: {url: SHOP_URL}\n", ""),
            "2: connection: kind postgres needs it. Write connection: {url: NAME_OF_A_SETTING}.",
        ),
        (
            SOURCE.replace("url: SHOP_URL", "host: localhost"),
            (
                "4: connection.url: does not say where the database is. "
                "Write url: NAME_OF_A_SETTING, or host, database, user and password: NAME_OF_A_SETTING."
            ),
        ),
        (
            SOURCE.replace("url: SHOP_URL", "url: 'postgresql://ann:canary@h/d'"),
            "4: connection.url: is no name of a setting, which holds what is secret. Write SHOP_URL, say.",
        ),
        (
            SOURCE.replace("kind: postgres", "kind: postgres\n    timezone: Mars/Base"),
            "4: timezone: 'Mars/Base' is no time zone. Write one of IANA's, such as Europe/Berlin.",
        ),
        (
            SOURCE.replace("kind: postgres\n    connection: {url: SHOP_URL}", "kind: rest\n    url: http://h"),
            "7: streams.items.table: stream items has table, which is for kind postgres. Remove it.",
        ),
    ],
)
def test_a_wrong_declaration(tmp_path: Path, text: str, said: str) -> None:
    folder = declared(tmp_path, text)
    with pytest.raises(DeclarationError) as error:
        load_warehouse(folder, {})
    line, field = said.split(": ", 1)
    assert str(error.value) == f"{folder / 'warehouse.yml'}:{line}: sources.shop.{field}"


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (None, CredentialsError, "source shop needs SHOP_URL, which is not set. Set SHOP_URL."),
        ("mysql://u:canary@h/d", UsageError, "SHOP_URL is no postgresql:// URL"),
        (
            "postgresql://u:ca/n@ry@h/d",
            UsageError,
            "SHOP_URL is no URL. In a password write / as %2F, @ as %40, # as %23, ? as %3F.",
        ),
    ],
)
def test_a_setting_that_is_missing_or_wrong(
    tmp_path: Path, value: str | None, kind: type[Exception], said: str
) -> None:
    source = load_warehouse(declared(tmp_path, SOURCE), {}).sources["shop"]
    with pytest.raises(kind) as error:
        open_source(source, lambda _: value, Unlimited(), Clock())
    assert str(error.value) == said
