"""Wakes whoever waits for something to happen to a job or to a pod, and nobody else."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from hubfleet.kube.view import Change

JOB_NAME = "batch.kubernetes.io/job-name"

TOGETHER = 0.05
"""Seconds in which the changes of a job wake those who follow it once: its pods come in hundreds."""

Subject = tuple[str, str, str]
"""Namespace, "job" or "pod", name."""


class News:
    """Whether something has changed since `changed` was last taken back; at first, it has."""

    __slots__ = ("changed", "wake")

    def __init__(self, wake: asyncio.Event):
        self.changed = True
        self.wake = wake


class Changes:
    """One subscriber of each informer for all who wait: `tell_job` and `tell_pod` are what to subscribe."""

    def __init__(self) -> None:
        self._news: dict[Subject, set[News]] = {}
        self._namespaces: dict[str, int] = {}  # how many wait there: most changes are nobody's
        self._due: set[Subject] = set()

    @contextmanager
    def telling(self, subject: Subject, wake: asyncio.Event) -> Iterator[News]:
        """Sets `wake` after changes of a pod, or of a job and its pods, a moment later."""
        news = News(wake)
        namespace = subject[0]
        self._news.setdefault(subject, set()).add(news)
        self._namespaces[namespace] = self._namespaces.get(namespace, 0) + 1
        try:
            yield news
        finally:
            self._news[subject].discard(news)
            if not self._news[subject]:
                del self._news[subject]
            self._namespaces[namespace] -= 1
            if not self._namespaces[namespace]:
                del self._namespaces[namespace]

    def tell_job(self, change: Change[bytes]) -> None:
        item = change.new or change.old
        if item is not None:
            self._tell_later((item.namespace, "job", item.name))

    def tell_pod(self, change: Change[bytes]) -> None:
        item = change.new or change.old
        if item is None or item.namespace not in self._namespaces:
            return
        for news in self._news.get((item.namespace, "pod", item.name), ()):
            news.changed = True
            news.wake.set()
        if job := item.labels.get(JOB_NAME):
            self._tell_later((item.namespace, "job", job))

    def _tell_later(self, subject: Subject) -> None:
        found = self._news.get(subject, ())
        for news in found:
            news.changed = True
        if found and subject not in self._due:
            self._due.add(subject)
            asyncio.get_running_loop().call_later(TOGETHER, self._wake, subject)

    def _wake(self, subject: Subject) -> None:
        self._due.discard(subject)
        for news in self._news.get(subject, ()):
            news.wake.set()


async def within(seconds: float, event: asyncio.Event) -> bool:
    """Whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
