"""A list of namespaces: each has its own watches, and what is wrong in one costs the others nothing."""

import asyncio
import math

import pytest

from tests.process.performance import WITHIN_S, happenings, oracle
from tests.process.test_faults import WATCHED
from tests.tally import Tally
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import Refuse
from tracer.demo.receiver import Receiver
from tracer.demo.stage import stage
from tracer.events import Event, What
from tracer.kube.wire import feeds
from tracer.settings import load
from tracer.tekton.times import SECOND_NS

OURS, ALSO_OURS, FOREIGN = "scenario-success", "scenario-retries", "scenario-cancel"


@pytest.mark.row("A18")
def test_only_the_named_namespaces_are_told(tally: Tally) -> None:
    """Each namespace has a watch of each kind; a run elsewhere is not told, and nothing is asked of the whole cluster."""

    async def main() -> None:
        async with asyncio.timeout(WITHIN_S), ApiServer() as server, Receiver() as receiver:
            settings = load({"otlp.endpoint": receiver.url, "watch.namespaces": f"{OURS},{ALSO_OURS}"}, {})
            began_ns = int((happenings("success")[0][0] - 1) * SECOND_NS)
            async with stage(began_ns, server, settings) as one:
                assert len(one.reflectors) == 2 * len(feeds(""))
                for name in ("success", "retries", "cancel"):
                    for _, is_gone, content in happenings(name):
                        await one.happen(content, is_gone=is_gone)
                await one.end()
                await one.delivered()
            assert {asked.namespace for asked in server.asked if asked.kind in WATCHED} == {OURS, ALSO_OURS}
            tally(receiver, {**oracle("success", ""), **oracle("retries", "")})

    asyncio.run(main())


@pytest.mark.row("A17", "A18")
def test_one_that_may_not_be_read_does_not_stop_the_others(tally: Tally) -> None:
    """403 in one namespace: the others are told, and what is missing is said once for each kind."""

    async def main() -> None:
        said = list[Event]()
        async with asyncio.timeout(WITHIN_S), ApiServer() as server, Receiver() as receiver:
            settings = load({"otlp.endpoint": receiver.url, "watch.namespaces": f"{OURS},{FOREIGN}"}, {})
            server.fail(Refuse(403), namespace=FOREIGN, times=math.inf)
            began_ns = int((happenings("success")[0][0] - 1) * SECOND_NS)
            async with stage(began_ns, server, settings, said.append, is_awaited=False) as one:
                ours, foreign = one.app.controller.scopes[OURS], one.app.controller.scopes[FOREIGN]
                await one.until(lambda: all(each.is_current for each in ours.reflectors))
                await one.until(lambda: all(each.trouble for each in foreign.reflectors))
                for _, is_gone, content in happenings("success"):
                    await one.happen(content, is_gone=is_gone)
                await one.end()
                await one.delivered()
                assert foreign.judged_ns is None
            tally(receiver, oracle("success", ""))
        failures = [event for event in said if event.what is What.WATCH_FAILED]
        assert {event.fields["namespace"] for event in failures} == {FOREIGN}
        assert {event.fields["kind"] for event in failures} == {"PipelineRun", "TaskRun", "CustomRun", "Pod", "Event"}
        assert all(f" in namespace {FOREIGN} (403): grant list and watch on " in event.message for event in failures)

    asyncio.run(main())
