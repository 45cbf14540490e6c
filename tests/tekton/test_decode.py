"""Bytes become values, or say where they are malformed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import RECORDINGS, SCHEMA, Json, at, ended, facts, meta, pipeline_run, pod, read, task_run
from tracer.tekton.decode import Malformed, Unread, decode, encode
from tracer.tekton.names import Kind
from tracer.tekton.pipelinerun import PipelineRun
from tracer.tekton.pod import Pod
from tracer.tekton.times import instant_ns, parse_instant_ns, rfc3339


def changed(value: Json, path: str, to: object) -> bytes:
    """Set one value deep inside an object."""
    copy = json.loads(json.dumps(value))
    node = copy
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in way:
        node = node[part]
    node[last] = to
    return json.dumps(copy).encode()


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in RECORDINGS])
def test_what_is_written_is_read_back(path: object) -> None:
    """Writing an object with the fields that are read loses nothing that is read."""
    for _, observation in facts(path / "watch.jsonl"):  # type: ignore[operator]
        value = observation.object  # type: ignore[union-attr]
        assert decode(encode(value), SCHEMA) == value


POD = pod({"a": ended(0, 9, "[]")})
RUN = task_run({"startTime": at(1), "steps": [{"name": "a"}]})


@pytest.mark.row("O4", "O23")
@pytest.mark.parametrize(
    ("raw", "path"),
    [
        pytest.param(changed(RUN, "metadata/uid", 7), "$.metadata.uid", id="wrong type"),
        pytest.param(changed(RUN, "metadata/uid", ""), "$.metadata.uid", id="empty uid"),
        pytest.param(changed(RUN, "status/steps/0/name", None), "$.status.steps[0].name", id="null"),
        pytest.param(changed(RUN, "status/startTime", "yesterday"), "$.status.startTime", id="no time"),
        pytest.param(changed(RUN, "status/startTime", "2026-08-20T10:00:00"), "$.status.startTime", id="time without a zone"),
        pytest.param(
            changed(RUN, "metadata/creationTimestamp", "0001-01-01T00:00:00Z"), "$.metadata.creationTimestamp", id="year 1"
        ),
        pytest.param(changed(POD, "status/containerStatuses/0/state/terminated/exitCode", 2**40), None, id="exit code too large"),
        pytest.param(json.dumps(RUN).encode()[:-5], "$", id="cut off"),
        pytest.param(b"\xff\xfe", "$", id="no text"),
        pytest.param(b"[" * 100_000, "$", id="nested without end"),
        pytest.param(b"[]", "$", id="no object"),
    ],
)
def test_a_malformed_object_names_the_path(raw: bytes, path: str | None) -> None:
    """What cannot be read says where it failed, and never what stood there."""
    found = decode(raw, SCHEMA)
    assert isinstance(found, Malformed)
    assert path is None or found.path == path
    assert "yesterday" not in found.why


@pytest.mark.row("O2", "S17")
@given(st.binary())
def test_any_bytes_are_survived(raw: bytes) -> None:
    """No bytes raise, with or without a kind."""
    decode(raw, SCHEMA)
    for kind in Kind:
        decode(raw, SCHEMA, kind)


@pytest.mark.parametrize(
    ("kind", "version", "is_read"),
    [
        ("TaskRun", "tekton.dev/v1", True),
        ("TaskRun", "tekton.dev/v1beta1", True),
        ("TaskRun", "example.dev/v1", False),
        ("Pod", "v1", True),
        ("Event", "events.k8s.io/v1", False),
        ("ConfigMap", "v1", False),
        ("", "", False),
    ],
)
def test_only_known_kinds_are_read(kind: str, version: str, *, is_read: bool) -> None:
    """A kind of the right group is read, every other is left alone."""
    raw = json.dumps({"kind": kind, "apiVersion": version, "metadata": meta("a", "b")}).encode()
    assert isinstance(decode(raw, SCHEMA), Unread) != is_read


@pytest.mark.row("S6")
def test_secrets_do_not_live_on() -> None:
    """Params, scripts, environment, arguments, results and unlisted annotations are not in the value that is kept."""
    made = pod(
        {"a": ended(0, 9, json.dumps([{"key": "token", "value": "SECRET", "type": 1}]))}, ready=False, annotations={"x": "SECRET"}
    )
    made["spec"]["containers"][0] |= {
        "args": ["-on_error", "continue", "--", "SECRET", "-on_error", "SECRET"],
        "command": ["SECRET"],
        "env": [{"name": "A", "value": "SECRET"}],
    }
    value = read(made)
    assert isinstance(value, Pod)
    assert "SECRET" not in repr(value)
    assert b"SECRET" not in encode(value)
    assert value.steps[0].on_error == "continue"
    run = pipeline_run(
        {"pipelineSpec": {"tasks": [{"name": "t", "matrix": {"params": [{"name": "p", "value": ["SECRET", "b"]}]}}]}}
    )
    run["spec"] = {"params": [{"name": "p", "value": "SECRET"}]}
    decoded = read(run)
    assert isinstance(decoded, PipelineRun)
    assert "SECRET" not in repr(decoded)
    spec = decoded.status.pipeline_spec
    assert spec is not None
    assert [task.matrix.combinations for task in spec.all_tasks if task.matrix is not None] == [2]


@pytest.mark.row("O20")
def test_times() -> None:
    """Times become nanoseconds whatever their zone; what Go writes for no time is none."""
    assert parse_instant_ns("1970-01-01T01:00:01.5+01:00") == 1_500_000_000
    assert parse_instant_ns("0001-01-01T00:00:00Z") is None
    assert parse_instant_ns("2201-01-01T00:00:00Z") is None
    assert parse_instant_ns("now") is None
    assert parse_instant_ns("1970-01-01T00:00:00Z") is None
    assert instant_ns(None) is None
    assert rfc3339(1_500_000_000) == "1970-01-01T00:00:01Z"
