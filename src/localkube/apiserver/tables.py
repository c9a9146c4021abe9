"""Tables: what `kubectl get` prints, as pkg/printers/internalversion of Kubernetes makes it."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from localkube.apiserver.resources import Resource

Obj = dict[str, Any]


class Column(NamedTuple):
    """`priority` 1 is shown with `-o wide` only; `cell` reads it off an object."""

    name: str
    cell: Callable[[Obj, datetime], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0


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
    columns = COLUMNS.get(resource.key, _DEFAULT)
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
                "description": "",
                "priority": column.priority,
            }
            for column in columns
        ],
        "rows": rows,
    }


def human_duration(seconds: float) -> str:
    """A duration as kubectl writes it (k8s.io/apimachinery/pkg/util/duration.HumanDuration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def _since(text: str | None, now: datetime) -> str:
    return human_duration((now - datetime.fromisoformat(text)).total_seconds()) if text else "<unknown>"


def _read(obj: Obj, *path: str) -> Any:
    found: Any = obj
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _text(*path: str, otherwise: str = "") -> Callable[[Obj, datetime], Any]:
    def cell(obj: Obj, now: datetime) -> Any:
        value = _read(obj, *path)
        return otherwise if value is None or value == "" else value

    return cell


def _age(obj: Obj, now: datetime) -> str:
    return _since(obj["metadata"].get("creationTimestamp"), now)


def _count(*fields: str) -> Callable[[Obj, datetime], int]:
    return lambda obj, now: sum(len(obj.get(field) or ()) for field in fields)


def _containers(*path: str) -> Callable[[Obj, datetime], str]:
    return lambda obj, now: ",".join(c.get("name", "") for c in _read(obj, *path, "containers") or ())


def _images(*path: str) -> Callable[[Obj, datetime], str]:
    return lambda obj, now: ",".join(c.get("image", "") for c in _read(obj, *path, "containers") or ())


def _selector(obj: Obj, now: datetime) -> str:
    labels = _read(obj, "spec", "selector", "matchLabels") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) or "<none>"


def _role_of(binding: Obj, now: datetime) -> str:
    return f"{_read(binding, 'roleRef', 'kind')}/{_read(binding, 'roleRef', 'name')}"


def _subjects(kind: str) -> Callable[[Obj, datetime], str]:
    def cell(binding: Obj, now: datetime) -> str:
        found = [s for s in binding.get("subjects") or () if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in found)
        return ", ".join(s["name"] for s in found)

    return cell


def _pod_selector(policy: Obj, now: datetime) -> str:
    """As metav1.FormatLabelSelector: labels and expressions in the order of their keys."""
    selector = _read(policy, "spec", "podSelector") or {}
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
    ready = sum(1 for s in statuses if s.get("ready") and _read(s, "state", "running") is not None)
    return f"{ready}/{len(_read(pod, 'spec', 'containers') or ())}"


def _pod_restarts(pod: Obj, now: datetime) -> str:
    statuses = [*_statuses(pod, "initContainerStatuses"), *_statuses(pod, "containerStatuses")]
    restarts = sum(s.get("restartCount", 0) for s in statuses)
    ends = [_read(s, "lastState", "terminated", "finishedAt") for s in statuses]
    last = max((end for end in ends if end), default=None)
    return f"{restarts} ({_since(last, now)} ago)" if restarts and last else str(restarts)


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
    total = len(_read(pod, "spec", "initContainers") or ())
    for done, s in enumerate(_statuses(pod, "initContainerStatuses")):
        ended = _read(s, "state", "terminated")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if ended is not None:
            return f"Init:{_end_reason(ended)}"
        waiting = _read(s, "state", "waiting", "reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{done}/{total}"
    return ""


def _container_reason(status: Obj, reason: str) -> str:
    running = False
    for s in reversed(status.get("containerStatuses") or ()):
        waiting = _read(s, "state", "waiting", "reason")
        ended = _read(s, "state", "terminated")
        if waiting:
            reason = waiting
        elif ended is not None:
            reason = _end_reason(ended)
        elif s.get("ready") and _read(s, "state", "running") is not None:
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
    succeeded = _read(job, "status", "succeeded") or 0
    completions = _read(job, "spec", "completions")
    if completions is not None:
        return f"{succeeded}/{completions}"
    parallelism = _read(job, "spec", "parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job_duration(job: Obj, now: datetime) -> str:
    start, end = _read(job, "status", "startTime"), _read(job, "status", "completionTime")
    if not start:
        return ""
    return _since(start, datetime.fromisoformat(end) if end else now)


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
    return "True" if _read(cron, "spec", "suspend") else "False"


def _cron_active(cron: Obj, now: datetime) -> int:
    return len(_read(cron, "status", "active") or ())


def _cron_last(cron: Obj, now: datetime) -> str:
    last = _read(cron, "status", "lastScheduleTime")
    return _since(last, now) if last else "<none>"


def _node_status(node: Obj, now: datetime) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    shown = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if _read(node, "spec", "unschedulable"):
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
    return _since(event.get("firstTimestamp") or event.get("eventTime"), now)


def _event_last(event: Obj, now: datetime) -> str:
    return _since(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp"), now)


_NAME = Column("Name", _text("metadata", "name"), format="name")
_AGE = Column("Age", _age)
_DEFAULT = (_NAME, Column("Created At", _text("metadata", "creationTimestamp"), type="date"))
_BINDING = (
    _NAME,
    Column("Role", _role_of),
    _AGE,
    Column("Users", _subjects("User"), priority=1),
    Column("Groups", _subjects("Group"), priority=1),
    Column("ServiceAccounts", _subjects("ServiceAccount"), priority=1),
)
_TEMPLATE = ("spec", "template", "spec")
_JOB_TEMPLATE = ("spec", "jobTemplate", "spec", "template", "spec")
_NODE_INFO = ("status", "nodeInfo")

COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        _NAME,
        Column("Ready", _pod_ready),
        Column("Status", lambda pod, now: pod_status(pod)),
        Column("Restarts", _pod_restarts),
        _AGE,
        Column("IP", _text("status", "podIP", otherwise="<none>"), priority=1),
        Column("Node", _text("spec", "nodeName", otherwise="<none>"), priority=1),
        Column("Nominated Node", _text("status", "nominatedNodeName", otherwise="<none>"), priority=1),
        Column("Readiness Gates", lambda pod, now: "<none>", priority=1),
    ),
    "jobs.batch": (
        _NAME,
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        _AGE,
        Column("Containers", _containers(*_TEMPLATE), priority=1),
        Column("Images", _images(*_TEMPLATE), priority=1),
        Column("Selector", _selector, priority=1),
    ),
    "cronjobs.batch": (
        _NAME,
        Column("Schedule", _text("spec", "schedule")),
        Column("Timezone", _text("spec", "timeZone", otherwise="<none>")),
        Column("Suspend", _cron_suspend, type="boolean"),
        Column("Active", _cron_active, type="integer"),
        Column("Last Schedule", _cron_last),
        _AGE,
        Column("Containers", _containers(*_JOB_TEMPLATE), priority=1),
        Column("Images", _images(*_JOB_TEMPLATE), priority=1),
        Column("Selector", lambda cron, now: "<none>", priority=1),
    ),
    "configmaps": (_NAME, Column("Data", _count("data", "binaryData")), _AGE),
    "secrets": (_NAME, Column("Type", _text("type")), Column("Data", _count("data")), _AGE),
    "serviceaccounts": (_NAME, Column("Secrets", _count("secrets")), _AGE),
    "resourcequotas": (
        _NAME,
        Column("Request", _quota(limits=False)),
        Column("Limit", _quota(limits=True)),
        _AGE,
    ),
    "priorityclasses.scheduling.k8s.io": (
        _NAME,
        Column("Value", lambda obj, now: obj.get("value", 0), type="integer"),
        Column("Global-Default", lambda obj, now: bool(obj.get("globalDefault")), type="boolean"),
        _AGE,
        Column("PreemptionPolicy", _text("preemptionPolicy")),
    ),
    "namespaces": (_NAME, Column("Status", _text("status", "phase")), _AGE),
    "nodes": (
        _NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        _AGE,
        Column("Version", _text(*_NODE_INFO, "kubeletVersion")),
        Column("Internal-IP", _node_address("InternalIP"), priority=1),
        Column("External-IP", _node_address("ExternalIP"), priority=1),
        Column("OS-Image", _text(*_NODE_INFO, "osImage", otherwise="<unknown>"), priority=1),
        Column("Kernel-Version", _text(*_NODE_INFO, "kernelVersion", otherwise="<unknown>"), priority=1),
        Column(
            "Container-Runtime",
            _text(*_NODE_INFO, "containerRuntimeVersion", otherwise="<unknown>"),
            priority=1,
        ),
    ),
    "events": (
        Column("Last Seen", _event_last),
        Column("Type", _text("type")),
        Column("Reason", _text("reason")),
        Column("Object", _event_object),
        Column("Subobject", _text("involvedObject", "fieldPath"), priority=1),
        Column("Source", _event_source, priority=1),
        Column("Message", lambda event, now: (event.get("message") or "").strip()),
        Column("First Seen", _event_first, priority=1),
        Column("Count", _text("count", otherwise="1"), priority=1),
        Column("Name", _text("metadata", "name"), format="name", priority=1),
    ),
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "networkpolicies.networking.k8s.io": (_NAME, Column("Pod-Selector", _pod_selector), _AGE),
    "leases.coordination.k8s.io": (
        _NAME,
        Column("Holder", _text("spec", "holderIdentity")),
        _AGE,
    ),
}
