"""The alerts are whole, and the object written from them is current; promtool tries them in tests/cluster/test_alerts.py."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.prometheusrule import OBJECT, rules, written
from tests.dashboards.expressions import metrics_in
from tests.kit import HERE
from tracer.health.families import FAMILIES

ROOT = HERE.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
ALERTS = {
    "StepFailing": "info",
    "StepFailingRepeatedly": "warning",
    "RunStuck": "warning",
    "ControllerDown": "critical",
    "NoLeader": "critical",
    "WatchStale": "critical",
    "BackendUnreachable": "critical",
    "SpansLost": "page",
    "SpansRejected": "warning",
}
"""Every alert with its severity: both are a promise to whoever routes them."""


def test_the_object_is_current() -> None:
    """The object says what the rules say; `python -m tests.alerts.prometheusrule` writes it anew."""
    assert OBJECT.read_text() == written()
    assert yaml.safe_load(written())["spec"]["groups"] == yaml.safe_load(OBJECT.with_name("rules.yaml").read_text())["groups"]


def test_these_alerts_are_there() -> None:
    """There are these alerts with these severities and no others, and each has its runbook and its unit tests."""
    assert {name: rule["labels"]["severity"] for name, rule in rules().items()} == ALERTS
    assert {path.stem for path in RUNBOOKS.iterdir()} == ALERTS.keys()
    assert {path.name.removesuffix(".test.yaml") for path in Path(__file__).parent.glob("*.test.yaml")} == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    """It says in two sentences what it is about, and leads to a runbook of its own."""
    annotations = rules()[name]["annotations"]
    assert list(annotations) == ["summary", "description", "runbook_url"]
    assert all(annotations[key].strip().endswith(".") for key in ("summary", "description"))
    assert annotations["runbook_url"] == f"docs/runbooks/{name}.md"
    assert (ROOT / annotations["runbook_url"]).read_text().startswith(f"# {name}\n")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_rests_on_metrics_that_are_there(name: str) -> None:
    """Every metric that an expression names is one that the controller has."""
    names = metrics_in(rules()[name]["expr"])
    assert names
    assert names <= {family.name for family in FAMILIES}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tried_both_ways(name: str) -> None:
    """Its unit tests let it fire and be silent, and in them a process ends and its series with it."""
    said = yaml.safe_load(Path(__file__).with_name(f"{name}.test.yaml").read_text())
    expected: list[dict[str, Any]] = [one for group in said["tests"] for one in group["alert_rule_test"]]
    assert {bool(one["exp_alerts"]) for one in expected if one["alertname"] == name} == {True, False}
    assert any("stale" in series["values"] for group in said["tests"] for series in group["input_series"])
