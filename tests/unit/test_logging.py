"""Logs: one line per event for people or machines, and neither a secret nor a control character in any of them."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from starberg.utils.logging import NoProgress, configure, log_context, progress
from starberg.utils.progress_bars import Bars

log = logging.getLogger("starberg.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("starberg")
    before = (root.handlers[:], root.level, ours.level)
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def stderr_to(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(sys, "stderr", stream)  # inside the test: pytest sets its own after the fixtures
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(text: str) -> None:
    raise ValueError(text)


def log_failure(text: str) -> None:
    try:
        fail(text)
    except ValueError:
        log.exception("it failed")


def test_a_pipe_gets_json_lines_with_run_warehouse_and_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = stderr_to(io.StringIO(), monkeypatch)
    configure()
    with log_context(run_id="r1", warehouse="games"):
        log.info("load committed", extra={"rows": 40, "share": 0.5, "at": datetime(2025, 1, 2, tzinfo=UTC)})
    log.warning("%s left", Decimal("1.50"))
    first, second = lines(pipe)
    assert datetime.fromisoformat(first.pop("ts")).utcoffset() == datetime.now(UTC).utcoffset()
    assert first == {
        "level": "info",
        "event": "load committed",
        "run_id": "r1",
        "warehouse": "games",
        "rows": 40,
        "share": 0.5,
        "at": "2025-01-02T00:00:00+00:00",
    }
    assert (second["event"], second["level"]) == ("1.50 left", "warning")
    assert "run_id" not in second


def test_a_terminal_gets_short_lines_without_the_run_id(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = stderr_to(Terminal(), monkeypatch)
    configure()
    with log_context(run_id="r1", warehouse="games"):
        log.info("load committed", extra={"rows": 40})
    log.error("stopped")
    first, second = terminal.getvalue().splitlines()
    assert first[9:] == "games: load committed  rows=40"
    assert second[9:] == "error: stopped"


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_no_text_forges_a_line_or_moves_the_cursor(kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr_to(kind(), monkeypatch)
    configure()
    evil = "bad\n12:00:00 all is well\x1b[2J\r\x85\u2028\u202e"
    log.info(evil, extra={"field": evil})
    log_failure(evil)
    written = stream.getvalue()
    assert len(written.splitlines()) == 2
    assert all(char.isprintable() for line in written.split("\n") for char in line)


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_no_secret_gets_out_by_any_way(kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr_to(kind(), monkeypatch)
    secrets = ['can"ary-1/ä']
    configure(secrets=lambda: secrets, debug=True)
    secrets.append("canary-later")
    for secret in [*secrets, "can%22ary-1%2F%C3%A4"]:
        log.info(f"message {secret}")
        log.info("args %s %r", secret, [secret])
        log.info("misfit %d", secret)
        log.info("fields", extra={"a": secret, "b": {"c": [secret]}, secret: 1})
        log_failure(secret)
        with log_context(note=secret):
            logging.getLogger("other").warning("of another library")
    log.info("postgresql://u:canary-unknown@h/d")
    written = stream.getvalue()
    assert "********" in written
    assert "Traceback" in written
    assert "ary-" not in written


def test_tracebacks_are_for_debug_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = stderr_to(io.StringIO(), monkeypatch)
    configure()
    log_failure("x")
    configure(debug=True)
    log_failure("x")
    without, with_trace = lines(pipe)
    assert without["error"] == "ValueError: x"
    assert "trace" not in without
    assert "in fail" in with_trace["trace"]


def test_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = stderr_to(io.StringIO(), monkeypatch)

    def said(**options: Any) -> list[str]:
        pipe.seek(0)
        pipe.truncate()
        configure(**options)
        for name in ("starberg.test", "botocore"):
            for level in ("debug", "info", "warning", "error"):
                getattr(logging.getLogger(name), level)(f"{name[0]}-{level}")
        return [line["event"] for line in lines(pipe)]

    other = ["b-warning", "b-error"]
    assert said() == ["s-info", "s-warning", "s-error", *other]
    assert said(quiet=True) == ["s-warning", "s-error", *other]
    assert said(level="error", quiet=True) == ["s-error", *other]
    assert said(debug=True) == ["s-debug", "s-info", "s-warning", "s-error", *other]


def test_warnings_of_python_are_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = stderr_to(io.StringIO(), monkeypatch)
    configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    assert lines(pipe)[0]["level"] == "warning"


def test_bars_only_on_a_terminal_that_is_not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr_to(Terminal(), monkeypatch)
    configure()
    assert isinstance(progress(), Bars)
    configure(quiet=True)
    assert isinstance(progress(), NoProgress)
    pipe = stderr_to(io.StringIO(), monkeypatch)
    configure()
    with progress().task("games", total=2) as task:
        task.total(3)
        task.advance()
    assert pipe.getvalue() == ""


def test_bars_show_each_task_and_leave_nothing_behind() -> None:
    stream = Terminal()
    bars = Bars(Console(file=stream, force_terminal=True, width=80))
    with bars.task("[games]\n", total=2) as games, bars.task("tags") as tags:
        games.advance(2)
        tags.total(7)
        tags.advance()
        assert bars._display
        bars._display.refresh()
    shown = stream.getvalue()
    assert "[games]\\n" in shown
    assert "2/2" in shown
    assert "1/7" in shown
    with bars.task("again"):
        pass
    assert "again" in stream.getvalue()
