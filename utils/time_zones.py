"""Names of time zones, as a declaration may give them."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator

from starberg.utils.did_you_mean import did_you_mean

_NO_ZONES = ("localtime", "posixrules", "posix/", "right/")
"""Files beside a machine's time zones that are none of IANA's names."""


def zone_name(name: str) -> str:
    """Return a time zone's name; ValueError(message, hint) if IANA has none of that name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = {zone for zone in available_timezones() if not zone.startswith(_NO_ZONES)}
    else:
        if not name.startswith(_NO_ZONES):
            return name
        known = set()
    hint = did_you_mean(name, known, listed=False) or "Write one of IANA's, such as Europe/Berlin."
    raise ValueError(f"{name!r} is no time zone", hint)


TimeZone = Annotated[str, AfterValidator(zone_name)]
"""A declared time zone, by IANA's name."""
