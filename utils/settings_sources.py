"""Where settings come from: command line, environment, `.env`, `starberg.toml`, in this order.

A source only knows names (those of the environment) and raw values, each with its origin; what they mean is
`settings.Settings`. An empty variable counts as not set, as compose files pass them.
"""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starberg.utils.did_you_mean import did_you_mean
from starberg.utils.errors import DeclarationError, UsageError
from starberg.utils.secrets import looks_secret, passwords_in, read_secret_file

PROJECT_FILE = "starberg.toml"


@dataclass(frozen=True)
class Found:
    """One raw value: its origin for `starberg config`, where to point in an error, what relative paths start from."""

    value: Any = field(repr=False)
    origin: str
    where: str
    folder: Path = Path()


@dataclass(frozen=True)
class Layer:
    """One source: raw values by environment name. `NAME_FILE` is looked at where `files` is set."""

    origin: str
    values: Mapping[str, Any] = field(repr=False)
    folder: Path = Path()
    files: bool = False
    lines: Mapping[str, str] = field(default_factory=dict)
    """`file:line: key` of each name, where the source is a file."""

    def find(self, name: str) -> Found | None:
        """Return the value of a name; UsageError if it is given both directly and as a file."""
        value = self.values.get(name, "")
        where = self.lines.get(name, f"{name} ({self.origin})")
        file = self.values.get(f"{name}_FILE", "") if self.files else ""
        if value != "" and file:
            raise UsageError(f"{name} and {name}_FILE are both set ({self.origin})", hint="Keep one of them")
        if file:
            path = self.folder / file
            return Found(read_secret_file(name, path), f"file {path}", f"{name}_FILE ({self.origin})", self.folder)
        return Found(value, self.origin, where, self.folder) if value != "" else None

    def names(self) -> set[str]:
        """Return the names that have a value here."""
        return {name for name, value in self.values.items() if value != ""}


class Variables(Mapping[str, str]):
    """What `${NAME}` means in declarations: the first of several layers that has the name. Its repr shows no value.

    A NAME_FILE is read when NAME is asked for, and NAME is not iterated: much that ends in _FILE is not for us.
    `secrets` are the values known to be secret so far; what came from a file is one.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)
        self.secrets: set[str] = set()

    def find(self, name: str) -> Found | None:
        """Return a variable with its origin."""
        found = first(self.layers, name)
        if found and found.origin.startswith("file "):
            self.secrets.add(str(found.value))
        return found

    def __getitem__(self, name: str) -> str:
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return str(found.value)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({name for layer in self.layers for name in layer.names()}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"Variables({', '.join(self)})"


def first(layers: Iterable[Layer], name: str) -> Found | None:
    """Return a name's value from the first layer that has it."""
    return next((found for layer in layers if (found := layer.find(name))), None)


def find_project(start: Path) -> Path | None:
    """Return the folder of the nearest `starberg.toml`, from `start` upward."""
    return next((folder for folder in (start, *start.parents) if (folder / PROJECT_FILE).is_file()), None)


def read_dotenv(folder: Path) -> Layer:
    """Read `.env` of a folder, if there is one; nothing in it is expanded."""
    path = folder / ".env"
    values: dict[str, str] = {}
    if path.is_file():
        from dotenv.parser import parse_stream

        for binding in parse_stream(io.StringIO(_text(path))):
            if binding.error:
                raise DeclarationError(f"{path}:{binding.original.line}", "this is not NAME=value")
            if binding.key and binding.value is not None:
                values[binding.key] = binding.value
    return Layer(".env", values, folder, files=True)


@dataclass(frozen=True)
class ProjectFile:
    """A parsed `starberg.toml`; `keys` maps the keys a table may hold to the names of the environment."""

    path: Path
    keys: Mapping[str, str]
    text: str = field(default="", repr=False)
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, folder: Path, keys: Mapping[str, str]) -> ProjectFile:
        """Read a project's file; DeclarationError with its line if it is no TOML."""
        path = folder / PROJECT_FILE
        text = _text(path)
        try:
            return cls(path, keys, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            raise DeclarationError(f"{path}:{line[1]}" if line else str(path), f"no valid TOML: {error}") from error

    def layers(self, env: str) -> tuple[list[Layer], list[Layer]]:
        """Return the layers of settings and of variables, those of `[env.NAME]` first.

        All of the file is checked, so that a mistake in `[env.prod]` shows before production.
        """
        environments = self._table("env")
        if env and env not in environments:
            known = ", ".join(sorted(environments)) or "none"
            raise UsageError(f"{self.path} has no [env.{env}]; it has: {known}")
        tables = {f"env.{name}": values for name, values in environments.items()}
        tables[""] = {key: value for key, value in self.content.items() if key != "env"}
        read = {table: self._read(table, values) for table, values in tables.items()}
        picked = [read[table] for table in ([f"env.{env}"] if env else []) + [""]]
        return [settings for settings, _ in picked], [variables for _, variables in picked]

    def _read(self, table: str, values: Any) -> tuple[Layer, Layer]:
        if not isinstance(values, dict):
            raise self._mistake("env", table.removeprefix("env."), "is no table", "Write it as [env.NAME]")
        settings, lines = {}, {}
        for key in [key for key in values if key != "variables"]:
            name = self._name(table, key, values[key])
            settings[name], lines[name] = values[key], self._where(table, key)
        inner = f"{table}.variables".strip(".")
        variables = self._variables(inner, values.get("variables", {}))
        origin = f"{PROJECT_FILE} [{table}]" if table else PROJECT_FILE
        folder = self.path.parent
        return Layer(origin, settings, folder, lines=lines), Layer(f"{PROJECT_FILE} [{inner}]", variables, folder)

    def _name(self, table: str, key: str, value: Any) -> str:
        """Return the environment name of a key, or raise the error it deserves."""
        if key == "secrets":
            raise self._mistake(table, key, "secrets do not belong into this file", "Use NAME or NAME_FILE")
        if key not in self.keys:
            hint = did_you_mean(key.lower().removeprefix("starberg_"), [*self.keys, "variables", "env"])
            raise self._mistake(table, key, "unknown setting", hint)
        name = self.keys[key]
        if looks_secret(name) or (isinstance(value, str) and passwords_in(value)):
            raise self._mistake(table, key, "is a secret", f"Set {name} or {name}_FILE in the environment")
        if not isinstance(value, str | int | float):
            raise self._mistake(table, key, "must be a text, a number or true/false")
        return name

    def _variables(self, table: str, values: Any) -> dict[str, str]:
        if not isinstance(values, dict):
            raise self._mistake("", table, "is no table", "Write it as [variables]")
        settings = {name: key for key, name in self.keys.items()}
        for name, value in values.items():
            if looks_secret(name) or passwords_in(str(value)):
                raise self._mistake(table, name, "is a secret", f"Set {name} or {name}_FILE in the environment")
            if name in settings:
                raise self._mistake(table, name, "is a setting", f"Write {settings[name]} = … outside of [variables]")
            if isinstance(value, list | dict):
                raise self._mistake(table, name, "must be a text, a number, a date or true/false")
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}

    def _table(self, key: str) -> Mapping[str, Any]:
        table = self.content.get(key, {})
        if not isinstance(table, dict):
            raise self._mistake("", key, "is no table", f"Write it as [{key}.NAME]")
        return table

    def _mistake(self, table: str, key: str, message: str, hint: str = "") -> DeclarationError:
        return DeclarationError(self._where(table, key), message, hint=hint)

    def _where(self, table: str, key: str) -> str:
        """Return `file:line: key`; the line is looked for, since the parser does not tell it."""
        wanted, inside, line = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]"""), "", 0
        header = f"{table}.{key}".strip(".")
        for number, text in enumerate(self.text.splitlines(), start=1):
            if heading := re.match(r"\s*\[([^\[\]]+)\]", text):
                inside = re.sub(r"""[\s"']""", "", heading[1])
            if (inside == table and wanted.match(text)) or (heading and (inside + ".").startswith(header + ".")):
                line = number
                break
        return f"{self.path}:{line}: {key}" if line else f"{self.path}: {key}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DeclarationError(str(path), "is not UTF-8 text") from error
