"""The task that sends to one backend: take, send, do what the policy says, report what is acknowledged.

Keeps: a backend that fails is left alone for a while, and then tried with one request; only its answer settles a span.
Must not know: what a span means, how it is encoded, how long is long.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable

from tracer.backoff import full_jitter_s
from tracer.clock import Clock
from tracer.delivery.outbox import Outbox, Request
from tracer.delivery.outcome import Backend, Delivered, Outcome, Partly, Refused, Rejected, Retry, answered
from tracer.delivery.policy import USUAL_PACE, Action, Pace, blames, is_failure, judge, wait_s
from tracer.events import Event, Report, What, sentence
from tracer.telemetry.records import SpanRecord

Acknowledge = Callable[[str, list[SpanRecord]], None]
"""Told, by its UID, which spans of an object need not be sent any more: delivered, or rejected for good."""
HURRIED_PAUSE_S = 1.0
MOST_REASONS = 100  # different ones that are kept, for a backend may say another one each time
OTHER_REASONS = "other reasons"


class Sender:
    """Sends what an outbox holds."""

    def __init__(
        self,
        backend: Backend,
        outbox: Outbox,
        acknowledge: Acknowledge,
        clock: Clock,
        pace: Pace = USUAL_PACE,
        report: Report = lambda _: None,
        measure: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is sent before `run`. `measure` is told how many seconds each try took."""
        self.trouble: Retry | Refused | Rejected | None = None
        """Why the last request was not settled; None if it was."""
        self.rejections: Counter[str] = Counter()
        """How many spans were rejected, by what the backend said."""
        self.warnings: Counter[str] = Counter()
        """What the backend had to say about requests that it took."""
        self.requests: Counter[str] = Counter()
        """How many were sent, repeats too, by what came of them (`Answered`)."""
        self.sent_spans = 0
        """How many spans were in them."""
        self.answered_s = clock.now_s()
        """When the last answer came."""
        self.last_acknowledged_unix_s: float | None = None
        """When the backend took something for the last time."""
        self._backend = backend
        self._outbox = outbox
        self._acknowledge = acknowledge
        self._clock = clock
        self._pace = pace
        self._passed = 0
        self._failures = 0
        self._under_way = 0
        self._quiet_until_s = 0.0
        self._longest_pause_s = math.inf
        self._hurried = asyncio.Event()
        self._report = report
        self._measure = measure
        self._changed = asyncio.Event()
        self._tried = asyncio.Condition()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                while (pause_s := self._quiet_until_s - self._clock.now_s()) > 0:
                    self._hurried.clear()
                    await self._clock.wait(self._hurried, pause_s)
                while self._may_send() and (request := self._outbox.next_request(self._pace.most_spans)) is not None:
                    self._under_way += 1
                    tasks.create_task(self._try(request), name="request")
                await self._changed.wait()

    def wake(self) -> None:
        """Look at the outbox again."""
        self._changed.set()

    def hurry(self) -> None:
        """Try again at once, and from now on after short pauses: there is little time left."""
        self._longest_pause_s, self._quiet_until_s = HURRIED_PAUSE_S, 0.0
        self._hurried.set()
        self.wake()

    async def next_try(self) -> None:
        """Wait until the next request was answered or has failed."""
        async with self._tried:
            await self._tried.wait()

    def _may_send(self) -> bool:
        return self._under_way < self._pace.in_flight and self._quiet_until_s <= self._clock.now_s()

    async def _try(self, request: Request) -> None:
        """Send a request once, and do what follows."""
        if self._quiet_until_s > self._clock.now_s():  # another one failed before this one began
            self._under_way -= 1
            self._outbox.hold(request)
            self._changed.set()
            return
        failures_before = self._failures
        self.sent_spans += len(request.spans)
        began_s = self._clock.now_s()
        try:
            outcome = await self._backend.send(request.body, self._pace.try_timeout_s)
        except asyncio.CancelledError:
            self._outbox.hold(request)  # nobody knows what became of it
            raise
        finally:
            self._under_way -= 1
        self._measure(self._clock.now_s() - began_s)
        self.requests[answered(outcome)] += 1
        if blames(outcome):
            request.blames += 1
            request.passed_before = self._passed if request.passed_before is None else request.passed_before
        others_pass = request.passed_before is not None and self._passed > request.passed_before
        verdict = judge(outcome, len(request.spans), request.blames, others_pass=others_pass)
        match verdict.action:
            case Action.SETTLE:
                self._note(outcome, verdict.rejected)
                for uid, spans in self._outbox.settle(request, verdict.rejected).items():
                    self._acknowledge(uid, spans)
            case Action.HALVE:
                self._outbox.halve(request)
            case Action.HOLD:
                self._outbox.hold(request)
        self._note_trouble(None if isinstance(outcome, Delivered | Partly) or verdict.action is Action.SETTLE else outcome)
        if is_failure(outcome, verdict):
            self._fail(outcome, failures_before)
        else:
            self._pace = self._pace.after_answer()
        self._changed.set()
        async with self._tried:
            self._tried.notify_all()

    def _note(self, outcome: Outcome, rejected: int) -> None:
        self.answered_s = self._clock.now_s()
        if isinstance(outcome, Delivered | Partly):
            self._passed += 1
            self.last_acknowledged_unix_s = self._clock.unix_ns() / 1e9
        if rejected and not isinstance(outcome, Delivered):
            self._report(
                Event(What.SPANS_REJECTED, sentence(f"Spans were rejected for good: {outcome.why}"), {"spans": rejected})
            )
        if not isinstance(outcome, Delivered):
            _count(self.rejections, outcome.why, rejected)
        elif outcome.warning:
            _count(self.warnings, outcome.warning, 1)
            self._report(Event(What.BACKEND_WARNED, sentence(f"The backend took a request and says: {outcome.warning}")))

    def _note_trouble(self, trouble: Retry | Refused | Rejected | None) -> None:
        if trouble is not None:
            what = What.BACKEND_REFUSED if isinstance(trouble, Refused) else What.BACKEND_FAILED
            self._report(Event(what, sentence(trouble.why)))
        elif self.trouble is not None:
            self._report(Event(What.BACKEND_RECOVERED, "The backend takes spans again."))
        self.trouble = trouble

    def _fail(self, outcome: Outcome, failures_before: int) -> None:
        # Requests that were under way together fail together: that is one failure, not four.
        if failures_before == self._failures:
            self._failures += 1
            self._pace = self._pace.after_failure(outcome)
        pause_s = min(self._longest_pause_s, wait_s(outcome, full_jitter_s(self._pace.failures)))
        self._quiet_until_s = max(self._quiet_until_s, self._clock.now_s() + pause_s)


def _count(counter: Counter[str], text: str, count: int) -> None:
    counter[text if text in counter or len(counter) < MOST_REASONS else OTHER_REASONS] += count
