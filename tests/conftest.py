"""Options and profiles of the test run, and the account of the fault matrix at its end."""

import pytest
from hypothesis import HealthCheck, settings

from tests.fault_rows import ROWS
from tests.tally import Cost, Tally

# No example database and no deadline: a run says the same on every machine, and a slow one is not a failing one.
settings.register_profile("tracer", database=None, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tracer")
pytest.register_assert_rewrite("tests.contracts.apiserver")  # so that a claim that fails says why

ROW, COST = "row of the fault matrix", "what it cost"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the golden pictures anew, and the one that picks the tests of a row."""
    parser.addoption("--rewrite", action="store_true", help="write the golden pictures anew")
    parser.addoption("--row", action="append", default=[], help="only the tests of a row of docs/robustness.md")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to none of the rows that are asked for."""
    if wanted := set(config.getoption("--row")):
        left_out = [item for item in items if not wanted & rows(item)]
        items[:] = [item for item in items if wanted & rows(item)]
        config.hook.pytest_deselected(items=left_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a test's report say which rows it is of."""
    item.user_properties += [(ROW, row) for row in rows(item)]


def rows(item: pytest.Item) -> set[str]:
    """Say which rows of the fault matrix a test bears."""
    return {row for mark in item.iter_markers("row") for row in mark.args}


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Give what checks and notes what a fault cost."""
    item: pytest.Item = request.node
    return Tally(lambda cost: item.user_properties.append((COST, cost)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say of each row that was tried what was lost, repeated and in conflict, and why a test of it was skipped."""
    ends = ("passed", "failed", "skipped")
    reports = [one for how in ends for one in terminalreporter.stats.get(how, []) if one.when == "call"]
    for row in ROWS:
        of_it = [one for one in reports if (ROW, row.name) in one.user_properties]
        costs = [cost for one in of_it for name, cost in one.user_properties if name == COST]
        failed = sum(one.failed for one in of_it)
        said = [str(sum(costs, Cost()))] if costs else []
        said += [f"{failed} of {len(of_it)} tests failed" if failed else f"{len(of_it)} {'tests' if len(of_it) > 1 else 'test'}"]
        said += [row.left_out] if row.left_out else []
        said += [f"skipped: {one.longrepr[2].removeprefix('Skipped: ')}" for one in of_it if one.skipped]
        if of_it:
            terminalreporter.write_line(f"{row.name:<5}{row.fault}: {'; '.join(said)}")
