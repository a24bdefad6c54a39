"""CONTRIBUTING.md's recipe, executed as written."""

import os
import re
import shlex
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from servers import Asked, Say, Server

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
BLOCK = re.compile(r"^```(?P<language>yaml|sql|sh)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"^(?:#|--) (?P<path>warehouses/\S+)\n")
ORDERS = [
    {
        "id": number,
        "customer": {"id": number % 7, "name": f" Customer {number % 7} "},
        "ordered_at": f"2024-{1 + number % 12:02d}-15T10:00:00",
        "lines": [{"sku": f"S{line}", "quantity": 1 + line, "price": "2.50"} for line in range(1 + number % 3)],
    }
    for number in range(1, 241)
]


def shop(asked: Asked) -> Say:
    """Serve orders by cursor, 30 a page at most whatever is asked, to those who hold the token."""
    if asked.headers.get("Authorization") != "Bearer open-sesame":
        return Say({"error": "who are you?"}, status=401)
    start = int(asked.query.get("after", 0))
    page = ORDERS[start : start + min(30, int(asked.query["limit"]))]
    following = start + len(page)
    return Say({"data": page, "meta": {"next": str(following) if following < len(ORDERS) else None}})


def write_project(folder: Path) -> list[str]:
    """Write the recipe's files; return its commands."""
    (folder / "starberg.toml").touch()
    commands: list[str] = []
    for block in BLOCK.finditer(GUIDE.read_text()):
        named = FILE_NAME.match(block["body"])
        if named:
            path = folder / named["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["body"][named.end() :])
        elif block["language"] == "sh":
            commands += [line for line in block["body"].splitlines() if line.startswith("starberg ")]
    return commands


def run(command: str, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SHOP_URL": url, "SHOP_TOKEN": "open-sesame"}
    arguments = [sys.executable, "-m", "starberg", *shlex.split(command)[1:]]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("shop")
    commands = write_project(folder)
    with Server(shop) as server:
        answers = {command: run(command, folder, server.url) for command in commands}
        yield folder, server.url, answers


def test_every_command_of_the_recipe_succeeds(project: Any) -> None:
    _, _, answers = project
    assert len(answers) == 4
    for command, answer in answers.items():
        assert answer.returncode == 0, f"{command}: {answer.stderr}"


def test_the_mart_holds_what_the_source_sold(project: Any) -> None:
    folder, url, _ = project
    sold: dict[int, Decimal] = {}
    for order in ORDERS:
        month = int(order["ordered_at"][5:7])
        amounts = [line["quantity"] * Decimal(line["price"]) for line in order["lines"]]
        sold[month] = sold.get(month, Decimal(0)) + sum(amounts)
    query = 'starberg query --format csv "select month, revenue from shop.mart_revenue_by_month order by month"'
    rows = run(query, folder, url).stdout.split()[1:]
    assert rows == [f"{month},{sold[month]:.2f}" for month in sorted(sold)]


def test_a_second_run_finds_nothing_new(project: Any) -> None:
    folder, url, _ = project
    assert "SKIPPED" in run("starberg --json run shop", folder, url).stdout


def test_a_wrong_token_is_one_line_and_exit_code_7(project: Any) -> None:
    folder, url, _ = project
    environment = {**os.environ, "SHOP_URL": url, "SHOP_TOKEN": "wrong-canary"}
    arguments = [sys.executable, "-m", "starberg", "--quiet", "run", "shop"]
    answer = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 7
    assert answer.stderr.startswith("starberg: ")
    assert answer.stderr.count("\n") == 1
    assert "wrong-canary" not in answer.stdout + answer.stderr
