"""The limits put to work: tasks that wait for their turn, a rate for each owner, the answer to too much."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from hubfleet.errors import UserError
from hubfleet.limits import TokenBucket, Turns, Verdict

PATIENCE = 5.0
"""Seconds for which a request waits for its turn; then it is refused. Clients give up after 5 to 60."""

REMEMBERED = 10_000
"""Owners whose rate is known. The one that was not seen for longest is forgotten first."""

Owner = tuple[str, str]
"""`("user" or "service", name)`; where nobody is known, `("address", address)` with a token and
`("nobody", address)` without."""


class Refused(UserError):
    """429, with words that name the limit and its value."""

    def __init__(self, detail: str, retry_after: float):
        super().__init__(429, detail, retry_after=max(1.0, retry_after))


class Gate:
    """Turns, for tasks: `enter` waits for one."""

    def __init__(self, *, each: int, waiting: int, in_all: int | None = None):
        self._turns: Turns[Owner, asyncio.Future[None]] = Turns(each=each, waiting=waiting, in_all=in_all)

    async def enter(self, owner: Owner, patience: float = PATIENCE) -> bool:
        """Whether there was a turn within `patience` seconds; then `leave` must follow."""
        turn = asyncio.get_running_loop().create_future()
        match self._turns.ask(owner, turn):
            case Verdict.GO:
                return True
            case Verdict.FULL:
                return False
        try:
            # It cancels no future, so that a turn that comes in the moment of our end is not lost.
            await asyncio.wait([turn], timeout=patience)
        except asyncio.CancelledError:
            if turn.done():
                self.leave(owner)
            else:
                self._turns.withdraw(owner, turn)
            raise
        if not turn.done():
            self._turns.withdraw(owner, turn)
        return turn.done()

    def leave(self, owner: Owner) -> None:
        """Gives the turn to whoever is next."""
        for _, turn in self._turns.leave(owner):
            turn.set_result(None)

    def __len__(self) -> int:
        """Owners who have a turn, or wait for one."""
        return len(self._turns)


class Rates:
    """A bucket for each owner: of the last REMEMBERED who came."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic):
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[Owner, TokenBucket] = OrderedDict()

    def take(self, owner: Owner, amount: float = 1.0, *, patience: float = PATIENCE) -> tuple[bool, float]:
        """`(True, seconds to wait before going on)`, or `(False, seconds until it is worth trying again)`."""
        now = self._clock()
        bucket = self._buckets.get(owner)
        if bucket is None:
            bucket = self._buckets[owner] = TokenBucket(self._rate, self._burst)
            if len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(owner)
        wait = bucket.wait(now, amount)
        if wait > patience:
            return False, wait
        bucket.take(now, amount)
        return True, wait

    def __len__(self) -> int:
        return len(self._buckets)
