"""One `tracer run` as a process: what it says, what it counts, how much memory it has."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.kit import HERE, Json
from tests.soak.backend import SENDER_HEADER
from tracer.clock import Clock
from tracer.health import families

_PATIENCE_S = 60.0
_POLL_S = 0.05
_MOST_SAID = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """How a replica was at a moment, by its own metrics."""

    at_s: float
    replica: str
    rss_mib: float
    leads: bool
    acknowledged: int
    rejected: int
    unfinished: int
    """Objects of which something is still to be told or acknowledged."""
    oldest_age_s: float
    last_acknowledged_unix_s: float


class Replica:
    """The process."""

    def __init__(self, number: int, clock: Clock) -> None:
        """Prepare."""
        self.name = f"replica-{number}"
        self.synced_s = float("inf")
        """When it had listed everything."""
        self.lost: Counter[str] = Counter()
        """Spans that it says are lost, by reason."""
        self.acknowledged: int | None = None
        """How many spans it says at its end that the backend took; None if it never came to say so."""
        self.wrong: list[str] = []
        """What it said that it should not."""
        self.events: Counter[str] = Counter()
        """How often it said what."""
        self.last: Sample | None = None
        self._clock = clock
        self._port = _free_port()

    async def start(self, folder: Path, kubeconfig: Path, endpoint: str, *, has_election: bool) -> None:
        """Start it."""
        headers = folder / f"{self.name}.headers"
        headers.write_text(f"{SENDER_HEADER}: {self.name}\n")
        flags = {
            "--kubeconfig": kubeconfig,
            "--otlp-endpoint": endpoint,
            "--otlp-headers-file": headers,
            "--listen": f"127.0.0.1:{self._port}",
            "--leader-enabled": str(has_election).lower(),
        }
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tracer", "run", *(str(part) for flag in flags.items() for part in flag)),
            env={"PATH": os.defpath, "PYTHONPATH": str(HERE.parent), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

    async def read(self) -> None:
        """Read what it says, until it ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            if not line.startswith(b"{"):
                self._note_wrong(line.decode().rstrip())
                continue
            said = json.loads(line)
            self.events[said["event"]] += 1
            self._hear(said)

    def _hear(self, said: Json) -> None:
        match said["event"]:
            case "synced":
                self.synced_s = self._clock.now_s()
            case "spans_lost":
                self.lost[said["reason"]] += said["spans"]
            case "stopped":
                self.acknowledged = said["acknowledged"]
            case "library" | "spans_rejected" | "backend_refused" | "object_skipped" | "checkpoint_unreadable":
                self._note_wrong(said["message"])

    def _note_wrong(self, said: str) -> None:
        if len(self.wrong) < _MOST_SAID:
            self.wrong.append(said)

    async def synced(self) -> None:
        """Wait until it has listed everything."""
        await self._until(lambda: self.synced_s < float("inf"))

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while not is_so():
                assert self.process.returncode is None, f"{self.name} has ended: {self.wrong}"
                await self._clock.sleep(_POLL_S)  # another process: there is nothing to wait on

    def end(self, *, gracefully: bool) -> None:
        """Ask it to end, or end it."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM if gracefully else signal.SIGKILL)

    async def ended(self) -> int:
        """Wait for its end; give the exit code."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self.process.wait()

    async def sample(self) -> Sample | None:
        """Ask it how it is; None if it does not say."""
        at_s = self._clock.now_s()
        try:
            text = await asyncio.to_thread(self._scrape)
            rss_mib = _rss_mib(self.process.pid)
        except OSError:
            return None
        values: defaultdict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                if one.name != families.OBJECTS.name or one.labels["state"] != "done":
                    values[one.name] += one.value
        self.last = Sample(
            at_s,
            self.name,
            rss_mib,
            bool(values[families.IS_LEADER.name]),
            int(values[families.SPANS_ACKNOWLEDGED.name]),
            int(values[families.SPANS_REJECTED.name]),
            int(values[families.OBJECTS.name]),
            values[families.OUTBOX_OLDEST_AGE.name],
            values[families.LAST_ACKNOWLEDGED.name],
        )
        return self.last

    def _scrape(self) -> str:
        with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS")), 0.0)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
