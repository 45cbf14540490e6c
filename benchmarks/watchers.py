"""What does it take tracer to follow a cluster? One entrant a process, as shipped, the result as one JSON line.

`watch URL EVENTS KIND` reads one kind to its transitions; `pipeline URL EVENTS SINK ENDED_AT UNFINISHED` is the whole controller,
with samples of its memory; `watchlist URL` and `pages URL` list TaskRuns into a ledger; `wire URL EVENTS KIND` only counts.

Keeps: imports and the first connections lie outside the clock; the end is said on the monotonic clock, which all processes share.
"""

import asyncio
import gc
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from benchmarks.memory import max_rss_mib, rss_mib
from tracer.app import App, Stop
from tracer.clock import Clock
from tracer.delivery.ledger import Ledger
from tracer.demo.stage import Nobody
from tracer.kube.reflector import Fellows, Reflector
from tracer.kube.wire import Course, Feed, Told
from tracer.lifecycle.changes import Readable, observe
from tracer.lifecycle.facts import State
from tracer.settings import load
from tracer.tekton.decode import Namespace
from tracer.tekton.event import Event
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen, Synced
from tracer.telemetry.places import DEFAULT_SETTINGS
from tracer.transport import Transport, TransportSettings

WATCH, PIPELINE, WATCH_LIST, PAGES, WIRE = "watch", "pipeline", "watchlist", "pages", "wire"
SAMPLE_EVENTS = 10_000
_AFTER_S = (
    600.0  # when the controller looks, after the history's end: Pods' deadlines have passed, what waits for children has not
)
_POLL_S = 0.05


@dataclass(slots=True)
class Followed:
    """What an entrant came to, and what that took."""

    events: int
    """How many it was told."""
    result: int
    """What came of them: transitions to an end, acknowledged spans, or objects."""
    began_s: float
    """When it began to connect, on the monotonic clock."""
    until_s: float
    """When it was done."""
    cpu_s: float
    """Of all threads, from when it began to connect."""
    rss_mib: float
    """The largest, over that from when it began to connect."""
    curve_mib: list[float] = field(default_factory=list)
    """The memory after every so many events."""


class Meter:
    """Measures one entrant. What there is when it starts is kept out of the garbage collector's sight, for all alike."""

    def __init__(self) -> None:
        """Start."""
        gc.collect()
        gc.freeze()
        self._began_s, self._cpu_s, self._rss_mib = time.monotonic(), time.process_time(), rss_mib()

    def stop(self, events: int, result: int) -> Followed:
        """Say what it took."""
        until_s, cpu_s = time.monotonic(), time.process_time()
        return Followed(events, result, self._began_s, until_s, cpu_s - self._cpu_s, max_rss_mib() - self._rss_mib)


class _After(Clock):
    """The clock, but begun at another time of day."""

    def __init__(self, unix_s: float) -> None:
        super().__init__()
        self._began_ns = int(unix_s * 1e9) - time.monotonic_ns()


class Transitions:
    """Compares each reading with the one before, and counts the transitions to an end."""

    def __init__(self, events: int) -> None:
        """Wait for so many events."""
        self.events, self.ended = 0, 0
        self.is_over = asyncio.Event()
        self._last: dict[str, Readable] = {}
        self._expected = events

    def tell(self, told: Told) -> None:
        """Take in what the watch tells."""
        if not isinstance(told, Seen | Gone) or isinstance(told.object, Event | Namespace):
            return
        value = told.object
        uid = value.metadata.uid
        for transition in observe(self._last.get(uid), value):
            self.ended += transition.state is State.TERMINATED
        self._last[uid] = value
        self.events += 1
        if self.events == self._expected:
            self.is_over.set()


async def watch(url: str, events: int, kind: Kind) -> Followed:
    """Read a watch of one kind, and say what changed."""
    transitions = Transitions(events)
    return await _reflect(
        url, kind, transitions.tell, transitions.is_over, lambda meter: meter.stop(transitions.events, transitions.ended)
    )


async def first_list(url: str, *, in_pages: bool) -> Followed:
    """List TaskRuns once into a ledger, which keeps every one of them."""
    ledger, clock, is_over, listed = Ledger(), Clock(), asyncio.Event(), 0

    def tell(told: Told) -> None:
        nonlocal listed
        if isinstance(told, Seen | Synced):
            ledger.observe(told, clock.unix_ns())
            listed += isinstance(told, Seen)
        if isinstance(told, Synced):
            is_over.set()

    return await _reflect(
        url, Kind.TASK_RUN, tell, is_over, lambda meter: meter.stop(listed, ledger.held().total()), in_pages=in_pages
    )


async def _reflect(
    url: str,
    kind: Kind,
    tell: Callable[[Told], None],
    is_over: asyncio.Event,
    stop: Callable[[Meter], Followed],
    *,
    in_pages: bool = False,
) -> Followed:
    """Keep one watch going until it is over."""
    clock, course = Clock(), Course(Feed(kind), DEFAULT_SETTINGS.schema)
    course.can_stream_lists = not in_pages
    async with Transport(TransportSettings(), clock) as transport, asyncio.TaskGroup() as tasks:
        reflector = Reflector(course, Nobody(url), transport, clock, Fellows(), tell)
        meter = Meter()
        running = tasks.create_task(reflector.run(), name="reflector")
        await is_over.wait()
        followed = stop(meter)
        running.cancel()
    return followed


async def pipeline(url: str, events: int, sink: str, ended_at: float, unfinished: int) -> Followed:
    """Run the controller until it was told everything, all runs but so many are told to their end, and nothing is due."""
    settings = load({"otlp.endpoint": sink}, {})
    app, stop = App(settings, Nobody(url), _After(ended_at + _AFTER_S)), Stop()
    courses = [one.course for scope in app.controller.scopes.values() for one in scope.reflectors]
    curve_mib: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        meter = Meter()
        tasks.create_task(app.run(stop), name="app")
        while True:
            await asyncio.sleep(_POLL_S)
            told = sum(count for course in courses for of_type, count in course.events.items() if of_type != "BOOKMARK")
            if told // SAMPLE_EVENTS > len(curve_mib):
                curve_mib.append(rss_mib())
            if told >= events and _is_all_told(app, unfinished):
                break
        followed = meter.stop(told, app.controller.outbox.books.delivered)
        followed.curve_mib = curve_mib
        stop.ask()
        stop.ask()
    return followed


def _is_all_told(app: App, unfinished: int) -> bool:
    """Say whether nothing is due, and all runs but so many were told to their end."""
    if not app.controller.outbox.is_empty:
        return False
    held = sum((scope.ledger.held() for scope in app.controller.scopes.values()), Counter[tuple[Kind, str]]())
    return sum(held[kind, "watched"] for kind in Kind) <= unfinished and not any(
        scope.ledger.unacknowledged for scope in app.controller.scopes.values()
    )


def wire(url: str, events: int, kind: Kind) -> Followed:
    """Count the ends of lines as they come out of the socket."""
    address, read, last = urlsplit(url), 0, b""
    with socket.create_connection((address.hostname, address.port)) as connection:
        meter = Meter()
        connection.sendall(f"GET {Feed(kind).path}?watch=true HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        while read < events and (piece := connection.recv(1 << 20)):
            read += (last + piece).count(b"}\n")
            last = piece[-1:]
        return meter.stop(read, 0)


def main() -> None:
    """Measure one entrant."""
    match sys.argv[1:]:
        case "watch", url, events, kind:
            followed = asyncio.run(watch(url, int(events), Kind(kind)))
        case "wire", url, events, kind:
            followed = wire(url, int(events), Kind(kind))
        case "pipeline", url, events, sink, ended_at, unfinished:
            followed = asyncio.run(pipeline(url, int(events), sink, float(ended_at), int(unfinished)))
        case name, url:
            followed = asyncio.run(first_list(url, in_pages=name == PAGES))
        case _:
            sys.exit(__doc__)
    sys.stdout.buffer.write(msgspec.json.encode(followed))


if __name__ == "__main__":
    main()
