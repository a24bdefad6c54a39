from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from starberg.utils.errors import DeclarationError
from starberg.utils.yaml_lines import YamlFile


class Column(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: str
    path: str = ""


class Stream(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: list[str]
    every: Literal["run", "day"] = "run"
    start: str = Field(default="", alias="from")
    retries: int = 0
    columns: dict[str, Column | str] = {}
    params: dict[str, str | int] = {}


def mistake(text: str) -> str:
    with pytest.raises(DeclarationError) as error:
        YamlFile(text, "f.yml", 3).to(Stream)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("keys: [id]", "f.yml:3: keys: unknown key (and 1 more). Did you mean 'key'?"),
        ("\nevery: day", "f.yml:3: key: is missing"),
        ("key: [id]\nevery: hour", "f.yml:4: every: expected 'run' or 'day', not 'hour'"),
        ("key: id", "f.yml:3: key: expected a list, not 'id'"),
        ("key: [id, [a]]", "f.yml:3: key.1: expected text, not a list"),
        ("key:\n- id\n-", "f.yml:5: key.1: expected text, not nothing"),
        ("key: [id]\nretries: many", "f.yml:4: retries: expected a whole number, not 'many'"),
        ("key: [id]\nretries: 1.5", "f.yml:4: retries: expected a whole number, not 1.5"),
        (
            "key: [id]\ncolumns:\n  a: {tipe: X}",
            "f.yml:5: columns.a.tipe: unknown key (and 1 more). Did you mean 'type'?",
        ),
        ("key: [id]\ncolumns:\n  a: [X]", "f.yml:5: columns.a: expected a mapping or text, not a list"),
        ("key: [id]\nparams: {a: {}}", "f.yml:4: params.a: expected text or a whole number, not a mapping"),
        ("just words", "f.yml:3: expected a mapping, not 'just words'"),
        ("key: [id]\nkey: [b]", "f.yml:4: key: is given twice"),
        ("key: [id", "f.yml:3: not YAML: did not find expected ',' or ']'"),
        ("key: [id]\n\tevery: day", "f.yml:4: not YAML: found character that cannot start any token. Indent with"),
        ("? [id]\n: b", "f.yml:3: not YAML: found unhashable key"),
        ("key: !!python/name:os.system [id]", "f.yml:3: not YAML: could not determine a constructor"),
        ("key: \x07", "f.yml:3: not YAML: control characters are not allowed"),
        ("key: &a [*a]", "f.yml:3: key.0: expected text, not a list"),
    ],
)
def test_a_mistake_is_told_with_line_field_and_what_was_expected(text: str, told: str) -> None:
    assert mistake(text).startswith(told)


def test_words_and_dates_are_text_and_numbers_are_numbers() -> None:
    read = YamlFile("key: [on, no, 2015-01-01, 007, 1_000]\nfrom: 2015-01-01\nretries: 7", "f.yml").to(Stream)
    assert read.key == ["on", "no", "2015-01-01", "007", "1_000"]
    assert (read.start, read.retries) == ("2015-01-01", 7)


def test_an_empty_document_is_an_empty_mapping() -> None:
    assert YamlFile("# nothing\n", "f.yml").value == {}


def test_a_replaced_scalar_is_typed_by_what_it_became_unless_it_is_quoted() -> None:
    document = YamlFile("a: ${N}\nb: '${N}'", "f.yml", replace=lambda text, _: text.replace("${N}", "10"))
    assert document.value == {"a": 10, "b": "10"}


def test_what_a_variable_holds_is_never_shown() -> None:
    document = YamlFile("key: [id]\nretries: ${N}", "f.yml", replace=lambda text, _: text.replace("${N}", "hidden"))
    with pytest.raises(DeclarationError) as error:
        document.to(Stream)
    assert str(error.value) == "f.yml:2: retries: expected a whole number, not '${N}'"


def test_a_variable_that_cannot_be_replaced_is_told_with_its_line_and_field() -> None:
    def refuse(text: str, path: object) -> str:
        raise ValueError("N is not set", "Set N.")

    with pytest.raises(DeclarationError) as error:
        YamlFile("a:\n  b: ${N}", "f.yml", replace=refuse)
    assert str(error.value) == "f.yml:2: a.b: N is not set. Set N."


def test_anchors_and_merge_keys_are_understood() -> None:
    document = YamlFile("a: &x {key: [id], retries: 1}\nb:\n  <<: *x\n  retries: 2", "f.yml")
    assert document.value["b"] == {"key": ["id"], "retries": 2}
