"""The time that one operation has, passed down through all of its requests instead of a timeout for each."""

import time
from collections.abc import Callable


class Budget:
    """`seconds` from now; everything done for one operation takes from the same budget."""

    __slots__ = ("_clock", "_deadline")

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._deadline = clock() + seconds

    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._deadline - self._clock())

    @property
    def expired(self) -> bool:
        return self._clock() >= self._deadline

    def __repr__(self) -> str:
        return f"Budget({self.left():.3f})"
