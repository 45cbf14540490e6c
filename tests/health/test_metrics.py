"""The metrics: what is scraped is what the components count."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.kit import HOSTILE_TEXTS, SCHEMA, ManualClock
from tracer.delivery.ledger import Standing
from tracer.delivery.outbox import Books
from tracer.delivery.readings import Loss
from tracer.health import families
from tracer.health.families import FAMILIES, Family, Label, Type
from tracer.health.metrics import Metrics
from tracer.health.readings import Readings, awaited, read_delivery, read_runs, read_watches
from tracer.kube.reflector import Fellows, Reflector, reflectors_of
from tracer.kube.wire import feeds
from tracer.tekton.names import Kind
from tracer.tekton.reasons import Result
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.measures import Counted, Measure, Subject
from tracer.telemetry.records import Slot
from tracer.transport import Reason, Transport, TransportSettings

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"
READ_AT_S = 1_787_220_000.0


@dataclass
class Sending:
    """What a sender counts."""

    requests: Counter[str] = field(default_factory=Counter)
    sent_spans: int = 0
    last_acknowledged_unix_s: float | None = None


@dataclass
class Held:
    """What an outbox counts."""

    books: Books = field(default_factory=Books)
    waiting: int = 0
    under_way: int = 0


@dataclass
class Counts:
    """What a controller counts."""

    sender: Sending = field(default_factory=Sending)
    outbox: Held = field(default_factory=Held)
    losses: Counter[Loss] = field(default_factory=Counter)
    lost_spans: Counter[str] = field(default_factory=Counter)
    incomplete: Counter[str] = field(default_factory=Counter)
    held_objects: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ignored_contexts: Counter[str] = field(default_factory=Counter)
    leads: bool = True
    runs: Sequence[Standing] = ()

    def standing(self) -> Sequence[Standing]:
        """Say it."""
        return self.runs

    def oldest_due_age_s(self) -> float:
        """Say it."""
        return 12.5


class Account:
    """Nobody in particular."""

    url = "https://it"
    namespace = "its"

    def headers(self, *, is_refused: bool) -> dict[str, str]:  # noqa: ARG002 - a door's shape
        """Say nothing."""
        return {}


def reflectors(*namespaces: str) -> list[Reflector]:
    """Make reflectors that have read something at the same time."""
    clock = ManualClock()
    made = [
        one
        for namespace in namespaces
        for one in reflectors_of(
            namespace, SCHEMA, Account(), Transport(TransportSettings(), clock), clock, Fellows(), lambda _: None
        )
    ]
    for one in made:
        one.last_read_unix_s = READ_AT_S
    return made


def scrape(metrics: Metrics, accept: str = "") -> dict[str, Metric]:
    """Give the families of a scrape, by name, without those of the process; a counter's name is as OpenMetrics has it."""
    content_type, body = asyncio.run(metrics.render(accept))
    is_openmetrics = content_type.startswith("application/openmetrics-text")
    assert is_openmetrics is ("openmetrics" in accept)
    found = list((parse_openmetrics if is_openmetrics else parse_text)(body.decode()))
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found if not one.name.startswith("process_")}


def values(metrics: Metrics, accept: str = "") -> dict[str, float]:
    """Give the samples of a scrape, by name and labels as they are written."""
    return {
        f"{sample.name}{''.join(f' {label}={value}' for label, value in sorted(sample.labels.items()))}": sample.value
        for one in scrape(metrics, accept).values()
        for sample in one.samples
    }


def made(readings: Readings | None = None) -> Metrics:
    """Make metrics that read this, or a process that has just begun."""
    return Metrics("1.2.3", lambda: {**read_delivery(Counts()), **read_watches(reflectors(""))} if readings is None else readings)


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=0.0.4", OPENMETRICS])
def test_each_metric_of_the_table_is_there_and_no_other(accept: str) -> None:
    """With the type and the help of the table, in the format that was asked for."""
    found = scrape(made(), accept)
    table = {family.name.removesuffix("_total"): (family.type, family.help) for family in FAMILIES}
    assert {name: (one.type, one.documentation) for name, one in found.items()} == table


def test_the_process_itself_is_measured() -> None:
    """What everybody's dashboards know."""
    _, body = asyncio.run(made().render(""))
    found = {one.name for one in parse_text(body.decode())}
    assert found >= {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds", "process_start_time_seconds"}


def test_the_table_keeps_to_the_customs() -> None:
    """Names say unit and type, a counter ends in `_total` and nothing else does, and each says what it is."""
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.name.startswith("tekton_" if family.most else "tracer_")
        assert family.labels[:1] == ((Label("namespace"),) if family.most else family.labels[:1])
        assert family.name.endswith("_total") is (family.type is Type.COUNTER)
        assert family.help[0].isupper()
        assert family.help.endswith(".")
        assert bool(family.buckets) is (family.type is Type.HISTOGRAM)
        assert list(family.buckets) == sorted(family.buckets)


def test_counters_are_born_at_zero() -> None:
    """With each label value that is known, so that the first increase is seen as one."""
    found = values(made({}))
    for name in (
        "tracer_spans_lost_total reason=memory_cap",
        "tracer_spans_lost_total reason=restart",
        "tracer_spans_acknowledged_total",
        "tracer_requests_total outcome=refused",
        "tracer_watch_errors_total kind=Pod reason=forbidden",
        "tracer_watch_events_total kind=Event type=BOOKMARK",
        "tracer_objects_skipped_total kind=CustomRun reason=too_large",
        "tracer_relists_total kind=PipelineRun",
    ):
        assert found[name] == 0
    assert not any(name.startswith("tracer_last_acknowledged") for name in found)  # 1970 would be a lie


def test_what_a_controller_counts_is_read() -> None:
    """Each of its counts under its name."""
    counts = Counts(
        sender=Sending(Counter(acknowledged=7, retried=2), 900, READ_AT_S),
        outbox=Held(Books(offered=1_000, delivered=800, rejected=3), waiting=5, under_way=4),
        losses=Counter({Loss.LATE_EVENT: 1, Loss.LATE_READING: 2, Loss.UNSAMPLED: 3, Loss.CHILD_MISSING: 4}),
        lost_spans=Counter(restart=11),
        incomplete=Counter(gap=12),
        held_objects={("TaskRun", "watched"): 13},
        ignored_contexts=Counter(malformed=14),
    )
    found = {name: value for name, value in values(made(read_delivery(counts))).items() if value}
    assert found == {
        "tracer_spans_acknowledged_total": 800,
        "tracer_spans_sent_total": 900,
        "tracer_spans_lost_total reason=restart": 11,
        "tracer_spans_rejected_total": 3,
        "tracer_edge_facts_dropped_total reason=late_event": 1,
        "tracer_requests_total outcome=acknowledged": 7,
        "tracer_requests_total outcome=retried": 2,
        "tracer_outbox_runs state=pending": 5,
        "tracer_outbox_runs state=in_flight": 4,
        "tracer_outbox_oldest_age_seconds": 12.5,
        "tracer_runs_incomplete_total reason=gap": 12,
        "tracer_late_changes_total": 2,
        "tracer_spans_not_sampled_total": 3,
        "tracer_last_acknowledged_timestamp_seconds": READ_AT_S,
        "tracer_objects kind=TaskRun state=watched": 13,
        "tracer_trace_context_ignored_total reason=malformed": 14,
        "tracer_is_leader": 1,
        "tracer_build_info version=1.2.3": 1,
    }


def test_what_reflectors_count_is_read_by_kind() -> None:
    """Namespaces and the feeds of Events are added up, HTTP errors are put together, and of times the oldest counts."""
    watching = reflectors("a", "b")
    for one in watching:
        one.course.events.update(ADDED=2, MODIFIED=1)
        one.read_bytes, one.relists = 100, 2
        one.errors.update(http_500=1, http_503=1, http_418=1, gone=1)
        one.skipped.update(malformed=1)
    watching[-1].last_read_unix_s = READ_AT_S - 60
    found = values(made(read_watches(watching)))
    assert found["tracer_watch_events_total kind=TaskRun type=ADDED"] == 4
    assert found["tracer_watch_events_total kind=Event type=ADDED"] == 12
    assert found["tracer_watch_bytes_total kind=Pod"] == 200
    assert found["tracer_relists_total kind=Pod"] == 4
    assert found["tracer_watch_errors_total kind=Pod reason=http_5xx"] == 4
    assert found["tracer_watch_errors_total kind=Pod reason=http_other"] == 2
    assert found["tracer_watch_errors_total kind=Pod reason=gone"] == 2
    assert found["tracer_objects_skipped_total kind=CustomRun reason=malformed"] == 2
    assert found["tracer_watch_last_event_timestamp_seconds kind=Pod"] == READ_AT_S
    assert found["tracer_watch_last_event_timestamp_seconds kind=Event"] == READ_AT_S - 60


def test_what_is_not_served_is_not_stale() -> None:
    """CustomRuns are not served everywhere: then nobody waits for them, and they have no time."""
    watching = reflectors("")
    for one in watching:
        one.reason, one.trouble = "not_served", "It is not served"
    found = values(made(read_watches(watching)))
    assert "tracer_watch_last_event_timestamp_seconds kind=Pod" in found
    assert "tracer_watch_last_event_timestamp_seconds kind=CustomRun" not in found
    assert awaited(watching) == dict.fromkeys(["pipelineruns", "taskruns", "pods"], "not_served")


def test_what_is_awaited_is_named() -> None:
    """By resource, namespace, and which Events; empty once everything was listed."""
    watching = reflectors("ci")
    assert list(awaited(watching)) == [
        *(f"{kind}s in namespace ci" for kind in ("pipelinerun", "taskrun", "customrun", "pod")),
        *(f"events ({reason}) in namespace ci" for reason in ("Pulled", "Pulling", "Scheduled")),
    ]
    for one in watching:
        one.course.is_synced = True
    assert awaited(watching) == {}


def test_each_reason_that_a_watch_can_fail_for_is_in_the_table() -> None:
    """What the network can do; and each kind that is watched."""
    assert set(families.WATCH_REASONS) >= set(Reason)
    assert tuple(dict.fromkeys(feed.kind for feed in feeds(""))) == families.WATCHED_KINDS
    assert set(families.WATCHED_KINDS) == set(Kind) - {Kind.NAMESPACE}


@pytest.mark.row("S10")
@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize("text", ['"', "\\", "\n", 'a="b"} 1\n# EOF\n', "\\n", "\r", *HOSTILE_TEXTS])
def test_hostile_label_values_stay_values(accept: str, text: str) -> None:
    """Whatever is in one, it is read back as it was; half a character becomes a question mark."""
    found = scrape(made({families.SPANS_LOST: {(text,): 5}}), accept)
    (sample,) = [one for one in found["tracer_spans_lost"].samples if one.value]
    assert sample.labels == {"reason": text.replace("\ud800", "?")}


# ------------------------------------------------------------ about runs


def subject(counted: Counted, *names: str) -> Subject:
    """Say what it is that ends."""
    return Subject(counted, "ci", *names)


def ended(counted: Counted, *names: str, result: Result = Result.SUCCESS, **more: Any) -> Measure:  # noqa: ANN401
    """Let something have ended at READ_AT_S, after 3 s, with a span."""
    at: dict[str, Any] = {"ended_ns": int(READ_AT_S * SECOND_NS), "duration_ns": 3 * SECOND_NS, "error_type": ""}
    at |= {"slot": Slot("step", "uid"), "trace_id": bytes(15) + b"t", "span_id": bytes(7) + b"s", **more}
    return Measure(subject(counted, *names), result=result, **at)


def counting(*measures: Measure | Subject) -> Metrics:
    """Make metrics that have counted this."""
    metrics = made({})
    for one in measures:
        metrics.count(one, 0.0)
    return metrics


def about_runs(metrics: Metrics) -> dict[str, float]:
    """Give the samples about runs, without buckets."""
    return {name: value for name, value in values(metrics).items() if name.startswith("tekton_") and "_bucket" not in name}


def test_what_is_expected_is_there_at_zero() -> None:
    """So that the first failure is an increase, for whoever scrapes before it."""
    found = about_runs(
        counting(
            subject(Counted.STEP, "build", "image", "compile"),
            subject(Counted.ATTEMPT, "build", "image"),
            subject(Counted.PIPELINE_RUN, "build"),
        )
    )
    names = {
        "tekton_steps_total namespace=ci pipeline=build result={} step=compile task=image",
        "tekton_taskruns_total namespace=ci pipeline=build result={} task=image",
        "tekton_pipelineruns_total namespace=ci pipeline=build result={}",
    }
    assert found == {name.format(result): 0 for name in names for result in ("success", "failure")}


def test_a_step_that_fails_is_counted() -> None:
    """By its names, by why, with when it was, and how long it took."""
    failed = ended(Counted.STEP, "build", "image", "compile", result=Result.ERROR, error_type="OOMKilled")
    assert about_runs(counting(failed, failed)) == {
        "tekton_steps_total namespace=ci pipeline=build result=error step=compile task=image": 2,
        "tekton_step_failures_total namespace=ci reason=OOMKilled": 2,
        "tekton_step_last_failure_timestamp_seconds namespace=ci pipeline=build step=compile task=image": READ_AT_S,
        "tekton_step_duration_seconds_count namespace=ci step=compile task=image": 2,
        "tekton_step_duration_seconds_sum namespace=ci step=compile task=image": 6,
    }


def test_attempts_and_runs_are_counted() -> None:
    """By their names, and how long they took, unless their start is not known."""
    attempt, run = ended(Counted.ATTEMPT, "build", "image", duration_ns=None), ended(Counted.PIPELINE_RUN, "build")
    assert about_runs(counting(attempt, run)) == {
        "tekton_taskruns_total namespace=ci pipeline=build result=success task=image": 1,
        "tekton_pipelineruns_total namespace=ci pipeline=build result=success": 1,
        "tekton_pipelinerun_duration_seconds_count namespace=ci pipeline=build result=success": 1,
        "tekton_pipelinerun_duration_seconds_sum namespace=ci pipeline=build result=success": 3,
    }


def test_a_time_only_rises() -> None:
    """What comes late, or again, leaves the latest success and failure as they are; what was let pass is neither."""
    old, new = (ended(Counted.STEP, "p", "t", "s", ended_ns=seconds * SECOND_NS) for seconds in (5, 9))
    passed_by = ended(Counted.STEP, "p", "t", "s", result=Result.FAILURE, ended_ns=20 * SECOND_NS)
    found = about_runs(counting(new, old, new, passed_by))
    assert found["tekton_step_last_success_timestamp_seconds namespace=ci pipeline=p step=s task=t"] == 9
    assert not any(name.startswith("tekton_step_last_failure") for name in found)


def test_a_reason_that_nobody_knows_is_one_of_the_others() -> None:
    """Reasons are a node's and a user's to choose; the series are not."""
    failures = [ended(Counted.STEP, "p", "t", "s", result=Result.ERROR, error_type=f"Reason{number}") for number in range(9)]
    assert about_runs(counting(*failures))["tekton_step_failures_total namespace=ci reason=other"] == 9


def test_an_example_leads_to_the_span() -> None:
    """In OpenMetrics, beside the counter and the bucket; what is not traced gives none."""
    told, untold = ended(Counted.STEP, "p", "t", "s"), ended(Counted.STEP, "p", "t", "u", trace_id=b"", span_id=b"")
    found = scrape(counting(told, untold), OPENMETRICS)
    ids = {"trace_id": (bytes(15) + b"t").hex(), "span_id": (bytes(7) + b"s").hex()}
    (counter,) = [one for one in found["tekton_steps"].samples if one.labels["step"] == "s"]
    assert counter.exemplar is not None
    assert counter.exemplar.labels == ids
    buckets = [one for one in found["tekton_step_duration_seconds"].samples if one.exemplar is not None]
    assert [(one.labels["step"], one.labels["le"], one.exemplar and one.exemplar.labels) for one in buckets] == [
        ("s", "5.0", ids)
    ]
    assert not any(one.exemplar for one in found["tekton_steps"].samples if one.labels["step"] == "u")


def test_who_leads_no_more_forgets_the_runs() -> None:
    """Another replica counts from here on; later it begins anew."""
    metrics = counting(ended(Counted.STEP, "p", "t", "s"))
    metrics.forget_runs()
    assert about_runs(metrics) == {}


@pytest.mark.row("L9", "S1")
def test_a_hundred_thousand_names_stay_within_their_limits() -> None:
    """Series stay under each metric's limit, sums are exact, and what was put together is counted."""
    metrics, count = made({}), 100_000
    for number in range(count):
        names = f"pipeline-{number}", f"task-{number}", f"step-{number}"
        one = ended(Counted.STEP, *names, result=Result.FAILURE, error_type="exit_code")
        metrics.count(replace(one, subject=replace(one.subject, namespace=f"ns-{number % 700}")), number / 1_000)
    found = scrape(metrics)
    for family in FAMILIES:
        series = {frozenset(label for label in one.labels.items() if label[0] != "le") for one in found[_named(family)].samples}
        assert len(series) <= family.most or not family.most
    (durations,) = [found[_named(one)] for one in (families.STEP_DURATION,)]
    assert sum(one.value for one in durations.samples if one.name.endswith("_count")) == count
    assert sum(one.value for one in found["tekton_steps"].samples) == count
    assert sum(one.value for one in found["tekton_step_failures"].samples) == count
    capped = {one.labels["metric"]: one.value for one in found["tracer_series_capped"].samples}
    assert capped["tekton_steps_total"] == count - families.STEPS.most + len(Result)
    assert len(asyncio.run(metrics.render(""))[1]) < 2_000_000


def _named(family: Family) -> str:
    return family.name.removesuffix("_total")


def test_runs_that_have_not_ended_are_read() -> None:
    """How many run, wait and are stuck, and how old the oldest one is, by namespace; nobody says so who stands by."""
    now_s = 10_000
    runs = [
        Standing(Kind.TASK_RUN, "ci", 9_000 * SECOND_NS, has_started=True, waiting=("", "ImagePullBackOff")),
        Standing(Kind.TASK_RUN, "ci", 1_000 * SECOND_NS, has_started=True, waiting=("ImagePullBackOff", "Mystery")),
        Standing(Kind.TASK_RUN, "ci", 11_000 * SECOND_NS, has_started=False, waiting=()),
        Standing(Kind.PIPELINE_RUN, "ci", 999 * SECOND_NS, has_started=True, waiting=()),
    ]
    assert about_runs(made(read_runs(Counts(runs=runs), now_s * SECOND_NS, 9_000))) == {
        "tekton_taskruns_running namespace=ci": 2,
        "tekton_steps_waiting namespace=ci reason=ImagePullBackOff": 2,
        "tekton_steps_waiting namespace=ci reason=other": 2,
        "tekton_run_oldest_age_seconds kind=TaskRun namespace=ci": 9_000,
        "tekton_run_oldest_age_seconds kind=PipelineRun namespace=ci": 9_001,
        "tekton_runs_stuck kind=TaskRun namespace=ci": 0,
        "tekton_runs_stuck kind=PipelineRun namespace=ci": 1,
    }
    assert about_runs(made(read_runs(Counts(runs=runs, leads=False), now_s * SECOND_NS, 9_000))) == {}


def test_many_namespaces_stay_within_the_limits() -> None:
    """What is read, too, is put together where there would be too many series."""
    runs = [Standing(Kind.TASK_RUN, f"ns-{number}", 0, has_started=True, waiting=("",)) for number in range(3_000)]
    found = scrape(made(read_runs(Counts(runs=runs), 5 * SECOND_NS, 1)))
    for family in (families.TASK_RUNS_RUNNING, families.STEPS_WAITING, families.RUNS_STUCK):
        assert len(found[family.name].samples) <= family.most
        assert sum(one.value for one in found[family.name].samples) == len(runs)
    assert {one.value for one in found[families.RUN_OLDEST_AGE.name].samples} == {5}


def test_histograms_hold_what_was_observed() -> None:
    """Each in its buckets; a clock that jumped back counts as no time at all."""
    metrics = made({})
    metrics.observe_request(0.02)
    metrics.observe_lag(400)
    metrics.observe_stall(31)
    metrics.observe_stall(-5)
    found = values(metrics)
    assert found["tracer_request_duration_seconds_bucket le=0.01"] == 0
    assert found["tracer_request_duration_seconds_bucket le=0.025"] == 1
    assert found["tracer_delivery_lag_seconds_bucket le=300.0"] == 0
    assert found["tracer_delivery_lag_seconds_bucket le=600.0"] == 1
    assert found["tracer_loop_stall_seconds_bucket le=30.0"] == 1
    assert (found["tracer_loop_stall_seconds_count"], found["tracer_loop_stall_seconds_sum"]) == (2, 31)


def test_numbers_are_of_one_moment() -> None:
    """What is counted while a scrape is written is for the next one; scrapes that come together get each their own."""
    books = Books()
    counts = Counts(outbox=replace(Held(), books=books))
    metrics = Metrics("1.2.3", lambda: read_delivery(counts))

    async def main() -> list[tuple[str, bytes]]:
        async with asyncio.TaskGroup() as tasks:
            scrapes = [tasks.create_task(metrics.render("")) for _ in range(3)]
            await asyncio.sleep(0)
            books.delivered = 8
        return [one.result() for one in scrapes]

    first, *_, last = asyncio.run(main())
    assert b"tracer_spans_acknowledged_total 0.0" in first[1]
    assert b"tracer_spans_acknowledged_total 8.0" in last[1]
