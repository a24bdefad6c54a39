"""docker-compose.yml is safe to start: pinned, local, durable, without a secret; .env.example says all it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    for variable, value in service.get("environment", {}).items():
        if SECRET_NAME.search(variable):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{variable} must come from .env, without a default"


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
