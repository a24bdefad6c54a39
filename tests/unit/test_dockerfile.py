"""The images are pinned, not root, and hold what the product is made of."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))
IMAGES = re.findall(r"(?:^FROM |--from=)(\S*[:/]\S*)", DOCKERFILE, re.MULTILINE)


def test_every_image_is_pinned() -> None:
    assert len(IMAGES) == 4
    assert all(re.search(r":\d+\.\d+", image) for image in IMAGES)
    assert "--locked" in STAGES["build"]


def test_what_runs_is_not_root() -> None:
    for stage in ("starberg", "airflow"):
        [*_, user] = re.findall(r"^USER (\w+)$", STAGES[stage], re.MULTILINE)
        assert user not in ("root", "0")
    assert re.search(r"^USER \d+$", STAGES["starberg"], re.MULTILINE)  # Kubernetes' runAsNonRoot needs a number


def test_the_build_is_given_all_of_the_product() -> None:
    given = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    parts = {link.name for link in (ROOT / "src" / "starberg").iterdir() if link.is_symlink()}
    assert parts | {"src", "pyproject.toml", "uv.lock", "README.md", "LICENSE"} == given


def test_compose_and_kubernetes_run_the_same_image() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["etl-service"]["image"] == f"starberg:{version('starberg')}"
    assert services["airflow"]["profiles"] == ["airflow"]
    assert {service["build"]["target"] for service in services.values() if "build" in service} < STAGES.keys()


def test_the_airflow_is_the_one_that_was_tested() -> None:
    [image] = re.findall(r"apache/airflow:(\S+)", DOCKERFILE)
    assert f"apache-airflow-core=={image}\n" in (ROOT / "tests" / "airflow" / "requirements.txt").read_text()
