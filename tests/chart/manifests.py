"""What is made of the chart, and put into it? Run it to write those files; a helm must be there."""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.chart.rendering import CHART, DEPLOY, render, template
from tests.chart.schema import SCHEMA
from tests.chart.schema import written as written_schema
from tests.kit import Json

INSTALL, STATE = DEPLOY / "install.yaml", DEPLOY / "state.yaml"
_MADE_BY = "# Written by `make manifests` from deploy/chart."
_INSTALL_HEAD = f"""\
{_MADE_BY} docs/install.md says how it is used: the image and, in the ConfigMap
# tracer-config, the endpoint are yours to fill in.
"""
_STATE_HEAD = f"""\
{_MADE_BY}
# What tracer writes to, and nothing else: kubectl apply -n NAMESPACE -f deploy/state.yaml
# In a Pod its namespace is the Pod's own, else that of the kubeconfig's context. Both are shipped empty, as the right to create
# something cannot be limited to a name. Applied again they keep what stands in them.
"""
_FILES = CHART / "files"
_COPIED = ((DEPLOY / "dashboards", "*.json", _FILES / "dashboards"), (DEPLOY / "alerts", "rules.yaml", _FILES))


class _Dumper(yaml.SafeDumper):
    """Writes lists as people indent them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's
        """Indent a list below its key."""
        super().increase_indent(flow, indentless=False)


def install() -> str:
    """Write all that an installation takes, its namespace too."""
    return _INSTALL_HEAD + template({"namespace": {"create": True}}, "--skip-tests") + "\n"


def state() -> str:
    """Write what a controller outside of the cluster takes: no account of its own, and no namespace, which kubectl is told."""
    shown = [_bare(one) for one in render(None, "--show-only", "templates/state.yaml") if one["kind"] != "RoleBinding"]
    shown.sort(key=lambda one: ["ConfigMap", "Lease", "Role"].index(one["kind"]))
    return _STATE_HEAD + yaml.dump_all(shown, Dumper=_Dumper, sort_keys=False, default_flow_style=None)


def copies() -> Iterator[tuple[Path, Path]]:
    """Give each file that the chart has a copy of, as Helm reads nothing outside of a chart, and the copy."""
    for folder, pattern, target in _COPIED:
        yield from ((source, target / source.name) for source in sorted(folder.glob(pattern)))


def _bare(one: Json) -> Json:
    return {**one, "metadata": {"name": one["metadata"]["name"]}}


def main() -> None:
    """Write them all."""
    for source, copy in copies():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    for path, written in ((SCHEMA, written_schema), (INSTALL, install), (STATE, state)):
        path.write_text(written())
        sys.stdout.write(f"{path} is written.\n")


if __name__ == "__main__":
    main()
