"""When an Event happened, and what a pull's text says."""

import pytest

from tests.kit import Json, at, at_ns, read
from tracer.tekton.event import Event, PullReport, parse_pull_report
from tracer.tekton.times import Grain


def event(name: str, **more: object) -> Event:
    """Make an Event about a container."""
    about = {"kind": "Pod", "uid": "p", "fieldPath": "spec.initContainers{prepare}"}
    made: Json = {"kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "uid": "e"}, "involvedObject": about, **more}
    value = read(made)
    assert isinstance(value, Event)
    return value


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (event("a.b", eventTime="2026-08-20T10:00:01.662000Z", firstTimestamp=at(1)), (at_ns(1.662), Grain.MICROSECOND)),
        (event(f"pod.{at_ns(1.5):x}", firstTimestamp=at(1)), (at_ns(1.5), Grain.NANOSECOND)),
        (event(f"pod.{at_ns(2.999):x}", firstTimestamp=at(1)), (at_ns(2.999), Grain.NANOSECOND)),
        (event(f"pod.{at_ns(3):x}", firstTimestamp=at(1)), (at_ns(1), Grain.SECOND)),
        (event(f"pod.{at_ns(0.9):x}", firstTimestamp=at(1)), (at_ns(1), Grain.SECOND)),
        (event("pod.xyz", firstTimestamp=at(1)), (at_ns(1), Grain.SECOND)),
        (event("pod", firstTimestamp=None, eventTime=None), None),
    ],
)
def test_instant(one: Event, expected: tuple[int, Grain] | None) -> None:
    """`eventTime` first, then the nanoseconds in the name if they lie in the two seconds from `firstTimestamp` on, then that."""
    assert one.instant == expected


def test_container() -> None:
    """The container stands in the field path."""
    assert event("a").container == "prepare"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'Successfully pulled image "x" in 1.154s (11.015s including waiting). Image size: 45716159 bytes.',
            PullReport(45_716_159, 1154, 9861),
        ),
        ('Successfully pulled image "x" in 86ms (86ms including waiting)', PullReport(None, 86, 0)),
        ('Successfully pulled image "x" in 1m2.5s', PullReport(None, 62_500, None)),
        ('Container image "x" already present on machine', PullReport(None, None, None)),
        ("in 350µs (1h0m0.5s including waiting)", PullReport(None, 0, 3_600_500)),
        ("in (", PullReport(None, None, None)),
        ("in " + "9" * 5000 + "s", PullReport(None, None, None)),
    ],
)
def test_pull_report(text: str, expected: PullReport) -> None:
    """What parses is told, what does not is left out."""
    assert parse_pull_report(text) == expected
