"""The one place where identifiers and text become SQL."""

from __future__ import annotations


def quote_name(name: str) -> str:
    """Quote one identifier, whatever is in it.

    >>> quote_name('a"; DROP TABLE x;--')
    '"a""; DROP TABLE x;--"'
    """
    return '"' + name.replace('"', '""') + '"'


def quote(name: str) -> str:
    """Quote a dotted name part by part.

    >>> quote("games.fact_games")
    '"games"."fact_games"'
    """
    return ".".join(quote_name(part) for part in name.split("."))


def names(columns: list[str] | tuple[str, ...], of: str = "") -> str:
    """Return a quoted, comma-separated column list, each with an optional table alias.

    >>> names(["a", "b"], of="t")
    't."a", t."b"'
    """
    prefix = f"{of}." if of else ""
    return ", ".join(prefix + quote_name(column) for column in columns)


def differing(one: str, other: str) -> str:
    """Return the SELECT of the rows that one of two SELECTs has and the other has not, as often as that is so.

    >>> differing("FROM a", "FROM b")
    '(FROM a EXCEPT ALL FROM b) UNION ALL (FROM b EXCEPT ALL FROM a)'
    """
    return f"({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one})"


def text(value: str) -> str:
    """Return a string literal; for values that cannot be bound, such as file names in a view.

    >>> text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"
