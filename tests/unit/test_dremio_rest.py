"""Dremio's REST API is asked as its documentation allows (tests/dremio_contract.py): sources, spaces, jobs, logins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from dremio_contract import DremioContract
from pydantic import SecretStr
from servers import FakeClock, Server, closed_port

from starberg.engines.clients import Login
from starberg.engines.dremio_rest import DremioRest
from starberg.engines.dremio_sources import Storage, files_source, nessie_source
from starberg.utils.errors import CredentialsError, Unreachable, UsageError

PASSWORD = SecretStr("hush-hush-1")
MINIO = Storage("s3://starberg/lake", "http://minio:9000", SecretStr("dremio"), SecretStr("minio-hush"))
NESSIE = nessie_source("starberg", "http://nessie:19120", None, MINIO)
FILES = files_source("starberg_files", MINIO)


@pytest.fixture
def dremio() -> Iterator[tuple[DremioContract, Login]]:
    contract = DremioContract()
    with Server(contract) as server:
        yield contract, Login("Dremio", "127.0.0.1", server.port, user="ann", password=PASSWORD)


def rest(login: Login) -> DremioRest:
    return DremioRest(login, clock=FakeClock())


@pytest.mark.parametrize(
    "source",
    [
        NESSIE,
        FILES,
        nessie_source("n", "https://nessie.example", SecretStr("token-x"), Storage("s3://bucket")),
        files_source("f", Storage("s3://bucket/a/b")),
    ],
)
def test_a_source_is_made_once_and_then_kept(dremio: tuple[DremioContract, Login], source: dict[str, Any]) -> None:
    contract, login = dremio
    assert [rest(login).ensure(source), rest(login).ensure(source)] == ["made", "kept"]
    assert contract.written == [source["name"]]
    assert contract.entities[(source["name"],)]["config"] == source["config"]


def test_a_source_that_differs_is_changed_and_keeps_what_was_set_by_hand(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio
    elsewhere = {**NESSIE, "config": {**NESSIE["config"], "nessieEndpoint": "http://old:19120/api/v2"}}
    rest(login).ensure(elsewhere)
    contract.entities[("starberg",)]["metadataPolicy"] = {"authTTLMs": 7}
    assert rest(login).ensure(NESSIE) == "changed"
    assert contract.entities[("starberg",)]["config"] == NESSIE["config"]
    assert rest(login).ensure(NESSIE) == "kept"


def test_a_source_that_dremio_cannot_use_says_why(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio
    client = rest(login)
    client.ensure(NESSIE)
    assert client.state("starberg") == ""
    messages = [{"level": "ERROR", "message": "Could not connect to [starberg]."}]
    contract.entities[("starberg",)]["state"] = {"status": "bad", "messages": messages}
    assert client.state("starberg") == "bad; Could not connect to [starberg]."


def test_a_new_secret_is_written_when_asked_to(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio
    rest(login).ensure(NESSIE)
    renewed = {**NESSIE, "config": {**NESSIE["config"], "awsAccessSecret": "newer"}}
    assert rest(login).ensure(renewed) == "kept"
    assert rest(login).ensure(renewed, force=True) == "changed"
    assert contract.entities[("starberg",)]["config"]["awsAccessSecret"] == "newer"


def test_somebody_elses_source_of_the_name_is_left_alone(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio
    rest(login).ensure({**FILES, "name": "starberg"})
    with pytest.raises(UsageError, match=r"Dremio has another starberg: of kind S3\. Choose other names"):
        rest(login).ensure(NESSIE)
    assert contract.written == ["starberg"]


def test_spaces_and_folders_are_made_once(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio
    wanted = [{"entityType": "space", "name": "views"}, {"entityType": "folder", "path": ["views", "games"]}]
    client = rest(login)
    assert [client.ensure(entity) for entity in wanted * 2] == ["made", "made", "kept", "kept"]
    assert contract.written == ["views", "views.games"]


def test_a_statement_is_run_to_its_end(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio
    rest(login).run("select 5 as n")
    assert contract.statements == ["select 5 as n"]
    assert [job["left"] for job in contract.jobs.values()] == [0]
    assert contract.cancelled == []


def test_a_statement_that_failed_is_one_line_without_the_password(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio
    contract.end = lambda sql: {"jobState": "FAILED", "errorMessage": "no table\nhush-hush-1"}
    with pytest.raises(UsageError, match=r"^Dremio: no table \*{8}$"):
        rest(login).run("select 1")


def test_an_interruption_cancels_the_job(dremio: tuple[DremioContract, Login]) -> None:
    contract, login = dremio

    class Interrupted(FakeClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DremioRest(login, clock=Interrupted()).run("select 1")
    assert contract.cancelled == list(contract.jobs)


def test_a_personal_access_token_needs_no_login(dremio: tuple[DremioContract, Login]) -> None:
    _, login = dremio
    token = Login("Dremio", login.host, login.port, token=SecretStr("pat-123456"))
    assert rest(token).entity("nothing") is None


@pytest.mark.parametrize("secret", ["password", "token"])
def test_a_wrong_login_is_told_without_it(dremio: tuple[DremioContract, Login], secret: str) -> None:
    _, login = dremio
    wrong = Login("Dremio", login.host, login.port, user="ann", **{secret: SecretStr("wrong-hush")})  # type: ignore[arg-type]
    with pytest.raises(CredentialsError) as error:
        rest(wrong).entity("x")
    assert "wrong-hush" not in str(error.value)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        rest(Login("Dremio", "127.0.0.1", closed_port(), user="ann", password=PASSWORD)).entity("x")


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "said"),
    [
        ("POST", "/api/v3/catalog", {**NESSIE, "nam": "x"}, 400, "unknown field nam"),
        ("POST", "/api/v3/catalog", {"entityType": "source", "type": "S3", "name": "x"}, 400, "missing field config"),
        ("POST", "/api/v3/catalog", {**FILES, "config": {"credential": 1}}, 400, "unknown field credential"),
        ("POST", "/api/v3/catalog", {"entityType": "folder", "path": ["no", "where"]}, 400, "Could not find"),
        ("PUT", "/api/v3/catalog", NESSIE, 405, "Not Allowed"),
        ("PUT", "/api/v3/catalog/id-9", NESSIE, 404, "Could not find"),
        ("POST", "/api/v3/sql", {"query": "select 1"}, 400, "unknown field query"),
        ("GET", "/api/v3/job/none", None, 404, "Could not find"),
        ("GET", "/api/v3/sources", None, 404, "Not Found"),
    ],
)
def test_the_contract_refuses_what_the_documents_do_not_allow(
    dremio: tuple[DremioContract, Login], verb: str, path: str, body: Any, status: int, said: str
) -> None:
    _, login = dremio
    url = f"http://{login.netloc}{path}"
    assert requests.request(verb, url, json=body, timeout=5).status_code == 401
    answer = requests.request(verb, url, json=body, timeout=5, headers={"Authorization": "_dremiosession1"})
    assert answer.status_code == status
    assert said in answer.json()["errorMessage"]


def test_no_secret_shows_in_what_is_printed() -> None:
    login = Login("Dremio", "h", 1, user="ann", password=PASSWORD, token=SecretStr("token-x"))
    for text in (repr(login), str(login), repr(MINIO)):
        assert not any(secret in text for secret in ("hush", "token-x"))
