"""The pods of a Job, one at a time: what state one is in for the Job, and what a new one looks like."""

import copy
from datetime import datetime, timedelta
from typing import Any

from localkube.controllers import times
from localkube.controllers.owners import controller_reference

Object = dict[str, Any]

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
"""Keeps a finished pod until the Job has counted it."""
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation and label of an Indexed Job's pod."""


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def deleting(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def is_active(pod: Object) -> bool:
    return phase(pod) not in ("Succeeded", "Failed") and not deleting(pod)


def is_terminating(pod: Object) -> bool:
    return phase(pod) not in ("Succeeded", "Failed") and deleting(pod)


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def is_tracked(pod: Object) -> bool:
    return TRACKING_FINALIZER in (pod["metadata"].get("finalizers") or ())


def only_replaces_failed(job: Object) -> bool:
    """Whether a terminating pod holds its place until it has ended (podReplacementPolicy Failed)."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or bool(spec.get("podFailurePolicy"))


def is_failed(pod: Object, job: Object) -> bool:
    """Failed, or as good as: a deleted pod may never get to report a phase."""
    if phase(pod) == "Failed":
        return True
    return deleting(pod) and phase(pod) != "Succeeded" and not only_replaces_failed(job)


def completion_index(pod: Object) -> int | None:
    value = (pod["metadata"].get("annotations") or {}).get(COMPLETION_INDEX, "")
    return int(value) if value.isdigit() else None


def restarts(pod: Object) -> int:
    """How often the containers of a pod that still runs were restarted."""
    if phase(pod) not in ("Running", "Pending"):
        return 0
    status = pod.get("status", {})
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return sum(s.get("restartCount", 0) for s in statuses)


def finished_at(pod: Object) -> datetime:
    """When a pod ended: its last container, else not Ready any more, else its deletion, else its creation."""
    ends: list[datetime] = []
    for status in pod.get("status", {}).get("containerStatuses") or ():
        end = status.get("state", {}).get("terminated", {}).get("finishedAt")
        if end is None:
            ends = []
            break
        ends.append(times.parse(end))
    if ends:
        return max(ends)
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "False":
            since = condition.get("lastTransitionTime")
            if since:
                return times.parse(since)
    meta = pod["metadata"]
    if "deletionTimestamp" in meta:
        return times.parse(meta["deletionTimestamp"]) - timedelta(
            seconds=meta.get("deletionGracePeriodSeconds") or 0
        )
    return times.parse(meta["creationTimestamp"])


def removal_rank(pod: Object) -> tuple[object, ...]:
    """Sorts first what is least lost when there are too many pods (the order of `controller.ActivePods`)."""
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "": 1, "Unknown": 1, "Running": 2}.get(phase(pod), 1),
        is_ready(pod),
        # the younger one has done less
        -times.parse(pod["metadata"]["creationTimestamp"]).timestamp(),
    )


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def build(job: Object, index: int | None, annotations: dict[str, str] | None = None) -> Object:
    """A new pod of `job`; `index` is its completion index, or None for a NonIndexed Job."""
    template = job["spec"]["template"]
    template_meta = template.get("metadata") or {}
    name = job["metadata"]["name"]
    finalizers = list(template_meta.get("finalizers") or ())
    if TRACKING_FINALIZER not in finalizers:
        finalizers.append(TRACKING_FINALIZER)
    meta: Object = {
        "generateName": f"{name}-" if index is None else f"{name}-{index}-",
        "namespace": job["metadata"]["namespace"],
        "labels": dict(template_meta.get("labels") or {}),
        "annotations": {**(template_meta.get("annotations") or {}), **(annotations or {})},
        "ownerReferences": [controller_reference(job)],
        "finalizers": finalizers,
    }
    spec = copy.deepcopy(template["spec"])
    if index is not None:
        meta["labels"][COMPLETION_INDEX] = str(index)
        meta["annotations"][COMPLETION_INDEX] = str(index)
        spec["hostname"] = f"{name}-{index}"
        for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
            _add_index_variable(container)
    if not meta["annotations"]:
        del meta["annotations"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _add_index_variable(container: Object) -> None:
    env = container.get("env") or []
    if any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in env):
        return
    reference = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{COMPLETION_INDEX}']"}
    container["env"] = [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": reference}}]
