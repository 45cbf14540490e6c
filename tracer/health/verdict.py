"""Are we alive, and are we ready? Judged from facts alone.

Keeps: neither depends on the backend, and alive not on the API server: to start us again would mend neither. Once everything was
listed, an API server that is away does not make us unready: that would only hide the metrics.
Must not know: how the facts are found, and who asks.
Source: operations 10.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LONGEST_STALL_S = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be so."""

    name: str
    is_ok: bool
    why: str = ""
    """What is wrong, if it is not so."""


Checks = tuple[Check, ...]


def live(heartbeat_age_s: float) -> Checks:
    """Say whether we are alive, from how long ago the heart beat last."""
    return (Check("heartbeat", heartbeat_age_s < LONGEST_STALL_S, f"was last felt {heartbeat_age_s:.0f} s ago"),)


def ready(awaited: Mapping[str, str], *, was_synced: bool, is_stopping: bool) -> Checks:
    """Say whether we are ready: everything was listed once, and we are not stopping.

    awaited: what is still to be listed, with the reason in a word if that fails; empty if it does not.
    """
    waits = "; ".join(f"{what}: {trouble or 'being listed'}" for what, trouble in awaited.items())
    return (
        Check("synced", was_synced, f"waits for {waits or 'the first list'}"),
        Check("running", not is_stopping, "is stopping"),
    )
