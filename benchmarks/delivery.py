"""How fast do spans arrive, and which never do? Our sender beside the OpenTelemetry SDK's batch processor, to the same sink.

Keeps: every entrant has a fresh process and a fresh sink; a figure counts only if the sink has what was offered, byte for byte.
"""

import importlib.metadata
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.senders import OURS, SDK, SDK_LARGE, SDK_PACKAGES, SDK_QUEUE, WIRE, Pace, Sent
from benchmarks.sink import Outage, Taken

SPANS = 20_000
SPANS_A_SECOND = 200
OUTAGES = ((24, 4), (60, 60))
"""For how many seconds, and the period of which the first half is out: short outages again and again, and one that is long."""
SINK_MARGIN = 3
"""How many times as fast as any entrant the sink must be."""
_HEAD_START_S = 10.0
"""For the processes to be ready before the first span is offered; one that is not says so and fails."""
_TITLES = {
    OURS: "tracer",
    SDK_LARGE: "SDK, queue as large as the load",
    SDK: f"SDK, as it comes: queue of {SDK_QUEUE:,}",
    WIRE: "no encoding: what the sink can do",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """What one entrant said, and what its sink had at the end."""

    sent: Sent
    taken: Taken

    @property
    def rate(self) -> float:
        """Different spans that the sink acknowledged, a second."""
        return self.taken.spans / self.sent.seconds


def measure_delivery(recording: Path, rounds: int) -> bool:
    """Measure both legs with the first spans of a recording; say whether every figure counts."""
    path = recording.with_suffix(".load.msgpack")
    spans = int(_output([sys.executable, "-m", "benchmarks.load", str(recording), str(path), str(SPANS)]))
    print(f"\ndelivery, OTLP/HTTP on loopback; {sdk_version()}")
    faults = [*_measure_rates(path, spans, rounds), *_measure_losses(path, spans)]
    for fault in faults:
        print(f"VOID: {fault}")
    return not faults


def _measure_rates(path: Path, spans: int, rounds: int) -> list[str]:
    """Measure how fast all is delivered that is offered at once, entrants interleaved; give what makes it void."""
    entrants = [name for name in _TITLES if is_there(name)]
    trials = [{name: try_one(name, path, spans) for name in entrants} for _ in range(rounds)]
    rates = {name: median(one[name].rate for one in trials) for name in entrants}
    print(f"{spans:,} spans offered at once, median of {rounds} rounds")
    print(f"{'':36}{'spans/s':>10}{'CPU ms/1,000':>14}{'lost':>8}   ours / it (min-max)")
    for name, title in _TITLES.items():
        if name not in entrants:
            print(f"{title:36}not run: the package is not installed")
            continue
        own = [one[name] for one in trials]
        cpu_ms = median(one.sent.cpu_s * 1e6 / max(1, one.taken.spans) for one in own)
        lost = median(_lost_percent(spans, one) for one in own)
        ratios = [one[OURS].rate / one[name].rate for one in trials if one[name].rate]
        ratio = "-" if name == OURS or not ratios else f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{title:36}{rates[name]:>10,.0f}{cpu_ms:>14.1f}{lost:>7.1f}%   {ratio}")
    print()
    faults = [
        fault for one in trials for name, trial in one.items() for fault in _faults(name, trial, spans, may_lose=name == SDK)
    ]
    fastest = max(rate for name, rate in rates.items() if name != WIRE)
    if rates[WIRE] < SINK_MARGIN * fastest:
        faults.append(
            f"the sink is only {rates[WIRE] / fastest:.1f} times as fast as the fastest: it is the sink that was measured"
        )
    return faults


def _measure_losses(path: Path, spans: int) -> list[str]:
    """Measure what is lost if the sink says 503 for half of the time; give what makes it void.

    All entrants and outages go on at once, for none is busy.
    """
    entrants = [name for name in _TITLES if name != WIRE and is_there(name)]
    faults: list[str] = []
    begin_s = time.monotonic() + _HEAD_START_S
    with ThreadPoolExecutor(len(entrants) * len(OUTAGES)) as threads:
        offered = [min(spans, seconds * SPANS_A_SECOND) for seconds, _ in OUTAGES]
        trials = [
            {
                name: threads.submit(
                    try_one,
                    name,
                    path,
                    count,
                    Outage(begin_s, seconds, period, period / 2),
                    Pace(begin_s, count / seconds),
                )
                for name in entrants
            }
            for count, (seconds, period) in zip(offered, OUTAGES, strict=True)
        ]
    for count, (seconds, period), trial_of in zip(offered, OUTAGES, trials, strict=True):
        print(
            f"{count:,} spans offered in {seconds} s, while the sink says 503 for the first {period / 2:g} s of every {period} s"
        )
        print(
            f"{'':36}{'taken':>10}{'lost':>8}{'repeats':>9}{'conflicts':>11}{'requests':>10}{'503':>5}{'CPU s':>7}{'s after':>9}"
        )
        for name in entrants:
            trial = trial_of[name].result()
            sent, taken, lost = trial.sent, trial.taken, _lost_percent(count, trial)
            print(
                f"{_TITLES[name]:36}{taken.spans:>10,}{lost:>7.1f}%{taken.repeats:>9,}{taken.conflicts:>11,}"
                f"{taken.acknowledged:>10,}{taken.refused:>5,}{sent.cpu_s:>7.1f}{max(0.0, sent.seconds - seconds):>9.1f}"
            )
            faults += _faults(name, trial, count, may_lose=name != OURS)
        print()
    return faults


def try_one(name: str, path: Path, spans: int, outage: Outage | None = None, pace: Pace | None = None) -> Trial:
    """Let one entrant send the first so many spans to a sink of its own."""
    load = [str(path), str(spans)]
    command = [sys.executable, "-m", "benchmarks.sink", *load, *_arguments(outage)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sink:
        url = sink.stdout.readline().decode().strip() if sink.stdout is not None else ""
        try:
            said = _output([sys.executable, "-m", "benchmarks.senders", name, *load, url, *_arguments(pace)])
        finally:
            took, _ = sink.communicate()
    return Trial(msgspec.json.decode(said, type=Sent), msgspec.json.decode(took, type=Taken))


def _faults(name: str, trial: Trial, offered: int, *, may_lose: bool) -> Iterator[str]:
    """Say why a figure does not count."""
    taken, title = trial.taken, _TITLES[name]
    if taken.strangers:
        yield f"{title}: {taken.strangers:,} spans were taken that were never offered"
    if taken.altered or taken.conflicts:
        yield f"{title}: {taken.altered:,} spans say something else than was offered, {taken.conflicts:,} say two things"
    if trial.sent.delivered not in {None, taken.spans}:
        yield f"{title}: says that {trial.sent.delivered:,} spans were taken, but the sink has {taken.spans:,}"
    if taken.spans != offered and not may_lose:
        yield f"{title}: {offered - taken.spans:,} of {offered:,} spans were lost"


def _lost_percent(offered: int, trial: Trial) -> float:
    return 100 * (offered - trial.taken.spans) / max(1, offered)


def _arguments(values: Outage | Pace | None) -> list[str]:
    return [] if values is None else [msgspec.json.encode(values).decode()]


def _output(command: list[str]) -> bytes:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def is_there(name: str) -> bool:
    """Say whether what an entrant needs is installed."""
    return name in {OURS, WIRE} or all(_is_installed(package) for package in SDK_PACKAGES)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a package above it is not there
        return False


def sdk_version() -> str:
    """Name the SDK that is compared with."""
    try:
        return f"opentelemetry-sdk {importlib.metadata.version('opentelemetry-sdk')}"
    except importlib.metadata.PackageNotFoundError:
        return "opentelemetry-sdk is not installed"
