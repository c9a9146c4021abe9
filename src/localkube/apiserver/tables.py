"""Tables: what `kubectl get` prints, as pkg/printers/internalversion of Kubernetes makes it."""

from collections.abc import Callable, Iterable
from datetime import datetime

from localkube.apiserver import networktables
from localkube.apiserver.columns import AGE, NAME, Column, Obj, read, since, text
from localkube.apiserver.crd.columns import PrinterColumn
from localkube.apiserver.resources import Resource


def table(
    resource: Resource,
    objects: Iterable[Obj],
    metadata: Obj,
    *,
    now: datetime,
    version: str = "v1",
    include: str = "",
) -> Obj:
    """The Table of some objects. `include` is None, Metadata (the default) or Object: what a row carries."""
    columns: tuple[Column | PrinterColumn, ...] = COLUMNS.get(resource.key, _DEFAULT)
    if resource.custom is not None:
        columns = (NAME, *resource.custom.columns)
    rows = []
    for obj in objects:
        row: Obj = {"cells": [column.cell(obj, now) for column in columns]}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": f"meta.k8s.io/{version}",
                "metadata": obj["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in columns
        ],
        "rows": rows,
    }


def _count(*fields: str) -> Callable[[Obj, datetime], int]:
    return lambda obj, now: sum(len(obj.get(field) or ()) for field in fields)


def _containers(*path: str) -> Callable[[Obj, datetime], str]:
    return lambda obj, now: ",".join(c.get("name", "") for c in read(obj, *path, "containers") or ())


def _images(*path: str) -> Callable[[Obj, datetime], str]:
    return lambda obj, now: ",".join(c.get("image", "") for c in read(obj, *path, "containers") or ())


def _selector(obj: Obj, now: datetime) -> str:
    labels = read(obj, "spec", "selector", "matchLabels") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) or "<none>"


def _role_of(binding: Obj, now: datetime) -> str:
    return f"{read(binding, 'roleRef', 'kind')}/{read(binding, 'roleRef', 'name')}"


def _subjects(kind: str) -> Callable[[Obj, datetime], str]:
    def cell(binding: Obj, now: datetime) -> str:
        found = [s for s in binding.get("subjects") or () if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in found)
        return ", ".join(s["name"] for s in found)

    return cell


def _pod_selector(policy: Obj, now: datetime) -> str:
    """As metav1.FormatLabelSelector: labels and expressions in the order of their keys."""
    selector = read(policy, "spec", "podSelector") or {}
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], ",".join(sorted(term.get("values") or ()))
        shown = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        parts.append((key, shown.get(term["operator"], key)))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0])) or "<none>"


def _statuses(pod: Obj, kind: str) -> list[Obj]:
    found: list[Obj] = (pod.get("status") or {}).get(kind) or []
    return found


def _pod_ready(pod: Obj, now: datetime) -> str:
    statuses = _statuses(pod, "containerStatuses")
    ready = sum(1 for s in statuses if s.get("ready") and read(s, "state", "running") is not None)
    return f"{ready}/{len(read(pod, 'spec', 'containers') or ())}"


def _pod_restarts(pod: Obj, now: datetime) -> str:
    statuses = [*_statuses(pod, "initContainerStatuses"), *_statuses(pod, "containerStatuses")]
    restarts = sum(s.get("restartCount", 0) for s in statuses)
    ends = [read(s, "lastState", "terminated", "finishedAt") for s in statuses]
    last = max((end for end in ends if end), default=None)
    return f"{restarts} ({since(last, now)} ago)" if restarts and last else str(restarts)


def pod_status(pod: Obj) -> str:
    """The one word for a pod's state, as printPod finds it."""
    status = pod.get("status") or {}
    reason: str = status.get("reason") or status.get("phase") or ""
    gated = any(c.get("reason") == "SchedulingGated" for c in status.get("conditions") or ())
    if gated:
        reason = "SchedulingGated"
    reason = _init_reason(pod) or _container_reason(status, reason)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Failed", "Succeeded"):
            return "Terminating"
    return reason


def _init_reason(pod: Obj) -> str:
    total = len(read(pod, "spec", "initContainers") or ())
    for done, s in enumerate(_statuses(pod, "initContainerStatuses")):
        ended = read(s, "state", "terminated")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if ended is not None:
            return f"Init:{_end_reason(ended)}"
        waiting = read(s, "state", "waiting", "reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{done}/{total}"
    return ""


def _container_reason(status: Obj, reason: str) -> str:
    running = False
    for s in reversed(status.get("containerStatuses") or ()):
        waiting = read(s, "state", "waiting", "reason")
        ended = read(s, "state", "terminated")
        if waiting:
            reason = waiting
        elif ended is not None:
            reason = _end_reason(ended)
        elif s.get("ready") and read(s, "state", "running") is not None:
            running = True
    if reason == "Completed" and running:
        ready = any(
            c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ()
        )
        return "Running" if ready else "NotReady"
    return reason


def _end_reason(ended: Obj) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode', 0)}"


def _job_status(job: Obj, now: datetime) -> str:
    for type_, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if _has_condition(job, type_):
            return shown
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for type_, shown in (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if _has_condition(job, type_):
            return shown
    return "Running"


def _has_condition(obj: Obj, type_: str) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == type_ and c.get("status") == "True" for c in conditions)


def _job_completions(job: Obj, now: datetime) -> str:
    succeeded = read(job, "status", "succeeded") or 0
    completions = read(job, "spec", "completions")
    if completions is not None:
        return f"{succeeded}/{completions}"
    parallelism = read(job, "spec", "parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job_duration(job: Obj, now: datetime) -> str:
    start, end = read(job, "status", "startTime"), read(job, "status", "completionTime")
    if not start:
        return ""
    return since(start, datetime.fromisoformat(end) if end else now)


def _quota(*, limits: bool) -> Callable[[Obj, datetime], str]:
    """What is used of what there is, of the limits or of everything else."""

    def cell(quota: Obj, now: datetime) -> str:
        status = quota.get("status") or {}
        used = status.get("used") or {}
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{hard}"
            for name, hard in sorted((status.get("hard") or {}).items())
            if name.startswith("limits.") is limits
        )

    return cell


def _cron_suspend(cron: Obj, now: datetime) -> str:
    return "True" if read(cron, "spec", "suspend") else "False"


def _cron_active(cron: Obj, now: datetime) -> int:
    return len(read(cron, "status", "active") or ())


def _cron_last(cron: Obj, now: datetime) -> str:
    last = read(cron, "status", "lastScheduleTime")
    return since(last, now) if last else "<none>"


def _node_status(node: Obj, now: datetime) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    shown = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if read(node, "spec", "unschedulable"):
        shown.append("SchedulingDisabled")
    return ",".join(shown)


def _node_roles(node: Obj, now: datetime) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix))) or "<none>"


def _node_address(type_: str) -> Callable[[Obj, datetime], str]:
    def cell(node: Obj, now: datetime) -> str:
        addresses = (node.get("status") or {}).get("addresses") or ()
        return next((a["address"] for a in addresses if a.get("type") == type_), "<none>")

    return cell


def _event_object(event: Obj, now: datetime) -> str:
    involved = event.get("involvedObject") or {}
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def _event_source(event: Obj, now: datetime) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    return ", ".join(part for part in (component, source.get("host")) if part)


def _event_first(event: Obj, now: datetime) -> str:
    return since(event.get("firstTimestamp") or event.get("eventTime"), now)


def _event_last(event: Obj, now: datetime) -> str:
    return since(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp"), now)


_DEFAULT = (NAME, Column("Created At", text("metadata", "creationTimestamp"), type="date"))
_BINDING = (
    NAME,
    Column("Role", _role_of),
    AGE,
    Column("Users", _subjects("User"), priority=1),
    Column("Groups", _subjects("Group"), priority=1),
    Column("ServiceAccounts", _subjects("ServiceAccount"), priority=1),
)
_TEMPLATE = ("spec", "template", "spec")
_JOB_TEMPLATE = ("spec", "jobTemplate", "spec", "template", "spec")
_NODE_INFO = ("status", "nodeInfo")

COLUMNS: dict[str, tuple[Column, ...]] = {
    **networktables.COLUMNS,
    "pods": (
        NAME,
        Column("Ready", _pod_ready),
        Column("Status", lambda pod, now: pod_status(pod)),
        Column("Restarts", _pod_restarts),
        AGE,
        Column("IP", text("status", "podIP", otherwise="<none>"), priority=1),
        Column("Node", text("spec", "nodeName", otherwise="<none>"), priority=1),
        Column("Nominated Node", text("status", "nominatedNodeName", otherwise="<none>"), priority=1),
        Column("Readiness Gates", lambda pod, now: "<none>", priority=1),
    ),
    "jobs.batch": (
        NAME,
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        AGE,
        Column("Containers", _containers(*_TEMPLATE), priority=1),
        Column("Images", _images(*_TEMPLATE), priority=1),
        Column("Selector", _selector, priority=1),
    ),
    "cronjobs.batch": (
        NAME,
        Column("Schedule", text("spec", "schedule")),
        Column("Timezone", text("spec", "timeZone", otherwise="<none>")),
        Column("Suspend", _cron_suspend, type="boolean"),
        Column("Active", _cron_active, type="integer"),
        Column("Last Schedule", _cron_last),
        AGE,
        Column("Containers", _containers(*_JOB_TEMPLATE), priority=1),
        Column("Images", _images(*_JOB_TEMPLATE), priority=1),
        Column("Selector", lambda cron, now: "<none>", priority=1),
    ),
    "configmaps": (NAME, Column("Data", _count("data", "binaryData")), AGE),
    "secrets": (NAME, Column("Type", text("type")), Column("Data", _count("data")), AGE),
    "serviceaccounts": (NAME, Column("Secrets", _count("secrets")), AGE),
    "resourcequotas": (
        NAME,
        Column("Request", _quota(limits=False)),
        Column("Limit", _quota(limits=True)),
        AGE,
    ),
    "priorityclasses.scheduling.k8s.io": (
        NAME,
        Column("Value", lambda obj, now: obj.get("value", 0), type="integer"),
        Column("Global-Default", lambda obj, now: bool(obj.get("globalDefault")), type="boolean"),
        AGE,
        Column("PreemptionPolicy", text("preemptionPolicy")),
    ),
    "namespaces": (NAME, Column("Status", text("status", "phase")), AGE),
    "nodes": (
        NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        AGE,
        Column("Version", text(*_NODE_INFO, "kubeletVersion")),
        Column("Internal-IP", _node_address("InternalIP"), priority=1),
        Column("External-IP", _node_address("ExternalIP"), priority=1),
        Column("OS-Image", text(*_NODE_INFO, "osImage", otherwise="<unknown>"), priority=1),
        Column("Kernel-Version", text(*_NODE_INFO, "kernelVersion", otherwise="<unknown>"), priority=1),
        Column(
            "Container-Runtime",
            text(*_NODE_INFO, "containerRuntimeVersion", otherwise="<unknown>"),
            priority=1,
        ),
    ),
    "events": (
        Column("Last Seen", _event_last),
        Column("Type", text("type")),
        Column("Reason", text("reason")),
        Column("Object", _event_object),
        Column("Subobject", text("involvedObject", "fieldPath"), priority=1),
        Column("Source", _event_source, priority=1),
        Column("Message", lambda event, now: (event.get("message") or "").strip()),
        Column("First Seen", _event_first, priority=1),
        Column("Count", text("count", otherwise="1"), priority=1),
        Column("Name", text("metadata", "name"), format="name", priority=1),
    ),
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "networkpolicies.networking.k8s.io": (NAME, Column("Pod-Selector", _pod_selector), AGE),
    "leases.coordination.k8s.io": (
        NAME,
        Column("Holder", text("spec", "holderIdentity")),
        AGE,
    ),
}
