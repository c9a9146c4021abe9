"""What others ask the process about itself: is it alive, may it be sent requests."""

import time
from collections.abc import Callable, Iterable

import msgspec

START_SECONDS = 10.0
"""How long a cluster may take to be read before it counts as one that does not answer."""


class ClusterState(msgspec.Struct, frozen=True):
    """One cluster, as its informers see it.

    `synced`: it was read once, `reachable`: it tells us what changes, `silent`: it is known not to answer;
    `last_contact` in seconds since 1970, 0.0 for never.
    """

    name: str
    synced: bool
    reachable: bool
    silent: bool
    last_contact: float


class Readiness:
    """Ready once every cluster is read, or known not to answer: a dead one must not take the others down."""

    def __init__(
        self,
        clusters: Callable[[], Iterable[ClusterState]],
        *,
        patience: float = START_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._clusters = clusters
        self._clock = clock
        self._until = clock() + patience
        self.stopping = False

    def obstacle(self) -> str:
        """ "" if requests may come, else what stands in the way."""
        if self.stopping:
            return "the server is stopping"
        if self._clock() >= self._until:
            return ""
        waiting = [state.name for state in self._clusters() if not (state.synced or state.silent)]
        return f"reading what is on cluster {', '.join(waiting)}" if waiting else ""

    def report(self) -> dict[str, dict[str, bool]]:
        """For people: the state of each cluster."""
        return {
            state.name: {"reachable": state.reachable, "synced": state.synced} for state in self._clusters()
        }
