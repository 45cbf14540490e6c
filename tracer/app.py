"""The only place that wires: one of everything, started in order and stopped in reverse.

Keeps: tasks are started here and nowhere else, in one group, so that none is lost; a stop has one deadline for all of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from tracer import __version__
from tracer.clock import Clock
from tracer.config import age_s
from tracer.controller import GATHER_S, TICK_S, Controller, Tell
from tracer.delivery.checkpoint import Checkpoint
from tracer.delivery.ledger import AT_REST_NS
from tracer.delivery.otlp_http import OtlpHttp
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
from tracer.kube.reflector import Api, Reflector
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
    def identity(self) -> str:
        """Which replica we are."""

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
        """Wire it; nothing is asked or sent yet. `show` is given what the backend has taken."""
        otlp = settings.config.otlp
        self.is_stopping = self._is_ending = False
        self._settings, self._account, self._clock, self._report = settings, account, clock, report
        self._to_cluster, self._to_backend = Transport(account.transport, clock), Transport(settings.transport, clock)
        sent = OtlpHttp(self._to_backend, otlp.endpoint, settings.endpoint_name, is_compressed=otlp.compression == "gzip")
        self._metrics = Metrics(__version__, self._counts)
        self._heart = Heartbeat(clock, self._metrics.observe_stall)
        turn = asyncio.Lock()

        def watch(namespace: str, tell: Tell) -> Watches:
            return Watches([namespace], settings.spans.schema, account, self._to_cluster, clock, tell, report, turn)

        self.controller = Controller(
            settings.config.watch.namespaces,
            watch,
            settings.spans,
            DryRun() if is_dry else sent,
            clock,
            Pace(usual_timeout_s=settings.try_timeout_s),
            report,
            show,
            self._metrics.observe_request,
            self._metrics.observe_lag,
        )
        self._backend_name = "nobody: a dry run" if is_dry else settings.endpoint_name
        self._checkpoints: Checkpoints | None = None
        self._leadership: Leadership | None = None
        self._is_first_recall = True
        if not is_dry and settings.config.leader.enabled:
            self._leadership = Leadership(self._own(OwnKind.LEASE, LEASE_NAME), account.identity, clock, report)
        if not is_dry:
            self._checkpoints = Checkpoints(
                self._own(OwnKind.CONFIG_MAP, CHECKPOINT_NAME), clock, self._recall, lambda: self.controller.checkpoint, report
            )

    def _own(self, kind: OwnKind, name: str) -> NamedObject:
        return NamedObject(self._account, self._to_cluster, own_path(kind, self._account.namespace, name))

    def _recall(self, found: Checkpoint | None) -> None:
        """Go on from what is remembered; if nothing is, this is a first start, which may be told how far to look back."""
        is_first, self._is_first_recall = self._is_first_recall, False
        if found is not None:
            self.controller.recall(found)
        elif is_first:
            not_before_s = self._clock.unix_ns() / SECOND_NS - age_s(self._settings.config.lookback)
            self.controller.recall(Checkpoint(), int(max(0.0, not_before_s) * SECOND_NS))

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
            self._metrics.render,
        ):
            await self.play(stop)

    async def play(self, stop: Stop) -> None:
        """Do as `run` does, and serve nothing."""
        await self._run(stop, GRACE_S)

    async def run_once(self, stop: Stop) -> int:
        """List once, send what is due, and end; give how many spans were rejected.

        Raises ApiError, RightsError or BackendError if that cannot be done.
        """
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
                self._report(Event(What.STOPPING, f"Stopping: what is due is sent first, for at most {grace_s:g} s."))
            await _end(judging)
            await self.controller.conclude()
            await self._flush(stop, deadline_s, gives_up=ends_by_itself)
            await _end(keeping)
            self._is_ending = True
            await _end(leading)
            is_remembered = self.controller.leads and await self._write_last()
            if self._leadership is not None:
                await self._leadership.release()
            await _end(beating)
        self._say_account(is_remembered=is_remembered)
        return failure

    async def _remember(self) -> None:
        """Keep in mind what is acknowledged, beyond this process."""
        if self._checkpoints is None:
            self.controller.recall(Checkpoint())
        else:
            await self._checkpoints.run(lambda: self.controller.leads)

    async def _take_part(self, *, is_alone: bool) -> None:
        """Send while we lead, which is always if nobody is asked."""
        if self._leadership is None or is_alone:
            await self._lead()
        else:
            await self._leadership.run(self._lead)

    async def _lead(self) -> None:
        """Send, from where whoever led before has ended."""
        if self._checkpoints is not None:
            await self._checkpoints.read_first()
        self.controller.lead()
        try:
            await self.controller.sender.run()
        finally:
            if not self._is_ending:
                self.controller.stand_by()

    async def _write_last(self) -> bool:
        return self._checkpoints is not None and await self._checkpoints.write(LAST_TIMEOUT_S)

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
            **readings.read_watches(self.reflectors),
            families.CHECKPOINT_LAST_WRITE: {} if written_s is None else {(): written_s},
        }

    def _awaited(self) -> dict[str, str]:
        """Name what must be known before anything is judged, with what keeps it from being so."""
        trouble = self._checkpoints.trouble if self._checkpoints is not None else ""
        return readings.awaited(self.reflectors) | ({"the checkpoint": trouble} if trouble else {})

    async def _flush(self, stop: Stop, deadline_s: float, *, gives_up: bool) -> None:
        """Send what is due, until all is answered for, there is no more time or, if that is enough to give up, it is refused."""
        outbox, sender = self.controller.outbox, self.controller.sender
        sender.hurry()
        while not outbox.is_empty and self.controller.leads and not stop.is_urgent.is_set() and self._clock.now_s() < deadline_s:
            if gives_up and isinstance(sender.trouble, Refused):
                return
            await self._clock.wait(stop.is_urgent, _POLL_S)

    def _say_account(self, *, is_remembered: bool) -> None:
        outbox, only_here = self.controller.outbox, self.controller.only_here
        if only_here and self.controller.leads and not is_remembered:  # else whoever leads next counts what is lost of them
            self.controller.lose_with_process(only_here)
        waiting = outbox.waiting + outbox.under_way
        fields = {"acknowledged": outbox.books.delivered, "rejected": outbox.books.rejected, "waiting": waiting}
        rest = "what was not acknowledged is sent after the next start" if waiting else "all that was due was answered for"
        self._report(Event(What.STOPPED, f"Stopped; {rest}.", fields | ({"only_in_memory": only_here} if only_here else {})))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
