"""One watch that is open: what is still to be told to its client?

Keeps: what is pushed is told once, in order, and after everything that was pushed before.
Must not know: connections.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tracer.demo import protocol
from tracer.demo.faults import Break
from tracer.demo.protocol import Asked, Selection
from tracer.demo.store import Change
from tracer.tekton.names import Kind


@dataclass(slots=True, eq=False)
class Watch:
    """What one client is told."""

    asked: Asked
    kind: Kind
    selects: Selection
    start: int
    """Only what is later than this version is told."""
    told: Callable[[], int]
    """Up to which version everything has been told."""
    pending: deque[bytes | Break] = field(default_factory=deque)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_bookmarks(self) -> bool:
        """Say whether the client asked for them."""
        return self.asked.is_true("allowWatchBookmarks")

    def push(self, *said: bytes | Break) -> None:
        """Tell this next."""
        self.pending.extend(said)
        self._news.set()

    def see(self, change: Change) -> None:
        """Tell a change, if it is one for this client."""
        event = protocol.watch_event(change, self.selects) if change.version > self.start else None
        if event is not None:
            self.push(event)

    def bookmark(self) -> None:
        """Tell how far it has been told, if the client asked for that."""
        if self.has_bookmarks:
            self.push(protocol.bookmark(self.kind, self.told()))

    async def events(self, bookmark_every_s: float) -> AsyncIterator[bytes | Break]:
        """Give what is pushed, and bookmarks now and then, until the time that the client gave is over."""
        now_s = asyncio.get_running_loop().time
        bookmark_at_s = now_s() + bookmark_every_s
        end_at_s = now_s() + float(self.asked.params.get("timeoutSeconds", math.inf))
        while True:
            try:
                async with asyncio.timeout_at(min(bookmark_at_s, end_at_s)):
                    await self._any()
            except TimeoutError:
                if now_s() >= end_at_s:
                    return
                bookmark_at_s += bookmark_every_s
                self.bookmark()
            while self.pending:
                yield self.pending.popleft()

    async def _any(self) -> None:
        while not self.pending:
            self._news.clear()
            await self._news.wait()
