"""Reads lines in a task of its own, one read ahead of what is taken."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing


class Reader:
    """The lines of `source`, which is one pod's; `wake` is set when there are some, and at the end.

    `ended` is called once, whatever the end is.
    """

    def __init__(
        self,
        name: str,
        source: AsyncGenerator[list[bytes]],
        wake: asyncio.Event,
        ended: Callable[[], None],
    ):
        self.name = name
        self._source = source
        self._wake = wake
        self._lines: list[bytes] = []
        self._taken = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        # Not in `_run`, which is never begun where it is cancelled at once.
        self._task.add_done_callback(lambda _: ended())

    @property
    def done(self) -> bool:
        return self._task.done() and not self._lines

    def take(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        self._taken.set()
        return lines

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        try:
            async with aclosing(self._source) as source:
                async for lines in source:
                    if self._lines:
                        self._taken.clear()
                        await self._taken.wait()
                    self._lines = lines
                    self._wake.set()
        finally:
            self._wake.set()
