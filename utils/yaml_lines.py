"""YAML into pydantic models, where every mistake is told with file, line and field.

Scalars follow YAML 1.2's core schema, not PyYAML's 1.1: `on`, `no` and `2015-01-01` are text, so a key `on:` or a
date needs no quotes. Tags, and a key given twice, are errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from starberg.utils.did_you_mean import did_you_mean
from starberg.utils.errors import DeclarationError

_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Replace = Callable[[str, Sequence[str]], str]
Model = TypeVar("Model", bound=BaseModel)


class _Loader(_Base):  # type: ignore[valid-type, misc]  # the C loader where PyYAML has it
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_WHOLE = r"[-+]?(?:0|[1-9][0-9]*)"
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _WHOLE, list("-+0123456789")),
    ("float", rf"{_WHOLE}\.[0-9]*(?:[eE][-+]?[0-9]+)?|{_WHOLE}[eE][-+]?[0-9]+", list("-+0123456789")),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_NAME_PATTERN = "^[a-z][a-z0-9_]{0,62}$"


@dataclass(frozen=True)
class _Mistake:
    """One mistake; `expected` is set where the type is wrong, so that a union's branches can be told in one line."""

    path: tuple[str, ...]
    line: int
    message: str
    hint: str = ""
    expected: str = ""


class YamlFile:
    """A YAML document that knows the line of each of its fields.

    `first_line` is the line of `file` the text starts at. `replace` rewrites scalars, given with their path, before
    they are typed (a plain `${N:10}` becomes a number); its ValueError(message[, hint]) is told with the scalar's line,
    and what it put in is never shown.
    """

    def __init__(self, text: str, file: str, first_line: int = 1, replace: Replace | None = None) -> None:
        self._file = file
        self._first_line = first_line
        self._lines = text.splitlines()
        self._written: dict[int, str] = {}
        try:
            loader = _Loader(text)
            self._root: yaml.Node | None = loader.get_single_node()
            if self._root is not None:
                self._visit(self._root, (), replace, set())
            self.value: Any = {} if self._root is None else loader.construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = min(mark.line, text.rstrip().count("\n")) if mark else 0  # the end is where the text ends
            raise self._unreadable(error.problem or "", line) from None
        except yaml.reader.ReaderError as error:
            raise self._unreadable(error.reason, text.count("\n", 0, error.position)) from None

    def to(self, model: type[Model]) -> Model:
        """Return the document as a model; DeclarationError tells the first mistake and how many there are."""
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            first, *more = sorted(self._mistakes(model, error), key=lambda m: (not m.hint, m.line))
        rest = f" (and {len(more)} more)" if more else ""
        raise DeclarationError(self._where(first.line, first.path), first.message + rest, hint=first.hint)

    def error(self, path: Sequence[str | int], message: str, *, hint: str = "") -> DeclarationError:
        """Return the error to raise about a field."""
        found, line, _ = self._find(path)
        return DeclarationError(self._where(line, found), message, hint=hint)

    def _where(self, line: int, path: Sequence[str]) -> str:
        return f"{self._file}:{line}" + (f": {'.'.join(path)}" if path else "")

    def _unreadable(self, problem: str, line: int) -> DeclarationError:
        indented = next(iter(self._lines[line : line + 1]), "").lstrip(" ")
        hint = "Indent with spaces, not tabs." if indented.startswith("\t") else ""
        return DeclarationError(f"{self._file}:{line + self._first_line}", f"not YAML: {problem}", hint=hint)

    def _visit(self, node: yaml.Node, path: tuple[str, ...], replace: Replace | None, seen: set[int]) -> None:
        """Refuse keys given twice and rewrite scalars, once per node (anchors make a graph of it)."""
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                inner = (*path, str(key.value))
                if inner[-1] in keys and inner[-1] != "<<":
                    raise DeclarationError(self._where(self._line(key), inner), "is given twice")
                keys.add(inner[-1])
                self._visit(value, inner, replace, seen)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._visit(value, (*path, str(index)), replace, seen)
        elif replace is not None and isinstance(node, yaml.ScalarNode):
            self._rewrite(node, path, replace)

    def _rewrite(self, node: yaml.ScalarNode, path: tuple[str, ...], replace: Replace) -> None:
        try:
            value = replace(node.value, path)
        except ValueError as error:
            message, hint = (*error.args, "")[:2]
            raise DeclarationError(self._where(self._line(node), path), message, hint=hint) from None
        if value != node.value:
            self._written[id(node)] = node.value
            node.value = value
            if not node.style:  # written without quotes
                node.tag = _Loader("").resolve(yaml.ScalarNode, value, (True, False))

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + self._first_line

    def _find(self, path: Sequence[str | int]) -> tuple[tuple[str, ...], int, yaml.Node | None]:
        """Return the fields of a path that exist, the line of the last and its node.

        Parts that are no field (pydantic names the branch of a union so) are left out.
        """
        node, line, found = self._root, self._first_line, []
        for part in path:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
                if pair is None:
                    continue
                line, node = self._line(pair[0]), pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = self._line(node)
            else:
                continue
            found.append(str(part))
        return tuple(found), line, node

    def _mistakes(self, model: type[BaseModel], error: ValidationError) -> Iterator[_Mistake]:
        told: dict[tuple[str, ...], _Mistake] = {}
        for detail in error.errors(include_url=False):
            mistake = self._mistake(model, detail)
            other = told.get(mistake.path)
            if other and other.expected and mistake.expected and mistake.expected not in other.expected:
                mistake = _wrong(mistake, f"{other.expected} or {mistake.expected}", self._shown(mistake.path))
            told[mistake.path] = mistake
        for mistake in told.values():
            deeper = any(len(path) > len(mistake.path) and path[: len(mistake.path)] == mistake.path for path in told)
            if not (mistake.expected and deeper):
                yield mistake

    def _mistake(self, model: type[BaseModel], detail: ErrorDetails) -> _Mistake:
        kind, loc = detail["type"], detail["loc"]
        path, line, _ = self._find(loc)
        context = detail.get("ctx", {})
        if kind == "extra_forbidden":
            return _Mistake(path, line, "unknown key", did_you_mean(str(loc[-1]), _keys(model, loc[:-1])))
        if kind == "missing":
            return _Mistake((*path, str(loc[-1])), line, "is missing")
        if kind in _EXPECTED:
            return _wrong(_Mistake(path, line, ""), _EXPECTED[kind], self._shown(path))
        if kind == "literal_error":
            return _Mistake(path, line, f"expected {context['expected']}, not {self._shown(path)}")
        if kind == "string_pattern_mismatch" and context["pattern"] == _NAME_PATTERN:
            return _Mistake(path, line, "expected a name: lower-case letters, digits and _, a letter first")
        if kind == "value_error" and len(context["error"].args) > 1:  # what it says, what to type, which field
            said, hint, *inner = context["error"].args
            path = tuple(map(str, (*loc, *inner)))
            return _Mistake(path, self._find(path)[1], said, hint)
        message = detail["msg"].removeprefix("Value error, ")
        return _Mistake(path, line, message[:1].lower() + message[1:])

    def _shown(self, path: Sequence[str]) -> str:
        node = self._find([int(part) if part.isdigit() else part for part in path])[2]
        if isinstance(node, yaml.MappingNode):
            return "a mapping"
        if isinstance(node, yaml.SequenceNode):
            return "a list"
        if node is None or node.tag.endswith(":null"):
            return "nothing"
        written = self._written.get(id(node), node.value)
        return repr(written) if node.tag.endswith(":str") else str(written)


def _wrong(mistake: _Mistake, expected: str, shown: str) -> _Mistake:
    return _Mistake(mistake.path, mistake.line, f"expected {expected}, not {shown}", expected=expected)


def _keys(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Return the keys of the model a path leads to."""
    here: Any = model
    for part in loc:
        here = _step(here, part)
    if not (isinstance(here, type) and issubclass(here, BaseModel)):
        return []
    return [field.alias or name for name, field in here.model_fields.items()]


def _step(kind: Any, part: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        return fields.get(str(part))
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _step(args[0], part)
    if origin in (dict, list):
        return args[-1]
    models = [arg for arg in args if isinstance(arg, type) and issubclass(arg, BaseModel)]
    named = [arg for arg in models if arg.__name__ == part]
    return named[0] if named else _step(models[0], part) if models else None
