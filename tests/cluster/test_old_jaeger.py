"""The claim of the extra for an old Jaeger: what is sent as Thrift is what the same Jaeger has when it is sent as OTLP.

The lab's Jaeger is a new one that still takes what an old one took.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tests.cluster import jaeger, otlp
from tests.cluster.delivered import tracer
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.place import JAEGER_THRIFT_PORT
from tests.cluster.tee import Request, tee
from tests.kit import PYTHON_FOR_JAEGER, RECORDINGS, SCENARIOS, hostile_recording

NO_PARENT = re.compile(r"(invalid parent span IDs=|parent span ID=).*; skipping clock skew adjustment")
"""How Jaeger says that a parent is not there: a caller's, which nobody sends here, or that of a run that goes on."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Every recording, what `replay` prints of them, and what it sent, twice, through the tee."""

    printed: list[ResourceSpans]
    first: list[Request]
    second: list[Request]

    @property
    def trace_ids(self) -> list[bytes]:
        """Every trace of the recordings."""
        return sorted({otlp.span_of(one).trace_id for one in self.printed})


@pytest.fixture(scope="module")
def sent(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """Replay all recordings twice into an empty Jaeger, before it is asked for the first time."""
    cluster.stop("jaeger")  # it keeps everything in memory
    cluster.start("jaeger")
    paths = [str(path) for path in [*RECORDINGS, *SCENARIOS, hostile_recording(tmp_path_factory.mktemp("hostile"))]]
    printed = otlp.one_by_one([otlp.from_json(tracer("replay", "--dry-run", "-o", "otlp", *paths))])
    first, second = (_replay(paths, python=PYTHON_FOR_JAEGER) for _ in range(2))
    jaeger.settle()
    return Sent(printed, first, second)


def _replay(paths: list[str], python: Path) -> list[Request]:
    with tee(JAEGER_THRIFT_PORT) as one:
        tracer("replay", *paths, "--exporter", "jaeger", "--jaeger-endpoint", one.endpoint, python=python)
    return one.requests


@pytest.mark.row("B20")
def test_jaeger_takes_every_batch(sent: Sent) -> None:
    """Each is answered as we take for a confirmation, and no other way."""
    assert {(one.path, one.headers["content-type"], one.status) for one in sent.first} == {
        ("/api/traces", "application/x-thrift", 202)
    }


def test_what_is_sent_again_is_the_same(sent: Sent) -> None:
    """The second time the same batches are sent, so that the claim below holds though everything was sent twice."""
    assert Counter(one.body for one in sent.second) == Counter(one.body for one in sent.first)


@pytest.mark.row("B20")
def test_jaegers_pages_show_what_they_show_of_otlp(sent: Sent) -> None:
    """Every span is there, once, and no other: ids, parent, links, name, microseconds, tags, logs and process; none warns."""
    for trace_id in sent.trace_ids:
        spans = jaeger.as_kept([one for one in sent.printed if otlp.span_of(one).trace_id == trace_id])
        wanted = [jaeger.as_shown_of_thrift(one) for one in spans]
        otlp.check_same_text(_lines(jaeger.shown(trace_id)), _lines(wanted))
        assert {said for said in jaeger.warnings(trace_id) if not NO_PARENT.fullmatch(said[1])} == set()


def _lines(shown: list[jaeger.Json]) -> str:
    """Write what the pages get, a field a line."""
    return json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False)
