"""What an old Jaeger is sent, what its answer means, and that each command sends to it."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.jaeger.thrift.gen.jaeger.ttypes import Log, Process, Span, SpanRef, SpanRefType, Tag, TagType

from tests.asked import WITHIN_S, kubeconfig
from tests.cluster import jaeger, otlp
from tests.jaeger.receiver import ThriftReceiver, read_batch
from tests.kit import HERE, RECORDINGS, SCENARIOS, Json, replay, span_record
from tests.process.test_process import done
from tests.replies import HTML, says
from tracer.clock import Clock
from tracer.delivery.jaeger import THRIFT, JaegerThrift, understand
from tracer.delivery.outcome import Delivered, Outcome, Refused, Rejected, Retry, Trouble
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver, Reply, acknowledge
from tracer.kube.recording import find_recording
from tracer.telemetry.otlp import export_request
from tracer.telemetry.records import SpanEvent, SpanKind, SpanLink, SpanRecord
from tracer.transport import Answer, Transport, TransportSettings

URL = "http://jaeger:14268/api/traces"
BACKEND = JaegerThrift(Transport(TransportSettings(), Clock()), URL)
REFERENCES = {SpanRefType.CHILD_OF: "CHILD_OF", SpanRefType.FOLLOWS_FROM: "FOLLOWS_FROM"}
CANCEL = HERE / "recordings" / "cancel"
WHOLE = SpanRecord(
    slot=span_record("uid", "whole").slot,
    trace_id=bytes.fromhex("ffffffffffffffff0000000000000001"),
    span_id=bytes.fromhex("8000000000000001"),
    parent_span_id=bytes.fromhex("fffffffffffffffe"),
    has_remote_parent=True,
    trace_state="vendor=value",
    name="compile ⚙",
    kind=SpanKind.SERVER,
    start_ns=1_787_220_000_000_000_999,
    end_ns=1_787_220_001_000_000_001,
    attributes=(("flag", True), ("list", ("1", "ä<b>")), ("number", -7), ("text", "a\nb")),
    resource=(("k8s.pod.name", "a-pod"), ("replicas", 2), ("service.name", "ci")),
    events=(SpanEvent("pulled", 1_787_220_000_500_000_000, (("image", "busybox"),)),),
    links=(SpanLink(bytes(15) + b"\x02", bytes(7) + b"\x03", "a=b", (("lost", "here"),)),),
    is_error=True,
    description="it failed",
)

# ---------------------------------------------------------------- what is sent


def test_a_span_is_whole() -> None:
    """Each field has the place that OpenTelemetry's mapping gives it: the parent as a field and as the first reference."""
    batch = read_batch(BACKEND.encode((WHOLE,)))
    assert batch.process == Process(
        "ci", [Tag("k8s.pod.name", TagType.STRING, vStr="a-pod"), Tag("replicas", TagType.LONG, vLong=2)]
    )
    (span,) = batch.spans
    assert span == Span(
        traceIdHigh=-1,
        traceIdLow=1,
        spanId=-(2**63) + 1,
        parentSpanId=-2,
        operationName="compile ⚙",
        references=[SpanRef(SpanRefType.CHILD_OF, 1, -1, -2), SpanRef(SpanRefType.FOLLOWS_FROM, 2, 0, 3)],
        flags=1,
        startTime=1_787_220_000_000_000,
        duration=1_000_001,
        tags=[
            Tag("flag", TagType.BOOL, vBool=True),
            Tag("list", TagType.STRING, vStr='["1","ä<b>"]'),
            Tag("number", TagType.LONG, vLong=-7),
            Tag("text", TagType.STRING, vStr="a\nb"),
            Tag("otel.scope.name", TagType.STRING, vStr="tracer"),
            Tag("otel.scope.version", TagType.STRING, vStr="1"),
            Tag("span.kind", TagType.STRING, vStr="server"),
            Tag("otel.status_code", TagType.STRING, vStr="ERROR"),
            Tag("error", TagType.BOOL, vBool=True),
            Tag("otel.status_description", TagType.STRING, vStr="it failed"),
            Tag("w3c.tracestate", TagType.STRING, vStr="vendor=value"),
        ],
        logs=[
            Log(
                1_787_220_000_500_000,
                [Tag("event", TagType.STRING, vStr="pulled"), Tag("image", TagType.STRING, vStr="busybox")],
            )
        ],
    )


def test_a_root_has_no_parent() -> None:
    """Thrift has no empty id: 0 stands for none, and there is no reference."""
    (span,) = read_batch(BACKEND.encode((span_record("uid", "root"),))).spans
    assert (span.parentSpanId, span.references, span.logs) == (0, [], [])


@given(st.integers(0, 2**62), st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_span_holds_what_it_held(start_ns: int, later_ns: int, inner_ns: int, longer_ns: int) -> None:
    """In microseconds no span begins before the one that holds it, ends after it, or has no length."""
    outer = replace(WHOLE, start_ns=start_ns, end_ns=start_ns + later_ns + inner_ns + longer_ns)
    inner = replace(WHOLE, start_ns=start_ns + later_ns, end_ns=start_ns + later_ns + inner_ns + 1)
    around, within = read_batch(BACKEND.encode((outer, inner))).spans
    assert around.startTime <= within.startTime
    assert within.startTime + within.duration <= around.startTime + around.duration
    assert within.duration > 0
    assert abs(around.startTime * 1000 - outer.start_ns) < 1000
    assert abs((around.startTime + around.duration) * 1000 - outer.end_ns) < 1000


@pytest.mark.row("B20")
@pytest.mark.parametrize("path", [*RECORDINGS, *SCENARIOS], ids=lambda path: path.name)
def test_it_is_what_a_jaeger_makes_of_otlp(path: Path) -> None:
    """Every span of a recording has the content that Jaeger's pages show of the same span when it came as OTLP."""
    spans = tuple(replay(find_recording(path)))
    wanted = jaeger.as_kept(otlp.one_by_one([export_request(spans)]))
    shown = {one["spanID"]: one for one in map(jaeger.as_shown_of_thrift, wanted)}
    sent = {one["spanID"]: one for span in spans for one in as_shown(BACKEND.encode((span,)))}
    assert sent == shown


def test_the_same_spans_give_the_same_bytes() -> None:
    """Sent again, or built again by another process, a span is what it was."""
    first, second = (tuple(replay(find_recording(CANCEL))) for _ in range(2))
    assert [BACKEND.encode((one,)) for one in first] == [BACKEND.encode((one,)) for one in second]


def as_shown(body: bytes) -> Iterator[Json]:
    """Say what a batch says, as Jaeger's pages get it."""
    batch = read_batch(body)
    for span in batch.spans:
        yield {
            "traceID": _hex(span.traceIdHigh) + _hex(span.traceIdLow),
            "spanID": _hex(span.spanId),
            "references": [
                {
                    "refType": REFERENCES[one.refType],
                    "traceID": _hex(one.traceIdHigh) + _hex(one.traceIdLow),
                    "spanID": _hex(one.spanId),
                }
                for one in span.references
            ],
            "operationName": span.operationName,
            "startTime": span.startTime,
            "duration": span.duration,
            "tags": _pairs(span.tags),
            "logs": [{"timestamp": log.timestamp, "fields": _pairs(log.fields)} for log in span.logs],
            "process": {"serviceName": batch.process.serviceName, "tags": _pairs(batch.process.tags)},
        }


def _pairs(tags: list[Tag]) -> Json:
    pairs = {tag.key: next(one for one in (tag.vStr, tag.vBool, tag.vLong) if one is not None) for tag in tags}
    assert len(pairs) == len(tags)
    return pairs


def _hex(number: int) -> str:
    return number.to_bytes(8, "big", signed=True).hex()


# ---------------------------------------------------------------- what an answer means


def answer(status: int, body: bytes = b"", content_type: str = "", *, is_whole: bool = True, **headers: str) -> Answer:
    """Make an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": content_type, **named}, body, is_whole)


@pytest.mark.row("B20")
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(202), Delivered()),
        (answer(503, Retry_After="7"), Retry(f"{URL} answered 503", Trouble.BUSY, 7)),
        (
            answer(500, b"Cannot submit Jaeger batch: server busy\n", "text/plain"),
            Retry(f"{URL} answered 500: Cannot submit Jaeger batch: server busy", Trouble.BROKEN),
        ),
        (
            answer(400, b"Unable to process request body: EOF\n", "text/plain; charset=utf-8"),
            Rejected(f"{URL} answered 400: Unable to process request body: EOF"),
        ),
        (answer(413), Rejected(f"{URL} answered 413")),
    ],
)
def test_answers(said: Answer, expected: Outcome) -> None:
    """Each kind of answer has one meaning; 202 without a word alone is a confirmation."""
    assert understand(said, URL) == expected


@pytest.mark.row("B20")
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(200), "nobody takes Jaeger's Thrift there"),
        (answer(200, HTML, "text/html"), "nobody takes Jaeger's Thrift there"),
        (answer(204), "nobody takes Jaeger's Thrift there"),
        (answer(202, HTML, "text/html"), "confirmed nothing"),
        (answer(202, is_whole=False), "confirmed nothing"),
        (answer(404, b"404 page not found\n", "text/plain"), "404 page not found; nobody takes Jaeger's Thrift there"),
        (answer(405), "nobody takes Jaeger's Thrift there"),
        (answer(401), "otlp.headers_file"),
        (answer(307, Location="https://other/api/traces?token=secret"), "a redirect, to https://other/api/traces, which"),
        (answer(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"), "https://"),
    ],
)
def test_what_a_person_must_mend(said: Answer, why: str) -> None:
    """What no collector answers is no confirmation, and says what to look at."""
    outcome = understand(said, URL)
    assert isinstance(outcome, Refused)
    assert why in outcome.why
    assert "secret" not in outcome.why


@given(st.integers(100, 599), st.binary(max_size=200), st.sampled_from(["text/html", "text/plain", ""]), st.booleans())
def test_any_answer_means_something(status: int, body: bytes, content_type: str, is_whole: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever is answered, it is one outcome; only a whole 202 without a word confirms."""
    outcome = understand(answer(status, body, content_type, is_whole=is_whole), URL)
    assert isinstance(outcome, Delivered) == ((status, body, is_whole) == (202, b"", True))
    assert isinstance(outcome, Delivered) or len(getattr(outcome, "why", "")) < 500


# ---------------------------------------------------------------- the commands


async def tracer(receiver: Receiver, *arguments: str | Path) -> tuple[int, str, str]:
    """Run the program as a user does, with the exporter chosen as other programs are told it."""
    environment = {"OTEL_TRACES_EXPORTER": "jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT": receiver.url, "PATH": "", "HOME": "/none"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tracer", *map(str, arguments), stdout=-1, stderr=-1, env=environment
    )
    async with asyncio.timeout(WITHIN_S):
        out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


def with_receiver(story: Callable[[Receiver], Awaitable[None]], *replies: Reply) -> Receiver:
    """Tell a story with a collector that replies so."""

    async def main() -> Receiver:
        async with ThriftReceiver(replies) as receiver:
            await story(receiver)
            return receiver

    return asyncio.run(main())


@pytest.mark.row("B20")
def test_replay_sends_each_span_with_its_resource() -> None:
    """Every span arrives, once, in a batch of its own resource; the second time the bytes are the same."""

    async def story(receiver: Receiver) -> None:
        for _ in range(2):
            code, _, said = await tracer(receiver, "replay", CANCEL)
            assert (code, said.count(" 0 rejected, 0 lost.")) == (0, 1), said

    receiver = with_receiver(story)
    spans = replay(find_recording(CANCEL))
    assert receiver.spans.keys() == {span.span_id for span in spans}
    assert {len(contents) for contents in receiver.spans.values()} == {1}
    assert set(receiver.times_taken.values()) == {2}
    assert {headers["Content-Type"] for headers, _ in receiver.requests} == {THRIFT}
    services = {read_batch(body).process.serviceName for _, body in receiver.requests}
    assert services == {"tekton"}
    assert len(receiver.requests) == 2 * len({span.resource for span in spans})


@pytest.mark.row("B20")
def test_a_503_is_no_success() -> None:
    """What the collector did not take is sent again, and all of it arrives."""

    async def story(receiver: Receiver) -> None:
        code, _, said = await tracer(receiver, "replay", CANCEL)
        assert (code, said.count(" 0 rejected, 0 lost.")) == (0, 1), said

    receiver = with_receiver(story, *[says(503, Retry_After="0")] * 2)
    assert receiver.spans.keys() == {span.span_id for span in replay(find_recording(CANCEL))}


@pytest.mark.row("B20")
def test_a_login_page_is_no_success() -> None:
    """A page that answers 200 to everything took nothing, and the exit code says so."""

    async def story(receiver: Receiver) -> None:
        code, _, said = await tracer(receiver, "replay", CANCEL)
        assert code == 5
        assert "answered 200; nobody takes Jaeger's Thrift there, is the address right?" in said

    assert not with_receiver(story, *[says(200, HTML, "text/html")] * 9).spans


def test_run_sends_to_it(tmp_path: Path) -> None:
    """A round of the controller delivers what the cluster has."""

    async def story(receiver: Receiver) -> None:
        async with ApiServer() as server:
            server.put(done())
            known = kubeconfig(tmp_path, server.url, "ns")
            code, _, said = await tracer(receiver, "run", "--once", "--kubeconfig", known, "--listen", "127.0.0.1:0")
            assert code == 0, said

    assert with_receiver(story).spans


def test_doctor_sends_its_span_to_it() -> None:
    """The test span goes by the exporter that was chosen; a collector that is not there gets its remedy."""

    async def story(receiver: Receiver) -> None:
        _, said, _ = await tracer(receiver, "doctor", "-o", "json")
        found = json.loads(said.splitlines()[-1])
        assert (found["check"], found["state"]) == ("backend", "ok")
        assert found["found"].startswith(f"{receiver.url} took a test span")
        _, said, _ = await tracer(receiver, "doctor", "-o", "json")
        assert "takes Jaeger's Thrift over HTTP" in json.loads(said.splitlines()[-1])["remedy"]

    async def refuse(receiver: Receiver) -> None:
        receiver.reply_with([acknowledge, says(503)])
        await story(receiver)

    assert len(with_receiver(refuse).requests) == 2


def test_check_says_what_is_sent_where() -> None:
    """The settings are shown with their sources, and nothing is connected to."""

    async def story(receiver: Receiver) -> None:
        code, said, _ = await tracer(receiver, "check")
        assert code == 0
        rows = {line.split()[0]: line.split()[1:] for line in said.splitlines()}
        assert rows["exporter"] == ["jaeger", "OTEL_TRACES_EXPORTER"]
        assert rows["jaeger.endpoint"] == [receiver.url, "OTEL_EXPORTER_JAEGER_ENDPOINT"]

    assert not with_receiver(story).requests


def test_demo_keeps_to_its_own_receiver() -> None:
    """The demonstration needs nobody else, whatever is configured."""

    async def story(receiver: Receiver) -> None:
        code, said, _ = await tracer(receiver, "demo", "success", "--speed", "100000")
        assert code == 0
        assert "acknowledged by the receiver that came with this demonstration" in said

    assert not with_receiver(story).requests
