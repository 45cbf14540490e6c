"""What does a fault of a watch cost? A recording of a real cluster, through the whole controller, with one fault: `FAULT IDLE_S`.

The fault begins in the middle, for every kind that is watched; things go on meanwhile. Prints the outcome as one JSON line; the
memory is that of all three: API server, controller and sink.

Keeps: what must be told is what the recording comes to when it is read from its file.
"""

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.load import Load, collect, count
from benchmarks.memory import max_rss_mib
from benchmarks.sink import Outage, Outcome, Sink, judge, opened
from tracer.demo.apiserver import ApiServer, recorded
from tracer.demo.faults import Break
from tracer.demo.player import packaged_recordings
from tracer.demo.protocol import Verb
from tracer.demo.stage import Stage, knows, stage
from tracer.demo.store import Json
from tracer.events import Event, What
from tracer.kube import reflector
from tracer.settings import load
from tracer.tekton.names import CLUSTER_NAMESPACE, Kind
from tracer.tekton.times import SECOND_NS

RECORDING = "retries"
_WATCHED = (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.CUSTOM_RUN, Kind.POD, Kind.EVENT)
_EVENTS = 20
"""How many things happen while it lasts."""
_LARGE_BYTES = 3 << 20
_WITHIN_S = 300.0


def _nothing(_: ApiServer, __: Kind) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How a fault of a kind's watch begins, and how it ends."""

    begin: Callable[[ApiServer, Kind], None] = _nothing
    end: Callable[[ApiServer, Kind], None] = _nothing
    is_blind: bool = True
    """Whether what happens meanwhile cannot be seen."""
    objects: Callable[[Kind], Json | None] = lambda _: None
    """What else is written when it begins."""
    annotations: int = 0
    """How many bytes the next object has more."""


def _expire(server: ApiServer, kind: Kind) -> None:
    server.withhold(kind)
    server.send_error(kind, 410)


def _compact(server: ApiServer, kind: Kind) -> None:
    server.compact()
    server.release(kind)


def _breaking(fault: Break) -> Callable[[ApiServer, Kind], None]:
    def begin(server: ApiServer, kind: Kind) -> None:
        server.fail(fault, kind, Verb.WATCH, times=math.inf)
        server.strike(fault, kind)

    return begin


def _mend(server: ApiServer, kind: Kind) -> None:
    server.heal()
    server.strike(Break.END, kind)


def _poison(kind: Kind) -> Json | None:
    """Make an object that no client can decode: its status is a number."""
    if kind is Kind.EVENT:
        return None
    version = "v1" if kind is Kind.POD else "tekton.dev/v1beta1" if kind is Kind.CUSTOM_RUN else "tekton.dev/v1"
    labels = {"tekton.dev/taskRun": "poison"}
    meta = {"name": "poison", "namespace": "default", "uid": f"poison-{kind}", "labels": labels}
    return {"apiVersion": version, "kind": kind.value, "metadata": meta, "spec": 1, "status": 1}


FAULTS = {
    "410": Fault(_expire, _compact),
    "reset": Fault(_breaking(Break.RESET), lambda server, _: server.heal()),
    "silence": Fault(lambda server, kind: server.strike(Break.STALL, kind)),
    "half a line": Fault(_breaking(Break.CUT), _mend),
    "poison object": Fault(objects=_poison, is_blind=False),
    "3 MB event": Fault(annotations=_LARGE_BYTES, is_blind=False),
}


class Play:
    """A recording that is played, with one fault in it."""

    def __init__(self, one: Stage, fault: Fault) -> None:
        """Take what plays together."""
        self._one, self._server, self._fault = one, one.server, fault
        self.counted = Counter[str]()
        """What went wrong with the watches, by their own account."""
        self._unseen: list[tuple[reflector.Reflector, int]] = []

    async def run(self, happenings: list[tuple[float, bool, Json]]) -> None:
        """Play all of it, and wait until the sink has what is due."""
        one, fault, first = self._one, self._fault, len(happenings) // 2
        for number, (at_s, is_gone, content) in enumerate(happenings):
            await one.clock.move_on(max(0.0, at_s - one.clock.unix_ns() / SECOND_NS))
            if number == first:
                await self._begin(content)
            if number == first + _EVENTS:
                await self._end()
            if fault.is_blind and first <= number < first + _EVENTS:
                self._happen_unseen(content, is_gone=is_gone)
            else:
                await one.happen(content, is_gone=is_gone)
        self.counted = sum((each.errors for each in one.reflectors), Counter[str]())
        await one.end()
        await one.delivered()

    async def _begin(self, content: Json) -> None:
        for kind in _WATCHED:
            self._fault.begin(self._server, kind)
            if (written := self._fault.objects(kind)) is not None:
                await self._one.happen(written, is_gone=False)
        if self._fault.annotations:
            content["metadata"].setdefault("annotations", {})["note"] = "n" * self._fault.annotations

    def _happen_unseen(self, content: Json, *, is_gone: bool) -> None:
        self._server.put(content)
        if is_gone:
            self._server.delete(content)
        self._unseen += [(each, self._server.store.version) for each in self._one.watches_of(content)]

    async def _end(self) -> None:
        """End it, and wait until the controller knows what it did not see."""
        for kind in _WATCHED:
            self._fault.end(self._server, kind)
        for each, version in self._unseen:
            await self._one.until(partial(knows, each, version))
        while not all(each.is_current for each in self._one.reflectors):
            await self._one.clock.move_on(0.5)
            await asyncio.sleep(0)


async def play(fault: Fault, path: Path) -> tuple[Sink, Counter[str]]:
    """Play a recording to a sink, with a fault in it; give the sink, and what the controller counted."""
    happenings, reports = list(recorded(path)), list[Event]()
    began_ns = int((happenings[0][0] - 1.0) * SECOND_NS)
    async with asyncio.timeout(_WITHIN_S), ApiServer() as server, opened(Outage()) as sink:
        settings = load({}, {}).sending_to(sink.receiver.url)
        async with stage(began_ns, server, settings, reports.append) as one:
            played = Play(one, fault)
            await played.run(happenings)
    skipped = sum(report.what is What.OBJECT_SKIPPED for report in reports)
    return sink, +(played.counted + Counter({What.OBJECT_SKIPPED.value: skipped}))


def meant(path: Path) -> Load:
    """Read what a recording comes to, on the cluster that the API server says it is."""
    cluster = ApiServer().store.get(Kind.NAMESPACE, f"/{CLUSTER_NAMESPACE}")
    with TemporaryDirectory() as folder:
        whole = Path(folder, "watch.jsonl")
        whole.write_text("".join(_lines(cluster.whole if cluster is not None else b"", path)))
        return collect(whole, sys.maxsize)


def _lines(cluster: bytes, path: Path) -> Iterator[str]:
    if cluster:
        yield f'{{"at":0,"type":"ADDED","object":{cluster.decode()}}}\n'
    yield path.read_text()


def main() -> None:
    """Measure one fault."""
    reflector.IDLE_S = float(sys.argv[2])
    path = packaged_recordings()[RECORDING]
    sink, counted = asyncio.run(play(FAULTS[sys.argv[1]], path))
    spans = meant(path)
    taken = judge(sink, spans)
    said = ", ".join(f"{what} {times}" for what, times in counted.items())
    sys.stdout.buffer.write(msgspec.json.encode(Outcome(count(spans), taken, None, None, max_rss_mib(), said)))


if __name__ == "__main__":
    main()
