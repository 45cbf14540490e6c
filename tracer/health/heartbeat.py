"""The task that beats once a second, and so feels how long the loop was held.

Must not know: how long is too long.
"""

from collections.abc import Callable

from tracer.clock import Clock

BEAT_S = 1.0


class Heartbeat:
    """Beats as long as the loop runs."""

    def __init__(self, clock: Clock, observe_stall: Callable[[float], None]) -> None:
        """Prepare; what observes is told of each beat how many seconds it was late."""
        self._clock = clock
        self._observe_stall = observe_stall
        self._last_s = clock.now_s()

    @property
    def age_s(self) -> float:
        """How long ago it beat last."""
        return self._clock.now_s() - self._last_s

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self._clock.sleep(BEAT_S)
            self._observe_stall(max(0.0, self.age_s - BEAT_S))
            self._last_s = self._clock.now_s()
