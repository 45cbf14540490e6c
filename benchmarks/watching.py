"""What does it take to follow a cluster? Tracer beside the `kubernetes` client and the OpenTelemetry SDK, told the same.

Keeps: every entrant has a fresh process, on a core of its own if there are two, and is told by a fresh API server on the other; a
figure counts only if everything was read that was told, and what came of it is what reading the whole objects comes to.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import history, peers, watchers
from benchmarks.cluster import Told
from benchmarks.history import KINDS, STEADY_RUNS, Counts
from benchmarks.maker import FIRST_RUN_AT
from benchmarks.told import Account
from benchmarks.watchers import SAMPLE_EVENTS, Followed
from tracer.tekton.names import Kind

RUNS = 1_000
LISTED = 20_000
STEADY_EVENTS = 100_000
FLAT_MIB = 5.0
WARM_EVENTS = 20_000
"""After so many events the allocator has what it needs; what is more at the end is lost."""
WIRE_MARGIN = 2
"""How many times as fast as any entrant the API server must be."""
_PATIENCE_S = 300.0
_TWO_CORES = 2
OURS, PEERS = "benchmarks.watchers", "benchmarks.peers"


@dataclass(frozen=True, slots=True)
class Trial:
    """What one entrant came to."""

    followed: Followed
    seconds: float
    account: Account | None = None
    """What its sink has, if it sends."""

    @property
    def rate(self) -> float:
        """What was read a second."""
        return self.followed.events / self.seconds


@dataclass(frozen=True, slots=True)
class Entrant:
    """One that is measured. The first of several is ours, and the others are compared with it."""

    title: str
    run: Callable[[], Trial]
    faults: Callable[[Trial], Iterator[str]]
    is_limit: bool = False
    """Whether it only shows how fast the others could be."""


def make(path: Path, seed: int) -> Counts:
    """Make the history that all are told, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.history", str(path), str(RUNS), str(seed)]
    return msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=Counts)


def measure_watch(path: Path, told: Counts, rounds: int) -> bool:
    """Measure from the socket to transitions; say whether every figure counts."""
    ended = {Kind.TASK_RUN: told.attempts, Kind.POD: told.steps}
    print("watch: from the socket to transitions, one watch, plain HTTP, one chunk an event")
    is_right = True
    for kind, model in ((Kind.TASK_RUN, "dicts"), (Kind.POD, "V1Pod")):
        events = told.events[kind]

        def try_one(module: str, name: str, kind: Kind = kind, events: int = events) -> Callable[[], Trial]:
            return lambda: _follow(["tell", str(path), kind], [module, name], [str(events), kind])

        def faults(trial: Trial, kind: Kind = kind, events: int = events) -> Iterator[str]:
            yield from _differs(trial.followed.events, events, "events")
            yield from _differs(trial.followed.result, ended[kind], "ends")

        entrants = [
            Entrant(f"tracer, {kind.plural}", try_one(OURS, watchers.WATCH), faults),
            Entrant(f"kubernetes Watch, {model}", try_one(PEERS, peers.WATCH), faults),
            Entrant("no decoding: what the server can do", try_one(OURS, watchers.WIRE), lambda _: iter(()), is_limit=True),
        ]
        is_right &= _duel(entrants, rounds, f"{events:,} events of {kind.plural}", "events/s", lambda trial: trial.rate)
    return is_right


def measure_pipeline(path: Path, told: Counts, rounds: int) -> bool:
    """Measure from the watch to acknowledged spans; say whether every figure counts."""

    def ours() -> Trial:
        return _follow(
            ["tell", str(path), ",".join(KINDS)],
            [OURS, watchers.PIPELINE],
            [str(sum(told.events.values()))],
            path,
            [str(told.ended_at), "0"],
        )

    def ours_faults(trial: Trial) -> Iterator[str]:
        yield from _differs(trial.followed.events, sum(told.events.values()), "events")
        for what, count in trial.account.wrong.items() if trial.account is not None else ():
            yield f"{count:,} × {what}"
        yield from _account_faults(trial)

    def peer(name: str) -> Callable[[], Trial]:
        kinds = peers.KINDS[name]
        counts = ",".join(str(told.events[kind]) for kind in kinds)
        return lambda: _follow(
            ["tell", str(path), ",".join(kinds)], [PEERS, name], [str(sum(told.events[kind] for kind in kinds))], path, [counts]
        )

    def peer_faults(steps: int) -> Callable[[Trial], Iterator[str]]:
        def faults(trial: Trial) -> Iterator[str]:
            yield from _differs(trial.account.steps if trial.account is not None else 0, steps, "steps")
            yield from _account_faults(trial)

        return faults

    entrants = [
        Entrant("tracer, the whole controller", ours, ours_faults),
        Entrant("kubernetes Watch and SDK, a span a step", peer(peers.SDK), peer_faults(told.steps)),
        Entrant("the same without Pods", peer(peers.SDK_RUNS), peer_faults(told.entries)),
    ]
    print("pipeline: from watches of PipelineRuns, TaskRuns and Pods to spans that are acknowledged, OTLP/HTTP")
    return _duel(entrants, rounds, f"{RUNS:,} runs, {told.steps:,} steps", "runs/s", lambda trial: RUNS / trial.seconds)


def measure_first_list(path: Path, rounds: int) -> bool:
    """Measure the first list of finished TaskRuns; say whether every figure counts."""
    with _process(["benchmarks.cluster", "hold", str(path), str(LISTED)], 1) as server:
        url = _line(server)

        def try_one(module: str, name: str) -> Callable[[], Trial]:
            def run() -> Trial:
                followed = _measured([module, name, url])
                return Trial(followed, followed.until_s - followed.began_s)

            return run

        def faults(trial: Trial) -> Iterator[str]:
            yield from _differs(trial.followed.result, LISTED, "objects")

        entrants = [
            Entrant("tracer, watch list, kept by the ledger", try_one(OURS, watchers.WATCH_LIST), faults),
            Entrant("tracer, pages of 500, kept by the ledger", try_one(OURS, watchers.PAGES), faults),
            Entrant("kubernetes, pages of 500, states kept", try_one(PEERS, peers.LIST), faults),
            Entrant("kubernetes, pages of 500, dicts kept", try_one(PEERS, peers.LIST_KEPT), faults),
        ]
        print("firstsync: the first list of finished TaskRuns")
        is_right = _duel(entrants, rounds, f"{LISTED:,} TaskRuns", "objects/s", lambda trial: trial.rate)
        server.communicate()
    return is_right


def measure_memory() -> bool:
    """Measure whether memory stays where it is while a constant set of objects changes; say whether the figure counts."""
    times = STEADY_EVENTS // len(history.steady())
    print(f"memory: the whole controller, {STEADY_EVENTS:,} events of {STEADY_RUNS} TaskRuns and their Pods, all running")
    trial = _follow(
        ["steady", str(times)], [OURS, watchers.PIPELINE], [str(STEADY_EVENTS)], Path(), [str(FIRST_RUN_AT), str(STEADY_RUNS)]
    )
    curve = trial.followed.curve_mib
    print("MiB after every 10,000 events: " + " ".join(f"{mib:.1f}" for mib in curve))
    faults = list(_differs(trial.followed.events, STEADY_EVENTS, "events"))
    for fault in faults:
        print(f"VOID: {fault}\n")
    if faults:
        return False
    grown_mib = curve[-1] - curve[WARM_EVENTS // SAMPLE_EVENTS - 1]
    verdict = "PASS" if grown_mib <= FLAT_MIB else "OVER"
    print(f"{verdict}: {grown_mib:+.1f} of {FLAT_MIB:g} MiB since {WARM_EVENTS:,}; {trial.rate:,.0f} events/s\n")
    return True


# ---------------------------------------------------------------- one lane


def _duel(entrants: Sequence[Entrant], rounds: int, what: str, unit: str, rate: Callable[[Trial], float]) -> bool:
    """Measure entrants interleaved, print what came of it; say whether every figure counts."""
    trials = [[one.run() for one in entrants] for _ in range(rounds)]
    print(f"{what}, median of {rounds} rounds")
    print(f"{'':42}{unit:>10}{'read':>9}{'spans':>8}{'seconds':>9}{'CPU s':>8}{'MiB more':>10}   ours / it (min-max), by CPU")
    faults: list[str] = []
    rates = [median(rate(one[at]) for one in trials) for at in range(len(entrants))]
    for at, entrant in enumerate(entrants):
        own = [one[at] for one in trials]
        cpu_s, mib = median(one.followed.cpu_s for one in own), median(one.followed.rss_mib for one in own)
        spans = f"{own[0].account.spans:,}" if own[0].account is not None else "-"
        ratios = [rate(one[0]) / rate(one[at]) for one in trials]
        costs = [one[at].followed.cpu_s / one[0].followed.cpu_s for one in trials]
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}), {median(costs):.2f}" if at else "-"
        seconds = median(one.seconds for one in own)
        read = own[0].followed.events
        print(f"{entrant.title:42}{rates[at]:>10,.0f}{read:>9,}{spans:>8}{seconds:>9.2f}{cpu_s:>8.2f}{mib:>10.0f}   {ratio}")
        faults += [f"{entrant.title}: {fault}" for one in own for fault in entrant.faults(one)]
        if entrant.is_limit and rates[at] < WIRE_MARGIN * max(rates[:at]):
            faults.append(
                f"the server is only {rates[at] / max(rates[:at]):.1f} times as fast: it was the server that was measured"
            )
    for fault in faults:
        print(f"VOID: {fault}")
    print(flush=True)
    return not faults


def _differs(count: int, expected: int, what: str) -> Iterator[str]:
    if count != expected:
        yield f"{count:,} {what} were read, {expected:,} were told"


def _account_faults(trial: Trial) -> Iterator[str]:
    account = trial.account
    if account is not None and (account.spans != trial.followed.result or account.repeats):
        yield f"says {trial.followed.result:,} spans, but the sink has {account.spans:,}, and {account.repeats:,} repeats"


def _follow(said: list[str], entrant: list[str], count: list[str], path: Path | None = None, more: Sequence[str] = ()) -> Trial:
    """Let one entrant follow an API server of its own, and, if there is a history to compare with, send to a sink of its own."""
    with _process(["benchmarks.cluster", *said], 1) as server:
        url = _line(server)
        if path is None:
            followed, account = _measured([*entrant, url, *count]), None
        else:
            with _process(["benchmarks.told", str(path)], 1) as sink:
                followed = _measured([*entrant, url, *count, _line(sink), *more])
                account = msgspec.json.decode(sink.communicate()[0], type=Account)
        told = msgspec.json.decode(server.communicate()[0], type=Told)
    return Trial(followed, followed.until_s - told.began_s, account)


def _measured(arguments: list[str]) -> Followed:
    """Run an entrant to its end."""
    with _process(arguments, 0) as process:
        try:
            said, _ = process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            sys.exit(f"`{' '.join(arguments[:2])}` has not read everything within {_PATIENCE_S:g} s; nothing was measured.")
    if process.returncode:
        sys.exit(f"`{' '.join(arguments[:2])}` failed with {process.returncode}; nothing was measured.")
    return msgspec.json.decode(said, type=Followed)


@contextmanager
def _process(arguments: list[str], core: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a module on one of two cores; whatever happens, it ends with the block."""
    with subprocess.Popen([sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) >= _TWO_CORES:
            os.sched_setaffinity(process.pid, {cores[core]})
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _line(process: "subprocess.Popen[bytes]") -> str:
    return process.stdout.readline().decode().strip() if process.stdout is not None else ""
