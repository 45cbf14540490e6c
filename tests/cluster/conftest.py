"""The cluster of a test run. Where one can stand (root on Debian 12) no test is skipped; elsewhere all are, with one sentence."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.anew import record_anew
from tests.cluster.lab.builds import unfit_here
from tests.cluster.lab.cluster import Cluster


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once why tests were skipped."""
    if reason := unfit_here():
        terminalreporter.write_line(f"Skipped: {reason}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Bring up a fresh cluster, whatever stood before, and take it down in the end, whatever happened."""
    if reason := unfit_here():
        pytest.skip(reason)
    one = Cluster.of_environment()
    try:
        one.up()
        yield one
    finally:
        one.down()


@pytest.fixture(scope="session")
def recorded_anew(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the scenarios of `anew` on the cluster; give the folder with their recordings."""
    return record_anew(cluster.place, tmp_path_factory.mktemp("anew"))
