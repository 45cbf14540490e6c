"""The picture of every recording stands beside for people: run `pytest tests/test_goldens.py --rewrite`, then read the diff."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.kit import GOLDENS, RECORDINGS, SCENARIOS
from tracer.explain.terminal.picture import print_waterfall
from tracer.explain.waterfall import waterfalls
from tracer.replay import Replay


def picture(path: Path) -> str:
    """Draw all runs of a recording, without colour."""
    one = Replay()
    spans = [span for batch in one.batches(path) for span in batch.spans]
    out = io.StringIO()
    console = Console(file=out, width=110)
    for each in waterfalls(spans, one.ledger.unfinished(), one.until_ns):
        print_waterfall(console, each)
        console.print()
    return out.getvalue()


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in [*RECORDINGS, *SCENARIOS]])
def test_picture(path: Path, request: pytest.FixtureRequest) -> None:
    """The picture of a recording does not change unnoticed."""
    golden = GOLDENS / f"{path.name}.txt"
    drawn = picture(path / "watch.jsonl")
    if request.config.getoption("--rewrite"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(drawn)
    assert drawn == golden.read_text()
