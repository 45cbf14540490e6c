"""The claim of the alerts: each fires when it should and at no other time. They stand here for promtool, and need no cluster."""

from pathlib import Path

import pytest

from tests.alerts.prometheusrule import RULES
from tests.cluster.lab.builds import install, unfit_here
from tests.cluster.lab.shell import call
from tests.kit import HERE

UNIT_TESTS = sorted((HERE / "alerts").glob("*.test.yaml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    """Give the program's name; where no cluster can stand nothing is installed, and the test is skipped."""
    if reason := unfit_here():
        pytest.skip(reason)
    install(["prometheus"])
    return "promtool"


def test_the_rules_are_rules(promtool: str) -> None:
    """Prometheus can read the rules, and finds nothing in them to complain of."""
    call(promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES)


@pytest.mark.parametrize("unit_tests", UNIT_TESTS, ids=lambda path: path.name.removesuffix(".test.yaml"))
def test_an_alert_fires_when_it_should(promtool: str, unit_tests: Path) -> None:
    """Every unit test passes; with a restart, a change of leader and a replay among what is scraped."""
    call(promtool, "test", "rules", unit_tests)
