"""`tracer run` as a process, in real time: how it starts badly, heals, and ends."""

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.kit import HERE, Json, at, meta, succeeded, task_run
from tests.replies import HTML, hang, rejects, says
from tests.tally import Tally, due
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Break, Refuse
from tracer.demo.receiver import Receiver, Reply, acknowledge
from tracer.tekton.names import RUN_KINDS, Kind

WITHIN_S = 20.0
TOKEN = "secret-of-ours"  # noqa: S105 - of a server on loopback


def done(name: str = "alone") -> Json:
    """Make a TaskRun that has ended."""
    made = task_run({"startTime": at(1), "completionTime": at(9), "conditions": succeeded("True", "Succeeded")})
    made["metadata"] = meta(name, f"uid-{name}", 1)
    return made


class Tracer:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take it."""
        self.process = process
        self.lines: list[dict[str, Any]] = []
        """What it logged."""
        self.said = ""
        """What it wrote to standard error besides, as a sentence for a person."""
        self.out = b""

    async def read(self) -> None:
        """Read all that it writes, until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            if line.startswith(b"{"):
                self.lines.append(json.loads(line))
            else:
                self.said += line.decode()

    async def read_out(self) -> None:
        """Read what it prints."""
        assert self.process.stdout is not None
        self.out = await self.process.stdout.read()

    def sentences(self, event: str) -> list[str]:
        """Give what was logged of a sort."""
        return [line["message"] for line in self.lines if line["event"] == event]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not is_so():
            assert self.process.returncode is None, (self.said, self.lines)
            await asyncio.sleep(0.01)  # another process: there is nothing to wait on

    async def says(self, event: str, sentence: str) -> None:
        """Wait until something is logged."""
        await self.until(lambda: any(sentence in one for one in self.sentences(event)))

    async def ends(self) -> int:
        """Wait for its end; give the exit code."""
        return await self.process.wait()

    def stop(self) -> None:
        """Ask it to end, as Kubernetes does."""
        self.process.send_signal(signal.SIGTERM)


@asynccontextmanager
async def tracer(
    folder: Path,
    api: str,
    backend: str,
    *more: str,
    authority: Path | None = None,
    within: str = "",
    within_s: float = WITHIN_S,
    code: Path = HERE.parent,
) -> AsyncIterator[Tracer]:
    """Start it, within limits that a shell sets; it must be done within the deadline, and it is ended in any case.

    `code` is the checkout that runs.
    """
    kubeconfig = folder / "kubeconfig"
    cluster = {"server": api, **({"certificate-authority": str(authority)} if authority is not None else {})}
    named = {
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": {"token": TOKEN}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "it", **named}))
    arguments = ("run", "--kubeconfig", str(kubeconfig), "--otlp-endpoint", backend, "--listen", "127.0.0.1:0", *more)
    async with asyncio.timeout(within_s), started(*arguments, within=within, PYTHONPATH=str(code)) as one:
        yield one
    assert TOKEN not in f"{one.lines}{one.said}{one.out!r}"


@asynccontextmanager
async def started(*arguments: str, within: str = "", **environment: str) -> AsyncIterator[Tracer]:
    """Start it with arguments, after what a shell is to do first."""
    process = await asyncio.create_subprocess_exec(
        *(("sh", "-c", f'{within}; exec "$@"', "sh") if within else ()),
        *(sys.executable, "-m", "tracer", *arguments),
        env={"PATH": os.defpath, "PYTHONPATH": str(HERE.parent), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    one = Tracer(process)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.read())
        tasks.create_task(one.read_out())
        try:
            yield one
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def play(story: Callable[[ApiServer, Receiver], Awaitable[None]], replies: Iterator[Reply] | tuple[Reply, ...] = ()) -> None:
    """Tell a story to a server that has one TaskRun, and a backend."""

    async def main() -> None:
        async with ApiServer() as server, Receiver(replies) as receiver:
            server.put(done())
            await story(server, receiver)

    asyncio.run(main())


async def stopped(one: Tracer) -> None:
    """Stop it; it ends well, and says so."""
    one.stop()
    assert await one.ends() == 0
    assert len(one.sentences("stopping")) == 1
    assert len(one.sentences("stopped")) == 1


# ---------------------------------------------------------------- bad starts that heal


@pytest.mark.row("A7")
def test_no_api_server(tmp_path: Path) -> None:
    """Nobody listens: it says so in one sentence, and waits; when somebody does, everything is told."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        await server.__aexit__(None, None, None)
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.says("watch_failed", f"{server.url} cannot be reached: Connection refused.")
            await server.__aenter__()
            await one.until(lambda: len(receiver.spans) > 0)
            await stopped(one)
        assert len(one.sentences("watch_failed")) == 1

    play(story)


def test_the_api_server_goes_away(tmp_path: Path) -> None:
    """Seven watches fail for one reason, which is said once, not seven times; SIGTERM is obeyed all the same."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.until(lambda: len(receiver.spans) > 0)
            await server.__aexit__(None, None, None)
            await one.says("watch_failed", "cannot be reached: Connection refused.")
            await stopped(one)
        refused = [message for message in one.sentences("watch_failed") if "Connection refused" in message]
        assert len(refused) == 1

    play(story)


@pytest.mark.row("A20")
def test_an_authority_that_is_not_ours(tmp_path: Path) -> None:
    """The API server is not trusted: it says so, and where to look."""

    async def main() -> None:
        theirs, ours, tls = trustme.CA(), trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.issue_cert("127.0.0.1").configure_cert(tls)
        ours.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        async with ApiServer(tls=tls) as server, Receiver() as receiver:
            server.put(done())
            async with tracer(tmp_path, server.url, receiver.url, authority=tmp_path / "ca.pem") as one:
                await one.says("watch_failed", "see certificate-authority in the kubeconfig.")
                theirs.cert_pem.write_to_path(str(tmp_path / "new.pem"))
                (tmp_path / "new.pem").replace(tmp_path / "ca.pem")  # at once, so that no half of it is read
                await one.says("synced", "Everything was listed: 1 objects.")
                await stopped(one)
            assert len(one.sentences("watch_failed")) == 1
            assert "is not trusted: " in one.sentences("watch_failed")[0]

    asyncio.run(main())


@pytest.mark.row("A20")
def test_the_authority_is_replaced(tmp_path: Path, tally: Tally) -> None:
    """The API server's authority changes while it is watched, both are trusted for a while, then only the new one: no trouble."""

    async def main() -> None:
        old, new, tls = trustme.CA(), trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        old.issue_cert("127.0.0.1").configure_cert(tls)
        trusted = tmp_path / "ca.pem"
        old.cert_pem.write_to_path(str(trusted))
        async with ApiServer(tls=tls) as server, Receiver() as receiver:
            server.put(done())
            async with tracer(tmp_path, server.url, receiver.url, authority=trusted) as one:
                await one.until(lambda: len(receiver.spans) > 0)
                for number, authorities in enumerate([(old, new), (new,)]):
                    replaced = tmp_path / "new.pem"
                    replaced.write_bytes(b"".join(each.cert_pem.bytes() for each in authorities))
                    replaced.replace(trusted)
                    new.issue_cert("127.0.0.1").configure_cert(tls)
                    server.strike(Break.END)
                    server.put(done(f"after-{number}"))
                    told = len(receiver.spans)
                    await one.until(lambda told=told: len(receiver.spans) > told)  # type: ignore[misc] # mypy infers no defaults
                await stopped(one)
            tally(receiver, due(done(), done("after-0"), done("after-1")))
            assert not [sentence for sentence in one.sentences("watch_failed") if "trusted" in sentence]

    asyncio.run(main())


@pytest.mark.row("A19")
def test_nobody_that_is_known(tmp_path: Path) -> None:
    """401: it says what to do; when the server knows the token, everything is listed."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        server.token = "another"  # noqa: S105 - of a server on loopback
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.says("watch_failed", "does not know who asks (401): renew the token, or log in again.")
            server.token = TOKEN
            await one.says("synced", "Everything was listed: 1 objects.")
            await stopped(one)

    play(story)


@pytest.mark.row("A17")
def test_a_right_that_is_missing(tmp_path: Path) -> None:
    """403 on Pods: it names what to grant; nothing is told before it is granted, and then everything is listed."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        server.fail(Refuse(403), Kind.POD, times=float("inf"))
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.says("watch_failed", "(403): grant list and watch on pods.")
            assert receiver.spans == {}
            server.heal()
            await one.says("synced", "Everything was listed: 1 objects.")
            await stopped(one)
        assert len(one.sentences("watch_failed")) == 1
        assert len(one.sentences("synced")) == 1

    play(story)


@pytest.mark.row("A14")
def test_no_tekton(tmp_path: Path) -> None:
    """Tekton is not installed: each kind that is missing is said once, and waited for."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        for kind in RUN_KINDS:
            server.uninstall(kind)
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.until(lambda: len(one.sentences("watch_failed")) == len(RUN_KINDS))
            await stopped(one)
        assert len(set(one.sentences("watch_failed"))) == len(RUN_KINDS)
        assert all("(404): install Tekton Pipelines 0.44 or newer." in message for message in one.sentences("watch_failed"))

    play(story)


def test_a_backend_that_does_not_take_it(tmp_path: Path) -> None:
    """It says so in one sentence; a second SIGTERM ends it at once with exit code 0, and nothing counts as delivered."""

    async def refused(name: str, reply: Reply, event: str, sentence: str) -> None:
        async with ApiServer() as server, Receiver(iter(lambda: reply, None)) as receiver:
            server.put(done())
            (tmp_path / name).mkdir()
            async with tracer(tmp_path / name, server.url, receiver.url) as one:
                await one.says(event, sentence)
                one.stop()
                await one.says("stopping", "")
                one.stop()
                assert await one.ends() == 0
        assert len(set(one.sentences(event))) == len(one.sentences(event))
        assert one.lines[-1]["acknowledged"] == 0

    async def main() -> None:
        await asyncio.gather(
            refused("unauthorized", says(401), "backend_refused", "401"),
            refused("page", says(200, HTML, "text/html"), "backend_refused", ""),
            refused("unavailable", says(503), "backend_failed", "503"),
        )

    asyncio.run(main())


@pytest.mark.row("B1")
def test_a_backend_that_comes_later(tmp_path: Path) -> None:
    """Nobody listens there: it is waited for, and gets everything."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        await receiver.__aexit__(None, None, None)
        receiver.port = int(receiver.url.split(":")[2].split("/")[0])
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.says("backend_failed", "cannot be reached: Connection refused.")
            await receiver.__aenter__()
            await one.until(lambda: len(receiver.spans) > 0)
            await one.says("backend_recovered", "")
            await stopped(one)

    play(story)


# ---------------------------------------------------------------- starts that cannot be


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "--nonsense"], 2, "No such option"),
        (["run", "--config", "SETTINGS"], 2, "otpl"),
        (["run", "--kubeconfig", "/no/such/file"], 2, "The kubeconfig /no/such/file cannot be used"),
        (["run"], 3, "There is no cluster: not in a Pod, and no kubeconfig; give --kubeconfig FILE or set KUBECONFIG."),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, arguments: list[str], code: int, sentence: str) -> None:
    """One sentence, and an exit code that says whose fault it is."""
    (tmp_path / "SETTINGS").write_text("otpl: {endpoint: http://127.0.0.1:1}")

    async def main() -> None:
        named = [str(tmp_path / one) if one.isupper() else one for one in arguments]
        async with asyncio.timeout(WITHIN_S), started(*named, HOME=str(tmp_path)) as one:
            assert await one.ends() == code
        assert sentence in one.said
        assert one.said.count("\n") == 1
        assert one.lines == []

    asyncio.run(main())


# ---------------------------------------------------------------- the end


@pytest.mark.row("P1")
def test_what_is_due_is_delivered_first(tmp_path: Path) -> None:
    """A run that ends just before SIGTERM is delivered before the process ends."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.until(lambda: len(receiver.spans) > 0)
            await stopped(one)
        assert one.lines[-1]["acknowledged"] == len(receiver.spans)
        assert one.lines[-1]["waiting"] == 0

    play(story, iter((says(503),)))


@pytest.mark.row("P1")
def test_a_backend_that_hangs_does_not_keep_it(tmp_path: Path) -> None:
    """A second SIGTERM ends it at once, though a request is under way."""

    async def story(server: ApiServer, receiver: Receiver) -> None:
        async with tracer(tmp_path, server.url, receiver.url) as one:
            await one.until(lambda: len(receiver.requests) > 0)
            one.stop()
            await one.says("stopping", "")
            began_s = asyncio.get_running_loop().time()
            one.stop()
            assert await one.ends() == 0
            assert asyncio.get_running_loop().time() - began_s < 5
        assert one.lines[-1]["acknowledged"] == 0

    play(story, iter(lambda: hang, None))


# ---------------------------------------------------------------- a single round


def nothing(_: ApiServer) -> None:
    """Leave everything as it is."""


def refuse_pods(server: ApiServer) -> None:
    """Allow no Pods."""
    server.fail(Refuse(403), Kind.POD, times=float("inf"))


def without_tekton(server: ApiServer) -> None:
    """Serve no runs."""
    for kind in RUN_KINDS:
        server.uninstall(kind)


ROUNDS = {
    "delivered": (nothing, (), acknowledge, 0, "spans"),
    "dry": (nothing, ("--dry-run",), acknowledge, 0, "nothing was sent"),
    "no Tekton": (without_tekton, (), acknowledge, 3, "install Tekton Pipelines"),
    "no right": (refuse_pods, (), acknowledge, 4, "grant list and watch on pods"),
    "refused": (nothing, (), says(401), 5, "Not all that is due was delivered"),
    "rejected": (nothing, (), rejects(1), 6, "1 run"),
}


def test_a_single_round(tmp_path: Path) -> None:
    """It lists, sends what is due, and ends with a sentence and a code that say how it went; a dry run only prints."""

    async def once(name: str) -> None:
        prepare, more, reply, code, sentence = ROUNDS[name]
        async with ApiServer() as server, Receiver(iter(lambda: reply, None)) as receiver:
            server.put(done())
            prepare(server)
            (tmp_path / name).mkdir()
            async with tracer(tmp_path / name, server.url, receiver.url, "--once", *more) as one:
                assert (await one.ends(), name) == (code, name)
        assert sentence in one.said
        assert one.said.count("\n") == 1
        assert bool(receiver.spans) == (name in {"delivered", "rejected"})
        assert (b"alone" in one.out) == (name == "dry")

    async def main() -> None:
        await asyncio.gather(*(once(name) for name in ROUNDS))

    asyncio.run(main())


# ---------------------------------------------------------------- the event loop


def test_uvloop_is_used_where_it_is_installed(tmp_path: Path) -> None:
    """The loop on which everything runs is made by the extra, if it can be imported."""
    made = "    print('made', file=sys.stderr)\n    return asyncio.new_event_loop()\n"
    (tmp_path / "uvloop.py").write_text(f"import asyncio, sys\ndef new_event_loop():\n{made}")

    async def story(server: ApiServer, receiver: Receiver) -> None:
        installed = f'export PYTHONPATH="{tmp_path}:$PYTHONPATH"'
        async with tracer(tmp_path, server.url, receiver.url, "--once", within=installed) as one:
            assert await one.ends() == 0
        assert one.said.count("made\n") == 1
        assert receiver.spans

    play(story)
