"""Trino's client speaks Trino's protocol (trino.io, "Trino client REST API"): pages, errors, logins, cancelling.

The server here is a small one in this process; no Trino ran.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr
from servers import Asked, Say, Server, closed_port

from starberg.engines.clients import Login, TableAt
from starberg.engines.trino import TrinoClient
from starberg.engines.trino_types import arrow_type
from starberg.utils.errors import CredentialsError, StarbergError, Unreachable, UsageError

COLUMNS = [("id", "bigint"), ("price", "decimal(9,2)")]


class Coordinator:
    """Answers each statement by `pages` of rows, or by an error; notes what was asked and what was cancelled."""

    def __init__(self, pages: list[list[list[Any]]], columns: list[tuple[str, str]] = COLUMNS) -> None:
        self.pages = pages
        self.columns = columns
        self.error: dict[str, Any] | None = None
        self.statements: list[str] = []
        self.cancelled: list[str] = []
        self.headers: dict[str, str] = {}
        self.status = 200

    def __call__(self, asked: Asked) -> Say:
        if self.status != 200:
            return Say(b"secret-of-the-proxy", self.status)
        if asked.method == "DELETE":
            self.cancelled.append(asked.path)
            return Say(b"", 204)
        if asked.method == "POST":
            assert asked.path == "/v1/statement"
            self.statements.append(asked.body.decode())
            self.headers = {name.lower(): value for name, value in asked.headers.items()}
            return Say(self._answer(asked.url, 0))
        return Say(self._answer(asked.url, int(asked.path.rsplit("/", 1)[1])))

    def _answer(self, url: str, page: int) -> dict[str, Any]:
        answer: dict[str, Any] = {"id": "q1", "infoUri": f"{url}/ui", "stats": {"state": "RUNNING"}, "warnings": []}
        if self.error:
            return {**answer, "error": self.error}
        answer["columns"] = [
            {"name": name, "type": kind, "typeSignature": signature(kind)} for name, kind in self.columns
        ]
        if page < len(self.pages):
            answer |= {"data": self.pages[page], "nextUri": f"{url}/v1/statement/executing/q1/{page + 1}"}
        return answer


def signature(kind: str) -> dict[str, Any]:
    """Return a type as the protocol spells it out; the kinds of these tests only."""
    raw, _, arguments = kind.partition("(")
    values = [{"kind": "LONG", "value": int(number)} for number in arguments.rstrip(")").split(",") if number.isdigit()]
    return {"rawType": raw, "arguments": values}


@pytest.fixture
def trino() -> Iterator[tuple[Coordinator, Login]]:
    coordinator = Coordinator([[[1, "1.50"], [2, None]], [[3, "3.25"]]])
    with Server(coordinator) as server:
        yield coordinator, Login("Trino", "127.0.0.1", server.port, user="ann")


def test_rows_come_page_by_page_with_their_types(trino: tuple[Coordinator, Login]) -> None:
    coordinator, login = trino
    client = TrinoClient(login, "ice")
    answer = client.query("select 1")
    assert answer.schema == pa.schema([("id", pa.int64()), ("price", pa.decimal128(9, 2))])
    table = pa.Table.from_batches(list(answer.rows))
    assert table.to_pydict() == {"id": [1, 2, 3], "price": [Decimal("1.50"), None, Decimal("3.25")]}
    assert coordinator.statements == ["select 1"]
    assert coordinator.headers["x-trino-user"] == "ann"
    assert coordinator.headers["x-trino-time-zone"] == "UTC"
    assert coordinator.cancelled == []


def test_rows_nobody_reads_are_cancelled_on_the_server(trino: tuple[Coordinator, Login]) -> None:
    coordinator, login = trino
    client = TrinoClient(login, "ice")
    client.query("select 1")
    client.close()
    assert len(coordinator.cancelled) == 1
    assert "q1" in coordinator.cancelled[0]


@pytest.mark.parametrize(
    ("kind", "name", "error", "said"),
    [
        ("USER_ERROR", "TABLE_NOT_FOUND", UsageError, "Trino: line 1:15: no such table"),
        ("INTERNAL_ERROR", "GENERIC_INTERNAL_ERROR", StarbergError, "Trino failed (GENERIC_INTERNAL_ERROR): line"),
    ],
)
def test_a_refused_question_is_one_line(
    trino: tuple[Coordinator, Login], kind: str, name: str, error: type[StarbergError], said: str
) -> None:
    coordinator, login = trino
    coordinator.error = {"errorName": name, "errorType": kind, "message": "line 1:15: no such table", "errorCode": 1}
    with pytest.raises(error) as caught:
        TrinoClient(login, "ice").query("select 1 from x")
    assert type(caught.value) is error
    assert said in str(caught.value)


def test_a_wrong_login_is_told_without_the_servers_page(trino: tuple[Coordinator, Login]) -> None:
    coordinator, login = trino
    coordinator.status = 401
    with pytest.raises(CredentialsError, match="Check TRINO_USER and TRINO_PASSWORD"):
        TrinoClient(login, "ice").query("select 1")


def test_a_password_is_never_sent_without_tls(trino: tuple[Coordinator, Login]) -> None:
    coordinator, login = trino
    with pytest.raises(UsageError, match=r"needs TLS\. Set TRINO_TLS=true"):
        TrinoClient(Login("Trino", login.host, login.port, user="ann", password=SecretStr("hush")), "ice").query(
            "select 1"
        )
    assert coordinator.statements == []


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"Trino at 127\.0\.0\.1:.* does not answer: .*refused"):
        TrinoClient(Login("Trino", "127.0.0.1", closed_port(), user="ann"), "ice").query("select 1")


def test_tables_are_named_in_the_catalog_and_at_a_snapshot() -> None:
    client = TrinoClient(Login("Trino", "h", 1), "ice")
    assert client.table(TableAt("games.fact_games")) == '"ice"."games"."fact_games"'
    assert (
        client.table(TableAt("games.fact_games", snapshot=lambda: 7))
        == '"ice"."games"."fact_games" FOR VERSION AS OF 7'
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("integer", pa.int32()),
        ("real", pa.float32()),
        ("varchar(7)", pa.string()),
        ("date", pa.date32()),
        ("timestamp(6)", pa.timestamp("us")),
        ("timestamp(6) with time zone", pa.timestamp("us", tz="UTC")),
        ("varbinary", pa.binary()),
        ("uuid", pa.string()),
        ("interval day to second", pa.string()),
        ("array(bigint)", pa.list_(pa.int64())),
        ("map(varchar,double)", pa.map_(pa.string(), pa.float64())),
        ("row(a bigint,b array(date))", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.date32()))])),
    ],
)
def test_every_type_has_an_arrow_type(text: str, kind: pa.DataType) -> None:
    assert arrow_type(text) == kind


def test_values_of_any_type_become_arrow() -> None:
    from starberg.engines.trino_types import batch, schema

    columns = schema([("r", "row(a bigint,b varchar)"), ("m", "map(varchar,bigint)"), ("t", "timestamp(3)")])
    moment = datetime(2026, 1, 2, 3, 4, 5)
    rows = [[(1, "x"), {"k": 2}, moment], [None, None, None]]
    assert batch(columns, rows).to_pylist() == [
        {"r": {"a": 1, "b": "x"}, "m": [("k", 2)], "t": moment},
        {"r": None, "m": None, "t": None},
    ]
    assert batch(
        schema([("d", "date"), ("z", "timestamp(6) with time zone")]),
        [[date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)]],
    )
    assert json.dumps(batch(schema([("u", "uuid")]), [["a-b"]]).to_pylist()) == '[{"u": "a-b"}]'
