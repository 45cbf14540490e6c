"""When does the controller judge, and what does it say of how it is going? Through the whole of it."""

import asyncio

from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver
from tracer.demo.stage import stage
from tracer.settings import load


def test_a_hundred_watches_and_more_are_open_at_once() -> None:
    """Each of many namespaces has its seven watches, and none of them waits for another's connection."""

    async def main() -> int:
        async with ApiServer() as server, Receiver() as receiver:
            namespaces = ",".join(f"team-{number}" for number in range(20))
            settings = load({"otlp.endpoint": receiver.url, "watch.namespaces": namespaces}, {})
            async with asyncio.timeout(30), stage(10**18, server, settings) as one:
                return sum(each.is_current for each in one.reflectors)

    assert asyncio.run(main()) == 140
