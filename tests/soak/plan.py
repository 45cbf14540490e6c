"""What happens in a soak, and when? Cycles that are alike, each with one stretch without a backend, some with restarts.

Keeps: what is not in the plan follows from its seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum


class Away(Enum):
    """How a backend is away."""

    REFUSED = "nobody listens"
    BUSY = "it answers 503"
    HUNG = "it takes requests and answers none before it is back"


class Restart(Enum):
    """How the process that leads ends, and what follows it."""

    TERM = "SIGTERM, then the next one"
    KILL = "SIGKILL, then the next one"
    TERM_BESIDE = "SIGTERM, beside a standby"
    KILL_BESIDE = "SIGKILL, beside a standby"

    @property
    def is_graceful(self) -> bool:
        """Whether it may end well."""
        return self in {Restart.TERM, Restart.TERM_BESIDE}

    @property
    def has_standby(self) -> bool:
        """Whether another one is warm before it ends."""
        return self in {Restart.TERM_BESIDE, Restart.KILL_BESIDE}


@dataclass(frozen=True, slots=True)
class Cycle:
    """One stretch with a backend, then one without, then another one with it."""

    away: Away
    restarts: tuple[tuple[float, Restart], ...] = ()
    """When in the cycle, and how."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A soak."""

    cycles: tuple[Cycle, ...]
    cycle_s: float
    away_from_s: float
    """When in a cycle the backend goes."""
    away_s: float
    runs_per_s: float
    """PipelineRuns; a run has 1.33 TaskRuns, as some are deleted early."""
    speed: float
    """How many times as fast as they say the runs live."""
    kept_s: tuple[float, float]
    """How long finished runs are kept, at least and at most, before they are deleted."""
    fault_every_s: float
    """How often a watch meets a fault."""
    back_within_s: float
    """After the backend is back: within how long the oldest of what is due must be younger than `LAG_S`."""
    has_election: bool
    seed: int = field(default=1)

    @property
    def lasts_s(self) -> float:
        """How long runs begin at least."""
        return self.cycle_s * len(self.cycles)

    def quiet_cycles(self) -> list[int]:
        """Name the cycles without a restart: what memory does in them is compared."""
        return [number for number, cycle in enumerate(self.cycles) if not cycle.restarts]

    def stretches(self) -> Iterator[tuple[float, Away]]:
        """Say when the backend goes, and how."""
        for number, cycle in enumerate(self.cycles):
            yield number * self.cycle_s + self.away_from_s, cycle.away

    def restarts(self) -> Iterator[tuple[float, Restart]]:
        """Say when processes end, and how."""
        for number, cycle in enumerate(self.cycles):
            for at_s, restart in cycle.restarts:
                yield number * self.cycle_s + at_s, restart


LAG_S = 10.0
CALM_S = 3.0
"""So long runs begin at least after the last restart and the last outage."""

LONG = Plan(
    cycles=(
        Cycle(Away.REFUSED, ((12, Restart.TERM), (75, Restart.KILL))),
        Cycle(Away.BUSY, ((45, Restart.KILL),)),
        Cycle(Away.HUNG),
        Cycle(Away.REFUSED),
        Cycle(Away.BUSY),
        Cycle(Away.HUNG, ((5, Restart.KILL_BESIDE), (40, Restart.TERM_BESIDE))),
    ),
    cycle_s=100,
    away_from_s=20,
    away_s=100 / 3,
    runs_per_s=12.6,
    speed=1,
    kept_s=(20, 60),
    fault_every_s=25,
    back_within_s=45,  # the longest pause between two tries is 30 s
    has_election=True,
)
"""A third of ten minutes without a backend, at 1,000 TaskRuns a minute."""

SHORT = Plan(
    cycles=(Cycle(Away.BUSY, ((1, Restart.TERM), (4, Restart.KILL))),),
    cycle_s=8,
    away_from_s=3,
    away_s=5,  # most of it after the kill, which excuses what it took along
    runs_per_s=6,
    speed=8,
    kept_s=(2, 3),
    fault_every_s=4,
    back_within_s=20,
    has_election=False,  # a killed holder's Lease is waited for: 15 s
)
"""The same in some twenty seconds, for every run of the tests."""
