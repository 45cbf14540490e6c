"""The short form of a day's faults: a backend away, SIGTERM, SIGKILL, watches cut off, runs deleted at any time, in real time."""

import asyncio
from pathlib import Path

import pytest

from tests.soak.books import Sight
from tests.soak.plan import SHORT
from tests.soak.play import Soak


@pytest.mark.row("L4")
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    """Of what was watched nothing is missing, altered or in conflict, the lag is back to seconds, the books are balanced."""
    verdict = asyncio.run(Soak(SHORT, tmp_path, lambda _: None).play())
    assert verdict.broken == [], verdict.table
    runs = {sight: found.runs for sight, found in verdict.account.differences.items()}
    assert runs[Sight.WATCHED] > 0, verdict.table
    assert verdict.account.taken, verdict.table
