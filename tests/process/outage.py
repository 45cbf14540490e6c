"""Runs that have ended, and a backend that fails on them: the whole product on loopback, on a clock that is moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache

from tests.kit import Json, at, at_ns, meta, succeeded, task_run
from tests.process.performance import WITHIN_S
from tests.tally import due
from tracer.clock import PlayedClock
from tracer.delivery.sender import Sender
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver, Reply
from tracer.demo.stage import Stage, stage
from tracer.events import Event, What
from tracer.settings import load

STEPS = 3
SPANS = STEPS + 2  # of a run: itself, what it waited for, and its steps
_BEGAN_S = 600.0  # later than any deadline of what has ended
_MOMENT_S = 5.0

Said = dict[tuple[What, str], None]


def run(number: int, namespace: str = "ns", steps: int = STEPS) -> Json:
    """Make a TaskRun that has ended and whose Pod is gone."""
    ended: Json = {"exitCode": 0, "reason": "Completed", "startedAt": at(2), "finishedAt": at(8)}
    entries = [{"name": f"s{step}", "container": f"step-s{step}", "terminated": ended} for step in range(steps)]
    status = {"startTime": at(2), "completionTime": at(9), "conditions": succeeded("True", "Succeeded"), "steps": entries}
    made = task_run({**status, "podName": f"run-{number}-pod"})
    made["metadata"] = {**meta(f"run-{number}", f"uid-{number}", 1), "namespace": namespace}
    return made


@cache
def expected(count: int) -> Mapping[bytes, bytes]:
    """Give what so many runs come to, by span id."""
    return due(*(run(number) for number in range(count)))


class Scene:
    """What plays together."""

    def __init__(self, one: Stage, receiver: Receiver, said: Said) -> None:
        """Take it."""
        self.one, self.receiver, self._said = one, receiver, said

    @property
    def clock(self) -> PlayedClock:
        """The clock that is moved by hand."""
        return self.one.clock

    @property
    def sender(self) -> Sender:
        """Who sends."""
        return self.one.app.controller.sender

    def sentences(self, what: What) -> list[str]:
        """Give what was said of one sort, each sentence once."""
        return [sentence for of, sentence in self._said if of is what]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; time passes only while there is trouble, or nothing to send."""
        while not is_so():
            if self.sender.trouble is not None or self.one.app.controller.outbox.is_empty:
                await self.clock.move_on(_MOMENT_S)
            await asyncio.sleep(0)

    async def tried(self, tries: int) -> None:
        """Wait until so many requests have failed; no time passes."""
        while self.sender.requests.total() < tries:
            assert self.sender.last_acknowledged_unix_s is None
            await asyncio.sleep(0)

    async def delivered(self) -> None:
        """Wait until all that is due now was answered for."""
        await self.clock.move_on(3)
        await self.until(lambda: self.one.app.controller.outbox.is_empty)


@asynccontextmanager
async def scene(
    receiver: Receiver,
    runs: Iterable[Json],
    settings: Mapping[str, str] | None = None,
    *,
    server: ApiServer | None = None,
    try_ms: int = 0,
    within_s: float = WITHIN_S,
) -> AsyncIterator[Scene]:
    """Open the stage when some runs have ended, with a backend that is open, or will be; a try may take so many milliseconds.

    A server that is given is open already.
    """
    said: Said = {}

    def hear(event: Event) -> None:
        said[event.what, event.message] = None

    environment = {"OTEL_EXPORTER_OTLP_TIMEOUT": str(try_ms)} if try_ms else {}
    chosen = load({"otlp.endpoint": receiver.url, **(settings or {})}, environment)
    async with asyncio.timeout(within_s), AsyncExitStack() as held:
        api = server if server is not None else await held.enter_async_context(ApiServer())
        for content in runs:
            api.put(content)
        async with stage(at_ns(_BEGAN_S), api, chosen, hear) as one:
            yield Scene(one, receiver, said)


async def away(receiver: Receiver) -> None:
    """Stop listening, and keep the place."""
    receiver.port = int(receiver.url.rsplit(":", 1)[1].partition("/")[0])
    await receiver.__aexit__(None, None, None)


def noting(reply: Reply, note: Callable[[], object]) -> Reply:
    """Reply so, and note first that there was a request."""

    async def noted(*asked: object) -> object:
        note()
        return await reply(*asked)  # type: ignore[arg-type] # passed on as it came

    return noted  # type: ignore[return-value]
