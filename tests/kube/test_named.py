"""One object by its name: whatever the API server or the way to it does is a value, and nobody's change is written over."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable

import pytest

from tests.kit import Json, ManualClock
from tests.kube.test_reflector import Account
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import ALWAYS, Break, Fault, Refuse, Say
from tracer.demo.protocol import Verb
from tracer.kube.named import Conflict, Found, Missing, NamedObject, Trouble, own_path
from tracer.tekton.names import OwnKind
from tracer.transport import Transport, TransportSettings

KIND = OwnKind.CONFIG_MAP
PATH = own_path(KIND, "ci", "own")
WITHIN_S = 5.0

Story = Callable[[ApiServer, NamedObject], Awaitable[None]]


def config_map(**fields: object) -> Json:
    """Make it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own", "namespace": "ci"}, **fields}


def tell(story: Story, bearer: str = "") -> ApiServer:
    """Tell a story of a server and the object."""

    async def main() -> ApiServer:
        async with ApiServer(token=bearer) as server, Transport(TransportSettings(), ManualClock()) as transport:
            await story(server, NamedObject(Account(server.url), transport, PATH))
            return server

    return asyncio.run(main())


async def read(one: NamedObject) -> Json:
    """Read it; it must be there."""
    found = await one.read(WITHIN_S)
    assert isinstance(found, Found), found
    said: Json = json.loads(found.body)
    return said


def test_what_was_read_is_replaced_once() -> None:
    """The answer is the object with its new version; the version that was read first is a conflict from then on."""

    async def story(server: ApiServer, one: NamedObject) -> None:
        server.put(config_map())
        first = await read(one)
        replaced = await one.replace(json.dumps({**first, "data": {"a": "1"}}).encode(), WITHIN_S)
        assert isinstance(replaced, Found)
        assert json.loads(replaced.body) == await read(one)
        assert json.loads(replaced.body)["data"] == {"a": "1"}
        assert await one.replace(json.dumps(first).encode(), WITHIN_S) == Conflict()

    tell(story)


def test_the_largest_object_passes_both_ways() -> None:
    """A ConfigMap of 1 MiB is 1.4 MB in JSON, more than is held of other answers."""

    async def story(server: ApiServer, one: NamedObject) -> None:
        server.put(config_map())
        full = {**await read(one), "binaryData": {"a": b64encode(bytes(1 << 20)).decode()}}
        assert isinstance(await one.replace(json.dumps(full).encode(), WITHIN_S), Found)
        assert (await read(one))["binaryData"] == full["binaryData"]

    tell(story)


def test_what_a_person_must_mend_is_said() -> None:
    """An object that is not there is to be created, a right that is not there granted."""

    async def story(server: ApiServer, one: NamedObject) -> None:
        missing = Missing(404, f"{server.url} has no configmaps/own in namespace ci (404): create it")
        assert await one.read(WITHIN_S) == missing
        assert await one.replace(json.dumps(config_map()).encode(), WITHIN_S) == missing
        server.put(config_map())
        server.forbid(KIND, Verb.UPDATE)
        found = await one.read(WITHIN_S)
        assert isinstance(found, Found)
        why = f"{server.url} does not allow it (403): grant update on configmaps/own in namespace ci"
        assert await one.replace(found.body, WITHIN_S) == Missing(403, why)
        server.forbid(KIND, Verb.GET, namespace="ci")
        assert await one.read(WITHIN_S) == Missing(403, why.replace("update", "get"))

    tell(story)


@pytest.mark.parametrize(
    ("fault", "reason", "why"),
    [
        (Break.RESET, "lost", "broke off before it had answered"),
        (Break.STALL, "slow", "did not answer within 0.1 s"),
        (Refuse(500), "http_500", "answered 500 for configmaps/own in namespace ci"),
        (Refuse(429, 1), "http_429", "answered 429 for configmaps/own in namespace ci"),
        (Say(409), "http_409", "answered 409 for configmaps/own in namespace ci"),
    ],
)
def test_trouble_is_a_word_and_a_clause(fault: Fault, reason: str, why: str) -> None:
    """Whatever keeps the object from being read."""

    async def story(server: ApiServer, one: NamedObject) -> None:
        server.fail(fault, KIND, Verb.GET, times=ALWAYS)
        assert await one.read(0.1 if fault is Break.STALL else WITHIN_S) == Trouble(reason, f"{server.url} {why}")

    tell(story)


def test_a_lost_answer_leaves_a_conflict() -> None:
    """The replacement was made, and nobody was told: with the version that is known it cannot be made again."""

    async def story(server: ApiServer, one: NamedObject) -> None:
        server.put(config_map())
        body = json.dumps({**await read(one), "data": {"a": "1"}}).encode()
        server.fail(Break.LOSE, KIND, Verb.UPDATE)
        assert await one.replace(body, WITHIN_S) == Conflict()
        assert server.count(KIND, Verb.UPDATE) == 2
        assert (await read(one))["data"] == {"a": "1"}

    tell(story)


def test_a_token_is_read_again_when_it_is_refused() -> None:
    """The next request after a 401 bears the newest one."""

    async def story(server: ApiServer, one: NamedObject) -> None:
        server.put(config_map())
        refused = Trouble("unauthorized", f"{server.url} does not know who asks (401): renew the token, or log in again")
        assert await one.read(WITHIN_S) == refused
        await read(one)

    tell(story, bearer="second")
