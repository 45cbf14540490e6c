"""A soak from its beginning to its end: the cluster, the backend and the processes, and what is said of them meanwhile."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.asked import kubeconfig, own_objects
from tests.soak.backend import Backend
from tests.soak.books import Succession, calm_s
from tests.soak.cluster import Cluster
from tests.soak.plan import CALM_S, Away, Plan, Restart
from tests.soak.replica import Replica, Sample
from tests.soak.report import Outage, Played, Verdict, judge
from tests.soak.watches import Watches
from tracer.clock import Clock
from tracer.demo.apiserver import ApiServer
from tracer.kube.checkpoints import INTERVAL_S

NAMESPACE = "tracer"
SAMPLE_S = 1.0
LINE_S = 60.0
_WRITTEN_S = 2.0  # how long a checkpoint may take
_DUE_S = 8.0  # how long it may take from a deletion until all that it makes due is known
_SETTLED_S = 60.0  # after the last deletion
_T = TypeVar("_T")
Say = Callable[[str], None]


class Soak:
    """Plays a plan."""

    def __init__(self, plan: Plan, folder: Path, say: Say) -> None:
        """Prepare; `say` is given a line now and then."""
        self._plan, self._folder, self._say, self._clock = plan, folder, say, Clock()
        self._server, self._backend = ApiServer(bookmark_every_s=10), Backend()
        self._cluster = Cluster(plan, self._server, self._clock)
        self._watches = Watches(plan, self._server, self._clock)
        self._replicas: list[Replica] = []
        self._running: list[Replica] = []
        """Who leads comes first."""
        self._successions: list[Succession] = []
        self._outages: list[Outage] = []
        self._samples: list[Sample] = []
        self._began_s = 0.0

    async def play(self) -> Verdict:
        """Play it, and judge what it came to."""
        async with self._server, self._backend, asyncio.TaskGroup() as readers:
            for content in own_objects(NAMESPACE):
                self._server.put(content)
            self._kubeconfig = kubeconfig(self._folder, self._server.url, NAMESPACE)
            try:
                await (await self._start(readers)).synced()
                self._began_s = self._clock.now_s()
                async with asyncio.TaskGroup() as tasks:
                    faults = tasks.create_task(self._watches.run(), name="watches")
                    observers = [tasks.create_task(one) for one in (self._sample(), self._tell())]
                    await self._happen(readers)
                    faults.cancel()
                    await self._settle()
                    for observer in observers:
                        observer.cancel()
                await self._end_all()
            finally:
                for left in self._running:
                    left.end(gracefully=False)
        return judge(self._played())

    # ---------------------------------------------------------------- what happens

    async def _happen(self, readers: asyncio.TaskGroup) -> None:
        """Let runs live while backend and processes go and come."""
        is_calm = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._cluster.live(is_calm.is_set), name="runs")
            async with asyncio.TaskGroup() as disturbances:
                disturbances.create_task(self._timeline(self._plan.stretches(), self._be_away), name="backend")
                disturbances.create_task(
                    self._timeline(self._plan.restarts(), lambda how: self._restart(how, readers)), name="restarts"
                )
            await self._clock.sleep(max(CALM_S, self._plan.lasts_s - self._passed_s))
            is_calm.set()

    @property
    def _passed_s(self) -> float:
        return self._clock.now_s() - self._began_s

    async def _timeline(self, moments: Iterable[tuple[float, _T]], do: Callable[[_T], Awaitable[None]]) -> None:
        for at_s, what in moments:
            await self._clock.sleep(max(0.0, at_s - self._passed_s))
            await do(what)

    async def _be_away(self, away: Away) -> None:
        await self._backend.go(away)
        await self._clock.sleep(self._plan.away_s)
        await self._backend.come_back()
        self._outages.append(Outage(away, self._clock.now_s(), self._clock.unix_ns() / 1e9))

    async def _start(self, readers: asyncio.TaskGroup) -> Replica:
        one = Replica(len(self._replicas) + 1, self._clock)
        await one.start(self._folder, self._kubeconfig, self._backend.url, has_election=self._plan.has_election)
        self._replicas.append(one)
        self._running.append(one)
        readers.create_task(one.read(), name=one.name)
        return one

    async def _restart(self, how: Restart, readers: asyncio.TaskGroup) -> None:
        """End whoever leads, and let another one go on."""
        (old,) = self._running
        if how.has_standby:
            await (await self._start(readers)).synced()
        at_s, told_s = self._clock.now_s(), calm_s(self._samples)
        old.end(gracefully=how.is_graceful)
        await old.ended()
        self._running.remove(old)
        ended_s = self._clock.now_s()
        remembered_s = ended_s if how.is_graceful else at_s - INTERVAL_S - _WRITTEN_S
        (new,) = self._running or [await self._start(readers)]
        await new.synced()
        due_s = remembered_s - _DUE_S
        self._successions.append(
            Succession(how.value, at_s, ended_s, remembered_s, due_s, told_s, new.synced_s, is_graceful=how.is_graceful)
        )

    async def _settle(self) -> None:
        """Wait until whoever is left has nothing left to tell, of all that is deleted by now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLED_S):
                since_s = self._clock.now_s()
                while not any(one.at_s > since_s and one.leads and not one.unfinished for one in self._samples[-2:]):
                    await self._clock.sleep(SAMPLE_S / 4)

    async def _end_all(self) -> None:
        for one in list(self._running):
            one.end(gracefully=True)
            await one.ended()
            self._running.remove(one)

    # ---------------------------------------------------------------- what is seen of it

    async def _sample(self) -> None:
        while True:
            for one in list(self._running):
                if (sample := await one.sample()) is not None:
                    self._samples.append(sample)
            await self._clock.sleep(SAMPLE_S)

    async def _tell(self) -> None:
        """Say once a minute how it goes."""
        before = 0
        while True:
            await self._clock.sleep(LINE_S)
            last = next((one for one in reversed(self._samples) if one.leads), None)
            self._say(
                f"{self._passed_s:4.0f} s: {self._cluster.task_runs - before} TaskRuns, {self._cluster.events} events in all"
                f" (at most {self._cluster.latest_s:.1f} s late), {sum(map(len, self._backend.taken.values()))} spans,"
                f" {self._backend.repeats} repeats; "
                + (f"{last.rss_mib:.0f} MiB, lag {last.oldest_age_s:.1f} s" if last is not None else "nobody leads")
                + f"; load {os.getloadavg()[0]:.1f}"
            )
            before, self._cluster.latest_s = self._cluster.task_runs, 0.0

    def _played(self) -> Played:
        return Played(
            self._plan,
            self._began_s,
            self._cluster,
            self._watches,
            self._backend,
            self._replicas,
            self._successions,
            self._outages,
            self._samples,
        )
