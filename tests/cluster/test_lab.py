"""The claim of the cluster: it stands where it says, and each of its failures is a sentence that says what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.lab.builds import ALL_MODULES, unfit
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.components import components
from tests.cluster.lab.place import Place
from tests.cluster.lab.shell import LabError, call

DEBIAN_12 = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}


@pytest.mark.parametrize(
    ("user_id", "release", "said"),
    [
        (0, DEBIAN_12, ""),
        (1000, DEBIAN_12, "The cluster needs root: run it as root."),
        (0, {**DEBIAN_12, "VERSION_ID": "13", "PRETTY_NAME": "Debian 13"}, "Debian 12 only, and this is Debian 13: use"),
        (0, {"ID": "ubuntu", "VERSION_ID": "12"}, "Debian 12 only, and this is another system: use"),
    ],
)
def test_it_stands_on_debian_12_as_root(user_id: int, release: dict[str, str], said: str) -> None:
    """On Debian 12 as root nothing is skipped, and anywhere else the reason is one sentence."""
    assert said in unfit(user_id, release)
    assert bool(unfit(user_id, release)) == bool(said)


def test_what_the_components_run_is_built(tmp_path: Path) -> None:
    """Each program of ours that a component starts is built from one of the modules."""
    place = Place(tmp_path)
    built = {program for module in ALL_MODULES for program in module.programs.values()}
    for component in components(place, ()).values():
        program = Path(component.command[0])
        assert program.name in {"socat", "containerd"} if program.parent != place.bin else program.name in built


def test_a_component_that_does_not_start_is_named_with_its_log(cluster: Cluster) -> None:
    """A component that ends at once is told so at once, and where to read why."""
    cluster.stop("jaeger")
    broken = Cluster(cluster.place, ["--no-such-flag"])
    cluster.stop("apiserver")
    with pytest.raises(LabError, match=r"^apiserver does not become ready: .*/apiserver\.log.*unknown flag: --no-such-flag"):
        broken.start("apiserver")
    broken.stop("apiserver")
    for name in ("apiserver", "jaeger"):
        cluster.start(name)


def test_what_a_program_said_is_passed_on() -> None:
    """A program that fails is told with its command, its exit code and its own words."""
    with pytest.raises(LabError, match=r"^`ls /no/such/file` failed with exit code 2: .*No such file"):
        call("ls", "/no/such/file")
    with pytest.raises(LabError, match=r"^There is no no-such-program"):
        call("no-such-program")


def test_a_cluster_that_is_in_use_is_not_taken_away(cluster: Cluster) -> None:
    """While a process works with the cluster no other one takes it down or brings up its own."""
    lab = [sys.executable, "-m", "tests.cluster.lab"]
    for command in ("up", "down"):
        done = subprocess.run([*lab, command], capture_output=True, text=True, check=False)
        assert (done.returncode != 0, "Another process works with the cluster" in done.stderr) == (True, True)
    assert cluster.place.asked("get", "node", "node-1")
