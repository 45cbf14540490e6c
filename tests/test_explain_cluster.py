"""`tracer explain` straight from a cluster: as from a recording, also while the run goes on, and what is said if it cannot."""

import asyncio
import json
import os
import pty
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.asked import Done, ask, kubeconfig, lines_of, with_server
from tests.kit import HERE, RECORDINGS, Json
from tracer.clock import Clock
from tracer.delivery.ledger import Ledger
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import ALWAYS, Break, Fault, Refuse, Say
from tracer.errors import ApiError, TracerError
from tracer.kube import watches
from tracer.kube.credentials import Kubeconfig
from tracer.replay import Replay, read_cluster
from tracer.tekton.names import Kind
from tracer.transport import Transport

TIMEOUT, FAILING = HERE / "recordings" / "task-timeout", HERE / "recordings" / "failing-step"
RUN, FAILED = "scenario-task-timeout", "scenario-failing-step"


def happen(server: ApiServer, lines: Iterable[tuple[int, bool, Json]]) -> None:
    """Let happen what a recording tells, at once."""
    for _, is_gone, content in lines:
        (server.delete if is_gone else server.put)(content)


async def explain(server: ApiServer, folder: Path, *arguments: str, namespace: str = RUN) -> Done:
    """Run `tracer explain` on the cluster."""
    return await ask("explain", "--kubeconfig", str(kubeconfig(folder, server.url, namespace)), *arguments)


def read_in_process(server: ApiServer, folder: Path, namespace: str) -> tuple[Replay, asyncio.Future[list[str]]]:
    """Prepare to read a namespace here."""
    one, api = Replay(Ledger()), Kubeconfig(str(kubeconfig(folder, server.url, namespace)))

    async def read() -> list[str]:
        async with Transport(api.transport, Clock()) as transport:
            return await read_cluster(one, api, transport, Clock(), [namespace])

    return one, asyncio.ensure_future(read())


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in RECORDINGS])
def test_a_cluster_is_told_as_its_objects(tmp_path: Path, path: Path) -> None:
    """What is read of a cluster gives the spans that `kubectl get` of the same moment gives."""
    lists = json.loads((path / "objects.json").read_text())
    items = [
        {"apiVersion": listed["apiVersion"], "kind": kind, **item} for kind, listed in lists.items() for item in listed["items"]
    ]
    (namespace,) = {item["metadata"]["namespace"] for item in items}

    async def story(server: ApiServer) -> Replay:
        happen(server, ((0, False, item) for item in items))
        one, reading = read_in_process(server, tmp_path, namespace)
        assert await reading == []
        return one

    one = with_server(story)
    told = {span.slot: span for batch in one.rest() for span in batch.spans}
    assert told == {span.slot: span for batch in Replay().batches(path / "objects.json") for span in batch.spans}
    assert abs(one.until_ns - time.time_ns()) < 60e9


def test_a_finished_run_is_drawn_as_from_a_recording(tmp_path: Path) -> None:
    """The picture, and each form that is printed, is that of the recording; the namespace is the context's, as kubectl has it."""

    async def story(server: ApiServer) -> list[tuple[Done, Done]]:
        happen(server, lines_of(FAILING))
        forms: list[tuple[str, ...]] = [("run",), ("-o", "json", "--last"), ("-o", "otlp", "PipelineRun/run")]
        return [
            (
                await explain(server, tmp_path, *form, namespace=FAILED),
                await ask("explain", "-f", str(FAILING), *form),
            )
            for form in forms
        ]

    for cluster, recording in with_server(story):
        assert (cluster.code, cluster.error) == (0, "")
        assert cluster.out == recording.out


def test_a_run_that_goes_on_is_drawn_until_now(tmp_path: Path) -> None:
    """Of a run in its middle the bars of what runs reach the present, and what waits is said to."""
    lines = lines_of(TIMEOUT)
    middle = next(at for at, (_, _, one) in enumerate(lines) if one["metadata"].get("deletionTimestamp"))
    late_ns = time.time_ns() - lines[middle][0]

    async def story(server: ApiServer) -> tuple[Done, Done]:
        happen(server, lines[:middle])
        return await explain(server, tmp_path), await explain(server, tmp_path, "-o", "json")

    drawn, said = with_server(story)
    assert (drawn.code, drawn.error) == (0, "")
    assert "running for" in drawn.out.splitlines()[0]
    assert drawn.out.splitlines()[0].endswith(" now")
    rows = [set(line.split()) for line in drawn.out.splitlines()]
    assert any({"●", "prepare"} <= row for row in rows)  # by its mark: the longer ago it began, the less room has the word
    assert any({"◌", "publish"} <= row for row in rows)
    document = json.loads(said.out)
    assert document["finished"] is False
    assert abs(document["endNs"] - time.time_ns()) < 120e9
    assert late_ns < document["durationS"] * 1e9 + 120e9


def test_runs_are_found_by_every_name(tmp_path: Path) -> None:
    """By name, kind, namespace or UID, the newest, among all namespaces; an unknown one gives the nearest."""
    others = RECORDINGS[0]

    async def story(server: ApiServer) -> dict[tuple[str, ...], Done]:
        happen(server, lines_of(TIMEOUT))
        happen(server, lines_of(others))
        forms: list[tuple[str, ...]] = [
            ("-A", f"{RUN}/run"),
            ("-n", RUN, "-n", "empty", "pr/run"),
            ("-A", "run"),
            ("-A",),
            ("ru",),
            ("-n", "empty"),
            ("-n", "empty", "-n", "void"),
            ("-A", "--last"),
        ]
        return {form: await explain(server, tmp_path, *form) for form in forms}

    done = with_server(story)
    found, many, unknown = [done[form] for form in done if done[form].code == 0], done["-A", "run"], done["ru",]
    assert len(found) == 3
    assert f"PipelineRun {RUN}/run" in found[0].out
    assert "tell of 2 runs run; give" in many.error
    assert many.error.startswith("tracer: All namespaces tell")
    assert done["-A",].error.startswith("tracer: All namespaces tell of 2 runs; name one of")
    assert unknown.error == f"tracer: Namespace {RUN} tells of no run ru; the nearest is PipelineRun/run.\n"
    assert done["-n", "empty"].error.startswith("tracer: Namespace empty tells of no run that can be drawn")
    assert done["-n", "empty", "-n", "void"].error.startswith("tracer: Namespaces empty, void tell of no run")
    assert {one.code for one in done.values() if one not in found} == {2}


@pytest.mark.parametrize(
    ("fault", "kind", "code", "said"),
    [
        (
            Refuse(403),
            Kind.POD,
            4,
            f"does not allow pods to be listed and watched in namespace {RUN} (403): grant list and watch",
        ),
        (Refuse(403), Kind.PIPELINE_RUN, 4, "does not allow pipelineruns"),
        (Refuse(401), None, 4, "does not know who asks (401)"),
        (Say(404), Kind.TASK_RUN, 3, "does not serve tekton.dev taskruns (404): install Tekton"),
        (Say(200, b"<html>", "text/html"), None, 3, "ended the watch at once"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, fault: Fault, kind: Kind | None, code: int, said: str) -> None:
    """What is needed and may not be read, or is not there, gives one sentence and its exit code, soon."""

    async def story(server: ApiServer) -> Done:
        server.fail(fault, kind, times=ALWAYS)
        return await explain(server, tmp_path)

    done = with_server(story)
    assert (done.code, done.out, len(done.said)) == (code, "", 1)
    assert said in done.error


def test_no_cluster_at_all(tmp_path: Path) -> None:
    """Nobody who listens, and nothing that says where: exit code 3, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = asyncio.run(ask("explain", "--kubeconfig", str(kubeconfig(tmp_path, url, "ns"))))
    assert (done.code, done.error) == (3, f"tracer: {url} cannot be reached: Connection refused.\n")
    done = asyncio.run(ask("explain"))
    assert done.code == 3
    assert "give --kubeconfig FILE or set KUBECONFIG, or draw a recording with -f PATH." in done.error
    done = asyncio.run(ask("explain", "--kubeconfig", str(tmp_path / "nothing")))
    assert done.code == 2


def test_what_need_not_be_there_is_passed_over(tmp_path: Path) -> None:
    """Events that may not be read cost a note, CustomRuns that are not served cost nothing: the run is drawn."""

    async def story(server: ApiServer) -> Done:
        happen(server, lines_of(FAILING))
        server.fail(Refuse(403), Kind.EVENT, times=ALWAYS)
        server.uninstall(Kind.CUSTOM_RUN)
        return await explain(server, tmp_path, namespace=FAILED)

    done = with_server(story)
    assert done.code == 0
    assert "report" in done.out
    (said,) = done.said
    assert said.startswith("tracer: passed over: ")
    assert "does not allow events to be listed and watched" in said


@pytest.mark.parametrize(("kind", "is_needed"), [(Kind.POD, True), (Kind.EVENT, False)])
def test_a_server_that_is_silent_is_given_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    is_needed: bool,  # noqa: FBT001 - a table
) -> None:
    """A list that never comes ends the waiting after a while: with an error if it is needed, with a note if not."""
    monkeypatch.setattr(watches, "SILENT_S", 0.5)

    async def story(server: ApiServer) -> list[str] | TracerError:
        server.fail(Break.STALL, kind, times=ALWAYS)
        _, reading = read_in_process(server, tmp_path, RUN)
        try:
            return await reading
        except TracerError as error:
            return error

    said = with_server(story)
    if is_needed:
        assert isinstance(said, ApiError)
        assert "has not answered; this was given up after 0.5 s." in str(said)
    else:
        assert said == ["events did not come in time."]


def test_a_terminal_shows_that_it_reads(tmp_path: Path) -> None:
    """On a terminal a line says what is being read, and goes again."""

    async def story(server: ApiServer) -> str:
        happen(server, lines_of(FAILING))
        path = kubeconfig(tmp_path, server.url, FAILED)
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tracer", "explain", "--kubeconfig", str(path)),
            env={"PYTHONPATH": str(HERE.parent), "TERM": "xterm", "HOME": "/nonexistent"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        await process.wait()
        said = os.read(ours, 1 << 16).decode()
        os.close(ours)
        return said

    said = with_server(story)
    assert f"reading namespace {FAILED} ..." in said
    assert said.rstrip().endswith("\x1b[2K")
