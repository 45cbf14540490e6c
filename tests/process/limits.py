"""May a process be put under limits of its own? A control group of Linux, where one may be made."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tracer.clock import Clock

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Group:
    """A control group, empty at first."""

    path: Path

    def limit(self, file: str, value: str) -> None:
        """Set a limit."""
        (self.path / file).write_text(value)

    def take(self, process_id: int) -> None:
        """Put a process under its limits."""
        (self.path / "cgroup.procs").write_text(str(process_id))

    @property
    def taking(self) -> str:
        """What a shell does so that it is under the limits from then on."""
        return f"echo $$ > {self.path}/cgroup.procs"


@contextmanager
def group(controller: str) -> Iterator[Group]:
    """Make a control group (of version 1), and remove it when its processes have ended; or skip the test, and say why.

    Only where we stand in the root: a group that somebody made for us is not ours to divide.
    """
    own = {
        name: path for line in _read(_OWN).splitlines() for _, names, path in [line.split(":", 2)] for name in names.split(",")
    }
    if own.get(controller) != "/":
        pytest.skip(f"There is no control group for {controller} that we might divide.")
    path = _ROOT / controller / f"tracer-test-{Clock().random_bytes(4).hex()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"No control group for {controller} can be made: {error.strerror}.")
    try:
        yield Group(path)
    finally:
        path.rmdir()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
