"""Every recording, played through the whole product, comes to the very bytes of its replay."""

import asyncio

import pytest

from tests.process.performance import FOLDERS, performance
from tests.tally import Tally

OF_A_ROW = [
    pytest.param("pod-deleted-recreated", marks=pytest.mark.row("O6")),
    pytest.param("run-deleted", marks=pytest.mark.row("O9")),
    pytest.param("run-deleted-foreground", marks=pytest.mark.row("O9")),
    pytest.param("taskrun-deleted", marks=pytest.mark.row("O9")),
    pytest.param("unnamed-steps", marks=pytest.mark.row("O12")),
    pytest.param("unnamed-steps-no-node", marks=pytest.mark.row("O12")),
    pytest.param("retries", marks=pytest.mark.row("O14")),
    pytest.param("retry-cancel", marks=pytest.mark.row("O14")),
    pytest.param("retry-timeout", marks=pytest.mark.row("O14")),
    pytest.param("given-parent", marks=pytest.mark.row("O16")),
    pytest.param("custom-run", marks=pytest.mark.row("O17")),
    pytest.param("nested", marks=pytest.mark.row("O17")),
    pytest.param("evicted", marks=pytest.mark.row("O21")),
    pytest.param("image-pull", marks=pytest.mark.row("O21")),
    pytest.param("init-pull-fails", marks=pytest.mark.row("O21")),
    pytest.param("injected-sidecars-false", marks=pytest.mark.row("O21")),
    pytest.param("missing-secret", marks=pytest.mark.row("O21")),
    pytest.param("native-sidecar", marks=pytest.mark.row("O21")),
    pytest.param("no-node", marks=pytest.mark.row("O21")),
    pytest.param("pull-failure", marks=pytest.mark.row("O21")),
    pytest.param("sidecar-fails", marks=pytest.mark.row("O21")),
]
"""What each of them looks like stands in tests/goldens."""
OTHERS = sorted(FOLDERS.keys() - {param.values[0] for param in OF_A_ROW})


@pytest.mark.parametrize("name", [*OF_A_ROW, *OTHERS])
def test_a_recording_comes_to_its_replay(name: str, tally: Tally) -> None:
    """An API server tells it, the controller watches, a backend takes it: each span once, with the bytes of the replay."""

    async def main() -> None:
        async with performance(name) as played:
            await played.end()
            tally(played.receiver, played.expected)
            assert not played.one.app.controller.lost_spans
            assert played.relists.total() == len(played.one.reflectors)  # those at the end

    asyncio.run(main())
