"""`tracer record`: what is written replays to the same spans as what was played, and nothing private is in it."""

import asyncio
import json
import re
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.asked import Done, ask, end, kubeconfig, lines_of, start, with_server
from tests.kit import RECORDINGS, SCHEMA, Json, at, ended, owner, pipeline_run, pod, replay, succeeded, task_run
from tracer.clock import Clock
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import ALWAYS, Refuse, Say
from tracer.demo.protocol import Verb
from tracer.errors import ApiError
from tracer.kube import watches as watches_module
from tracer.kube.recorder import Recorder
from tracer.kube.watches import Watches
from tracer.kube.wire import Told
from tracer.tekton.names import EVENT_REASONS, LABEL_TASK_RUN, Kind
from tracer.tekton.observation import Gone, Seen, Synced
from tracer.transport import Transport, TransportSettings

CANARY = "hunter2"


class Account:
    """Who asks."""

    def __init__(self, url: str) -> None:
        """Ask there."""
        self.url = url

    def headers(self, *, is_refused: bool) -> dict[str, str]:  # noqa: ARG002 - nobody is refused
        """Say nothing of us."""
        return {}


class SetClock(Clock):
    """A clock whose time of day is set."""

    unix = 1

    def unix_ns(self) -> int:
        """Read it."""
        return self.unix


class Recording:
    """A recorder at work in this process."""

    def __init__(self, server: ApiServer, folder: Path, transport: Transport, *namespaces: str) -> None:
        """Prepare."""
        self.clock = SetClock()
        self.server = server
        self.told: list[Told] = []
        self.recorder = Recorder(folder, self.clock)
        self.watches = Watches(namespaces, SCHEMA, Account(server.url), transport, self.clock, self.tell)
        self._news = asyncio.Event()

    def tell(self, told: Told) -> None:
        """Pass it on, and note it."""
        self.recorder.tell(told)
        self.told.append(told)
        self._news.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at whenever something is told."""
        while not is_so():
            self._news.clear()
            await self._news.wait()

    async def play(self, path: Path) -> None:
        """Let happen what a recording tells, at its own times, each after the one before was told."""
        for at_ns, is_gone, content in lines_of(path):
            self.clock.unix = at_ns
            expected = len(self.told) + is_watched(content)
            (self.server.delete if is_gone else self.server.put)(content)
            await self.until(lambda expected=expected: len(self.told) >= expected)  # type: ignore[misc] # as it is now


def is_watched(content: Json) -> bool:
    """Say whether a watch tells of an object."""
    if content["kind"] == Kind.POD:
        return LABEL_TASK_RUN in content["metadata"].get("labels", {})
    if content["kind"] == Kind.EVENT:
        return content["involvedObject"]["kind"] == Kind.POD and content["reason"] in EVENT_REASONS
    return True


@asynccontextmanager
async def recording(server: ApiServer, folder: Path, *namespaces: str) -> AsyncIterator[Recording]:
    """Record in this process until the end of the context."""
    async with Transport(TransportSettings(), Clock()) as transport:
        one = Recording(server, folder, transport, *namespaces)
        with one.recorder:
            async with asyncio.TaskGroup() as tasks:
                begun = asyncio.Event()
                running = tasks.create_task(one.recorder.run(one.watches, 1e9, begun.set))
                await begun.wait()
                yield one
                running.cancel()


def events(folder: Path) -> list[Json]:
    """Read what was written."""
    return [json.loads(line) for line in (folder / "watch.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in RECORDINGS])
def test_what_is_recorded_replays_to_the_same_spans(tmp_path: Path, path: Path) -> None:
    """What `record` wrote of a cluster replays to the spans of what happened there, byte for byte and in their order."""

    async def story(server: ApiServer) -> None:
        async with recording(server, tmp_path, lines_of(path)[0][2]["metadata"]["namespace"]) as one:
            await one.play(path)

    with_server(story)
    assert replay(tmp_path / "watch.jsonl") == replay(path / "watch.jsonl")


def test_a_gap_is_healed(tmp_path: Path) -> None:
    """What a list shows after a gap is written: what changed, and what vanished as deleted, as it was written last."""
    gone, stays = task_run({}, uid="gone"), task_run({"podName": "p"}, uid="stays")
    gone["metadata"]["name"] = "gone"

    async def story(server: ApiServer) -> None:
        server.put(gone)
        server.put(task_run({}, uid="stays"))
        async with recording(server, tmp_path, "ns") as one:
            one.clock.unix = 2_000_000_000
            server.withhold(Kind.TASK_RUN)
            server.delete(gone)
            server.put(stays)
            lists = sum(isinstance(told, Synced) for told in one.told)
            server.send_error(Kind.TASK_RUN, 410)
            await one.until(lambda: sum(isinstance(told, Synced) for told in one.told) > lists)

    with_server(story)
    first, second, *after = events(tmp_path)
    assert {first["object"]["metadata"]["uid"], second["object"]["metadata"]["uid"]} == {"gone", "stays"}
    assert [(one["type"], one["object"]["metadata"]["uid"], one["at"]) for one in after] == [
        ("MODIFIED", "stays", 2.0),
        ("DELETED", "gone", 2.0),
    ]
    assert after[1]["object"] in (first["object"], second["object"])


def test_what_says_nothing_new_is_not_written(tmp_path: Path) -> None:
    """A change of fields that are not read writes no line; an object that comes again after its end is a new one."""

    async def story(server: ApiServer) -> None:
        async with recording(server, tmp_path, "ns") as one:
            for number in range(3):
                server.put(task_run({}, annotations={"other": str(number)}))
            server.delete(task_run({}))
            server.put(task_run({}))
            await one.until(lambda: sum(isinstance(told, Seen | Gone) for told in one.told) == 5)

    with_server(story)
    assert [one["type"] for one in events(tmp_path)] == ["ADDED", "DELETED", "ADDED"]


def test_nothing_private_is_written(tmp_path: Path) -> None:
    """Params, environment, scripts, arguments, results, unlisted annotations and termination messages leave no trace."""
    secret = {"name": CANARY, "value": CANARY}
    steps = [{"name": "build", "image": "i", "script": CANARY, "env": [secret], "args": [CANARY], "command": [CANARY]}]
    spec = {"params": [secret], "taskSpec": {"steps": steps, "params": [secret], "results": [secret], "description": CANARY}}
    hidden: Json = {"annotations": {"note": CANARY, "kubectl.kubernetes.io/last-applied-configuration": CANARY}}
    results = {"results": [secret], "taskResults": [secret], "provenance": {"x": CANARY}, "taskSpec": {"steps": steps}}
    text = json.dumps([{"key": "token", "value": CANARY, "type": 1}, {"key": "StartedAt", "value": at(2), "type": 3}])
    run_status = {"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded"), **results}
    values = [
        {**pipeline_run({**run_status, "pipelineSpec": {"tasks": []}}, **hidden), "spec": {"params": [secret]}},
        task_run({**run_status, "steps": [{"name": "build", "container": "step-build", **ended(0, 9, text)}]}, spec, **hidden),
        pod(
            {"build": ended(0, 9, text)},
            labels={LABEL_TASK_RUN: "ci-x-build", CANARY: CANARY},
            spec={
                "containers": [{**steps[0], "name": "step-build", "args": ["-on_error", "continue", "--", CANARY]}],
                "initContainers": [{**steps[0], "name": "prepare"}],
            },
            status={"message": CANARY},
            owner=owner("TaskRun", "22222222-2222-4222-8222-222222222222"),
        ),
    ]

    async def story(server: ApiServer) -> None:
        async with recording(server, tmp_path, "ns") as one:
            for value in values:
                server.put(value)
                server.delete(value)
            await one.until(lambda: sum(isinstance(told, Seen | Gone) for told in one.told) == 2 * len(values))

    with_server(story)
    assert CANARY not in (tmp_path / "watch.jsonl").read_text()
    assert sorted({one["object"]["kind"] for one in events(tmp_path)}) == ["PipelineRun", "Pod", "TaskRun"]
    assert len(replay(tmp_path / "watch.jsonl")) > 2


def test_an_object_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """A malformed object costs nothing but itself, and is told at the end."""
    kept: list[Recorder] = []

    async def story(server: ApiServer) -> None:
        async with recording(server, tmp_path, "ns") as one:
            server.put({**task_run({}, uid="bad"), "status": 3})
            server.put(task_run({}, uid="good"))
            await one.until(lambda: one.recorder.events > 0)
            kept.append(one.recorder)

    with_server(story)
    assert [kind for kind, _, _ in kept[0].malformed] == ["TaskRun"]
    assert [one["object"]["metadata"]["uid"] for one in events(tmp_path)] == ["good"]


def test_a_server_that_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers without a word ends with one sentence after a while, and leaves no file."""
    monkeypatch.setattr(watches_module, "SILENT_S", 0.5)

    async def story(server: ApiServer) -> None:
        server.fail(Refuse(503), Kind.POD, times=ALWAYS)
        async with Transport(TransportSettings(), Clock()) as transport:
            one = Recording(server, tmp_path, transport, "ns")
            with one.recorder:
                await one.recorder.run(one.watches, 1e9, lambda: None)

    with pytest.raises(ApiError, match=r"answered 503 for pods in namespace ns; this was given up after 0.5 s\."):
        with_server(story)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- as a person runs it


async def record(server: ApiServer, folder: Path, *arguments: str, namespace: str = "ns") -> tuple[Done, Path]:
    """Run `tracer record` until it ends."""
    path = kubeconfig(folder, server.url, namespace)
    return await ask("record", "--kubeconfig", str(path), "--to", str(folder / "made"), *arguments), folder / "made"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(tmp_path: Path, how: signal.Signals) -> None:
    """It says when it has begun, writes within a second, and a signal ends it: exit code 0, a whole last line, and an account."""

    async def story(server: ApiServer) -> Done:
        path, made = kubeconfig(tmp_path, server.url, "scenario-cancel"), tmp_path / "made" / "watch.jsonl"
        process = await start("record", "--kubeconfig", str(path), "--to", str(made.parent))
        assert process.stderr is not None
        begun = (await process.stderr.readline()).decode()
        await server.play(RECORDINGS[0])
        async with asyncio.timeout(20):
            while not made.read_bytes():  # noqa: ASYNC110 - another process writes the file
                await asyncio.sleep(0.05)
        process.send_signal(how)
        return await end(process, begun)

    done = with_server(story)
    made = tmp_path / "made" / "watch.jsonl"
    assert (done.code, done.out) == (0, "")
    assert done.said[0] == f"tracer: recording namespace scenario-cancel to {made}; end with Ctrl-C."
    found = re.fullmatch(r"tracer: wrote (\d+) events of (\d+) objects, (\d+) bytes in [\d.]+ s to .*\.", done.said[-1])
    assert found is not None
    lines = made.read_bytes()
    assert lines.endswith(b"}\n")
    assert (int(found[1]), int(found[3])) == (len(lines.splitlines()), len(lines))
    assert int(found[2]) == lines.count(b'"ADDED"')
    assert {span.slot for span in replay(made)} <= {span.slot for span in replay(RECORDINGS[0] / "watch.jsonl")}


def test_all_namespaces_begin_with_the_cluster(tmp_path: Path) -> None:
    """With `-A` the first line is the Namespace that stands for the cluster, so that a replay tells its UID as `run` does."""

    async def story(server: ApiServer) -> tuple[Done, Path]:
        for _, is_gone, content in lines_of(RECORDINGS[0])[:-1]:
            (server.delete if is_gone else server.put)(content)
        return await record(server, tmp_path, "-A", "--duration", "0.1")

    done, made = with_server(story)
    assert done.code == 0, done.error
    first, *others = events(made)
    assert (first["object"]["kind"], first["object"]["metadata"]["name"]) == ("Namespace", "kube-system")
    assert "Namespace" not in {one["object"]["kind"] for one in others}
    told = dict(replay(made / "watch.jsonl")[0].resource)
    assert told["k8s.cluster.uid"] == first["object"]["metadata"]["uid"]


def test_the_cluster_may_be_unknown(tmp_path: Path) -> None:
    """Without the right it is left out and said; in single namespaces it is never asked for."""

    async def story(server: ApiServer) -> Done:
        server.fail(Say(403), Kind.NAMESPACE, Verb.GET, times=ALWAYS)
        server.put(task_run({}))
        done, _ = await record(server, tmp_path, "-A", "--duration", "0.1")
        (tmp_path / "made" / "watch.jsonl").rename(tmp_path / "all.jsonl")
        asked = len(server.asked)
        await record(server, tmp_path, "-n", "ns", "-n", "other", "--duration", "0.1")
        assert Kind.NAMESPACE not in {one.kind for one in server.asked[asked:]}
        assert {"ns", "other"} == {one.namespace for one in server.asked[asked:]}
        return done

    done = with_server(story)
    assert done.code == 0
    assert any("Spans do without k8s.cluster.uid" in line and "403" in line for line in done.said)
    assert "Namespace" not in (tmp_path / "all.jsonl").read_text()


def test_trouble_is_said_once(tmp_path: Path) -> None:
    """What is wrong with watches is said once, however many have it and however often they try, and so is its end."""

    async def story(server: ApiServer) -> Done:
        server.fail(Refuse(403), Kind.EVENT, times=ALWAYS)
        path = kubeconfig(tmp_path, server.url, "ns")
        process = await start("record", "--kubeconfig", str(path), "--to", str(tmp_path / "made"))
        assert process.stderr is not None
        said = [(await process.stderr.readline()).decode() for _ in range(2)]
        server.fail(Refuse(500), Kind.POD, times=2)
        server.fail(Refuse(500), Kind.TASK_RUN)
        server.send_error(Kind.POD, 500)
        server.send_error(Kind.TASK_RUN, 500)
        said.append((await process.stderr.readline()).decode())
        while not any("mended" in line for line in said):
            said.append((await process.stderr.readline()).decode())
        process.terminate()
        return await end(process, *said)

    done = with_server(story)
    assert done.code == 0
    assert sum("does not allow events to be listed" in line for line in done.said) == 1
    assert sum(re.match("tracer: http.*ended the watch with 500", line) is not None for line in done.said) == 1
    assert sum(re.match("tracer: mended: http.*ended the watch with 500", line) is not None for line in done.said) <= 1


@pytest.mark.parametrize(
    ("kind", "code", "exit_code", "said"),
    [
        (Kind.TASK_RUN, 403, 4, "does not allow taskruns to be listed and watched in namespace ns (403): grant list and watch"),
        (None, 401, 4, "does not know who asks (401)"),
    ],
)
def test_what_may_not_be_read_ends_it(tmp_path: Path, kind: Kind | None, code: int, exit_code: int, said: str) -> None:
    """A right that is missing ends it at once with one sentence and its own exit code, and leaves no file."""

    async def story(server: ApiServer) -> tuple[Done, Path]:
        server.fail(Refuse(code), kind, times=ALWAYS)
        return await record(server, tmp_path)

    done, made = with_server(story)
    assert (done.code, len(done.said)) == (exit_code, 1)
    assert said in done.error
    assert not list(made.iterdir())


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    """An existing one is refused, and what is wrong with a flag is said, before anything is asked."""

    async def story(server: ApiServer) -> list[Done]:
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "watch.jsonl").write_text("mine\n")
        wrong = [(), ("--duration", "0"), ("--duration", "nan"), ("-n", "a", "-A"), ("-n", "a/b"), ("--context", "nowhere")]
        done = [(await record(server, tmp_path, *arguments))[0] for arguments in wrong]
        assert not server.asked
        return done

    existing, *others = with_server(story)
    assert existing.error == f"tracer: {tmp_path}/made/watch.jsonl exists already; give another folder, or move it away.\n"
    assert [(one.code, len(one.said)) for one in [existing, *others]] == [(2, 1)] * 6
    assert (tmp_path / "made" / "watch.jsonl").read_text() == "mine\n"


def test_a_full_disk_ends_it(tmp_path: Path) -> None:
    """What cannot be written ends it with one sentence that names the file; what was written before stays."""
    made = tmp_path / "made" / "watch.jsonl"

    async def story(server: ApiServer) -> Done:
        path = kubeconfig(tmp_path, server.url, "ns")
        server.put(task_run({}))
        process = await start("record", "--kubeconfig", str(path), "--to", str(made.parent))
        assert process.stderr is not None
        begun = (await process.stderr.readline()).decode()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024, 1024))
        for number in range(20):
            server.put(task_run({}, uid=f"more-{number}"))
        return await end(process, begun)

    done = with_server(story)
    assert (done.code, done.said[1:]) == (2, [f"tracer: {made} cannot be written: File too large."])
    assert made.stat().st_size == 1024
