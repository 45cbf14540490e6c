"""The bench of the fault tests, at full length or short of it."""

from collections.abc import Iterator

import pytest

from tests.cluster.faults.bench import LONG, SHORT, Bench, Say, open_bench
from tests.cluster.lab.cluster import Cluster
from tests.conftest import COST


@pytest.fixture(scope="package")
def whole_bench(
    cluster: Cluster, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[Bench]:
    """Set up once what all faults are tried on."""
    length = LONG if pytestconfig.getoption("--at-length") else SHORT
    with open_bench(cluster, length, tmp_path_factory.mktemp("faults"), say) as bench:
        yield bench


@pytest.fixture
def bench(whole_bench: Bench, request: pytest.FixtureRequest) -> Bench:
    """Give it to a test, in whose report stands what its fault cost."""
    item: pytest.Item = request.node
    whole_bench.note = lambda cost: item.user_properties.append((COST, cost))
    return whole_bench
