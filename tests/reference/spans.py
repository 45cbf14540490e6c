"""The page docs/reference/spans.md: every kind of span and every attribute, as the recordings come to them.

What is seen is held against what is said: a kind or an attribute that nothing comes to cannot be written down, and none that
something comes to can be left out.
"""

from enum import StrEnum
from typing import NamedTuple

from tests.reference.sights import ELSEWHERE, EVENT, LINK, Sight, recorded, sighted
from tests.reference.writing import code, head, meanings, sentence, table
from tracer.lifecycle.pods import PhaseKind
from tracer.lifecycle.steps import StepClass
from tracer.tekton.reasons import RESULTS_OF_FALSE, Result
from tracer.tekton.times import Grain
from tracer.telemetry import attributes as keys
from tracer.telemetry import otlp
from tracer.telemetry.records import TEXT_LIMIT_BYTES, AttributeValue

_ABOUT = f"""
What is sent for a run, by version {otlp.MODEL_VERSION} of the model. A *step* is a container of a task's Pod, an *attempt*
one try of a TaskRun, a *phase* what comes before its first step.

- Spans are sent once, when they have ended and nothing can change them any more, children before their parents. Sent again,
  they are the same to the last byte.
- The trace is that of the caller, whom the annotation `tekton.dev/pipelinerunSpanContext` of a PipelineRun or
  `tekton.dev/taskrunSpanContext` of a standalone TaskRun names; the run's span hangs below the caller's then, and the
  caller's `tracestate` is on every span. Else it is Tekton's own trace, if it makes one; else its id follows from the UID of
  the top run. The setting [`spans.parent`](configuration.md#spansparent) says otherwise.
- Ids of spans follow from the UIDs of objects, and what rests on a Pod from the Pod's.
- An attribute that has no value is left out. Texts are cut after {TEXT_LIMIT_BYTES:,} bytes.

## The tree

```text
run                        of a PipelineRun, or of a TaskRun that stands by itself
├ queue
├ skipped task
└ task                     of a TaskRun, a CustomRun or a nested PipelineRun
  ├ queue
  ├ create pod, schedule, init, pull, start containers
  ├ step
  ├ lost pod
  ├ retry                  of each attempt after the first, with phases and steps of its own
  └ run                    of a nested PipelineRun, with all of this below it
```

Below a TaskRun that stands by itself its attempts hang below the run. A child never starts before its parent; the end of a
parent is raised to those of its children.

## The spans
"""


class Kind(NamedTuple):
    """What a kind of span is: its name, when there is one, and what its times are."""

    title: str
    name: str
    exists: str
    start: str
    end: str


KINDS = {
    "run": Kind(
        "run",
        "what the runs of the trace do, and the pipeline or the standalone TaskRun's task: `RUN ci`; without a name `RUN`",
        "for each PipelineRun and each TaskRun that stands by itself, when it has ended or was deleted",
        "its creation",
        "its completion, raised to the ends below it",
    ),
    "queue": Kind(
        "queue",
        "`queue`",
        "for a run or a task, if Tekton did not begin with it at once",
        "its creation",
        "its `startTime`; of a task that of its first attempt",
    ),
    "task": Kind(
        "task",
        "the task as its pipeline names it",
        "for each TaskRun, CustomRun and PipelineRun within a run, when it has ended or was deleted",
        "its creation",
        "its completion, raised to the ends below it",
    ),
    "skipped": Kind(
        "skipped task",
        "the task as its pipeline names it",
        "for each entry in the PipelineRun's `skippedTasks`",
        "the run's completion, for Tekton gives no time",
        "the same: 1 ns later",
    ),
    "retry": Kind(
        "retry",
        "`retry`",
        "for each attempt after the first that got a Pod, when it has ended",
        "the start of the attempt",
        "its completion, raised to the ends below it",
    ),
    "create": Kind(
        "create pod",
        "`create pod`",
        "for each Pod that was seen",
        "the start of the attempt; of a further Pod the end of the lost one",
        "the Pod's creation",
    ),
    "schedule": Kind(
        "schedule",
        "`schedule`",
        "for each Pod that was seen and was scheduled, or never was",
        "the Pod's creation",
        "the Event `Scheduled`, else the Pod's condition; where it was never scheduled the completion of the attempt",
    ),
    "init": Kind(
        "init",
        "`init` and the container: `init prepare`",
        "for each init container that has ended, but for sidecars",
        "the container's start",
        "its end",
    ),
    "pull": Kind(
        "pull",
        "`pull`",
        "for each image that was pulled, if the Events `Pulling` and `Pulled` were seen",
        "`Pulling`",
        "`Pulled`",
    ),
    "start": Kind(
        "start containers",
        "`start containers`",
        "for each Pod with an init container that has ended",
        "the end of the last init container",
        "the start of the first step; where none ran the completion of the attempt",
    ),
    "step": Kind(
        "step",
        "the step as Tekton names it",
        "for each step of each attempt, also those that never ran",
        "when its own command began, by the entrypoint's word, else inferred; where it never ran the completion of the attempt",
        "the container's end, cut to the second by Kubernetes: the middle of what is left of that; where it never ran 1 ns later",
    ),
    "lost": Kind(
        "lost pod",
        "`lost pod`",
        "for each Pod of an attempt that was deleted and made anew",
        "its creation",
        "the last end of its containers",
    ),
}
"""By the kind that a slot has; in the order of the page."""
VALUES: dict[str, type[StrEnum]] = {
    keys.PHASE: PhaseKind,
    keys.STEP_CLASS: StepClass,
    keys.TIME_GRAIN: Grain,
    keys.PIPELINE_RESULT: Result,
    keys.TASK_RUN_RESULT: Result,
}
"""The attributes that have one of a few values."""

_RESULTS = {
    Result.SUCCESS: "it passed",
    Result.FAILURE: "a step's own command, or a sidecar, failed: the user's fault",
    Result.ERROR: "something else made an end of it: memory, the node, an image, a volume, a mistake in its definition",
    Result.TIMEOUT: "its time, the task's or the run's was over",
    Result.CANCELLATION: "somebody cancelled, stopped or deleted it",
    Result.SKIP: "it never got its turn",
}
EVENTS = {
    "running": "on a step that ran: its start",
    "terminated": "on a step that ran: its end",
    "disruption": "on a step or a lost Pod that the cluster took away: when it said so",
    "cancel_requested": "on a run that was cancelled: its completion",
    "stop_requested": "on a run that was stopped gracefully: its completion",
    "timeout": "on a run that timed out: its completion",
}
LINKS = {
    "caller": "from a run to the span that it was started from, with `spans.parent: link`",
    "reconcile": "from a task or a nested run to Tekton's own span of it, if Tekton makes traces",
}


_ANYWHERE = {keys.TIME_ADJUSTED}
"""What any span may have, though few do."""
NAMES = {keys.TASKS_BY_RESULT: keys.TASKS_BY_RESULT.format("RESULT"), keys.USER_PREFIX: f"{keys.USER_PREFIX}.*"}
_FAMILIES = {f"{name.rpartition('.')[0]}.": name for name in NAMES.values()}
"""What the page calls keys that are many, by how they begin."""
_LONGEST_EXAMPLE = 100
_ATTRIBUTES = """
## Attributes

*On* are the kinds of spans, events and links that have it in the recordings of a real cluster. {levels}

{attributes}
¹ In no recording: an example made by hand, or by a setting.

## Resources

The spans of one run share a resource; what rests on a Pod has the Pod in it, too. Its schema, and that of the scope, is
`{schema}`; the scope is called `tracer`.

{resources}
## Results and status

A span of a step, an attempt, a task or a run has a result, by the reason of the condition `Succeeded` or, of a step, by what
its container says. Its status is ERROR where the table says so, else UNSET; a phase is ERROR where it made an end of its
attempt. An ERROR has a description: of a step its exit code and its reason, else the first line of the condition's message.

{results}
## Events

{events}
## Links

{links}"""


def page() -> str:
    """Write the page."""
    seen, about = sighted(), _meanings()
    parts = [head("Spans", "tracer/telemetry/attributes.py", "the recordings in tests/"), _ABOUT]
    for kind, said in KINDS.items():
        parents = [KINDS[parent].title for parent in KINDS if parent in seen.parents[kind]]
        parents += ["the caller's span, or nothing"] if ELSEWHERE in seen.parents[kind] else []
        rows = [
            ("name", said.name),
            ("there is one", said.exists),
            ("below", ", ".join(parents)),
            ("from", said.start),
            ("to", said.end),
            ("kind", "`SERVER`" if kind in seen.server_kinds else "`INTERNAL`"),
            ("attributes", code(key for key, sight in _sorted(seen.attributes) if kind in sight.kinds)),
        ]
        parts.append(f"\n### {said.title}\n\n{table(('', ''), rows)}")
    attributes = [(key, _on(key, sight), *_described(key, sight, about)) for key, sight in _sorted(seen.attributes)]
    resources = [(key, _holders(sight), *_described(key, sight, about)) for key, sight in _sorted(seen.resources)]
    columns = ("type", "example", "")
    parts.append(
        _ATTRIBUTES.format(
            levels=_levels(),
            schema=keys.SCHEMA_URL,
            attributes=table(("attribute", "on", *columns), ((f"`{key}`", *row) for key, *row in attributes)),
            resources=table(("attribute", "of", *columns), ((f"`{key}`", *row) for key, *row in resources)),
            results=table(("result", "", "status", "reasons"), (_result(result, seen.errors[result]) for result in Result)),
            events=table(("event", "", "attributes"), (_event(name, text) for name, text in EVENTS.items())),
            links=table((f"`{keys.LINK}`", ""), ((f"`{name}`", sentence(text)) for name, text in LINKS.items())),
        )
    )
    return "".join(parts)


def _meanings() -> dict[str, str]:
    """Read what the code says of each key."""
    found = {getattr(keys, name): text for name, text in meanings(keys).items()}
    return {NAMES.get(key, key): text for key, text in found.items()}


def _levels() -> str:
    """Give the sentence about stability that the module of the keys has."""
    (said,) = [one for one in (keys.__doc__ or "").split("\n\n") if one.startswith("Stability")]
    return " ".join(said.split())


def _grouped(sights: dict[str, Sight]) -> dict[str, Sight]:
    """Put the keys together that are one on the page: of each result, and of whatever is mapped."""
    found: dict[str, Sight] = {}
    for key, sight in sights.items():
        one = found.setdefault(shown(key), Sight(sight.example))
        one.kinds |= sight.kinds
        one.values |= sight.values
    return found


def shown(key: str) -> str:
    """Give the name that a key has on the page."""
    return next((name for prefix, name in _FAMILIES.items() if key.startswith(prefix)), key)


def _sorted(sights: dict[str, Sight]) -> list[tuple[str, Sight]]:
    """Give the conventions' keys first."""
    return sorted(_grouped(sights).items(), key=lambda one: (one[0].startswith("tekton."), one[0]))


def _on(key: str, sight: Sight) -> str:
    if key in _ANYWHERE:
        return "any span"
    names = [said.title for kind, said in KINDS.items() if kind in sight.kinds]
    names += [f"event `{name}`" for name in EVENTS if EVENT.format(name) in sight.kinds]
    return ", ".join([*names, *(["links"] if LINK in sight.kinds else [])])


def _holders(sight: Sight) -> str:
    return "every span" if "run" in sight.kinds else "what rests on a Pod"


def _described(key: str, sight: Sight, about: dict[str, str]) -> tuple[str, str, str]:
    """Give an attribute's type, an example and its meaning."""
    values = f" One of {code(VALUES[key])}." if key in VALUES else ""
    known = _grouped(recorded().attributes) | _grouped(recorded().resources)
    return _type(sight.example), f"{_example(sight.example)}{'' if key in known else ' ¹'}", f"{about[key]}{values}"


def _type(value: AttributeValue) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case tuple():
            return "strings"
        case _:
            return "string"


def _example(value: AttributeValue) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text if len(text) <= _LONGEST_EXAMPLE else f'{text[:_LONGEST_EXAMPLE]}...'}`"


def _result(result: Result, errors: set[bool]) -> tuple[str, str, str, str]:
    """Say what a result means; it never has two statuses."""
    (is_error,) = errors
    others = ["any other"] if result is Result.ERROR else []
    reasons = [f"`{reason}`" for reason, of in RESULTS_OF_FALSE.items() if of is result]
    return f"`{result}`", sentence(_RESULTS[result]), "ERROR" if is_error else "UNSET", ", ".join([*reasons, *others])


def _event(name: str, text: str) -> tuple[str, str, str]:
    has = [key for key, sight in sorted(sighted().attributes.items()) if EVENT.format(name) in sight.kinds]
    return f"`{name}`", sentence(text), code(has)
