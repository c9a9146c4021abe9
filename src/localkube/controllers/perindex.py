"""Indexed Jobs whose indexes fail one by one (`backoffLimitPerIndex`), as in kube-controller-manager 1.36.

How often an index has failed stands on its newest pod, as an annotation. So the last failed pod of an index
keeps its finalizer until its replacement, which carries the count on, is there.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from localkube.controllers import jobpods
from localkube.controllers.jobpolicy import Backoff, judge

Object = dict[str, Any]

FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
"""Annotations of a pod: failures of its index before it; those that the podFailurePolicy ignores apart."""


def applies(job: Object) -> bool:
    return job["spec"].get("backoffLimitPerIndex") is not None


def failed(job: Object, pods: Iterable[Object]) -> set[int]:
    """The indexes that the failed `pods` have brought to their end."""
    spec = job["spec"]
    found = set()
    for pod in pods:
        index, verdict = jobpods.completion_index(pod), judge(spec.get("podFailurePolicy"), pod)
        exhausted = verdict.counts and _count(pod, FAILURES) >= spec["backoffLimitPerIndex"]
        if index is not None and (verdict.fails_index or exhausted):
            found.add(index)
    return found


def last_failures(pods: Iterable[Object], over: set[int]) -> dict[int, Object]:
    """Of the failed `pods` the newest of each index that is not in `over`: a replacement goes on from it."""
    found: dict[int, Object] = {}
    for pod in pods:
        index = jobpods.completion_index(pod)
        if index is None or index in over:
            continue
        if index not in found or _age(found[index]) <= _age(pod):
            found[index] = pod
    return found


def remaining(pod: Object, now: datetime, first: float, most: float) -> float:
    """Seconds until the last failed pod of an index may be replaced; `first` and `most` bound the wait."""
    return Backoff(_failures(pod) + 1, jobpods.finished_at(pod)).remaining(now, first, most)


def annotations(job: Object, replaced: Object | None) -> dict[str, str]:
    """The counts on a new pod, which replaces the last failed one of its index, or is the first of it."""
    if replaced is None:
        return {FAILURES: "0"}
    counts = judge(job["spec"].get("podFailurePolicy"), replaced).counts
    found = {FAILURES: str(_count(replaced, FAILURES) + counts)}
    if ignored := _count(replaced, IGNORED) + (not counts):
        found[IGNORED] = str(ignored)
    return found


def _age(pod: Object) -> tuple[int, datetime]:
    return _failures(pod), jobpods.finished_at(pod)


def _failures(pod: Object) -> int:
    return _count(pod, FAILURES) + _count(pod, IGNORED)


def _count(pod: Object, annotation: str) -> int:
    value = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    return int(value) if value.isdecimal() else 0
