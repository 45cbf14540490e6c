"""Where is it remembered what was acknowledged? In a ConfigMap of our own: read before anything is judged, written while we lead.

Keeps: nobody's change is written over; what is written was acknowledged, or counted, so two who write only add to each other;
whatever else stands in the object's metadata stays. Without a ConfigMap, or without the right to it, all goes on, and a restart
repeats.
Must not know: what the marks stand for, and who leads.
Source: design 4, operations 2.5, 2.6.
"""

from collections.abc import Callable
from http import HTTPStatus

import msgspec

from tracer.clock import Clock
from tracer.delivery.checkpoint import NOTHING, Checkpoint, ElsewhereError, Texts, UnreadableError, read, write
from tracer.events import Event, Report, What, sentence
from tracer.kube.named import CHECKPOINT_NAME, Conflict, Found, Missing, NamedObject, Trouble

INTERVAL_S = (
    10.0  # so much may be repeated after a kill; the API server sees six small writes a minute, and none if nothing changed
)
TIMEOUT_S = 5.0
LAST_TIMEOUT_S = 3.0  # at a stop there is little time
PATIENCE_S = 30.0  # for the first reading while the API server fails: a repeat is better than a silent stop
LOOK_S = 300.0  # somebody may have emptied it, or made it anew
_PAUSE_S, _LEAST_S = 2.0, 0.1
_DONE = {"read": "read", "write": "written"}
_TRIES = 3  # of one writing, when somebody else writes too


class _ConfigMap(msgspec.Struct, rename={"binary_data": "binaryData"}):
    metadata: msgspec.Raw
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None


class _Written(_ConfigMap):
    api_version: str = msgspec.field(default="v1", name="apiVersion")
    kind: str = "ConfigMap"


class Checkpoints:
    """Reads and writes the ConfigMap."""

    def __init__(
        self,
        named: NamedObject,
        destination: str,
        clock: Clock,
        recall: Callable[[Checkpoint, bool], None],
        current: Callable[[], Checkpoint],
        report: Report = lambda _: None,
    ) -> None:
        """Prepare. `current` gives what is to be remembered of what the destination has.

        `recall` is given what is read, and whether it is a first start, where nothing can be remembered.
        """
        self.only_adds = False
        """Whether to let stand whatever others wrote, as somebody does who is not there to stay."""
        self.is_own = False
        """Whether what stands there is what we wrote last."""
        self.last_write_unix_s: float | None = None
        """When it was written last; None before it ever was."""
        self.trouble = "being read"
        """Why it is not known what was acknowledged before; empty once it is."""
        self.stands = NOTHING
        """What stands there, as it was last read or written."""
        self._named, self._clock, self._report = named, clock, report
        self._destination = destination
        self._recall, self._current = recall, current
        self._metadata: msgspec.Raw | None = None
        self._texts: Texts | None = None
        self._is_foreign = False
        self._failures: dict[str, str] = {}
        self._looked_s = self._tried_s = -INTERVAL_S

    async def run(self, leads: Callable[[], bool]) -> None:
        """Write what has changed, at most every ten seconds, or read while somebody else leads, until cancelled; first read."""
        await self.read_first()
        while True:
            await self._clock.sleep(_PAUSE_S)
            now_s = self._clock.now_s()
            if not leads():
                if now_s - self._looked_s >= INTERVAL_S:
                    await self.read()
            elif now_s - self._tried_s >= INTERVAL_S:  # so what changes first is written soon
                await self.write(must_look=now_s - self._looked_s >= LOOK_S)

    async def read_first(self) -> None:
        """Read until it is known what was acknowledged before, or the API server has failed for half a minute."""
        until_s = self._clock.now_s() + PATIENCE_S
        while not await self.read():
            if self._clock.now_s() >= until_s:
                self._take(NOTHING)
                return
            await self._clock.sleep(_PAUSE_S)

    async def read(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Read once; say whether it is known what was acknowledged before. That nothing is remembered is known, too."""
        self._looked_s = self._clock.now_s()
        answer = await self._named.read(timeout_s)
        match answer:
            case Found(body):
                self._understand(body)
            case Missing(status, why):
                self._metadata = self._texts = None
                self._fail("read", What.CHECKPOINT_MISSING, f"Nothing that was sent is remembered over a restart: {why}")
                self._take(NOTHING, is_first=status == HTTPStatus.NOT_FOUND)
            case Trouble(_, why):
                self.trouble = why
                self._fail("read", What.CHECKPOINT_FAILED, f"The checkpoint cannot be read: {why}")
                return False
        return True

    async def write(self, timeout_s: float = TIMEOUT_S, *, must_look: bool = False) -> bool:
        """Write what is to be remembered if that has changed, all in so much time; say whether it stands there now.

        Who must look does not trust that it stands as it was last seen.
        """
        until_s = self._clock.now_s() + timeout_s
        for _ in range(_TRIES):
            if self._metadata is None or must_look:
                must_look = False
                if not await self.read(self._left_s(until_s)) or self._metadata is None:
                    self._tried_s = self._clock.now_s()
                    return False
            if self.only_adds and self._is_foreign:
                return False
            current = self.stands | self._current() if self.only_adds else self._current()
            texts = write(current, self._destination)
            if texts == self._texts:
                return True
            self._tried_s = self._clock.now_s()
            match await self._named.replace(self._encode(texts), self._left_s(until_s)):
                case Found(body):
                    self._texts, self._metadata = texts, msgspec.json.decode(body, type=_ConfigMap).metadata
                    self.last_write_unix_s = self._clock.unix_ns() / 1e9
                    self.stands, self.is_own = current, True
                    self._recover("write")
                    return True
                case Conflict():
                    self._metadata = None
                case Missing(_, why) | Trouble(_, why):
                    self._metadata = None  # it may have been written all the same
                    self._fail("write", What.CHECKPOINT_FAILED, f"The checkpoint cannot be written: {why}")
                    return False
        self._fail("write", What.CHECKPOINT_FAILED, "The checkpoint cannot be written: others write it all the time")
        return False

    def _left_s(self, until_s: float) -> float:
        return max(_LEAST_S, until_s - self._clock.now_s())

    def _encode(self, texts: Texts) -> bytes:
        metadata = self._metadata if self._metadata is not None else msgspec.Raw(b"{}")
        return msgspec.json.encode(_Written(metadata, dict(texts.data), dict(texts.binary)))

    def _understand(self, body: bytes) -> None:
        """Read what stands in the ConfigMap; what is no checkpoint of this destination counts as absent, and is written over."""
        try:
            found = msgspec.json.decode(body, type=_ConfigMap)
            texts = Texts(found.data or {}, found.binary_data or {})
            self._metadata = msgspec.Raw(bytes(found.metadata))
            if texts == self._texts and not self.trouble:
                return  # nothing that is not known
            checkpoint = read(texts, self._destination)
        except (msgspec.MsgspecError, RecursionError):
            self._cannot_use("the API server sent no ConfigMap")
        except UnreadableError as error:
            self._texts = None
            self._cannot_use(str(error), error.for_others if isinstance(error, ElsewhereError) else None)
        else:
            self._texts, self._is_foreign = texts, False
            self._recover("read")
            self._take(checkpoint or NOTHING, is_first=checkpoint is None)

    def _cannot_use(self, why: str, for_others: Checkpoint | None = None) -> None:
        self._is_foreign = True
        self._fail("read", What.CHECKPOINT_UNREADABLE, f"The checkpoint {CHECKPOINT_NAME} counts as absent: {why}")
        self._take(for_others or NOTHING)

    def _take(self, checkpoint: Checkpoint, *, is_first: bool = False) -> None:
        self.trouble, self.stands, self.is_own = "", checkpoint, False
        self._recall(checkpoint, is_first)

    def _fail(self, doing: str, what: What, why: str) -> None:
        """Tell it once, until it is otherwise."""
        if why != self._failures.get(doing):
            self._failures[doing] = why
            self._report(Event(what, sentence(why)))

    def _recover(self, doing: str) -> None:
        if self._failures.pop(doing, None) is not None:
            self._report(Event(What.CHECKPOINT_RECOVERED, f"The checkpoint can be {_DONE[doing]} again."))
