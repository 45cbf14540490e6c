"""Options and profiles of the test run."""

import pytest
from hypothesis import HealthCheck, settings

# No example database and no deadline: a run says the same on every machine, and a slow one is not a failing one.
settings.register_profile("tracer", database=None, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tracer")
pytest.register_assert_rewrite("tests.contracts.apiserver")  # so that a claim that fails says why


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the golden pictures anew."""
    parser.addoption("--rewrite", action="store_true", help="write the golden pictures anew")
