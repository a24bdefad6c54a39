"""What no line of the product may do, found in its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import starberg

ROOT = Path(starberg.__file__).parent
LAYERS = ("utils", "storage", "engines", "ingestion", "etl", "entrypoints", "samples")
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py") if path != ROOT / "utils" / "sql.py")

SQL = re.compile(
    r"\b(SELECT|FROM|WHERE|JOIN|INSERT|UPDATE|DELETE|SET|CREATE|DROP|ALTER|COPY|ATTACH|CAST|ORDER BY|PARTITION BY|AS)\b"
)
HOLE = "\0"
BY_HAND = re.compile(rf"""(["']){HOLE}|{HOLE}(["'])""")
QUOTING = {('"', '""'), ("'", "''")}
BANNED_CALLS = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "pickle.load": "runs what it reads",
    "pickle.loads": "runs what it reads",
    "yaml.load": "builds any object; use safe_load",
    "yaml.unsafe_load": "builds any object; use safe_load",
    "yaml.full_load": "builds more than values; use safe_load",
    "tempfile.mktemp": "gives a name others can take; use mkstemp or mkdtemp",
    "os.system": "runs a shell",
    "ssl._create_unverified_context": "trusts anybody",
}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield f-strings and templates, each hole as one character."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, re.sub(r"\{\w*\}", HOLE, node.value)


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_texts_become_sql_in_one_place(path: Path) -> None:
    tree = parsed(path)
    found = [line for line, text in texts(tree) if HOLE in text and SQL.search(text) and BY_HAND.search(text)]
    for call, name in calls(tree):
        pair = tuple(argument.value for argument in call.args if isinstance(argument, ast.Constant))
        if name.endswith(".replace") and pair in QUOTING:
            found.append(call.lineno)
    assert found == [], f"quoted by hand; use starberg.utils.sql in lines {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_text_trusts_anybody_or_takes_a_guessable_name(path: Path) -> None:
    found = [(call.lineno, name, BANNED_CALLS[name]) for call, name in calls(parsed(path)) if name in BANNED_CALLS]
    switches = [(call.lineno, ast.unparse(keyword)) for call, _ in calls(parsed(path)) for keyword in call.keywords]
    assert found == []
    assert [switch for switch in switches if switch[1] in ("verify=False", "shell=True")] == []


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("""run(f"SELECT * FROM '{name}'")""", True),
        ("""run(f'SELECT "{name}" FROM t')""", True),
        ("""TEMPLATE = 'SELECT "{name}" FROM t\'""", True),
        ("""run(f"SELECT {quote(name)} FROM t")""", False),
        ("""say(f"no table '{name}'")""", False),
    ],
)
def test_quoting_by_hand_is_caught(line: str, caught: bool) -> None:
    hits = [text for _, text in texts(ast.parse(line)) if HOLE in text and SQL.search(text) and BY_HAND.search(text)]
    assert bool(hits) is caught
