"""The one door to time."""

import asyncio
import time


class Clock:
    """A clock that only goes forward, for waiting; what a span says never comes from it."""

    def now_s(self) -> float:
        """Read it, in seconds from some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
