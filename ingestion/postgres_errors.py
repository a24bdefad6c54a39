"""What PostgreSQL, libpq and the engine's scanner say when something fails, as errors of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from starberg.utils.errors import (
    CredentialsError,
    SourceDataError,
    StarbergError,
    TransientError,
    Unreachable,
    UsageError,
)

AGAIN = "Is PostgreSQL running there? Nothing was landed; run again."
_LOST = "could not connect|Unable to connect|terminating connection|server closed|SSL connection|not open|no connection"


class Locked(TransientError):
    """The table's lock could not be had in time."""


def explain(source: str, text: str, code: str = "") -> StarbergError:
    """Return our error for what libpq said (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
    message = f"source {source}: {text}"
    if code.startswith("28") or re.search("authentication failed|no password supplied|pg_hba.conf", text):
        return CredentialsError(message)
    if "row-level security policy" in text:
        return CredentialsError(message, hint="Its rows are hidden from this role: ALTER ROLE … BYPASSRLS;")
    if code == "42501" or "permission denied" in text:
        return CredentialsError(message, hint="Grant the role SELECT on the table (and USAGE on its schema).")
    if code in ("42P01", "3F000", "3D000") or "does not exist" in text:
        return UsageError(message, hint="Check `table` and `connection` in warehouse.yml.")
    if code == "55P03" or "lock timeout" in text:
        return Locked(message, hint="Somebody holds the table, or waits for it; run again.")
    if code == "55006":
        return TransientError(message, hint="Another run reads the slot, or one that was killed still ends; run again.")
    if code in ("57014", "40001", "40P01") or re.search("statement timeout|conflict with", text):
        return TransientError(message, hint="Run again.")
    if code[:2] in ("08", "57", "53") or not code or re.search(_LOST, text):
        return Unreachable(message, hint=AGAIN)
    return SourceDataError(message)


@contextmanager
def scanning(source: str) -> Iterator[None]:
    """Turn the errors of the engine's scanner into those of the source."""
    try:
        yield
    except TransientError:
        raise
    except StarbergError as error:
        text = error.args[0]
        if not re.search("Failed to|ostgres|libpq|server closed", text):
            raise
        said = text.rsplit('": ', 1)[-1].split(" LINE 1:")[0].strip()
        lost = "FATAL" in said or said.endswith(":") or re.search(_LOST, text)
        said = "the connection was lost" if said.endswith(":") else re.sub("^(ERROR|FATAL): *", "", said)
        raise explain(source, said, "" if lost else "XX000") from error
