"""The servers of the stack: how each is prepared, started and asked whether it is up."""

from __future__ import annotations

import http.client
import secrets
import shutil
import signal
import subprocess

import stack_programs as programs
from stack_process import HOST, Server, free_port
from stack_programs import StackError

from starberg.samples import embedded_postgres
from starberg.utils.errors import StarbergError

# ruff: noqa: S603 (every command line here is made of constants and our own paths)

BUCKET = "starberg"
LAKE = f"s3://{BUCKET}/lake"
REGION = "us-east-1"


class Minio(Server):
    """MinIO with one drive and the bucket `starberg`."""

    name = "minio"

    @property
    def env(self) -> dict[str, str]:
        """Return the lake's address and MinIO's root credentials."""
        return {
            "STARBERG_LAKE": LAKE,
            "MINIO_ENDPOINT": self.url,
            "MINIO_ACCESS_KEY": self.record["user"],
            "MINIO_SECRET_KEY": self.record["password"],
            "MINIO_REGION": REGION,
        }

    def credentials(self) -> dict[str, str]:
        """Draw the root user's."""
        return {"user": f"root-{secrets.token_hex(4)}", "password": secrets.token_urlsafe(24)}

    def prepare(self) -> None:
        """Make the bucket: on a drive of its own, a folder is one."""
        (self.directory / "data" / BUCKET).mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """Serve the folder `data`, with certificates from nowhere else."""
        address, folder = f"{HOST}:{self.port}", str(self.directory / "data")
        own = ["--certs-dir", str(self.directory / "certs")]
        return [str(programs.minio()), "server", folder, "--address", address, "--quiet", *own]

    def environment(self) -> dict[str, str]:
        """Set the root user; no console."""
        user, password = self.record["user"], self.record["password"]
        return {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": "off"}

    def answers(self) -> bool:
        """Ask MinIO's readiness."""
        return _answers(self.port, "/minio/health/ready")


class Nessie(Server):
    """Nessie with a RocksDB store, on the MinIO beside it."""

    name = "nessie"
    needs = ("minio",)

    @property
    def env(self) -> dict[str, str]:
        """Return the catalog's kind and the server's root."""
        return {"STARBERG_CATALOG": "nessie", "NESSIE_URI": self.url}

    def credentials(self) -> dict[str, str]:
        """Draw nothing secret: only the port of Nessie's own health and metrics."""
        return {"management_port": str(free_port())}

    def command(self) -> list[str]:
        """Run the jar small and quick to start: no optimising compiler."""
        small = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [str(programs.java()), *small, "-jar", str(programs.nessie_jar())]

    def environment(self) -> dict[str, str]:
        """Return Quarkus' settings by their own names, which Java reads from the environment as they are."""
        lake, s3 = self.others["minio"].env, "nessie.catalog.service.s3.default-options"
        return {
            "quarkus.http.host": HOST,
            "quarkus.http.port": str(self.port),
            "quarkus.management.host": HOST,
            "quarkus.management.port": self.record["management_port"],
            "nessie.version.store.type": "ROCKSDB",
            "nessie.version.store.persist.rocks.database-path": str(self.directory / "data"),
            "nessie.catalog.default-warehouse": "warehouse",
            # Nessie puts every table below this, whatever location a client asks for.
            "nessie.catalog.warehouses.warehouse.location": LAKE,
            f"{s3}.endpoint": lake["MINIO_ENDPOINT"],
            f"{s3}.region": REGION,
            f"{s3}.path-style-access": "true",
            f"{s3}.access-key": "urn:nessie-secret:quarkus:my-secrets.s3-default",
            "my-secrets.s3-default.name": lake["MINIO_ACCESS_KEY"],
            "my-secrets.s3-default.secret": lake["MINIO_SECRET_KEY"],
        }

    def answers(self) -> bool:
        """Ask for the API's configuration, which reads the store."""
        return _answers(self.port, "/api/v2/config")


class Postgres(Server):
    """PostgreSQL with logical decoding, the superuser `starberg` and the database `warehouse`."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: does not wait for clients
    kill_signal = signal.SIGQUIT  # PostgreSQL's own crash: every process exits at once, the next start recovers

    @property
    def env(self) -> dict[str, str]:
        """Return the database's URL."""
        login = f"starberg:{self.record['password']}"
        return {"WAREHOUSE_DATABASE_URL": f"postgresql://{login}@{HOST}:{self.port}/warehouse"}

    def credentials(self) -> dict[str, str]:
        """Draw the superuser's password."""
        return {"password": secrets.token_urlsafe(24)}

    def prepare(self) -> None:
        """Make the database cluster under another name, so that a half-made one is never taken for whole."""
        data, new = self.directory / "data", self.directory / "data.made"
        if data.exists():
            return
        shutil.rmtree(new, ignore_errors=True)
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(self.record["password"])
        try:
            embedded_postgres.make_cluster(new, "starberg", password)
        except StarbergError as error:
            raise StackError(str(error)) from error
        password.unlink()
        self._run([*embedded_postgres.program("postgres"), "--single", "-D", str(new), "postgres"])
        new.rename(data)

    def command(self) -> list[str]:
        """Serve TCP alone; fsync guards against a power cut, not against a crash, and costs half the time."""
        settings = {"wal_level": "logical", "fsync": "off", "unix_socket_directories": ""}
        return embedded_postgres.command(self.directory / "data", self.port, settings)

    def answers(self) -> bool:
        """Ask as PostgreSQL's own tool does."""
        ask = [str(embedded_postgres.programs() / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0

    def _run(self, command: list[str]) -> None:
        text = "create database warehouse;"
        done = subprocess.run(command, check=False, input=text, capture_output=True, text=True)
        (self.directory / "log").write_text(done.stdout + done.stderr)
        if done.returncode:
            raise StackError(f"PostgreSQL's database could not be made: {self._last_words()}")


class Toxiproxy(Server):
    """toxiproxy, which stands before a server and makes its network slow, cut or lossy."""

    name = "toxiproxy"

    def command(self) -> list[str]:
        """Serve the control interface; proxies are made by it."""
        return [str(programs.toxiproxy()), "-host", HOST, "-port", str(self.port)]

    def answers(self) -> bool:
        """Ask for the version."""
        return _answers(self.port, "/version")


class Trino(Server):
    """Trino, one node, with a catalog `nessie` over Nessie's main and `warehouse` over PostgreSQL's."""

    name = "trino"
    start_seconds = 300
    needs = ("minio", "nessie", "postgres")

    @property
    def env(self) -> dict[str, str]:
        """Return where it is, and the catalog over Nessie."""
        return {"TRINO_HOST": HOST, "TRINO_PORT": str(self.port), "TRINO_CATALOG": "nessie"}

    def prepare(self) -> None:
        """Write its settings; secrets are read from the environment."""
        etc = self.directory / "etc"
        (etc / "catalog").mkdir(parents=True, exist_ok=True)
        node = {"node.environment": "stack", "node.id": "stack", "node.data-dir": str(self.directory / "data")}
        settings = {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": str(self.port),
            "discovery.uri": self.url,
            "plugin.dir": str(programs.trino() / "plugin"),
            "catalog.management": "dynamic",
            "query.max-memory-per-node": "256MB",
        }
        catalogs = {"nessie": self.nessie(), "warehouse": self._warehouse()}
        files = {"node": node, "config": settings, "log": {"io.trino": "WARN"}}
        files |= {f"catalog/{name}": found for name, found in catalogs.items()}
        for name, found in files.items():
            (etc / f"{name}.properties").write_text("".join(f"{key}={value}\n" for key, value in found.items()))

    def nessie(self, ref: str = "main") -> dict[str, str]:
        """Return the settings of a catalog over a branch or tag of Nessie."""
        return self._iceberg("nessie") | {
            "iceberg.nessie-catalog.uri": f"{self.others['nessie'].url}/api/v2",
            "iceberg.nessie-catalog.ref": ref,
            "iceberg.nessie-catalog.default-warehouse-dir": LAKE,
        }

    def _warehouse(self) -> dict[str, str]:
        postgres = self.others["postgres"]
        return self._iceberg("jdbc") | {
            "iceberg.jdbc-catalog.driver-class": "org.postgresql.Driver",
            "iceberg.jdbc-catalog.connection-url": f"jdbc:postgresql://{HOST}:{postgres.port}/warehouse",
            "iceberg.jdbc-catalog.connection-user": "starberg",
            "iceberg.jdbc-catalog.connection-password": "${ENV:POSTGRES_PASSWORD}",
            "iceberg.jdbc-catalog.catalog-name": "starberg",
            "iceberg.jdbc-catalog.default-warehouse-dir": LAKE,
            "iceberg.jdbc-catalog.schema-version": "V1",
        }

    def _iceberg(self, catalog: str) -> dict[str, str]:
        return {
            "connector.name": "iceberg",
            "iceberg.catalog.type": catalog,
            "fs.native-s3.enabled": "true",
            "s3.endpoint": self.others["minio"].url,
            "s3.region": REGION,
            "s3.path-style-access": "true",
            "s3.aws-access-key": "${ENV:MINIO_ACCESS_KEY}",
            "s3.aws-secret-key": "${ENV:MINIO_SECRET_KEY}",
        }

    def command(self) -> list[str]:
        """Run it as its launcher would, small and quick to start."""
        etc, home = self.directory / "etc", programs.trino()
        small = ["-Xmx2g", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"]
        needed = ["-Djdk.attach.allowAttachSelf=true", "--enable-native-access=ALL-UNNAMED", "-Duser.timezone=UTC"]
        needed += [
            "-Dfile.encoding=UTF-8",
            "--sun-misc-unsafe-memory-access=allow",
            "--add-modules=jdk.incubator.vector",
        ]
        node = [f"-D{line}" for line in (etc / "node.properties").read_text().splitlines()]
        settings = [f"-Dconfig={etc}/config.properties", f"-Dlog.levels-file={etc}/log.properties"]
        settings += [f"-Dcatalog.config-dir={etc}/catalog"]
        java = str(programs.java(programs.OLDEST_JAVA_OF_TRINO))
        return [java, *small, *needed, *node, *settings, "-cp", f"{home}/lib/*", "io.trino.server.TrinoServer"]

    def environment(self) -> dict[str, str]:
        """Return the secrets its catalogs name."""
        lake = self.others["minio"].env
        keys = {name: lake[name] for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")}
        return keys | {"POSTGRES_PASSWORD": self.others["postgres"].record["password"]}

    def answers(self) -> bool:
        """Ask whether it has started; it answers earlier."""
        return _answers(self.port, "/v1/info", says=b'"starting":false')


SERVERS: dict[str, type[Server]] = {kind.name: kind for kind in (Minio, Nessie, Postgres, Toxiproxy, Trino)}


def _answers(port: int, path: str, says: bytes = b"") -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status == http.HTTPStatus.OK and says in reply.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
