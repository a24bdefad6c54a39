"""What commands print: exact values for programs, everything readable and nothing harmful for people."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from starberg.entrypoints.output import ROWS_ON_A_TERMINAL, show, show_rows
from starberg.entrypoints.session import Format
from starberg.etl.results import LoadResult, RunResult, Status, TableDifference, TableResult, VerifyResult
from starberg.utils.errors import UsageError

AT = datetime(2025, 1, 2, 3, 4, 5, 678, tzinfo=UTC)

RUN = RunResult(
    run_id="r1",
    warehouse="games",
    status=Status.SUCCESS,
    started_at=AT,
    ended_at=AT + timedelta(seconds=2),
    duration_ms=2000,
    tables=[TableResult("fact_games", "keyed", 10, 2, 1, 7), TableResult("dim_date", "skip")],
    loads=[LoadResult("rawg.games", 3, 13, 2)],
    notes=["one thing", "another"],
)

VALUES = {
    "decimal": (Decimal("1234567890123456789.10"), "1234567890123456789.10"),
    "whole": (2**63, 2**63),
    "float": (0.1, 0.1),
    "nan": (float("nan"), None),
    "truth": (True, True),
    "text": ('a "b", c\n', 'a "b", c\n'),
    "none": (None, None),
    "day": (date(2025, 1, 2), "2025-01-02"),
    "stamp": (datetime(2025, 1, 2, 3, 4, 5, 678), "2025-01-02T03:04:05.000678"),
    "zoned": (AT, "2025-01-02T03:04:05.000678Z"),
    "clock": (time(3, 4), "03:04:00"),
    "interval": (timedelta(days=1, seconds=2), "P1DT2S"),
    "uuid": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "bytes": (b"\xff\x00", "ff00"),
    "nested": ([{"a": Decimal("1.0")}], [{"a": "1.0"}]),
}
NAMES = list(VALUES)
ROW = [given for given, _ in VALUES.values()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: Format, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO(newline="")
    show_rows(columns, iter(rows), form, out)
    return out.getvalue()


def shown(value: Any, *, as_json: bool = False, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    show(value, as_json=as_json, out=out)
    return out.getvalue()


# Rows of a query


def test_json_is_a_list_of_objects_with_exact_values() -> None:
    assert (
        json.loads(printed(NAMES, [ROW, ROW], Format.JSON))
        == [{name: wanted for name, (_, wanted) in VALUES.items()}] * 2
    )
    assert json.loads(printed(["a"], [], Format.JSON)) == []


def test_json_refuses_two_columns_of_one_name() -> None:
    with pytest.raises(UsageError, match="two columns are called a"):
        printed(["a", "b", "a"], [[1, 2, 3]], Format.JSON)


def test_csv_is_rfc_4180_and_reads_back() -> None:
    text = printed(NAMES, [ROW], Format.CSV)
    assert text.startswith(",".join(NAMES) + "\r\n")
    assert text.endswith("\r\n")
    header, row = csv.reader(io.StringIO(text, newline=""), strict=True)
    read = dict(zip(header, row, strict=True))
    assert read["text"] == 'a "b", c\n'
    assert (read["none"], read["nan"]) == ("", "")
    assert read["decimal"] == "1234567890123456789.10"
    assert read["truth"] == "true"
    assert json.loads(read["nested"]) == [{"a": "1.0"}]
    assert datetime.fromisoformat(read["zoned"]) == AT


def test_a_csv_row_of_one_null_is_no_empty_line() -> None:
    assert printed(["a"], [[None]], Format.CSV) == 'a\r\n""\r\n'


def test_rows_are_printed_as_they_come() -> None:
    out = io.StringIO()

    def rows() -> Iterator[list[int]]:
        yield [1]
        assert '"a":1' in out.getvalue()
        yield [2]

    show_rows(["a"], rows(), Format.JSON, out)


def test_a_table_aligns_numbers_right_and_wide_characters_by_their_width() -> None:
    lines = printed(["name", "n"], [["Pokémon", 1], ["ゼルダ", 20]], Format.TABLE).splitlines()
    assert lines == ["name      n", "-------  --", "Pokémon   1", "ゼルダ   20"]


def test_a_table_shows_null_and_the_empty_text_apart_and_the_header_without_rows() -> None:
    assert printed(["a", "b"], [[None, ""]], Format.TABLE).splitlines()[2] == "NULL"
    assert printed(["a", "b"], [], Format.TABLE).splitlines() == ["a  b", "-  -"]


def test_a_table_in_a_pipe_is_neither_cut_nor_coloured() -> None:
    text = printed([f"column_{n}" for n in range(40)], [["x" * 50] * 40] * 3, Format.TABLE)
    assert text.count("x" * 50) == 120
    assert "\x1b" not in text


def test_a_terminal_gets_too_wide_a_table_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = printed(["a", "long", "a"], [["x" * 30, "y" * 30, "z"]], Format.TABLE, Terminal())
    assert text.splitlines() == [f"a     {'x' * 30}", f"long  {'y' * 30}", "a     z", ""]


def test_a_terminal_gets_the_first_rows_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = [[n] for n in range(ROWS_ON_A_TERMINAL + 1)]
    with caplog.at_level(logging.WARNING):
        assert len(printed(["a"], rows, Format.TABLE, Terminal()).splitlines()) == ROWS_ON_A_TERMINAL + 2
    assert "only the first 1000 rows are shown" in caplog.text
    assert len(printed(["a"], rows, Format.TABLE).splitlines()) == ROWS_ON_A_TERMINAL + 3


def test_data_cannot_steer_the_terminal() -> None:
    evil = "a\x1b[2J\nb\u202e"
    for text in (
        printed([evil, "b"], [[evil, 1]], Format.TABLE, Terminal()),
        shown({"key": evil}, out=Terminal()),
        shown([{"key": evil}], out=Terminal()),
        shown(evil, out=Terminal()),
    ):
        assert all(char.isprintable() or char == "\n" for char in text)


# Answers of other commands


def test_a_run_as_text() -> None:
    assert shown(RUN).splitlines() == [
        "run_id       r1",
        "warehouse    games",
        "status       SUCCESS",
        "started_at   2025-01-02 03:04:05",
        "ended_at     2025-01-02 03:04:07",
        "duration_ms  2000",
        "",
        "tables",
        "name        strategy  rows_inserted  rows_updated  rows_deleted  duration_ms",
        "----------  --------  -------------  ------------  ------------  -----------",
        "fact_games  keyed                10             2             1            7",
        "dim_date    skip                  0             0             0            0",
        "",
        "loads",
        "stream      seq  rows  requests",
        "----------  ---  ----  --------",
        "rawg.games    3    13         2",
        "",
        "notes",
        "one thing",
        "another",
    ]


def test_a_run_as_json_has_every_field_with_its_type() -> None:
    answer = json.loads(shown(RUN, as_json=True))
    assert answer["status"] == "SUCCESS"
    assert answer["started_at"] == "2025-01-02T03:04:05.000678Z"
    assert answer["tables"][0] == {
        "name": "fact_games",
        "strategy": "keyed",
        "rows_inserted": 10,
        "rows_updated": 2,
        "rows_deleted": 1,
        "duration_ms": 7,
        "dates": [],
    }
    assert answer["loads"] == [{"stream": "rawg.games", "seq": 3, "rows": 13, "requests": 2}]


@pytest.mark.parametrize(("missing", "equal"), [(0, True), (1, False)])
def test_verify_says_whether_all_tables_are_equal(missing: int, equal: bool) -> None:
    result = VerifyResult("games", [TableDifference("dim_date", 3, 0, 0), TableDifference("f", 3, missing, 0)])
    assert json.loads(shown(result, as_json=True))["equal"] is equal


def test_days_are_shown_as_ranges_and_columns_without_any_value_are_left_out() -> None:
    days = ["2026-01-01", "2026-01-02", "2026-01-05"]
    said = shown([{"name": "a", "dates": days, "notes": []}, {"name": "b", "dates": []}])
    assert said.splitlines()[0].split() == ["name", "dates"]
    assert said.splitlines()[2] == "a     2026-01-01..2026-01-02 2026-01-05"


def test_records_may_lack_values_and_times_are_shown_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    text = shown([{"name": "a", "ok": True, "at": AT.astimezone(berlin)}, {"name": "b", "ok": None, "detail": "x"}])
    assert text.splitlines() == [
        "name  ok   at                   detail",
        "----  ---  -------------------  ------",
        "a     yes  2025-01-02 03:04:05",
        "b                               x",
    ]


def test_an_explanation_shows_lists_and_sql_below_the_plain_values() -> None:
    text = shown({"table": "t", "row": {"id": 1}, "sql": "select 1\n  as a", "checks": [], "tags": {"a": [1]}})
    assert text == "table  t\n\nrow\nid  1\n\nsql\nselect 1\n  as a\n\ntags\n\na\n1\n"


def test_results_may_stand_inside_a_record() -> None:
    verified = VerifyResult("games", [TableDifference("f", 3, 0, 0)])
    assert shown({"run": verified}).splitlines()[-1].split() == ["f", "3", "0", "0"]
    assert json.loads(shown({"run": verified}, as_json=True))["run"]["equal"] is True


def test_text_in_a_pipe_is_printed_as_it_is() -> None:
    assert shown("select '\u200b',\n\t1") == "select '\u200b',\n\t1\n"


def test_an_empty_list_says_so() -> None:
    assert shown([]) == "(none)\n"
    assert json.loads(shown([], as_json=True)) == []
