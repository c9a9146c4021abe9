"""The clusters that the operator connected, each with a client of its own: nothing is shared between them."""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from hubfleet.kube.breaker import Breaker
from hubfleet.kube.client import Client
from hubfleet.settings import ClusterSettings


class Cluster:
    """One connected cluster: `namespace_of_context` is the context's (or our own pod's) namespace."""

    def __init__(self, name: str, client: Client, breaker: Breaker, namespace_of_context: str):
        self.name = name
        self.client = client
        self.breaker = breaker
        self.namespace_of_context = namespace_of_context


class Clusters(Mapping[str, Cluster]):
    """All clusters by name; `async with Clusters(settings.clusters) as clusters:` opens and closes them."""

    def __init__(self, settings: tuple[ClusterSettings, ...], *, environ: Mapping[str, str] | None = None):
        self._clusters: dict[str, Cluster] = {}

    @property
    def default(self) -> Cluster:
        """The first one of the settings."""
        return next(iter(self._clusters.values()))

    def __getitem__(self, name: str) -> Cluster:
        return self._clusters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clusters)

    def __len__(self) -> int:
        return len(self._clusters)

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
