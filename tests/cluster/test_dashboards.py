"""The claim of the dashboards: Prometheus itself can read each of their expressions. No cluster is needed for it."""

import json
from pathlib import Path

import pytest

from tests.cluster.lab.builds import install, unfit_here
from tests.cluster.lab.shell import LabError, call
from tests.dashboards.expressions import filled, used_names


@pytest.fixture(scope="module", autouse=True)
def _promtool() -> None:
    if reason := unfit_here():
        pytest.skip(reason)
    install(["prometheus"])


def check(folder: Path, expressions: dict[str, str]) -> str:
    """Have Prometheus read each expression as a recording rule, in a group that is named after where the expression stands.

    Raises LabError with its own words about those that it cannot read.
    """
    groups = [
        {"name": where, "rules": [{"record": "dashboards:expression", "expr": filled(expression)}]}
        for where, expression in expressions.items()
    ]
    file = folder / "rules.yaml"
    file.write_text(json.dumps({"groups": groups}))
    return call("promtool", "check", "rules", "--lint=none", file)


def test_each_expression_can_be_read(tmp_path: Path) -> None:
    """All of them, in one go."""
    expressions = dict(used_names())
    assert expressions
    assert check(tmp_path, expressions).endswith(f"SUCCESS: {len(expressions)} rules found")


@pytest.mark.parametrize(
    "broken", ["sum by (le) (rate(a[$__rate_interval])", "rate(a)", "a and on (b) group_left c", 'a{b=~"["}']
)
def test_one_that_cannot_be_read_is_named(broken: str, tmp_path: Path) -> None:
    """By where it stands; the others are not."""
    with pytest.raises(LabError, match="here") as said:
        check(tmp_path, {"there": "up", "here": broken})
    assert "there" not in str(said.value)
