"""The status of a Job: its conditions, its counts, and how each is written."""

from datetime import datetime
from typing import Any

from localkube.controllers import times

Object = dict[str, Any]


def finished(job: Object) -> str:
    """The condition that ended the Job, Complete or Failed; "" while it goes on."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return ""


def condition(status: Object, kind: str) -> Object | None:
    """The condition of that type, where it is true."""
    for found in status.get("conditions") or ():
        if found["type"] == kind and found["status"] == "True":
            return dict(found)
    return None


def add_condition(
    status: Object, now: datetime, kind: str, reason: str, message: str, value: str = "True"
) -> None:
    time = times.text(now)
    added = {
        "type": kind,
        "status": value,
        "lastProbeTime": time,
        "lastTransitionTime": time,
        "reason": reason,
        "message": message,
    }
    status["conditions"] = [*(status.get("conditions") or ()), added]


def set_count(status: Object, name: str, value: int) -> None:
    """Counts are left out when zero, as Go's `omitempty` does."""
    if value:
        status[name] = value
    else:
        status.pop(name, None)


def set_text(status: Object, name: str, value: str) -> None:
    """As `set_count`."""
    if value:
        status[name] = value
    else:
        status.pop(name, None)


def uncounted(succeeded: list[str], failed: list[str]) -> Object:
    """`status.uncountedTerminatedPods`."""
    return {name: uids for name, uids in (("succeeded", succeeded), ("failed", failed)) if uids}
