"""The claim of the chart: what Helm renders of it is an installation that the program runs in, with its rights and no others.

No cluster is needed for it.
"""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.prometheusrule import RULES
from tests.chart import restricted
from tests.chart.manifests import INSTALL, STATE, copies, install, state
from tests.chart.rendering import (
    CHART,
    NAMESPACE,
    RELEASE,
    configuration,
    helm,
    kinds,
    named,
    objects,
    pod_specs,
    render,
    template,
)
from tests.chart.rights import rights
from tests.cluster import account
from tests.cluster.lab.builds import HELM, build_modules, unfit_here
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.shell import LabError
from tests.kit import HERE, Json
from tests.markdown import PAGES, blocks, lines
from tracer import __version__
from tracer.cli import cli
from tracer.config import KEYS, Config
from tracer.errors import InputError
from tracer.health.families import FAMILIES, Type
from tracer.kube.credentials import MOUNTED
from tracer.kube.named import CHECKPOINT_NAME, LEASE_NAME
from tracer.settings import load

MULTI_TENANT: Json = yaml.safe_load((CHART / "values-multi-tenant.yaml").read_text())
WATCHED: Json = {"config": {"watch": {"namespaces": ["ci", "release", "ci"]}}}
DIGEST = "sha256:" + 64 * "a"
AMD64 = {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}
EVERYTHING: Json = {
    "replicas": 3,
    "image": {"repository": "registry.example:5000/tracer", "digest": DIGEST},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {
        "otlp": {"endpoint": "https://collector.example:4318", "compression": "gzip"},
        "spans": {"mappings": {"example.com/team": "tekton.user.team"}, "run_url": "https://example/{uid}"},
        "cluster": {"name": "blue"},
        "listen": "[::]:9090",
        "stuck_after_s": 10**9,
    },
    "secrets": {"headers": {"name": "backend", "key": "token"}, "ca": {"name": "authority"}, "client": {"name": "tls"}},
    "proxy": {"url": "http://proxy:3128", "noProxy": ".svc"},
    "tolerations": [{"key": "ci", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [AMD64]}}},
    "monitoring": {"monitor": "ServiceMonitor", "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True},
    "namespace": {"create": True},
}
PRESETS: dict[str, Json] = {
    "default": {},
    "one-replica": {"replicas": 1},
    "per-namespace": WATCHED,
    "multi-tenant": MULTI_TENANT,
    "without-election": {"config": {"leader": {"enabled": False}}},
    "user-of-the-cluster": {"runAsUser": None},
    "everything": EVERYTHING,
}
ALWAYS = {
    "ConfigMap", "Deployment", "Lease", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Role", "RoleBinding", "Service",
    "ServiceAccount",
}  # fmt: skip
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding"}
KINDS = {
    "default": ALWAYS | CLUSTER_WIDE,
    "one-replica": (ALWAYS | CLUSTER_WIDE) - {"PodDisruptionBudget"},
    "per-namespace": ALWAYS,
    "multi-tenant": ALWAYS | CLUSTER_WIDE,
    "without-election": (ALWAYS | CLUSTER_WIDE) - {"Lease"},
    "user-of-the-cluster": ALWAYS | CLUSTER_WIDE,
    "everything": ALWAYS | CLUSTER_WIDE | {"Namespace", "ServiceMonitor"},
}
WITHOUT_NAMESPACE = {"Namespace", *CLUSTER_WIDE}
LABELS = {
    "app.kubernetes.io/name": "tracer",
    "app.kubernetes.io/instance": RELEASE,
    "app.kubernetes.io/version": __version__,
    "app.kubernetes.io/managed-by": "Helm",
    "helm.sh/chart": f"tracer-{__version__}",
}
GOLDEN = HERE / "chart" / "rights.txt"
each_preset = pytest.mark.parametrize("preset", PRESETS)


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    if reason := unfit_here():
        pytest.skip(reason)
    build_modules(Cluster.of_environment().place, [HELM])


def controller(among: list[Json]) -> Json:
    """Give the container that is the controller."""
    (found,) = named(among, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


# ---------------------------------------------------------------- every preset


@each_preset
def test_helm_finds_nothing_to_say(preset: str, tmp_path: Path) -> None:
    """Not even a warning, which `--strict` makes a failure."""
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(PRESETS[preset]))
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", values)


@each_preset
def test_what_there_is(preset: str) -> None:
    """The kinds of objects; each is there once, says which namespace it is of, and bears the labels of the release."""
    among = render(PRESETS[preset])
    assert kinds(among) == KINDS[preset]
    places = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in among]
    assert len({*places}) == len(places)
    for one in among:
        assert ("namespace" in one["metadata"]) == (one["kind"] not in WITHOUT_NAMESPACE), one["metadata"]
        assert LABELS.items() <= one["metadata"]["labels"].items()


@each_preset
def test_the_program_takes_the_file(preset: str) -> None:
    """What is mounted is a configuration of the program's, and the one that was asked for."""
    settings = load({}, {}, ("config.yaml", configuration(render(PRESETS[preset]))))
    plain = load({}, {}, ("config.yaml", configuration(render()))).config
    given = PRESETS[preset].get("config", {})
    changed = {name for name in KEYS if _value(settings.config, name) != _value(plain, name)}
    assert changed == {
        *(f"{section}.{name}" for section, values in given.items() if isinstance(values, dict) for name in values),
        *(name for name, value in given.items() if not isinstance(value, dict)),
        *({"otlp.headers_file", "otlp.ca_file", "otlp.cert_file", "otlp.key_file"} if "secrets" in PRESETS[preset] else ()),
    }


def _value(config: Config, name: str) -> object:
    found: Any = config
    for part in name.split("."):
        found = getattr(found, part)
    return found


@each_preset
def test_each_pod_is_restricted(preset: str) -> None:
    """The controller's and that of `helm test` keep to the Pod Security Standard, and to a little more than it asks for."""
    specs = pod_specs(render(PRESETS[preset]))
    assert {*specs} == {RELEASE, f"{RELEASE}-doctor"}
    user = {} if preset == "user-of-the-cluster" else {"runAsUser": 65532, "runAsGroup": 65532}
    for spec in specs.values():
        assert restricted.faults(spec) == []
        assert spec["securityContext"] == {"runAsNonRoot": True, **user, "seccompProfile": {"type": "RuntimeDefault"}}
        assert (spec["enableServiceLinks"], spec["serviceAccountName"]) == (False, RELEASE)
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert {one["name"]: one for one in spec["volumes"]}["tmp"] == {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
            assert mounts == {"tmp": "/tmp", "config": "/etc/tracer", "account": str(MOUNTED)}  # noqa: S108 - the Pod's own
            assert container["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
    assert restricted.faults({**spec, "hostNetwork": True}) == ["hostNetwork"]


# ---------------------------------------------------------------- rights


@pytest.mark.row("S16")
def test_rights(request: pytest.FixtureRequest) -> None:
    """A change of what it may do is seen in a review: run with --rewrite, then read the diff."""
    said = "\n".join(
        "\n".join([f"# {preset}", *rights(render(PRESETS[preset]), RELEASE, NAMESPACE), ""])
        for preset in ("default", "per-namespace", "without-election")
    )
    if request.config.getoption("--rewrite"):
        GOLDEN.write_text(said)
    assert said == GOLDEN.read_text()


def test_the_rights_are_those_that_the_cluster_tests_run_with() -> None:
    """What is tried on a real cluster is what is installed."""
    among = render()
    assert named(among, "ClusterRole", f"{RELEASE}:{NAMESPACE}")["rules"] == [*account.ALWAYS, account.CLUSTER_UID]
    among = render(WATCHED)
    roles = [one for one in among if one["kind"] == "Role" and one["metadata"]["namespace"] != NAMESPACE]
    assert {one["metadata"]["namespace"]: one["rules"] for one in roles} == {"ci": account.ALWAYS, "release": account.ALWAYS}
    assert (
        named(among, "Role", account.STATE_ROLE)["rules"]
        == named(objects(STATE.read_text()), "Role", account.STATE_ROLE)["rules"]
    )


@pytest.mark.row("S16")
def test_nobody_may_create_or_read_secrets() -> None:
    """In no preset is there a right to do more than to read what is watched, and to replace two objects."""
    for preset in PRESETS.values():
        rules = [rule for one in render(preset) if one["kind"].endswith("Role") for rule in one["rules"]]
        assert {verb for rule in rules for verb in rule["verbs"]} <= {"get", "list", "watch", "update"}
        assert "secrets" not in {resource for rule in rules for resource in rule["resources"]}
        assert all("resourceNames" in rule for rule in rules if {"get", "update"} & {*rule["verbs"]})


def test_two_releases_do_not_meet() -> None:
    """Releases of one name in two namespaces have no object in common, in the whole cluster and in what both watch."""

    def places(values: Json, namespace: str) -> set[tuple[str, str | None, str]]:
        among = render(values, namespace=namespace)
        return {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in among}

    for values in ({}, WATCHED):
        assert places(values, "one") & places(values, "two") == set()


# ---------------------------------------------------------------- its own objects


@each_preset
def test_its_own_objects_are_empty_and_stay(preset: str) -> None:
    """Without a content of theirs an upgrade changes nothing of what stands in them; and nobody but a person deletes them."""
    among = render(PRESETS[preset])
    kept = [one for one in among if one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"]
    own = {(one["kind"], one["metadata"]["name"]) for one in kept}
    lease = {("Lease", LEASE_NAME)} if preset != "without-election" else set()
    namespace = {("Namespace", NAMESPACE)} if preset == "everything" else set()
    assert own == {("ConfigMap", CHECKPOINT_NAME)} | lease | namespace
    assert all(one.keys() == {"apiVersion", "kind", "metadata"} for one in kept)


def test_the_namespace_is_held_to_the_standard() -> None:
    """Where the chart has one at all, nothing less than restricted may start there."""
    namespace = named(render({"namespace": {"create": True}}, namespace="elsewhere"), "Namespace", "elsewhere")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


# ---------------------------------------------------------------- the Deployment


def test_how_it_is_replaced() -> None:
    """One after the other, each only once the next one is ready; on nodes of their own, where there are some."""
    spec = named(render(), "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 30
    (spread,) = pod["topologySpreadConstraints"]
    assert (spread["maxSkew"], spread["topologyKey"], spread["whenUnsatisfiable"]) == (
        1, "kubernetes.io/hostname", "ScheduleAnyway",
    )  # fmt: skip
    assert (spread["labelSelector"], spread["matchLabelKeys"]) == (spec["selector"], ["pod-template-hash"])
    budget = named(render(), "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_how_it_is_probed() -> None:
    """A start may take a minute; what hangs for half a minute is started again; readiness is the program's own word."""
    probes = {name: probe for name, probe in controller(render()).items() if name.endswith("Probe")}
    live, ready = ({"path": path, "port": "http"} for path in ("/livez", "/readyz"))
    assert probes == {
        "startupProbe": {"httpGet": live, "periodSeconds": 2, "failureThreshold": 30},
        "livenessProbe": {"httpGet": live, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 5, "timeoutSeconds": 5},
    }


def test_who_is_meant_by_a_selector() -> None:
    """The controller's Pods, and not the Pod of `helm test`, which Service and NetworkPolicy have no business with."""
    among = render(EVERYTHING)
    labels = named(among, "Deployment")["spec"]["template"]["metadata"]["labels"]
    doctor = named(among, "Pod", f"{RELEASE}-doctor")["metadata"]["labels"]
    selectors = [
        named(among, "Service")["spec"]["selector"],
        named(among, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        named(among, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        named(among, "Deployment")["spec"]["selector"]["matchLabels"],
    ]
    assert selectors == [labels] * 4
    assert labels == {name: LABELS[name] for name in list(LABELS)[:2]} | {"app.kubernetes.io/component": "controller"}
    assert not labels.items() <= doctor.items()
    monitor = named(among, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= named(among, "Service")["metadata"]["labels"].items()


@pytest.mark.parametrize(("listen", "port"), [(":8080", 8080), (":9090", 9090), ("[::]:9090", 9090), ("0.0.0.0:1", 1)])
def test_everything_follows_the_port(listen: str, port: int) -> None:
    """The container, the Service, the NetworkPolicy; probes and monitors name it."""
    among = render({"config": {"listen": listen}})
    assert controller(among)["ports"] == [{"name": "http", "containerPort": port}]
    assert named(among, "Service")["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]
    ((rule,), policy) = ((spec := named(among, "NetworkPolicy")["spec"])["ingress"], spec["policyTypes"])
    assert (rule["ports"], policy) == ([{"protocol": "TCP", "port": port}], ["Ingress"])


@pytest.mark.row("S13")
def test_who_may_scrape() -> None:
    """A namespace unless it is said otherwise; nobody if nobody is named; everybody without a policy."""
    by_default = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    another = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    assert named(render(), "NetworkPolicy")["spec"]["ingress"][0]["from"] == [by_default]
    assert named(render({"networkPolicy": {"from": [another]}}), "NetworkPolicy")["spec"]["ingress"][0]["from"] == [another]
    assert named(render({"networkPolicy": {"from": []}}), "NetworkPolicy")["spec"]["ingress"] == []
    assert "NetworkPolicy" not in kinds(render({"networkPolicy": {"enabled": False}}))


def test_a_new_configuration_restarts_it() -> None:
    """And nothing else does that changes nothing in the Pod."""

    def pod(values: Json) -> Json:
        found: Json = named(render(values), "Deployment")["spec"]["template"]
        return found

    assert pod({}) == pod({"replicas": 3, "networkPolicy": {"enabled": False}})
    assert pod({}) != pod({"config": {"log": {"level": "warning"}}})


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ({}, f"localhost/tracer:{__version__}"),
        ({"tag": "edge"}, "localhost/tracer:edge"),
        ({"repository": "registry.example:5000/team/tracer"}, f"registry.example:5000/team/tracer:{__version__}"),
        ({"repository": "registry.example/tracer", "tag": "edge", "digest": DIGEST}, f"registry.example/tracer@{DIGEST}"),
    ],
)
def test_the_image(given: Json, image: str) -> None:
    """By tag, the chart's own version if none is given, or by digest; the same one for `helm test`."""
    specs = pod_specs(render({"image": {**given, "pullPolicy": "Always"}}))
    found = {(container["image"], container["imagePullPolicy"]) for spec in specs.values() for container in spec["containers"]}
    assert found == {(image, "Always")}


def test_what_is_run() -> None:
    """The image's own entrypoint, as the controller and to look whether all is there, each with the file that is mounted."""
    commands = {name: spec["containers"][0]["args"] for name, spec in pod_specs(render()).items()}
    file = ["--config", "/etc/tracer/config.yaml"]
    assert commands == {RELEASE: ["run", *file], f"{RELEASE}-doctor": ["doctor", *file]}
    assert {"run", "doctor"} <= cli.commands.keys()
    test_pod = named(render(), "Pod", f"{RELEASE}-doctor")
    assert test_pod["spec"]["restartPolicy"] == "Never"
    assert test_pod["metadata"]["annotations"] == {
        "helm.sh/hook": "test", "helm.sh/hook-delete-policy": "before-hook-creation",
    }  # fmt: skip


def test_only_our_pods_have_the_accounts_token() -> None:
    """Another Pod that names the account gets none unless it asks for one."""
    assert named(render(), "ServiceAccount")["automountServiceAccountToken"] is False


@each_preset
@pytest.mark.row("S19")
def test_the_token_is_valid_for_an_hour(preset: str) -> None:
    """Our Pods ask for it themselves: kube-apiserver lets the one that it mounts, for 3607 s, live for a year.

    It stands with the authority and the namespace where the program looks; the kubelet lets the user of the Pod read it.
    """
    for spec in pod_specs(render(PRESETS[preset])).values():
        assert spec["automountServiceAccountToken"] is False
        assert {one["name"]: one for one in spec["volumes"]}["account"]["projected"] == {
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]
        }
        for container in spec["containers"]:
            mounted = {one["name"]: one for one in container["volumeMounts"]}["account"]
            assert mounted == {"name": "account", "mountPath": str(MOUNTED), "readOnly": True}


def test_secrets_become_files() -> None:
    """All that the program reads stands in one folder, and its configuration names it."""
    among = render(EVERYTHING)
    settings = load({}, {}, ("config.yaml", configuration(among)))
    otlp = settings.config.otlp
    named_files = {otlp.headers_file, otlp.ca_file, otlp.cert_file, otlp.key_file}
    for spec in pod_specs(among).values():
        (container,) = spec["containers"]
        mounted = {one["name"]: one for one in container["volumeMounts"]}["config"]
        assert (mounted["mountPath"], mounted["readOnly"]) == ("/etc/tracer", True)
        projected = {one["name"]: one for one in spec["volumes"]}["config"]["projected"]["sources"]
        files = {
            f"{mounted['mountPath']}/{item['path']}": (source["secret"]["name"], item["key"])
            for source in projected
            if "secret" in source
            for item in source["secret"]["items"]
        }
        assert {*files} == named_files
        assert sorted(files.values()) == [("authority", "ca.crt"), ("backend", "token"), ("tls", "tls.crt"), ("tls", "tls.key")]
        assert {one["name"]: one["value"] for one in container["env"]} == {
            "HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".svc",
        }  # fmt: skip
        assert spec["imagePullSecrets"] == [{"name": "registry"}]


# ---------------------------------------------------------------- monitoring


@pytest.mark.parametrize(("kind", "where"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")])
def test_each_replica_is_scraped(kind: str, where: str) -> None:
    """With the runs' own labels, and a limit that lies above what there can be."""
    spec = named(render({"monitoring": {"monitor": kind, "labels": {"release": "prometheus"}}}), kind)["spec"]
    assert (spec["jobLabel"], spec["labelLimit"]) == ("app.kubernetes.io/name", 32)
    assert (spec["labelNameLengthLimit"], spec["labelValueLengthLimit"]) == (128, 1024)
    assert spec[where] == [{"port": "http", "path": "/metrics", "interval": "15s", "honorLabels": True}]
    most = sum(one.most * (len(one.buckets) + 3 if one.type is Type.HISTOGRAM else 1) for one in FAMILIES)
    assert 2 * most < spec["sampleLimit"]


def test_what_is_copied_is_rendered_as_it_is() -> None:
    """The rules of deploy/alerts for the operator, the dashboards each in a ConfigMap that Grafana's sidecar finds."""
    among = render({"monitoring": {"rules": True, "labels": {"release": "prometheus"}}, "dashboards": {"enabled": True}})
    for source, _ in copies():
        if source == RULES:
            found = named(among, "PrometheusRule")
            assert found["spec"] == yaml.safe_load(source.read_text())
            assert found["metadata"]["labels"]["release"] == "prometheus"
        else:
            found = named(among, "ConfigMap", f"{RELEASE}-dashboard-{source.stem}")
            assert found["data"] == {f"tracer-{source.name}": source.read_text()}
            assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"replicas": "2"}, "at '/replicas': got string, want integer"),
        ({"replicas": -1}, "at '/replicas': minimum"),
        ({"image": {"tag": 0.1}}, "at '/image/tag': got number, want string"),
        ({"image": {"digest": "sha256:abc"}}, "at '/image/digest': 'sha256:abc' does not match pattern"),
        ({"image": None}, "missing property 'image'"),
        ({"runAsUser": 0}, "at '/runAsUser': minimum"),
        ({"monitoring": {"monitor": "Probe"}}, "at '/monitoring/monitor': value must be one of"),
        ({"networkPolicy": {"from": [{"namespace": "x"}]}}, "additional properties 'namespace' not allowed"),
        ({"tolerations": [{"effects": "NoSchedule"}]}, "additional properties 'effects' not allowed"),
        ({"resources": {"limits": {"memory": "much"}}}, "at '/resources/limits/memory'"),
        ({"config": {"otlp": {"endpoints": "http://a"}}}, "at '/config/otlp': additional properties 'endpoints' not allowed"),
        ({"config": {"otlp.endpoint": "http://a"}}, "at '/config': additional properties 'otlp.endpoint' not allowed"),
        ({"config": {"leader": {"enabled": None}}}, "at '/config/leader': missing property 'enabled'"),
        (
            {"config": {"otlp": {"ca_file": "/a"}}, "secrets": {"ca": {"name": "authority"}}},
            "config.otlp.ca_file is /a, and a Secret under `secrets` is to be that file as well: give one of them.",
        ),
        ({"config": {"otlp": {"key_file": "/a"}}}, "config.otlp.key_file is /a, a key without a certificate"),
        ({"config": {"listen": "127.0.0.1:8080"}}, "config.listen is 127.0.0.1:8080, where no probe reaches the Pod"),
        ({"config": {"listen": "localhost:8080"}}, "config.listen is localhost:8080, where no probe reaches the Pod"),
        ({"config": {"listen": "[::1]:8080"}}, "config.listen is [::1]:8080, where no probe reaches the Pod"),
        ({"proxy": {"url": "http://me@proxy:3128"}}, "proxy.url has a user or a password"),
        ({"config": {"listen": ":0"}}, "config.listen is :0: give a port from 1 to 65535, such as :8080."),
    ],
)
def test_what_is_refused(values: Json, words: str) -> None:
    """What is not known, or of the wrong type, with where it stands."""
    with pytest.raises(LabError) as refused:
        render(values)
    assert words in str(refused.value)


@pytest.mark.row("S19")
def test_a_password_of_the_proxy_is_refused_and_not_shown() -> None:
    """It would stand in the Pod, as plain text."""
    with pytest.raises(LabError, match="would see") as refused:
        render({"proxy": {"url": "http://me:hidden@proxy:3128"}})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("watch.namespaces", "ci"),
        ("watch.namespaces", ["Ci"]),
        ("otlp.endpoint", "collector:4318"),
        ("otlp.endpoint", "http://user@collector"),
        ("otlp.compression", "zip"),
        ("otlp.headers_file", 1),
        ("spans.parent", "yes"),
        ("spans.honour_sampled_flag", "false"),
        ("spans.mappings", ["a"]),
        ("spans.mappings", {"a": 1}),
        ("spans.run_url", True),
        ("service.name", ""),
        ("cluster.name", 5),
        ("lookback", "1w"),
        ("lookback", "0h"),
        ("leader.enabled", 1),
        ("listen", "8080"),
        ("listen", ":65536"),
        ("listen", ":99999"),
        ("stuck_after_s", 0),
        ("stuck_after_s", 10**9 + 1),
        ("stuck_after_s", "7200"),
        ("log.level", "trace"),
    ],
)
def test_chart_and_program_refuse_the_same(name: str, value: object) -> None:
    """Whoever installs hears of a mistake at once, and not from a Pod that does not start."""
    nested: Any = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    with pytest.raises(InputError):
        load({}, {}, ("config.yaml", json.dumps(nested).encode()))
    with pytest.raises(LabError, match="config[/.]" + name.replace(".", "[/.]")):
        render({"config": nested})


@pytest.mark.parametrize("listen", [":65535", "0.0.0.0:08080", "[::]:1"])
def test_chart_and_program_listen_to_the_same(listen: str) -> None:
    """What the templates look at, they do not refuse where the program takes it."""
    load({}, {}, ("config.yaml", configuration(render({"config": {"listen": listen}}))))


# ---------------------------------------------------------------- around it


def test_it_can_be_a_part_of_another_chart(tmp_path: Path) -> None:
    """Helm hands its `global` values on, which are no mistake."""
    whole = tmp_path / "whole"
    shutil.copytree(CHART, whole / "charts" / "tracer")
    (whole / "Chart.yaml").write_text("apiVersion: v2\nname: whole\nversion: 1.0.0\n")
    among = render({"global": {"region": "north"}, "tracer": WATCHED}, chart=whole)
    assert kinds(among) == ALWAYS


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("tracer", "tracer"),
        ("my", "my-tracer"),
        ("my-tracer", "my-tracer"),
        ("a.b", "a-b-tracer"),
        ("x" * 53, "x" * 53 + "-tracer"),
    ],
)
def test_names(release: str, name: str) -> None:
    """What a Service can be called, whatever the release is called."""
    among = render(release=release)
    assert named(among, "Service", name)["spec"]["selector"]["app.kubernetes.io/instance"] == release
    assert list(rights(among, name, NAMESPACE))


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[Json], str]:
    """Give what renders the text that Helm prints after an installation, which it shows to nobody who has no cluster."""
    chart = tmp_path / "tracer"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "NOTES.txt")
    (chart / "templates" / "notes.yaml").write_text('notes: |\n  {{- tpl (.Files.Get "NOTES.txt") . | nindent 2 }}\n')

    def of(values: Json) -> str:
        (shown,) = render(values, "--show-only", "templates/notes.yaml", chart=chart)
        return str(shown["notes"])

    return of


def test_what_is_said_in_the_end(notes: Callable[[Json], str]) -> None:
    """Where it sends to, and what to do next."""
    said = notes(EVERYTHING)
    assert "watches all namespaces and sends traces to https://collector.example:4318." in said
    assert f"helm test {RELEASE} -n {NAMESPACE} --logs" in said
    assert "watches ci, release and" in notes(WATCHED)
    assert "sends traces to http://jaeger:14268." in notes({"config": {"exporter": "jaeger"}})
    assert "each of the 2 replicas" in notes({"config": {"leader": {"enabled": False}}})


@pytest.mark.parametrize(("path", "written"), [(INSTALL, install), (STATE, state)])
def test_what_is_made_of_it_is_current(path: Path, written: Callable[[], str]) -> None:
    """`make manifests` writes it."""
    assert path.read_text() == written()


INSTALLING = HERE.parent / "docs" / "install.md"
COMMANDS = [line for page in PAGES for line in lines(page) if line.startswith("helm ") and "deploy/chart" in line]
WITH_A_CLUSTER = {"--install", "--create-namespace", "--reset-then-reuse-values"}


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_pages(line: str) -> None:
    """Each command for people that names the chart renders."""
    _, verb, release, chart, *flags = shlex.split(line)
    assert (verb, chart) == ("upgrade", "deploy/chart")
    there = [flag.replace("deploy/chart", str(CHART)) for flag in flags if flag not in WITH_A_CLUSTER]
    assert objects(helm("template", release, CHART, *there))


def test_the_values_of_the_page(tmp_path: Path) -> None:
    """The example of values in docs/install.md renders."""
    (example,) = blocks(INSTALLING, "yaml")
    values = tmp_path / "values.yaml"
    values.write_text(example)
    assert objects(template(None, "--values", values))


def test_what_the_page_replaces_is_there() -> None:
    """The command for those without Helm finds what it replaces in deploy/install.yaml."""
    replaced = re.findall(r"s\|([^|]+)\|", INSTALLING.read_text())
    assert replaced == ["localhost/tracer", "http://jaeger:4318"]
    assert all(INSTALL.read_text().count(one) == 1 for one in replaced)
