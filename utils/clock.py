"""The one place that knows what time it is: UTC, microseconds, replaceable in tests."""

from __future__ import annotations

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
