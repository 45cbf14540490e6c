"""What is lost when something goes wrong? Twelve faults, for tracer and for the OpenTelemetry SDK, to the same sink.

The short form lets everything last a tenth as long, so that all of it takes seconds. What the SDK waits by itself (5 s for a
batch that is not full; 1, 2, 4 s between tries) stays as it is, and outlasts most of it: compare with it in the full form only.

Keeps: no time is measured. Every trial has fresh processes; lost is what was offered and is neither in the sink nor, by the
entrant's own account, rejected by it; that account must be the sink's.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from benchmarks import breaks
from benchmarks.delivery import is_there, sdk_version, try_one
from benchmarks.senders import OURS, SDK, SDK_KILLED, SDK_STOPPED, Pace
from benchmarks.sink import ALWAYS_S, How, Outage, Outcome
from benchmarks.stops import Stop
from tracer.delivery.policy import TRY_TIMEOUT_S
from tracer.kube.reflector import IDLE_S

SHORT = 0.1
_RUNS_A_SPAN = 1 / 10
_STOPPED_RUNS, _SHORT_STOPPED_RUNS = 170, 40
"""The first are about 2,000 spans: as many as the SDK's queue takes."""
_AT_ONCE = 6
_TITLES = {
    OURS: "tracer",
    SDK: "SDK",
    SDK_KILLED: "SDK, no handler",
    SDK_STOPPED: "SDK, a handler that calls shutdown()",
}


@dataclass(frozen=True, slots=True)
class Sending:
    """A fault of the backend, while spans are offered at an even pace."""

    spans: int
    seconds: float
    """Within which they are offered; 0 for all at once."""
    outage: Outage
    lives_s: float = 0.0
    """How long the program lives; then it is asked to end, and may send what it has. 0 for until all is answered for."""
    timeout_s: float = TRY_TIMEOUT_S
    entrants = (OURS, SDK)

    @property
    def lasts_s(self) -> float:
        """About how long it takes."""
        return self.seconds + self.lives_s

    def scaled(self, by: float) -> "Sending":
        """Let everything last so much shorter."""
        outage, lives_s = self.outage, max(self.seconds, self.lives_s)
        period_s, out_s = (one if one == ALWAYS_S else one * by for one in (outage.period_s, outage.out_s))
        outage = replace(outage, period_s=period_s, out_s=out_s, wait_s=outage.wait_s * by)
        return Sending(int(self.spans * by), self.seconds * by, outage, lives_s * by, self.timeout_s * by)

    def run(self, name: str, loads: "Loads") -> Outcome:
        """Let one entrant meet it."""
        rate = self.spans / self.seconds if self.seconds else 0.0
        trial = try_one(name, loads.spans[self.spans], self.spans, self.outage, Pace(0.0, rate, self.lives_s, self.timeout_s))
        sent = trial.sent
        return Outcome(self.spans, trial.taken, sent.delivered, sent.rejected, sent.max_rss_mib, sent.said)


@dataclass(frozen=True, slots=True)
class Stopping:
    """A stop of the program."""

    stop: Stop
    lasts_s = 0.0

    @property
    def entrants(self) -> tuple[str, ...]:
        """Who meets it; SIGKILL cannot be handled."""
        return (OURS, SDK_KILLED) if self.stop.signal == signal.SIGKILL else (OURS, SDK_KILLED, SDK_STOPPED)

    def scaled(self, by: float) -> "Stopping":
        """Let everything last so much shorter, and stop it less often."""
        stop = self.stop
        outage = replace(stop.outage, wait_s=stop.outage.wait_s * by)
        return Stopping(replace(stop, grace_s=stop.grace_s * by, points=stop.points[:2], outage=outage))

    def run(self, name: str, loads: "Loads") -> Outcome:
        """Let one entrant meet it."""
        arguments = (name, str(loads.objects), str(loads.object_spans), msgspec.json.encode(self.stop).decode())
        return _outcome("benchmarks.stops", *arguments)


@dataclass(frozen=True, slots=True)
class Breaking:
    """A fault of the watches."""

    fault: str
    idle_s: float = IDLE_S
    entrants = (OURS,)

    @property
    def lasts_s(self) -> float:
        """About how long it takes at most."""
        return self.idle_s

    def scaled(self, by: float) -> "Breaking":
        """Let silence be noticed so much sooner."""
        return replace(self, idle_s=self.idle_s * by)

    def run(self, name: str, _: "Loads") -> Outcome:
        """Let tracer meet it."""
        assert name == OURS  # noqa: S101 - it is not the SDK's work
        return _outcome("benchmarks.breaks", self.fault, str(self.idle_s))


Fault = Sending | Stopping | Breaking


def _always(how: How, wait_s: float = 0.0) -> Outage:
    return Outage(0.0, ALWAYS_S, ALWAYS_S, ALWAYS_S, how, wait_s)


def _at_first(how: How, seconds: float, wait_s: float = 0.0) -> Outage:
    return Outage(0.0, ALWAYS_S, ALWAYS_S, seconds, how, wait_s)


def _once(how: How, seconds: float = ALWAYS_S) -> Outage:
    return replace(_at_first(how, seconds), requests=1)


def _stop(with_signal: int, grace_s: float, points: tuple[int, ...], wait_s: float) -> Stopping:
    return Stopping(Stop(with_signal, grace_s, points, _always(How.SLOW, wait_s)))


CASES: dict[str, Fault] = {
    "1 at once, 0.2 s an answer": Sending(20_000, 0, _always(How.SLOW, 0.2)),
    "2 500, once": Sending(2_000, 10, _once(How.BROKEN)),
    "3 away for 10 s, 3 s a try": Sending(600, 3, _once(How.AWAY, 10), lives_s=15, timeout_s=3),
    "4 all rejected, with a 200": Sending(2_000, 10, _always(How.REJECTING)),
    "5 12 s an answer, 10 s a try": Sending(600, 3, _always(How.LATE, 12)),
    "6 429 for 15 of 40 s": Sending(8_000, 40, _at_first(How.THROTTLED, 15)),
    "7 3 s to stop, 2 s an answer": _stop(signal.SIGTERM, 3, (1, 2), 2),
    "8 SIGTERM": _stop(signal.SIGTERM, 30, (1, 2), 0.2),
    "8 SIGKILL": _stop(signal.SIGKILL, 30, (1, 0, 2, 3), 0.2),
    "9 503 for 30 of 60 s": Sending(12_000, 60, _at_first(How.UNAVAILABLE, 30)),
    "10 429, wait 20 s, 15 of 40 s": Sending(8_000, 40, _at_first(How.THROTTLED, 15, 20)),
    "11 307 for 10 of 20 s": Sending(4_000, 20, _at_first(How.MOVED, 10)),
    **{f"12 watch: {fault}": Breaking(fault) for fault in breaks.FAULTS},
}
"""By number and name, as in the page on performance."""


@dataclass(frozen=True, slots=True)
class Loads:
    """What is offered."""

    spans: dict[int, Path]
    """For those who are given spans, by number."""
    objects: Path
    """The folder of what the API server holds, and of its spans for those who are given spans."""
    object_spans: int


Outcomes = dict[str, dict[str, Outcome]]
"""By case and entrant."""


def run(folder: Path, seed: int, *, is_short: bool, with_sdk: bool = True) -> Outcomes:
    """Let everybody meet every fault, some at a time; give what came of it."""
    cases = {name: fault.scaled(SHORT) if is_short else fault for name, fault in CASES.items()}
    loads = _prepare(folder, seed, {fault.spans for fault in cases.values() if isinstance(fault, Sending)}, is_short=is_short)
    is_run = {name: name == OURS or (with_sdk and is_there(name)) for name in _TITLES}
    trials = [(case, name) for case, fault in cases.items() for name in fault.entrants if is_run[name]]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        longest_first = sorted(trials, key=lambda trial: -cases[trial[0]].lasts_s)
        running = {(case, name): threads.submit(cases[case].run, name, loads) for case, name in longest_first}
    outcomes: Outcomes = {case: {} for case in cases}
    for case, name in trials:
        outcomes[case][name] = running[case, name].result()
    return outcomes


def measure_faults(folder: Path, seed: int, *, is_short: bool) -> bool:
    """Run all of it and print it; say whether tracer lost nothing and told nothing two ways."""
    outcomes = run(folder, seed, is_short=is_short)
    print(f"faults{', a tenth as long' if is_short else ''}: OTLP/HTTP on loopback; {sdk_version()}")
    columns = f"{'lost':>7}{'repeats':>9}{'conflicts':>11}{'max MiB':>9}"
    print(f"{'':39}{'tracer':>36} | {'OpenTelemetry SDK':>35}")
    print(f"{'':30}{'offered':>9}{columns} |{columns}")
    for case, of_entrant in outcomes.items():
        _print_case(case, of_entrant)
    faults = [fault for case, one in outcomes.items() for fault in faults_of(case, one[OURS])]
    for fault in faults:
        print(f"WRONG: {fault}")
    print()
    return not faults


def faults_of(case: str, outcome: Outcome) -> Iterator[str]:
    """Say what is wrong with what came of tracer."""
    taken = outcome.taken
    if outcome.lost:
        yield f"{case}: {outcome.lost:,} of {outcome.offered:,} spans were lost"
    if taken.conflicts or taken.altered or taken.strangers:
        yield f"{case}: {taken.conflicts:,} spans say two things, {taken.altered:,} another, {taken.strangers:,} were not offered"
    if outcome.rejected not in {None, taken.rejected}:
        yield f"{case}: says that {outcome.rejected:,} spans were rejected, but the sink rejected {taken.rejected:,}"
    if outcome.delivered not in {None, taken.spans}:
        yield f"{case}: says that {outcome.delivered:,} spans were taken, but the sink has {taken.spans:,}"
    if not outcome.said and not taken.refused and case != _UNSEEN:
        yield f"{case}: the fault was not met"


_UNSEEN = "12 watch: 3 MB event"
"""A fault that nothing is said of, since it is none for tracer."""


def _print_case(case: str, of_entrant: dict[str, Outcome]) -> None:
    """Print a line for each variant of the SDK's, the first of them with tracer's, and what they said below."""
    ours, others = of_entrant[OURS], [(name, one) for name, one in of_entrant.items() if name != OURS]
    print(f"{case:30}{ours.offered:>9,}{_columns(ours)} |{_columns(others[0][1]) if others else _NOTHING}")
    for _, other in others[1:]:
        print(f"{'':30}{'':>9}{'':36} |{_columns(other)}")
    for said in filter(None, (f"{ours.rejected:,} spans rejected, as the sink says" if ours.rejected else "", ours.said)):
        print(f"{'':4}tracer: {said}")
    for name, other in others:
        print(f"{'':4}{_TITLES[name]}: {other.said}")


_NOTHING = f"{'-':>7}{'-':>9}{'-':>11}{'-':>9}"


def _columns(outcome: Outcome) -> str:
    taken = outcome.taken
    return f"{outcome.lost:>7,}{taken.repeats:>9,}{taken.conflicts:>11,}{outcome.max_rss_mib:>9.0f}"


def _prepare(folder: Path, seed: int, spans: set[int], *, is_short: bool) -> Loads:
    """Make what is offered: spans that a recording comes to, and the objects that are left of a smaller one."""
    large, small, objects = folder / "faults.jsonl", folder / "stops.jsonl", folder / "stops"
    objects.mkdir()
    loads = {one: folder / f"{one}.msgpack" for one in spans}
    _module("benchmarks.maker", str(large), str(int(max(spans) * _RUNS_A_SPAN)), str(seed))
    made = int(_module("benchmarks.load", str(large), *(str(part) for one in spans for part in (loads[one], one))))
    if made < max(spans):
        sys.exit(f"Only {made:,} of {max(spans):,} spans were made; nothing was measured.")
    large.unlink()
    _module("benchmarks.maker", str(small), str(_SHORT_STOPPED_RUNS if is_short else _STOPPED_RUNS), str(seed))
    return Loads(loads, objects, int(_module("benchmarks.stops", "objects", str(small), str(objects))))


def _outcome(*arguments: str) -> Outcome:
    return msgspec.json.decode(_module(*arguments), type=Outcome)


def _module(*arguments: str) -> bytes:
    return subprocess.run([sys.executable, "-m", *arguments], check=True, stdout=subprocess.PIPE).stdout
