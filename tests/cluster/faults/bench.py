"""What stands while things fail, and what is watched of it? The controller, between a real API server and a real Jaeger.

One `record` watches everything from beginning to end. While the API server is away it is blind, as everybody is: then nothing can
be written either, and what had been written is read afterwards. What the API server lists in the end is held against it.
"""

import itertools
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from tests.cluster import account, jaeger, otlp
from tests.cluster.faults.books import Books, accepted, balance, cut_out, spans_of
from tests.cluster.faults.load import Load, load
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.images import BUSYBOX
from tests.cluster.lab.place import AUDITED, JAEGER_OTLP_PORT, Json, as_list
from tests.cluster.lab.recorder import KINDS
from tests.cluster.lab.shell import wait_until
from tests.cluster.live import told
from tests.cluster.program import SYNCED, Program, controlling, running
from tests.cluster.tee import LOOPBACK, Tee, tee
from tests.tally import Cost

ACCOUNT = "faults"
_STEP: Json = {"taskSpec": {"steps": [{"name": "none", "image": BUSYBOX, "command": ["true"]}]}}
_PIPELINE: Json = {"tasks": [{"name": "none", **_STEP}]}
_MARKERS: dict[str, Json] = {
    "PipelineRun": {"apiVersion": "tekton.dev/v1", "spec": {"status": "PipelineRunPending", "pipelineSpec": _PIPELINE}},
    "TaskRun": {"apiVersion": "tekton.dev/v1", "spec": {"status": "TaskRunCancelled", **_STEP}},
    "Pod": {"apiVersion": "v1", "spec": {"nodeName": "none", "containers": [{"name": "step-none", "image": BUSYBOX}]}},
}
"""Objects of which nothing comes: that they were recorded shows that all before them was."""
TOLD_WITHIN_S = 240
RECORDED_WITHIN_S = 60
SEED = 6
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Length:
    """How long each fault lasts, and what runs meanwhile."""

    kills: int
    between_kills_s: tuple[float, float]
    api_frozen_s: float
    api_away_s: float
    backend_away_s: float
    replicas_s: float
    leader_frozen_s: float
    restart_s: float
    mix: tuple[str, ...]
    every_s: float
    most_runs: int | None = None
    """Enough to have some under way while a fault lasts; the last one is waited for."""


QUICK = ("handles-sigterm", "task-timeout", "on-error-continue")
SLOW = ("cancel", "success", "failing-step", "retries", "finally-and-when")
SHORT = Length(2, (3, 6), 10, 3, 6, 6, 18, 5, QUICK, 3, most_runs=4)
LONG = Length(10, (2, 32), 90, 20, 30, 30, 30, 20, (*QUICK, *SLOW), 4)


@dataclass(frozen=True, slots=True)
class Setup:
    """How a controller is started."""

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """What stands in it beside what there is."""


USUAL = Setup()


@dataclass(frozen=True, slots=True)
class Controller:
    """A `tracer run`, and where it serves its metrics."""

    program: Program
    served_at: str


@dataclass
class Fault:
    """One fault, while it is tried."""

    runs: Load
    controllers: list[Controller]
    """Those that watch from beginning to end."""
    books: Books | None = None
    """What came of it, when it is over."""


@dataclass
class Bench:
    """Everything that a fault is tried on."""

    cluster: Cluster
    length: Length
    folder: Path
    kubeconfig: Path
    backend: Tee
    recorded: Path
    say: Say
    note: Callable[[Cost], None] = lambda _: None
    """Is told what each fault cost."""
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def controller(self, setup: Setup = USUAL) -> Iterator[Controller]:
        """Run the controller, which has listed everything when the context begins."""
        served_at = f"127.0.0.1:{free_port()}"
        log = self.folder / f"run-{next(self._numbers)}.log"
        arguments = ("--listen", served_at, *setup.arguments)
        with controlling(log, self.kubeconfig, self.backend, *arguments, more=setup.environment) as program:
            program.await_words(SYNCED)
            yield Controller(program, served_at)

    @contextmanager
    def fault(
        self,
        name: str,
        said: str,
        *,
        controllers: Sequence[Setup] | None = (USUAL,),
        sees_all: bool = True,
        is_in_jaeger: bool = True,
        goes_on: bool = False,
    ) -> Iterator[Fault]:
        """Let runs run in a namespace of the fault's name while the context makes it fail; say in a line what came of it.

        The controllers watch from before the first run until all that were begun are told to their end; if the list is empty, one
        does when the context ends; if there is no list, somebody else watches all the time. If it `goes_on`, runs begin for as
        long as it lasts, however many that is. Raises AssertionError if anything is lost or in conflict, if an attempt is told
        without its Pod though somebody `sees_all`, or if Jaeger has not what it took.
        """
        namespace = f"fault-{name}"
        with ExitStack() as held:
            self._await_recorder()
            watching = [held.enter_context(self.controller(setup)) for setup in controllers or ()]
            has_others = controllers is None
            scenarios = itertools.islice(itertools.cycle(self.length.mix), None if goes_on else self.length.most_runs)
            runs = held.enter_context(load(self.cluster.place, namespace, scenarios, self.length.every_s))
            if watching or has_others:
                self._await_something_of(namespace)
            fault = Fault(runs, watching)
            yield fault
            with nullcontext() if watching or has_others else self.controller():
                self._await_all_of(runs)
            self._await_recorder()
            fault.books = self._books(namespace)
        self.say(f"{said}: {fault.books}")
        self.note(Cost(len(fault.books.lost), fault.books.repeated, len(fault.books.in_conflict)))
        fault.books.check(sees_all=sees_all)
        if is_in_jaeger:
            self._check_jaeger(namespace)

    def taken_again_s(self, namespace: str) -> Iterator[float]:
        """Of each span that Jaeger took again, say when it had taken it before, in Unix seconds."""
        last_s: dict[bytes, float] = {}
        for request in accepted(self.backend.requests):
            for one in spans_of([request], namespace):
                if (before_s := last_s.get(otlp.span_of(one).span_id)) is not None:
                    yield before_s
                last_s[otlp.span_of(one).span_id] = request.answered_s

    def _await_recorder(self) -> None:
        """Wait until `record` has written everything up to now: objects that come now come last."""
        name, place, written = f"marker-{uuid4()}", self.cluster.place, self.recorded.stat().st_size
        objects = as_list([_marker(name, kind, more) for kind, more in _MARKERS.items()])
        assert wait_until(lambda: bool(place.asked("apply", "-n", AUDITED, "-f", "-", stdin=objects)), TOLD_WITHIN_S)

        def has_come() -> bool:
            with self.recorded.open() as lines:
                lines.seek(written)
                said = [line for line in lines if f'"{name}"' in line]
            return all(any(f'"{kind}"' in line for line in said) for kind in _MARKERS)

        assert wait_until(has_come, RECORDED_WITHIN_S), f"`record` does not write {name}"

    def _await_something_of(self, namespace: str) -> None:
        """Wait until something of a namespace was told, so that things are under way."""
        named = namespace.encode()
        assert wait_until(lambda: any(named in one.body for one in self.backend.requests), TOLD_WITHIN_S), namespace

    def _await_all_of(self, runs: Load) -> None:
        """Begin no more runs, and wait until all that were begun are told to their end."""
        runs.end()

        def missing() -> dict[str, str]:
            found = told(accepted(self.backend.requests))
            return {name: uid for name, uid in runs.uids.items() if uid not in found}

        assert wait_until(lambda: not missing(), TOLD_WITHIN_S), f"{runs.namespace}: {missing()} are not told"

    def _books(self, namespace: str) -> Books:
        """Draw up the account, while the API server still has what is left of the runs."""
        cut, listed = self.folder / f"{namespace}.jsonl", self.folder / f"{namespace}.json"
        listed.write_text(json.dumps(self._listed(namespace)))
        cut_out(self.recorded, namespace, cut)
        return balance(self.backend.requests, cut, listed, namespace)

    def _listed(self, namespace: str) -> Json:
        lists = {kind: self.cluster.place.kubectl("get", "--raw", url.format(namespace)) for kind, url in KINDS.items()}
        return {kind: json.loads(said) for kind, said in lists.items()}

    def _check_jaeger(self, namespace: str) -> None:
        """Hold what Jaeger shows against what it took: what came twice is there once."""
        jaeger.settle()
        taken = {one.SerializeToString(): one for one in spans_of(accepted(self.backend.requests), namespace)}
        for trace_id in {otlp.span_of(one).trace_id for one in taken.values()}:
            of_it = [one for one in taken.values() if otlp.span_of(one).trace_id == trace_id]
            otlp.check_same(jaeger.spans(trace_id), jaeger.as_kept(of_it))


def _marker(name: str, kind: str, more: Json) -> Json:
    return {"kind": kind, "metadata": {"name": name, "labels": {"tekton.dev/taskRun": name}}, **more}


def free_port() -> int:
    """Find a port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def last(seconds: float) -> None:
    """Let a fault last."""
    threading.Event().wait(seconds)


@contextmanager
def open_bench(cluster: Cluster, length: Length, folder: Path, say: Say, listens_at: str = LOOPBACK) -> Iterator[Bench]:
    """Set everything up, with an account that has the rights of an installation, and `record` watching.

    The backend stands at an address of this machine.
    """
    place = cluster.place
    cluster.stop("jaeger")  # it keeps everything in memory
    cluster.start("jaeger")
    account.create(place, ACCOUNT)
    account.allow(place, ACCOUNT, [*account.ALWAYS, account.CLUSTER_UID])
    kubeconfig, recorded = account.kubeconfig(place, ACCOUNT, folder), folder / "recorded"
    record = ("record", "-A", "--to", recorded, "--kubeconfig", kubeconfig)
    with tee(JAEGER_OTLP_PORT, listens_at) as backend, running(folder / "record.log", *record) as recorder:
        recorder.await_words("recording all namespaces")
        yield Bench(cluster, length, folder, kubeconfig, backend, recorded / "watch.jsonl", say)
