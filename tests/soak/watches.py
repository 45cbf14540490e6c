"""What goes wrong with the watches, and when are old versions forgotten?

Keeps: a watch that breaks off can go on where it was, unless it is said that it could not.
"""

import asyncio
from contextlib import suppress
from itertools import cycle

from tests.soak.plan import Plan
from tracer.clock import Clock
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Break, Refuse
from tracer.demo.protocol import Verb
from tracer.tekton.names import Kind

_KINDS = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.POD)
_ROUND: tuple[tuple[Break, Kind | None], ...] = (
    (Break.CUT, Kind.POD),
    (Break.END, Kind.TASK_RUN),
    (Break.END, None),
    (Break.RESET, Kind.PIPELINE_RUN),
    (Break.END, Kind.POD),
    (Break.CUT, Kind.TASK_RUN),
)
"""Of one kind, or of all: these find that their versions are forgotten. One that breaks off more often than every two minutes is
left alone for longer each time, so most end cleanly."""
_LONGEST_PAUSE_S = 30.0
_AROUND_S = 1.0


class Watches:
    """Lets watches break off, one after another."""

    def __init__(self, plan: Plan, server: ApiServer, clock: Clock) -> None:
        """Prepare."""
        self.gaps: list[tuple[float, float]] = []
        """When everything had to be listed again, so that deletions were not seen: from and until, on the monotonic clock."""
        self.faults = 0
        self._every_s, self._server, self._clock = plan.fault_every_s, server, clock

    async def run(self) -> None:
        """Go on until cancelled."""
        for fault, kind in cycle(_ROUND):
            await self._server.drained()  # so that who is watching knows what is forgotten now
            self._server.compact()
            self._server.asked.clear()
            await self._clock.sleep(self._every_s / 2)
            self.faults += 1
            if kind is None:
                await self._expire(fault)
            else:
                self._server.strike(fault, kind)
                if fault is Break.RESET:
                    self._server.fail(Refuse(503), kind, Verb.WATCH)
            await self._clock.sleep(self._every_s / 2)

    async def _expire(self, fault: Break) -> None:
        """Let all watches break off and find that they cannot go on where they were."""
        began_s, before = self._clock.now_s(), min(map(self._server.watching, _KINDS))
        self._server.compact()
        self._server.strike(fault)
        with suppress(TimeoutError):  # who watched may be ended meanwhile
            async with asyncio.timeout(_LONGEST_PAUSE_S):
                await self._server.until(lambda: all(not self._server.watching(kind) for kind in _KINDS))
                await self._server.until(lambda: all(self._server.watching(kind) >= before for kind in _KINDS))
        self.gaps.append((began_s - _AROUND_S, self._clock.now_s() + _AROUND_S))
