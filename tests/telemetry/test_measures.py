"""What is counted is what is told: the same names, times, results and ids as the spans have."""

import pytest

from tests.delivery.test_ledger import FACTS
from tests.kit import Told, drive
from tracer.delivery.checkpoint import Checkpoint
from tracer.delivery.ledger import Ledger
from tracer.telemetry import attributes as keys
from tracer.telemetry.measures import Counted, Measure, Subject
from tracer.telemetry.records import SpanRecord

UNTOLD = {"not-sampled"}
"""Where nothing is sent, for its caller asked for no trace, and all is counted."""
PASSED_BY = {"failure", "error"}


def count(name: str) -> Told:
    """Drive a recording with a ledger that counts."""
    ledger = Ledger()
    ledger.recall(Checkpoint())
    ledger.count()
    return drive(FACTS[name], ledger)


@pytest.mark.parametrize("name", FACTS.keys() - UNTOLD)
def test_each_step_is_counted_as_it_is_told(name: str) -> None:
    """Each step's span has its measure, with its id, names, result, end and length, and there are no others."""
    told = count(name)
    measures = {one.slot: one for one in told.measures if one.subject.counted is Counted.STEP}
    spans = {slot: span for slot, span in told.spans.items() if slot.kind == "step"}
    assert measures.keys() == spans.keys()
    for slot, span in spans.items():
        one = measures[slot]
        assert (one.trace_id, one.span_id, one.ended_ns) == (span.trace_id, span.span_id, span.end_ns)
        assert one.subject.namespace == dict(span.resource)[keys.NAMESPACE_NAME]
        assert one.subject.step == span.attribute(keys.TASK_NAME)
        assert one.result == span.attribute(keys.TASK_RUN_RESULT)
        assert one.has_failed is (span.is_error and not span.attribute(keys.STEP_TOLERATED))
        has_run = span.attribute(keys.STEP_CLASS) in {"ran", "cut_off"}
        assert one.duration_ns == (span.end_ns - span.start_ns if has_run else None)


@pytest.mark.parametrize("name", FACTS.keys() - UNTOLD)
def test_each_attempt_and_run_is_counted_as_it_is_told(name: str) -> None:
    """An example of an attempt is its `retry` span, or that of its task; of a PipelineRun its own. Their results agree."""
    told = count(name)
    spans = {span.span_id: span for span in told.spans.values()}
    for one in told.measures:
        if one.subject.counted is Counted.STEP:
            continue
        span = spans[one.span_id]
        assert span.trace_id == one.trace_id
        is_last_attempt = span.slot.kind != "task" or not span.attribute(keys.RETRIES)
        result = span.attribute(keys.PIPELINE_RESULT) or span.attribute(keys.TASK_RUN_RESULT)
        assert one.result == result or not is_last_attempt
        assert one.duration_ns is None or 0 <= one.duration_ns <= span.end_ns - span.start_ns
        assert _pipeline_of(one, span) == dict(span.resource).get(keys.PIPELINE_NAME, "")
    runs = {slot.owner_uid for slot, span in told.spans.items() if slot.kind == "run" and _is_of_pipeline_run(span)}
    assert runs == {one.slot.owner_uid for one in told.measures if one.subject.counted is Counted.PIPELINE_RUN}


def _pipeline_of(one: Measure, span: SpanRecord) -> str:
    """Say which name the resource has: of a standalone TaskRun its task's."""
    is_alone = one.subject.counted is Counted.ATTEMPT and span.slot.kind == "run"
    return one.subject.task if is_alone else one.subject.pipeline


def _is_of_pipeline_run(span: SpanRecord) -> bool:
    return span.attribute(keys.RUN_KIND) == "PipelineRun"


@pytest.mark.parametrize("name", FACTS)
def test_what_is_counted_was_expected(name: str) -> None:
    """Whatever ends was announced before, so that its series is there at zero, if anything of it was seen before it ended."""
    expected, told = set[Subject](), count(name)
    for one in told.counted:
        if isinstance(one, Subject):
            expected.add(one)
        else:
            assert one.subject in expected


@pytest.mark.row("S3")
def test_what_nobody_asked_to_be_traced_is_counted_all_the_same() -> None:
    """A caller's flag hides no failure from the metrics; there is no span to give as an example."""
    told = count("not-sampled")
    assert told.spans == {}
    assert {one.subject.counted for one in told.measures} == set(Counted)
    assert not any(one.trace_id or one.span_id for one in told.measures)


def test_what_was_let_pass_is_no_failure() -> None:
    """`onError: continue` says that nobody is to be woken."""
    (passed,) = [one for one in count("on-error-continue").measures if one.result in PASSED_BY]
    assert not passed.has_failed
