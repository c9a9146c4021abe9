"""A followed log's claim on us: how many pods it reads at once, and how long its reader may go on reading.

A log of a job is a stream from the cluster for each of its pods, so each of them takes a turn, not only the
request: one who follows a thousand jobs of a hundred pods would open a hundred thousand connections else.

The request was allowed when it began. That was hours ago, and a token may have been taken back since.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hubfleet.errors import UserError
from hubfleet.gates import Owner
from hubfleet.limits import Turns, Verdict

INVALID = b"kbatch: this token is no longer valid"

SHORTEST = 1.0
"""Seconds between two looks at a token, where the Hub's answers are kept for less."""


class Following:
    """One followed log. One turn is its own from `enter` to `close`; each further pod takes another one.

    `wake` is set whenever there is something to look at: a turn that came, or the end of its right to read.
    """

    __slots__ = (
        "_check",
        "_checking",
        "_ended",
        "_held",
        "_owner",
        "_seconds",
        "_turns",
        "_used",
        "_waits",
        "wake",
    )

    def __init__(self, turns: Turns[Owner, "Following"], owner: Owner):
        self._turns = turns
        self._owner = owner
        self._held = self._used = 0
        self._waits = False
        self._check: Callable[[], Awaitable[object]] | None = None
        self._checking: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._seconds = 0.0
        self.wake = asyncio.Event()
        self._ended = False

    def may_read(self) -> bool:
        """Whether its reader may go on."""
        return not self._ended

    def enter(self) -> bool:
        """Whether it has its own turn; it waits for none, and must be closed then."""
        verdict = self._turns.ask(self._owner, self)
        if verdict is Verdict.WAIT:
            self._turns.withdraw(self._owner, self)
        self._held = int(verdict is Verdict.GO)
        return verdict is Verdict.GO

    @property
    def free(self) -> bool:
        """Whether it has a turn that no pod uses: `take` will give it."""
        return self._held > self._used

    def take(self) -> bool:
        """Whether there is a turn for one more pod; where not, `wake` tells of it."""
        if not self.free and not self._waits:
            verdict = self._turns.ask(self._owner, self)
            self._held += verdict is Verdict.GO
            self._waits = verdict is Verdict.WAIT
        if not self.free:
            return False
        self._used += 1
        return True

    def give_back(self) -> None:
        """A pod has been read to its end."""
        self._used -= 1
        self._release(max(1, self._used))
        if self._waits:
            self.wake.set()

    def settle(self) -> None:
        """No pod waits any more."""
        self._stop_waiting()
        self._release(max(1, self._used))

    def close(self) -> None:
        """Gives back all that it has."""
        self._stop_waiting()
        self._release(0)
        if self._checking is not None:
            self._checking.cancel()
        self._check = self._checking = None

    def check(self, check: Callable[[], Awaitable[object]], seconds: float) -> None:
        """From now on `check` is asked every so many seconds; a 401 or a 403 ends the right to read.

        Whatever else it raises says nothing of the token: a Hub that is away ends no log.
        """
        self._check, self._seconds = check, max(SHORTEST, seconds)
        self._again()

    def _again(self) -> None:
        self._checking = asyncio.get_running_loop().call_later(self._seconds, self._start)

    def _start(self) -> None:
        self._checking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        assert self._check is not None
        try:
            await self._check()
        except UserError as e:
            if e.status in (401, 403):
                self._ended = True
                self.wake.set()
        finally:
            if self._check is not None and not self._ended:
                self._again()

    def _granted(self) -> None:
        self._held += 1
        self._waits = False
        self.wake.set()

    def _stop_waiting(self) -> None:
        if self._waits:
            self._waits = False
            self._turns.withdraw(self._owner, self)

    def _release(self, keep: int) -> None:
        for _ in range(self._held - keep):  # counted before: one that is given back may come back at once
            self._held -= 1
            for _, following in self._turns.leave(self._owner):
                following._granted()
