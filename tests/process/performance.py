"""A recording on the stage: played as it was, or interrupted anywhere, and what the backend must have in the end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.kit import RECORDINGS, SCENARIOS, Json, replay
from tracer.demo.apiserver import ApiServer, recorded
from tracer.demo.receiver import Receiver
from tracer.demo.stage import Stage, knows, stage
from tracer.events import Event, What
from tracer.kube.reflector import Reflector
from tracer.settings import Settings, load
from tracer.tekton.names import CLUSTER_NAMESPACE, Kind
from tracer.tekton.times import SECOND_NS
from tracer.telemetry import otlp
from tracer.telemetry.records import SpanRecord

FOLDERS = {path.name: path for path in [*RECORDINGS, *SCENARIOS]}
WITHIN_S = 10.0
Happening = tuple[float, bool, Json]
"""When, whether it is gone, and the object."""


@cache
def oracle(name: str, cluster: str = CLUSTER_NAMESPACE) -> dict[bytes, bytes]:
    """Give what a recording comes to, by span id: its replay, on the cluster that the server on loopback says it is.

    Without the cluster's own namespace, as where only some may be read, nobody knows which it is.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "watch.jsonl"
        said = ApiServer().store.get(Kind.NAMESPACE, f"/{cluster}")
        first = f'{{"at":0,"type":"ADDED","object":{said.whole.decode()}}}\n' if said is not None else ""
        path.write_text(first + (FOLDERS[name] / "watch.jsonl").read_text())
        return dict(otlp.read_spans(otlp.encode(replay(path))))


@cache
def happenings(name: str) -> tuple[Happening, ...]:
    """Give what happens in a recording."""
    return tuple(recorded(FOLDERS[name]))


def kind_of_content(content: Json) -> Kind:
    """Say of which kind an object is."""
    return Kind(content["kind"])


class Performance:
    """A recording that is being played."""

    def __init__(self, name: str, one: Stage, receiver: Receiver, reports: list[Event], told: list[SpanRecord]) -> None:
        """Take what plays together; nothing has happened yet."""
        self.one, self.server, self.receiver = one, one.server, receiver
        self.reports, self.told = reports, told
        self.name, self.left = name, list(happenings(name))
        self.ahead_s = 0.0
        """How far the controller's clock is ahead of those that wrote the objects."""
        self.lists_at_first = {id(each): each.lists for each in one.reflectors}
        self._unseen: list[tuple[Reflector, int]] = []

    async def play(self, count: int | None = None) -> None:
        """Let the next things happen, or all that are left; the controller knows each before the next one."""
        for at_s, is_gone, content in self._next(count):
            await self.wait_until(at_s)
            await self.one.happen(content, is_gone=is_gone)

    async def play_unseen(self, count: int, blind: Iterable[Kind]) -> None:
        """Let the next things happen while some kinds cannot be seen."""
        unseen = frozenset(blind)
        for at_s, is_gone, content in self._next(count):
            await self.wait_until(at_s)
            if kind_of_content(content) not in unseen:
                await self.one.happen(content, is_gone=is_gone)
                continue
            self.server.put(content)
            if is_gone:
                self.server.delete(content)
            version = self.server.store.version
            self._unseen += [(each, version) for each in self.one.watches_of(content)]

    async def catch_up(self) -> None:
        """Wait until the controller knows what it did not see, and every watch is well."""
        for each, version in self._unseen:
            await self.one.until(partial(knows, each, version))
        self._unseen.clear()
        while not all(each.is_current for each in self.one.reflectors):
            await self.one.clock.move_on(0.5)
            await asyncio.sleep(0)

    async def wait_until(self, at_s: float) -> None:
        """Let time pass until a moment of the recording, in Unix seconds."""
        await self.one.clock.move_on(max(0.0, at_s + self.ahead_s - self.one.clock.unix_ns() / SECOND_NS))

    async def end(self) -> None:
        """Play what is left, let every deadline pass, and wait until the backend has everything."""
        await self.play()
        await self.one.end()
        await self.one.delivered()

    def _next(self, count: int | None) -> list[Happening]:
        taken = self.left[:count]
        del self.left[: len(taken)]
        return taken

    # ------------------------------------------------------------ what it came to

    def reflectors(self, kind: Kind | None = None) -> list[Reflector]:
        """Give the watches of a kind, or all."""
        return [each for each in self.one.reflectors if kind in {None, each.feed.kind}]

    @property
    def relists(self) -> Counter[Kind]:
        """Count the lists that were begun since it began."""
        found = Counter[Kind]()
        for each in self.one.reflectors:
            found[each.feed.kind] += each.lists - self.lists_at_first[id(each)]
        return found

    @property
    def lists(self) -> Counter[Kind]:
        """Count the lists that were begun, the first ones too."""
        found = Counter[Kind]()
        for each in self.one.reflectors:
            found[each.feed.kind] += each.lists
        return found

    def errors(self, kind: Kind) -> Counter[str]:
        """Count what went wrong with the watches of a kind, by reason."""
        return sum((each.errors for each in self.reflectors(kind)), Counter())

    def sentences(self, what: What) -> list[str]:
        """Give what was said of one sort."""
        return [event.message for event in self.reports if event.what is what]

    @property
    def expected(self) -> dict[bytes, bytes]:
        """Give what the backend must have in the end, by span id."""
        return oracle(self.name)

    def differences(self) -> list[str]:
        """Say how the backend's spans differ from the oracle's: missing, foreign, changed, conflicting or sent twice."""
        return differences(self.receiver, self.expected)


def differences(receiver: Receiver, expected: dict[bytes, bytes]) -> list[str]:
    """Say how a backend's spans differ from what is expected, and which it got twice or with two contents."""
    found = [f"{key.hex()} is missing" for key in expected.keys() - receiver.spans.keys()]
    found += [f"{key.hex()} is foreign" for key in receiver.spans.keys() - expected.keys()]
    found += [f"{key.hex()} has two contents" for key, contents in receiver.spans.items() if len(contents) > 1]
    found += [
        f"{key.hex()} is changed" for key in expected.keys() & receiver.spans.keys() if expected[key] not in receiver.spans[key]
    ]
    return found + [f"{key.hex()} was sent {times} times" for key, times in receiver.times_taken.items() if times > 1]


@asynccontextmanager
async def performance(
    name: str,
    server: ApiServer | None = None,
    settings: Settings | None = None,
    at_first: Callable[["Performance"], Awaitable[None]] | None = None,
    *,
    ahead_s: float = 0.0,
) -> AsyncIterator[Performance]:
    """Open the stage a second before a recording begins; all of it must be done within the deadline.

    What is to happen at first happens before anything was listed. A server that is given is open already.
    """
    reports, told = list[Event](), list[SpanRecord]()
    async with asyncio.timeout(WITHIN_S), AsyncExitStack() as held:
        api = server if server is not None else await held.enter_async_context(ApiServer())
        backend = await held.enter_async_context(Receiver())
        settings = (settings or load({}, {})).sending_to(backend.url)
        began_ns = int((happenings(name)[0][0] - 1.0 + ahead_s) * SECOND_NS)
        async with stage(began_ns, api, settings, reports.append, told.extend, is_awaited=at_first is None) as one:
            played = Performance(name, one, backend, reports, told)
            played.ahead_s = ahead_s
            if at_first is not None:
                await at_first(played)
            yield played
