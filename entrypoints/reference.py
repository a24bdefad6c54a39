"""Writes the generated parts of docs/cli.md: `python -m starberg.entrypoints.reference docs/cli.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import ByteSize

from starberg.entrypoints.commands import app
from starberg.utils.settings import Settings, variable


def commands_part() -> str:
    """Return the help of each command, as it would be typed."""
    helps = _helps(typer.main.get_command(app), ["starberg"])
    return "\n\n".join(f"### {' '.join(path)}\n\n```text\n{text}\n```" for path, text in helps)


def settings_part() -> str:
    """Return a table of all settings with their toml keys."""
    lines = ["| variable | `starberg.toml` | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        secret = "SecretStr" in str(field.annotation)
        key = "" if secret or name == "env" else f"`{name}`"
        said = field.default.human_readable() if isinstance(field.default, ByteSize) else field.default
        default = f"`{said}`" if said not in (None, "") else ""
        lines.append(f"| `{variable(name)}` | {key} | {default} | {field.description} |")
    return "\n".join(lines)


def with_parts(text: str) -> str:
    """Return a document with what stands between `<!-- NAME -->` and `<!-- end -->` generated anew."""
    for name, part in {"commands": commands_part(), "settings": settings_part()}.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(\n<!-- end -->)",
            lambda found, part=part: found[1] + part + found[2],  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    return text


def _helps(command: Any, path: list[str], parent: Any = None) -> Iterator[tuple[list[str], str]]:
    command.rich_markup_mode = None  # plain text, as wide as the page
    context = typer.Context(command, parent=parent, info_name=path[-1], terminal_width=100, max_content_width=100)
    yield path, command.get_help(context).strip()
    for name, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, [*path, name], context)


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(with_parts(document.read_text(encoding="utf-8")), encoding="utf-8")
