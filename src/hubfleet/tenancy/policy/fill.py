"""What is filled in where a job says nothing: at `restricted` all that the level asks for, and limits.

What a job says is never changed: it was allowed, or the job was refused.
"""

from typing import Any

from hubfleet.tenancy.policy.podsecurity import CONTAINERS
from hubfleet.tenancy.policy.rules import Policy


def fill_job(job: dict[str, Any], policy: Policy) -> None:
    """Of a Job, or the jobTemplate of a CronJob: its deadline and its pod, in place."""
    spec = job["spec"]
    if (deadline := policy.limits["deadline_seconds"]) is not None:
        spec.setdefault("activeDeadlineSeconds", deadline)
    fill_pod(spec["template"]["spec"], policy)


def fill_pod(pod: dict[str, Any], policy: Policy) -> None:
    """A PodSpec, in place."""
    if policy.empty_dir is not None:
        for volume in pod.get("volumes") or ():
            _fill_empty_dir(volume, policy.empty_dir.text)
    if policy.level != "restricted":
        return
    context = _object(pod, "securityContext")
    if context.get("seccompProfile") is None:
        context["seccompProfile"] = {"type": "RuntimeDefault"}
    if context.get("runAsNonRoot") is None:
        context["runAsNonRoot"] = True
    if context.get("runAsUser") is None and policy.run_as_user is not None:
        context["runAsUser"] = policy.run_as_user
    for key in CONTAINERS:
        for container in pod.get(key) or ():
            if isinstance(container, dict):
                _fill_container(_object(container, "securityContext"))


def _fill_container(context: dict[str, Any]) -> None:
    if context.get("allowPrivilegeEscalation") is None:
        context["allowPrivilegeEscalation"] = False
    capabilities = _object(context, "capabilities")
    dropped = capabilities.get("drop") or []
    if "ALL" not in dropped:
        capabilities["drop"] = [*dropped, "ALL"]


def _fill_empty_dir(volume: Any, limit: str) -> None:
    if not isinstance(volume, dict):
        return
    # A volume that says nothing of its source is an emptyDir.
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}
    empty_dir = volume.get("emptyDir")
    if isinstance(empty_dir, dict) and empty_dir.get("sizeLimit") is None:
        empty_dir["sizeLimit"] = limit


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    found = parent.get(key)
    if not isinstance(found, dict):
        found = parent[key] = {}
    return found
