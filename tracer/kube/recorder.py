"""How does a recording come to be? What watches tell goes into a file, line by line, as it comes.

Keeps: a recording that exists is never touched; what was told is in the file within a second; ended as it should be, the last
line is whole.
Must not know: what the objects mean, who asks for an end.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tracer.clock import Clock
from tracer.errors import InputError
from tracer.kube.recording import WATCH_FILE
from tracer.kube.watches import Watches
from tracer.kube.wire import Told, TooLong
from tracer.kube.writing import Writer
from tracer.tekton.decode import Malformed
from tracer.tekton.observation import Gone, Seen, Vanished

FLUSH_EVERY_S = 1.0
_BUFFER_BYTES = 1 << 20  # at most so much is written at a time: a millisecond


class Recorder:
    """Writes a folder's `watch.jsonl`. Open it with `with`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Prepare; nothing is written yet."""
        self.path = folder / WATCH_FILE
        self.events = self.size_bytes = 0
        """What was written."""
        self.malformed: Counter[tuple[str, str, str]] = Counter()
        """How many objects of a kind failed at a path, and why."""
        self.clock = clock
        self._began_s = clock.now_s()
        self._writer = Writer()
        self._file: BinaryIO | None = None
        self._failure: OSError | None = None
        self._has_begun = False

    def __str__(self) -> str:
        """Say for people how much was written."""
        took_s = self.clock.now_s() - self._began_s
        return f"{self.events} events of {self._writer.objects} objects, {self.size_bytes} bytes in {took_s:.1f} s"

    def __enter__(self) -> Self:
        """Make the folder and the file. Raises InputError if there is a recording already, or none can be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb", buffering=_BUFFER_BYTES)
        except (OSError, ValueError) as error:
            if isinstance(error, FileExistsError) and self.path.parent.is_dir():
                raise InputError(f"{self.path} exists already; give another folder, or move it away.") from error
            raise self._cannot_write(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Write what is left; what failed before everything was listed leaves no file. Raises InputError if it cannot."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as full:
                raise self._cannot_write(full) from full
            finally:
                if kind is not None and not self._has_begun:
                    self.path.unlink(missing_ok=True)

    def tell(self, told: Told) -> None:
        """Write what a watch says, with the present time."""
        match told:
            case Seen() | Gone() | Vanished():
                self._write(self._writer.line(told, self.clock.unix_ns()))
            case Malformed(malformed, where, why):
                self.malformed[malformed, where, why] += 1
            case TooLong(size_bytes):
                self.malformed["watch event", "$", f"Longer than any object can be: {size_bytes} bytes"] += 1
            case _:
                pass

    def flush(self) -> None:
        """Let others see what was written. Raises InputError if it, or something before it, could not be written."""
        try:
            if self._failure is not None:
                raise self._failure
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    async def run(self, watches: Watches, duration_s: float, begin: Callable[[], None]) -> None:
        """Record what the watches tell until cancelled, or for so long; begin is called when all that there is was written.

        Raises what `Watches.listed` does, and InputError if the file cannot be written.
        """
        async with watches.running():
            await watches.listed(self.flush)
            self._has_begun = True
            begin()
            until_s = self.clock.now_s() + duration_s
            while (left_s := until_s - self.clock.now_s()) > 0:
                await self.clock.sleep(min(left_s, FLUSH_EVERY_S))
                self.flush()

    def _write(self, line: bytes) -> None:
        if not line or self._file is None or self._failure is not None:
            return
        try:
            self._file.write(line)
        except OSError as error:
            self._failure = error
        else:
            self.events += 1
            self.size_bytes += len(line)

    def _cannot_write(self, error: Exception) -> InputError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return InputError(f"{self.path} cannot be written: {why}.")
