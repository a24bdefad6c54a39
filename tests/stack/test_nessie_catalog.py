"""The catalog in a real Nessie: the questions of every catalog, answers that are lost, and who reads what it serves."""

# ruff: noqa: E402 (the shared questions' assertions are explained before they are imported)
from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parents[1] / "behaviours"))
pytest.register_assert_rewrite("catalog_questions")

from catalog_questions import CatalogQuestions, MakeCatalog, Warehouse
from fault_proxy import FaultProxy, fault_proxy
from servers import Asked, FakeClock, Say, Server, closed_port

from starberg.storage.branches import Catalog, Move, TableIds
from starberg.storage.json_service import OAuth2
from starberg.storage.nessie_catalog import NessieCatalog
from starberg.utils.errors import CredentialsError, Unreachable, UsageError

if TYPE_CHECKING:
    from stack import Server as StackServer


class TestNessie(CatalogQuestions):
    @pytest.fixture
    def make_catalog(self, nessie: StackServer) -> MakeCatalog:
        return lambda: NessieCatalog(nessie.url)

    @pytest.fixture
    def proxy(self, nessie: StackServer) -> Iterator[FaultProxy]:
        with fault_proxy(nessie.url) as running:
            yield running

    @pytest.fixture
    def shaky(self, proxy: FaultProxy, catalog: Catalog) -> Iterator[Warehouse]:
        """Give a warehouse whose catalog is reached through the proxy."""
        client = NessieCatalog(proxy.url, timeouts_s=(5, 5), clock=FakeClock())
        yield Warehouse(client)
        client.close()

    @pytest.mark.parametrize("fault", [("drop answer",), ("cut answer",), ("cut request",), ("refuse", 503, "x")])
    @pytest.mark.parametrize("request_", ["POST .*/trees\\?", "POST .*/commit", "DELETE", "GET"])
    def test_a_lost_answer_changes_nothing_twice(
        self, shaky: Warehouse, proxy: FaultProxy, fault: tuple[Any, ...], request_: str
    ) -> None:
        shaky.publish(shaky.move("a", None, "a1"))
        proxy.plan(request_, *fault)
        branch = shaky.branch(shaky.move("a", "a1", "a2"), shaky.move("b", None, "b1"))
        shaky.catalog.publish(branch, "test")
        shaky.catalog.drop_branch(branch)
        assert proxy.pending == []
        assert shaky.tables() == {"a": "a2", "b": "b1"}
        assert branch not in shaky.catalog.branches(shaky.name)

    @pytest.mark.parametrize(
        "fault", [("drop answer",), ("cut answer",), ("cut request",), ("refuse", 409, "x"), ("refuse", 502, "x")]
    )
    def test_a_merge_whose_answer_is_lost_is_looked_up(
        self, shaky: Warehouse, proxy: FaultProxy, fault: tuple[Any, ...]
    ) -> None:
        shaky.publish(shaky.move("a", None, "a1"))
        branch = shaky.branch(shaky.move("a", "a1", "a2"))
        proxy.plan("POST .*/merge", *fault, times=3)
        position = shaky.catalog.publish(branch, "test")
        assert shaky.tables() == {"a": "a2"}
        assert shaky.catalog.published(branch.run_id) == position == shaky.catalog.state().position

    def test_a_merge_that_never_gets_an_answer_ends_as_unknown(self, shaky: Warehouse, proxy: FaultProxy) -> None:
        branch = shaky.branch(shaky.move("a", None, "a1"))
        proxy.plan("POST .*/merge", "refuse", 502, "x", times=9)
        with pytest.raises(Unreachable, match="502"):
            shaky.catalog.publish(branch, "test")
        assert shaky.tables() == {}

    def test_a_creation_cut_off_half_way_is_completed_when_asked_again(
        self, games: Warehouse, shaky: Warehouse, proxy: FaultProxy
    ) -> None:
        games.branch()
        proxy.plan("POST .*/commit", "refuse", 503, "x", times=9)
        run_id = f"run-{uuid4().hex[:12]}"
        with pytest.raises(Unreachable):
            shaky.catalog.create_branch(run_id, games.name)
        (half,) = [branch for branch in games.catalog.branches() if branch.run_id == run_id]
        assert half.warehouse == ""
        whole = games.catalog.create_branch(run_id, games.name)
        assert (whole.warehouse, whole.base) == (games.name, half.base)
        games.catalog.drop_branch(half)

    def test_more_tables_than_a_page_holds_are_all_seen_at_one_hash(
        self, games: Warehouse, nessie: StackServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        games.publish(*[games.move(f"t{number:03}", None, "x") for number in range(7)])
        client = NessieCatalog(nessie.url)
        ask, other = client._service.get, Warehouse(NessieCatalog(nessie.url))

        def two_a_page(path: str, params: Any = None) -> Any:
            if path.endswith("/entries"):
                other.publish(other.move(f"n{uuid4().hex[:6]}", None, "x"))  # main moves on between the pages
                params = {**params, "max-records": 2}
            return ask(path, params)

        monkeypatch.setattr(client._service, "get", two_a_page)
        state = client.state()
        assert len(games.tables(state)) == 7
        assert state.tables == games.catalog.state(state.position).tables

    def test_the_first_table_of_an_empty_main_can_be_published(self, nessie: StackServer) -> None:
        catalog = NessieCatalog(nessie.url)
        # On an empty main this is the first commit at all; a fresh server comes by here first or has passed it.
        games = Warehouse(catalog)
        assert games.publish(games.move("a", None, "a1")) == catalog.state().position

    def test_a_restart_keeps_the_identity(self, catalog: Catalog, nessie: StackServer) -> None:
        before = catalog.identity()
        nessie.kill()
        nessie.start()
        assert catalog.identity() == before

    @pytest.mark.parametrize("api", ["", "/", "/api/v1", "/api/v2", "/iceberg", "/iceberg/main"])
    def test_the_address_of_any_of_its_apis_will_do(self, nessie: StackServer, catalog: Catalog, api: str) -> None:
        assert NessieCatalog(nessie.url + api).identity() == catalog.identity()

    def test_rest_clients_read_what_was_published(
        self, games: Warehouse, nessie: StackServer, minio: StackServer, fresh_prefix: str
    ) -> None:
        import pyarrow as pa
        from pyiceberg.catalog.rest import RestCatalog
        from pyiceberg.catalog.sql import SqlCatalog as PyIcebergCatalog

        keys = {
            "s3.endpoint": minio.url,
            "s3.access-key-id": minio.env["MINIO_ACCESS_KEY"],
            "s3.secret-access-key": minio.env["MINIO_SECRET_KEY"],
            "s3.region": "us-east-1",
        }
        files = PyIcebergCatalog("files", uri="sqlite://", warehouse=fresh_prefix, **keys)
        files.create_namespace(games.name)
        table = files.create_table(f"{games.name}.a", pa.schema([("n", pa.int64())]))
        locations = [None]
        for number in (1, 2):
            table.append(pa.table({"n": [number]}))
            meta = table.metadata
            ids = TableIds(
                meta.current_snapshot_id or -1,
                meta.current_schema_id,
                meta.default_spec_id,
                meta.default_sort_order_id,
            )
            games.publish(Move(f"{games.name}.a", locations[-1], table.metadata_location, ids))
            locations.append(table.metadata_location)
        rest = RestCatalog("nessie", uri=f"{nessie.url}/iceberg", **keys)
        seen = rest.load_table(f"{games.name}.a")
        assert seen.metadata_location == table.metadata_location
        assert sorted(seen.scan().to_arrow()["n"].to_pylist()) == [1, 2]
        files.engine.dispose()


def answering(reply: Any) -> Server:
    return Server(lambda asked: reply if isinstance(reply, Say) else reply(asked))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_is_told_at_once_and_without_the_token(status: int) -> None:
    clock = FakeClock()
    with answering(Say({"message": "no such token: canary-token"}, status)) as server:
        catalog = NessieCatalog(server.url, token=SecretStr("canary-token"), clock=clock)
        with pytest.raises(CredentialsError, match=str(status)) as caught:
            catalog.state()
        assert server.asked[0].headers["Authorization"] == "Bearer canary-token"
        assert len(server.asked) == 1
    assert "canary" not in "".join(traceback.format_exception(caught.value)) + repr(catalog)


def test_a_netrc_login_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with answering(Say({"repositoryCreationTimestamp": "then"})) as server:
        NessieCatalog(server.url).identity()
        assert "Authorization" not in server.asked[0].headers


def test_client_credentials_fetch_a_token_and_a_new_one_when_it_is_refused() -> None:
    tokens = iter(["one", "two"])

    def answer(asked: Asked) -> Say:
        if asked.path == "/token":
            assert b"client_secret=canary" in asked.body
            return Say({"access_token": next(tokens), "expires_in": 3600})
        if asked.headers.get("Authorization") == "Bearer one" and len(server.asked) > 2:
            return Say({"message": "expired"}, 401)
        return Say({"repositoryCreationTimestamp": "then"})

    with answering(answer) as server:
        login = OAuth2(
            token_url=f"{server.url}/token", client_id="me", client_secret=SecretStr("canary"), scope="catalog"
        )
        catalog = NessieCatalog(server.url, oauth2=login)
        assert [catalog.identity(), catalog.identity(), catalog.identity()] == ["nessie:then"] * 3
        paths = [asked.path for asked in server.asked]
        assert paths.count("/token") == 2
    assert "canary" not in repr(login)


def test_refused_client_credentials_are_told() -> None:
    with answering(Say({"error": "invalid_client"}, 401)) as server:
        login = OAuth2(token_url=f"{server.url}/token", client_id="me", client_secret=SecretStr("canary"))
        with pytest.raises(CredentialsError, match="gave no token") as caught:
            NessieCatalog(server.url, oauth2=login).identity()
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_silent_server_is_unreachable_after_four_attempts() -> None:
    clock = FakeClock()
    with pytest.raises(Unreachable, match="Is the server running"):
        NessieCatalog(f"http://127.0.0.1:{closed_port()}", clock=clock).state()
    assert len(clock.slept) == 3


@pytest.mark.parametrize(
    "page", [Say(b"<html>log in</html>"), Say(b"<html>none</html>", 404), Say(b"[]"), Say(b"", 404)]
)
def test_a_page_that_is_not_nessies_decides_nothing(page: Say) -> None:
    with answering(page) as server, pytest.raises(Unreachable, match="no JSON"):
        NessieCatalog(server.url, clock=FakeClock()).drop_tag("t")


def test_a_redirect_is_told_and_not_followed() -> None:
    with answering(Say({}, 302, {"Location": "http://other/login"})) as server:
        with pytest.raises(UsageError, match="http://other/login"):
            NessieCatalog(server.url).state()
        assert len(server.asked) == 1


@pytest.mark.parametrize("uri", ["", "nessie:19120", "ftp://x", "http://me:canary@nessie:19120"])
def test_an_address_that_cannot_be_nessies_is_refused(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        NessieCatalog(uri)
    assert "canary" not in str(caught.value)
