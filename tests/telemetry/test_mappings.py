"""Which labels and annotations become which attributes: only those that are mapped, only under keys that are allowed."""

import io
import json
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.kit import (
    RUN_UID,
    TASK_UID,
    Json,
    at,
    drive,
    ended,
    message,
    meta,
    owner,
    pipeline_run,
    pod,
    read,
    succeeded,
    task_run,
)
from tracer.delivery.ledger import Ledger
from tracer.explain.terminal.picture import print_waterfall
from tracer.explain.waterfall import waterfalls
from tracer.replay import Replay
from tracer.tekton import names
from tracer.tekton.decode import decode, encode
from tracer.tekton.names import Kind
from tracer.tekton.observation import Seen
from tracer.tekton.pipelinerun import PipelineRun
from tracer.telemetry import attributes as keys
from tracer.telemetry import otlp
from tracer.telemetry.mappings import DEFAULT_MAPPINGS, Mappings, mappings_error
from tracer.telemetry.places import DEFAULT_SETTINGS, SpanSettings
from tracer.telemetry.records import TEXT_LIMIT_BYTES, Slot, SpanRecord

DONE: Json = {"startTime": at(1), "completionTime": at(20), "conditions": succeeded("True", "Succeeded")}
OF_RUN = owner("PipelineRun", RUN_UID, "ci-x")
CANARY = "CANARY-3b1f"
MAPPED_TO = {keys.ENVIRONMENT_NAME, keys.PIPELINE_ACTION_NAME, keys.TASK_TYPE}
OURS = sorted(
    value
    for name, value in vars(keys).items()
    if name.isupper() and isinstance(value, str) and not value.startswith("vcs.") and value not in MAPPED_TO
)
"""Every key that no configuration may choose."""

segments = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
dotted = st.lists(segments, min_size=1, max_size=3).map(".".join)
targets = st.one_of(
    st.sampled_from(sorted(MAPPED_TO)), dotted.map("vcs.{}".format), dotted.map((keys.USER_PREFIX + ".{}").format)
)
sources = st.one_of(
    st.from_regex(r"([a-z0-9]{1,5}(\.[a-z0-9]{1,5})?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,5}[A-Za-z0-9])?", fullmatch=True),
    st.sampled_from([names.LABEL_TASK, names.LABEL_PIPELINE, names.ANNOTATION_READY, names.ANNOTATION_CANCEL]),
)
tables = st.lists(st.tuples(sources, targets), max_size=6, unique_by=lambda row: row[1]).map(tuple)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def objects(annotations: Json, labels: Json) -> list[Json]:
    """Make a run with a task, its Pod, a nested run and a CustomRun, all with the same annotations and labels."""
    marks: Json = {"annotations": annotations, "labels": labels}
    custom = {"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": meta("wait", "d", 3, OF_RUN, **marks)}
    return [
        pipeline_run(DONE, **marks),
        task_run({**DONE, "podName": "build-pod"}, owner=OF_RUN, **marks),
        pod({"a": ended(0, 5, message(4))}, **marks),
        {**pipeline_run(DONE), "metadata": meta("inner", "c", 3, OF_RUN, **marks)},
        {**custom, "status": DONE},
    ]


def tell(values: Iterable[Json], mappings: Mappings = DEFAULT_MAPPINGS) -> dict[Slot, SpanRecord]:
    """Tell objects to the end."""
    settings = SpanSettings(mappings=mappings)
    return drive([(1, Seen(read(value, settings.schema))) for value in values], Ledger(settings)).spans


def said(spans: Iterable[SpanRecord]) -> str:
    """Write whole spans as they would be sent."""
    return json.dumps(otlp.to_json(otlp.export_request(spans)), ensure_ascii=False)


def drawn(spans: Iterable[SpanRecord]) -> str:
    """Draw spans for a terminal."""
    out = io.StringIO()
    for picture in waterfalls(spans):
        print_waterfall(Console(file=out, width=110), picture, show_all=True)
    return out.getvalue()


def of_kind(spans: dict[Slot, SpanRecord], kind: str, key: str) -> dict[str, object]:
    """Say what the spans of a kind have under a key, by the UID of what they are about."""
    return {slot.owner_uid: span.attribute(key) for slot, span in spans.items() if slot.kind == kind}


# ---------------------------------------------------------------- what is mapped, and where it stands


def test_a_mapped_key_stands_where_its_target_belongs() -> None:
    """The resource of every span, or every run span of the trace; from the top run alone."""
    mappings = (("a/env", "deployment.environment.name"), ("a/title", "vcs.change.title"), ("team", "tekton.user.team"))
    top, *rest = objects({}, {})
    top["metadata"] |= {"annotations": {"a/env": "prod"}, "labels": {"a/title": "Fix it", "a/env": "label"}}
    for value in [top, *rest]:
        value["metadata"].setdefault("labels", {})["team"] = "core" if value is top else "other"
    spans = tell([top, *rest], mappings)
    for span in spans.values():
        assert ("deployment.environment.name", "prod") in span.resource
        assert ("vcs.change.title", "Fix it") in span.resource
    assert of_kind(spans, "run", "tekton.user.team") == {RUN_UID: "core", "c": "core"}
    assert all(span.attribute("tekton.user.team") is None for slot, span in spans.items() if slot.kind != "run")


def test_a_configuration_replaces_the_default() -> None:
    """With mappings of one's own, those for Pipelines-as-Code are not there any more."""
    (source, target), *_ = DEFAULT_MAPPINGS
    values = objects({source: "https://git.example/r"}, {})
    assert all((target, "https://git.example/r") in span.resource for span in tell(values).values())
    assert "git.example" not in said(tell(values, (("a/b", "vcs.change.id"),)).values())
    assert "git.example" not in said(tell(values, ()).values())


def test_the_annotation_comes_before_the_label() -> None:
    """A label serves where there is no annotation, or an empty one; what is not read says nothing."""
    schema = SpanSettings(mappings=tuple((source, f"vcs.{source}") for source in "abcd")).schema
    value = read(
        pipeline_run(annotations={"a": "1", "b": "", "d": ""}, labels={"a": "2", "b": "3", "c": "4", "d": "", "e": "5"}), schema
    )
    assert isinstance(value, PipelineRun)
    assert [value.metadata.says(key) for key in "abcde"] == ["1", "3", "4", None, None]


def test_a_replay_reads_what_its_settings_map(tmp_path: Path) -> None:
    """The keys reach the decoder from the settings of the ledger."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps(pipeline_run(DONE, labels={"team": "core"})))
    one = Replay(Ledger(SpanSettings(mappings=(("team", "tekton.user.team"),))))
    assert [
        span.attribute("tekton.user.team") for batch in one.batches(path) for span in batch.spans if span.slot.kind == "run"
    ] == ["core"]


@pytest.mark.parametrize(
    ("value", "action"),
    [("BUILD", "BUILD"), ("sync", "SYNC"), ("Run", "RUN"), ("deploy", "RUN"), ("", "RUN"), ("BUILD ", "RUN"), (None, "RUN")],
)
def test_action(value: str | None, action: str) -> None:
    """All run spans of a trace say what the top run does, in the convention's words; anything else is RUN."""
    top, *rest = objects({}, {})
    top["metadata"] |= {
        "labels": {"verb": value, "tekton.dev/pipeline": "ci"} if value is not None else {"tekton.dev/pipeline": "ci"}
    }
    spans = tell([top, *rest], (("verb", "cicd.pipeline.action.name"),))
    assert of_kind(spans, "run", "cicd.pipeline.action.name") == {RUN_UID: action, "c": action}
    assert {span.name for slot, span in spans.items() if slot.kind == "run"} == {f"{action} ci", action}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("build", "build"), ("test", "test"), ("deploy", "deploy"), ("Build", None), ("lint", None), ("", None)],
)
def test_task_type(value: str, expected: str | None) -> None:
    """A task says its type by its own object, whatever stands on its run."""
    top, *tasks = objects({}, {})
    top["metadata"]["labels"] = {"type": "deploy"}
    top["status"] = {**DONE, "skippedTasks": [{"name": "later", "reason": "x"}]}
    for task in tasks:
        task["metadata"]["annotations"] = {**task["metadata"].get("annotations", {}), "type": value}
    spans = tell([top, *tasks], (("type", "cicd.pipeline.task.type"),))
    assert of_kind(spans, "task", "cicd.pipeline.task.type") == dict.fromkeys([TASK_UID, "c", "d"], expected)
    assert all(span.attribute("cicd.pipeline.task.type") is None for slot, span in spans.items() if slot.kind != "task")


def test_what_is_not_told_has_an_action_too() -> None:
    """A run below a CustomRun that nothing owns is not told, whatever is mapped."""
    custom = {"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": meta("wait", "d"), "status": DONE}
    inner = {**pipeline_run(DONE), "metadata": meta("inner", "c", 3, owner("CustomRun", "d"))}
    assert tell([custom, inner], (("verb", "cicd.pipeline.action.name"),)) == {}


# ---------------------------------------------------------------- for all configurations


@pytest.mark.row("O22", "S6")
@given(tables, st.dictionaries(sources, st.just(CANARY)), st.dictionaries(sources, st.just(CANARY)))
def test_what_is_not_mapped_shows_nowhere(mappings: Mappings, annotations: Json, labels: Json) -> None:
    """An annotation or label that is neither mapped nor ours lives in no value, no recording, no span and no picture."""
    known = {source for source, _ in mappings} | {one for one in vars(names).values() if isinstance(one, str)}
    values = objects(*({key: value for key, value in said.items() if key not in known} for said in (annotations, labels)))
    schema = SpanSettings(mappings=mappings).schema
    for value in values:
        decoded = read(value, schema)
        assert CANARY not in repr(decoded)
        assert CANARY.encode() not in encode(decoded)
    spans = tell(values, mappings).values()
    assert CANARY not in said(spans)
    assert CANARY not in drawn(spans)


@given(tables, texts, texts)
def test_what_is_mapped_is_written_and_read_back(mappings: Mappings, annotation: str, label: str) -> None:
    """A recording keeps the mapped keys of runs, and gives equal values by the same schema."""
    schema = SpanSettings(mappings=mappings).schema
    mapped = {source for source, _ in mappings}
    for value in objects(dict.fromkeys(mapped, annotation), dict.fromkeys(mapped, label)):
        decoded = read(value, schema)
        assert decode(encode(decoded), schema) == decoded
        if value["kind"] != Kind.POD:
            metadata = json.loads(encode(decoded))["metadata"]
            assert dict.fromkeys(mapped, annotation).items() <= metadata["annotations"].items()
            assert dict.fromkeys(mapped, label).items() <= metadata["labels"].items()


def test_mapped_keys_are_written_in_their_own_order() -> None:
    """What is recorded follows from the keys, not from a set's order, which every process has anew."""
    mapped = [f"key-{index}" for index in range(50)]
    schema = SpanSettings(mappings=tuple((source, f"vcs.a{index}") for index, source in enumerate(mapped))).schema
    written = json.loads(encode(read(pipeline_run(DONE, labels=dict.fromkeys(mapped, "x")), schema)))
    assert list(written["metadata"]["labels"]) == sorted(mapped)


@pytest.mark.row("O22")
@given(tables, texts)
def test_a_mapped_value_is_bounded_and_harmless(mappings: Mappings, text: str) -> None:
    """Whatever a value holds, it is cut, it changes nothing that is not mapped, and no terminal obeys it."""
    mapped = {source for source, _ in mappings} - {names.ANNOTATION_READY, names.ANNOTATION_CANCEL, names.LABEL_TASK}
    mapped -= {names.LABEL_PIPELINE}
    spans, plain = tell(objects(dict.fromkeys(mapped, text * 400), {}), mappings), tell(objects({}, {}), mappings)
    allowed = {target for _, target in mappings}
    assert spans.keys() == plain.keys()
    for slot, span in spans.items():
        for ours, others in ((span.attributes, plain[slot].attributes), (span.resource, plain[slot].resource)):
            assert all(len(value.encode()) <= TEXT_LIMIT_BYTES for _, value in ours if isinstance(value, str))
            assert all(value for key, value in ours if key in allowed)
            assert [one for one in ours if one[0] not in allowed] == [one for one in others if one[0] not in allowed]
    assert otlp.encode(spans.values())
    assert all(character == "\n" or character.isprintable() for character in drawn(spans.values()))


@given(tables, texts, st.randoms(use_true_random=False))
def test_the_order_of_mappings_changes_no_byte(mappings: Mappings, text: str, chance: random.Random) -> None:
    """A configuration is a set: in whatever order it is given, the same bytes are sent and recorded."""
    shuffled = tuple(chance.sample(mappings, len(mappings)))
    values = objects({source: f"{text}{source}" for source, _ in mappings}, {})
    assert otlp.encode(tell(values, mappings).values()) == otlp.encode(tell(values, shuffled).values())
    for value in values:
        assert encode(read(value, SpanSettings(mappings=mappings).schema)) == encode(
            read(value, SpanSettings(mappings=shuffled).schema)
        )


@pytest.mark.row("S5")
@pytest.mark.parametrize("target", OURS)
def test_our_own_keys_are_never_overridden(target: str) -> None:
    """A reserved key is refused, and even unrefused it would give nothing."""
    refused = mappings_error([("a/b", target)])
    assert refused is not None
    for allowed in (
        "vcs.*",
        "deployment.environment.name",
        "cicd.pipeline.action.name",
        "cicd.pipeline.task.type",
        "tekton.user.*",
    ):
        assert allowed in refused
    values = objects({"a/b": CANARY}, {"a/b": CANARY})
    assert said(tell(values, (("a/b", target),)).values()) == said(tell(objects({}, {}), ()).values())


# ---------------------------------------------------------------- what can be configured


@given(tables)
def test_what_is_allowed_is_accepted(mappings: Mappings) -> None:
    """Every table of keys as Kubernetes has them, to targets that are allowed, each once."""
    assert mappings_error(mappings) is None


def test_the_default_can_be_configured() -> None:
    """The default is a configuration like any other."""
    assert mappings_error(DEFAULT_MAPPINGS) is None
    assert DEFAULT_SETTINGS.mappings == DEFAULT_MAPPINGS


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("", "vcs.a"),
        ("a b", "vcs.a"),
        ("a/", "vcs.a"),
        ("/a", "vcs.a"),
        ("a/b/c", "vcs.a"),
        ("UPPER/a", "vcs.a"),
        ("a..b/c", "vcs.a"),
        ("a" * 64, "vcs.a"),
        ("a" * 254 + "/b", "vcs.a"),
        ('a"b', "vcs.a"),
        ("a\n", "vcs.a"),
        ("a", ""),
        ("a", "vcs"),
        ("a", "vcs."),
        ("a", "vcs.a\n"),
        ("a", "vcs.A"),
        ("a", "vcsx.a"),
        ("a", "tekton.user"),
        ("a", "tekton.username"),
        ("a", "deployment.environment"),
        ("a", "deploymentXenvironment.name"),
        ("a", "host.name"),
        ("a", "service.instance.id"),
        ("a", "telemetry.sdk.name"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_sentence(source: str, target: str) -> None:
    """A key that Kubernetes would not take, or a target that is not ours to give, is named."""
    why = mappings_error([*DEFAULT_MAPPINGS, (source, target)])
    assert why is not None
    assert why.isprintable()
    assert why.endswith(".")


def test_a_target_is_given_once() -> None:
    """Two keys for one attribute would have an order, and a configuration has none."""
    why = mappings_error([("a", "vcs.change.id"), ("b", "vcs.change.id")])
    assert why == "Two keys are mapped to vcs.change.id; leave one of them."
