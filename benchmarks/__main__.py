"""What does tracer cost, and its peers? Makes one recording, measures each in a fresh process, prints ratios; see README.md."""

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from benchmarks import watching
from benchmarks.check import compare, read_json
from benchmarks.decoders import DECODERS, JSON, KUBERNETES, LINES, OURS, Rate
from benchmarks.delivery import measure_delivery
from benchmarks.faults import measure_faults
from benchmarks.maker import Made
from benchmarks.scraping import measure_scraping

REPLAY, DECODE, DELIVERY, WATCH, PIPELINE, FIRST_SYNC, MEMORY, SCRAPE, FAULTS = LANES = (
    "replay",
    "decode",
    "delivery",
    "watch",
    "pipeline",
    "firstsync",
    "memory",
    "scrape",
    "faults",
)
RSS_LIMIT_MIB = 300
ROUNDS = 3
_PEERS = {JSON: "json.loads", KUBERNETES: "kubernetes Watch: V1Pod, else dicts"}
_RSS_UNITS_A_MIB = 1 << (20 if sys.platform == "darwin" else 10)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a finished process took."""

    seconds: float
    max_rss_mib: float


def main() -> None:
    """Measure, print; leave with 1 if what was told is not what was meant, for then the figures mean nothing."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    flags.add_argument("lanes", nargs="*", metavar="LANE", help=f"what to measure: {', '.join(LANES)} (default: all of them)")
    flags.add_argument("--runs", type=int, default=10_000, help="how many PipelineRuns (default: %(default)s)")
    flags.add_argument("--seed", type=int, default=1, help="the same seed makes the same recording (default: %(default)s)")
    flags.add_argument("--keep", type=Path, metavar="FILE", help="leave the recording there, its truth and its spans beside it")
    flags.add_argument("--short", action="store_true", help="let faults last a tenth as long")
    chosen = flags.parse_args()
    lanes = set(chosen.lanes or LANES)
    if unknown := lanes - set(LANES):
        flags.error(f"There is no lane {', '.join(sorted(unknown))}; there are {', '.join(LANES)}.")
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    with TemporaryDirectory(prefix="tracer-bench-") as folder:
        is_right = measure_recording(lanes, chosen.keep or Path(folder, "bench.jsonl"), chosen.runs, chosen.seed)
        is_right &= measure_watching(lanes, Path(folder, "history.msgpack"), chosen.seed)
        if SCRAPE in lanes:
            is_right &= measure_scraping()
        if FAULTS in lanes:
            is_right &= measure_faults(Path(folder), chosen.seed, is_short=chosen.short)
    sys.exit(0 if is_right else 1)


def measure_recording(lanes: set[str], recording: Path, runs: int, seed: int) -> bool:
    """Measure the lanes that read a recording; say whether every figure counts."""
    is_right = True
    if lanes & {REPLAY, DECODE, DELIVERY}:
        make(recording, runs, seed)
    if REPLAY in lanes:
        is_right &= measure_replay(recording)
    if DECODE in lanes:
        measure_decoders(recording)
    if DELIVERY in lanes:
        is_right &= measure_delivery(recording, ROUNDS)
    return is_right


def measure_watching(lanes: set[str], path: Path, seed: int) -> bool:
    """Measure the lanes that read from an API server; say whether every figure counts."""
    is_right = True
    if lanes & {WATCH, PIPELINE, FIRST_SYNC}:
        told = watching.make(path, seed)
    if WATCH in lanes:
        is_right &= watching.measure_watch(path, told, ROUNDS)
    if PIPELINE in lanes:
        is_right &= watching.measure_pipeline(path, told, ROUNDS)
    if FIRST_SYNC in lanes:
        is_right &= watching.measure_first_list(path, ROUNDS)
    if MEMORY in lanes:
        is_right &= watching.measure_memory()
    return is_right


def make(recording: Path, runs: int, seed: int) -> None:
    """Make the recording, in a process of its own so that this one stays small."""
    cost = run([sys.executable, "-m", "benchmarks.maker", str(recording), str(runs), str(seed)])
    print(f"made {runs:,} PipelineRuns, {recording.stat().st_size / 1e6:,.0f} MB, seed {seed}, in {cost.seconds:.0f} s\n")


def measure_replay(recording: Path) -> bool:
    """Measure the whole journey from the file to OTLP/JSON; say whether every span is right."""
    truth, told = recording.with_suffix(".truth.json"), recording.with_suffix(".otlp.json")
    cost = run([sys.executable, "-m", "tracer", "replay", "--dry-run", "-o", "otlp", str(recording)], told)
    made = msgspec.json.decode(truth.read_bytes(), type=Made)
    verdict = compare(made.truth, read_json(told))
    rates = [made.events / cost.seconds, made.size_bytes / 1e6 / cost.seconds, verdict.spans / cost.seconds]
    print("tracer replay --dry-run -o otlp, one process")
    print(f"{'seconds':>10}{'events/s':>10}{'MB/s':>8}{'spans/s':>10}{'max RSS':>12}")
    print(f"{cost.seconds:>10.1f}{rates[0]:>10,.0f}{rates[1]:>8.1f}{rates[2]:>10,.0f}{cost.max_rss_mib:>8.0f} MiB")
    print(f"{'PASS' if cost.max_rss_mib <= RSS_LIMIT_MIB else 'OVER'}: {cost.max_rss_mib:.0f} of {RSS_LIMIT_MIB} MiB")
    for what, count in verdict.wrong.most_common():
        print(f"VOID: {count:,} × {what}")
    if not verdict.wrong:
        print(
            f"PASS: {verdict.spans:,} spans, each once; the results and starts of all {len(made.truth):,} runs, tasks and steps"
        )
    print()
    return not verdict.wrong


def measure_decoders(recording: Path) -> None:
    """Measure decoding alone, entrants interleaved, each time in a fresh process."""
    entrants = [name for name in DECODERS if name != KUBERNETES or importlib.util.find_spec(KUBERNETES) is not None]
    rounds = [{name: _rate(name, recording) for name in entrants} for _ in range(ROUNDS)]
    print(f"decoding only, {LINES:,} lines in memory, median of {ROUNDS} rounds")
    print(f"{'':36}{'events/s':>10}{'MB/s':>8}   ours / it (min-max)")
    for name, title in ({OURS: "tracer.tekton.decode"} | _PEERS).items():
        if name not in entrants:
            print(f"{title:36}{'not run: the package is not installed':>10}")
            continue
        events = median(one[name].events / one[name].seconds for one in rounds)
        size = median(one[name].size_bytes / 1e6 / one[name].seconds for one in rounds)
        print(f"{title:36}{events:>10,.0f}{size:>8.1f}   {_ratio(name, rounds)}")


def run(command: list[str], out: Path | None = None) -> Cost:
    """Run a command to its end, its output in a file; a failure ends the measurement."""
    with (out or Path(os.devnull)).open("wb") as file:
        begun = perf_counter()
        process = subprocess.Popen(command, stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - begun
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        sys.exit(f"`{' '.join(command)}` failed with {code}; nothing was measured.")
    return Cost(seconds, usage.ru_maxrss / _RSS_UNITS_A_MIB)


def _rate(name: str, recording: Path) -> Rate:
    command = [sys.executable, "-m", "benchmarks.decoders", name, str(recording)]
    return msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=Rate)


def _ratio(name: str, rounds: list[dict[str, Rate]]) -> str:
    """Compare with a peer within each round, for between rounds the machine may be faster or slower."""
    if name == OURS:
        return "-"
    ratios = [one[OURS].events / one[OURS].seconds / (one[name].events / one[name].seconds) for one in rounds]
    return f"{median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"


if __name__ == "__main__":
    main()
