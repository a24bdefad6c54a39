"""The files for other schedulers say what warehouse.yml says, and are what those schedulers read."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from starberg.entrypoints.deploy import deploy, entries, shipped
from starberg.etl.model import WarehouseFile
from starberg.etl.results import Stage
from starberg.etl.schedule import ticks
from starberg.utils.errors import UsageError

DEPLOY = Path(__file__).parents[2] / "deploy"
WEEK = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 4, 3, tzinfo=UTC)
DECLARED = WarehouseFile.model_validate(
    {
        "schedules": {
            "often": {"every": "5m"},
            "full": {"cron": "0 2 * * *", "full": True, "source": "till"},
            "landing": {"every": "1h", "do": "ingest"},
        },
        "jobs": {
            "sync_dim_a": {"every": "1h", "window": "15m"},
            "sync_dim_b": {"every": "1h"},
            "build_fact_c": {"cron": "0 3 * * MON", "window": "90m"},
        },
    }
)


def test_the_shipped_files_are_in_step() -> None:
    stale = [str(path.relative_to(DEPLOY)) for path, text in shipped(DEPLOY).items() if not _is(path, text)]
    assert stale == [], "write them with `python -m starberg.entrypoints.deploy`"
    kept = {path for kind in ("crontab", "kubernetes", "airflow") for path in (DEPLOY / kind).glob("*.*")}
    assert kept == set(shipped(DEPLOY))


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def test_each_rule_ticks_in_cron_as_it_does_here() -> None:
    by_command = {" ".join(entry.command): entry.cron for entry in entries("w", DECLARED)}
    assert by_command == {
        "starberg run w": "*/5 * * * *",
        "starberg run w --source till --full": "0 2 * * *",
        "starberg ingest w": "0 * * * *",
        "starberg run-job w sync_dim_a sync_dim_b": "0 * * * *",
        "starberg run-job w build_fact_c": "0 3 * * MON",
    }
    for name, schedule in DECLARED.schedules.items():
        [cron] = [entry.cron for entry in entries("w", DECLARED) if entry.name == name]
        assert ticks(cron, *WEEK, most=9999) == ticks(schedule.rule, *WEEK, most=9999)


@pytest.mark.parametrize("every", ["7m", "90m", "5h", "2d", "90s"])
def test_what_cron_cannot_say_is_told(every: str) -> None:
    with pytest.raises(UsageError, match="cron cannot say"):
        entries("w", WarehouseFile.model_validate({"schedules": {"odd": {"every": every}}}))


def test_a_crontab_has_one_line_for_each_rule() -> None:
    lines = [line for line in deploy("crontab", "w", DECLARED).splitlines() if not line.startswith("#")]
    assert lines[0] == "CRON_TZ=UTC"
    assert lines[1:] == [f"{entry.cron} {' '.join(entry.command)}" for entry in entries("w", DECLARED)]


@pytest.mark.parametrize(
    "text",
    [deploy("kubernetes", "w", DECLARED), *[text for path, text in shipped(DEPLOY).items() if path.suffix == ".yaml"]],
)
def test_kubernetes_reads_every_document(text: str) -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, "1.33", strict=True)
        spec = document["spec"]
        assert (spec["timeZone"], spec["concurrencyPolicy"]) == ("Etc/UTC", "Forbid")
        assert len(document["metadata"]["name"]) <= 52
    names = [document["metadata"]["name"] for document in documents]
    assert len(set(names)) == len(names)


def test_cron_jobs_have_the_commands_and_rules_of_the_warehouse() -> None:
    documents = list(yaml.safe_load_all(deploy("kubernetes", "w", DECLARED)))
    containers = [doc["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0] for doc in documents]
    assert [(doc["spec"]["schedule"], box["args"]) for doc, box in zip(documents, containers, strict=True)] == [
        (entry.cron, [*entry.command[1:], "--wait", "30m"]) for entry in entries("w", DECLARED)
    ]


def test_a_dag_file_has_one_dag_for_each_rule_with_stages_as_tasks_and_a_monitor() -> None:
    tree = ast.parse(deploy("airflow", "w", DECLARED))
    dags = [node for node in tree.body if isinstance(node, ast.With)]
    found = {}
    for dag in dags:
        call = dag.items[0].context_expr
        assert isinstance(call, ast.Call)
        given = {word.arg: word.value for word in call.keywords}
        tasks = [node.value for node in dag.body if isinstance(node, ast.Assign)]
        assert ast.unparse(dag.body[-1]).endswith(">> [log_monitor, done]")
        commands = [word.value for task in tasks for word in task.keywords if word.arg == "bash_command"]  # type: ignore[attr-defined]
        found[ast.literal_eval(given["dag_id"])] = (
            ast.literal_eval(given["schedule"]),
            [ast.literal_eval(command) for command in commands],
        )
    assert {dag: cron for dag, (cron, _) in found.items()} == {
        f"w_{entry.name}": entry.cron for entry in entries("w", DECLARED)
    }
    *stages, monitor = found["w_full"][1]
    assert [" ".join(stage.split()[:5]) for stage in stages] == [f"starberg run w --stage {stage}" for stage in Stage]
    assert len({stage.partition("--run-id")[2].removesuffix(" --source till --full") for stage in stages}) == 1
    assert [stage.endswith("--source till --full") for stage in stages] == [True, False, False, False]
    assert monitor == "starberg status w --limit 5"
    assert found["w_build_fact_c"][1][0] == "starberg run-job w build_fact_c"


def test_a_warehouse_that_schedules_nothing_has_no_file() -> None:
    with pytest.raises(UsageError, match="schedules nothing"):
        deploy("crontab", "w", WarehouseFile())
    assert timedelta(0) < DECLARED.jobs["build_fact_c"].window
