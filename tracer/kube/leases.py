"""The task that leads while it holds the Lease, and stands by otherwise.

Keeps: who led is cancelled before its time is over, also if the API server hangs or this process stood still; without a Lease, or
the right to it, it leads anyway and says so, since a repeat is better than a silent stop.
Must not know: what leading means.
Source: operations 2.11.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine

from tracer.clock import Clock
from tracer.events import Event, Report, What, sentence
from tracer.kube.election import (
    RENEW_DEADLINE_S,
    RETRY_S,
    Lease,
    Sight,
    StandBy,
    decide,
    given_back,
    held_by,
    leads_until_s,
    read_lease,
    see,
)
from tracer.kube.named import Conflict, Found, Missing, NamedObject, Trouble

ENDING_S = 1.0  # of what is left to the deadline, for who leads to end
WITHOUT_LEASE_S = 15.0  # somebody may be creating it just now
GIVE_BACK_S = 2.0
_REQUEST_S = RENEW_DEADLINE_S / 2  # one that hangs leaves time for another
_LEAST_REQUEST_S = 0.1
_NEVER_S = -math.inf
_JITTER = (0.9, 1.1)


class Leadership:
    """Takes part in the election."""

    def __init__(self, lease: NamedObject, identity: str, clock: Clock, report: Report = lambda _: None) -> None:
        """Prepare. `identity` is that of nobody else who may be running yet."""
        self.leads = False
        """Whether who leads is running."""
        self.holder = ""
        """Who leads, as it was last seen; empty for nobody, and if nobody knows."""
        self.is_ending = False
        """Whether we were asked to end: who begins in our place learns so from the Lease that others know more."""
        self._object, self._identity, self._clock, self._report = lease, identity, clock, report
        self._sight: Sight | None = None
        self._current: Lease | None = None
        """What our last request left there, unless somebody else has replaced it since."""
        self._until_s = _NEVER_S
        """Until when it leads; infinite without a Lease."""
        self._news = asyncio.Event()
        self._reason = ""
        self._fault = ""

    @property
    def is_holder(self) -> bool:
        """Whether nobody else held the Lease when it was last seen, though our time may be over."""
        return self.holder in {"", self._identity}

    async def run(self, lead: Callable[[], Coroutine[None, None, None]]) -> None:
        """Try to get and to keep the Lease until cancelled; `lead` runs whenever it is held, and is cancelled when it is not.

        Once cancelled, it has a second to end.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._try_on(), name="lease")
            await self._terms(lead)

    async def release(self) -> None:
        """Give the Lease back if it is ours, within 2 s, so that another one need not wait. `run` must have ended."""
        if not self._clock.now_s() < self._until_s < math.inf:
            return
        self._until_s, until_s = _NEVER_S, self._clock.now_s() + GIVE_BACK_S
        lease = self._current or await self._read(GIVE_BACK_S / 2)  # what was cancelled may have been written
        if isinstance(lease, Lease) and lease.holder == self._identity:
            body = given_back(lease, self._clock.unix_ns())
            await self._object.replace(body, max(_LEAST_REQUEST_S, until_s - self._clock.now_s()))

    # ---------------------------------------------------------------- leading

    @property
    def _left_s(self) -> float:
        return self._until_s - ENDING_S - self._clock.now_s()

    async def _terms(self, lead: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            while self._left_s <= 0:
                self._news.clear()
                await self._news.wait()
            self.leads = True
            self._report(Event(What.LEADER_ACQUIRED, "This replica leads from now on.", {"identity": self._identity}))
            try:
                await self._term(lead)
            finally:
                self.leads = False
            is_foreign = self.holder not in {"", self._identity}
            why = f"{self.holder} does" if is_foreign else "the Lease was not renewed in time"
            self._report(Event(What.LEADER_LOST, f"This replica leads no more: {why}.", {"identity": self._identity}))

    async def _term(self, lead: Callable[[], Coroutine[None, None, None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            leading = tasks.create_task(lead(), name="lead")
            try:
                while (left_s := self._left_s) > 0:
                    self._news.clear()
                    await self._clock.wait(self._news, left_s)
            finally:
                leading.cancel()

    # ---------------------------------------------------------------- the Lease

    async def _try_on(self) -> None:
        while True:
            await self._clock.sleep(await self._try())

    async def _try(self) -> float:
        """Take or keep the Lease if that may be; say how long to wait then."""
        retry_s = RETRY_S * self._clock.between(*_JITTER)
        lease = self._current or await self._read(self._request_s)
        if not isinstance(lease, Lease):
            return self._failed(lease, retry_s)
        now_s = self._clock.now_s()
        self._sight = see(self._sight, lease, now_s)
        self._saw(lease)
        match decide(self._sight, self._identity, now_s):
            case StandBy(until_s):
                self._lead_until(_NEVER_S)
                self._succeeded()
                return min(retry_s, until_s - now_s)
        self._current = None
        body = held_by(lease, self._identity, self._clock.unix_ns(), is_ending=self.is_ending)
        answer = await self._object.replace(body, self._request_s)
        if isinstance(answer, Conflict):
            return retry_s
        taken = _lease(answer)
        if not isinstance(taken, Lease):
            return self._failed(taken, retry_s)
        self._current, self._sight = taken, see(self._sight, taken, self._clock.now_s())
        self._saw(taken)
        self._lead_until(leads_until_s(now_s))
        self._succeeded()
        return retry_s

    async def _read(self, timeout_s: float) -> Lease | Missing | Trouble:
        return _lease(await self._object.read(timeout_s))

    @property
    def _request_s(self) -> float:
        """How long a request may take: less than is left."""
        left_s = self._left_s
        return min(_REQUEST_S, max(_LEAST_REQUEST_S, left_s)) if left_s > 0 else _REQUEST_S

    def _lead_until(self, until_s: float) -> None:
        self._until_s = until_s
        self._news.set()

    # ---------------------------------------------------------------- what is said of it

    def _saw(self, lease: Lease) -> None:
        """Say what has changed."""
        if lease.fault != self._fault:
            self._fault = lease.fault
            if lease.fault:
                why = f"The Lease makes no sense: {lease.fault}; it is taken for held, and written over if it stays so."
                self._report(Event(What.LEASE_FAILED, why, {"reason": "nonsense"}))
        if lease.holder != self.holder:
            self.holder = lease.holder
            if lease.holder not in {"", self._identity}:
                self._report(
                    Event(What.LEADER_STANDBY, f"{lease.holder} leads; this replica stands by.", {"holder": lease.holder})
                )

    def _succeeded(self) -> None:
        if self._reason:
            self._reason = ""
            self._report(Event(What.LEASE_RECOVERED, "The Lease can be used again."))

    def _failed(self, answer: Missing | Trouble, retry_s: float) -> float:
        """Take a failure in; say once what it means, and how long to wait."""
        reason = f"http_{answer.status}" if isinstance(answer, Missing) else answer.reason
        is_new, self._reason = reason != self._reason, reason
        if isinstance(answer, Missing):
            self.holder = ""
            self._lead_until(math.inf)
            if is_new:
                why = f"This replica leads without a Lease, as others may: {answer.why}"
                self._report(Event(What.LEASE_MISSING, sentence(why), {"reason": reason}))
            return WITHOUT_LEASE_S
        if is_new:
            self._report(Event(What.LEASE_FAILED, sentence(answer.why), {"reason": reason}))
        return retry_s


def _lease(answer: Found | Missing | Trouble) -> Lease | Missing | Trouble:
    if not isinstance(answer, Found):
        return answer
    return read_lease(answer.body) or Trouble("decode", "The API server sent a Lease that cannot be read")
