"""Where is it remembered what was acknowledged? In a ConfigMap of our own: read before anything is judged, written while we lead.

Keeps: nobody's change is written over; what is written was acknowledged, so two who write only add to each other; whatever else
stands in the object's metadata stays. Without a ConfigMap, or without the right to it, all goes on, and a restart repeats.
Must not know: what the marks stand for, and who leads.
Source: design 4, operations 2.5, 2.6.
"""

from collections.abc import Callable

import msgspec

from tracer.clock import Clock
from tracer.delivery.checkpoint import Checkpoint, Texts, UnreadableError, read, write
from tracer.events import Event, Report, What, sentence
from tracer.kube.named import CHECKPOINT_NAME, Conflict, Found, Missing, NamedObject, Trouble

INTERVAL_S = (
    10.0  # so much may be repeated after a kill; the API server sees six small writes a minute, and none if nothing changed
)
TIMEOUT_S = 5.0
LAST_TIMEOUT_S = 3.0  # at a stop there is little time
PATIENCE_S = 30.0  # for the first reading while the API server fails: a repeat is better than a silent stop
_PAUSE_S = 2.0
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
        clock: Clock,
        recall: Callable[[Checkpoint | None], None],
        current: Callable[[], Checkpoint],
        report: Report = lambda _: None,
    ) -> None:
        """Prepare. `recall` is given what is read, or None if nothing is remembered; `current` gives what is to be remembered."""
        self.last_write_unix_s: float | None = None
        """When it was written last; None before it ever was."""
        self.trouble = "being read"
        """Why it is not known what was acknowledged before; empty once it is."""
        self._named, self._clock, self._report = named, clock, report
        self._recall, self._current = recall, current
        self._metadata: msgspec.Raw | None = None
        self._texts = Texts({}, {})
        self._failure = ""

    async def run(self, leads: Callable[[], bool]) -> None:
        """Every ten seconds write, or read while somebody else leads, until cancelled; first read."""
        await self.read_first()
        while True:
            await self._clock.sleep(INTERVAL_S)
            if leads():
                await self.write()
            else:
                await self.read()

    async def read_first(self) -> None:
        """Read until it is known what was acknowledged before, or the API server has failed for half a minute."""
        until_s = self._clock.now_s() + PATIENCE_S
        while not await self.read():
            if self._clock.now_s() >= until_s:
                self._take(None)
                return
            await self._clock.sleep(_PAUSE_S)

    async def read(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Read once; say whether it is known what was acknowledged before. That nothing is remembered is known, too."""
        answer = await self._named.read(timeout_s)
        match answer:
            case Found(body):
                self._take(self._understand(body))
            case Missing(_, why):
                self._metadata = None
                self._fail(What.CHECKPOINT_MISSING, f"Nothing that was sent is remembered over a restart: {why}")
                self._take(None)
            case Trouble(_, why):
                self.trouble = why
                self._fail(What.CHECKPOINT_FAILED, f"The checkpoint cannot be read: {why}")
                return False
        return True

    async def write(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Write what is to be remembered, if that has changed; say whether it stands there now."""
        for _ in range(_TRIES):
            if self._metadata is None and not (await self.read(timeout_s) and self._metadata is not None):
                return False
            texts = write(self._current())
            if texts == self._texts:
                return True
            match await self._named.replace(self._encode(texts), timeout_s):
                case Found(body):
                    self._texts, self._metadata = texts, msgspec.json.decode(body, type=_ConfigMap).metadata
                    self.last_write_unix_s = self._clock.unix_ns() / 1e9
                    self._recover()
                    return True
                case Conflict():
                    self._metadata = None
                case Missing(_, why) | Trouble(_, why):
                    self._metadata = None  # it may have been written all the same
                    self._fail(What.CHECKPOINT_FAILED, f"The checkpoint cannot be written: {why}")
                    return False
        self._fail(What.CHECKPOINT_FAILED, "The checkpoint cannot be written: others write it all the time")
        return False

    def _encode(self, texts: Texts) -> bytes:
        metadata = self._metadata if self._metadata is not None else msgspec.Raw(b"{}")
        return msgspec.json.encode(_Written(metadata, dict(texts.data), dict(texts.binary)))

    def _understand(self, body: bytes) -> Checkpoint | None:
        """Read what stands in the ConfigMap; what is no checkpoint counts as absent, and is written over."""
        try:
            found = msgspec.json.decode(body, type=_ConfigMap)
        except (msgspec.MsgspecError, RecursionError):
            self._fail(What.CHECKPOINT_UNREADABLE, "The checkpoint counts as absent: the API server sent no ConfigMap")
            return None
        self._metadata = msgspec.Raw(bytes(found.metadata))
        self._texts = Texts(found.data or {}, found.binary_data or {})
        try:
            checkpoint = read(self._texts)
        except UnreadableError as error:
            self._fail(What.CHECKPOINT_UNREADABLE, f"The checkpoint {CHECKPOINT_NAME} counts as absent: {error}")
            return None
        self._recover()
        return checkpoint

    def _take(self, checkpoint: Checkpoint | None) -> None:
        self.trouble = ""
        self._recall(checkpoint)

    def _fail(self, what: What, why: str) -> None:
        """Tell it once, until it is otherwise."""
        if why != self._failure:
            self._failure = why
            self._report(Event(what, sentence(why)))

    def _recover(self) -> None:
        if self._failure:
            self._failure = ""
            self._report(Event(What.CHECKPOINT_RECOVERED, "The checkpoint can be read and written again."))
