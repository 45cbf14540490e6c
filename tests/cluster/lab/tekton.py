"""How does Tekton come into the cluster? Its own manifests; its webhook and controller run on the machine, not in Pods."""

import json

from tests.cluster.lab import images
from tests.cluster.lab.builds import TEKTON_IMAGES
from tests.cluster.lab.place import WEBHOOK_ADDRESS, WEBHOOK_PORT, Json, Place

NAMESPACE = "tekton-pipelines"
CONTROLLER_PROBES_PORT = 18081

_MANIFESTS = (
    "200-clusterrole.yaml",
    "200-role.yaml",
    "200-serviceaccount.yaml",
    "201-clusterrolebinding.yaml",
    "201-rolebinding.yaml",
    "300-crds",
    "500-webhooks.yaml",
    "clusterrole-aggregate-edit.yaml",
    "clusterrole-aggregate-view.yaml",
)

_COMMON = {
    "SYSTEM_NAMESPACE": NAMESPACE,
    "KUBERNETES_MIN_VERSION": "v1.28.0",
    "METRICS_DOMAIN": "tekton.dev/pipeline",
    "CONFIG_FEATURE_FLAGS_NAME": "feature-flags",
    "CONFIG_LOGGING_NAME": "config-logging",
    "CONFIG_OBSERVABILITY_NAME": "config-observability",
}
WEBHOOK = {
    **_COMMON,
    "CONFIG_LEADERELECTION_NAME": "config-leader-election-webhook",
    "METRICS_PROMETHEUS_PORT": "19091",
    "PROBES_PORT": "18080",
    "WEBHOOK_ADMISSION_CONTROLLER_NAME": "webhook.pipeline.tekton.dev",
    "WEBHOOK_PORT": str(WEBHOOK_PORT),
    "WEBHOOK_SECRET_NAME": "webhook-certs",
    "WEBHOOK_SERVICE_NAME": "tekton-pipelines-webhook",
}
"""The webhook's environment."""
CONTROLLER = {
    **_COMMON,
    "CONFIG_DEFAULTS_NAME": "config-defaults",
    "CONFIG_LEADERELECTION_NAME": "config-leader-election-controller",
    "CONFIG_SPIRE": "config-spire",
    "METRICS_PROMETHEUS_PORT": "19090",
    "PROBES_PORT": str(CONTROLLER_PROBES_PORT),
}
"""The controller's environment."""
CONTROLLER_IMAGES = (
    *(part for program in TEKTON_IMAGES for part in (f"-{program}-image", images.of_tekton(program))),
    *("-shell-image", images.BUSYBOX, "-shell-image-win", images.BUSYBOX),
)

_SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": WEBHOOK["WEBHOOK_SERVICE_NAME"], "namespace": NAMESPACE},
    "spec": {"clusterIP": WEBHOOK_ADDRESS, "ports": [{"name": "https-webhook", "port": 443}]},
}
_PROBE: Json = {
    "apiVersion": "tekton.dev/v1",
    "kind": "Task",
    "metadata": {"name": "probe", "namespace": "default"},
    "spec": {"steps": [{"name": "a", "image": images.BUSYBOX}]},
}


def install(place: Place) -> None:
    """Apply what the two components need to start: namespaces, rights, CRDs, settings, webhooks."""
    config = place.tekton_config
    place.apply(config / "100-namespace")
    place.kubectl("create", "namespace", f"{NAMESPACE}-resolvers")
    place.apply(*(config / name for name in _MANIFESTS), *sorted(config.glob("config-*.yaml")))
    place.create(NAMESPACE, [_SERVICE])


def webhook_answers(place: Place) -> bool:
    """Say whether the webhook has made its certificate known and takes a Task."""
    hook = ("validatingwebhookconfiguration", "validation.webhook.pipeline.tekton.dev")
    knows = place.asked("get", *hook, "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}")
    return bool(knows) and "created" in place.asked("create", "--dry-run=server", "-f", "-", stdin=json.dumps(_PROBE))
