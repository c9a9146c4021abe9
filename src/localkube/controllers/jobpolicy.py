"""A Job's podFailurePolicy and successPolicy, and the back-off between failed pods."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from localkube.controllers import indexes
from localkube.controllers.jobpods import finished_at

Object = dict[str, Any]

BACKOFF_FIRST = 10.0
"""Seconds from the first failed pod to its replacement (DefaultJobPodFailureBackOff)."""
BACKOFF_MOST = 600.0
"""Seconds; the wait doubles with each failure up to here (MaxJobPodFailureBackOff)."""


class Backoff(msgspec.Struct, frozen=True):
    """Pods that failed since the last one that succeeded."""

    failures: int = 0
    last: datetime | None = None

    def after(self, succeeded: Iterable[Object], failed: Iterable[Object]) -> "Backoff":
        """With the pods that have ended since; a success forgives the failures before it."""
        success = max(map(finished_at, succeeded), default=None)
        ends = [finished_at(pod) for pod in failed]
        if success is None:
            return Backoff(self.failures + len(ends), max(ends)) if ends else self
        later = [end for end in ends if end > success]
        return Backoff(len(later), max(later, default=None))

    def remaining(self, now: datetime, first: float, most: float) -> float:
        """Seconds until the next pod may be created."""
        if self.failures == 0 or self.last is None:
            return 0.0
        # the exponent is bounded so that a float can hold it; `most` is reached long before
        wait = min(first * 2.0 ** min(self.failures - 1, 60), most)
        return max(0.0, wait - (now - self.last).total_seconds())


class Verdict(msgspec.Struct, frozen=True):
    """What the podFailurePolicy says of a failed pod."""

    counts: bool = True
    fails_job: str = ""
    """Why the pod fails the whole Job, "" if it does not."""
    fails_index: bool = False


def judge(policy: Object | None, pod: Object) -> Verdict:
    """The first rule that matches decides."""
    for position, rule in enumerate((policy or {}).get("rules") or ()):
        where = f"matching {rule['action']} rule at index {position}"
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if rule.get("onExitCodes"):
            status = _exit_matches(pod, rule["onExitCodes"])
            if status is None:
                continue
            code = status["state"]["terminated"]["exitCode"]
            message = f"Container {status['name']} for pod {name} failed with exit code {code} {where}"
        else:
            condition = _condition_matches(pod, rule.get("onPodConditions") or ())
            if condition is None:
                continue
            message = f"Pod {name} has condition {condition['type']} {where}"
        match rule["action"]:
            case "FailJob":
                return Verdict(fails_job=message)
            case "FailIndex":
                return Verdict(fails_index=True)
            case "Ignore":
                return Verdict(counts=False)
            case _:
                return Verdict()
    return Verdict()


def _exit_matches(pod: Object, rule: Object) -> Object | None:
    status = pod.get("status", {})
    for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        code = container.get("state", {}).get("terminated", {}).get("exitCode", 0)
        if code == 0 or rule.get("containerName") not in (None, container["name"]):
            continue
        if (code in rule["values"]) == (rule["operator"] == "In"):
            return dict(container)
    return None


def _condition_matches(pod: Object, patterns: Sequence[Object]) -> Object | None:
    for condition in pod.get("status", {}).get("conditions") or ():
        for pattern in patterns:
            if (condition["type"], condition["status"]) == (pattern["type"], pattern.get("status", "True")):
                return dict(condition)
    return None


def success(policy: Object | None, completions: int, succeeded: set[int]) -> str:
    """Why the successPolicy declares the Job a success, "" if it does not."""
    for position, rule in enumerate((policy or {}).get("rules") or ()):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            wanted = indexes.parse(rule["succeededIndexes"], completions)
            have = wanted & succeeded
            met = bool(wanted) and (have == wanted or (count is not None and len(have) >= count))
        else:
            met = bool(succeeded) and count is not None and len(succeeded) >= count
        if met:
            return f"Matched rules at index {position}"
    return ""
