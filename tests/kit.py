"""What the tests share: the recordings, replaying them, and small objects made by hand."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tracer.clock import Clock
from tracer.delivery.ledger import END_OF_TIME_NS, Ledger
from tracer.kube.recording import Fact, read_recording
from tracer.replay import Replay
from tracer.tekton.decode import Malformed, Object, Schema, Unread, decode
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Observation, Seen, Synced
from tracer.telemetry.measures import Measure, Subject
from tracer.telemetry.places import DEFAULT_SETTINGS
from tracer.telemetry.records import Slot, SpanKind, SpanRecord

HERE = Path(__file__).parent
RECORDINGS = sorted((HERE / "recordings").iterdir())
"""What a real cluster said, whole: the project's ground truth."""
SCENARIOS = sorted((HERE / "scenarios").iterdir())
"""Further scenarios of a real cluster, pruned to the fields that are read."""
GOLDENS = HERE / "goldens"
PYTHON_FOR_JAEGER = HERE.parent / ".venv" / "jaeger" / "bin" / "python"
"""The interpreter with the extra for an old Jaeger; `make .venv/.jaeger` makes it."""

SCHEMA = DEFAULT_SETTINGS.schema

Timed = tuple[int, Observation]
Json = dict[str, Any]


def replay(path: Path) -> list[SpanRecord]:
    """Give the spans of a recording's file, in the order in which they became due."""
    return [span for batch in Replay().batches(path) for span in batch.spans]


def facts(path: Path) -> list[Timed]:
    """Give the observations of a recording with their times of arrival."""
    return [(one.at_ns or 0, one.observation) for one in read_recording(path, SCHEMA) if isinstance(one, Fact)]


@dataclass
class Told:
    """What a ledger told, driven by hand."""

    spans: dict[Slot, SpanRecord]
    again: list[SpanRecord]
    """Spans whose slot had been told before."""
    ledger: Ledger
    counted: list[Measure | Subject] = field(default_factory=list)
    """What was to be counted, if the ledger counts."""

    @property
    def measures(self) -> list[Measure]:
        """What has ended."""
        return [one for one in self.counted if isinstance(one, Measure)]


def drive(observations: Iterable[Timed], ledger: Ledger | None = None) -> Told:
    """Drive a ledger with observations at their times, acknowledging everything at once, then let time pass every deadline."""
    told = Told({}, [], ledger or Ledger())
    now_ns = 0
    for at_ns, observation in [*observations, *the_end()]:
        while (deadline_ns := told.ledger.next_deadline_ns()) is not None and deadline_ns < at_ns:
            now_ns = max(now_ns, deadline_ns)
            drain(told, now_ns)
        now_ns = max(now_ns, at_ns)
        told.ledger.observe(observation, now_ns)
        drain(told, now_ns)
    return told


def the_end() -> Iterator[Timed]:
    """Say that everything there is was seen, and that time has passed every deadline."""
    return ((END_OF_TIME_NS, Synced(kind, END_OF_TIME_NS)) for kind in Kind)


def drain(told: Told, now_ns: int) -> None:
    """Take and acknowledge what is due."""
    dues = None
    while dues is None or dues:
        dues = told.ledger.due(now_ns)
        told.counted += told.ledger.take_measures()
        for uid, _, _ in dues:
            spans = told.ledger.spans(uid, now_ns)
            told.again += [span for span in spans if span.slot in told.spans]
            told.spans |= {span.slot: span for span in spans}
            told.ledger.acknowledge(uid, [span.slot for span in spans], now_ns)


def read(value: Json, schema: Schema = SCHEMA) -> Object:
    """Decode an object made by hand; it must be right."""
    decoded = decode(json.dumps(value).encode(), schema)
    assert not isinstance(decoded, Malformed | Unread), decoded
    return decoded


def tell(*values: Json, gone: Iterable[Json] = ()) -> dict[str, SpanRecord]:
    """Tell objects that were all seen at once, to the end; the spans by `kind:name`, or `kind` for those without one."""
    observations: list[Timed] = [(1, Seen(read(value))) for value in values]
    observations += [(2, Gone(read(value))) for value in gone]
    told = drive(observations)
    return {f"{slot.kind}:{slot.name}".rstrip(":"): span for slot, span in told.spans.items()}


HOSTILE_TEXTS = ("\x00\x1b[31m\u202e", "<script>alert(1)</script>", "\ud800", "n" * (1 << 20), "\U0001f600" * 100_000)
"""Control characters, markup, half a character, a megabyte, and one in four-byte characters."""


def hostile_recording(folder: Path) -> Path:
    """Write runs whose names, labels, reasons and messages are hostile; give the folder."""
    items = []
    for number, text in enumerate(HOSTILE_TEXTS):
        times = {"startTime": at(1), "completionTime": at(9)}
        run = pipeline_run({**times, "conditions": succeeded("False", text, text)})
        run["metadata"] = meta(text, f"uid-{number}", 1, generateName=text, labels={"tekton.dev/pipeline": text + "p"})
        items.append(run)
    (folder / "objects.json").write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
    return folder


class ManualClock(Clock):
    """A clock that goes forward only while somebody waits, at once."""

    def __init__(self) -> None:
        """Begin at some moment."""
        super().__init__()
        self.slept: list[float] = []
        self._now_s = 1_000.0

    def now_s(self) -> float:
        """Read it."""
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.slept.append(seconds)
        self._now_s += seconds
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Let the time pass, unless it has happened."""
        if not event.is_set():
            await self.sleep(seconds)


def span_record(uid: str, name: str, text: str = "") -> SpanRecord:
    """Make a span of an object; its ids follow from UID and name."""
    return SpanRecord(
        slot=Slot("step", uid, name=name),
        trace_id=blake2b(uid.encode(), digest_size=16).digest(),
        span_id=blake2b(f"{uid}/{name}".encode(), digest_size=8).digest(),
        parent_span_id=b"",
        has_remote_parent=False,
        trace_state="",
        name=name,
        kind=SpanKind.INTERNAL,
        start_ns=at_ns(1),
        end_ns=at_ns(2),
        attributes=(("text", text),) if text else (),
        resource=(("service.name", "tekton"),),
    )


# ---------------------------------------------------------------- objects made by hand

RUN_UID, TASK_UID, POD_UID = (
    "11111111-1111-4111-8111-111111111111",
    "22222222-2222-4222-8222-222222222222",
    "33333333-3333-4333-8333-333333333333",
)


def at(second: float) -> str:
    """Write a time of the worked example's minute: 2026-08-20, 10:00:ss, with milliseconds if there are any."""
    whole = f"2026-08-20T10:{int(second) // 60:02}:{int(second) % 60:02}"
    return f"{whole}.{round(second % 1 * 1000):03}Z" if second % 1 else f"{whole}Z"


def at_ns(second: float) -> int:
    """Give the same time in Unix nanoseconds."""
    return 1_787_220_000_000_000_000 + round(second * 1000) * 1_000_000


def meta(name: str, uid: str, created: float = 0, owner: Json | None = None, **more: object) -> Json:
    """Make metadata."""
    made: Json = {"name": name, "uid": uid, "namespace": "ns", "creationTimestamp": at(created), **more}
    if owner is not None:
        made["ownerReferences"] = [owner]
    return made


def owner(kind: str, uid: str, name: str = "owner") -> Json:
    """Make a controller reference."""
    return {"apiVersion": "tekton.dev/v1", "kind": kind, "uid": uid, "name": name, "controller": True}


def succeeded(status: str, reason: str, message: str = "") -> list[Json]:
    """Make the conditions of a status."""
    return [{"type": "Succeeded", "status": status, "reason": reason, "message": message}]


def pipeline_run(status: Json | None = None, **metadata: Any) -> Json:  # noqa: ANN401
    """Make a PipelineRun `ci-x`."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": meta("ci-x", RUN_UID, **metadata),
        "status": status if status is not None else {"startTime": at(1)},
    }


def task_run(status: Json, spec: Json | None = None, uid: str = TASK_UID, **metadata: Any) -> Json:  # noqa: ANN401
    """Make a TaskRun `ci-x-build`, standalone unless it gets an owner."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": meta("ci-x-build", uid, **metadata),
        "spec": spec or {},
        "status": status,
    }


def pod(steps: dict[str, Json], uid: str = POD_UID, name: str = "build-pod", **more: Any) -> Json:  # noqa: ANN401
    """Make a Pod whose steps are given as container states; `ready=False` closes the gate, `spec` and `status` are merged in."""
    ready = {"annotations": {"tekton.dev/ready": "READY"}} if more.pop("ready", True) else {}
    gate = [{"downwardAPI": {"items": [{"fieldRef": {"fieldPath": "metadata.annotations['tekton.dev/ready']"}}]}}]
    spec, status = more.pop("spec", {}), more.pop("status", {})
    metadata = {"owner": owner("TaskRun", TASK_UID), **ready, **more}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(name, uid, **metadata),
        "spec": {"containers": [{"name": f"step-{step}", "image": "img:1"} for step in steps], "volumes": gate, **spec},
        "status": {"containerStatuses": [{"name": f"step-{step}", "state": state} for step, state in steps.items()], **status},
    }


def message(started: float | None = None, **said: str) -> str:
    """Write a termination message."""
    entries = {**({"StartedAt": at(started)} if started is not None else {}), **said}
    return json.dumps([{"key": key, "value": value, "type": 3} for key, value in entries.items()])


def ended(code: int, finished: float | None, text: str | None = None, *, began: float | None = 2, reason: str = "") -> Json:
    """Make the state of a container that ended."""
    state: Json = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error")}
    state["startedAt"] = at(began) if began is not None else None
    state["finishedAt"] = at(finished) if finished is not None else None
    if text is not None:
        state["message"] = text
    return {"terminated": state}


def running(began: float = 2) -> Json:
    """Make the state of a container that runs."""
    return {"running": {"startedAt": at(began)}}


def large_run(tasks: int) -> list[SpanRecord]:
    """Tell a run of many tasks with five steps each, of which one fails; the spans."""
    values: list[Json] = []
    for index in range(tasks):
        uid = f"task-{index}"
        bad = index == 7
        how = succeeded("False", "StepFailed", "bad") if bad else succeeded("True", "Succeeded")
        status: Json = {"startTime": at(2), "completionTime": at(40), "podName": f"pod-{index}", "conditions": how}
        labels = {"tekton.dev/pipelineTask": f"task-{index}"}
        values.append(task_run(status, uid=uid, created=1, owner=owner("PipelineRun", "r"), labels=labels))
        states = {f"step{step}": ended(int(bad and step == 4), 6 + step, message(5 + step)) for step in range(5)}
        values.append(pod(states, f"pod-uid-{index}", f"pod-{index}", created=3, owner=owner("TaskRun", uid)))
    done: Json = {"startTime": at(1), "completionTime": at(41), "conditions": succeeded("False", "Failed", "one failed")}
    values.append({**pipeline_run(done), "metadata": meta("big", "r")})
    return list(drive([(1, Seen(read(value))) for value in values]).spans.values())
