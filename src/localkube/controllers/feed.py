"""What the controllers see of the world: every object once at the start, then every change as it is written.

Handlers run inside the write, so what they keep (indexes by owner, by node, by namespace) is never behind
the store: a controller that has just created a pod finds it in its index at once, and the "expectations"
that Kubernetes' controllers need against their lagging caches have no counterpart here. The price is that a
handler must do nothing but remember and enqueue: a write from within a write would reorder history.
"""

from collections.abc import Callable
from typing import Any, Protocol

import structlog

from localkube.apiserver.resources import Resource, Resources
from localkube.apiserver.store import Change, Store

Object = dict[str, Any]
Handler = Callable[[str, Object | None, Object | None], None]
"""Called with the resource's key, the object before (None: it is new) and now (None: it is gone)."""

log = structlog.get_logger(__name__)


class Source(Protocol):
    """The part of the registry that a feed needs."""

    @property
    def store(self) -> Store: ...

    @property
    def resources(self) -> Resources: ...


class Feed:
    """Subscriptions to the store. Add handlers with `on`, then call `start` once."""

    def __init__(self, source: Source) -> None:
        self._store = source.store
        self._resources = source.resources
        self._handlers: dict[str, list[Handler]] = {}
        self._everywhere: list[tuple[Callable[[Resource], bool], Handler]] = []
        self._started = False
        self._close: list[Callable[[], None]] = []

    def on(self, key: str, handler: Handler) -> None:
        """Have `handler` told of every object of a resource (`jobs.batch`)."""
        self._handlers.setdefault(key, []).append(handler)

    def on_every(self, handler: Handler, wanted: Callable[[Resource], bool] = lambda resource: True) -> None:
        """Have `handler` told of the objects of every resource that is wanted, those to come included."""
        self._everywhere.append((wanted, handler))
        for resource in self._resources.stored():
            if wanted(resource):
                self.on(resource.key, handler)

    def start(self) -> None:
        """Tell the handlers of all that exists, and from then on of every change."""
        self._started = True
        self._resources.on_added(self._added)
        for key, handlers in self._handlers.items():
            subscription = self._store.subscribe(key, None, self._receiver(key, handlers))
            self._close.append(subscription.close)
        for key, handlers in self._handlers.items():
            for version in self._store.list(key):
                _tell(handlers, key, None, version.object)

    def _added(self, resource: Resource) -> None:
        """A resource that is new: it has no objects yet, unless it was served before."""
        if not self._started or resource.key in self._handlers:
            return
        handlers = [handler for wanted, handler in self._everywhere if wanted(resource)]
        if handlers:
            self._handlers[resource.key] = handlers
            subscription = self._store.subscribe(resource.key, None, self._receiver(resource.key, handlers))
            self._close.append(subscription.close)

    def stop(self) -> None:
        self._started = False
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
