"""Real servers of a test session's own, in a folder that is gone with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stack import Stack, start


@contextmanager
def own_stack(services: Sequence[str]) -> Iterator[Stack]:
    """Start servers and what they need; StackError if one cannot be had."""
    directory = Path(tempfile.mkdtemp(prefix="starberg-stack-"))
    started = start(services, directory)
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(directory)
