"""The contract of the demonstration's API server, kept by the real one: what the fake says is what kube-apiserver says."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import aiohttp
import pytest

from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.place import API_PORT, ETCD_PORT, Place
from tests.contracts.apiserver import CLAIM_WITHIN_S, CLAIMS, PATHS, Api, Claim, Json, watch_list_is_refused
from tracer.tekton.names import Kind, OwnKind

TLS_ENDS_WITHIN_S = 0.25  # as aiohttp's own documentation has it
_NUMBERS = count()


class Real(Api):
    """kube-apiserver, asked as cluster-admin."""

    cluster: Cluster
    nobody: aiohttp.ClientSession

    def without(self, kind: Kind | OwnKind, verb: str) -> aiohttp.ClientSession:  # noqa: ARG002 - he may do nothing
        """Give a user to whom nothing was granted."""
        return self.nobody

    async def put(self, content: Json) -> None:
        """Create it, or merge it into what is there."""
        path = self.path(_kind(content))
        async with self.session.post(path, json=content) as response:
            if response.status == 201:
                return
            assert response.status == 409, await response.text()
        merge = {"Content-Type": "application/merge-patch+json"}
        change = {"metadata": {"labels": content["metadata"]["labels"]}}
        async with self.session.patch(f"{path}/{content['metadata']['name']}", json=change, headers=merge) as response:
            assert response.status == 200, await response.text()

    async def delete(self, content: Json) -> None:
        """Delete it without grace."""
        path = f"{self.path(_kind(content))}/{content['metadata']['name']}"
        async with self.session.delete(path, params={"gracePeriodSeconds": "0"}) as response:
            assert response.status == 200, await response.text()

    async def compact(self) -> None:
        """Compact etcd, and start the server anew, since its watch cache remembers more; wait until that is filled again."""
        etcd = f"http://127.0.0.1:{ETCD_PORT}/v3/kv"
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{etcd}/range", json={"key": "AA=="}) as response:
                revision = (await response.json())["header"]["revision"]
            async with session.post(f"{etcd}/compaction", json={"revision": revision, "physical": True}) as response:
                assert response.status == 200, await response.text()
        self.cluster.stop("apiserver")
        await asyncio.to_thread(self.cluster.start, "apiserver")
        for kind in PATHS:
            while (await self._watch_status(kind)) == 429:  # noqa: ASYNC110 - the server cannot be waited for otherwise
                await asyncio.sleep(0.1)

    async def _watch_status(self, kind: Kind) -> int:
        async with self.session.get(self.path(kind), params={"watch": "1", "resourceVersion": "0"}) as response:
            return response.status


def _kind(content: Json) -> Kind | OwnKind:
    name = content["kind"]
    return OwnKind(name) if name in set(OwnKind) else Kind(name)


@asynccontextmanager
async def real(cluster: Cluster) -> AsyncIterator[Real]:
    """Open two clients, and a namespace in which nothing has happened."""
    place, url = cluster.place, f"https://127.0.0.1:{API_PORT}"
    tls = ssl.create_default_context(cafile=place.pki / "ca.crt")
    admin = ssl.create_default_context(cafile=place.pki / "ca.crt")
    admin.load_cert_chain(place.pki / "admin.crt", place.pki / "admin.key")
    namespace = f"contract-{next(_NUMBERS)}"
    await asyncio.to_thread(_make_namespace, place, namespace)
    wrong = {"Authorization": "Bearer wrong"}
    nobody = {"Impersonate-User": "nobody", "Impersonate-Group": "system:authenticated"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=admin)) as session,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), headers=wrong) as stranger,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=admin), headers=nobody) as impersonated,
        asyncio.timeout(CLAIM_WITHIN_S),
    ):
        api = Real(url, session, stranger, namespace)
        api.cluster, api.nobody = cluster, impersonated
        yield api
    await asyncio.sleep(TLS_ENDS_WITHIN_S)  # aiohttp closes a TLS connection's socket only after its session


def _make_namespace(place: Place, namespace: str) -> None:
    """Create a namespace; a Pod of it needs its service account, which comes a moment later."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}
    place.kubectl("create", "namespace", namespace)
    place.kubectl("apply", "-f", "-", stdin=json.dumps(account))


@pytest.fixture(scope="module")
def quiet(cluster: Cluster) -> Iterator[Cluster]:
    """Give a cluster that runs nothing, so that only the contract changes its objects."""
    cluster.stop("tekton-controller")
    yield cluster
    cluster.start("tekton-controller")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_contract_of_an_api_server(quiet: Cluster, claim: Claim) -> None:
    """What the demonstration's API server says, the real one says."""

    async def main() -> None:
        async with real(quiet) as api:
            await claim(api)

    asyncio.run(main())


@pytest.mark.row("A25")
def test_the_contract_without_watch_lists(quiet: Cluster) -> None:
    """With its feature gate off, WatchList is refused in the same words."""

    async def main() -> None:
        async with real(quiet) as api:
            await watch_list_is_refused(api)

    quiet.stop("apiserver")
    gated = Cluster(quiet.place, ["--feature-gates=WatchList=false"])
    gated.start("apiserver")
    try:
        asyncio.run(main())
    finally:
        gated.stop("apiserver")
        quiet.start("apiserver")
