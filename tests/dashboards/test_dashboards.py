"""The dashboards: whole, tidy, and about metrics that there are; and no metric is there that nobody looks at."""

import json
import re
from itertools import combinations

import pytest
from prometheus_client import ProcessCollector

from tests.dashboards.expressions import (
    BUILT_IN,
    DASHBOARDS,
    dashboards,
    filled,
    label_values,
    labels_in,
    metrics_in,
    panels,
    used_names,
    variables,
    variables_in,
)
from tests.kit import HERE, Json
from tracer.health.families import FAMILIES, Family, Type

ALERTS = HERE.parent / "deploy" / "alerts"
NAMES = ("overview", "steps", "controller")
GRID_COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SENTENCE = re.compile(r"[A-Z](?:[^.]|\.\w)+[;:] (?:[^.]|\.\w)+\.")
"""What is shown, and after a colon or a semicolon what to do."""
TARGET_LABELS = {"namespace", "pod", "instance", "job"}
"""What Prometheus adds to every series."""


def exposed() -> dict[str, Family]:
    """Give each name under which a metric is exposed, and the metric."""
    found: dict[str, Family] = {}
    for family in FAMILIES:
        ends = ("_bucket", "_sum", "_count") if family.type is Type.HISTOGRAM else ("",)
        found |= {f"{family.name}{end}": family for end in ends}
    for metric in ProcessCollector(registry=None).collect():
        found |= {sample.name: Family(sample.name, Type.GAUGE, (), "") for sample in metric.samples}
    return found


EXPOSED = exposed()


def unused(names: set[str]) -> set[str]:
    """Name the metrics of ours that none of these names is of."""
    used = {EXPOSED[name].name for name in names & EXPOSED.keys()}
    return {family.name for family in FAMILIES} - used


def all_text(value: object) -> str:
    """Join every text of a document."""
    match value:
        case str():
            return f"{value}\n"
        case dict():
            return "".join(map(all_text, value.values()))
        case list():
            return "".join(map(all_text, value))
    return ""


def overlap(one: Json, other: Json) -> bool:
    """Say whether two panels want the same place."""
    return all(one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in (("x", "w"), ("y", "h")))


# ---------------------------------------------------------------- the documents


def test_there_are_three() -> None:
    """Each with an address that does not change."""
    assert {name: dashboard["uid"] for name, dashboard in dashboards().items()} == {name: f"tracer-{name}" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_tidy(name: str) -> None:
    """It is written in one way, so that a change is seen as one, and without what one Grafana has noted of its own copy."""
    dashboard = dashboards()[name]
    assert (DASHBOARDS / f"{name}.json").read_text() == json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
    assert not {"id", "version", "iteration", "__inputs", "__requires"} & dashboard.keys()
    assert dashboard["description"].endswith(".")
    assert "tracer" in dashboard["tags"]


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_a_number_and_a_place(name: str) -> None:
    """Numbers are theirs alone; nothing lies outside the grid or on something else."""
    everything = dashboards()[name]["panels"]
    assert len({one["id"] for one in everything}) == len(everything)
    assert len({one["title"] for one in everything}) == len(everything)
    for one in everything:
        assert 0 <= one["gridPos"]["x"] < one["gridPos"]["x"] + one["gridPos"]["w"] <= GRID_COLUMNS
    for one, other in combinations(everything, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), f"{one['title']}, {other['title']}"


@pytest.mark.parametrize("name", NAMES)
def test_a_panel_says_what_it_shows(name: str) -> None:
    """Its title, in a sentence what it shows and what to do, the unit; and it asks the chosen data source."""
    for panel in panels(dashboards()[name]):
        said = panel["title"]
        assert said
        assert SENTENCE.fullmatch(panel["description"]), said
        assert panel["fieldConfig"]["defaults"]["unit"], said
        assert panel["targets"], said
        assert [one["datasource"] for one in (panel, *panel["targets"])] == [SOURCE] * (len(panel["targets"]) + 1), said
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), said


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_defined_and_used(name: str) -> None:
    """A panel uses no variable that is not there, and no variable is there for nothing."""
    dashboard = dashboards()[name]
    used = variables_in(all_text(dashboard)) - BUILT_IN.keys()
    assert {one for one in used if not one.startswith("__")} == variables(dashboard).keys()
    source, *others = variables(dashboard).values()
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [one["datasource"] for one in others] == [SOURCE] * len(others)


# ---------------------------------------------------------------- the expressions


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*one, id=one[0]) for one in used_names()])
def test_an_expression_is_about_what_there_is(where: str, expression: str) -> None:
    """Each metric has a row in the table, and each label is one of its metrics or of the target."""
    named = metrics_in(expression)
    assert named, where
    assert named <= EXPOSED.keys(), where
    known = {label.name for name in named for label in EXPOSED[name].labels} | TARGET_LABELS
    buckets = {"le"} if any(name.endswith("_bucket") for name in named) else set[str]()
    assert labels_in(expression) <= known | buckets, where


@pytest.mark.parametrize("name", NAMES)
def test_a_legend_names_labels_that_are_left(name: str) -> None:
    """What stands in a legend, or leads somewhere from a table, is among what the expression groups by."""
    for panel in panels(dashboards()[name]):
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            assert named <= labels_in(target["expr"]), panel["title"]
        fields = set(re.findall(r"__data\.fields\.(\w+)", all_text(panel)))
        assert fields <= set.union(*(labels_in(target["expr"]) for target in panel["targets"])), panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_takes_its_values_from_a_label_that_is_there(name: str) -> None:
    """The label belongs to the metric, or to every target."""
    for variable in variables(dashboards()[name]).values():
        if variable["type"] == "query":
            series, label = label_values(variable)
            (metric,) = metrics_in(series)
            assert label in {one.name for one in EXPOSED[metric].labels} | TARGET_LABELS


def test_durations_of_runs_lead_to_traces() -> None:
    """Exemplars are asked for wherever a run's duration is drawn over time, and it is said what Grafana needs for them."""
    shown = {
        panel["title"]: all(target.get("exemplar") for target in panel["targets"])
        for dashboard in dashboards().values()
        for panel in panels(dashboard)
        if panel["type"] == "timeseries" and re.search(r"tekton_\w+_duration_seconds_bucket", all_text(panel))
    }
    assert shown
    assert all(shown.values()), shown
    described = [
        panel["description"]
        for dashboard in dashboards().values()
        for panel in panels(dashboard)
        if any(target.get("exemplar") for target in panel["targets"])
    ]
    assert all("exemplarTraceIdDestinations" in one and "trace_id" in one for one in described)


def test_each_metric_is_looked_at() -> None:
    """By a dashboard or an alert: what nobody looks at need not be there."""
    asked = {name for _, expression in used_names() for name in metrics_in(expression)}
    alerted = {name for path in ALERTS.rglob("*.y*ml") for name in re.findall(r"\w+", path.read_text())}
    assert unused(asked | alerted) == set()


# ---------------------------------------------------------------- the tests themselves


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ("up", {"up"}, set()),
        ('sum by (le, pod) (rate(a_bucket{x=~"b c", y!="{d}"}[$__rate_interval]))', {"a_bucket"}, {"le", "pod", "x", "y"}),
        ("a unless (b >= bool 1e3) and on (job) group_left (version) c offset 5m", {"a", "b", "c"}, {"job", "version"}),
        ('count(a) / -Inf + label_replace(b, "c", "$1", "d", ".*")', {"a", "b"}, set()),
    ],
)
def test_what_an_expression_names_is_found(expression: str, metrics: set[str], labels: set[str]) -> None:
    """Names of metrics and of labels, and nothing else."""
    assert (metrics_in(expression), labels_in(expression)) == (metrics, labels)


def test_variables_are_filled_in() -> None:
    """Grafana's own with a time, ours with everything."""
    written = 'rate(a{b=~"$namespace", c=~"${task:regex}"}[$__rate_interval])'
    assert filled(written) == 'rate(a{b=~".*", c=~".*"}[5m])'
    assert variables_in(written) == {"namespace", "task", "__rate_interval"}


def test_what_nobody_looks_at_is_found() -> None:
    """A histogram is looked at by any of its series; a name that is only part of another one is none."""
    everything = {*EXPOSED}
    assert unused(everything) == set()
    left = {name for name in everything if not name.startswith(("tracer_objects", "tracer_delivery_lag_seconds"))}
    assert unused(left) == {"tracer_objects", "tracer_objects_skipped_total", "tracer_delivery_lag_seconds"}
    assert unused(left | {"tracer_objects_skipped_total", "tracer_delivery_lag_seconds_sum"}) == {"tracer_objects"}


def test_what_lies_on_something_else_is_found() -> None:
    """Side by side is no overlap, one column more is."""
    place = {"x": 0, "y": 0, "w": 12, "h": 4}
    assert not overlap(place, {**place, "x": 12})
    assert not overlap(place, {**place, "y": 4})
    assert overlap(place, {**place, "x": 11, "y": 3})
