"""What the controllers see of the world: every object once at the start, then every change as it is written.

Handlers run inside the write, so what they keep (indexes by owner, by node, by namespace) is never behind
the store: a controller that has just created a pod finds it in its index at once, and the "expectations"
that Kubernetes' controllers need against their lagging caches have no counterpart here. The price is that a
handler must do nothing but remember and enqueue: a write from within a write would reorder history.
"""

from collections.abc import Callable
from typing import Any, Protocol

import structlog

from localkube.apiserver.store import Change, Store

Object = dict[str, Any]
Handler = Callable[[str, Object | None, Object | None], None]
"""Called with the resource's key, the object before (None: it is new) and now (None: it is gone)."""

log = structlog.get_logger(__name__)


class Source(Protocol):
    """The part of the registry that a feed needs."""

    @property
    def store(self) -> Store: ...


class Feed:
    """Subscriptions to the store. Add handlers with `on`, then call `start` once."""

    def __init__(self, source: Source) -> None:
        self._store = source.store
        self._handlers: dict[str, list[Handler]] = {}
        self._close: list[Callable[[], None]] = []

    def on(self, key: str, handler: Handler) -> None:
        """Have `handler` told of every object of a resource (`jobs.batch`)."""
        self._handlers.setdefault(key, []).append(handler)

    def start(self) -> None:
        """Tell the handlers of all that exists, and from then on of every change."""
        for key, handlers in self._handlers.items():
            subscription = self._store.subscribe(key, None, self._receiver(key, handlers))
            self._close.append(subscription.close)
        for key, handlers in self._handlers.items():
            for version in self._store.list(key):
                _tell(handlers, key, None, version.object)

    def stop(self) -> None:
        for close in self._close:
            close()
        self._close.clear()

    def _receiver(self, key: str, handlers: list[Handler]) -> Callable[[Change], None]:
        def receive(change: Change) -> None:
            before = change.previous.object if change.previous is not None else None
            now = None if change.type == "DELETED" else change.version.object
            _tell(handlers, key, before, now)

        return receive


def _tell(handlers: list[Handler], key: str, before: Object | None, now: Object | None) -> None:
    for handler in handlers:
        try:
            handler(key, before, now)
        except Exception:
            # the write that this is part of has happened: it is answered, and others hear of it
            log.exception("a controller's handler failed", resource=key)
