"""The one door to time and chance."""

import asyncio
import math
import random
import time
from contextlib import suppress
from dataclasses import dataclass

_BREATHS = 20


class Clock:
    """A clock that only goes forward, for waiting; what a span says never comes from it."""

    def __init__(self) -> None:
        """Look at the time of day once."""
        self._began_ns = time.time_ns() - time.monotonic_ns()

    def now_s(self) -> float:
        """Read it, in seconds from some moment."""
        return time.monotonic()

    def unix_ns(self) -> int:
        """Read the time of day, Unix nanoseconds; it may be wrong, but does not jump when somebody sets it."""
        return self._began_ns + time.monotonic_ns()

    def between(self, low: float, high: float) -> float:
        """Draw a number by chance."""
        return random.uniform(low, high)  # noqa: S311 - no secret

    def random_bytes(self, count: int) -> bytes:
        """Draw bytes by chance."""
        return random.randbytes(count)  # noqa: S311 - no secret

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until something has happened, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


class PlayedClock(Clock):
    """The time of a recording: it stands still until it is moved on, and whoever waits wakes in the order of their times."""

    def __init__(self, began_ns: int) -> None:
        """Begin at a moment, in Unix nanoseconds."""
        super().__init__()
        self._began_ns, self._now_s = began_ns, 0.0
        self._sleepers: list[_Sleeper] = []

    def now_s(self) -> float:
        """Read it."""
        return self._now_s

    def unix_ns(self) -> int:
        """Read the recording's time of day."""
        return self._began_ns + int(self._now_s * 1e9)

    async def sleep(self, seconds: float) -> None:
        """Wait until so much of the recording's time has passed."""
        if seconds > 0:
            await self.wait(asyncio.Event(), seconds)
        else:
            await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until something has happened, or so much of the recording's time has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                sleeper = _Sleeper(self._now_s + seconds, limit)
                self._sleepers.append(sleeper)
                try:
                    await event.wait()
                finally:
                    self._sleepers.remove(sleeper)

    async def move_on(self, seconds: float) -> None:
        """Let time pass, and let those whose time comes do what they have to do then."""
        until_s = self._now_s + seconds
        while due := [one for one in self._sleepers if one.until_s <= until_s]:
            sleeper = min(due, key=lambda one: one.until_s)
            self._now_s = max(self._now_s, sleeper.until_s)
            sleeper.wake()
            await breathe()
        self._now_s = until_s

    async def leap(self, seconds: float) -> None:
        """Let time pass all at once; those whose time has come by then wake once."""
        self._now_s += seconds
        for sleeper in self._sleepers:
            if sleeper.until_s <= self._now_s:
                sleeper.wake()
        await breathe()


@dataclass(slots=True, eq=False)
class _Sleeper:
    """Somebody who waits on a played clock."""

    until_s: float
    limit: asyncio.Timeout

    def wake(self) -> None:
        """End the waiting."""
        self.until_s = math.inf
        self.limit.reschedule(asyncio.get_running_loop().time())


async def breathe() -> None:
    """Let everybody who has something to do without waiting do it."""
    for _ in range(_BREATHS):
        await asyncio.sleep(0)
