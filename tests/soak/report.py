"""Which promises were kept, and with which figures? The closing table."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.soak.backend import Backend
from tests.soak.books import Account, Sight, Succession, back_after_s, compare, high_water_mib, imbalances, is_flat
from tests.soak.cluster import Cluster
from tests.soak.plan import LAG_S, Away, Plan
from tests.soak.replica import Replica, Sample
from tests.soak.watches import Watches


@dataclass(frozen=True, slots=True)
class Outage:
    """One stretch without a backend."""

    away: Away
    back_s: float
    """When the backend was back, on the monotonic clock."""
    back_unix_s: float


@dataclass(frozen=True, slots=True)
class Played:
    """All that happened."""

    plan: Plan
    began_s: float
    cluster: Cluster
    watches: Watches
    backend: Backend
    replicas: Sequence[Replica]
    successions: Sequence[Succession]
    outages: Sequence[Outage]
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a soak came to."""

    account: Account
    table: list[str]
    broken: list[str]
    """The promises that were not kept, a sentence each."""


def judge(played: Played) -> Verdict:
    """Compare what is to be told with what was taken, and look at the lag, the memory and the books."""
    account = compare(played.cluster.runs, played.backend.taken, played.successions, played.watches.gaps)
    table = [*_load(played), *_spans(played, account), *_restarts(played)]
    broken = list(_broken_spans(account))
    for part in (_lost(played, account), _outages(played), _memory(played), _books(played)):
        for line, is_kept in part:
            table.append(line)
            broken += [] if is_kept else [f"{line}."]
    broken += [f"{one.name} said: {said}" for one in played.replicas for said in one.wrong]
    return Verdict(account, table, broken)


def _load(played: Played) -> Iterator[str]:
    cluster = played.cluster
    a_minute = cluster.task_runs / cluster.lasted_s * 60
    yield (
        f"{len(cluster.runs)} PipelineRuns and {cluster.task_runs} TaskRuns in {cluster.lasted_s:.0f} s ({a_minute:.0f} a minute)"
        f", {cluster.events} events, {played.watches.faults} faults of watches"
    )


def _spans(played: Played, account: Account) -> Iterator[str]:
    yield f"spans: {account.expected} to be told, {account.taken} taken, {played.backend.repeats} repeats"
    for sight, found in account.differences.items():
        yield (
            f"  {found.runs} runs {sight.value}: {found.missing} spans missing (and {found.missing_edges} of the Pods' phases),"
            f" {found.altered} altered (and {found.altered_edges}), {found.foreign} foreign, {found.conflicts} in conflict"
        )


def _broken_spans(account: Account) -> Iterator[str]:
    watched, hurried = account.differences[Sight.WATCHED], account.differences[Sight.HURRIED]
    names = ", ".join(watched.names[:5])
    if hurried.missing or hurried.conflicts:
        which = ", ".join(hurried.names[:5])
        yield f"{hurried.missing} spans are missing and {hurried.conflicts} have two contents of runs told in a hurry: {which}."
    if watched.missing:
        yield f"{watched.missing} spans are missing of runs that were watched: {names}."
    if watched.altered:
        yield f"{watched.altered} spans are not what is to be told of runs that were watched: {names}."
    if watched.foreign:
        yield f"{watched.foreign} spans are of no run, or not to be told of it: {names}."
    if watched.conflicts:
        yield f"{watched.conflicts} spans have two contents: {names}."


def _restarts(played: Played) -> Iterator[str]:
    for one in played.successions:
        blind_s = max(0.0, one.synced_s - one.at_s)
        yield f"restart at {one.at_s - played.began_s:.0f} s ({one.how}): nobody watched for {blind_s:.1f} s"


def _outages(played: Played) -> Iterator[tuple[str, bool]]:
    for one in played.outages:
        after_s = back_after_s(played.samples, one.back_s, one.back_unix_s)
        when = f"outage until {one.back_s - played.began_s:.0f} s ({one.away.value})"
        lag = f"lag under {LAG_S:g} s {'never' if after_s is None else f'{after_s:.1f} s'} later"
        yield f"{when}: {lag}", after_s is not None and after_s <= played.plan.back_within_s


def _lost(played: Played, account: Account) -> Iterator[tuple[str, bool]]:
    lost = sum((one.lost for one in played.replicas), Counter[str]()).total()
    held = account.differences[Sight.HELD].lost
    yield (
        f"lost with a process: {held} spans, {account.to_count} of them due at its last checkpoint; counted as lost: {lost}",
        lost >= account.to_count,
    )


def _memory(played: Played) -> Iterator[tuple[str, bool]]:
    high, quiet = high_water_mib(played.samples, played.plan, played.began_s), played.plan.quiet_cycles()
    of_quiet = f"; without a restart: {', '.join(f'{high[one]:.0f}' for one in quiet)}" if quiet else ""
    yield f"memory, high water by cycle: {', '.join(f'{one:.0f}' for one in high)} MiB{of_quiet}", is_flat(high, quiet)


def _books(played: Played) -> Iterator[tuple[str, bool]]:
    found = imbalances(played.replicas, played.backend.by_sender)
    yield f"books: {'; '.join(found) or 'balanced'}", not found
