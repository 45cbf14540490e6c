"""The cluster of a test run. Where one can stand (root on Debian 12) no test is skipped; elsewhere all are, with one sentence."""

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.lab.builds import unfit_here
from tests.cluster.lab.cluster import Cluster
from tests.cluster.live import Live, play

_SAID = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that lets each fault last as long as it might."""
    parser.addoption("--at-length", action="store_true", help="let each fault last long, and kill often: a quarter of an hour")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say once why tests were skipped, and what was measured."""
    if reason := unfit_here():
        terminalreporter.write_line(f"Skipped: {reason}")
    for line in config.stash.get(_SAID, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Give what writes a line below the results."""
    return pytestconfig.stash.setdefault(_SAID, []).append


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
def live(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """Run all scenarios once, with the controller beside them."""
    return play(cluster, tmp_path_factory.mktemp("live"))
