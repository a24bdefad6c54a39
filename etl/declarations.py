"""One declaration file: the YAML header in its leading comment, and its SELECT.

Every mistake is a DeclarationError that names file, line (and column in SQL, field in YAML) and says what to write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starberg.etl.control_tables import TABLES
from starberg.etl.headers import Header
from starberg.etl.model import HEADERS, PREFIXES, Kind, Table
from starberg.etl.sql_body import Body, SqlProblem, parse_body
from starberg.etl.sql_rules import problems
from starberg.utils.errors import DeclarationError
from starberg.utils.yaml_lines import YamlFile

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
"""What a table, a warehouse and a source may be named."""

_LEADING_COMMENT = re.compile(r"\A(?:\s|--[^\n]*(?:\n|\Z))*/\*(.*?)\*/", re.DOTALL)
_LEAST_HEADER = {
    Kind.DIMENSION: "/* natural_key: column */",
    Kind.BRIDGE: "/* grain: [column, column] */",
    Kind.FACT: "/* grain: column */",
    Kind.FUNCTION: "/* returns: table */",
}


@dataclass(frozen=True)
class Draft:
    """One file as read on its own: its names are not looked up yet."""

    table: Table
    body: Body
    header: YamlFile

    def in_sql(self, problem: SqlProblem) -> DeclarationError:
        """Return the error for a problem of the SELECT."""
        return _sql_error(self.table.path, problem)

    def in_header(self, field: Sequence[str | int], message: str, *, hint: str = "") -> DeclarationError:
        """Return the error for a field of the header."""
        return self.header.error(field, message, hint=hint)


def read_declaration(path: Path, warehouse: str, kind: Kind) -> Draft:
    """Read one file; DeclarationError tells the first mistake and how many there are."""
    return parse_declaration(read_text(path), path, warehouse, kind)


def read_text(path: Path) -> str:
    """Return a declaration file's text; DeclarationError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DeclarationError(str(path), f"not UTF-8 text (byte {error.start})") from None


def parse_declaration(text: str, path: Path, warehouse: str, kind: Kind) -> Draft:
    """Read the text of one file, as `read_declaration`."""
    _check_name(path, kind)
    comment = _LEADING_COMMENT.match(text)
    document = _document(comment, path)
    if comment is None and kind in _LEAST_HEADER:
        raise DeclarationError(f"{path}:1", "there is no header", hint=f"Start the file with {_LEAST_HEADER[kind]}")
    header: Header = document.to(HEADERS[kind])
    blank = re.sub(r"[^\n]", " ", comment[0]) if comment else ""
    try:
        body = parse_body(blank + text[len(blank) :])
    except SqlProblem as problem:
        raise _sql_error(path, problem) from None
    table = Table(warehouse, kind, path.stem, header, body.select, path, body.first_line, tuple(body.reads))
    found = sorted(
        problems(kind, header, body, table.surrogate_key), key=lambda problem: (problem.line, problem.column)
    )
    if found:
        raise _sql_error(path, found[0], len(found) - 1)
    return Draft(table, body, document)


def _document(comment: re.Match[str] | None, path: Path) -> YamlFile:
    if comment is None:
        return YamlFile("", str(path))
    line = comment.string.count("\n", 0, comment.start(1)) + 1
    document = YamlFile(comment[1], str(path), line)
    if not isinstance(document.value, dict):
        hint = "The first /* … */ is the table's header, in YAML; write remarks with --."
        raise document.error((), "the header is not a mapping", hint=hint)
    return document


def _check_name(path: Path, kind: Kind) -> None:
    name = path.stem
    if not NAME.match(name):
        raise DeclarationError(
            str(path), f"{name!r} is no name for a table", hint="Use lower-case letters, digits and _, a letter first."
        )
    if name in TABLES:
        raise DeclarationError(str(path), f"{name!r} is a control table, the engine's own", hint="Rename the file.")
    prefixes = PREFIXES[kind]
    if prefixes and not name.startswith(prefixes):
        raise DeclarationError(
            str(path),
            f"a table in {kind.value}/ is named {' or '.join(prefix + '…' for prefix in prefixes)}",
            hint=f"Rename the file to {prefixes[0]}{name.split('_', 1)[-1]}.sql.",
        )


def _sql_error(path: Path, problem: SqlProblem, more: int = 0) -> DeclarationError:
    where = ":".join(str(part) for part in (path, problem.line, problem.column) if part)
    rest = f" (and {more} more)" if more else ""
    return DeclarationError(where, problem.message + rest, hint=problem.hint)
