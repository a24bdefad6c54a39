"""The one place that knows what time it is: UTC, microseconds, replaceable in tests."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime


class Clock:
    """Wall clock in UTC and a monotonic one for durations."""

    def now(self) -> datetime:
        """Return the time now, UTC, with time zone."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds from a clock that never steps back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a test's clock only notes it."""
        time.sleep(seconds)


def new_run_id(clock: Clock) -> str:
    """Return a run id that sorts by time: `20261121-134455-3f9a2c`."""
    return f"{clock.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
