"""Admission by the Pod Security Standards: what is refused, and what is warned of.

Pods are held to the level that their namespace enforces. Workloads (Jobs, CronJobs) are never refused, only
their pods are; their owner is warned. A namespace whose level gets stricter says which of its pods break it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from localkube.apiserver.podsecurity import policy
from localkube.apiserver.podsecurity.policy import LEVELS, PRIVILEGED, Standard
from localkube.apiserver.podsecurity.standards import violations
from localkube.apiserver.status import StatusError, forbidden, invalid

Object = dict[str, Any]
Warn = Callable[[str], None]

_PODS_LOOKED_AT = 3000
"""Pods looked at when a namespace's level changes (defaultNamespaceMaxPodsToCheck)."""
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


def admit_pod(namespace: Object, pod: Object, old: Object | None, warn: Warn | None) -> None:
    """Raise 403 where a new or changed pod breaks what its namespace enforces.

    `warn` None here and below: nobody would hear of it.
    """
    found = policy.of_labels(namespace["metadata"].get("labels"))
    if found.enforce.level == found.warn.level == PRIVILEGED:
        return
    if old is not None and not _is_significant(pod, old):
        return
    metadata, spec = pod["metadata"], pod["spec"]
    broken = violations(found.enforce, metadata, spec)
    if broken:
        text = ", ".join(str(violation) for violation in broken)
        raise forbidden("pods", metadata.get("name", ""), f'violates PodSecurity "{found.enforce}": {text}')
    if warn is not None:
        _warn(found.warn, metadata, spec, warn)


def admit_workload(namespace: Object, template: Object, warn: Warn) -> None:
    """Warn of pods that will break what their namespace warns of; `template` is of such a pod."""
    found = policy.of_labels(namespace["metadata"].get("labels")).warn
    _warn(found, template.get("metadata") or {}, template.get("spec") or {}, warn)


def admit_namespace(
    namespace: Object, old: Object | None, pods: Callable[[], Iterable[Object]], warn: Warn | None
) -> None:
    """Raise 422 for labels that mean nothing; `pods` lists those that are in the namespace already."""
    labels = namespace["metadata"].get("labels")
    before = old["metadata"].get("labels") if old is not None else None
    errors = policy.validate(labels)
    if errors and (old is None or errors != policy.validate(before)):
        raise _invalid(namespace, errors)
    if old is None or warn is None:
        return
    enforce, was = policy.of_labels(labels).enforce, policy.of_labels(before).enforce
    relaxed = enforce.minor == was.minor and LEVELS.index(enforce.level) <= LEVELS.index(was.level)
    if enforce == was or enforce.level == PRIVILEGED or relaxed:
        return
    for text in _existing(namespace["metadata"]["name"], enforce, list(pods())):
        warn(text)


def _invalid(namespace: Object, errors: list[Any]) -> StatusError:
    return invalid("Namespace", "", namespace["metadata"].get("name", ""), errors)


def _warn(standard: Standard, metadata: Object, spec: Object, warn: Warn) -> None:
    broken = violations(standard, metadata, spec)
    if broken:
        text = ", ".join(str(violation) for violation in broken)
        warn(f'would violate PodSecurity "{standard}": {text}')


def _existing(namespace: str, enforce: Standard, pods: list[Object]) -> list[str]:
    """The warnings about pods that are there already, one for all that break the same controls."""
    looked_at = _one_of_each_owner_first(pods)[:_PODS_LOOKED_AT]
    breaking: dict[str, list[str]] = {}
    for pod in looked_at:
        broken = violations(enforce, pod["metadata"], pod["spec"])
        if broken:
            reasons = ", ".join(violation.reason for violation in broken)
            breaking.setdefault(reasons, []).append(pod["metadata"]["name"])
    found: list[str] = []
    if len(looked_at) < len(pods):
        found.append(
            f"new PodSecurity enforce level only checked against the first {len(looked_at)} of {len(pods)} "
            "existing pods"
        )
    if breaking:
        found.append(
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{enforce}"'
        )
    return found + sorted(f"{_counted(names)}: {reasons}" for reasons, names in breaking.items())


def _one_of_each_owner_first(pods: list[Object]) -> list[Object]:
    """The pods of one owner are alike, so that one tells of all where there are too many to look at."""
    first: list[Object] = []
    rest: list[Object] = []
    owners: set[str] = set()
    for pod in pods:
        references = pod["metadata"].get("ownerReferences") or ()
        owner = next((r["uid"] for r in references if r.get("controller")), None)
        (rest if owner in owners else first).append(pod)
        if owner is not None:
            owners.add(owner)
    return first + rest


def _counted(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other {'pod' if others == 1 else 'pods'})"


def _is_significant(pod: Object, old: Object) -> bool:
    """Whether an update changes what the controls look at: of a pod's spec, little can be changed."""
    annotations = pod["metadata"].get("annotations") or {}
    before = old["metadata"].get("annotations") or {}
    if annotations.get(_SECCOMP_POD) != before.get(_SECCOMP_POD):
        return True
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        new = {c.get("name"): c for c in pod["spec"].get(kind) or ()}
        known = {c.get("name"): c for c in old["spec"].get(kind) or ()}
        if new.keys() != known.keys():
            return True
        for name, container in new.items():
            key = f"{_SECCOMP_CONTAINER}{name}"
            if container.get("image") != known[name].get("image"):
                return True
            if annotations.get(key) != before.get(key):
                return True
    return False
