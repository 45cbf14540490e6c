"""A version that takes the place of the one before it, and the way back: neither repeats what the other has told."""

import asyncio
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.asked import own_objects
from tests.kit import HERE
from tests.process.outage import SPANS, run
from tests.process.test_process import stopped, tracer
from tests.tally import Tally, due
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver

ROOT = HERE.parent
RUNS = 5
"""Of each process."""
NAMESPACE = "default"


def before(folder: Path, part: str = "tracer") -> Path:
    """Lay out a part of the project as it was before it was changed last; skip the test where nobody knows how that was."""
    if (program := shutil.which("git")) is None or not (ROOT / ".git").exists():
        pytest.skip(f"How {part} was before is not known: this is no checkout of git.")

    def git(*arguments: str) -> bytes:
        return subprocess.run([program, "-C", ROOT, *arguments], check=True, capture_output=True).stdout

    changes = git("log", "-2", "--format=%H", "--", part).decode().split()
    if len(changes) < 2:
        pytest.skip(f"How {part} was before is not known: the checkout has no history.")
    with tarfile.open(fileobj=io.BytesIO(git("archive", changes[1], part))) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.row("P13")
def test_an_upgrade_and_the_way_back_repeat_nothing(tmp_path: Path, tally: Tally) -> None:
    """The version before, this one, and the one before again: each sends what is new, and nothing that another one has sent."""
    (tmp_path / "old").mkdir()
    old = before(tmp_path / "old")

    async def main() -> Receiver:
        async with ApiServer() as server, Receiver() as receiver:
            for content in own_objects(NAMESPACE):
                server.put(content)
            for number, code in enumerate((old, ROOT, old)):
                for each in range(number * RUNS, (number + 1) * RUNS):
                    server.put(run(each))
                async with tracer(tmp_path, server.url, receiver.url, "--leader-enabled", "false", code=code) as one:
                    await one.until(lambda: len(receiver.spans) == SPANS * RUNS * (number + 1))  # noqa: B023 - of this turn
                    await stopped(one)
            return receiver

    tally(asyncio.run(main()), due(*map(run, range(3 * RUNS))))
