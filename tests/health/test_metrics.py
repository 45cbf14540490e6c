"""The metrics: what is scraped is what the components count."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.kit import HOSTILE_TEXTS, SCHEMA, ManualClock
from tracer.delivery.outbox import Books
from tracer.delivery.readings import Loss
from tracer.health import families
from tracer.health.families import FAMILIES, Type
from tracer.health.metrics import Metrics
from tracer.health.readings import Readings, awaited, read_delivery, read_watches
from tracer.kube.reflector import Reflector, reflectors_of
from tracer.kube.wire import feeds
from tracer.tekton.names import Kind
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
            namespace, SCHEMA, Account(), Transport(TransportSettings(), clock), clock, asyncio.Lock(), lambda _: None
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
        assert family.name.startswith("tracer_")
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
    assert awaited(watching) == dict.fromkeys(["pipelineruns", "taskruns", "pods"], "It is not served")


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


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize("text", ['"', "\\", "\n", 'a="b"} 1\n# EOF\n', "\\n", "\r", *HOSTILE_TEXTS])
def test_hostile_label_values_stay_values(accept: str, text: str) -> None:
    """Whatever is in one, it is read back as it was; half a character becomes a question mark."""
    found = scrape(made({families.SPANS_LOST: {(text,): 5}}), accept)
    (sample,) = [one for one in found["tracer_spans_lost"].samples if one.value]
    assert sample.labels == {"reason": text.replace("\ud800", "?")}


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
