"""The whole product on loopback: an API server that plays a recording, the real controller, a backend, and a clock moved by hand.

Keeps: time passes only between what the recording tells, and only when the controller has taken in all that was told before; so
the same recording always comes to the same spans, however fast it is played.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from tracer.app import App, Stop
from tracer.clock import PlayedClock, breathe
from tracer.delivery.ledger import Unended
from tracer.demo.apiserver import ApiServer
from tracer.demo.store import Json
from tracer.errors import TracerError
from tracer.events import Report
from tracer.kube.reflector import Reflector
from tracer.settings import Settings
from tracer.tekton.decode import kind_of
from tracer.tekton.names import Kind
from tracer.telemetry.records import SpanRecord
from tracer.transport import TransportSettings

AFTER_ALL_S = 3600.0  # later than every deadline of what has ended
_MOMENT_S = 0.1


@dataclass(frozen=True, slots=True)
class Nobody:
    """An account that the API server on loopback asks nothing of."""

    url: str
    namespace: str = "tracer"
    transport: TransportSettings = field(default_factory=TransportSettings)

    def headers(self, *, is_refused: bool) -> dict[str, str]:  # noqa: ARG002 - there is nothing to read again
        """Say nothing."""
        return {}


@dataclass(frozen=True, slots=True, eq=False)
class Replica:
    """A controller that runs."""

    app: App
    stop: Stop
    task: asyncio.Task[None]


class Stage:
    """What plays together."""

    def __init__(self, server: ApiServer, clock: PlayedClock, start: Callable[[], Replica]) -> None:
        """Take it; `start` starts a controller."""
        self.server, self.clock = server, clock
        self.replicas: list[Replica] = []
        """The controllers that run, the eldest first."""
        self._start = start

    @property
    def app(self) -> App:
        """The eldest controller."""
        return self.replicas[0].app

    @property
    def reflectors(self) -> list[Reflector]:
        """Every watch of every controller."""
        return [one for replica in self.replicas for one in replica.app.reflectors]

    async def start(self, *, is_awaited: bool = True) -> Replica:
        """Start a controller, and wait until it has listed everything, unless that is not awaited."""
        replica = self._start()
        self.replicas.append(replica)
        if is_awaited:
            await self.until(lambda: all(each.is_current for each in replica.app.reflectors))
            await self.clock.move_on(1.0)
        return replica

    async def end_replica(self, replica: Replica) -> None:
        """End a controller as SIGTERM does; in the end it is still there to be asked."""
        replica.stop.ask()
        while not replica.task.done():
            await self.clock.move_on(_MOMENT_S)
            await asyncio.sleep(0)

    async def lose_replica(self, replica: Replica, *, gracefully: bool = False) -> None:
        """End a controller at once, as SIGKILL does, or gracefully, and have it no more."""
        if gracefully:
            await self.end_replica(replica)
        replica.task.cancel()
        await asyncio.wait([replica.task])
        self.replicas.remove(replica)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; the recording's time passes only for watches that wait before they ask again."""
        while not is_so():
            if any(one.rests for one in self.reflectors):
                await self.clock.move_on(_MOMENT_S)
            await asyncio.sleep(0)

    async def happen(self, content: Json, *, is_gone: bool) -> None:
        """Let an object be written or deleted, and wait until the controller knows."""
        self.server.put(content)
        if is_gone:
            self.server.delete(content)
        await self.taken_in(content)

    async def taken_in(self, content: Json) -> None:
        """Wait until the controller knows of the last change, which was of this object."""
        version = self.server.store.version
        for one in self.watches_of(content):
            await self.until(partial(knows, one, version))
        await breathe()

    def watches_of(self, content: Json) -> list[Reflector]:
        """Say which watches tell of an object."""
        kind, reason = kind_of(content["kind"], content["apiVersion"]), content.get("reason", "")
        if kind is Kind.EVENT and content["involvedObject"]["kind"] != Kind.POD:
            return []
        namespaces = {"", content["metadata"].get("namespace", "")}
        feeds = [(one, one.feed) for one in self.reflectors]
        return [one for one, feed in feeds if feed.kind is kind and feed.namespace in namespaces and feed.reason in {"", reason}]

    async def end(self) -> None:
        """Let all deadlines pass and all that is served be listed once more, so that all is told that can be told."""
        await self.clock.leap(AFTER_ALL_S)
        served = [(one, one.lists) for one in self.reflectors if one.course.is_synced]
        for kind in {one.feed.kind for one, _ in served}:
            self.server.send_error(kind, 410)
        await self.until(lambda: all(one.lists > lists and one.is_current for one, lists in served))
        await self.clock.leap(AFTER_ALL_S)
        for replica in self.replicas:
            await replica.app.controller.step()

    async def delivered(self) -> None:
        """Wait until somebody leads, and the backend has all that is due."""
        controllers = [replica.app.controller for replica in self.replicas]
        await self.until(lambda: any(one.leads for one in controllers) and all(one.outbox.is_empty for one in controllers))

    def unfinished(self) -> Iterator[Unended]:
        """Give the runs that have not been told to their end."""
        for scope in self.app.controller.scopes.values():
            yield from scope.ledger.unfinished()


def knows(reflector: Reflector, version: int) -> bool:
    """Say whether a watch has told all that there was at a version of the server."""
    said = reflector.course.version
    return said.isdigit() and int(said) >= version


@asynccontextmanager
async def stage(
    began_ns: int,
    server: ApiServer,
    settings: Settings,
    report: Report = lambda _: None,
    show: Callable[[list[SpanRecord]], None] = lambda _: None,
    *,
    is_awaited: bool = True,
) -> AsyncIterator[Stage]:
    """Open the stage at a moment, in Unix nanoseconds; at its end the controller is stopped as by SIGTERM.

    It opens when everything was listed, unless that is not awaited.
    """
    clock, failure = PlayedClock(began_ns), None
    async with asyncio.TaskGroup() as tasks:

        def start() -> Replica:
            app, stop = App(settings, Nobody(server.url), clock, report, show), Stop()
            return Replica(app, stop, tasks.create_task(app.play(stop), name="app"))

        one = Stage(server, clock, start)
        try:
            await one.start(is_awaited=is_awaited)
            yield one
        except TracerError as error:  # the group would wrap what is no fault of a task
            failure = error
        for replica in one.replicas:
            await one.end_replica(replica)
    if failure is not None:
        raise failure
