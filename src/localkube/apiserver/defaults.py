"""What the API fills in when a client leaves it out, per kind (Kubernetes' `SetDefaults_*` functions).

`apply` runs on every object after decoding, whether it was created, updated or patched, and changes it in
place. Applying it twice changes nothing. Defaults that the schema states (a port's protocol, zeros that
are written) come from there.
"""

import re
from collections.abc import Callable
from typing import Any

from localkube.apiserver import schema
from localkube.apiserver.resources import Resource

Object = dict[str, Any]

# A reference as container registries write it: [host[:port]/]path[:tag][@digest].
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_IMAGE = re.compile(
    rf"(?:{_HOST}(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
DEFAULT_MODE = 0o644
_PROBE = (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3))
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_RBAC = "rbac.authorization.k8s.io"
_AFFINITY_SECONDS = 10800
_INT32_MAX = 2**31 - 1


def apply(resource: Resource, obj: Object) -> None:
    """Fill in `obj`, a decoded object of `resource`."""
    if resource.custom is not None:
        resource.custom.default(obj)
        return
    defaulter = _DEFAULTERS.get(resource.schema)
    if defaulter is not None:
        defaulter(obj)
    schema.fill(resource.schema, obj)


def pull_policy(image: str) -> str:
    """`Always` for `latest` (also by omission), `IfNotPresent` for every other tag, digest or nonsense."""
    match = _IMAGE.fullmatch(image)
    if match is None:
        return "IfNotPresent"
    tag = match["tag"] or ("" if match["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _namespace(obj: Object) -> None:
    if name := obj["metadata"].get("name"):
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")


def _node(obj: Object) -> None:
    status = obj.get("status", {})
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))


def _role(obj: Object) -> None:
    # written although empty, as Go does
    obj.setdefault("rules", None)


def _binding(obj: Object) -> None:
    reference = obj.setdefault("roleRef", {})
    reference["apiGroup"] = reference.get("apiGroup") or _RBAC
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or _RBAC


def _token_request(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("expirationSeconds", 3600)


def _network_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _limit_range(obj: Object) -> None:
    """Of a container's bounds, the upper one is its default limit, and the limit or else the lower one its
    default request."""
    for item in obj.get("spec", {}).get("limits") or ():
        if item.get("type") == "Container":
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
            for name, amounts in (("default", limits), ("defaultRequest", requests)):
                if amounts:
                    item[name] = amounts


def _priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    if spec.setdefault("sessionAffinity", "None") == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", _AFFINITY_SECONDS)
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    outside = kind in ("NodePort", "LoadBalancer")
    if outside or (kind == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if outside or kind == "ClusterIP":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"


def _endpoint_slice(obj: Object) -> None:
    # written although empty, as Go does
    obj.setdefault("endpoints", None)
    obj.setdefault("ports", None)
    for port in obj["ports"] or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _ingress_class(obj: Object) -> None:
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def _custom_resource_definition(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if kind := names.get("kind"):
        names["singular"] = names.get("singular") or kind.lower()
        names["listKind"] = names.get("listKind") or f"{kind}List"
    spec.setdefault("conversion", {"strategy": "None"})
    status = obj.setdefault("status", {})
    # written although empty, as Go does
    status.setdefault("conditions", None)
    status.setdefault("storedVersions", None)


def _job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _job_spec(spec)
    template_labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if template_labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(template_labels)


def _job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _INT32_MAX if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", policy)
    _job_parts(spec)


def _job_parts(spec: Object) -> None:
    """What a job and the job template of a CronJob have in common; the rest a job gets when it is made."""
    for rule in spec.get("podFailurePolicy", {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            if not condition.get("status"):
                condition["status"] = "True"
    _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _cron_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    _job_parts(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    # A template is not defaulted like this: what a pod gets is decided when the pod is made.
    for containers in ("containers", "initContainers"):
        for container in spec.get(containers) or ():
            resources = container.get("resources") or {}
            if limits := resources.get("limits"):
                resources["requests"] = {**limits, **(resources.get("requests") or {})}
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        for containers in ("containers", "initContainers"):
            for container in spec.get(containers) or ():
                for port in container.get("ports") or ():
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]
    _pod_spec(spec)


def _pod_spec(spec: Object) -> None:
    # The deprecated name and the current one are the same field.
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    for containers in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(containers) or ():
            _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Object) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", pull_policy(container.get("image", "")))
    for variable in container.get("env") or ():
        if (reference := variable.get("valueFrom", {}).get("fieldRef")) is not None:
            reference.setdefault("apiVersion", "v1")
    for name in _PROBES:
        if (probe := container.get(name)) is not None:
            for key, value in _PROBE:
                probe.setdefault(key, value)
            _handler(probe)
    for handler in ("postStart", "preStop"):
        _handler((container.get("lifecycle") or {}).get(handler) or {})


def _handler(handler: Object) -> None:
    if (get := handler.get("httpGet")) is not None:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


def _downward_items(source: Object) -> None:
    for item in source.get("items") or ():
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")


def _mode(source: Object) -> None:
    source.setdefault("defaultMode", DEFAULT_MODE)


def _downward(source: Object) -> None:
    _mode(source)
    _downward_items(source)


def _projected(source: Object) -> None:
    _mode(source)
    for part in source.get("sources") or ():
        if "downwardAPI" in part:
            _downward_items(part["downwardAPI"])
        if "serviceAccountToken" in part:
            part["serviceAccountToken"].setdefault("expirationSeconds", 3600)


def _host_path(source: Object) -> None:
    source.setdefault("type", "")


def _ephemeral(source: Object) -> None:
    if "volumeClaimTemplate" in source:
        source["volumeClaimTemplate"].setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _image_volume(source: Object) -> None:
    if source.get("reference"):
        source.setdefault("pullPolicy", pull_policy(source["reference"]))


_VOLUMES: dict[str, Callable[[Object], None]] = {
    "configMap": _mode,
    "downwardAPI": _downward,
    "ephemeral": _ephemeral,
    "hostPath": _host_path,
    "image": _image_volume,
    "projected": _projected,
    "secret": _mode,
}


def _volume(volume: Object) -> None:
    sources = [name for name in volume if name != "name"]
    if not sources:
        volume["emptyDir"] = {}
    for name in sources:
        if defaulter := _VOLUMES.get(name):
            defaulter(volume[name])


_DEFAULTERS: dict[str, Callable[[Object], None]] = {
    "io.k8s.api.authentication.v1.TokenRequest": _token_request,
    "io.k8s.api.batch.v1.CronJob": _cron_job,
    "io.k8s.api.batch.v1.Job": _job,
    "io.k8s.api.core.v1.LimitRange": _limit_range,
    "io.k8s.api.core.v1.Namespace": _namespace,
    "io.k8s.api.core.v1.Node": _node,
    "io.k8s.api.core.v1.Pod": _pod,
    "io.k8s.api.core.v1.Secret": _secret,
    "io.k8s.api.scheduling.v1.PriorityClass": _priority_class,
    "io.k8s.api.core.v1.Endpoints": _endpoints,
    "io.k8s.api.core.v1.Service": _service,
    "io.k8s.api.discovery.v1.EndpointSlice": _endpoint_slice,
    "io.k8s.api.networking.v1.IngressClass": _ingress_class,
    "io.k8s.api.networking.v1.NetworkPolicy": _network_policy,
    "io.k8s.api.rbac.v1.ClusterRole": _role,
    "io.k8s.api.rbac.v1.ClusterRoleBinding": _binding,
    "io.k8s.api.rbac.v1.Role": _role,
    "io.k8s.api.rbac.v1.RoleBinding": _binding,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition": (
        _custom_resource_definition
    ),
}
