"""The task that keeps one watch going: lists, watches, waits when it fails, lists again when it must.

Keeps: a stream that is silent for 70 s, of Pods for 25 s, is opened anew, since a dead line looks the same; after a break, and
every 5 min of silence, the server is asked whether its version went back, for then a watch would be silent until it is there
again; lists come one after another, so that what was lost together does not come back as one great load; but who hears from a
server that was away tells the others, so that none of them waits on; a stream that ends at once is a failure too.
Must not know: what the objects mean, and who observes them.
Source: operations 2.7, 3.2; client-go tools/cache/reflector.go.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlencode

from tracer.backoff import watch_jitter_s
from tracer.clock import Clock
from tracer.errors import InputError
from tracer.events import Event, Report, What, sentence
from tracer.kube.wire import MOST_LINE_BYTES, Course, Expired, Failed, Feed, Lines, Request, Told, TooLong, Verb, WentBack, feeds
from tracer.tekton.decode import Malformed, Schema
from tracer.tekton.names import RUN_KINDS, Kind
from tracer.tekton.observation import Synced
from tracer.transport import Answer, NoAnswer, Reason, Transport, retry_after_s

IDLE_S = 70.0  # bookmarks come about every minute where much happens
POD_IDLE_S = 25.0  # less than any Pod is waited for: a dead line must not pass for a Pod that has nothing more to say
DOUBT_EVERY_S = 300.0  # a silent watch may be one from a version that the server has yet to reach
WATCH_S = (300, 600)  # at random, so that watches do not end together
HEALTHY_S = 120.0  # without a failure; then the next wait is a short one again
SOON_S = 0.5  # at random: so that not all ask at the same moment
BRIEF_S = 1.0  # a watch that ends sooner is not opened again at once, whatever it said
LONGEST_WAIT_S = 300.0
NOT_SERVED_WAIT_S = 15.0  # somebody may be installing Tekton just now
MOST_PAGE_BYTES = 1 << 30  # 500 objects of the largest size that there is
SLICE_ITEMS = 32  # of a page, before others have the loop again: a few milliseconds
SHORT_GAP_S, CATCH_UP_S = 1.0, 2.0  # what was missed in a longer gap arrives within moments of the new stream
NECESSARY = frozenset({Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.POD})
"""What every run is judged by; CustomRuns are not served everywhere, and Events only add to the picture."""
_REASONS = {401: "unauthorized", 403: "forbidden", 404: "not_served", 429: "throttled"}
UNKNOWN = "does not know who asks (401): renew the token, or log in again"
_AWAY = frozenset(Reason)
_FINAL_REASONS = frozenset({"forbidden", "not_served"})
_OF_ALL = frozenset({*Reason, "credentials", "unauthorized", "restored"})
_TRIES_OF_OTHERS = 3


class Api(Protocol):
    """Where the API server is, and as whom it is asked."""

    @property
    def url(self) -> str:
        """Its address, without a path."""

    def headers(self, *, is_refused: bool) -> dict[str, str]:
        """Say who we are; after a refusal as it is now. Raises InputError if that cannot be read."""


class Fellows:
    """What the watches of one API server have in common."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self.turn = asyncio.Lock()
        """Held by whoever lists."""
        self.is_back = asyncio.Event()
        """Set once when the server is heard from that was away; there is another one for the next time."""

    def tell_that_it_is_back(self) -> None:
        """Let nobody wait any longer for a server that was away."""
        self.is_back.set()
        self.is_back = asyncio.Event()


class Reflector:
    """Keeps one watch going."""

    def __init__(
        self,
        course: Course,
        api: Api,
        transport: Transport,
        clock: Clock,
        fellows: Fellows,
        tell: Callable[[Told], None],
        report: Report = lambda _: None,
    ) -> None:
        """Prepare. `fellows` are all who ask the same server; `tell` is told everything that was read, in order."""
        self.course = course
        self.trouble = ""
        """Why it is not watching; empty while it is."""
        self.reason = ""
        """The same in a word."""
        self.errors: Counter[str] = Counter()
        """By such words."""
        self.lists = 0
        """How many lists were begun."""
        self.relists = 0
        """How many of them after everything had been listed once."""
        self.skipped: Counter[str] = Counter()
        """Readings of objects that were not understood, by why: malformed, too_large."""
        self.read_bytes = 0
        self.last_read_unix_s = clock.unix_ns() / 1e9
        """When an answer began or bytes came, by the time of day; at first when it was made."""
        self._api = api
        self._transport = transport
        self._clock = clock
        self._fellows = fellows
        self._tell = tell
        self._report = report
        self.rests = False
        """Whether it waits before it asks again."""
        self._is_refused = False
        self._failures = 0
        self._since_s: float | None = None
        self._lost_s = self._sure_s = clock.now_s()

    @property
    def feed(self) -> Feed:
        """What is watched."""
        return self.course.feed

    @property
    def is_current(self) -> bool:
        """Whether all that happened until now was told, but for what is on its way."""
        since_s = self._since_s
        return since_s is not None and (since_s - self._lost_s < SHORT_GAP_S or self._clock.now_s() - since_s >= CATCH_UP_S)

    @property
    def is_awaited(self) -> bool:
        """Whether nobody should judge yet: a list of it is still to come, which will say more than is known."""
        if self.course.is_synced:
            return False
        return self.feed.kind in NECESSARY or not (self.reason in _FINAL_REASONS or self._failures >= _TRIES_OF_OTHERS)

    def _idle_s(self) -> float:
        """Say how long nothing may come now; a long list may be long in coming, for nobody judges while it does."""
        is_watched_closely = self.feed.kind is Kind.POD and not self.course.is_listing
        return min(IDLE_S, POD_IDLE_S) if is_watched_closely else IDLE_S

    async def run(self) -> None:
        """Watch until cancelled."""
        well_since_s = self._clock.now_s()
        while True:
            at_least_s = await self._once()
            self._lose()
            if self._clock.now_s() - well_since_s >= HEALTHY_S:
                self._failures = 0
            if at_least_s is not None:
                self._failures += 1
                self.rests = True
                await self._rest(at_least_s)
                self.rests = False
                well_since_s = self._clock.now_s()

    async def _rest(self, at_least_s: float) -> None:
        """Wait before it is tried again; for a server that is away, no longer than until somebody has heard from it."""
        wait_s, is_back = max(at_least_s, watch_jitter_s(self._failures)), self._fellows.is_back
        if self.reason not in _AWAY:
            await self._clock.sleep(wait_s)
            return
        await self._clock.wait(is_back, wait_s)
        if is_back.is_set():
            await self._clock.sleep(self._clock.between(0, SOON_S))

    def _heard(self) -> None:
        """Note that the server is there: what it says counts from now on, and not how long it was away."""
        if self.reason in _AWAY:
            self._failures = 0
            self._fellows.tell_that_it_is_back()

    async def _once(self) -> float | None:
        """Make the next request. None if it did what it should; else how long to wait at least."""
        async with AsyncExitStack() as held:
            if self.course.is_listing:
                await held.enter_async_context(self._fellows.turn)
            request = self.course.request(self._clock.unix_ns(), int(self._clock.between(*WATCH_S)))
            if self.course.is_listing and "continue" not in request.query:
                self.lists += 1
                self.relists += self.course.is_synced
            try:
                headers = self._api.headers(is_refused=self._is_refused)
            except InputError as error:
                return self._fail("credentials", str(error))
            return await self._ask(request, headers, held)

    async def _ask(self, request: Request, headers: dict[str, str], held: AsyncExitStack) -> float | None:
        url, began_s = f"{self._api.url}{request.path}?{urlencode(request.query)}", self._clock.now_s()
        lines, body, has_read = Lines(), bytearray(), False
        async with aclosing(self._transport.stream(url, headers, self._idle_s)) as answers:
            async for one in answers:
                match one:
                    case Answer():
                        self._heard()
                        return self._refused(one)
                    case NoAnswer():
                        # Of a quiet kind nothing comes, not even a bookmark.
                        return self._broke_off(one, is_well=has_read or self._since_s is not None)
                    case b"":
                        self._heard()
                        self._agreed(request)
                        continue
                self.read_bytes += len(one)
                self.last_read_unix_s = self._clock.unix_ns() / 1e9
                has_read = has_read or request.verb is Verb.LIST or b"\n" in one  # half a line says nothing
                if request.verb is Verb.LIST:
                    body += one
                elif (at_least_s := self._lines(lines, one)) is not None:
                    return at_least_s
                elif not self.course.is_listing:
                    await held.aclose()  # others may list now
                if len(body) > MOST_PAGE_BYTES:
                    self.course.start_over()
                    return self._fail("too_large", f"{url} answered with more than {MOST_PAGE_BYTES >> 20} MiB")
        if request.verb is Verb.LIST:
            return await self._page(bytes(body))
        return self._ended(lines.rest, is_brief=self._clock.now_s() - began_s < BRIEF_S, has_read=has_read)

    def _broke_off(self, answer: NoAnswer, *, is_well: bool) -> float | None:
        """Take it in that nothing more comes."""
        self.course.broke_off()
        if answer.reason is not Reason.SLOW or self._clock.now_s() - self._sure_s >= DOUBT_EVERY_S:
            self.course.doubt()
        if is_well and answer.reason is Reason.SLOW:
            self.errors["idle"] += 1  # a quiet watch, or a dead line: nobody can tell, and a new one costs little
            return None
        return self._fail(answer.reason, f"{self._api.url} {answer.why}")

    def _lines(self, lines: Lines, chunk: bytes) -> float | None:
        """Take a piece of a watch in; a number says that the stream is of no use any more, and how long to wait at least."""
        for line in lines.feed(chunk):
            if (at_least_s := self._line(line)) is not None:
                return at_least_s
        return None

    def _line(self, line: bytes | TooLong) -> float | None:
        for told in self.course.line(line):
            self._pass_on(told)
            match told:
                case Expired():
                    self.errors["gone"] += 1
                    return 0.0
                case Failed(status, why):
                    return self._fail(f"http_{status}", f"{self._api.url} ended the watch with {status}: {why}")
                case Malformed("watch event"):
                    return self._fail("decode", f"{self._api.url} sent a watch event that cannot be read")
        return None

    def _pass_on(self, told: Told) -> None:
        match told:
            case Synced():
                self._answered()
                self._lost_s = self._clock.now_s()  # a list says how it is now: nothing is to be caught up with
            case Malformed(kind, path, why) if kind == self.feed.kind:
                self._skip("malformed", f"A {kind} cannot be read at {path}: {why.rstrip('.')}.")
            case TooLong():
                self._skip("too_large", f"A {self.feed.kind} is larger than {MOST_LINE_BYTES >> 20} MiB, and was not read.")
        self._tell(told)

    def _skip(self, reason: str, message: str) -> None:
        self.skipped[reason] += 1
        self._report(Event(What.OBJECT_SKIPPED, message, {**self._fields(), "reason": reason}))

    def _refused(self, answer: Answer) -> float | None:
        """Take an HTTP error in."""
        status, was_streaming = answer.status, self.course.can_stream_lists
        self._is_refused = status == HTTPStatus.UNAUTHORIZED
        if (told := self.course.refused(status)) is not None:
            return self._expired(told)
        if was_streaming and not self.course.can_stream_lists:
            return None
        reason = _REASONS.get(status, f"http_{status}")
        self._fail(reason, self._sentence(status))
        if reason == "not_served":
            self._failures = 0
            return NOT_SERVED_WAIT_S
        return min(LONGEST_WAIT_S, retry_after_s(answer.headers) or 0.0)

    def _expired(self, told: Expired) -> float:
        """Take it in that a list comes next."""
        self.errors["gone"] += 1
        self._tell(told)
        return 0.0

    def _sentence(self, status: int) -> str:
        """Say what an HTTP error means, and what to do."""
        kind, url = self.feed.kind.plural, self._api.url
        where = f" in namespace {self.feed.namespace}" if self.feed.namespace else ""
        match status:
            case HTTPStatus.UNAUTHORIZED:
                return f"{url} {UNKNOWN}"
            case HTTPStatus.FORBIDDEN:
                return f"{url} does not allow {kind} to be listed and watched{where} (403): grant list and watch on {kind}"
            case HTTPStatus.NOT_FOUND if self.feed.kind in RUN_KINDS:
                return f"{url} does not serve {self.feed.path.split('/')[2]} {kind} (404): install Tekton Pipelines 0.44 or newer"
            case _:
                return f"{url} answered {status} for {kind}{where}"

    async def _page(self, body: bytes) -> float | None:
        """Take a page of a list in."""
        for number, told in enumerate(self.course.page(body), start=1):
            self._pass_on(told)
            if isinstance(told, Malformed) and self.course.is_listing and told.path == "$":
                return self._fail("decode", f"{self._api.url} sent a list that cannot be read")
            if isinstance(told, WentBack):
                return self._fail(
                    "restored", f"{self._api.url} is at an older version than it was, as after a restore from a backup"
                )
            if not number % SLICE_ITEMS:
                await self._clock.sleep(0)
        self._is_refused, self._sure_s = False, self._clock.now_s()
        return None

    def _ended(self, rest: bytes, *, is_brief: bool, has_read: bool) -> float | None:
        """Take the end of a watch in."""
        was_listing = self.course.is_listing
        self.course.broke_off()
        if not has_read and (told := self.course.answered(rest)) is not None:
            return self._expired(told)
        if not has_read and (is_brief or was_listing or rest):
            return self._fail("empty", f"{self._api.url} ended the watch at once")
        if was_listing:
            return self._fail("lost", f"{self._api.url} ended a list in its middle")
        self._is_refused = False
        return 0.0 if is_brief else None

    def _agreed(self, request: Request) -> None:
        """Note that an answer begins; a page says nothing before it has ended."""
        self.last_read_unix_s = self._clock.unix_ns() / 1e9
        if request.verb is Verb.WATCH:
            self._answered()

    def _answered(self) -> None:
        """Note that the server does as it was asked."""
        had_trouble, self.trouble, self.reason = bool(self.trouble), "", ""
        if had_trouble:
            self._report(Event(What.WATCH_RECOVERED, f"{self.feed.kind.plural} are watched again.", self._fields()))
        self._is_refused = False
        if self._since_s is None and not self.course.is_listing:
            self._since_s = self._clock.now_s()

    def _lose(self) -> None:
        """Note that nothing comes any more."""
        if self._since_s is not None:
            self._since_s, self._lost_s = None, self._clock.now_s()

    def _fail(self, reason: str, why: str) -> float:
        self._lose()
        self.errors[reason] += 1
        self.trouble, self.reason = why, reason
        about = {} if reason in _OF_ALL else self._fields()  # what all watches meet alike is said once
        self._report(Event(What.WATCH_FAILED, sentence(why), {**about, "reason": reason}))
        return 0.0

    def _fields(self) -> dict[str, str]:
        namespace = {"namespace": self.feed.namespace} if self.feed.namespace else {}
        return {"kind": self.feed.kind, **namespace, **({"events": self.feed.reason} if self.feed.reason else {})}


def reflectors_of(
    namespace: str,
    schema: Schema,
    api: Api,
    transport: Transport,
    clock: Clock,
    fellows: Fellows,
    tell: Callable[[Told], None],
    report: Report = lambda _: None,
) -> list[Reflector]:
    """Prepare all the watches of a namespace, or of all of them if it is empty."""
    return [Reflector(Course(feed, schema), api, transport, clock, fellows, tell, report) for feed in feeds(namespace)]
