"""Secrets: how one is recognised, read from a file, and kept out of whatever people or logs get to see.

A secret is a value the settings type as one, a variable whose name says so, or the password in a connection string.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from starberg.utils.errors import UsageError

MASK = "********"
"""What stands for a secret, whatever its length."""

_NAMES = r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|API_?KEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY"
_SECRET_NAME = re.compile(rf"(?:{_NAMES})$", re.IGNORECASE)
# Greedy up to the last @, because people forget to escape the @ or / of a password: rather too much is hidden.
_USERINFO = re.compile(r"(://[^:/@\s]*:)([^\s]*)(@)")
_PARAMETER = re.compile(rf"(\b\w*(?:{_NAMES})\s*=\s*)('[^']*'|[^\s&;,]+)()", re.IGNORECASE)

_SHORTEST = 4  # hiding every "1" of a log would tell the secret and spoil the log
_ANYWHERE = 8  # shorter ones ("postgres") are hidden as whole words only


def looks_secret(name: str) -> bool:
    """Tell whether a variable's name says that it holds a secret.

    >>> looks_secret("RAWG_API_KEY"), looks_secret("GAMES_FROM")
    (True, False)
    """
    return bool(_SECRET_NAME.search(name))


def mask_passwords(text: str) -> str:
    """Hide the passwords of a connection string, and only them.

    >>> mask_passwords("postgresql://etl:p@ss@db:5432/games")
    'postgresql://etl:********@db:5432/games'
    """
    for pattern in (_USERINFO, _PARAMETER):
        text = pattern.sub(rf"\g<1>{MASK}\g<3>", text)
    return text


def passwords_in(text: str) -> list[str]:
    """Return the passwords of a connection string, as written and with percent signs resolved."""
    written = [found[2].strip("'") for pattern in (_USERINFO, _PARAMETER) for found in pattern.finditer(text)]
    return [form for password in written if password for form in (password, unquote(password))]


def read_secret_file(name: str, path: Path) -> str:
    """Return the content of the file `name`_FILE names, without its last newline.

    Raises UsageError if it cannot be read, is empty, or may be read by every user of the machine.
    """
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise UsageError(
                f"{name}_FILE: every user of this machine can read {path}", hint=f"Type `chmod o-r {path}`"
            )
        value = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{name}_FILE: cannot read {path}: {reason}") from error
    if not value:
        raise UsageError(f"{name}_FILE: {path} is empty")
    return value


class Redactor:
    """Hides the secrets known at the moment of each call, also in their percent-encoded forms."""

    def __init__(self, secrets: Callable[[], Collection[str]] = tuple) -> None:
        self._secrets = secrets
        self._built_for: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def __call__(self, text: str) -> str:
        """Return the text with each secret, and each password of a connection string, replaced by `MASK`."""
        known = frozenset(self._secrets())
        if known != self._built_for:
            self._built_for, self._pattern = known, _pattern(known)
        return mask_passwords(self._pattern.sub(MASK, text) if self._pattern else text)


def _pattern(secrets: Collection[str]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in _forms(secret)}
    # The longest first: a secret may be the beginning of another.
    choices = [_choice(form) for form in sorted(forms, key=len, reverse=True)]
    return re.compile("|".join(choices)) if choices else None


def _forms(secret: str) -> Iterator[str]:
    if len(secret) >= _SHORTEST:
        yield from (secret, quote(secret, safe=""), quote_plus(secret))


def _choice(form: str) -> str:
    return re.escape(form) if len(form) >= _ANYWHERE else rf"(?<!\w){re.escape(form)}(?!\w)"
