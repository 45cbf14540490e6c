"""The one writer: takes what the watches tell and what the backend acknowledges, and offers what is due.

Keeps: nobody else touches a ledger, and nothing waits while one is touched; nothing is judged before everything was listed once,
and while a watch that judgement rests on is broken its time stands still, so that no deadline passes over what was not seen; what
waits for the backend is references, and what only we still have is bounded, each drop counted and told; who stands by judges as
the leader does, and offers nothing.
Must not know: what an object means, how it is read, how it is sent; who leads, and where it is remembered what was acknowledged.
Source: operations 2.1, 2.6 to 2.8, 2.11; decisions 0010, 0011.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from tracer.clock import Clock
from tracer.delivery.checkpoint import NOTHING, Checkpoint
from tracer.delivery.ledger import Dropped, Due, Ledger, Standing
from tracer.delivery.outbox import Outbox
from tracer.delivery.outcome import Backend
from tracer.delivery.policy import USUAL_PACE, Pace
from tracer.delivery.readings import Loss
from tracer.delivery.sender import Sender
from tracer.events import Event, Report, What
from tracer.kube.reflector import NECESSARY, Reflector
from tracer.kube.watches import Watches
from tracer.kube.wire import Told
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Observation, Seen, Synced, Vanished
from tracer.telemetry.measures import Measure, Subject
from tracer.telemetry.places import SpanSettings
from tracer.telemetry.records import SpanRecord

GATHER_S = 0.1  # what changes together arrives together: looked at once, and sent in one request
MOST_LOOKS = 32  # objects looked at before others have the loop again: some ten milliseconds
TICK_S = 0.5  # how late a deadline may be noticed
Tell = Callable[[Told], None]
MEMORY_CAP = "memory_cap"
"""Why spans of deleted objects are lost: only we had them, and there were too many."""
RESTART = "restart"
"""Why spans of deleted objects are lost: only a process that has ended had them."""


class Scope:
    """What is watched together, one namespace or all of them, and what is known of it.

    Owners and what they own are always in one namespace, so scopes have nothing to do with each other.
    """

    def __init__(self, ledger: Ledger, watch: Callable[[Tell], Watches], clock: Clock, news: asyncio.Event) -> None:
        """Begin with nothing known; `watch` makes the watches, which tell it to a function."""
        self.ledger = ledger
        self.watches = watch(self.tell)
        self.judged_ns: int | None = None
        """Until when is judged, Unix nanoseconds; None before everything was listed once."""
        self._clock = clock
        self._news = news

    @property
    def reflectors(self) -> list[Reflector]:
        """The single watches."""
        return self.watches.reflectors

    def tell(self, told: Told | Observation) -> None:
        """Take in what a watch tells."""
        if isinstance(told, Seen | Gone | Vanished | Synced):
            self.ledger.observe(told, self._clock.unix_ns())
            self._news.set()

    def move_on(self) -> None:
        """Let time pass, if everything that judgement rests on is seen."""
        necessary = [one for one in self.reflectors if one.feed.kind in NECESSARY]
        was_listed = self.judged_ns is not None or not self.watches.is_awaited
        if was_listed and all(one.is_current for one in necessary):
            self.judged_ns = max(self.judged_ns or 0, self._clock.unix_ns())


class Controller:
    """Ledgers, an outbox and a sender, and the loop that moves things from one to the next."""

    def __init__(
        self,
        namespaces: Iterable[str],
        watch: Callable[[str, Tell], Watches],
        settings: SpanSettings,
        backend: Backend,
        clock: Clock,
        pace: Pace = USUAL_PACE,
        report: Report = lambda _: None,
        show: Callable[[list[SpanRecord]], None] = lambda _: None,
        measure_try: Callable[[float], None] = lambda _: None,
        measure_lag: Callable[[float], None] = lambda _: None,
        count: Callable[[Measure | Subject], None] = lambda _: None,
    ) -> None:
        """Prepare for some namespaces, or for all of them if none is named; `watch` makes the watches of each.

        `show` is given what the backend has taken; `measure_try` is told how many seconds each request took, `measure_lag` how
        many passed from when something was due to its acknowledgement; `count` is told, while we lead, what has ended, each once,
        and what is expected to.
        """
        self._news = asyncio.Event()
        self.scopes = {one: Scope(Ledger(settings), partial(watch, one), clock, self._news) for one in list(namespaces) or [""]}
        self.outbox = Outbox(self._spans_of, backend.encode, backend.shared)
        self.sender = Sender(backend, self.outbox, self._acknowledge, clock, pace, report, measure_try)
        self.lost_spans: Counter[str] = Counter()
        """By reason."""
        self.leads = False
        """Whether what is due is offered to be sent; who does not lead stands by."""
        self.knows = asyncio.Event()
        """Whether it was read what was acknowledged before, and of one scope at least everything was listed."""
        self._recalled, self._is_recalled = NOTHING, False
        self._due_since_s: dict[str, float] = {}
        """By UID."""
        self._clock = clock
        self._report = report
        self._show = show
        self._measure_lag = measure_lag
        self._count = count

    async def run(self) -> None:
        """Judge, and offer what becomes due while leading, until cancelled."""
        while True:
            self._news.clear()
            await self.step()
            await self._clock.wait(self._news, TICK_S)
            await self._clock.sleep(GATHER_S)

    async def step(self) -> None:
        """Find everything that is due now, and offer it if we lead."""
        for scope in self.scopes.values():
            if self._is_recalled:
                scope.move_on()
            if scope.judged_ns is not None:
                self.knows.set()
                await self._find_due(scope.ledger, scope.judged_ns)
            for dropped in scope.ledger.shed(self.outbox.has_taken, scope.judged_ns or self._clock.unix_ns()):
                self._lose(dropped)
                await self._clock.sleep(0)

    async def _find_due(self, ledger: Ledger, now_ns: int) -> None:
        is_behind = True  # also if nothing is new: a deadline may have passed
        while self.outbox.has_room and is_behind:
            found = ledger.due(now_ns, MOST_LOOKS)
            if self.leads:
                self._offer(found)
                for one in ledger.take_measures():
                    self._count(one)
            await self._clock.sleep(0)  # a first list makes thousands due, and others have work too
            is_behind = ledger.is_behind

    def _offer(self, found: Iterable[Due]) -> None:
        for due in found:
            self.outbox.offer(due)
            self._due_since_s.setdefault(due.uid, self._clock.now_s())
        self.sender.wake()

    async def conclude(self) -> None:
        """Offer everything that is due at the end, and of deleted objects all that is known: nobody will know more of them."""
        if self.leads:
            for scope in self.scopes.values():
                scope.ledger.hurry_deleted()
        await self.step()

    # ------------------------------------------------------------ who leads, and what is remembered

    def recall(self, checkpoint: Checkpoint, not_before_ns: int = 0) -> None:
        """Take in what was acknowledged to others; nothing is judged before.

        What the first lists hold that ended before not_before_ns (Unix) is not told.
        """
        self._is_recalled = True
        self._recalled = checkpoint if self.is_synced else self._recalled | checkpoint
        for scope in self.scopes.values():
            scope.ledger.recall(self._recalled, not_before_ns)
        self._news.set()

    @property
    def checkpoint(self) -> Checkpoint:
        """What whoever comes after us must know; what we were told ourselves, too, as long as we do not know all that exists."""
        joined = Checkpoint() if self.is_synced else replace(self._recalled, only_here={})
        parts = [scope.ledger.checkpoint for scope in self.scopes.values()]
        for part in parts:
            joined |= part
        return replace(joined, counts_known=all(part.counts_known for part in parts))

    @property
    def is_synced(self) -> bool:
        """Whether everything was listed once."""
        return all(scope.judged_ns is not None for scope in self.scopes.values())

    def lead(self) -> None:
        """Offer all that is due, from now on."""
        self.leads = True
        for scope in self.scopes.values():
            scope.ledger.count()
            self._offer(scope.ledger.outstanding())
        self._news.set()

    def count_lost(self, only_here: Mapping[bytes, int]) -> None:
        """Count as lost what only a process that has ended had, by the marks of objects, but for those that we have, too."""
        ours = set[bytes]().union(*(scope.ledger.held_marks for scope in self.scopes.values()))
        lost = sum(spans for mark, spans in only_here.items() if mark not in ours and mark not in self._recalled.done)
        if lost:
            self.lose_with_process(lost)

    def stand_by(self) -> None:
        """Offer nothing from now on: somebody else sends."""
        self.leads = False
        for scope in self.scopes.values():
            scope.ledger.count_no_more()
        self.outbox.withdraw()
        self._due_since_s.clear()

    def lose_with_process(self, spans: int) -> None:
        """Count spans of deleted objects that nobody has any more."""
        self.lost_spans[RESTART] += spans
        sentence = f"{spans} spans of deleted objects are lost: only a process that has ended had them."
        self._report(Event(What.SPANS_LOST, sentence, {"reason": RESTART, "spans": spans}))

    # ------------------------------------------------------------ what comes back, and what is lost

    def _lose(self, dropped: Dropped) -> None:
        if not self.leads:
            return  # whoever leads has it; if not, its last checkpoint tells
        self.lost_spans[MEMORY_CAP] += dropped.spans
        sentence = f"{dropped.spans} spans of a deleted {dropped.kind} are lost: there was no memory to keep them any longer."
        fields = {"namespace": dropped.namespace, "name": dropped.name, "uid": dropped.uid, "kind": dropped.kind}
        self._report(Event(What.SPANS_LOST, sentence, {"reason": MEMORY_CAP, "spans": dropped.spans, **fields}))

    def _spans_of(self, uid: str) -> list[SpanRecord]:
        """Build what is due of an object; a few scopes are asked in turn, for only one knows it."""
        for scope in self.scopes.values():
            if scope.judged_ns is not None and (spans := scope.ledger.spans(uid, scope.judged_ns)):
                return spans
        self._due_since_s.pop(uid, None)
        return []

    def _acknowledge(self, uid: str, spans: list[SpanRecord]) -> None:
        slots = [span.slot for span in spans]
        for scope in self.scopes.values():
            if scope.judged_ns is not None:
                scope.ledger.acknowledge(uid, slots, scope.judged_ns)
        now_s, since_s = self._clock.now_s(), self._due_since_s.pop(uid, None)
        if since_s is not None:
            self._measure_lag(now_s - since_s)
        if self.outbox.holds(uid):
            self._due_since_s[uid] = now_s if since_s is None else since_s
        self._show(spans)

    # ------------------------------------------------------------ how it is going

    def oldest_due_age_s(self) -> float:
        """Say for how long the oldest object has been waiting for its acknowledgement."""
        now_s = self._clock.now_s()
        return now_s - min(self._due_since_s.values(), default=now_s)

    def standing(self) -> Iterator[Standing]:
        """Say how each run stands that has not ended, of all that was listed."""
        for scope in self.scopes.values():
            if scope.judged_ns is not None:
                yield from scope.ledger.standing()

    @property
    def losses(self) -> Counter[Loss]:
        """What was left out on purpose."""
        return sum((scope.ledger.losses for scope in self.scopes.values()), Counter())

    @property
    def incomplete(self) -> Counter[str]:
        """How many runs were told that never ended."""
        return sum((scope.ledger.incomplete for scope in self.scopes.values()), Counter[str]())

    @property
    def ignored_contexts(self) -> Counter[str]:
        """How many trace contexts were not taken, by reason."""
        return sum((scope.ledger.ignored_contexts for scope in self.scopes.values()), Counter())

    @property
    def held_objects(self) -> Counter[tuple[str, str]]:
        """Count the objects that are held, by kind and state, and those that are done and still exist."""
        held = sum((scope.ledger.held() for scope in self.scopes.values()), Counter[tuple[str, str]]())
        for scope in self.scopes.values():
            for one in scope.reflectors:
                kind = one.feed.kind
                if kind in NECESSARY or kind is Kind.CUSTOM_RUN:
                    held[kind, "done"] += one.course.existing
        for kind in Kind:
            if (kind, "done") in held:
                held[kind, "done"] = max(0, held[kind, "done"] - held[kind, "watched"] - held[kind, "pending"])
        return held
