"""Prometheus figures, in a registry of the application's own."""

from collections.abc import Callable, Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hubfleet.probes import ClusterState

CONTENT_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # Litestar adds it

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# From a list answered from memory to a submission on a busy cluster; followed logs are beyond, on purpose.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """What is counted; `clusters` is asked at each scrape."""

    def __init__(self, clusters: Callable[[], Iterable[ClusterState]]):
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hubfleet_requests",
            "Requests answered, by route and status (0: the client went away before).",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "hubfleet_request_seconds",
            "Seconds from a request to the end of its answer.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.under_way = Gauge(
            "hubfleet_requests_under_way",
            "Requests whose answer has not ended, followed logs included.",
            registry=self._registry,
        )
        self.refused = Counter(
            "hubfleet_requests_refused",
            "Requests answered with 429, by the limit that they met.",  # never by user: a label without end
            ["limit"],
            registry=self._registry,
        )
        self._registry.register(_ClusterCollector(clusters))

    def ended(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "other"  # a label that clients could make up without end
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def page(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)


class _ClusterCollector(Collector):
    def __init__(self, clusters: Callable[[], Iterable[ClusterState]]):
        self._clusters = clusters

    def collect(self) -> Iterable[Metric]:
        reachable = GaugeMetricFamily(
            "hubfleet_cluster_reachable", "1 while the cluster tells us what changes.", labels=["cluster"]
        )
        contact = GaugeMetricFamily(
            "hubfleet_cluster_last_contact_timestamp_seconds",
            "When the cluster last spoke, seconds since 1970; 0 for never.",
            labels=["cluster"],
        )
        for state in self._clusters():
            reachable.add_metric([state.name], float(state.reachable))
            contact.add_metric([state.name], state.last_contact)
        yield reachable
        yield contact
