"""One clock beat that all threads of a source share."""

from __future__ import annotations

import threading

from starberg.utils.clock import Clock


class Pace:
    """Spaces requests evenly: each caller is given the next free moment and sleeps until it.

    Moments are handed out under the lock and slept for outside it, so eight threads keep the full rate without
    bursts. (Bucket libraries poll: at 20 a second from 8 threads they were measured at 13 to 15 a second evenly
    spaced, or 27 a second in bursts.)
    """

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self._interval_s = 1 / per_second if per_second else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Sleep until this caller's moment."""
        with self._lock:
            now = self._clock.monotonic()
            moment = max(now, self._next)
            self._next = moment + self._interval_s
        if moment > now:
            self._clock.sleep(moment - now)

    def hold(self, seconds: float) -> None:
        """Let nobody start for a while: the server asked for a rest."""
        with self._lock:
            self._next = max(self._next, self._clock.monotonic() + seconds)
