"""Identifiers and text become SQL in one way, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake import fresh_engine

from starberg.utils.sql import names, quote, quote_name, text

NASTY = ['a"; DROP TABLE x;--', "a'b", "select", "ünï \u202e", "a.b", "A", "a", "x" * 80, "tab\tnewline\n", '""', "\\"]
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize("name", NASTY)
def test_a_column_can_have_any_name(name: str) -> None:
    [column] = fresh_engine().columns(f"SELECT 1 AS {quote_name(name)}")
    assert column.name == name


@given(any_text)
def test_text_comes_back_as_it_was(value: str) -> None:
    assert fresh_engine().rows(f"SELECT {text(value)}") == [(value,)]


@given(any_text)
def test_a_quoted_name_names_that_column_and_nothing_else(name: str) -> None:
    engine = fresh_engine()
    assert engine.rows(f"SELECT {quote_name(name)} FROM (SELECT 7 AS {quote_name(name)})") == [(7,)]


def test_a_dotted_name_is_quoted_part_by_part() -> None:
    assert quote('games.a"b') == '"games"."a""b"'


def test_a_list_of_columns_may_have_an_alias() -> None:
    assert names(["a", "b c"], of="t") == 't."a", t."b c"'
    assert names(()) == ""
