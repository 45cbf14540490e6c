"""How are metrics written? The one door to `prometheus_client`.

Keeps: the numbers of one scrape are of one moment; they are written in a thread, so a scrape does not hold the loop, and in turn,
so many scrapes do not either; each family of the table is there, and beside them only those of the process itself.
Must not know: what the numbers mean.
Source: Prometheus exposition formats; OpenMetrics 1.0.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from prometheus_client import Histogram, ProcessCollector, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from tracer.health import families
from tracer.health.families import FAMILIES, Family, Type
from tracer.health.readings import Readings, Values

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
        self._histograms = {family: _histogram(family) for family in FAMILIES if family.type is Type.HISTOGRAM}
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

    async def render(self, accept: str) -> tuple[str, bytes]:
        """Give content type and text of all metrics as they are now: OpenMetrics if the header Accept names it."""
        content_type = OPENMETRICS if "application/openmetrics-text" in accept.lower() else TEXT
        async with self._turn:
            scrape = _Scrape(tuple(self._collect()), self._process)
            return content_type, await asyncio.to_thread(_WRITERS[content_type], scrape)

    def _observe(self, family: Family, seconds: float) -> None:
        self._histograms[family].observe(max(0.0, seconds))  # clocks may jump, and a sum must not shrink

    def _collect(self) -> Iterator[Metric]:
        readings: Readings = {**self._read(), families.BUILD_INFO: {(self._version,): 1}}
        for family in FAMILIES:
            if family.type is Type.HISTOGRAM:
                yield from _without_created(self._histograms[family].collect())
            else:
                yield _metric(family, readings.get(family, {}))


@dataclass(frozen=True, slots=True)
class _Scrape:
    """The numbers of one moment; those of the process are read from the system while they are written."""

    metrics: tuple[Metric, ...]
    process: Collector

    def collect(self) -> Iterator[Metric]:
        yield from self.metrics
        yield from self.process.collect()


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
