"""What the controls of the Pod Security Standards are made of, and how they word what they find."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Object = dict[str, Any]


class Violation(NamedTuple):
    """What a control found: `host namespaces (hostNetwork=true)`."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})"


CheckPod = Callable[[Object, Object], Violation | None]
"""Looks at the metadata and the spec of a pod, or of a template for pods."""


class Check(NamedTuple):
    """One control. `versions` are its revisions, oldest first, each with the minor version that brought it.

    `overrides` names the baseline controls that it stands in for: it is stricter, and one is enough.
    """

    id: str
    versions: tuple[tuple[int, CheckPod], ...]
    overrides: tuple[str, ...] = ()


def containers(spec: Object) -> Iterator[Object]:
    """Every container, in the order in which the real server visits them."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def context(pod_or_container: Object) -> Object:
    found: Object = pod_or_container.get("securityContext") or {}
    return found


def names(found: Iterable[Object]) -> list[str]:
    return [container.get("name", "") for container in found]


def quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def plural(count: int, one: str, many: str = "") -> str:
    return one if count == 1 else many or f"{one}s"


def listed(one: str, items: list[str]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{plural(len(items), one)} {quoted(items)}"


def setters(pod: bool, bad: list[str], *others: str) -> str:
    """Who sets what must not be set: `pod and containers "a", "b"`."""
    found = ["pod"] if pod else []
    if bad:
        found.append(listed("container", bad))
    return " and ".join([*found, *others])


def bad_setters(spec: Object, is_bad: Callable[[Object], bool]) -> str:
    """Whether the pod's own security context is bad, and those of which containers; "" where none is."""
    return setters(is_bad(context(spec)), names(c for c in containers(spec) if is_bad(context(c))))
