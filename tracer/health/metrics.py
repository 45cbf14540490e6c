"""How are metrics written? The one door to `prometheus_client`.

Keeps: they are written in a thread, so a scrape does not hold the loop, and in turn, so many scrapes do not either; what is read
from components is of one moment; each family of the table is there, and beside them only those of the process itself.
Must not know: what the numbers mean.
Source: Prometheus exposition formats; OpenMetrics 1.0.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from prometheus_client import Counter, Gauge, Histogram, ProcessCollector, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from tracer.health import families
from tracer.health.caps import Caps
from tracer.health.counting import COUNTED, Addition, additions
from tracer.health.families import FAMILIES, Family, Type
from tracer.health.readings import Readings, Values
from tracer.telemetry.measures import Measure, Subject

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_WRITERS: dict[str, Callable[[Collector], bytes]] = {
    TEXT: exposition.generate_latest,
    OPENMETRICS: openmetrics.generate_latest,
}


class Metrics:
    """Holds the histograms, and writes them with what is read for each scrape."""

    def __init__(self, version: str, read: Callable[[], Readings]) -> None:
        """Prepare. `read` gives the numbers of all other families; it is called for each scrape, on the loop."""
        self._version = version
        self._read = read
        self._histograms = {
            family: _histogram(family) for family in FAMILIES if family.type is Type.HISTOGRAM and not family.most
        }
        self._runs = {family: _Series(family) for family in COUNTED}
        self._process = ProcessCollector(registry=None)
        self._turn = asyncio.Lock()

    def observe_request(self, seconds: float) -> None:
        """Take in how long one try to send a request took."""
        self._observe(families.REQUEST_DURATION, seconds)

    def observe_lag(self, seconds: float) -> None:
        """Take in how long it took from when a span was due until it was acknowledged."""
        self._observe(families.DELIVERY_LAG, seconds)

    def observe_stall(self, seconds: float) -> None:
        """Take in how late the heartbeat was."""
        self._observe(families.LOOP_STALL, seconds)

    def count(self, one: Measure | Subject, now_s: float) -> None:
        """Take in what has ended of a run, or is expected to. now_s: seconds from some moment."""
        for addition in additions(one):
            self._runs[addition.family].add(addition, now_s)

    def forget_runs(self) -> None:
        """Begin to count anew: somebody else counts from here on."""
        self._runs = {family: _Series(family) for family in COUNTED}

    async def render(self, accept: str) -> tuple[str, bytes]:
        """Give content type and text of all metrics as they are now: OpenMetrics if the header Accept names it."""
        content_type = OPENMETRICS if "application/openmetrics-text" in accept.lower() else TEXT
        async with self._turn:
            return content_type, await asyncio.to_thread(_WRITERS[content_type], self.snapshot())

    def snapshot(self) -> Collector:
        """Give the numbers of now, as they are written."""
        return _Scrape(tuple(self._collect()), [*self._runs.values(), self._process])

    def _observe(self, family: Family, seconds: float) -> None:
        self._histograms[family].observe(max(0.0, seconds))  # clocks may jump, and a sum must not shrink

    def _collect(self) -> Iterator[Metric]:
        capped: Values = {(family.name,): one.caps.capped for family, one in self._runs.items()}
        readings: Readings = {**self._read(), families.SERIES_CAPPED: capped, families.BUILD_INFO: {(self._version,): 1}}
        for family in FAMILIES:
            if family in self._histograms:
                yield from _without_created(self._histograms[family].collect())
            elif family not in self._runs:
                yield _metric(family, readings.get(family, {}))


@dataclass(frozen=True, slots=True)
class _Scrape:
    """The numbers of one moment; those about runs and of the process are read while they are written."""

    metrics: tuple[Metric, ...]
    others: list[Collector]

    def collect(self) -> Iterator[Metric]:
        yield from self.metrics
        for one in self.others:
            yield from one.collect()


class _Series(Collector):
    """A metric whose label values others choose."""

    def __init__(self, family: Family) -> None:
        self.caps = Caps(family)
        names = [label.name for label in family.labels]
        self._metric: Counter | Gauge | Histogram
        if family.type is Type.HISTOGRAM:
            self._metric = Histogram(family.name, family.help, names, buckets=family.buckets, registry=None)
        else:
            kind = Counter if family.type is Type.COUNTER else Gauge
            self._metric = kind(family.name, family.help, names, registry=None)
        self._highest: dict[tuple[str, ...], float] = {}
        """Of a gauge."""

    def add(self, addition: Addition, now_s: float) -> None:
        labels, gone = self.caps.admit(tuple(_texts(addition.labels)), now_s)
        for one in gone:
            self._metric.remove(*one)
            self._highest.pop(one, None)
        example = {"trace_id": addition.trace_id.hex(), "span_id": addition.span_id.hex()} if addition.trace_id else None
        match self._metric:
            case Counter():
                self._metric.labels(*labels).inc(addition.value, example)
            case Histogram():
                self._metric.labels(*labels).observe(addition.value, example)
            case Gauge():
                self._highest[labels] = max(addition.value, self._highest.get(labels, addition.value))
                self._metric.labels(*labels).set(self._highest[labels])

    def collect(self) -> Iterator[Metric]:
        return _without_created(self._metric.collect())


def _histogram(family: Family) -> Histogram:
    return Histogram(family.name, family.help, buckets=family.buckets, registry=None)


def _metric(family: Family, values: Values) -> Metric:
    names = [label.name for label in family.labels]
    if family.type is Type.GAUGE:
        gauge = GaugeMetricFamily(family.name, family.help, labels=names)
        for labels, value in values.items():
            gauge.add_metric(_texts(labels), value)
        return gauge
    counter = CounterMetricFamily(family.name, family.help, labels=names)
    born: Values = dict.fromkeys(product(*(label.values for label in family.labels)), 0.0)
    for labels, value in {**born, **values}.items():
        counter.add_metric(_texts(labels), value)
    return counter


def _texts(labels: Iterable[str]) -> list[str]:
    """Write label values as UTF-8 can hold them."""
    return [text.encode("utf-8", "replace").decode() for text in labels]


def _without_created(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """Leave out when each histogram was made: a series more for each, which says nothing."""
    for metric in metrics:
        metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
        yield metric
