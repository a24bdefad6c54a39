"""The command line: what each command asks of the lake, what is printed where, which exit code comes out."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from starberg.entrypoints import commands, reference
from starberg.entrypoints.cli import globals_first, main
from starberg.etl.results import QueryResult, RunResult, Status, TableDifference, VerifyResult
from starberg.utils import errors
from starberg.utils.settings import Settings

AT = datetime(2025, 1, 2, tzinfo=UTC)
DAY = date(2025, 1, 15)
ALL = {"date": None, "force": False, "only": None}
RUN = RunResult("r1", "games", Status.SUCCESS, AT, AT, 5)
DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


class FakeLake:
    """Notes each call and answers with what it was given, or raises it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}
        self.settings: Settings | None = None

    def open(self, settings: Settings) -> "FakeLake":
        self.settings = settings
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.calls.append((name, *given, named) if named else (name, *given))
            answer = self.answers.get(name, [{"called": name}])
            answer = answer() if callable(answer) else answer
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


@pytest.fixture
def lake() -> FakeLake:
    fake = FakeLake()
    fake.answers |= {"run": RUN, "rebuild": RUN, "verify": VerifyResult("games", []), "query": rows}
    fake.answers |= {"backfill": [RUN], "jobs": []}
    fake.answers["check"] = [{"name": "catalog", "ok": True, "detail": "", "hint": ""}]
    return fake


def rows() -> QueryResult:
    return QueryResult(["a", "b"], iter([(1, "x"), (2, None)]), lambda: None, lambda: None)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, and leave logging as it was."""
    monkeypatch.chdir(tmp_path)
    root, ours = logging.getLogger(), logging.getLogger("starberg")
    before = root.handlers[:], root.level, ours.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def starberg(lake: FakeLake, *arguments: str, **environ: str) -> int:
    return main(arguments, environ=environ, open_lake=lake.open)


# What each command asks


@pytest.mark.parametrize(
    ("typed", "call"),
    [
        ("demo", ("demo", "games")),
        ("demo retail", ("demo", "retail")),
        (
            "run games",
            (
                "run",
                "games",
                {"source": None, "full": False, "allow_deletes": (), "rebuild": True, **ALL, "wait_s": 600.0},
            ),
        ),
        (
            "run games --source rawg --full --allow-deletes a --allow-deletes b --no-rebuild --wait 1h",
            (
                "run",
                "games",
                {
                    "source": "rawg",
                    "full": True,
                    "allow_deletes": ["a", "b"],
                    "rebuild": False,
                    **ALL,
                    "wait_s": 3600.0,
                },
            ),
        ),
        (
            "run games --date 2025-01-15 --force --only facts",
            (
                "run",
                "games",
                {"source": None, "full": False, "allow_deletes": (), "rebuild": True}
                | {"date": DAY, "force": True, "only": "facts", "wait_s": 600.0},
            ),
        ),
        ("run-job games build_x", ("run_jobs", "games", ["build_x"], None, {"force": False, "wait_s": 600.0})),
        (
            "run-job games --job build_x --date 2025-01-15 --force --wait 1s",
            ("run_jobs", "games", ["build_x"], DAY, {"force": True, "wait_s": 1.0}),
        ),
        (
            "backfill games --from 2025-01-15 --to 2025-01-15 --job a --force",
            ("backfill", "games", DAY, DAY, {"jobs": ["a"], "force": True, "wait_s": 600.0}),
        ),
        ("ingest games --wait 30s", ("run", "games", {"etl": False, "source": None, "full": False, "wait_s": 30.0})),
        (
            "etl games --wait 5",
            ("run", "games", {"ingest": False, "allow_deletes": (), "rebuild": True, "wait_s": 5.0}),
        ),
        ("plan games", ("plan", "games", None, {"sql": False})),
        ("plan games --date 2025-01-15 --sql", ("plan", "games", DAY, {"sql": True})),
        ("query select", ("query", "select", {"warehouse": None, "at": None, "engine": "duckdb"})),
        (
            "query --engine trino select",
            ("query", "select", {"warehouse": None, "at": None, "engine": "trino"}),
        ),
        (
            "query --warehouse games --at r1 select",
            ("query", "select", {"warehouse": "games", "at": "r1", "engine": "duckdb"}),
        ),
        ("tables", ("tables", None)),
        ("tables games", ("tables", "games")),
        ("--json status", ("status", None, {"limit": 20})),
        ("--json status games --limit 3", ("status", "games", {"limit": 3})),
        ("check", ("check",)),
        ("compile games.fact_games", ("compile", "games.fact_games")),
        ("explain games.fact_games 1 x", ("explain", "games.fact_games", ["1", "x"])),
        ("rebuild games", ("rebuild", "games", (), {"wait_s": 600.0})),
        ("rebuild games a b", ("rebuild", "games", ["a", "b"], {"wait_s": 600.0})),
        (
            "seed retail",
            ("seed", "retail", (), {"people": None, "days": None, "until": None, "seed": 7, "replace": False}),
        ),
        (
            "seed mafia --url a=postgresql://h/d --url b=x --users 5 --days 3 --until 2026-02-01 --seed 1 --yes",
            (
                "seed",
                "mafia",
                ["a=postgresql://h/d", "b=x"],
                {"people": 5, "days": 3, "until": date(2026, 2, 1), "seed": 1, "replace": True},
            ),
        ),
        ("mutate retail", ("mutate", "retail", (), {"transactions": 1000, "day": None, "seed": 7, "sessions": 4})),
        (
            "mutate retail --url postgresql://h/d --transactions 9 --day 2026-02-01 --seed 1 --sessions 1",
            (
                "mutate",
                "retail",
                ["postgresql://h/d"],
                {"transactions": 9, "day": date(2026, 2, 1), "seed": 1, "sessions": 1},
            ),
        ),
        ("deploy airflow games", ("deploy", "airflow", "games")),
        ("schedule", ("schedule", (), {"grace_s": 600.0})),
        ("schedule games --grace 5s", ("schedule", ["games"], {"grace_s": 5.0})),
        ("schedule --list games", ("schedules", ["games"])),
        ("verify games", ("verify", "games", {"wait_s": 600.0})),
        ("maintain", ("maintain", None, {"dry_run": False, "wait_s": 600.0})),
        ("maintain games --dry-run --wait 1m", ("maintain", "games", {"dry_run": True, "wait_s": 60.0})),
        ("new fact games.fact_sales", ("new", "fact", "games.fact_sales")),
    ],
)
def test_each_command_is_one_call(lake: FakeLake, typed: str, call: tuple[Any, ...]) -> None:
    assert starberg(lake, *typed.split()) == 0
    assert lake.calls == [call]


def test_the_check_of_a_probe_asks_the_scheduler_alone(lake: FakeLake) -> None:
    for ok in (True, False):
        lake.answers["live"] = {"name": "scheduler", "ok": ok, "detail": "", "hint": ""}
        assert starberg(lake, "check", "--live") == (0 if ok else 1)
    assert lake.calls == [("live",), ("live",)]


def test_nothing_is_scheduled_where_schedules_are_off(lake: FakeLake, capsys: pytest.CaptureFixture[str]) -> None:
    assert starberg(lake, "schedule", STARBERG_SCHEDULES="false") == 2
    assert "schedules are off here" in capsys.readouterr().err
    assert lake.calls == []


def test_config_opens_no_lake_and_masks(lake: FakeLake, capsys: pytest.CaptureFixture[str]) -> None:
    assert starberg(lake, "config", "--json", MINIO_SECRET_KEY="canary-1", STARBERG_HOME="/data") == 0
    shown = {line["name"]: line for line in json.loads(capsys.readouterr().out)}
    assert lake.settings is None
    assert shown["STARBERG_HOME"] == {"name": "STARBERG_HOME", "value": "/data", "origin": "environment"}
    assert shown["MINIO_SECRET_KEY"]["value"] == "********"


# Global options


def test_global_options_work_before_and_after_the_command(lake: FakeLake, tmp_path: Path) -> None:
    (tmp_path / "starberg.toml").write_text("[env.prod]\nthreads = 3\n")
    globals_ = ["--home", "/data", f"--project={tmp_path}", "--env", "prod", "--debug", "--json", "--quiet"]
    for arguments in ([*globals_, "tables", "games"], ["tables", *globals_, "games"], ["tables", "games", *globals_]):
        assert starberg(lake, *arguments) == 0
        assert lake.settings
        assert (lake.settings.home, lake.settings.project) == (Path("/data"), tmp_path)
        assert (lake.settings.threads, lake.settings.etl_debug) == (3, True)


def test_what_follows_a_lone_dash_dash_is_not_an_option(lake: FakeLake) -> None:
    assert globals_first(["query", "--", "--json"]) == ["query", "--", "--json"]
    assert starberg(lake, "query", "--", "--json is a comment") == 0
    assert lake.calls[0][1] == "--json is a comment"


def test_every_global_option_may_follow_the_command() -> None:
    group: Any = typer.main.get_command(commands.app)
    names = {name for param in group.params for name in param.opts} - {
        "--version",
        "--install-completion",
        "--show-completion",
    }
    assert set(globals_first(["run", *(word for name in names for word in (name, "x"))])[:-1]) >= names


# Answers


def test_stdout_carries_the_answer_alone(lake: FakeLake, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> RunResult:
        logging.getLogger("starberg.test").info("under way")
        return RUN

    lake.answers["run"] = run
    assert starberg(lake, "run", "games", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["run_id"] == "r1"
    assert json.loads(err)["event"] == "under way"


@pytest.mark.parametrize(
    ("options", "out"),
    [
        ([], "a  b\n-  ----\n1  x\n2  NULL\n"),
        (["--format", "csv"], "a,b\r\n1,x\r\n2,\r\n"),
        (["--format", "json"], '[\n{"a":1,"b":"x"},\n{"a":2,"b":null}\n]\n'),
        (["--json"], '[\n{"a":1,"b":"x"},\n{"a":2,"b":null}\n]\n'),
        (["--json", "--format", "csv"], "a,b\r\n1,x\r\n2,\r\n"),
    ],
)
def test_query_formats(
    lake: FakeLake, capsysbinary: pytest.CaptureFixture[bytes], options: list[str], out: str
) -> None:
    assert starberg(lake, "query", "select", *options) == 0
    assert capsysbinary.readouterr().out.decode() == out


def test_status_as_json_has_the_rows_of_each_table(lake: FakeLake, capsys: pytest.CaptureFixture[str]) -> None:
    tables = [{"name": "f", "rows_inserted": 1, "rows_updated": 0, "rows_deleted": 0}]
    lake.answers["status"] = [{"run_id": "r1", "status": Status.RUNNING, "started_at": AT, "tables": tables}]
    assert starberg(lake, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {"run_id": "r1", "status": "RUNNING", "started_at": "2025-01-02T00:00:00Z", "tables": tables}
    ]


# What goes wrong


def test_the_password_of_a_typed_address_is_not_repeated(lake: FakeLake, capsys: pytest.CaptureFixture[str]) -> None:
    lake.answers["seed"] = errors.Unreachable("no answer to canary-1 from postgresql://u:canary-1@h/d")
    assert starberg(lake, "seed", "retail", "--url", "postgresql://u:canary-1@h/d") == 6
    out, err = capsys.readouterr()
    assert "canary-1" not in out + err
    assert "no answer to ******** from postgresql://u:********@h/d" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.StarbergError("m"), 1),
        (errors.UsageError("m"), 2),
        (errors.DeclarationError("f.sql:3", "m"), 2),
        (errors.CheckFailed("m"), 3),
        (errors.GuardStopped("m"), 4),
        (errors.Busy("m"), 5),
        (errors.Conflict("m"), 5),
        (errors.Unreachable("m"), 6),
        (errors.CredentialsError("m"), 7),
        (errors.QuotaSpent("m"), 7),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    lake: FakeLake, capsys: pytest.CaptureFixture[str], error: errors.StarbergError, code: int
) -> None:
    error.hint = "Type this."
    lake.answers["run"] = error
    assert starberg(lake, "run", "games") == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"starberg: (f\.sql:3: )?m\. Type this\.\n", err)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("rn", "starberg: No such command 'rn'. Did you mean 'run'\\? Type `starberg --help`"),
        ("run", "starberg: Missing argument 'WAREHOUSE'. Type `starberg run --help`"),
        ("run games --fulll", "starberg: No such option: --fulll .*--full.* Type `starberg run --help`"),
        ("query --engine hive x", "starberg: Invalid value for '--engine': .* Type `starberg query --help`"),
        (
            "query --output rows.xlsx x",
            r"starberg: rows.xlsx has no known kind. Name a file that ends in .parquet or .csv\.",
        ),
        ("query --output none/rows.csv x", "starberg: there is no folder .*none"),
        ("query --output rows.csv --format csv x", "starberg: --output takes one question, .* Leave out --format."),
        ("query --format xml x", "starberg: Invalid value for '--format': .* Type `starberg query --help`"),
        ("run games --wait soon", "starberg: 'soon' is no time. Write it as 30s, 10m or 1h"),
        ("--home", "starberg: Option '--home' requires an argument. Type `starberg --help`"),
    ],
)
def test_a_mistyped_command_is_one_line_and_code_2(
    lake: FakeLake, capsys: pytest.CaptureFixture[str], typed: str, line: str
) -> None:
    assert starberg(lake, *typed.split()) == 2
    assert re.fullmatch(line + "\n", capsys.readouterr().err)
    assert lake.calls == []


def test_an_unexpected_error_names_its_class_and_asks_for_debug(
    lake: FakeLake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.answers["run"] = KeyError("two\nlines")
    assert starberg(lake, "run", "games") == 1
    assert capsys.readouterr().err == (
        r"starberg: unexpected KeyError: 'two\nlines'; run again with --debug to see where" + "\n"
    )


@pytest.mark.parametrize("debug", [["--debug"], []])
def test_debug_adds_the_trace(lake: FakeLake, capsys: pytest.CaptureFixture[str], debug: list[str]) -> None:
    lake.answers["run"] = errors.Busy("held")
    assert starberg(lake, "run", "games", *debug, ETL_DEBUG="" if debug else "1") == 5
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("starberg: held\n")


@pytest.mark.parametrize("debug", [["--debug"], []])
def test_no_secret_in_an_error(lake: FakeLake, capsys: pytest.CaptureFixture[str], debug: list[str]) -> None:
    for error in (
        errors.StarbergError("canary-1 failed"),
        ValueError("canary-1"),
        errors.UsageError("://u:canary-2@h"),
    ):
        lake.answers["run"] = error
        assert starberg(lake, "run", "games", *debug, MINIO_SECRET_KEY="canary-1") != 0
    assert "canary" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["run", "rebuild"])
def test_a_failed_run_is_printed_and_code_1(lake: FakeLake, capsys: pytest.CaptureFixture[str], name: str) -> None:
    lake.answers[name] = RunResult("r2", "games", Status.FAILED, AT, AT, 5)
    assert starberg(lake, name, "games") == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_check_that_fails_and_a_difference_are_code_1(lake: FakeLake) -> None:
    lake.answers["check"] = [{"name": "catalog", "ok": False, "detail": "no answer", "hint": "start it"}]
    lake.answers["verify"] = VerifyResult("games", [TableDifference("f", 1, 1, 0)])
    assert starberg(lake, "check") == 1
    assert starberg(lake, "verify", "games") == 1


def test_interrupted_is_130(lake: FakeLake) -> None:
    lake.answers["run"] = KeyboardInterrupt()
    assert starberg(lake, "run", "games") == 130


def test_sigterm_unwinds_and_is_143(lake: FakeLake) -> None:
    unwound = []

    def terminated() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            unwound.append(True)

    lake.answers["run"] = terminated
    before = signal.getsignal(signal.SIGTERM)
    assert starberg(lake, "run", "games") == 143
    assert unwound == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_closed_stdout_is_quiet(tmp_path: Path) -> None:
    code = (
        "import sys; from starberg.entrypoints.cli import main; from starberg.etl.results import QueryResult\n"
        "class Lake:\n"
        "    def query(self, sql, **how): return QueryResult(['a'], iter([(n,) for n in range(100000)]), None, None)\n"
        "sys.exit(main(['query', 'x', '--format', 'csv'], environ={}, open_lake=lambda settings: Lake()))\n"
    )
    command = ["bash", "-c", '"$0" -c "$1" | head -1; echo ${PIPESTATUS[0]}', sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("a\n141\n", "")


# Queries without SQL


def test_statements_on_stdin_run_one_by_one_until_one_fails(lake: FakeLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("select ';'; -- done\nselect 2"))
    assert starberg(lake, "query", "--format", "csv") == 0
    assert [call[1] for call in lake.calls] == ["select ';'", "select 2"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("select 1; select 2"))
    lake.calls, lake.answers["query"] = [], errors.UsageError("SQL: wrong")
    assert starberg(lake, "query") == 2
    assert len(lake.calls) == 1


def test_no_sql_at_all_is_an_error(
    lake: FakeLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(" -- nothing\n"))
    assert starberg(lake, "query") == 2
    assert "there is no SQL on stdin" in capsys.readouterr().err


def test_the_prompt_goes_on_after_an_error_and_keeps_a_private_history(
    lake: FakeLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input

    answers = iter([errors.UsageError("SQL: wrong"), rows()])
    lake.answers["query"] = lambda: next(answers)
    monkeypatch.setattr(sys, "stdin", Terminal())
    with create_pipe_input() as keys, create_app_session(input=keys):
        keys.send_text("select\r2;\rselect 3;\r.tables\r.help\r.exit\r")
        assert starberg(lake, "query", STARBERG_HOME=str(tmp_path / "home")) == 0
    assert [call[:2] for call in lake.calls] == [("query", "select\n2"), ("query", "select 3"), ("tables", None)]
    out, err = capsys.readouterr()
    assert out.startswith("a  b\n")
    assert "starberg: SQL: wrong\n" in err
    history = tmp_path / "home" / "query_history"
    assert "select 3;" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# Start-up and documentation

HEAVY = ["boto3", "botocore", "duckdb", "pandas", "prompt_toolkit", "pyarrow", "pyiceberg"]
HEAVY += ["requests", "sqlalchemy", "sqlglot"]


@pytest.mark.parametrize("typed", [["--help"], ["run", "--help"], ["config"], ["--version"]])
def test_what_needs_no_lake_imports_nothing_heavy(typed: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from starberg.entrypoints.cli import main; main(sys.argv[1:])\n"
        f"sys.stderr.write(','.join(sorted(set(sys.modules) & set({HEAVY}))))"
    )
    command = [sys.executable, "-c", code, *typed]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout
    assert done.stderr == ""


def test_no_arguments_print_the_help(lake: FakeLake, capsys: pytest.CaptureFixture[str]) -> None:
    assert starberg(lake) == 0
    assert "Usage: starberg" in capsys.readouterr().out


def test_the_reference_is_up_to_date() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert text == reference.with_parts(text), f"type: python -m starberg.entrypoints.reference {DOCS}"


def test_every_command_option_and_setting_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for path, command in walk(typer.main.get_command(commands.app), ["starberg"]):
        section = text.split(f"### {' '.join(path)}\n", 1)[1].split("\n### ", 1)[0]
        assert command.help
        for param in command.params:
            assert param.help, f"{path}: {param.name} has no help"
            assert all(name in section for name in param.opts if name.startswith("--"))
    for name in Settings.model_fields:
        assert f"`{name.upper()}`" in text or f"`STARBERG_{name.upper()}`" in text


def walk(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, [*path, name])
