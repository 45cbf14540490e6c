"""Recordings in every form that a person may have, and in forms that nobody should."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import RECORDINGS, SCHEMA, pipeline_run, pod, replay, task_run
from tracer.demo.player import packaged_recordings
from tracer.documents import without_lone_surrogates
from tracer.errors import InputError
from tracer.kube.recording import Fact, HalfLine, Reading, find_recording, read_recording, size_bytes, write_recording
from tracer.tekton.decode import Malformed, Unread

SUCCESS = next(path for path in RECORDINGS if path.name == "success")
OBJECTS = json.loads((SUCCESS / "objects.json").read_text())
ITEMS = [
    {"apiVersion": "tekton.dev/v1", "kind": kind, **item}
    for kind in ("PipelineRun", "TaskRun")
    for item in OBJECTS[kind]["items"]
]
ITEMS += [{"apiVersion": "v1", "kind": kind, **item} for kind in ("Pod", "Event") for item in OBJECTS[kind]["items"]]


def read_text(tmp_path: Path, text: str, name: str = "recording.json") -> list[Reading]:
    """Read a file with this text."""
    path = tmp_path / name
    path.write_text(text)
    return list(read_recording(path, SCHEMA))


def kinds(readings: Iterable[Reading]) -> list[str]:
    """Name what was read."""
    return [type(one.observation.object).__name__ if isinstance(one, Fact) else type(one).__name__ for one in readings]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps({"apiVersion": "v1", "kind": "List", "items": ITEMS}, indent=4), id="a List"),
        pytest.param(json.dumps({"apiVersion": "v1", "kind": "List", "items": ITEMS}), id="a List on one line"),
        pytest.param("\n".join(json.dumps(item, indent=1) for item in ITEMS), id="documents one after another"),
        pytest.param(json.dumps(ITEMS), id="an array"),
        pytest.param(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": ITEMS}), id="a List as YAML"),
        pytest.param(yaml.safe_dump_all(ITEMS), id="YAML documents"),
        pytest.param(json.dumps(OBJECTS), id="lists by kind"),
        pytest.param("\n\n" + json.dumps(OBJECTS), id="after blank lines"),
        pytest.param("\n".join(json.dumps({"type": "ADDED", "object": item}) for item in ITEMS), id="events of a plain watch"),
        pytest.param("\n".join(json.dumps({"type": "ADDED", "object": item}, indent=1) for item in ITEMS), id="indented events"),
    ],
)
def test_forms_that_say_the_same(tmp_path: Path, text: str) -> None:
    """Whatever form the same objects come in, they give the same spans."""
    path = tmp_path / "recording"
    path.write_text(text)
    assert {span.slot: span for span in replay(path)} == {span.slot: span for span in replay(SUCCESS / "objects.json")}


def test_a_list_of_one_kind(tmp_path: Path) -> None:
    """The items of a list as the API server returns it carry no kind of their own."""
    pods = OBJECTS["Pod"] | {"kind": "PodList"}
    assert kinds(read_text(tmp_path, json.dumps(pods))) == ["Pod", "Pod"]


def test_half_a_last_line_is_known_as_such(tmp_path: Path) -> None:
    """A recording that is still being written loses its last line and nothing else."""
    line = json.dumps({"at": 1.5, "type": "ADDED", "object": pipeline_run()})
    readings = read_text(tmp_path, f"{line}\n{line[:-20]}", "watch.jsonl")
    assert kinds(readings) == ["PipelineRun", "HalfLine"]
    assert readings[-1] == HalfLine(2)
    assert isinstance(readings[0], Fact)
    assert readings[0].at_ns == 1_500_000_000


@pytest.mark.parametrize("name", ["watch.jsonl", "objects.json"])
def test_progress_adds_up(name: str) -> None:
    """What is told of the progress adds up to the file's size."""
    told: list[int] = []
    list(read_recording(SUCCESS / name, SCHEMA, told.append))
    assert sum(told) == (SUCCESS / name).stat().st_size == size_bytes(SUCCESS / name)


def test_a_bad_line_costs_only_itself(tmp_path: Path) -> None:
    """A line that is no watch event, and an object that is malformed, are told with their places; the rest is read."""
    good = json.dumps({"at": 1, "type": "MODIFIED", "object": task_run({})})
    bad = json.dumps({"at": 1, "type": "ADDED", "object": pod({}) | {"metadata": {"name": "p"}}})
    bookmark = json.dumps({"type": "BOOKMARK", "object": {}})
    other = json.dumps({"type": "ADDED", "object": {"kind": "ConfigMap", "apiVersion": "v1"}})
    odd_time = json.dumps({"at": -5e300, "type": "DELETED", "object": task_run({})})
    readings = read_text(tmp_path, f"{good}\noops\n{bad}\n\n{bookmark}\n{other}\n{odd_time}\n{good}\n", "watch.jsonl")
    assert kinds(readings) == ["TaskRun", "Malformed", "Malformed", "Unread", "Unread", "TaskRun", "TaskRun"]
    malformed = [one for one in readings if isinstance(one, Malformed)]
    assert [(one.kind, one.path) for one in malformed] == [("watch event", "line 2"), ("Pod", "$.metadata")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("hello", "neither JSON nor YAML objects"),
        ("\x00\x01\x02", "neither JSON nor YAML"),
        ("{ not json", "is not JSON"),
        ('{"kind": "List", "apiVersion": "v1", "items": [{"kind": "ConfigMap", "apiVersion": "v1"}]}', "holds ConfigMap"),
        ('{"kind": "List", "apiVersion": "v1", "items": []}', "an empty List"),
        ('{"kind": "List", "apiVersion": "v1", "items": null}', "an empty List"),
        pytest.param("a: &a [x, x]\nb: [*a, *a]", "YAML aliases", marks=pytest.mark.row("S17")),
        ("{}", "something without a kind"),
        ("- 1\n- 2", "neither JSON nor YAML objects"),
        ("a: b: c", "neither JSON nor YAML"),
        pytest.param("[" * 50_000, "nested too deeply", marks=pytest.mark.row("S17")),
        ("- " * 50_000, "nested too deeply"),
    ],
)
def test_what_is_no_recording_says_so(tmp_path: Path, text: str, said: str) -> None:
    """A file that cannot be used gives one sentence that says what it holds."""
    with pytest.raises(InputError, match=said) as caught:
        read_text(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1


def test_lines_that_are_all_bad_are_no_recording(tmp_path: Path) -> None:
    """A file named as watch events without a single one says why its first line is none."""
    with pytest.raises(InputError, match="line 1 is no watch event"):
        read_text(tmp_path, "{}\n[]\n", "watch.jsonl")


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A name that no file can have, and a compressed file, are told as such."""
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        find_recording(Path("x" * 5000))
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(InputError, match="is compressed; unpack it first"):
        list(read_recording(tmp_path / "a.gz", SCHEMA))


def test_a_document_that_is_no_json_costs_only_itself(tmp_path: Path) -> None:
    """A key that JSON does not have, in one of several YAML documents, leaves the others."""
    good = yaml.safe_dump(ITEMS[0])
    assert kinds(read_text(tmp_path, f"{good}---\nnull: 1\n---\n{good}")) == ["PipelineRun", "Malformed", "PipelineRun"]


def test_a_lone_surrogate_costs_nothing(tmp_path: Path) -> None:
    """An object with half a character in it is read, wherever it stands: in a list, among documents, as a watch event."""
    good, nasty = ITEMS[0], {**ITEMS[1], "x": "\ud800"}
    event = json.dumps({"type": "ADDED", "object": nasty})
    for text in [json.dumps({"items": [good, nasty]}), f"{json.dumps(good)}\n{json.dumps(nasty)}", f"{event}\n"]:
        assert kinds(read_text(tmp_path, text))[-1] == "TaskRun"


def test_a_folder_means_its_watch_events_first(tmp_path: Path) -> None:
    """Of a folder `watch.jsonl` is read, else `objects.json`, never both; with neither, the sentence names them."""
    with pytest.raises(InputError, match=r"neither watch\.jsonl nor objects\.json"):
        find_recording(tmp_path)
    (tmp_path / "objects.json").write_text("{}")
    assert find_recording(tmp_path).name == "objects.json"
    (tmp_path / "watch.jsonl").write_text("")
    assert find_recording(tmp_path).name == "watch.jsonl"
    with pytest.raises(InputError, match="does not exist"):
        find_recording(tmp_path / "nothing")


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """No content raises anything but the one error for people."""
    for name in ("a.json", "watch.jsonl"):
        path = tmp_path / name
        path.write_bytes(content)
        with suppress(InputError):
            list(read_recording(path, SCHEMA))


@pytest.mark.parametrize("name", list(packaged_recordings()))
def test_packaged_recordings_are_current(name: str, request: pytest.FixtureRequest) -> None:
    """The recordings that come with the package are the real ones, pruned; pruning changes no span."""
    source = next(path for path in RECORDINGS if path.name == name) / "watch.jsonl"
    packaged = packaged_recordings()[name]
    pruned = b"".join(write_recording(read_recording(source, SCHEMA)))
    if request.config.getoption("--rewrite"):
        packaged.write_bytes(pruned)
    assert packaged.read_bytes() == pruned
    assert replay(packaged) == replay(source)


def test_nothing_private_is_recorded(tmp_path: Path) -> None:
    """What is written holds no script, param, result, argument or unlisted annotation."""
    lines = b"".join(
        line for path in RECORDINGS for line in write_recording(read_recording(path / "watch.jsonl", SCHEMA))
    ).decode()
    for private in ("truth begin", '"script"', "-entrypoint", "firefox", "resourceVersion", "provenance", '"results"', '"env"'):
        assert private not in lines
    path = tmp_path / "watch.jsonl"
    path.write_text(lines)
    assert not [one for one in read_recording(path, SCHEMA) if isinstance(one, Malformed | Unread)]


@given(st.text(st.characters(), max_size=40))
def test_lone_surrogates_are_mended(text: str) -> None:
    """Whatever JSON escapes, half a surrogate pair becomes U+FFFD, and nothing else changes."""
    mended = json.loads(without_lone_surrogates(json.dumps(text).encode()))
    assert mended == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
