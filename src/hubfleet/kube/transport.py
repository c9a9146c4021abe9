"""Sends requests to one cluster: pools, time limits, what is tried again, and the circuit breaker."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from hubfleet.kube.budget import Budget
from hubfleet.kube.request import Request


class Transport:
    """The connections to one cluster."""

    seconds: float

    async def send(self, request: Request, budget: Budget | None = None) -> bytes:
        """The body of the answer."""
        raise NotImplementedError

    def stream(
        self, request: Request, budget: Budget | None = None, *, idle: float | None, buffer: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The chunks of an answer as they arrive."""
        raise NotImplementedError
