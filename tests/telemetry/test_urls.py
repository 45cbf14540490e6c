"""Which page shows an object: a template, filled in with nothing but what the object is called."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from tracer.tekton.observation import Seen
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.taskrun import TaskRun
from tracer.telemetry.places import SpanSettings
from tracer.telemetry.records import TEXT_LIMIT_BYTES, Slot, SpanRecord
from tracer.telemetry.urls import PLACEHOLDERS, object_url, run_url_error

DONE: Json = {"startTime": at(1), "completionTime": at(20), "conditions": succeeded("True", "Succeeded")}
OF_RUN = owner("PipelineRun", RUN_UID, "ci-x")
DASHBOARD = "https://tekton.example:8443/#/namespaces/{namespace}/{resource}/{name}?uid={uid}"
RUN_URL, TASK_URL = "cicd.pipeline.run.url.full", "cicd.pipeline.task.run.url.full"

letters = st.one_of(st.sampled_from("/?#&= {}%.:@\\\n"), st.characters(exclude_categories=["Cs"]))
texts = st.lists(letters, min_size=1, max_size=10).map("".join)
templates = st.lists(
    st.one_of(st.sampled_from([f"{{{name}}}" for name in PLACEHOLDERS]), st.sampled_from("/a-?&=#%20")), max_size=6
)


def tell(*values: Json, run_url: str = "") -> dict[Slot, SpanRecord]:
    """Tell objects to the end."""
    return drive([(1, Seen(read(value))) for value in values], Ledger(SpanSettings(run_url=run_url))).spans


def run_of(name: str, namespace: str = "ns") -> PipelineRun | TaskRun | CustomRun:
    """Make a PipelineRun of a name."""
    value = read({**pipeline_run(DONE), "metadata": {**meta(name, RUN_UID), "namespace": namespace}})
    assert isinstance(value, PipelineRun | TaskRun | CustomRun)
    return value


def page(resource: str, name: str, uid: str) -> str:
    """Say where the dashboard shows an object."""
    return f"https://tekton.example:8443/#/namespaces/ns/{resource}/{name}?uid={uid}"


def test_a_span_links_to_its_run_and_its_task() -> None:
    """The resource has the URL of the nearest run, a task span that of its own object; no object, no URL."""
    custom = {"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": meta("wait", "d", 3, OF_RUN), "status": DONE}
    child = {**pipeline_run(DONE), "metadata": meta("inner", "c", 3, OF_RUN)}
    leaf = {**task_run(DONE), "metadata": meta("leaf", "e", 4, owner("PipelineRun", "c", "inner"))}
    values = [
        pipeline_run({**DONE, "skippedTasks": [{"name": "later", "reason": "x"}]}),
        task_run({**DONE, "podName": "build-pod"}, owner=OF_RUN),
        pod({"a": ended(0, 5, message(4))}),
        *(custom, child, leaf),
    ]
    spans = tell(*values, run_url=DASHBOARD).items()
    top, inner = page("pipelineruns", "ci-x", RUN_UID), page("pipelineruns", "inner", "c")
    for slot, span in spans:
        is_inner = slot.owner_uid == "e" or (slot.kind, slot.owner_uid) in {("run", "c"), ("queue", "c")}
        assert dict(span.resource)[RUN_URL] == (inner if is_inner else top)
    assert {slot.owner_uid: span.attribute(TASK_URL) for slot, span in spans if span.attribute(TASK_URL)} == {
        TASK_UID: page("taskruns", "ci-x-build", TASK_UID),
        "c": inner,
        "d": page("customruns", "wait", "d"),
        "e": page("taskruns", "leaf", "e"),
    }
    assert all(slot.kind == "task" for slot, span in spans if span.attribute(TASK_URL))


def test_a_standalone_task_run_is_the_run() -> None:
    """A TaskRun alone is the run that its resource names."""
    spans = tell(task_run(DONE), run_url=DASHBOARD)
    (run,) = (span for slot, span in spans.items() if slot.kind == "run")
    assert dict(run.resource)[RUN_URL] == page("taskruns", "ci-x-build", TASK_UID)
    assert run.attribute(TASK_URL) is None


def test_without_a_template_there_is_no_url() -> None:
    """A made-up URL is worse than none."""
    assert object_url("", run_of("ci-x")) is None
    for span in tell(pipeline_run(DONE), task_run(DONE, owner=OF_RUN)).values():
        assert RUN_URL not in dict(span.resource)
        assert span.attribute(TASK_URL) is None


@given(texts, texts, templates)
def test_what_an_object_is_called_never_leads_elsewhere(name: str, namespace: str, path: list[str]) -> None:
    """Names are encoded and stay where the template puts them, whatever they hold; a URL is whole or not there."""
    template = "https://tekton.example/" + "".join(path)
    assert run_url_error(template) is None
    url = object_url(template, run_of(name, namespace))
    asked = [said for said, mark in ((name, "{name}"), (namespace, "{namespace}")) if mark in path]
    assert (url is None) == any(said in {".", ".."} for said in asked)
    if url is None:
        return
    assert url.isascii()
    assert url.isprintable()
    assert url.startswith("https://tekton.example/")
    literal = template
    for placeholder in PLACEHOLDERS:
        literal = literal.replace(f"{{{placeholder}}}", "")
    for sign in "/?#&= {}":
        assert url.count(sign) == literal.count(sign)


@given(texts)
def test_a_name_can_be_read_back(name: str) -> None:
    """Encoding loses nothing, braces of another placeholder included."""
    for said in (name, "{uid}", "a/b", "100%"):
        url = object_url("https://tekton.example/{name}", run_of(said))
        assert url is None or unquote(url.removeprefix("https://tekton.example/")) == said


@pytest.mark.parametrize("namespace", ["", ".", ".."])
def test_a_url_with_a_hole_is_left_out(namespace: str) -> None:
    """An object that does not say what the template asks for has no URL; what is not asked for does not matter."""
    assert object_url("https://tekton.example/{namespace}/{name}", run_of("ci-x", namespace)) is None
    assert object_url("https://tekton.example/{name}", run_of("ci-x", namespace)) == "https://tekton.example/ci-x"


def test_a_url_is_never_cut() -> None:
    """What would be too long to be sent whole is left out."""
    fits = TEXT_LIMIT_BYTES - len("https://tekton.example/")
    assert object_url("https://tekton.example/{name}", run_of("x" * fits)) == "https://tekton.example/" + "x" * fits
    assert object_url("https://tekton.example/{name}", run_of("x" * (fits + 1))) is None


@pytest.mark.parametrize(
    "template",
    [
        "",
        DASHBOARD,
        "http://localhost:9097",
        "https://[::1]:9097/{uid}",
        "https://x.example?n={namespace}{name}",
        "https://x.example/fixed",
    ],
)
def test_templates_that_can_be_used(template: str) -> None:
    """Literal text stays; a placeholder may come where it likes behind the host."""
    assert run_url_error(template) is None
    filled = object_url(template, run_of("ci-x")) or ""
    assert urlsplit(filled).netloc == urlsplit(template).netloc


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("https://x.example/{name.__class__}", id="attribute"),
        pytest.param("https://x.example/{name[0]}", id="item"),
        pytest.param("https://x.example/{name!r}", id="conversion"),
        pytest.param("https://x.example/{name:>99999}", id="format"),
        pytest.param("https://x.example/{0}", id="position"),
        pytest.param("https://x.example/{}", id="nothing asked for"),
        pytest.param("https://x.example/{ name }", id="spaces inside"),
        pytest.param("https://x.example/{node}", id="unknown"),
        pytest.param("https://x.example/{name", id="not closed"),
        pytest.param("https://x.example/name}", id="not opened"),
        pytest.param("https://x.example/{{name}}", id="doubled"),
        pytest.param("https://x.example/{na{uid}me}", id="nested"),
        pytest.param("ftp://x.example/{name}", id="another scheme"),
        pytest.param("javascript:alert('{name}')", id="script"),
        pytest.param("//x.example/{name}", id="no scheme"),
        pytest.param("tekton.example/{name}", id="no scheme, no slashes"),
        pytest.param("{name}", id="a placeholder alone"),
        pytest.param("https:///{name}", id="no host"),
        pytest.param("https://{name}/", id="the host is a placeholder"),
        pytest.param("https://{namespace}.x.example/", id="the host has a placeholder"),
        pytest.param("https://x.example{name}/", id="the host goes on in a placeholder"),
        pytest.param("https://user:secret@x.example/{name}", id="a password"),
        pytest.param("https://x.example\\{name}", id="backslash"),
        pytest.param("https://x.example/ {name}", id="space"),
        pytest.param("https://x.example/\n{name}", id="line feed"),
        pytest.param("https://x.example\n", id="line feed at the end"),
        pytest.param("https://x.example/ü/{name}", id="not ASCII"),
        pytest.param("https://x.example/" + "a" * 1_024, id="longer than what is sent"),
    ],
)
def test_templates_that_are_refused(template: str) -> None:
    """One sentence says why, and which placeholders there are."""
    why = run_url_error(template)
    assert why is not None
    assert why.endswith("the placeholders are {namespace}, {name}, {uid} and {resource}.")
    assert why.isprintable()


@pytest.mark.parametrize(
    "template", ["https://x.example/{name.__class__}", "https://x.example/{0}", "https://x.example/{__class__}"]
)
def test_an_unrefused_template_reaches_nothing(template: str) -> None:
    """Even past the check, a placeholder is looked up among four texts and nowhere else."""
    assert object_url(template, run_of("ci-x")) is None
