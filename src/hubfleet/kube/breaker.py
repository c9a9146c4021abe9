"""A circuit breaker per cluster: a dead cluster is asked once in a while, not by every request.

Only silence counts (refused, reset, timed out). Any answer, an error included, shows that the API server is
there and closes the circuit. Pure: the caller reports what happened, the clock is given.
"""

import time
from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    CLOSED = "closed"  # requests pass
    OPEN = "open"  # requests are refused until the pause is over
    HALF_OPEN = "half-open"  # one request is under way to find out; the others are refused


class Breaker:
    """Opens after `threshold` failures in a row, for `pause` seconds, doubled by a failed probe."""

    def __init__(
        self,
        *,
        threshold: int = 5,
        pause: float = 2.0,
        longest: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.threshold = threshold
        self.failures = 0
        self._shortest = pause
        self._pause = pause
        self._longest = longest
        self._clock = clock
        self._until = 0.0
        self.state = State.CLOSED

    def admit(self) -> float:
        """0.0 where the request may be sent (then report how it went), else the seconds until it may be."""
        if self.state is State.CLOSED:
            return 0.0
        left = self._until - self._clock()
        if self.state is State.OPEN and left <= 0:
            self.state = State.HALF_OPEN
            return 0.0
        return max(left, 0.1)

    def succeed(self) -> None:
        """The cluster answered."""
        self.failures = 0
        self._pause = self._shortest
        self.state = State.CLOSED

    def fail(self) -> None:
        """The cluster did not answer."""
        self.failures += 1
        if self.state is State.HALF_OPEN:
            self._pause = min(self._pause * 2, self._longest)
        elif self.state is State.OPEN or self.failures < self.threshold:
            return  # a request from before the circuit opened says nothing new
        self.state = State.OPEN
        self._until = self._clock() + self._pause

    def abandon(self) -> None:
        """A request was given up by its caller: it says nothing, but a probe makes room for the next one."""
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN
