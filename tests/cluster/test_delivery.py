"""The claim of delivery: what a recording comes to is what Jaeger has, field by field, once, and without a warning."""

import json
from pathlib import Path

import pytest

from tests.cluster import jaeger, otlp
from tests.cluster.delivered import Delivered, deliver
from tests.cluster.lab.cluster import Cluster
from tests.cluster.test_anew import ANEW
from tests.kit import RECORDINGS, SCENARIOS, hostile_recording

LATER_IN_THE_SECOND_NS = 400_000_000
GIVEN_PARENT = {"given-parent", "nested-given-parent", "standalone-taskrun-with-parent", "tekton-tracing-given-parent"}
"""Runs that were started within a span of their caller."""
NOT_SAMPLED = {"not-sampled"}
"""Whoever started this run wants no trace of it."""

BEGINS_BEFORE_ITS_CALLER = "clock skew adjustment disabled; not applying calculated delta of "
"""Kubernetes cuts a run's creation to the second in which its caller's span began; span-model 11 leaves it there."""
UNFINISHED = {"nested-cancel": ("inner", "17ecfe736c38d05e")}
"""The run above was still going on when the recording ended: its span is not told, and the one below it has no parent."""
HAS_NO_PARENT = {
    "invalid parent span IDs={}; skipping clock skew adjustment",
    "parent span ID={} is not in the trace; skipping clock skew adjustment",
}
"""How Jaeger says it, to its pages and to a program."""

PARAMETERS = [pytest.param(path, id=path.name) for path in [*RECORDINGS, *SCENARIOS]]
PARAMETERS += [pytest.param(name, id=f"{name}-anew") for name in ANEW]
HOSTILE = "hostile"
"""Runs with control characters, markup, half a character and a megabyte where names and messages stand."""


@pytest.fixture(scope="module", params=[*PARAMETERS, HOSTILE])
def delivered(request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """Deliver a recording, one that was made on this very cluster, or one that nobody should meet."""
    match request.param:
        case Path() as path:
            pass
        case _ if request.param == HOSTILE:
            path = hostile_recording(tmp_path_factory.mktemp(HOSTILE))
        case name:
            path = request.getfixturevalue("live").recordings / name
    return deliver(cluster, path, LATER_IN_THE_SECOND_NS)


def test_what_was_sent_is_what_replay_prints(delivered: Delivered) -> None:
    """The raw requests hold the spans of `replay -o otlp`, every field and the resource, each exactly once; Jaeger took them."""
    assert {(request.path, request.status) for request in delivered.first} <= {("/v1/traces", 200)}
    sent = otlp.one_by_one(request.spans for request in delivered.first)
    otlp.check_same(sent, delivered.printed)
    assert bool(sent) == (delivered.path.name not in NOT_SAMPLED)


def test_what_is_sent_again_is_the_same(delivered: Delivered) -> None:
    """The second time the same spans are sent, so that the claims below hold though everything was sent twice."""
    first, second = (otlp.one_by_one(one.spans for one in sent) for sent in (delivered.first, delivered.second))
    otlp.check_same(second, first)


def test_jaeger_has_every_span_whole(delivered: Delivered) -> None:
    """A program that asks Jaeger gets every span with every field to the nanosecond, each once, and no other."""
    for trace_id in delivered.trace_ids:
        otlp.check_same(jaeger.spans(trace_id), jaeger.as_kept(delivered.expected(trace_id)))


def test_jaegers_pages_show_every_field(delivered: Delivered) -> None:
    """Jaeger's pages get every span, and no other: ids, parent, links, name, microseconds, tags, logs and process."""
    for trace_id in delivered.trace_ids:
        wanted = [jaeger.as_shown(one) for one in jaeger.as_kept(delivered.expected(trace_id))]
        otlp.check_same_text(_lines(jaeger.shown(trace_id)), _lines(wanted))


def test_jaeger_warns_of_nothing_else(delivered: Delivered) -> None:
    """No span carries a warning, but a run that begins in the second in which its caller did, and one whose parent goes on."""
    warnings = {warning for trace_id in delivered.trace_ids for warning in jaeger.warnings(trace_id)}
    name, parent = UNFINISHED.get(delivered.path.name, ("", ""))
    warnings -= {(name, words.format(parent)) for words in HAS_NO_PARENT}
    if delivered.path.name in GIVEN_PARENT:
        ((name, warning),) = warnings
        assert name == "RUN"
        assert warning.startswith(BEGINS_BEFORE_ITS_CALLER)
    else:
        assert warnings == set()


def test_a_caller_that_began_first_gets_no_warning(cluster: Cluster) -> None:
    """Below a caller's span that began before the second in which the run was created everything is clean."""
    (path,) = [path for path in RECORDINGS if path.name == "given-parent"]
    one = deliver(cluster, path, -1_000_000_000)
    (trace_id,) = one.trace_ids
    assert len(jaeger.spans(trace_id)) == len(one.printed) + 1
    assert jaeger.warnings(trace_id) == set()


def _lines(shown: list[jaeger.Json]) -> str:
    """Write what the pages get, a field a line."""
    return json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False)
