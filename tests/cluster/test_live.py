"""The claim of the controller: what it tells of runs that go on is true, whole, the same as `replay` tells, and told soon."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tests import test_truth
from tests.cluster import account, jaeger, otlp
from tests.cluster.delivered import tracer
from tests.cluster.live import NAMES, Live
from tests.cluster.program import LIFE
from tests.kit import replay

FRESH_WITHIN_S = 5
"""Operations 1, R4: p99 from a passed step's end to its acknowledgement."""
MAY_ASK = {
    ("get", "namespaces", "kube-system"),
    *((verb, kind, name) for verb in ("get", "update") for kind, name in account.STATE_OBJECTS),
    *((verb, kind, None) for verb in ("list", "watch") for kind in ("pipelineruns", "taskruns", "customruns", "pods", "events")),
}
SHOWS_ITS_SETTING = {
    "compressed-messages": "tknz:",
    "keep-pod-on-cancel": r"\"Reason\",\"value\":\"Cancelled\"",
    "native-sidecar": '"restartPolicy":"Always"',
    "tekton-tracing": '"spanContext":{',
}
"""What a recording has only because Tekton's settings were changed for it."""

MAY_END_NOTHING = {"pull-failure", "task-timeout"}
"""No step begins, or on a slow machine none has ended when the time is up."""


@dataclass(frozen=True, slots=True)
class SentStep:
    """A step's span as it was sent."""

    sent: ResourceSpans

    @property
    def start_ns(self) -> int:
        """Its start."""
        return otlp.span_of(self.sent).start_time_unix_nano

    @property
    def end_ns(self) -> int:
        """Its end."""
        return otlp.span_of(self.sent).end_time_unix_nano

    @property
    def place(self) -> tuple[str, str]:
        """The UID of its Pod, and its container."""
        return str(otlp.value_of(self.sent.resource.attributes, "k8s.pod.uid")), str(self.attribute("k8s.container.name"))

    def attribute(self, key: str) -> object:
        """Look up one attribute."""
        return otlp.value_of(otlp.span_of(self.sent).attributes, key)


@pytest.fixture(scope="module")
def sent_steps(live: Live) -> dict[tuple[str, str], SentStep]:
    """Find the steps that were told, by Pod UID and container."""
    steps = [SentStep(one) for one in live.spans]
    return {step.place: step for step in steps if step.attribute("tekton.step.class")}


def test_what_was_sent_is_what_replay_makes_of_the_record(live: Live) -> None:
    """The spans in the raw requests are byte for byte, resource and scope too, what `replay` makes of what `record` wrote."""
    printed = otlp.one_by_one([otlp.from_json(tracer("replay", "--dry-run", "-o", "otlp", str(live.recorded)))])
    otlp.check_same(live.spans, printed)
    assert [one.SerializeToString() for one in live.spans] == [one.SerializeToString() for one in printed]


def test_everything_is_sent_once(live: Live) -> None:
    """Jaeger took every request, and no span was in two of them."""
    assert {(request.path, request.status) for request in live.requests} == {("/v1/traces", 200)}
    ids = Counter((otlp.span_of(one).trace_id, otlp.span_of(one).span_id) for one in live.spans)
    assert [span_id.hex() for (_, span_id), count in ids.items() if count > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_told_as_they_say_themselves(live: Live, sent_steps: dict[tuple[str, str], SentStep], name: str) -> None:
    """Every step that ran begins and ends when its script did, within the limits of the recordings; no other says it ran."""
    truth = test_truth.truth_of(live.recordings / name)
    assert name in MAY_END_NOTHING or any("end" in step for step in truth)
    test_truth.check_steps("", truth, sent_steps)


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_is_well_formed(live: Live, name: str) -> None:
    """Each run has one trace of the declared number of spans, and no child leaves its parent."""
    told = replay(live.recorded / "watch.jsonl")  # which is what was sent, as the first test shows
    spans = [span for span in told if ("k8s.namespace.name", f"scenario-{name}") in span.resource]
    assert len(test_truth.check_tree(spans)) == 1


@pytest.mark.parametrize(("name", "words"), SHOWS_ITS_SETTING.items())
def test_tekton_was_set_as_the_scenario_wants_it(live: Live, name: str, words: str) -> None:
    """What a scenario shows only with another setting of Tekton's, it showed."""
    assert words in (live.recordings / name / "watch.jsonl").read_text()


def test_a_passed_step_is_told_soon(live: Live, sent_steps: dict[tuple[str, str], SentStep], say: Callable[[str], None]) -> None:
    """From the end of a passed step, as its script says, to the backend's acknowledgement 5 s pass at most, at p99.

    What other tests left behind had ended before the controller began.
    """
    ours = {truth["pod"] for truth in _truths(live)}
    ends = {(truth["pod"], truth["container"]): truth["end"] for truth in _truths(live) if "end" in truth}
    answered = {
        SentStep(one).place: request.answered_s for request in reversed(live.requests) for one in otlp.one_by_one([request.spans])
    }
    passed = [
        place
        for place, step in sent_steps.items()
        if place[0] in ours and step.attribute("cicd.pipeline.task.run.result") == "success"
    ]
    ages = sorted(answered[place] - ends.get(place, sent_steps[place].end_ns / 1e9) for place in passed)
    p50, p95, p99 = (ages[min(len(ages) - 1, int(len(ages) * share))] for share in (0.5, 0.95, 0.99))
    say(
        f"{len(ages)} passed steps, end to acknowledgement: p50 {p50:.2f} s, p95 {p95:.2f}, p99 {p99:.2f}, at most {ages[-1]:.2f}"
    )
    assert p99 <= FRESH_WITHIN_S


def test_nothing_went_wrong(live: Live) -> None:
    """The log has the life of the process, and neither a warning nor an error; nothing was forbidden."""
    assert [event for event in live.run.events if event["level"] != "info"] == []
    assert Counter(event["event"] for event in live.run.events) == Counter(LIFE)
    assert "forbidden" not in live.run.log.read_text() + live.record.log.read_text()


def test_it_ends_when_it_is_told_to(live: Live) -> None:
    """SIGTERM ends `run` and `record` with exit code 0, within the time that Kubernetes gives."""
    assert (live.run.exit_code, live.record.exit_code) == (0, 0)


def test_it_asks_for_nothing_but_its_rights(live: Live) -> None:
    """The API server's own audit: lists, watches, one namespace; it writes its two own objects alone, and nothing is refused."""
    asked = {(one["verb"], one["objectRef"]["resource"], one["objectRef"].get("name")) for one in live.asked}
    assert asked <= MAY_ASK
    assert {kind for _, kind, _ in asked} == {kind for _, kind, _ in MAY_ASK}
    assert {one["responseStatus"]["code"] for one in live.asked} == {200}


def test_jaeger_has_every_span(live: Live) -> None:
    """A program that asks Jaeger gets of each trace the spans that were sent, every field, each once; it warns of none of them.

    Of Tekton's own spans it may: below a short one of one service stand those of another, which begin after it has ended.
    """
    assert live.in_jaeger.keys() == {otlp.span_of(one).trace_id for one in live.spans}
    for trace_id, spans in live.in_jaeger.items():
        sent = [one for one in live.spans if otlp.span_of(one).trace_id == trace_id]
        otlp.check_same([one for one in spans if otlp.scope_of(one) == "tracer"], jaeger.as_kept(sent))
        names = {otlp.span_of(one).name for one in sent}
        assert [warning for warning in live.warnings[trace_id] if warning[0] in names] == []


def _truths(live: Live) -> list[dict[str, Any]]:
    return [truth for name in NAMES for truth in test_truth.truth_of(live.recordings / name)]
