"""Every recording, played through the whole product, comes to the very bytes of its replay."""

import asyncio

import pytest

from tests.process.performance import FOLDERS, performance


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_a_recording_comes_to_its_replay(name: str) -> None:
    """An API server tells it, the controller watches, a backend takes it: each span once, with the bytes of the replay."""

    async def main() -> None:
        async with performance(name) as played:
            await played.end()
            assert played.differences() == []
            assert not played.one.app.controller.lost_spans
            assert played.relists.total() == len(played.one.reflectors)  # those at the end

    asyncio.run(main())
