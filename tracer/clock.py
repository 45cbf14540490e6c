"""The one door to time and chance."""

import asyncio
import random
import time


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
