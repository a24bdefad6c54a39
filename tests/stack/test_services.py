"""Each real server answers as the product will ask it, keeps what it stored through a crash, and can be disturbed."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
import requests
from botocore.exceptions import ClientError
from conftest import SERVICES, client
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField
from stack import Server, Stack, StackError, main

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POLICIES = Path(__file__).parents[2] / "deploy/minio"
MAIN = "/api/v2/trees/main"


def test_minio_returns_what_was_put(s3: S3Client, fresh_bucket: str) -> None:
    s3.put_object(Bucket=fresh_bucket, Key="a/b", Body=b"bytes")
    assert s3.get_object(Bucket=fresh_bucket, Key="a/b")["Body"].read() == b"bytes"


def test_minio_refuses_to_overwrite_when_asked_not_to(s3: S3Client, fresh_bucket: str) -> None:
    s3.put_object(Bucket=fresh_bucket, Key="once", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=fresh_bucket, Key="once", Body=b"second", IfNoneMatch="*")
    assert s3.get_object(Bucket=fresh_bucket, Key="once")["Body"].read() == b"first"


def test_nessie_speaks_both_of_its_interfaces(nessie: Server) -> None:
    assert answer(nessie, "/api/v2/config")["defaultBranch"] == "main"
    assert answer(nessie, "/iceberg/v1/config")["defaults"]["warehouse"] == "s3://starberg/lake"


def test_nessie_writes_table_metadata_into_the_lake(stack: Stack, nessie: Server, s3: S3Client) -> None:
    catalog, namespace = iceberg(nessie), f"stack_{secrets.token_hex(4)}"
    catalog.create_namespace(namespace)
    columns = Schema(NestedField(1, "id", LongType(), required=True))
    table = catalog.create_table(f"{namespace}.t", columns)
    assert table.location().startswith(f"{stack.env['STARBERG_LAKE']}/{namespace}/")
    metadata = s3.get_object(Bucket="starberg", Key=table.metadata_location.removeprefix("s3://starberg/"))
    assert json.loads(metadata["Body"].read())["location"] == table.location()
    catalog.drop_table(f"{namespace}.t")
    catalog.drop_namespace(namespace)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_nessie_keeps_branches_through_a_restart(nessie: Server, end: str) -> None:
    branch = f"kept-{secrets.token_hex(4)}"
    start = answer(nessie, MAIN)["reference"]
    made = requests.post(
        f"{nessie.url}/api/v2/trees", params={"name": branch, "type": "BRANCH"}, json=start, timeout=20
    )
    made.raise_for_status()
    url = nessie.url

    getattr(nessie, end)()
    assert not nessie.running
    with pytest.raises(requests.ConnectionError):
        answer(nessie, MAIN)
    nessie.start()

    assert nessie.url == url
    assert answer(nessie, f"/api/v2/trees/{branch}")["reference"]["hash"] == start["hash"]


def test_minio_keeps_objects_through_a_crash(minio: Server, s3: S3Client, fresh_bucket: str) -> None:
    s3.put_object(Bucket=fresh_bucket, Key="kept", Body=b"bytes")
    minio.kill()
    minio.start()
    assert s3.get_object(Bucket=fresh_bucket, Key="kept")["Body"].read() == b"bytes"


def test_postgres_keeps_commits_through_a_crash(postgres: Server) -> None:
    query(postgres, "create table kept as select 42 as answer")
    postgres.kill()
    postgres.start()
    assert query(postgres, "select answer from kept") == [(42,)]
    query(postgres, "drop table kept")


def test_postgres_can_feed_log_capture(postgres: Server) -> None:
    assert query(postgres, "show wal_level") == [("logical",)]


def test_a_paused_server_accepts_but_does_not_answer(nessie: Server) -> None:
    nessie.pause()
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{nessie.url}{MAIN}", timeout=0.5)
    nessie.resume()
    assert answer(nessie, MAIN)["reference"]["name"] == "main"


def test_toxiproxy_tells_its_version(toxiproxy: Server) -> None:
    shown = requests.get(f"{toxiproxy.url}/version", timeout=5)
    assert shown.ok
    assert "git" in shown.text  # what it calls itself when built from source; the file's name has the version


def test_a_proxy_cuts_and_mends_the_way_to_a_server(minio: Server, proxies: Any) -> None:
    way = proxies(minio)
    health = f"{way.url}/minio/health/live"
    assert requests.get(health, timeout=5).ok
    way.cut()
    with pytest.raises(requests.ConnectionError):
        requests.get(health, timeout=5)
    way.mend()
    way.toxic("timeout", timeout=0)
    with pytest.raises(requests.ReadTimeout):
        requests.get(health, timeout=0.5)
    way.mend()
    assert requests.get(health, timeout=5).ok


def test_starting_again_leaves_running_servers_alone(stack: Stack) -> None:
    before = {name: stack.service(name).record["pid"] for name in SERVICES}
    stack.start(SERVICES)
    assert {name: stack.service(name).record["pid"] for name in SERVICES} == before


def test_a_taken_port_is_named_and_nothing_is_left_behind(minio: Server, tmp_path: Path) -> None:
    other = Stack(tmp_path)
    taken = other.service("nessie")
    taken.record = {"port": minio.port, "management_port": "1"}
    with pytest.raises(StackError, match=f"nessie: another program has port {minio.port}: stop it, or remove"):
        other.start(["nessie"])
    assert not any(server.running for server in other.servers.values())


def test_a_server_that_ends_at_its_start_tells_its_last_words(tmp_path: Path) -> None:
    broken = Stack(tmp_path).service("minio")
    (tmp_path / "minio/data").mkdir(parents=True)
    (tmp_path / "minio/data/.minio.sys").write_text("a file where MinIO wants its folder")
    with pytest.raises(StackError, match=rf"^minio stopped at its start: .+: see {broken.directory}/log$"):
        broken.start()


def test_settings_of_a_stack_that_does_not_run_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--dir", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"minio does not run in {tmp_path}: start it with `make stack`\n"


def test_credentials_are_in_no_command_line_and_no_readable_file(stack: Stack) -> None:
    running = [stack.service(name).record["pid"] for name in SERVICES]
    words = [Path(f"/proc/{pid}/cmdline").read_text(errors="replace") for pid in running]
    for name in ("minio", "postgres"):
        secret = stack.service(name).record["password"]
        assert not any(secret in line for line in words)
        assert (stack.service(name).directory / "server.json").stat().st_mode & 0o077 == 0


def test_the_products_policy_reaches_its_bucket_and_no_other(minio: Server, s3: S3Client, fresh_bucket: str) -> None:
    product = limited(minio, "read-write.json")
    product.put_object(Bucket="starberg", Key="policy/a", Body=b"1")
    upload = product.create_multipart_upload(Bucket="starberg", Key="policy/b")
    product.abort_multipart_upload(Bucket="starberg", Key="policy/b", UploadId=upload["UploadId"])
    assert product.get_object(Bucket="starberg", Key="policy/a")["Body"].read() == b"1"
    assert product.list_objects_v2(Bucket="starberg", Prefix="policy/")["KeyCount"] == 1
    product.delete_object(Bucket="starberg", Key="policy/a")
    s3.put_object(Bucket=fresh_bucket, Key="other", Body=b"1")
    with pytest.raises(ClientError, match="AccessDenied"):
        product.get_object(Bucket=fresh_bucket, Key="other")
    with pytest.raises(ClientError, match="AccessDenied"):
        product.create_bucket(Bucket="another")


def test_a_readers_policy_only_reads(minio: Server, s3: S3Client) -> None:
    s3.put_object(Bucket="starberg", Key="policy/read", Body=b"1")
    reader = limited(minio, "read-only.json")
    assert reader.get_object(Bucket="starberg", Key="policy/read")["Body"].read() == b"1"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket="starberg", Key="policy/read", Body=b"2")
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.delete_object(Bucket="starberg", Key="policy/read")
    s3.delete_object(Bucket="starberg", Key="policy/read")


def answer(server: Server, path: str) -> Any:
    response = requests.get(f"{server.url}{path}", timeout=20)
    response.raise_for_status()
    return response.json()


def iceberg(nessie: Server) -> Catalog:
    return load_catalog("nessie", type="rest", uri=f"{nessie.url}/iceberg/main")


def query(postgres: Server, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(postgres.env["WAREHOUSE_DATABASE_URL"], connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def limited(minio: Server, policy: str) -> S3Client:
    """Return a client that may do only what a policy file allows (MinIO's own enforcement, by a session policy)."""
    root = client("sts", minio, minio.env["MINIO_ACCESS_KEY"], minio.env["MINIO_SECRET_KEY"])
    role = "arn:aws:iam::000000000000:role/any"  # asked for by the protocol, unused by MinIO
    assumed = root.assume_role(RoleArn=role, RoleSessionName="test", Policy=(POLICIES / policy).read_text())
    drawn = assumed["Credentials"]
    keys = (drawn["AccessKeyId"], drawn["SecretAccessKey"], drawn["SessionToken"])
    return client("s3", minio, *keys)  # type: ignore[no-any-return]
