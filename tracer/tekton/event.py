"""What does an Event about a Pod say, and at which instant?"""

import re
from dataclasses import dataclass

import msgspec

from tracer.tekton.meta import Text
from tracer.tekton.times import SECOND_NS, Grain, Time, instant_ns


class EventMeta(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An Event's metadata; the reporter's clock in nanoseconds stands as hex at the end of its name."""

    uid: Text
    name: Text


class InvolvedObject(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the Event is about."""

    kind: str = ""
    uid: str = ""
    field_path: str = ""


class Event(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """An Event of the core group."""

    metadata: EventMeta
    involved_object: InvolvedObject = InvolvedObject()
    reason: str = ""
    message: str = ""
    first_timestamp: Time | None = None
    event_time: Time | None = None

    @property
    def container(self) -> str | None:
        """The container that the Event is about."""
        found = _FIELD_PATH.fullmatch(self.involved_object.field_path)
        return found[1] if found else None

    @property
    def instant(self) -> tuple[int, Grain] | None:
        """When it first happened (Unix nanoseconds), and how finely that is known.

        The name's nanoseconds count only if they lie in the two seconds from `firstTimestamp` on.
        Source: kubernetes client-go tools/record/event.go (makeEvent), tools/record/util/util.go.
        """
        event_time = instant_ns(self.event_time)
        if event_time is not None:
            return event_time, Grain.MICROSECOND
        first = instant_ns(self.first_timestamp)
        if first is None:
            return None
        _, _, suffix = self.metadata.name.rpartition(".")
        if _HEX.fullmatch(suffix) and first <= (exact := int(suffix, 16)) < first + 2 * SECOND_NS:
            return exact, Grain.NANOSECOND
        return first, Grain.SECOND


@dataclass(frozen=True, slots=True)
class PullReport:
    """What the text of a `Pulled` Event says; older kubelets say less."""

    size_bytes: int | None
    duration_ms: int | None
    wait_ms: int | None
    """How long the pull waited for others before it."""


def parse_pull_report(message: str) -> PullReport:
    """Read size and durations out of a `Pulled` Event's text; what does not parse is None."""
    size = _SIZE.search(message)
    times = _TIMES.search(message)
    duration = _milliseconds(times[1]) if times else None
    waited = _milliseconds(times[2]) if times and times[2] else None
    return PullReport(
        size_bytes=int(size[1]) if size else None,
        duration_ms=duration,
        wait_ms=max(0, waited - duration) if waited is not None and duration is not None else None,
    )


def _milliseconds(text: str) -> int | None:
    """Read a duration as Go prints it, such as `1m2.5s`, in whole milliseconds."""
    total_us = sum(round(float(number) * _UNITS_US[unit]) for number, unit in _PART.findall(text))
    return total_us // 1_000 if total_us < _LONGEST_PULL_US else None


_FIELD_PATH = re.compile(r"spec\.(?:initContainers|containers|ephemeralContainers)\{([^{}]+)\}")
_HEX = re.compile(r"[0-9a-f]{8,16}")
_DURATION = r"((?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:h|ms|m|s|us|µs|ns))+)"
_TIMES = re.compile(rf"\bin {_DURATION}(?: \({_DURATION} including waiting\))?")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)")
_SIZE = re.compile(r"Image size: ([0-9]{1,18}) bytes")
_UNITS_US = {"h": 3.6e9, "m": 6e7, "s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}
_LONGEST_PULL_US = 10**15
