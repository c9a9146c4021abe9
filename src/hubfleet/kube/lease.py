"""A Lease: at most one process at a time does what must run once."""

from collections.abc import Awaitable, Callable

from hubfleet.kube.client import Client


class Elector:
    """Contends for the Lease `namespace/name`, as client-go's leaderelection does."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 15.0,
        deadline: float = 10.0,
        retry: float = 2.0,
    ):
        self.holding = False

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` whenever we hold the lease, cancels it when we lose it; until cancelled itself."""
        raise NotImplementedError
