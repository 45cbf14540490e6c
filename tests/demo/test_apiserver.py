"""The demonstration's API server: it passes the contract of a real one, and fails in every way that is asked of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.contracts.apiserver import CLAIM_WITHIN_S, CLAIMS, Api, Claim, Json, watch_list_is_refused
from tracer.demo.apiserver import ApiServer
from tracer.demo.protocol import Verb
from tracer.tekton.names import Kind, OwnKind

TOKEN = "right"  # noqa: S105 - of a server on loopback


class Demo(Api):
    """The server under test."""

    server: ApiServer

    async def put(self, content: Json) -> None:
        """Say it."""
        self.server.put(content)

    async def delete(self, content: Json) -> None:
        """Say it."""
        self.server.delete(content)

    async def compact(self) -> None:
        """Say it."""
        self.server.compact()

    def without(self, kind: Kind | OwnKind, verb: str) -> aiohttp.ClientSession:
        """Forbid it to everyone."""
        self.server.forbid(kind, Verb(verb))
        return self.session


@asynccontextmanager
async def demo(*, has_watch_list: bool = True) -> AsyncIterator[Demo]:
    """Open a server and its two clients."""
    bearers = [{"Authorization": f"Bearer {token}"} for token in (TOKEN, "wrong")]
    async with (
        ApiServer(bookmark_every_s=0.05, has_watch_list=has_watch_list, token=TOKEN) as server,
        aiohttp.ClientSession(headers=bearers[0]) as session,
        aiohttp.ClientSession(headers=bearers[1]) as stranger,
        asyncio.timeout(CLAIM_WITHIN_S),
    ):
        api = Demo(server.url, session, stranger, "ns")
        api.server = server
        yield api


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_an_api_server(claim: Claim) -> None:
    """What a real API server says, this one says."""

    async def main() -> None:
        async with demo() as api:
            await claim(api)

    asyncio.run(main())


def test_the_contract_without_watch_lists() -> None:
    """A server whose WatchList feature gate is off refuses it as the real one does."""

    async def main() -> None:
        async with demo(has_watch_list=False) as api:
            await watch_list_is_refused(api)

    asyncio.run(main())
