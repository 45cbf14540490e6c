"""Does a Pod keep to the Pod Security Standard "restricted"?

Source: Kubernetes, Pod Security Standards (policy version 1.28 and newer).
"""

from collections.abc import Iterator

from tests.kit import Json

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = {"RuntimeDefault", "Localhost"}
HOSTS = ("hostNetwork", "hostPID", "hostIPC")
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
NOT_SET = ("privileged", "procMount", "seLinuxOptions", "windowsOptions", "appArmorProfile")
"""What the standard allows in part, and nothing of ours needs."""


def faults(spec: Json) -> list[str]:
    """Say what a Pod does that the standard forbids, each by where it stands."""
    return [
        *_of_pod(spec),
        *(f"{one['name']}: {fault}" for kind in CONTAINERS for one in spec.get(kind, []) for fault in _of(one, spec)),
    ]


def _of_pod(spec: Json) -> Iterator[str]:
    yield from (name for name in HOSTS if spec.get(name))
    for volume in spec.get("volumes", []):
        yield from (f"volume {volume['name']}: {kind}" for kind in volume.keys() - VOLUMES - {"name"})
    context = spec.get("securityContext", {})
    yield from (name for name in (*NOT_SET, "sysctls") if name in context)


def _of(container: Json, spec: Json) -> Iterator[str]:
    own = container.get("securityContext", {})
    either = {**spec.get("securityContext", {}), **own}
    if either.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if either.get("runAsUser") == 0:
        yield "runAsUser"
    if either.get("seccompProfile", {}).get("type") not in SECCOMP:
        yield "seccompProfile"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or capabilities.get("add"):
        yield "capabilities"
    yield from (name for name in NOT_SET if name in own)
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "hostPort"
