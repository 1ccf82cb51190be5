"""Metrics for Prometheus. No label names a task: the number of series stays small."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from taskplane.gateway.figures import Figures


class _FiguresCollector(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        figures = self._figures
        yield GaugeMetricFamily("taskplane_units", "Units that are known.", figures.units)
        yield GaugeMetricFamily("taskplane_units_connected", "Units that are connected.", figures.units_connected)
        yield GaugeMetricFamily("taskplane_slots", "Slots of all connected units.", figures.slots)
        yield GaugeMetricFamily("taskplane_slots_used", "Slots that hold a RUNNING task.", figures.slots_used)
        yield GaugeMetricFamily(
            "taskplane_watch_followers", "Watches, and verbs that wait for their effect.", figures.watch_followers
        )


def exposition(figures: Figures) -> bytes:
    """Return the statistics and the metrics of the process in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FiguresCollector(figures))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return generate_latest(registry)
