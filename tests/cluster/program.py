"""How is `tracer` run beside a cluster? As a process of its own, as a user runs it, ended by SIGTERM."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.lab.place import Json
from tests.cluster.lab.shell import ENVIRONMENT, wait_until
from tests.cluster.tee import Tee

ENDS_WITHIN_S = 30
"""What Kubernetes gives a Pod."""
SAYS_WITHIN_S = 60
SYNCED = '"event": "synced"'
LIFE = ("started", "leader_acquired", "synced", "stopping", "stopped")
"""What `run` logs if nothing goes wrong."""


@dataclass
class Program:
    """A process that runs, or has ended."""

    process: subprocess.Popen[bytes]
    log: Path
    """All that it prints."""
    exit_code: int | None = None
    """None while it runs."""

    @property
    def lines(self) -> list[str]:
        """What it has said."""
        return self.log.read_text().splitlines()

    @property
    def events(self) -> list[Json]:
        """What `run` has logged; every line that it prints must be such an event."""
        return [json.loads(line) for line in self.lines]

    def await_words(self, words: str, within_s: float = SAYS_WITHIN_S) -> None:
        """Wait until it says so. Raises AssertionError with what it says instead."""
        assert wait_until(lambda: words in self.log.read_text(), within_s), f"never said {words}, but:\n{self.log.read_text()}"

    def await_end(self, within_s: float = SAYS_WITHIN_S) -> None:
        """Wait until it ends by itself. Raises subprocess.TimeoutExpired if it does not."""
        self.process.wait(within_s)

    def kill(self) -> None:
        """Kill it, at once and without a word."""
        self.process.kill()
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it do nothing at all until the context ends."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def running(log: Path, *arguments: str | Path, more: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run the program, with `more` beside the environment; at the end it gets SIGTERM, and must have ended soon after.

    Raises subprocess.TimeoutExpired if it has not, and kills it.
    """
    command, environment = [sys.executable, "-m", "tracer", *map(str, arguments)], {**ENVIRONMENT, **(more or {})}
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            program = Program(process, log)
            yield program
            process.terminate()
            program.exit_code = process.wait(ENDS_WITHIN_S)
        finally:
            process.kill()


def controlling(
    log: Path, kubeconfig: Path, backend: Tee, *arguments: str, more: Mapping[str, str] | None = None
) -> AbstractContextManager[Program]:
    """Run the controller under an account; its metrics are served at any port."""
    common = ("--kubeconfig", kubeconfig, "--otlp-endpoint", backend.endpoint, "--listen", "127.0.0.1:0")
    return running(log, "run", *common, *arguments, more=more)
