"""The HTTP client: it answers or says why not, in bounded time and space, and never tells a secret."""

from __future__ import annotations

import gzip
import json
import socket
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from servers import Asked, FakeClock, Say, Server, closed_port, in_turn

from starberg.ingestion.budget import Unlimited
from starberg.ingestion.http_client import Answer, HttpClient, NotFound
from starberg.ingestion.streams import SourceSpec
from starberg.ingestion.url_guard import AddressGuard, declared_origin
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, QuotaSpent, SourceDataError, StarbergError, Unreachable, UsageError
from starberg.utils.secrets import MASK

SECRET = "canary/secret+1"
QUERY_AUTH = {"kind": "query", "name": "key", "secret": "API_KEY"}
OK = Say({"results": [1]})


def client(url: str, clock: Clock | None = None, **spec: Any) -> HttpClient:
    source = SourceSpec(name="shop", kind="rest", url=url, streams={}, **{"retries": 2, **spec})
    return HttpClient(source, {"API_KEY": SECRET}.get, Unlimited(), clock or FakeClock())


def get(http: HttpClient, tmp_path: Path, path: str = "items", **params: Any) -> Answer:
    return http.get(path, params, "items page=1", tmp_path)


def test_the_answer_is_the_parsed_body_and_the_servers_own_text(tmp_path: Path) -> None:
    with Server(lambda asked: Say(b'{"results": [1.50]}')) as server:
        answer = get(client(server.url + "/v1/"), tmp_path, page=3)
        assert answer.body.data == {"results": [1.5]}
        assert answer.body.raw == b'{"results": [1.50]}'
        assert (server.asked[0].path, server.asked[0].query) == ("/v1/items", {"page": "3"})


def test_one_connection_serves_many_requests(tmp_path: Path) -> None:
    with Server(lambda asked: OK) as server:
        http = client(server.url)
        for _ in range(5):
            get(http, tmp_path)
        assert (http.sent, server.connections) == (5, 1)


@pytest.mark.parametrize(
    "failure",
    [
        Say({"error": "busy"}, 503),
        Say(b"<html>sorry</html>", 200, {"Content-Type": "text/html"}),
        Say(b'{"results": [1,', 200),
        Say(b"\x1f\x8bnonsense", 200, {"Content-Encoding": "gzip"}),
        Say(act=lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)),
        Say(act=lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}")),
    ],
    ids=["503", "html", "half", "gzip", "drop", "cut"],
)
def test_a_passing_failure_is_asked_again(failure: Say, tmp_path: Path) -> None:
    clock = FakeClock()
    with Server(in_turn(failure, failure, OK)) as server:
        assert get(client(server.url, clock), tmp_path).body.data == {"results": [1]}
    assert len(clock.slept) == 2


def test_retries_end_with_the_number_of_tries_and_the_reason(tmp_path: Path) -> None:
    with Server(lambda asked: Say({"error": "down for repair"}, 502)) as server:
        with pytest.raises(Unreachable, match=r"items page=1.*502 3 times.*down for repair"):
            get(client(server.url), tmp_path)
        assert len(server.asked) == 3


def test_html_that_stays_is_kept_and_named(tmp_path: Path) -> None:
    page = Say(b"<html>log in</html>", 200, {"Content-Type": "text/html"})
    with (
        Server(lambda asked: page) as server,
        pytest.raises(SourceDataError, match=r"items page=1.*text/html") as error,
    ):
        get(client(server.url), tmp_path)
    [kept] = tmp_path.iterdir()
    assert kept.read_bytes() == b"<html>log in</html>"
    assert str(kept) in str(error.value)


def test_a_kept_body_is_capped(tmp_path: Path) -> None:
    with Server(lambda asked: Say(b"<" * 3_000_000)) as server, pytest.raises(SourceDataError):
        get(client(server.url), tmp_path)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [1024 * 1024]


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": [-Infinity]}', "[" * 100_000])
def test_what_is_never_json_is_asked_once(text: str, tmp_path: Path) -> None:
    with Server(lambda asked: Say(text.encode())) as server:
        with pytest.raises(SourceDataError, match="items page=1: not JSON"):
            get(client(server.url), tmp_path)
        assert len(server.asked) == 1


@pytest.mark.parametrize("packed", [True, False])
def test_a_body_over_the_limit_stops_early(packed: bool, tmp_path: Path) -> None:
    bomb = json.dumps("x" * 50_000_000).encode()
    say = Say(gzip.compress(bomb), headers={"Content-Encoding": "gzip"}) if packed else Say(bomb)
    with Server(lambda asked: say) as server:
        with pytest.raises(SourceDataError, match="items page=1: the body is larger than max_page_bytes = 1000000"):
            get(client(server.url, max_page_bytes=1_000_000), tmp_path)
        assert len(server.asked) == 1


def trickle(handler: Any, first: bytes) -> None:
    handler.wfile.write(first)
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


@pytest.mark.parametrize("first", [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_trickle_does_not_outlast_the_deadline(first: bytes, tmp_path: Path) -> None:
    with Server(lambda asked: Say(act=lambda handler: trickle(handler, first))) as server, pytest.raises(Unreachable):
        get(client(server.url, Clock(), deadline_s=0.2, retries=0), tmp_path)


def test_silence_is_unreachable(tmp_path: Path) -> None:
    with Server(lambda asked: Say(act=lambda handler: time.sleep(0.5))) as server, pytest.raises(Unreachable):
        get(client(server.url, timeout_s=0.1, retries=1), tmp_path)


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"127.0.0.1 did not answer.*refused"):
        get(client(f"http://127.0.0.1:{closed_port()}"), tmp_path)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_obeyed_by_seconds_and_by_date(as_date: bool, tmp_path: Path) -> None:
    server_now = datetime(2030, 1, 1, tzinfo=UTC)
    after = format_datetime(server_now + timedelta(seconds=40), usegmt=True) if as_date else "40"
    busy = Say({}, 429, {"Retry-After": after, "Date": format_datetime(server_now, usegmt=True)})
    clock = FakeClock()
    # BaseHTTPRequestHandler sends its own Date first: the answer is written by hand.
    head = "".join(f"{name}: {value}\r\n" for name, value in busy.headers.items())
    raw = f"HTTP/1.1 429 Slow\r\n{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
    with Server(in_turn(Say(act=lambda handler: handler.wfile.write(raw)), OK)) as server:
        get(client(server.url, clock), tmp_path)
    assert sum(clock.slept) == pytest.approx(40)


def test_retry_after_is_capped(tmp_path: Path) -> None:
    clock = FakeClock()
    with Server(in_turn(Say({}, 429, {"Retry-After": "86400"}), OK)) as server:
        get(client(server.url, clock), tmp_path)
    assert sum(clock.slept) == pytest.approx(120)


@pytest.mark.parametrize(("status", "error"), [(401, CredentialsError), (403, CredentialsError), (404, NotFound)])
def test_refusals_are_final(status: int, error: type[StarbergError], tmp_path: Path) -> None:
    with Server(lambda asked: Say({"error": "no"}, status)) as server:
        with pytest.raises(error, match="items page=1"):
            get(client(server.url), tmp_path)
        assert len(server.asked) == 1


def test_the_source_may_read_a_refusal_in_its_own_way(tmp_path: Path) -> None:
    with Server(lambda asked: Say({"error": "quota"}, 401)) as server:
        spec = SourceSpec(name="shop", kind="rest", url=server.url, streams={})
        refusal = lambda what, status, text: QuotaSpent(f"{what}: {text}")  # noqa: E731
        http = HttpClient(spec, lambda name: None, Unlimited(), FakeClock(), refusal=refusal)
        with pytest.raises(QuotaSpent, match="quota"):
            get(http, tmp_path)


def test_text_in_another_charset_is_read(tmp_path: Path) -> None:
    latin = Say('{"n": "é"}'.encode("latin-1"), headers={"Content-Type": "application/json; charset=iso-8859-1"})
    with Server(lambda asked: latin) as server:
        answer = get(client(server.url), tmp_path)
    assert answer.body.data == {"n": "é"}
    assert answer.body.clean


# Who may ask


def test_a_header_key_is_sent(tmp_path: Path) -> None:
    auth = {"kind": "header", "name": "X-Api-Key", "format": "k {secret}", "secret": "API_KEY"}
    with Server(lambda asked: OK) as server:
        get(client(server.url, auth=auth), tmp_path)
        assert server.asked[0].headers["X-Api-Key"] == f"k {SECRET}"


def test_a_query_key_is_sent_once_even_if_the_link_repeats_it(tmp_path: Path) -> None:
    with Server(lambda asked: OK) as server:
        get(client(server.url, auth=QUERY_AUTH), tmp_path, f"{server.url}/items?key=old&page=2")
        assert server.asked[0].query == {"page": "2", "key": SECRET}


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="OTHER_KEY"):
        client("http://127.0.0.1:1", auth={"kind": "header", "secret": "OTHER_KEY"})


class TokenServer:
    """Hands out t1, t2, …; only the newest but `stale` is accepted."""

    def __init__(self, good: str) -> None:
        self.good = good
        self.issued = 0

    def __call__(self, asked: Asked) -> Say:
        if asked.path == "/token":
            self.issued += 1
            return Say({"access_token": f"t{self.issued}"})
        return OK if asked.headers.get("Authorization") == f"Bearer {self.good}" else Say({}, 401)


def oauth(server: Server, **more: Any) -> dict[str, Any]:
    return {
        "kind": "oauth_client_credentials",
        "secret": "API_KEY",
        "client_id": "me",
        "token_url": f"{server.url}/token",
    } | more


def test_a_token_is_fetched_once_and_used_again(tmp_path: Path) -> None:
    tokens = TokenServer("t1")
    with Server(tokens) as server:
        http = client(server.url, auth=oauth(server))
        get(http, tmp_path)
        get(http, tmp_path)
    assert tokens.issued == 1


def test_a_refused_token_is_renewed_once(tmp_path: Path) -> None:
    tokens = TokenServer("t2")
    with Server(tokens) as server:
        assert get(client(server.url, auth=oauth(server)), tmp_path).body.data == {"results": [1]}
        tokens.good = "none"
        with pytest.raises(CredentialsError):
            get(client(server.url, auth=oauth(server)), tmp_path)
    assert tokens.issued == 4


@pytest.mark.parametrize("client_auth", ["basic", "body"])
def test_the_client_proves_itself_as_declared(client_auth: str, tmp_path: Path) -> None:
    with Server(TokenServer("t1")) as server:
        get(client(server.url, auth=oauth(server, client_auth=client_auth, scope="read")), tmp_path)
        token = server.asked[0]
    assert ("Authorization" in token.headers) == (client_auth == "basic")
    assert (b"client_secret=" in token.body) == (client_auth == "body")
    assert b"scope=read" in token.body


def test_a_refused_client_is_a_matter_of_credentials(tmp_path: Path) -> None:
    with Server(lambda asked: Say({"error": "invalid_client"}, 401)) as server:
        with pytest.raises(CredentialsError, match="token of source shop") as error:
            get(client(server.url, auth=oauth(server)), tmp_path)
        assert len(server.asked) == 1
    assert SECRET not in str(error.value)


# Secrets stay inside


def failures_with_key(server: Server) -> list[Say]:
    echo = f"{server.url}/items?key=canary%2Fsecret%2B1 {SECRET}"
    return [
        Say({"error": echo}, 401),
        Say({"error": echo}, 404),
        Say({"error": echo}, 500),
        Say(f"<html>{echo}</html>".encode()),
        Say(act=lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)),
        Say({}, 302, {"Location": f"http://evil.example/?key={SECRET}"}),
    ]


@pytest.mark.parametrize("number", range(6))
def test_no_failure_tells_the_key(number: int, tmp_path: Path) -> None:
    with Server(lambda asked: failures_with_key(server)[number]) as server:
        with pytest.raises(StarbergError) as error:
            get(client(server.url, auth=QUERY_AUTH), tmp_path)
        told = "".join(traceback.format_exception(error.value)) + repr(error.value)
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert error.value.__context__ is None
    for form in (SECRET, "canary%2Fsecret%2B1"):
        assert form not in told
        assert form.encode() not in kept


def test_nobody_there_does_not_tell_the_key(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as error:
        get(client(f"http://127.0.0.1:{closed_port()}", auth=QUERY_AUTH), tmp_path)
    assert "canary" not in "".join(traceback.format_exception(error.value))


def test_the_key_is_taken_out_of_the_servers_own_links(tmp_path: Path) -> None:
    body = b'{"next": "http://x/items?key=canary%2Fsecret%2B1&page=2", "results": []}'
    with Server(lambda asked: Say(body)) as server:
        answer = get(client(server.url, auth=QUERY_AUTH), tmp_path)
    assert answer.body.data["next"] == f"http://x/items?key={MASK}&page=2"
    assert "canary" not in answer.reply.url


# Where requests may go


def test_redirects_are_followed_within_the_host(tmp_path: Path) -> None:
    with Server(in_turn(Say({}, 307, {"Location": "/moved?page=1"}), OK)) as server:
        assert get(client(server.url, auth=QUERY_AUTH), tmp_path).body.data == {"results": [1]}
        assert (server.asked[1].path, server.asked[1].query) == ("/moved", {"page": "1", "key": SECRET})


def test_redirects_end(tmp_path: Path) -> None:
    with Server(lambda asked: Say({}, 302, {"Location": "/again"})) as server:
        with pytest.raises(SourceDataError, match="more than 3 redirects"):
            get(client(server.url), tmp_path)
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:1/", "http://169.254.169.254/latest", "//evil.example/x", "file:///etc/passwd", "http://u:p@x/",
     "http://127.0.0.1.evil.example/", "http://good\\@evil.example/", "http://[::1/"],
)  # fmt: skip
def test_neither_redirects_nor_links_leave_the_host(target: str, tmp_path: Path) -> None:
    with Server(lambda asked: Say({}, 302, {"Location": target})) as server:
        with pytest.raises(SourceDataError, match="points to"):
            get(client(server.url), tmp_path)
        assert len(server.asked) == 1
        if "://" in target:
            with pytest.raises(SourceDataError, match="points to"):
                get(client(server.url), tmp_path, target)
        assert len(server.asked) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_turns_private_is_not_asked(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda asked: OK) as server:
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
        with pytest.raises(UsageError, match=r"api.example resolves to the private address 127.0.0.1"):
            get(client(f"{scheme}://api.example:{server.port}"), tmp_path)
        assert server.asked == []
        get(client(f"http://api.example:{server.port}", allow_private_hosts=True), tmp_path)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "address", "allowed"),
    [
        ("http://api.example", "93.184.216.34", True),
        ("http://api.example", "10.0.0.1", False),
        ("http://api.example", "169.254.169.254", False),
        ("http://api.example", "::ffff:127.0.0.1", False),
        ("http://api.example", "fe80::1%eth0", False),
        ("http://10.0.0.1", "10.0.0.1", True),
        ("http://[::1]:80", "::1", True),
        ("http://localhost", "127.0.0.1", True),
        ("http://localhost", "10.0.0.1", False),
    ],
)
def test_addresses_that_were_not_meant_are_refused(url: str, address: str, allowed: bool) -> None:
    guard = AddressGuard(declared_origin(url, "url"), allow_private=False)
    if allowed:
        guard.check(address)
    else:
        with pytest.raises(UsageError):
            guard.check(address)


@pytest.mark.parametrize("url", ["", "ftp://x/", "api.example", "http://me:pw@api.example/", "http://"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="source shop: url") as error:
        client(url)
    assert "pw" not in str(error.value)


def test_a_plain_link_to_a_tls_host_is_upgraded() -> None:
    from starberg.ingestion.url_guard import admitted

    origin = declared_origin("https://api.example/v1", "url")
    assert admitted("http://api.example/v1?page=2", origin, "x") == "https://api.example/v1?page=2"


def test_a_netrc_does_not_replace_the_declared_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other")
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(lambda asked: OK) as server:
        get(client(server.url, auth={"kind": "header", "secret": "API_KEY"}), tmp_path)
        assert server.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
