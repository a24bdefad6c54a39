"""Small files of one's own that others read."""

from __future__ import annotations

from pathlib import Path


def replace_file(file: Path, content: bytes) -> None:
    """Write a file; whoever reads it meanwhile finds the old one or the new one, never half of it."""
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(content)
    part.replace(file)
