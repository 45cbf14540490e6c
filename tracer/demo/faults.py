"""What goes wrong between the demonstration's API server and its client, and which request meets it.

Keeps: a fault is met as often as it was planned, by the first requests that match.
Must not know: objects, versions.
"""

import asyncio
import math
import struct
from dataclasses import dataclass
from enum import Enum
from socket import SO_LINGER, SOL_SOCKET
from typing import NoReturn

from aiohttp import web

from tracer.demo.protocol import Asked, Verb
from tracer.demo.store import Served

ALWAYS = math.inf
_CLOSE_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: what is not sent is thrown away, and the other side is told by a reset


class Break(Enum):
    """How a connection fails."""

    STALL = "not a byte more, while the connection stays"
    RESET = "the connection is reset"
    CUT = "the connection ends in the middle of the next line, or of the list"
    LOSE = "the object is replaced, and the connection is reset instead of an answer"
    END = "the stream ends cleanly, with nothing more said; a list is cut"


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request is refused with a `Status`, as a real server writes it."""

    code: int
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Say:
    """The request gets an answer of any sort, such as that of a proxy in between."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Slow:
    """The answer comes in slices, with a pause before each."""

    pause_s: float
    slice_bytes: int = 1


Fault = Break | Refuse | Say | Slow


@dataclass(slots=True)
class Planned:
    """A fault that waits for its requests; None stands for any."""

    fault: Fault
    kind: Served | None
    verb: Verb | None
    namespace: str | None
    """Empty: that of the whole cluster."""
    times_left: float

    def meets(self, asked: Asked) -> bool:
        """Say whether it is for this request."""
        wanted = ((self.kind, asked.kind), (self.verb, asked.verb), (self.namespace, asked.namespace))
        return self.times_left > 0 and all(one in {None, found} for one, found in wanted)


async def stall() -> NoReturn:
    """Do nothing until the other side has gone."""
    await asyncio.Event().wait()
    raise AssertionError


def reset(request: web.Request) -> web.Response:
    """Break the connection at once; the answer is never sent."""
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _CLOSE_AT_ONCE)
        request.transport.abort()
    return web.Response()


async def cut(request: web.Request, response: web.StreamResponse, said: bytes) -> None:
    """Write half of it, and close the connection."""
    await response.write(said[: len(said) // 2])
    if request.transport is not None:
        request.transport.close()


async def write_slowly(response: web.StreamResponse, said: bytes, slow: Slow) -> None:
    """Write it in slices."""
    for begin in range(0, len(said), slow.slice_bytes):
        await asyncio.sleep(slow.pause_s)
        await response.write(said[begin : begin + slow.slice_bytes])
