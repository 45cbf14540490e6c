"""The only place that wires: one of everything, started in order and stopped in reverse.

Keeps: tasks are started here and nowhere else, in one group, so that none is lost; a stop has one deadline for all of it.
"""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from tracer import __version__
from tracer.backends import backend_of
from tracer.clock import Clock
from tracer.config import age_s
from tracer.controller import GATHER_S, TICK_S, Controller, Tell
from tracer.delivery.checkpoint import NOTHING, Checkpoint
from tracer.delivery.ledger import AT_REST_NS
from tracer.delivery.outcome import Delivered, Outcome, Refused
from tracer.delivery.policy import Pace
from tracer.errors import BackendError, TracerError
from tracer.events import Event, Report, What
from tracer.health import families, readings
from tracer.health.heartbeat import Heartbeat
from tracer.health.metrics import Metrics
from tracer.health.server import Server
from tracer.health.verdict import live, ready
from tracer.kube.checkpoints import LAST_TIMEOUT_S, Checkpoints
from tracer.kube.leases import Leadership
from tracer.kube.named import CHECKPOINT_NAME, LEASE_NAME, NamedObject, own_path
from tracer.kube.reflector import Api, Fellows, Reflector
from tracer.kube.watches import Watches
from tracer.settings import Settings
from tracer.tekton.names import OwnKind
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.records import SpanRecord
from tracer.transport import Transport, TransportSettings

GRACE_S = 24.0  # of the 30 s that Kubernetes gives: five for the checkpoint and the Lease, a second for closing
BACKEND_PATIENCE_S = 60.0  # of a single round; the controller itself never gives up
_POLL_S = 0.1


class Account(Api, Protocol):
    """Who we are to an API server, where it is and how it is reached."""

    @property
    def namespace(self) -> str:
        """Where our own objects are."""

    @property
    def transport(self) -> TransportSettings:
        """How it is reached."""


class Stop:
    """Asked for once: everything that is due is still sent. Asked for again: nothing is."""

    def __init__(self) -> None:
        """Begin with nobody asking."""
        self.requested = asyncio.Event()
        self.is_urgent = asyncio.Event()

    def ask(self) -> None:
        """Ask for it."""
        (self.is_urgent if self.requested.is_set() else self.requested).set()


class DryRun:
    """A backend that takes everything and sends nothing."""

    def shared(self, _: SpanRecord) -> None:
        """Say that any spans may share a request."""

    def encode(self, _: tuple[SpanRecord, ...]) -> bytes:
        """Write nothing."""
        return b""

    async def send(self, _body: bytes, _timeout_s: float) -> Outcome:
        """Take it."""
        return Delivered()


class App:
    """The controller as a process: watches a cluster, sends to a backend."""

    def __init__(
        self,
        settings: Settings,
        account: Account,
        clock: Clock,
        report: Report = lambda _: None,
        show: Callable[[list[SpanRecord]], None] = lambda _: None,
        *,
        is_dry: bool = False,
    ) -> None:
        """Wire it; nothing is asked or sent yet. `show` is given what the backend has taken. Raises what `backend_of` does."""
        self.is_stopping = self._sends = self._has_led = False
        self._settings, self._account, self._clock, self._report = settings, account, clock, report
        self._to_cluster, self._to_backend = Transport(account.transport, clock), Transport(settings.transport, clock)
        self.metrics = Metrics(__version__, self._counts)
        self._heart = Heartbeat(clock, self.metrics.observe_stall)
        fellows = Fellows()

        def watch(namespace: str, tell: Tell) -> Watches:
            return Watches([namespace], settings.spans.schema, account, self._to_cluster, clock, tell, report, fellows)

        self.controller = Controller(
            settings.config.watch.namespaces,
            watch,
            settings.spans,
            DryRun() if is_dry else backend_of(settings, self._to_backend),
            clock,
            Pace(usual_timeout_s=settings.try_timeout_s),
            report,
            show,
            self.metrics.observe_request,
            self.metrics.observe_lag,
            lambda one: self.metrics.count(one, clock.now_s()),
        )
        self._backend_name = "nobody: a dry run" if is_dry else settings.endpoint_name
        self._checkpoints: Checkpoints | None = None
        self._leadership: Leadership | None = None
        if not is_dry and settings.config.leader.enabled:
            identity = f"{platform.node()}_{clock.random_bytes(4).hex()}"  # anew in each process: who is warm goes first
            self._leadership = Leadership(self._own(OwnKind.LEASE, LEASE_NAME), identity, clock, report)
        if not is_dry:
            kept = self._own(OwnKind.CONFIG_MAP, CHECKPOINT_NAME)
            self._checkpoints = Checkpoints(
                kept, settings.endpoint_name, clock, self._recall, lambda: self.controller.checkpoint, report
            )

    def _own(self, kind: OwnKind, name: str) -> NamedObject:
        return NamedObject(self._account, self._to_cluster, own_path(kind, self._account.namespace, name))

    def _recall(self, found: Checkpoint, is_first: bool) -> None:  # noqa: FBT001 - a door's shape
        """Go on from what is remembered; a first start may be told how far to look back."""
        not_before_s = self._clock.unix_ns() / SECOND_NS - age_s(self._settings.config.lookback) if is_first else 0.0
        self.controller.recall(found, int(max(0.0, not_before_s) * SECOND_NS))

    @property
    def reflectors(self) -> list[Reflector]:
        """Every watch."""
        return [one for scope in self.controller.scopes.values() for one in scope.reflectors]

    @property
    def is_synced(self) -> bool:
        """Whether everything was listed once."""
        return self.controller.is_synced

    async def run(self, stop: Stop) -> None:
        """Watch and send until a stop is asked for, and then send what is due, until there is no more time.

        How it goes is served meanwhile. Raises InputError if nobody can listen there.
        """
        async with Server(
            self._settings.config.listen,
            lambda: live(self._heart.age_s),
            lambda: ready(self._awaited(), was_synced=self.is_synced, is_stopping=self.is_stopping),
            self.metrics.render,
        ):
            await self.play(stop)

    async def play(self, stop: Stop) -> None:
        """Do as `run` does, and serve nothing."""
        await self._run(stop, GRACE_S)

    async def run_once(self, stop: Stop) -> int:
        """List once, send what is due, and end; give how many spans were rejected.

        Raises ApiError, RightsError or BackendError if that cannot be done.
        """
        if self._checkpoints is not None:
            self._checkpoints.only_adds = True
        failure = await self._run(stop, BACKEND_PATIENCE_S, ends_by_itself=True)
        if failure is not None:
            raise failure
        outbox, sender = self.controller.outbox, self.controller.sender
        if not outbox.is_empty:
            why = sender.trouble.why if sender.trouble is not None else f"{self._backend_name} has not answered"
            when = "" if isinstance(sender.trouble, Refused) else f" within {BACKEND_PATIENCE_S:g} s"
            raise BackendError(f"Not all that is due was delivered{when}: {why.rstrip('.')}.")
        return outbox.books.rejected

    async def _run(self, stop: Stop, grace_s: float, *, ends_by_itself: bool = False) -> TracerError | None:
        failure = None
        async with self._to_backend, self._to_cluster, asyncio.TaskGroup() as tasks:
            namespaces = ", ".join(filter(None, self.controller.scopes)) or "all namespaces"
            sentence = f"tracer {__version__} watches {namespaces} at {self._account.url} and sends to {self._backend_name}."
            self._report(Event(What.STARTED, sentence))
            beating = tasks.create_task(self._heart.run(), name="heartbeat")
            judging = tasks.create_task(self.controller.run(), name="controller")
            keeping = tasks.create_task(self._remember(), name="checkpoint")
            leading = tasks.create_task(self._take_part(is_alone=ends_by_itself), name="leader")
            async with self._watching():
                if ends_by_itself:
                    failure = await self._await_lists(stop)
                else:
                    await self._say_when_synced(stop)
                    await stop.requested.wait()
                deadline_s, self.is_stopping = self._clock.now_s() + grace_s, True
                if self._leadership is not None:
                    self._leadership.is_ending = True
                self._report(Event(What.STOPPING, f"Stopping: what is due is sent first, for at most {grace_s:g} s."))
            await _end(judging)
            concluding = tasks.create_task(self.controller.conclude(), name="conclusion")
            sending = tasks.create_task(self._flush(gives_up=ends_by_itself, after=concluding), name="flush")
            while not sending.done() and not stop.is_urgent.is_set() and self._clock.now_s() < deadline_s:
                await self._clock.wait(stop.is_urgent, _POLL_S)
            for task in (concluding, sending, keeping, leading):
                await _end(task)
            if self.controller.leads and self._checkpoints is not None:
                await self._checkpoints.write(LAST_TIMEOUT_S, must_look=True)
            if self._leadership is not None:
                await self._leadership.release()
            await _end(beating)
        self._say_account()
        return failure

    async def _remember(self) -> None:
        """Keep in mind what is acknowledged, beyond this process."""
        if self._checkpoints is None:
            self._recall(NOTHING, is_first=True)
        else:
            await self._checkpoints.run(lambda: self.controller.leads)

    async def _take_part(self, *, is_alone: bool) -> None:
        """Send while we lead, which is always if nobody is asked."""
        if self._leadership is None or is_alone:
            await self._lead()
            return
        await self.controller.knows.wait()  # a standby that is warm goes before who has just begun
        await self._leadership.run(self._lead)

    async def _lead(self) -> None:
        """Send, from where whoever led before has ended."""
        kept = self._checkpoints
        if kept is not None:
            await kept.read_first()
        if self.is_stopping:
            return  # who takes the lead at its end has sent nothing, and nothing to tell
        if kept is not None and not kept.is_own and not kept.only_adds:
            self.controller.count_lost(kept.stands.only_here)
        self.controller.lead()
        self._has_led = True
        try:
            if kept is not None and kept.stands.only_here:
                await kept.write()  # so that nobody counts it again
            await self._send()
        finally:
            if not self.is_stopping:
                self.controller.stand_by()
                self.metrics.forget_runs()

    @property
    def _led_last(self) -> bool:
        """Whether nobody was seen to lead after us."""
        return self._has_led and self._leadership is not None and self._leadership.is_holder

    async def _send(self) -> None:
        self._sends = True
        try:
            await self.controller.sender.run()
        finally:
            self._sends = False

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        """Keep every watch going as long as the context is open."""
        async with AsyncExitStack() as stack:
            for scope in self.controller.scopes.values():
                await stack.enter_async_context(scope.watches.running())
            yield

    async def _say_when_synced(self, stop: Stop) -> None:
        while not self.is_synced and not stop.requested.is_set():
            await self._clock.wait(stop.requested, _POLL_S)
        if self.is_synced:
            existing = sum(one.course.existing for one in self.reflectors)
            self._report(Event(What.SYNCED, f"Everything was listed: {existing} objects.", {"objects": existing}))

    async def _await_lists(self, stop: Stop) -> TracerError | None:
        """Wait until everything was listed and what was just written has come to rest; say what keeps it from that."""
        try:
            for scope in self.controller.scopes.values():
                await scope.watches.listed(is_over=stop.requested.is_set)
        except TracerError as error:
            return error
        while not self.controller.leads and not stop.requested.is_set():  # it is soon known what was acknowledged before
            await self._clock.wait(stop.requested, _POLL_S)
        await self._clock.wait(stop.requested, AT_REST_NS / SECOND_NS + TICK_S + GATHER_S)
        return None

    def _counts(self) -> readings.Readings:
        """Read what the components count."""
        written_s = self._checkpoints.last_write_unix_s if self._checkpoints is not None else None
        return {
            **readings.read_delivery(self.controller),
            **readings.read_runs(self.controller, self._clock.unix_ns(), self._settings.config.stuck_after_s),
            **readings.read_watches(self.reflectors),
            families.CHECKPOINT_LAST_WRITE: {} if written_s is None else {(): written_s},
        }

    def _awaited(self) -> dict[str, str]:
        """Name what must be known before anything is judged, with the reason in a word that keeps it from being so."""
        is_read = self._checkpoints is None or not self._checkpoints.trouble
        return readings.awaited(self.reflectors) | ({} if is_read else {"the checkpoint": "being read"})

    async def _flush(self, *, gives_up: bool, after: asyncio.Task[None]) -> None:
        """Send what is due until all is answered for or, if that is enough to give up, it is refused.

        A leader whose Lease ends meanwhile, as the API server is away, goes on: two who send say the same.
        """
        outbox, sender = self.controller.outbox, self.controller.sender
        async with asyncio.TaskGroup() as tasks:
            own: asyncio.Task[None] | None = None
            sender.hurry()
            while self.controller.leads and not (after.done() and outbox.is_empty):
                if gives_up and isinstance(sender.trouble, Refused):
                    break
                if not self._sends:
                    own = tasks.create_task(self._send(), name="sender")
                await self._clock.sleep(_POLL_S)
            if own is not None:
                own.cancel()

    def _say_account(self) -> None:
        outbox, controller = self.controller.outbox, self.controller
        is_ours = controller.leads or self._led_last
        only_here = controller.checkpoint.only_here if is_ours else {}
        stands = self._checkpoints.stands.only_here if self._checkpoints is not None else {}
        lost = sum(max(0, spans - stands.get(mark, 0)) for mark, spans in only_here.items())
        if lost:  # of the others whoever leads next counts what is lost
            controller.lose_with_process(lost)
        waiting = outbox.waiting + outbox.under_way
        fields = {"acknowledged": outbox.books.delivered, "rejected": outbox.books.rejected, "waiting": waiting}
        rest = "what was not acknowledged is sent after the next start" if waiting else "all that was due was answered for"
        if not controller.leads:
            rest = "this replica did not lead"
        left = {"only_in_memory": sum(only_here.values())} if only_here else {}
        self._report(Event(What.STOPPED, f"Stopped; {rest}.", fields | left))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
