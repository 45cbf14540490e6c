"""What do the dashboards ask Prometheus? Every expression with the place where it stands, and what it names.

Keeps: the names are found without a parser of PromQL, so whatever is neither a word of the language nor followed by a bracket
counts as the name of a metric; whether an expression is one at all, `tests/cluster/test_dashboards.py` has Prometheus say.
"""

import json
import re
from collections.abc import Iterator
from functools import cache

from tests.kit import HERE, Json

DASHBOARDS = HERE.parent / "deploy" / "dashboards"
BUILT_IN = {"__interval": "1m", "__range": "1h", "__rate_interval": "5m"}
"""Grafana's own variables that expressions use, with an example of each."""
EVERYTHING = ".*"
"""What a variable of ours stands for if nothing is chosen."""

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})")
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_CLAUSE = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w.])[a-zA-Z_:][\w:]*+(?! *\()")
_WORDS = {"and", "bool", "inf", "nan", "offset", "or", "unless"}


@cache
def dashboards() -> dict[str, Json]:
    """Read the dashboards, by the name of the file without its ending."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: Json) -> list[Json]:
    """Give every panel that shows something, and no headings."""
    return [one for one in dashboard["panels"] if one["type"] != "row"]


def variables(dashboard: Json) -> dict[str, Json]:
    """Give the template variables, by name."""
    return {one["name"]: one for one in dashboard["templating"]["list"]}


def used_names() -> Iterator[tuple[str, str]]:
    """Give each expression after where it stands: what each panel asks, and what each variable takes its values from."""
    for name, dashboard in dashboards().items():
        for variable in variables(dashboard).values():
            if variable["type"] == "query":
                yield f"{name}.json: variable {variable['name']}", label_values(variable)[0]
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{name}.json: {panel['id']} {panel['title']}: {target['refId']}", target["expr"]


def label_values(variable: Json) -> tuple[str, str]:
    """Give the series from which a variable takes its values, and the label."""
    found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
    assert found is not None, variable["name"]
    return found[1], found[2]


def filled(expression: str) -> str:
    """Put an example in the place of each variable, so that Prometheus can read the expression."""
    return _VARIABLE.sub(lambda found: BUILT_IN.get(found[1] or found[2], EVERYTHING), expression)


def variables_in(text: str) -> set[str]:
    """Name the variables that a text uses, Grafana's own too."""
    return {found[1] or found[2] for found in _VARIABLE.finditer(text)}


def metrics_in(expression: str) -> set[str]:
    """Name the metrics that an expression asks for, as they are exposed: a histogram's end in `_bucket`, `_sum` or `_count`."""
    bare = _RANGE.sub("", _MATCHERS.sub("", _CLAUSE.sub("", _TEXT.sub("", expression))))
    return {name for name in _NAME.findall(bare) if name.lower() not in _WORDS}


def labels_in(expression: str) -> set[str]:
    """Name the labels that an expression selects, groups or joins by."""
    bare = _TEXT.sub("", expression)
    listed = [*_CLAUSE.findall(bare), *_MATCHERS.findall(bare)]
    return {label for one in listed for label in _NAME.findall(one)}
