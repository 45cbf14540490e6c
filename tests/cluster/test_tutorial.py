"""The claim of the tutorial: followed by its text alone, on a real cluster, it leads to a trace in Jaeger."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.shell import ENVIRONMENT
from tests.kit import HERE

ROOT = HERE.parent
WITHOUT, WITH = (ROOT / "docs" / "tutorial.md").read_text().split("## With a cluster")
IN_PLACE_OF = {"lab build\n": "lab --help\n", "lab up\n": "lab --help\n"}
"""The cluster of the tests stands already, and would be taken down."""
WITHIN_S = 300


def blocks(text: str) -> str:
    """Give the commands of a text as one script, which ends where one of them fails."""
    return "\n".join(["set -euo pipefail", *re.findall(r"```sh\n(.*?)```", text, re.DOTALL)])


def follow(script: str, folder: Path) -> str:
    """Run a script from the project's folder, as in a terminal; give what it printed."""
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=ROOT,
        env={**ENVIRONMENT, "HOME": str(Path.home()), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def _cleared(cluster: Cluster) -> Iterator[None]:
    """Leave nothing of it in the namespace that other tests use too."""
    yield
    cluster.place.kubectl("delete", "pipelineruns", "--all", "-n", "default")
    cluster.place.kubectl("delete", "-f", str(ROOT / "deploy" / "state.yaml"), "-n", "default")


def test_without_a_cluster(tmp_path: Path) -> None:
    """Its first half needs nothing, and draws the run of which it speaks."""
    page = ROOT / "task-timeout.html"
    try:
        printed = follow(blocks(WITHOUT), tmp_path)
        assert page.read_text().startswith("<!doctype html>")
    finally:
        page.unlink(missing_ok=True)
    assert "never ran" in printed


@pytest.mark.usefixtures("_cleared")
def test_with_a_cluster(tmp_path: Path) -> None:
    """Its second half ends with the failed step in Jaeger, and a controller that has ended by itself."""
    script = blocks(WITH)
    for said, instead in IN_PLACE_OF.items():
        assert said in script
        script = script.replace(said, instead)
    printed = follow(script, tmp_path)
    assert "unit" in printed
    assert '"value": 3' in printed
