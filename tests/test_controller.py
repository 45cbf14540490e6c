"""When does the controller judge, and what does it say of how it is going? Through the whole of it."""

import asyncio
import math

from tests.kit import at_ns
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Break, Refuse
from tracer.demo.receiver import Receiver
from tracer.demo.stage import stage
from tracer.kube.reflector import CATCH_UP_S
from tracer.settings import load
from tracer.tekton.names import Kind


def test_a_hundred_watches_and_more_are_open_at_once() -> None:
    """Each of many namespaces has its seven watches, and none of them waits for another's connection."""

    async def main() -> int:
        async with ApiServer() as server, Receiver() as receiver:
            namespaces = ",".join(f"team-{number}" for number in range(20))
            settings = load({"otlp.endpoint": receiver.url, "watch.namespaces": namespaces}, {})
            async with asyncio.timeout(30), stage(10**18, server, settings) as one:
                return sum(each.is_current for each in one.reflectors)

    assert asyncio.run(main()) == 140


def test_nothing_is_judged_first_while_a_watch_is_broken() -> None:
    """Everything was listed once, but not at one time: while Pods are away again, their TaskRuns are not judged."""

    async def main() -> None:
        async with asyncio.timeout(30), ApiServer() as server, Receiver() as receiver:
            server.fail(Refuse(403), Kind.TASK_RUN, times=math.inf)
            settings = load({"otlp.endpoint": receiver.url}, {})
            async with stage(at_ns(60), server, settings, is_awaited=False) as one:
                (scope,) = one.app.controller.scopes.values()
                of = {each.feed.kind: each for each in scope.reflectors}
                await one.until(lambda: of[Kind.POD].is_current)
                server.fail(Refuse(403), Kind.POD, times=math.inf)
                server.strike(Break.END, Kind.POD)
                await one.until(lambda: of[Kind.POD].reason == "forbidden")
                server.heal()
                server.fail(Refuse(403), Kind.POD, times=math.inf)
                await one.until(lambda: of[Kind.TASK_RUN].is_current and not scope.watches.is_awaited)
                await one.clock.move_on(10)
                assert scope.judged_ns is None
                server.heal()
                await one.until(lambda: not of[Kind.POD].trouble)
                await one.clock.move_on(CATCH_UP_S + 1)
                assert scope.judged_ns is not None

    asyncio.run(main())
