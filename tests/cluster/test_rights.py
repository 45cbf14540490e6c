"""The claim of rights: those of two namespaces do for two; without one nothing is told, but which it is, until it is granted."""

import base64
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import account, otlp
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.images import BUSYBOX
from tests.cluster.lab.place import AUDITED, JAEGER_OTLP_PORT, Json, Place, as_list
from tests.cluster.lab.shell import call, wait_until
from tests.cluster.live import told
from tests.cluster.program import LIFE, SYNCED, controlling
from tests.cluster.tee import Tee, tee

TOLD_WITHIN_S = 90
DONE_WITHIN = "--timeout=120s"
KINDS = ("pipelineruns", "taskruns", "customruns", "pods", "events")
NOT_THERE, NO_RIGHT = 3, 4
"""Exit codes of a single round, design 6."""
_STEP = {"name": "only", "image": BUSYBOX, "script": "#!/bin/sh\nexit 0\n"}
TASK_RUN: Json = {
    "apiVersion": "tekton.dev/v1",
    "kind": "TaskRun",
    "metadata": {"name": "solo"},
    "spec": {"taskSpec": {"steps": [_STEP]}},
}


@contextmanager
def namespaces(place: Place, *names: str) -> Iterator[None]:
    """Create namespaces in which runs can run; take them away in the end."""
    service_accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}} for name in names
    ]
    for name in names:
        place.kubectl("create", "namespace", name)
    place.kubectl("apply", "-f", "-", stdin=as_list(service_accounts))  # else they come a moment later
    try:
        yield
    finally:
        place.kubectl("delete", "namespace", *names, "--wait=false")


def run_to_the_end(place: Place, *names: str) -> list[str]:
    """Run a TaskRun of one step in each namespace, to its end; give their UIDs."""
    for name in names:
        place.create(name, [TASK_RUN])
    for name in names:
        place.kubectl("wait", "taskrun/solo", "-n", name, "--for=condition=Succeeded", DONE_WITHIN)
    return [place.kubectl("get", "taskrun/solo", "-n", name, "-o", "jsonpath={.metadata.uid}") for name in names]


def await_told(backend: Tee, uids: set[str]) -> None:
    """Wait until runs were told to their end."""
    assert wait_until(lambda: uids <= told(backend.requests), TOLD_WITHIN_S), uids - told(backend.requests)


@pytest.mark.row("A18", "S16")
def test_two_namespaces_of_three(cluster: Cluster, tmp_path: Path) -> None:
    """With a Role in each of two namespaces the runs of both are told, none of a third; nothing is forbidden, no UID is told."""
    place, watched = cluster.place, ("watched-1", "watched-2")
    account.create(place, "namespaced")
    with namespaces(place, *watched, "unwatched"), tee(JAEGER_OTLP_PORT) as backend:
        account.allow(place, "namespaced", account.ALWAYS, watched)
        kubeconfig = account.kubeconfig(place, "namespaced", tmp_path)
        with controlling(tmp_path / "log", kubeconfig, backend, "--watch-namespaces", ",".join(watched)) as controller:
            controller.await_words(SYNCED)
            *theirs, _ = run_to_the_end(place, *watched, "unwatched")
            await_told(backend, set(theirs))
    resources = [one.resource.attributes for one in otlp.one_by_one(request.spans for request in backend.requests)]
    assert {otlp.value_of(one, "k8s.namespace.name") for one in resources} == set(watched)
    assert {otlp.value_of(one, "k8s.cluster.uid") for one in resources} == {None}
    assert [event for event in controller.events if event["level"] != "info"] == []
    asked = account.requests(place, "namespaced")
    assert {(one["objectRef"].get("namespace"), one["responseStatus"]["code"]) for one in asked} == {
        (one, 200) for one in (*watched, AUDITED)
    }
    assert controller.exit_code == 0


@pytest.mark.row("A17", "S16")
def test_without_one_right_nothing_is_told_until_it_is_granted(cluster: Cluster, tmp_path: Path) -> None:
    """Without pods no run is told, half of it neither, and one sentence says what to grant; once it is granted all is told."""
    place = cluster.place
    account.create(place, "no-pods")
    account.allow(place, "no-pods", [account.ALWAYS[0], {**account.ALWAYS[1], "resources": ["events"]}, account.CLUSTER_UID])
    with namespaces(place, "no-pods"), tee(JAEGER_OTLP_PORT) as backend:
        kubeconfig = account.kubeconfig(place, "no-pods", tmp_path)
        with controlling(tmp_path / "log", kubeconfig, backend) as controller:
            controller.await_words(not_allowed("pods"))
            uids = run_to_the_end(place, "no-pods")
            assert backend.requests == []
            account.allow(place, "no-pods", [*account.ALWAYS, account.CLUSTER_UID])
            controller.await_words(SYNCED)
            await_told(backend, set(uids))
    assert Counter(event["event"] for event in controller.events) == Counter([*LIFE, "watch_failed", "watch_recovered"])
    assert controller.exit_code == 0


@pytest.mark.row("A19")
def test_a_wrong_token(cluster: Cluster, tmp_path: Path) -> None:
    """A token that the API server does not know is said in one sentence, without the token."""
    bearer = "of-nobody-at-all"
    kubeconfig = account.kubeconfig(cluster.place, "stranger", tmp_path, token=bearer)
    said = begin_badly(kubeconfig, tmp_path, NO_RIGHT, "does not know who asks (401): renew the token, or log in again.")
    assert bearer not in said


@pytest.mark.row("A20")
def test_a_wrong_authority(cluster: Cluster, tmp_path: Path) -> None:
    """An API server whose certificate another authority signed is not trusted; one sentence says so, and where to mend it."""
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another")
    call("openssl", *new, "-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.crt")
    ca_data = base64.b64encode((tmp_path / "ca.crt").read_bytes()).decode()
    kubeconfig = account.kubeconfig(cluster.place, "stranger", tmp_path, token="any", ca_data=ca_data)  # noqa: S106 - of nobody
    begin_badly(kubeconfig, tmp_path, NOT_THERE, "is not trusted: ", "see certificate-authority in the kubeconfig.")


def test_no_right_at_all(cluster: Cluster, tmp_path: Path) -> None:
    """An account without any role is told each kind that it may not read."""
    account.create(cluster.place, "nobody")
    kubeconfig = account.kubeconfig(cluster.place, "nobody", tmp_path)
    begin_badly(kubeconfig, tmp_path, NO_RIGHT, *map(not_allowed, KINDS))


def not_allowed(kind: str) -> str:
    """Say what is said of a right that is missing."""
    return f"does not allow {kind} to be listed and watched (403): grant list and watch on {kind}."


def begin_badly(kubeconfig: Path, folder: Path, code: int, *sentences: str) -> str:
    """Start the controller where it cannot begin: it says why, waits, and ends when it is told to. Give all that it said.

    A single round says the same and ends with an exit code.
    """
    with tee(JAEGER_OTLP_PORT) as backend:
        with controlling(folder / "log", kubeconfig, backend) as controller:
            for sentence in sentences:
                controller.await_words(sentence)
        with controlling(folder / "once.log", kubeconfig, backend, "--once") as once:
            once.await_end()
    assert (controller.exit_code, once.exit_code, backend.requests) == (0, code, [])
    assert all(event["message"].endswith(".") for event in controller.events)
    *_, last = once.lines
    assert last.startswith("tracer: ")
    assert sentences[0] in last
    return controller.log.read_text() + once.log.read_text()
