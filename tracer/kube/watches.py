"""All the watches of some namespaces as one: has everything been listed, and if not, why not?

Keeps: what would fail again, or stays silent, is given up with one sentence as long as nothing was listed; afterwards each watch
mends itself.
Must not know: what is made of what they tell.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tracer.clock import Clock
from tracer.errors import ApiError, InputError, RightsError, TracerError
from tracer.events import Event, Report, sentence
from tracer.kube.cluster import ClusterQuestion
from tracer.kube.reflector import NECESSARY, Api, Fellows, Reflector, reflectors_of
from tracer.kube.wire import Told
from tracer.tekton.decode import Schema
from tracer.tekton.observation import Seen, Synced
from tracer.transport import Transport

SILENT_S = 30.0  # without a byte of a first list
_LOOK_EVERY_S = 0.2
_HOPELESS: dict[str, tuple[int, type[TracerError]]] = {
    "credentials": (1, InputError),
    "not_served": (1, ApiError),
    "unusable": (1, ApiError),
    "unreachable": (3, ApiError),
    "decode": (3, ApiError),
    "empty": (3, ApiError),
    "forbidden": (1, RightsError),
    "unauthorized": (2, RightsError),  # the first refusal may mean a token that was replaced since
}
"""After how many tries of a watch a reason is taken as final, and for which error."""


class Watches:
    """Every watch of some namespaces; the empty name stands for all of them."""

    def __init__(
        self,
        namespaces: Sequence[str],
        schema: Schema,
        api: Api,
        transport: Transport,
        clock: Clock,
        tell: Callable[[Told], None],
        report: Report = lambda _: None,
        fellows: Fellows | None = None,
    ) -> None:
        """Prepare. `tell` is told everything that is read, `report` what happens to the watches; `fellows` ask the same server.

        With all namespaces the Namespace that stands for the cluster is asked for first, and told if it may be read.
        """
        self._api, self._clock = api, clock
        self._tell, self._report = tell, report
        self._news = asyncio.Event()
        self._cluster: ClusterQuestion | None = None
        if "" in namespaces:
            self._cluster = ClusterQuestion(api, transport, clock, schema, lambda value: tell(Seen(value)), self._note)
        fellows = fellows or Fellows()
        self.reflectors: list[Reflector] = [
            reflector
            for namespace in dict.fromkeys(namespaces)
            for reflector in reflectors_of(namespace, schema, api, transport, clock, fellows, self._hear, self._note)
        ]

    @property
    def is_awaited(self) -> bool:
        """Whether something is still to come that nothing should be judged without."""
        return self._is_cluster_awaited or any(one.is_awaited for one in self.reflectors)

    @property
    def _is_cluster_awaited(self) -> bool:
        return self._cluster is not None and not self._cluster.is_answered

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep them going as long as the context is open."""
        failure: TracerError | None = None
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._run(), name="watches")
            try:
                yield
            except TracerError as error:  # the group would wrap what is no fault of a task
                failure = error
            finally:
                watching.cancel()
        if failure is not None:
            raise failure

    async def _run(self) -> None:
        if self._cluster is not None:
            await self._cluster.ask()
        async with asyncio.TaskGroup() as tasks:
            for one in self.reflectors:
                tasks.create_task(one.run(), name=f"{one.feed.path} {one.feed.reason}")
            if self._cluster is not None:
                await self._cluster.ask_on()

    async def listed(self, look: Callable[[], None] = lambda: None, is_over: Callable[[], bool] = lambda: False) -> None:
        """Wait until all that there is was told, but for what need not be there; look is called several times a second.

        It ends without that if it is over for another reason.

        Raises ApiError if the API server is not there, does not answer, or does not serve what is needed, RightsError if that may
        not be read, InputError if the credentials cannot be used.
        """
        since_s, progress = self._clock.now_s(), (0, 0)
        while self.is_awaited and not is_over():
            awaited = [one for one in self.reflectors if one.is_awaited]
            needed = [one for one in awaited if one.feed.kind in NECESSARY]
            for one in needed:
                tries, error = _HOPELESS.get(one.reason, (0, ApiError))
                if tries and one.errors[one.reason] >= tries:
                    raise error(sentence(one.trouble))
            seen = len(awaited), sum(one.read_bytes for one in awaited)
            if seen != progress:
                since_s, progress = self._clock.now_s(), seen
            if self._clock.now_s() - since_s >= SILENT_S:
                if not needed:
                    return
                trouble = next((one.trouble for one in needed if one.trouble), f"{self._api.url} has not answered")
                raise ApiError(f"{trouble}; this was given up after {SILENT_S:g} s.")
            self._news.clear()
            await self._clock.wait(self._news, _LOOK_EVERY_S)
            look()

    def left_out(self) -> list[str]:
        """Say, a sentence each, what could not be listed and was passed over. CustomRuns need not be served."""
        late = [one for one in self.reflectors if not one.course.is_synced and one.reason != "not_served"]
        return list(dict.fromkeys(f"{one.trouble or f'{one.feed.kind.plural} did not come in time'}." for one in late))

    def _hear(self, told: Told) -> None:
        if isinstance(told, Synced):
            self._news.set()
        self._tell(told)

    def _note(self, event: Event) -> None:
        self._news.set()
        self._report(event)
