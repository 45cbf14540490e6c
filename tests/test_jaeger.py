"""What needs the extra for an old Jaeger is tested in an environment of its own; without the extra one sentence says so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.asked import kubeconfig
from tests.kit import HERE, PYTHON_FOR_JAEGER

TESTS = ("tests/jaeger", "tests/contracts/test_backends.py")
MANY = 100
"""Fewer than there are; so many that none of the two was left out."""


@pytest.mark.row("B20")
def test_it_is_what_its_own_tests_claim() -> None:
    """In `.venv/jaeger`, which `make test` makes, the backend passes its tests and the contract of all backends, none skipped."""
    assert PYTHON_FOR_JAEGER.exists(), "run `make .venv/.jaeger`"
    tests = [str(PYTHON_FOR_JAEGER), "-m", "pytest", "-p", "no:cacheprovider", "-k", "jaeger", *TESTS]
    done = subprocess.run(tests, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^(\d+) passed, \d+ deselected in ", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout
    assert int(passed[1]) > MANY


@pytest.mark.parametrize("command", ["check", "run", "replay", "doctor"])
def test_without_the_extra_one_sentence_says_how_to_install_it(command: str, tmp_path: Path) -> None:
    """Each command that would send ends with exit code 2, before it asks anybody anything."""
    (tmp_path / "thrift.py").write_text("raise ImportError\n")
    arguments = {
        "run": ["--kubeconfig", str(kubeconfig(tmp_path, "http://127.0.0.1:1", "ns"))],
        "replay": [str(HERE / "recordings" / "cancel")],
        "doctor": ["--kubeconfig", "/nonesuch"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tracer", command, "--exporter", "jaeger", *arguments.get(command, [])],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{tmp_path}:{HERE.parent}", "HOME": str(tmp_path)},
    )
    assert done.returncode == 2
    said = done.stdout if command == "doctor" else done.stderr
    assert "exporter is jaeger (--exporter), which takes the extra [jaeger]: install it in a checkout by `" in said
    assert "pip install --require-hashes -r requirements/jaeger.txt`" in said
    assert command == "doctor" or said.count("\n") == 1


def test_what_sends_nothing_needs_no_extra(tmp_path: Path) -> None:
    """A dry run prints the spans, whatever they would be sent by."""
    (tmp_path / "thrift.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [sys.executable, "-m", "tracer", "replay", "--dry-run", "--exporter", "jaeger", HERE / "recordings" / "cancel"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{tmp_path}:{HERE.parent}", "HOME": str(tmp_path)},
    )
    assert (done.returncode, "nothing was sent" in done.stderr) == (0, True)
