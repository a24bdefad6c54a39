"""The SQL of other engines where sqlglot's own is not what their documentation has."""

from __future__ import annotations

from typing import ClassVar

from sqlglot import exp, generator
from sqlglot.dialects.dremio import Dremio
from sqlglot.dialects.trino import Trino
from sqlglot.generators.dremio import DremioGenerator
from sqlglot.generators.trino import TrinoGenerator

_WIDEST = {
    exp.DataType.Type.INT128: "DECIMAL(38, 0)",
    exp.DataType.Type.UINT128: "DECIMAL(38, 0)",
}
"""DuckDB's sums of integers are HUGEINT, which no other engine has."""


def _truncated(self: generator.Generator, node: exp.TimestampTrunc | exp.DateTrunc) -> str:
    return self.func("DATE_TRUNC", exp.Literal.string(node.text("unit").lower()), node.this)


def _listed(self: generator.Generator, node: exp.GroupConcat) -> str:
    """Write LISTAGG, whose order stands behind it."""
    value, order = node.this, ""
    if isinstance(value, exp.Order):
        value, order = value.this, f" WITHIN GROUP ({self.sql(exp.Order(expressions=value.expressions)).strip()})"
    separator = node.args.get("separator") or exp.Literal.string(",")
    return f"{self.func('LISTAGG', value, separator)}{order}"


class DremioSql(Dremio):
    """docs.dremio.com, SQL Reference: DATE_TRUNC takes its unit first, LISTAGG joins text."""

    class Generator(DremioGenerator):
        """Writes it."""

        TRANSFORMS: ClassVar = {
            **DremioGenerator.TRANSFORMS,
            exp.TimestampTrunc: _truncated,
            exp.DateTrunc: _truncated,
            exp.GroupConcat: _listed,
        }
        TYPE_MAPPING: ClassVar = {**DremioGenerator.TYPE_MAPPING, **_WIDEST}


class TrinoSql(Trino):
    """trino.io, "Data types"."""

    class Generator(TrinoGenerator):
        """Writes it."""

        TYPE_MAPPING: ClassVar = {**TrinoGenerator.TYPE_MAPPING, **_WIDEST}
