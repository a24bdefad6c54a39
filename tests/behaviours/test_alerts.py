"""Alerts as their receivers get them: a webhook and a mailbox on this machine, and a scheduler over a real lake."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from shop import CUSTOMERS, NAME, Shop, opened

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.schedule import scheduler_of
from starberg.entrypoints.scheduler import Scheduler
from starberg.utils.settings import Settings

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FACT = """/*
grain: sale_id
load: by date
date: sold_on
keys: {customer_key: dim_customer(customer_id)}
*/
select sale_id, customer_id, quantity, price, sold_on from stg_sales"""


class Webhook:
    """Keeps what is posted to it; answers 500 while it is broken."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.broken = False
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not webhook.broken:
                    webhook.got.append(json.loads(body))
                self.send_response(500 if webhook.broken else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                del args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/hook"

    @property
    def titles(self) -> list[str]:
        return [str(message["title"]).removeprefix("starberg: ") for message in self.got]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    found = Webhook()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def shop(tmp_path: Path, webhook: Webhook) -> Iterator[Shop]:
    with opened(tmp_path / "project") as shop:
        shop.product.environ["ALERT_URLS"] = webhook.address
        yield shop


def declare(shop: Shop, **more: object) -> None:
    streams = {name: {"undeclared": "ignore", **stream} for name, stream in shop.streams.items()}
    source = {"name": "till", "kind": "memory", "url": "memory:shop", "streams": streams}
    shop.product.declare(NAME, source, **{"alerts": {"to": ["ALERT_URLS"]}, **more})


def scheduler(shop: Shop) -> Scheduler:
    overrides = {"STARBERG_HOME": str(shop.product.home)}
    settings = Settings.load(shop.product.folder, overrides, shop.product.environ)
    shop.product.home.mkdir(exist_ok=True)
    found = scheduler_of(open_lake(settings, clock=shop.clock), [NAME])
    found.start = lambda _, work: work()
    return found


def go_on(shop: Shop, length: timedelta, found: Scheduler | None = None, step: timedelta = 5 * MINUTE) -> None:
    found = found or scheduler(shop)
    end = shop.clock.now() + length
    while shop.clock.now() < end:
        shop.clock.sleep(min(max(found.look(), 1.0), step.total_seconds()))


def sale(number: int, day: date) -> dict[str, Any]:
    return {"id": number, "customer": 1, "channel": "web", "quantity": 1, "price": "1.50", "sold_on": str(day)}


def test_a_failure_is_told_once_and_so_is_its_end(shop: Shop, webhook: Webhook) -> None:
    declare(shop, schedules={"often": {"every": "10m"}})
    shop.table("checks/never", "select 1 as one from fact_sales")
    shop.say(customers=CUSTOMERS, sales=[sale(1, date(2026, 1, 1))])
    go_on(shop, 25 * MINUTE)
    go_on(shop, 10 * MINUTE)  # after a restart
    assert webhook.titles == ["shop failed: often"]
    assert "never" in webhook.got[0]["message"]
    assert webhook.got[0]["type"] == "failure"
    (shop.product.folder / "warehouses" / NAME / "checks" / "never.sql").unlink()
    go_on(shop, 20 * MINUTE)
    assert webhook.titles == ["shop failed: often", "shop is well again"]
    assert webhook.got[1]["type"] == "success"


def test_an_outage_is_silence_and_a_late_job_and_told_once_each(shop: Shop, webhook: Webhook) -> None:
    jobs = {"sync_dim_customer": {"every": "1h", "window": "15m"}}
    declare(shop, jobs=jobs)
    shop.say(customers=CUSTOMERS, sales=[])
    from starberg.storage.lease import hold

    with hold(open_store(shop), NAME, "somebody", shop.clock, wait_s=0, reclaim=lambda _: None, ttl=timedelta(days=9)):
        go_on(shop, 4 * HOUR)
    assert webhook.titles == ["shop was not done in time: sync_dim_customer", "shop had no run that succeeded"]
    assert "somebody" in webhook.got[0]["message"]
    go_on(shop, 1 * HOUR)
    assert webhook.titles[2:] == ["shop is well again", "shop is well again"]


def open_store(shop: Shop) -> Any:
    return shop.lake().store


@pytest.mark.proof
def test_a_date_with_far_fewer_rows_than_those_before_is_told(shop: Shop, webhook: Webhook) -> None:
    shop.table("facts/fact_sales", FACT)
    declare(shop, jobs={"build_fact_sales": {"cron": "0 2 * * *"}})
    sales: list[dict[str, Any]] = []
    found = scheduler(shop)
    for day in range(8):
        number = 1 if day == 6 else 10
        on = shop.clock.now().date()
        sales += [sale(100 * day + n, on) for n in range(number)]
        shop.say(customers=CUSTOMERS, sales=sales)
        go_on(shop, timedelta(days=1), found, 6 * HOUR)
    assert webhook.titles == ["shop had far fewer rows than usual: build_fact_sales", "shop is well again"]
    assert webhook.got[0]["message"].startswith("1 rows for 2026-11-27; the dates before had [10, 10, 10, 10, 10")


def test_what_a_receiver_did_not_get_is_sent_again_to_it_alone(shop: Shop, webhook: Webhook) -> None:
    other = Webhook()
    shop.product.environ["ALERT_URLS"] += f" {other.address}"
    declare(shop, schedules={"often": {"every": "10m"}})
    shop.table("checks/never", "select 1 as one from fact_sales")
    shop.say(customers=CUSTOMERS, sales=[sale(1, date(2026, 1, 1))])
    other.broken = True
    go_on(shop, 12 * MINUTE)
    assert (webhook.titles, other.titles) == (["shop failed: often"], [])
    other.broken = False
    go_on(shop, 5 * MINUTE)  # after a restart
    assert webhook.titles == other.titles == ["shop failed: often"]
    other.server.shutdown()
    other.server.server_close()


def test_a_wrong_declaration_is_told_and_its_correction(shop: Shop, webhook: Webhook) -> None:
    declare(shop, schedules={"often": {"every": "10m"}})
    found = scheduler(shop)
    go_on(shop, 5 * MINUTE, found)
    declare(shop, schedules={"often": {"evry": "10m"}})
    go_on(shop, 5 * MINUTE, found)
    assert webhook.titles == ["shop failed: warehouse.yml"]
    assert "Did you mean 'every'" in webhook.got[0]["message"]
    declare(shop, schedules={"often": {"every": "10m"}})
    go_on(shop, 1 * MINUTE, found)
    assert webhook.titles[1:] == ["shop is well again"]


def test_only_what_was_asked_for_is_told(shop: Shop, webhook: Webhook) -> None:
    declare(shop, schedules={"often": {"every": "10m"}}, alerts={"to": ["ALERT_URLS"], "on": ["late"]})
    shop.table("checks/never", "select 1 as one from fact_sales")
    shop.say(customers=CUSTOMERS, sales=[sale(1, date(2026, 1, 1))])
    go_on(shop, 25 * MINUTE)
    assert webhook.titles == []


def test_mail_arrives_and_its_password_is_nowhere(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    got: list[bytes] = []

    class Mailbox:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            del server, session
            got.append(envelope.content)
            return "250 OK"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    controller.start()
    shop.product.environ["ALERT_URLS"] = (
        f"mailto://127.0.0.1:{port}?from=starberg@example.org&to=team@example.org&mode=insecure"
    )
    declare(shop, schedules={"often": {"every": "10m"}})
    shop.table("checks/never", "select 1 as one from fact_sales")
    shop.say(customers=CUSTOMERS, sales=[sale(1, date(2026, 1, 1))])
    go_on(shop, 12 * MINUTE)
    shop.product.environ["ALERT_URLS"] = "json://user:canary-7@127.0.0.1:9/hook"
    shop.table("checks/never2", "select 1 as one from dim_customer")
    go_on(shop, 10 * MINUTE)
    controller.stop()
    [mail] = [message_from_bytes(text, policy=policy.default) for text in got]
    assert mail["subject"] == "starberg: shop failed: often"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "checks failed" in body.get_content()
    assert "canary-7" not in caplog.text
    assert "canary-7" not in (shop.product.home / "alerts.json").read_text()
