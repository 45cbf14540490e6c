"""The rules of deploy/alerts/rules.yaml as an object for Prometheus' operator. Run it to write prometheusrule.yaml there."""

import sys
from typing import Any

import yaml

from tests.kit import HERE

FOLDER = HERE.parent / "deploy" / "alerts"
RULES = FOLDER / "rules.yaml"
OBJECT = FOLDER / "prometheusrule.yaml"
HEAD = "# Written by `python -m tests.alerts.prometheusrule` from rules.yaml, where it is said why an expression is as it is.\n"


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such, and lists as people indent them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's
        """Indent a list below its key."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def groups() -> list[dict[str, Any]]:
    """Read the groups of rules."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return found


def rules() -> dict[str, dict[str, Any]]:
    """Read the rules, by the alert's name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"]}


def written() -> str:
    """Write the object."""
    whole = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tracer"},
        "spec": {"groups": groups()},
    }
    return HEAD + yaml.dump(whole, Dumper=_Dumper, sort_keys=False, width=110)


if __name__ == "__main__":
    OBJECT.write_text(written())
    sys.stdout.write(f"{OBJECT} is written.\n")
