"""A cluster on loopback, and the program that asks it as a person does."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from tests.kit import HERE, Json
from tracer.demo.apiserver import ApiServer
from tracer.kube.recording import decode_watch_event
from tracer.tekton.decode import kind_of

WITHIN_S = 60
_T = TypeVar("_T")


def kubeconfig(folder: Path, url: str, namespace: str) -> Path:
    """Write a kubeconfig for a server on loopback."""
    path = folder / "kubeconfig"
    context = {"cluster": "c", "user": "u", "namespace": namespace}
    said = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "right"}}],
        "contexts": [{"name": "here", "context": context}, {"name": "there", "context": {**context, "namespace": "there"}}],
    }
    path.write_text(yaml.safe_dump(said))
    return path


def own_objects(namespace: str) -> tuple[Json, Json]:
    """Give the ConfigMap and the Lease that a person creates in a namespace, as the project ships them."""
    config_map, lease, _ = yaml.safe_load_all((HERE.parent / "deploy" / "state.yaml").read_text())
    for one in (config_map, lease):
        one["metadata"]["namespace"] = namespace
    return config_map, lease


@dataclass
class Done:
    """The program, when it has ended."""

    code: int
    out: str
    error: str

    @property
    def said(self) -> list[str]:
        """The lines of standard error."""
        return self.error.splitlines()


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start the program; it finds no cluster but the one that is named."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tracer", *arguments),
        cwd=HERE.parent,
        env={"PYTHONPATH": str(HERE.parent), "PYTHONIOENCODING": "utf-8", "HOME": "/nonexistent"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def end(process: asyncio.subprocess.Process, *before: str) -> Done:
    """Wait until it has ended; before is what it had said on standard error already."""
    async with asyncio.timeout(WITHIN_S):
        out, error = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), "".join(before) + error.decode())


async def ask(*arguments: str) -> Done:
    """Run the program to its end."""
    return await end(await start(*arguments))


def with_server(story: Callable[[ApiServer], Awaitable[_T]], server: ApiServer | None = None) -> _T:
    """Tell a story with an API server."""

    async def main() -> _T:
        async with server or ApiServer() as opened, asyncio.timeout(WITHIN_S):
            return await story(opened)

    return asyncio.run(main())


def lines_of(recording: Path) -> list[tuple[int, bool, Json]]:
    """Read a recording's watch events: when in Unix nanoseconds, whether it is gone, the object."""
    found = []
    for line in (recording / "watch.jsonl").read_bytes().splitlines():
        event = decode_watch_event(line)
        assert not isinstance(event, str)
        content = json.loads(bytes(event.object))
        if event.at is not None and kind_of(content["kind"], content["apiVersion"]) is not None:
            found.append((int(event.at * 1e9), event.type == "DELETED", content))
    return found
