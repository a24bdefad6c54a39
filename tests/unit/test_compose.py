"""docker-compose.yml is safe to start: pinned, local, durable, without a secret; .env.example says all it needs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from starberg.engines.spark import session
from starberg.entrypoints.commands import app
from starberg.utils.settings import Settings, variable

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)([^}]*)\}")
SECRET_NAME = re.compile(r"password|secret$|secret_key|access_key|root_user|\.name$", re.IGNORECASE)


def services() -> Any:
    return pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def documented() -> dict[str, str]:
    """Return the variables of .env.example, those that are commented out with them."""
    found = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return dict(found)


@services()
def test_images_are_pinned(service: dict[str, Any]) -> None:
    name, _, tag = service["image"].rpartition(":")
    assert "/" not in tag
    assert name
    assert re.search(r"\d+\.\d+|\d{4}-\d\d-\d\d", tag), f"{service['image']} names no exact version"


@services()
def test_ports_are_open_to_this_machine_alone(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service.get("network_mode") != "host"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_tells_its_health_or_is_awaited_to_its_end(name: str) -> None:
    waits = [other["depends_on"][name] for other in SERVICES.values() if name in other.get("depends_on", {})]
    if SERVICES[name]["restart"] == "no":
        assert {"condition": "service_completed_successfully"} in waits
    else:
        assert {"test", "interval", "timeout", "retries"} <= SERVICES[name]["healthcheck"].keys()
        assert all(wait == {"condition": "service_healthy"} for wait in waits)


@services()
def test_no_secret_is_written_down(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        if SECRET_NAME.search(name):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name} must come from .env, without a default"


def test_every_variable_is_required_and_documented() -> None:
    used = VARIABLE.findall((ROOT / "docker-compose.yml").read_text())
    assert used
    assert {name for name, _ in used} <= documented().keys()
    assert {how[:2] for _, how in used} == {":?"}


def test_the_example_holds_no_password() -> None:
    secrets = {name: value for name, value in documented().items() if re.search("PASSWORD|SECRET", name)}
    assert secrets
    assert set(secrets.values()) == {""}


def test_nessie_outlives_its_container() -> None:
    settings = SERVICES["nessie"]["environment"]
    assert settings["nessie.version.store.type"] == "JDBC2"
    assert "//postgres:" in settings["quarkus.datasource.postgresql.jdbc.url"]
    for name in ("minio", "postgres", "dremio"):
        volumes = [volume.split(":")[0] for volume in SERVICES[name]["volumes"]]
        assert name in volumes
        assert name in COMPOSE["volumes"]


def test_nobody_but_the_setup_is_given_minios_root() -> None:
    holders = {name for name, service in SERVICES.items() if "MINIO_ROOT_PASSWORD" in str(service)}
    assert holders == {"minio", "minio-setup"}


def test_mounted_files_exist() -> None:
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert all((ROOT / mount).is_dir() for mount in mounts if mount.startswith("./"))


def test_the_products_access_keys_are_those_the_setup_makes() -> None:
    made = SERVICES["minio-setup"]["environment"]
    script = (ROOT / "deploy/minio/setup.sh").read_text()
    assert {name for name in made if f'"${name}"' in script} == made.keys()


# What the settings and documents say is what compose starts


def published(service: str) -> dict[int, int]:
    """Return the ports of a service on this machine and in its container."""
    ports = [port.removeprefix("127.0.0.1:").split(":") for port in SERVICES[service].get("ports", [])]
    return {int(outside): int(inside) for outside, inside in ports}


def version(image: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", image.rpartition(":")[2]))


@pytest.mark.parametrize(("setting", "service"), [("MINIO_ENDPOINT", "minio"), ("NESSIE_URI", "nessie")])
def test_starberg_finds_the_servers_on_this_machine(setting: str, service: str) -> None:
    address = urlsplit(documented()[setting])
    assert address.hostname == "127.0.0.1"
    assert address.port in published(service)


@pytest.mark.parametrize(("setting", "service"), [("DREMIO_MINIO_ENDPOINT", "minio"), ("DREMIO_NESSIE_URI", "nessie")])
def test_dremio_finds_the_servers_inside_compose(setting: str, service: str) -> None:
    address = urlsplit(documented()[setting])
    assert address.hostname == service
    assert address.port in published(service).values()


def test_dremio_is_where_its_settings_look_for_it() -> None:
    defaults = Settings()
    assert documented()["DREMIO_HOST"] == "127.0.0.1"
    assert {defaults.dremio_port, defaults.dremio_rest_port} <= published("dremio").keys()


def test_the_catalogs_database_is_where_its_setting_says() -> None:
    assert urlsplit(documented()["WAREHOUSE_DATABASE_URL"].replace("…", "x")).port in published("postgres")
    assert "jdbc:postgresql://postgres:5432/" in str(SERVICES["nessie"]["environment"])
    assert 5432 in published("postgres").values()


def test_the_lake_is_in_the_bucket_that_is_made_and_that_nessie_writes_to() -> None:
    lake = documented()["STARBERG_LAKE"]
    assert SERVICES["nessie"]["environment"]["nessie.catalog.warehouses.warehouse.location"] == lake
    assert f"lake/{urlsplit(lake).netloc}" in (ROOT / "deploy/minio/setup.sh").read_text()


def test_starbergs_part_of_the_example_is_settings() -> None:
    ours = (ROOT / ".env.example").read_text().partition("# --- docker compose")[0]
    names = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", ours, re.MULTILINE))
    assert names - {variable(field) for field in Settings.model_fields} == set()


def test_each_health_is_asked_of_a_port_the_service_has() -> None:
    asked = {
        name: str(service["healthcheck"]["test"]) for name, service in SERVICES.items() if "healthcheck" in service
    }
    assert f"http://127.0.0.1:{Settings().dremio_rest_port}/" in asked["dremio"]
    assert "/9000" in asked["nessie"], "Nessie's management port, where its health is"
    assert "--host=127.0.0.1" in asked["postgres"]


def test_versions_are_those_of_the_documents() -> None:
    import stack_programs

    assert version(SERVICES["nessie"]["image"]) > version(stack_programs.NESSIE.split(":jar")[0])
    page = (ROOT / "docs/engines.md").read_text()
    assert f"Dremio {SERVICES['dremio']['image'].rpartition(':')[2]}" in page
    assert set(stack_programs.ICEBERG_JARS) == set(session.PACKAGES)
    for package in session.PACKAGES:
        _, name, release = package.split(":")
        assert package in page
        assert f"{name}-{release}.jar" in page


SMOKE = ROOT / "deploy/smoke.sh"


def test_the_smoke_test_is_a_script_whose_settings_and_commands_there_are() -> None:
    text = SMOKE.read_text()
    subprocess.run(["bash", "-n", SMOKE], check=True)
    made = {"line"}
    used = set(re.findall(r"\$\{?([A-Za-z_]+)", text)) - made - {"BASH_SOURCE"}
    assert used <= documented().keys()
    commands = typer.main.get_command(app)
    for line in re.findall(r"^starberg (.+)$", text, re.MULTILINE):
        words, here = line.split(), commands
        while words and words[0] in getattr(here, "commands", {}):
            here = here.commands[words.pop(0)]  # type: ignore[attr-defined]
        options = {name for parameter in here.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_the_smoke_test_says_that_it_was_not_run() -> None:
    assert "was not run" in SMOKE.read_text()
    assert "deploy/smoke.sh" in (ROOT / "deploy/README.md").read_text()
