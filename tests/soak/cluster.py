"""What happens in the cluster: PipelineRuns live, end, and are deleted; and what is to be told of each.

Keeps: what is to be told of a run is its replay, a function of what was written of it and when; once the run is deleted only
digests of that are held.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from benchmarks.maker import one_run
from tests.soak.backend import digests_of
from tests.soak.plan import Plan
from tracer.clock import Clock
from tracer.demo.apiserver import ApiServer
from tracer.kube.recording import Fact
from tracer.replay import Replay
from tracer.tekton.decode import Malformed, Unread, decode
from tracer.tekton.names import CLUSTER_NAMESPACE, Kind
from tracer.tekton.observation import Gone, Seen
from tracer.telemetry.ids import trace_id
from tracer.telemetry.places import DEFAULT_SETTINGS

LEVEL_SPANS = frozenset({"run", "task", "retry", "step", "skipped", "queue"})
"""What follows from the runs; other spans rest on Events, and are told as far as those were seen."""
_DELETION_S = 0.02  # between the deletions of owner and owned, as of a garbage collector in a hurry


class Fate(Enum):
    """When a run is deleted."""

    KEPT = "a while after it ended"
    AT_ONCE = "once it ended"
    RUNNING = "while it runs"


_SHARES = {Fate.KEPT: 70, Fate.AT_ONCE: 20, Fate.RUNNING: 10}


@dataclass(slots=True)
class Run:
    """A PipelineRun with all below it: what was written of it, and in the end what is to be told."""

    name: str
    trace_id: bytes = b""
    orphans: set[bytes] = field(default_factory=set)
    """The traces in which its tasks are told to whoever finds them without it."""
    task_runs: int = 0
    deleted_s: list[float] = field(default_factory=list)
    """When something of it was deleted, on the monotonic clock."""
    expected: dict[bytes, bytes] = field(default_factory=dict)
    """The digest of each span that is to be told, by its id, once all of it is deleted."""
    edges: frozenset[bytes] = frozenset()
    """Those of them that rest on Events."""
    is_over: bool = False
    facts: list[Fact] = field(default_factory=list)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """What exists, by kind and name, owners first; as JSON, which is small."""


class Cluster:
    """Lets runs happen."""

    def __init__(self, plan: Plan, server: ApiServer, clock: Clock) -> None:
        """Prepare."""
        self.runs: list[Run] = []
        self.events = 0
        self.lasted_s = 0.0
        """How long runs began."""
        self.latest_s = 0.0
        """How late the latest event was, since somebody has set it to 0."""
        self._plan, self._server, self._clock = plan, server, clock
        found = server.store.get(Kind.NAMESPACE, f"/{CLUSTER_NAMESPACE}")
        assert found is not None
        self._namespace = _fact(0, found.whole, is_gone=False)

    @property
    def task_runs(self) -> int:
        """How many TaskRuns there were."""
        return sum(run.task_runs for run in self.runs)

    async def live(self, until: Callable[[], bool]) -> None:
        """Begin runs, evenly, until it is enough, and wait until all are deleted."""
        async with asyncio.TaskGroup() as tasks:
            begin_s, number = self._clock.now_s(), 0
            while not until():
                tasks.create_task(self._one(number), name=f"run {number}")
                number += 1
                await self._clock.sleep(max(0.0, begin_s + number / self._plan.runs_per_s - self._clock.now_s()))
            self.lasted_s = self._clock.now_s() - begin_s

    async def _one(self, number: int) -> None:
        """Let one run live and be deleted."""
        chance = random.Random(f"{self._plan.seed}/fate/{number}")
        fate = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
        begins_at, begins_s = self._clock.unix_ns() / 1e9, self._clock.now_s()
        dies_s = begins_s + chance.uniform(0, 12) / self._plan.speed if fate is Fate.RUNNING else float("inf")
        run = Run(f"pipeline-{number:06}")
        self.runs.append(run)
        for at, of_type, value in one_run(number, self._plan.seed, begins_at, {}):
            due_s = begins_s + (at - begins_at) / self._plan.speed
            await self._sleep_until(min(due_s, dies_s))
            if dies_s < due_s:
                break
            self._write(run, msgspec.json.encode(value), is_gone=of_type == "DELETED")
        if fate is Fate.KEPT:
            await self._clock.sleep(chance.uniform(*self._plan.kept_s))
        while run.objects:
            self._write(run, next(iter(run.objects.values())), is_gone=True)
            await self._clock.sleep(_DELETION_S)
        self._conclude(run)

    async def _sleep_until(self, at_s: float) -> None:
        await self._clock.sleep(max(0.0, at_s - self._clock.now_s()))
        self.latest_s = max(self.latest_s, self._clock.now_s() - at_s)

    def _write(self, run: Run, whole: bytes, *, is_gone: bool) -> None:
        """Create, replace or delete an object."""
        content = msgspec.json.decode(whole)
        kind, metadata = content["kind"], content["metadata"]
        key = kind, metadata["name"]
        if not run.trace_id:
            run.trace_id = trace_id(metadata["uid"])
        if kind == Kind.TASK_RUN:
            run.orphans.add(trace_id(metadata["uid"]))
        run.task_runs += kind == Kind.TASK_RUN and key not in run.objects and not is_gone
        if is_gone:
            del run.objects[key]
            self._server.delete(content)
            if kind != Kind.EVENT:
                run.deleted_s.append(self._clock.now_s())
        else:
            run.objects[key] = whole
            self._server.put(content)
        if kind != Kind.EVENT or not is_gone:
            run.facts.append(_fact(self._clock.unix_ns(), whole, is_gone=is_gone))
        self.events += 1

    def _conclude(self, run: Run) -> None:
        """Say what is to be told of a run, and let go of what it follows from."""
        spans = [span for batch in Replay().follow([self._namespace, *run.facts]) for span in batch.spans]
        run.expected = digests_of(spans)
        run.edges = frozenset(span.span_id for span in spans if span.slot.kind not in LEVEL_SPANS)
        run.facts.clear()
        run.is_over = True


def _fact(at_ns: int, whole: bytes, *, is_gone: bool) -> Fact:
    value = decode(whole, DEFAULT_SETTINGS.schema)
    assert not isinstance(value, Malformed | Unread), value
    return Fact(at_ns, Gone(value) if is_gone else Seen(value))
