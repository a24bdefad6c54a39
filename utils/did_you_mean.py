"""The hint for a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], *, listed: bool = True) -> str:
    """Return a hint naming the closest known name, or else all of them, if they may be `listed`; else nothing.

    >>> did_you_mean("grian", ["grain", "keys"])
    "Did you mean 'grain'?"
    """
    names = {name.lower(): name for name in sorted(known)}
    close = get_close_matches(word.lower(), names, n=1)
    if close:
        return f"Did you mean {names[close[0]]!r}?"
    return f"Known: {', '.join(names.values())}." if names and listed else ""
