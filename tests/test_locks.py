"""What is installed is what was looked at: each package at one version, known by its hashes, and nothing from elsewhere."""

import re
from pathlib import Path

import pytest

from tests.kit import HERE

LOCKS = sorted((HERE.parent / "requirements").glob("*.txt"))
_PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+( ;.*)? \\?\s*--hash=sha256:[0-9a-f]{64}")


@pytest.mark.row("S22")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_each_package_is_known_by_its_hashes(lock: Path) -> None:
    """A package that was swapped is not installed; no line names an address, or another index."""
    text = lock.read_text()
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    packages = [one for one in re.split(r"\n(?=\S)", bare.strip()) if one]
    assert packages
    for one in packages:
        assert _PINNED.match(re.sub(r"\s*\\\n\s*", " ", one)), one
    assert "://" not in bare


@pytest.mark.row("S22")
def test_nothing_is_installed_without_them() -> None:
    """Every line of the Makefile that installs asks for hashes, or installs this checkout and nothing else."""
    makefile = (HERE.parent / "Makefile").read_text().replace("\\\n", " ")
    installs = [line for line in makefile.splitlines() if re.search(r"(PIP\)|-m pip\b.*) install ", line)]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
