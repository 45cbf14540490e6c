"""How long does a scrape of all the series that there may be hold the loop, and how much memory do they take?

Beside it what prometheus-client does by itself when a server on the loop calls it: the same series, written on the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from prometheus_client.openmetrics.exposition import generate_latest

from benchmarks.memory import rss_mib
from tracer.health.caps import MOST_PER_NAMESPACE
from tracer.health.families import STEPS
from tracer.health.metrics import Metrics
from tracer.tekton.reasons import Result
from tracer.tekton.times import SECOND_NS
from tracer.telemetry.measures import Counted, Measure, Subject
from tracer.telemetry.records import Slot

NAMES = 100_000
LIMIT_MS = 50.0
SCRAPES = 5


def measure_scraping() -> bool:
    """Measure, print; say whether the loop is held for less than it may be."""
    before_mib = rss_mib()
    metrics = Metrics("benchmark", dict)
    for number in range(NAMES):
        for one in _ended(number):
            metrics.count(one, number / 1_000)
    series, size_bytes, ours_s, took_s = asyncio.run(_scrape(metrics))
    peer_s = asyncio.run(_scrape_on_the_loop(metrics))
    print(f"a scrape of {series:,} series ({size_bytes / 1e6:.1f} MB), from {NAMES:,} names of pipelines, tasks and steps")
    print(f"{'':28}{'holds the loop':>16}   it / ours")
    print(f"{'tracer':28}{ours_s * 1e3:>13.1f} ms   -")
    print(f"{'prometheus-client, on the loop':28}{peer_s * 1e3:>11.1f} ms   {peer_s / ours_s:.0f}")
    print(f"written in {took_s * 1e3:.0f} ms; {rss_mib() - before_mib:.0f} MiB of memory")
    is_right = ours_s * 1e3 < LIMIT_MS
    print(f"{'PASS' if is_right else 'OVER'}: {ours_s * 1e3:.1f} of {LIMIT_MS:g} ms\n")
    return is_right


def _ended(number: int) -> list[Measure]:
    """Let a step, its attempt and its run have ended, with names that nobody had before."""
    names = f"pipeline-{number}", f"task-{number}", f"step-{number}"
    counted = {Counted.STEP: names, Counted.ATTEMPT: names[:2], Counted.PIPELINE_RUN: names[:1]}
    result = list(Result)[number % len(Result)]
    namespace = f"ns-{number % (STEPS.most // MOST_PER_NAMESPACE * 2)}"
    return [
        Measure(
            subject=Subject(of, namespace, *of_it),
            slot=Slot(of, str(number)),
            result=result,
            error_type="" if result in {Result.SUCCESS, Result.SKIP, Result.CANCELLATION} else "exit_code",
            ended_ns=number * SECOND_NS,
            duration_ns=number % 5_000 * SECOND_NS,
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
        )
        for of, of_it in counted.items()
    ]


async def _scrape(metrics: Metrics) -> tuple[int, int, float, float]:
    """Give how many series there are, the size of the text, how long the loop was held at most, how long a scrape took."""
    body = b""

    async def render() -> None:
        nonlocal body
        _, body = await metrics.render("application/openmetrics-text")

    held_s, took_s = await _held_s(render)
    return sum(not line.startswith(b"#") for line in body.splitlines()), len(body), held_s, took_s


async def _scrape_on_the_loop(metrics: Metrics) -> float:
    async def render() -> None:
        generate_latest(metrics.snapshot())  # type: ignore[no-untyped-call] # the library's

    return (await _held_s(render))[0]


async def _held_s(render: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Say how long others had to wait for the loop at most, the best of a few times, and how long it took."""
    best = (float("inf"), 0.0)
    for _ in range(SCRAPES):
        longest_s, is_done = 0.0, False

        async def feel() -> None:
            nonlocal longest_s
            last_s = perf_counter()
            while not is_done:  # noqa: B023 - of this turn
                await asyncio.sleep(0.0005)
                now_s = perf_counter()
                longest_s, last_s = max(longest_s, now_s - last_s - 0.0005), now_s

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feel())
            await asyncio.sleep(0.01)
            began_s = perf_counter()
            await render()
            took_s = perf_counter() - began_s
            await asyncio.sleep(0.002)
            is_done = True
        best = min(best, (longest_s, took_s))
    return best
