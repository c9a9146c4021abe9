"""How much of a shared thing each owner gets: a rate, and turns. Pure: time comes in, decisions come out.

An owner is whoever must not be able to crowd out the others: a user, or an address where nobody is known yet.
`admission` puts them before the service.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Ticket = TypeVar("Ticket", bound=Hashable)


class TokenBucket:
    """`burst` at once, and `rate` a second after that. Times are seconds of any clock that never goes back.

    One number is the whole state (the generic cell rate algorithm): when the bucket will be full again.
    """

    __slots__ = ("_full_at", "burst", "rate")

    def __init__(self, rate: float, burst: float):
        self.rate = rate
        self.burst = burst
        self._full_at = float("-inf")

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Seconds until `amount` may be taken; 0.0 is now. More than a burst may be taken of a full one."""
        missing = max(0.0, self._full_at - now) * self.rate
        return max(0.0, missing + min(amount, self.burst) - self.burst) / self.rate

    def take(self, now: float, amount: float = 1.0) -> None:
        """Takes, in advance if need be: whoever comes next waits for it."""
        self._full_at = max(self._full_at, now) + amount / self.rate

    def is_full(self, now: float) -> bool:
        """A full bucket remembers nothing, and may be forgotten."""
        return self._full_at <= now


class Verdict(Enum):
    """What becomes of a ticket."""

    GO = "go"
    WAIT = "wait"
    FULL = "full"


class _Line(Generic[Ticket]):
    """One owner's turns, and who waits for one."""

    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.waiting: deque[Ticket] = deque()


class Turns(Generic[Owner, Ticket]):
    """At most `each` turns for one owner, and `in_all` for all; at most `waiting` of one owner wait.

    Owners who wait get free turns in rotation, one each: a thousand waiting tickets of one owner cost another
    who has one a single turn. Of one owner, who came first goes first. An owner without turns and tickets is
    forgotten.
    """

    def __init__(self, *, each: int, waiting: int, in_all: int | None = None):
        self._each = each
        self._waiting = waiting
        self._in_all = in_all
        self._held = 0
        self._lines: dict[Owner, _Line[Ticket]] = {}
        # Those who wait and have not all of their turns: whose turn it is next, first.
        self._rotation: OrderedDict[Owner, None] = OrderedDict()

    def ask(self, owner: Owner, ticket: Ticket) -> Verdict:
        """GO: it has its turn. WAIT: `leave` will name it, unless it withdraws. FULL: it was not taken."""
        line = self._lines.get(owner)
        held, waiting = (line.held, len(line.waiting)) if line is not None else (0, 0)
        free = (self._in_all is None or self._held < self._in_all) and held < self._each
        if free and not waiting:
            self._line(owner).held += 1
            self._held += 1
            return Verdict.GO
        if waiting >= self._waiting:
            return Verdict.FULL
        self._line(owner).waiting.append(ticket)
        if held < self._each:
            self._rotation.setdefault(owner)
        return Verdict.WAIT

    def leave(self, owner: Owner) -> list[tuple[Owner, Ticket]]:
        """Gives a turn back; those who have theirs now."""
        line = self._lines[owner]
        line.held -= 1
        self._held -= 1
        if line.waiting:
            self._rotation.setdefault(owner)
        self._forget(owner, line)
        return self._grant()

    def withdraw(self, owner: Owner, ticket: Ticket) -> None:
        """A ticket that waits no longer. Raises ValueError where it does not wait."""
        line = self._lines.get(owner)
        if line is None:
            raise ValueError(f"{owner!r} has no ticket")
        line.waiting.remove(ticket)
        if not line.waiting:
            self._rotation.pop(owner, None)
        self._forget(owner, line)

    def __len__(self) -> int:
        """Owners who are remembered."""
        return len(self._lines)

    def _grant(self) -> list[tuple[Owner, Ticket]]:
        granted = []
        while self._rotation and (self._in_all is None or self._held < self._in_all):
            owner, _ = self._rotation.popitem(last=False)
            line = self._lines[owner]
            granted.append((owner, line.waiting.popleft()))
            line.held += 1
            self._held += 1
            if line.waiting and line.held < self._each:
                self._rotation[owner] = None
        return granted

    def _line(self, owner: Owner) -> _Line[Ticket]:
        return self._lines.setdefault(owner, _Line())

    def _forget(self, owner: Owner, line: _Line[Ticket]) -> None:
        if not line.held and not line.waiting:
            del self._lines[owner]
