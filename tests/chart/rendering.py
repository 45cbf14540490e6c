"""What does the chart say? Runs helm: the one that `make tools` has built, else the one on the PATH.

Keeps: no cluster is asked, unless helm is told to.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.shell import Argument, LabError, call
from tests.kit import HERE, Json

DEPLOY = HERE.parent / "deploy"
CHART = DEPLOY / "chart"
RELEASE = NAMESPACE = "tracer"


def helm(*arguments: Argument, stdin: str | None = None) -> str:
    """Run helm and give what it printed. Raises LabError with its own words if it failed, or if there is none."""
    return call(_program(), *arguments, stdin=stdin)


def render(
    values: Json | None = None, *arguments: Argument, release: str = RELEASE, namespace: str = NAMESPACE, chart: Path = CHART
) -> list[Json]:
    """Give the objects that a release of these values consists of, that of `helm test` too, in the order of their creation.

    Raises LabError with helm's words if it refuses them.
    """
    return objects(template(values, *arguments, release=release, namespace=namespace, chart=chart))


def template(
    values: Json | None = None, *arguments: Argument, release: str = RELEASE, namespace: str = NAMESPACE, chart: Path = CHART
) -> str:
    """Give the same as the text that helm prints."""
    given = json.dumps(values or {})
    return helm("template", release, chart, "--namespace", namespace, "--values", "-", *arguments, stdin=given)


def objects(text: str) -> list[Json]:
    """Read manifests."""
    return [one for one in yaml.safe_load_all(text) if one is not None]


def named(among: list[Json], kind: str, name: str = RELEASE) -> Json:
    """Find the one object of a kind and a name."""
    (found,) = (one for one in among if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def kinds(among: list[Json]) -> set[str]:
    """Name the kinds that there are."""
    return {one["kind"] for one in among}


def pod_specs(among: list[Json]) -> dict[str, Json]:
    """Give what each Pod is, by the name of the object that it comes from."""
    found: dict[str, Any] = {}
    for one in among:
        if one["kind"] == "Pod":
            found[one["metadata"]["name"]] = one["spec"]
        elif "template" in one.get("spec", {}):
            found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
    return found


def configuration(among: list[Json], name: str = RELEASE) -> bytes:
    """Give the program's own file as it is mounted."""
    text: str = named(among, "ConfigMap", f"{name}-config")["data"]["config.yaml"]
    return text.encode()


def _program() -> Path:
    built = Cluster.of_environment().place.bin / "helm"
    found = built if built.exists() else shutil.which("helm")
    if found is None:
        raise LabError("There is no helm: `make tools` builds it (on Debian 12), or install Helm 3.")
    return Path(found)
