"""The one door to time and chance."""

import asyncio
import random
import time
from contextlib import suppress


class Clock:
    """A clock that only goes forward, for waiting; what a span says never comes from it."""

    def now_s(self) -> float:
        """Read it, in seconds from some moment."""
        return time.monotonic()

    def unix_ns(self) -> int:
        """Read the time of day, Unix nanoseconds; it may be wrong, and may jump."""
        return time.time_ns()

    def between(self, low: float, high: float) -> float:
        """Draw a number by chance."""
        return random.uniform(low, high)  # noqa: S311 - no secret

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until something has happened, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class PlayedClock(Clock):
    """The time of a recording, which passes so many times as fast as ours."""

    def __init__(self, began_ns: int, speed: float) -> None:
        """Begin at a moment, in Unix nanoseconds."""
        self._began_ns, self._speed, self._began_s = began_ns, speed, time.monotonic()

    def now_s(self) -> float:
        """Read it."""
        return (time.monotonic() - self._began_s) * self._speed

    def unix_ns(self) -> int:
        """Read the recording's time of day."""
        return self._began_ns + int(self.now_s() * 1e9)

    async def sleep(self, seconds: float) -> None:
        """Wait until so much of the recording's time has passed."""
        await super().sleep(seconds / self._speed)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until something has happened, or so much of the recording's time has passed."""
        await super().wait(event, seconds / self._speed)
