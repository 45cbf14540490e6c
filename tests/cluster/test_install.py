"""The claim of the chart: installed on a real cluster, as Pods under "restricted", it tells, and survives what happens to Pods.

The image is the one of deploy/Dockerfile, the account the chart's own.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.chart.manifests import INSTALL
from tests.chart.rendering import CHART, RELEASE, helm, objects, render
from tests.cluster import account, otlp
from tests.cluster.faults.bench import SHORT, Bench, Say, last, open_bench
from tests.cluster.lab import image_builds, images
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.place import INSTALLED, NODE_ADDRESS, Json, Place, as_list
from tests.cluster.lab.recorder import now
from tests.cluster.lab.shell import LabError, run, wait_until
from tests.cluster.tee import Answer
from tests.cluster.test_chart import PRESETS
from tests.cluster.test_rights import await_told, namespaces, run_to_the_end
from tests.process.test_upgrade import before
from tracer import __version__
from tracer.kube.checkpoints import INTERVAL_S
from tracer.kube.credentials import MOUNTED

READY_WITHIN = (
    "240s"  # after the API server was away, Kubernetes' own controllers may wait for a minute and more before they look again
)
LEADS_WITHIN_S, WRITTEN_WITHIN_S, ENDED_WITHIN_S = 60, 5, 120
POD_NAME = "authentication.kubernetes.io/pod-name"
REPOSITORY, _, TAG = image_builds.NAME.rpartition(":")
PLAIN = "install-plain"
PYTHON, HOUR_S = "/opt/tracer/bin/python3", 3600
OF_THE_OPERATOR = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds that this cluster does not serve."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What was installed."""

    place: Place
    bench: Bench
    began_s: float
    """When, in Unix seconds."""

    @property
    def leader(self) -> str:
        """The Pod that leads; empty if none does."""
        asked = ("get", "lease", "tracer-leader", "-n", INSTALLED, "-o", "jsonpath={.spec.holderIdentity}")
        return self.place.asked(*asked).rpartition("_")[0]

    @property
    def pods(self) -> list[str]:
        """The controller's Pods, without the doctor's."""
        ours, names = "app.kubernetes.io/component=controller", "jsonpath={.items[*].metadata.name}"
        return self.place.asked("get", "pods", "-n", INSTALLED, "-l", ours, "-o", names).split()

    @property
    def checkpoint(self) -> Json:
        """The ConfigMap."""
        return self._own("configmap/tracer-checkpoint")

    @property
    def state(self) -> tuple[str, str]:
        """The UIDs of the ConfigMap and of the Lease: another one is an empty one."""
        return self.checkpoint["metadata"]["uid"], self._own("lease/tracer-leader")["metadata"]["uid"]

    def _own(self, name: str) -> Json:
        found: Json = json.loads(self.place.kubectl("get", name, "-n", INSTALLED, "-o", "json"))
        return found

    def values(self, more: Json | None = None) -> Json:
        """Give what has to be said of this cluster, and more."""
        config = {"otlp": {"endpoint": self.bench.backend.endpoint}, **(more or {})}
        return {"image": {"repository": REPOSITORY, "tag": TAG, "pullPolicy": "Never"}, "config": config}

    def helm(self, *arguments: str, values: Json | None = None) -> str:
        """Run helm against the cluster."""
        given = ("--values", "-") if values is not None else ()
        common = ("--kubeconfig", self.place.kubeconfig, "--namespace", INSTALLED)
        return helm(*arguments, *common, *given, stdin=None if values is None else json.dumps(values))

    def upgrade(self, more: Json | None = None, *, chart: Path = CHART) -> None:
        """Install it, or upgrade it, and wait until all its Pods are ready.

        Raises LabError with what they say if they are not.
        """
        try:
            waits = ("--wait", f"--timeout={READY_WITHIN}")
            self.helm("upgrade", "--install", RELEASE, str(chart), *waits, values=self.values(more))
        except LabError as error:
            raise LabError("\n".join([str(error), *map(self._words_of, self.pods)])) from error

    def _words_of(self, pod: str) -> str:
        """Give what the kubelet, the Pod itself and its last log lines say of how it is."""
        status = self.place.asked("get", "pod", pod, "-n", INSTALLED, "-o", "jsonpath={.status}")
        url = f"/api/v1/namespaces/{INSTALLED}/pods/{pod}:8080/proxy/readyz?verbose"
        ready = run(*self.place.kubectl_command("get", "--raw", url))
        log = self.place.asked("logs", pod, "-n", INSTALLED, "--tail=40")
        return f"{pod}: {status}\n{ready.stdout or ready.stderr}\n{log}"

    def await_leader(self, *, but: str = "") -> None:
        """Wait until a Pod leads that is there, and is another one than was said."""

        def is_led() -> bool:
            return self.leader in self.pods and self.leader != but

        assert wait_until(is_led, LEADS_WITHIN_S), f"{self.leader or 'nobody'} leads"


@pytest.fixture(scope="module")
def installation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[Installation]:
    """Build the image, give it to the node, and install the chart in a namespace that is held to "restricted"."""
    place, folder = cluster.place, tmp_path_factory.mktemp("install")
    image_builds.gather(folder / "wheelhouse")
    images.load(image_builds.build(place, folder / "wheelhouse", folder / "image.tar").archive)
    with open_bench(cluster, SHORT, folder, say, NODE_ADDRESS) as bench:
        place.kubectl("create", "namespace", INSTALLED)
        place.kubectl("label", "namespace", INSTALLED, "pod-security.kubernetes.io/enforce=restricted")
        one = Installation(place, bench, now())
        try:
            one.upgrade()
            yield one
        finally:
            place.kubectl("delete", "namespace", INSTALLED, "--wait=false")


def test_it_tells_within_minutes(installation: Installation, say: Say) -> None:
    """Two Pods are ready, one of them leads, and a run's trace is in the backend; it is said how long all of it took."""
    with namespaces(installation.place, "install-first"):
        await_told(installation.bench.backend, set(run_to_the_end(installation.place, "install-first")))
    say(f"from `helm install` to the first trace: {now() - installation.began_s:.0f} s, with a run of its own in it")
    ready = "jsonpath={.status.readyReplicas}"
    assert installation.place.kubectl("get", "deployment", "tracer", "-n", INSTALLED, "-o", ready) == "2"
    installation.await_leader()


def test_the_doctor_is_content(installation: Installation) -> None:
    """`helm test` runs it as the controller's own account."""
    said = installation.helm("test", RELEASE, "--logs", f"--timeout={READY_WITHIN}")
    assert "Phase:          Succeeded" in said


@pytest.mark.row("S19")
def test_its_token_lives_for_an_hour(installation: Installation) -> None:
    """Unlike the one that the API server mounts by itself, which it lets live for a year."""
    reads = f"print(open('{MOUNTED}/token').read())"
    token = installation.place.kubectl("exec", "-n", INSTALLED, installation.pods[0], "--", PYTHON, "-c", reads)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] == HOUR_S


def test_a_rolling_update_loses_nothing(installation: Installation) -> None:
    """Every Pod is replaced while runs run; what was sent is remembered, and nothing is sent again."""
    state = installation.state
    with installation.bench.fault("install-update", "a rolling update", controllers=None, sees_all=False) as fault:
        assert fault.runs.in_state("Unknown")
        installation.upgrade({"stuck_after_s": 3600})
    assert fault.books is not None
    assert fault.books.repeated == 0
    assert installation.state == state


def test_a_leader_that_is_taken_away_costs_nothing(installation: Installation) -> None:
    """Its Pod is deleted by force, as a lost node's are, while runs run: nothing is lost, and the standby knows what it knew."""
    installation.await_leader()
    leader, said = installation.leader, "`kubectl delete pod --force` of the leader"
    with installation.bench.fault("install-force", said, controllers=None):
        installation.place.kubectl("delete", "pod", leader, "-n", INSTALLED, "--force", "--grace-period=0")
        installation.await_leader(but=leader)


def test_a_leader_that_ends_slowly_costs_nothing(installation: Installation) -> None:
    """As when its node is drained while the backend is away: it tries to the last, and the Pod that replaces it is there by then.

    What was deleted meanwhile is known to the standby alone, which leads next.
    """
    installation.await_leader()
    leader, said = installation.leader, "the leader's Pod deleted while Jaeger answers 503"
    with (
        installation.bench.fault("install-drain", said, controllers=None) as fault,
        installation.bench.backend.refusing(Answer(HTTPStatus.SERVICE_UNAVAILABLE)),
    ):
        ended, all_of_them = partial(fault.runs.in_state, "True", "False"), installation.bench.length.most_runs
        assert wait_until(lambda: len(ended()) == all_of_them, ENDED_WITHIN_S)
        installation.place.kubectl("delete", "pod", leader, "-n", INSTALLED)
        installation.await_leader(but=leader)


def test_what_is_remembered_outlives_the_release(installation: Installation) -> None:
    """Uninstalled and installed again it finds its ConfigMap and its Lease, and repeats nothing that stands there."""
    state, requests = installation.state, installation.bench.backend.requests
    last(INTERVAL_S + WRITTEN_WITHIN_S)  # Helm takes its rights away before its Pods, so it may not write when it ends
    sent = len(requests)
    installation.helm("uninstall", RELEASE, "--wait")
    assert installation.checkpoint["binaryData"]["done"]
    assert installation.state == state
    installation.upgrade()
    installation.await_leader()
    with namespaces(installation.place, "install-again"):
        await_told(installation.bench.backend, set(run_to_the_end(installation.place, "install-again")))
    known, later = (
        list(map(otlp.span_of, otlp.one_by_one(one.spans for one in part))) for part in (requests[:sent], requests[sent:])
    )
    assert {one.name for one in later if one.span_id in {each.span_id for each in known}} == set()
    assert installation.state == state


def test_an_upgrade_of_the_chart_and_the_way_back_keep_what_is_remembered(installation: Installation, tmp_path: Path) -> None:
    """From the chart before its last change, with the page's command, and back by a rollback."""
    state, waits = installation.state, ("--wait", f"--timeout={READY_WITHIN}")

    def is_remembered() -> bool:
        return bool(installation.checkpoint["binaryData"]["done"])

    with namespaces(installation.place, "install-upgraded"):
        await_told(installation.bench.backend, set(run_to_the_end(installation.place, "install-upgraded")))
        assert wait_until(is_remembered, INTERVAL_S + WRITTEN_WITHIN_S)
        installation.upgrade(chart=before(tmp_path, "deploy/chart") / "deploy" / "chart")
        installation.helm("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", *waits)
        installation.helm("rollback", RELEASE, *waits)
        installation.await_leader()
        assert installation.state == state
        assert is_remembered()
    installation.upgrade()


@pytest.mark.row("S16")
@pytest.mark.parametrize("watched", [(), ("install-one", "install-two")], ids=["the whole cluster", "two namespaces"])
def test_each_right_is_used_and_none_is_missing(installation: Installation, watched: tuple[str, ...]) -> None:
    """What its account asked, as the API server's audit noted it, is what the chart's roles allow: no more, and no less."""
    config = {"watch": {"namespaces": list(watched)}}
    rules = granted(render(installation.values(config), namespace=INSTALLED))

    def asked(*, is_refused: bool) -> set[str]:
        """Give what the Pods that run now were allowed, or refused."""
        noted = account.requests(installation.place, RELEASE, INSTALLED)
        own = [
            one for one in noted if "objectRef" in one and set(one["user"]["extra"].get(POD_NAME, ())) & set(installation.pods)
        ]
        return {said_of(one) for one in own if (one["responseStatus"]["code"] == HTTPStatus.FORBIDDEN) is is_refused}

    with namespaces(installation.place, *(watched or ("install-rights",))):
        installation.upgrade(config)
        installation.await_leader()
        await_told(installation.bench.backend, set(run_to_the_end(installation.place, *(watched or ("install-rights",)))))
        assert asked(is_refused=True) == set()
        with installation.bench.cluster.away("apiserver"):
            pass  # after a break it asks for the version by a list, which it streams otherwise
        assert wait_until(lambda: rules <= asked(is_refused=False), LEADS_WITHIN_S), rules - asked(is_refused=False)
        assert asked(is_refused=False) <= rules


def test_without_helm_it_is_the_same(installation: Installation) -> None:
    """deploy/install.yaml as the page says, but in another namespace: held to "restricted", it is ready, and tells."""
    installation.helm("uninstall", RELEASE, "--wait")
    text = INSTALL.read_text().replace(f"localhost/tracer:{__version__}", image_builds.NAME)
    text = text.replace("http://jaeger:4318", installation.bench.backend.endpoint)
    place, manifests = installation.place, as_list(list(map(_in_plain, objects(text))))
    try:
        place.kubectl("apply", "--server-side", "-f", "-", stdin=manifests)
        place.kubectl("-n", PLAIN, "rollout", "status", "deployment/tracer", f"--timeout={READY_WITHIN}")
        label = "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}"
        assert place.kubectl("get", "namespace", PLAIN, "-o", label) == "restricted"
        with namespaces(place, "install-without"):
            await_told(installation.bench.backend, set(run_to_the_end(place, "install-without")))
    finally:
        place.kubectl("delete", "--wait=false", "-f", "-", stdin=manifests)


def _in_plain(one: Json) -> Json:
    """Put an object of deploy/install.yaml into a namespace of its own, as the tests have one of that name."""
    metadata = one["metadata"]
    moved = {"name": PLAIN} if one["kind"] == "Namespace" else {"namespace": PLAIN} if "namespace" in metadata else {}
    subjects = {"subjects": [{**each, "namespace": PLAIN} for each in one["subjects"]]} if "subjects" in one else {}
    return {**one, "metadata": {**metadata, **moved}, **subjects}


def granted(among: list[Json]) -> set[str]:
    """Write each right of the rendered roles as one of verb, resource, name and namespace."""
    found = set[str]()
    for role in (one for one in among if one["kind"] in {"Role", "ClusterRole"}):
        where = role["metadata"].get("namespace", "") if role["kind"] == "Role" else ""
        for rule in role["rules"]:
            named = rule.get("resourceNames", [""])
            found |= {f"{verb} {kind} {name} {where}" for verb in rule["verbs"] for kind in rule["resources"] for name in named}
    return found


def said_of(request: Json) -> str:
    """Write a request that the audit noted in the same way."""
    reference = request["objectRef"]
    is_by_name = request["verb"] in {"get", "update"}
    name = reference.get("name", "") if is_by_name else ""
    where = "" if reference["resource"] == "namespaces" else reference.get("namespace", "")
    return f"{request['verb']} {reference['resource']} {name} {where}"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_api_server_takes_every_rendering(cluster: Cluster, preset: str) -> None:
    """As a dry run on the server, with the Pod of `helm test`: every field is known, and nothing is refused."""
    place, name = cluster.place, f"install-{preset}"
    watched = PRESETS[preset].get("config", {}).get("watch", {}).get("namespaces", [])
    with namespaces(place, name, *dict.fromkeys(watched)):
        rendered = [one for one in render(PRESETS[preset], namespace=name) if one["kind"] not in OF_THE_OPERATOR]
        there = as_list([one for one in rendered if one["kind"] == "ServiceAccount"])  # or a Pod of it is refused
        place.kubectl("apply", "-f", "-", stdin=there)
        said = place.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=as_list(rendered))
    assert len(said.splitlines()) == len(rendered)
