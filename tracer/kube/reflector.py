"""The task that keeps one watch going: lists, watches, waits when it fails, lists again when it must.

Keeps: a stream that is silent for 70 s is opened anew, since a dead line looks the same; lists come one after another, so that
what was lost together does not come back as one great load; a stream that ends at once is a failure too.
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
from tracer.kube.wire import Course, Expired, Failed, Lines, Request, Told, TooLong, Verb
from tracer.tekton.decode import Malformed
from tracer.transport import Answer, NoAnswer, Reason, Transport, retry_after_s

IDLE_S = 70.0  # bookmarks come about every minute where much happens
WATCH_S = (300, 600)  # at random, so that watches do not end together
HEALTHY_S = 120.0  # a watch that lived so long begins with a short wait again
LONGEST_WAIT_S = 300.0
_REASONS = {401: "unauthorized", 403: "forbidden", 404: "not_served", 429: "throttled"}
MOST_PAGE_BYTES = 1 << 30  # 500 objects of the largest size that there is


class Api(Protocol):
    """Where the API server is, and as whom it is asked."""

    @property
    def url(self) -> str:
        """Its address, without a path."""

    def headers(self, *, is_refused: bool) -> dict[str, str]:
        """Say who we are; after a refusal as it is now."""


class Reflector:
    """Keeps one watch going."""

    def __init__(
        self, course: Course, api: Api, transport: Transport, clock: Clock, turn: asyncio.Lock, tell: Callable[[Told], None]
    ) -> None:
        """Prepare. `turn` is shared by all who list; `tell` is told everything that was read, in order."""
        self.course = course
        self.trouble = ""
        """Why it is not watching; empty while it is."""
        self.errors: Counter[str] = Counter()
        """By a reason of few words."""
        self.lists = 0
        """How many lists were begun."""
        self.last_read_s = clock.now_s()
        """When something was read, of whatever type."""
        self._api = api
        self._transport = transport
        self._clock = clock
        self._turn = turn
        self._tell = tell
        self._is_refused = False

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            began_s = self._clock.now_s()
            at_least_s = await self._once()
            if self._clock.now_s() - began_s >= HEALTHY_S:
                failures = 0
            if at_least_s is not None:
                failures += 1
                await self._clock.sleep(max(at_least_s, watch_jitter_s(failures)))

    async def _once(self) -> float | None:
        """Make the next request. None if it did what it should; else how long to wait at least."""
        async with AsyncExitStack() as held:
            if self.course.is_listing:
                await held.enter_async_context(self._turn)
            request = self.course.request(self._clock.unix_ns(), int(self._clock.between(*WATCH_S)))
            self.lists += self.course.is_listing and "continue" not in request.query
            return await self._ask(request, held)

    async def _ask(self, request: Request, held: AsyncExitStack) -> float | None:
        url = f"{self._api.url}{request.path}?{urlencode(request.query)}"
        headers = self._api.headers(is_refused=self._is_refused)
        lines, body, was_listing, has_read = Lines(), bytearray(), self.course.is_listing, False
        async with aclosing(self._transport.stream(url, headers, IDLE_S)) as answers:
            async for one in answers:
                self.last_read_s = self._clock.now_s()
                match one:
                    case Answer():
                        return self._refused(one)
                    case NoAnswer():
                        self.course.broke_off()
                        if has_read and one.reason is Reason.SLOW:
                            self.errors["idle"] += 1  # a quiet watch, or a dead line: nobody can tell, and a new one costs little
                            return None
                        return self._fail(one.reason, f"{self._api.url} {one.why}")
                    case _ if request.verb is Verb.LIST:
                        body += one
                        if len(body) > MOST_PAGE_BYTES:
                            self.course.start_over()
                            return self._fail("too_large", f"{url} answered with more than {MOST_PAGE_BYTES >> 20} MiB")
                    case _:
                        has_read = True
                        for line in lines.feed(one):
                            if (at_least_s := self._line(line)) is not None:
                                return at_least_s
                        if was_listing and not self.course.is_listing:
                            was_listing = False
                            await held.aclose()  # others may list now
        return self._ended(request, bytes(body), has_read=has_read)

    def _line(self, line: bytes | TooLong) -> float | None:
        """Take a line in; a number says that the stream is of no use any more, and how long to wait at least."""
        for told in (line,) if isinstance(line, TooLong) else self.course.line(line):
            self._tell(told)
            match told:
                case Expired():
                    self.errors["gone"] += 1
                    return 0.0
                case Failed(status, why):
                    return self._fail(f"http_{status}", f"{self._api.url} ended the watch with {status}: {why}")
                case Malformed("watch event"):
                    return self._fail("decode", f"{self._api.url} sent a watch event that cannot be read")
        return None

    def _refused(self, answer: Answer) -> float | None:
        """Take an HTTP error in."""
        status, was_streaming = answer.status, self.course.can_stream_lists
        self._is_refused = status == HTTPStatus.UNAUTHORIZED
        if (told := self.course.refused(status)) is not None:
            self.errors["gone"] += 1
            self._tell(told)
            return 0.0
        if was_streaming and not self.course.can_stream_lists:
            return 0.0
        self._fail(_REASONS.get(status, f"http_{status}"), f"{self._api.url} answered {status} for {self.course.feed.path}")
        return min(LONGEST_WAIT_S, retry_after_s(answer.headers) or 0.0)

    def _ended(self, request: Request, body: bytes, *, has_read: bool) -> float | None:
        """Take the end of an answer in."""
        if request.verb is Verb.LIST:
            for told in self.course.page(body):
                self._tell(told)
                if isinstance(told, Malformed) and self.course.is_listing and told.path == "$":
                    return self._fail("decode", f"{self._api.url} sent a list that cannot be read")
        else:
            self.course.broke_off()
            if not has_read:
                return self._fail("empty", f"{self._api.url} ended the watch at once")
        self.trouble, self._is_refused = "", False
        return None

    def _fail(self, reason: str, why: str) -> float:
        self.errors[reason] += 1
        self.trouble = why
        return 0.0
