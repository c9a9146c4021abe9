"""What the server itself decides about an object, per kind: the registry strategies of Kubernetes.

`prepare_create` and `prepare_update` run after decoding and defaulting and before validation. They change
the new object in place: fields that belong to the server are set or put back, generations count changes
of the spec, and each of spec and status can be changed only through its own path.
"""

import base64
from collections.abc import Callable
from typing import Any

from localkube.apiserver import admission, services
from localkube.apiserver.admission import Lookup
from localkube.apiserver.crd import naming
from localkube.apiserver.crd import strategy as custom
from localkube.apiserver.qos import qos_class
from localkube.apiserver.resources import Resource

Object = dict[str, Any]

# The order in which Go writes metadata.
_METADATA_ORDER = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences",
    "finalizers", "managedFields",
)  # fmt: skip
_CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
_JOB_NAME = "batch.kubernetes.io/job-name"
# What the first versions of Job called them; still written beside the new names.
_LEGACY_CONTROLLER_UID = "controller-uid"
_LEGACY_JOB_NAME = "job-name"


def prepare_create(resource: Resource, obj: Object, lookup: Lookup) -> None:
    """Make a new object ready for validation.

    Its name, namespace, uid and creationTimestamp are set already. `lookup` finds the service account and
    priority class of a pod. Raises `StatusError` where an admission plugin refuses.
    """
    metadata = obj["metadata"]
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(name, None)
    prepare = _CREATE.get(resource.schema)
    if prepare is not None:
        prepare(obj)
    elif resource.custom is not None:
        custom.prepare_create(resource.custom, obj)
    if resource.schema == "io.k8s.api.core.v1.Pod":
        admission.admit_pod(obj, lookup)
        obj["status"] = _pod_status(obj)
    obj["metadata"] = order_metadata(metadata)


def prepare_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> None:
    """Make the new state of an object ready for validation: put back what this path may not change.

    `subresource` is `""`, `status`, for namespaces `finalize`, for pods `binding` (which may change all).
    """
    metadata, before = new["metadata"], old["metadata"]
    metadata.pop("selfLink", None)
    for name in ("uid", "namespace", "name"):
        if not metadata.get(name) and before.get(name):
            metadata[name] = before[name]
    _keep(metadata, before, "creationTimestamp")
    _keep(metadata, before, "generation")
    if before.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = before["deletionTimestamp"]
    if "deletionGracePeriodSeconds" not in metadata:
        _keep(metadata, before, "deletionGracePeriodSeconds")
    prepare = _UPDATE.get(resource.schema)
    if prepare is not None and not subresource:
        prepare(new, old)
    if resource.custom is not None:
        custom.prepare_update(resource.custom, new, old, subresource)
    elif subresource == "status":
        _only_status(resource, new, old)
    elif subresource == "finalize":
        finalizers = new.get("spec", {}).get("finalizers", [])
        new["spec"] = {**old.get("spec", {}), "finalizers": finalizers}
        new["status"] = old.get("status", {})
    elif subresource == "":
        _only_spec(resource, new, old)
    new["metadata"] = order_metadata(new["metadata"])


def order_metadata(metadata: Object) -> Object:
    """The metadata in the order in which the API writes it; for people who read it."""
    return {name: metadata[name] for name in _METADATA_ORDER if name in metadata}


def _keep(new: Object, old: Object, name: str) -> None:
    if name in old:
        # Shared, not copied: stored objects are never changed, and this runs on every status update.
        new[name] = old[name]
    else:
        new.pop(name, None)


def _only_status(resource: Resource, new: Object, old: Object) -> None:
    for name in old.keys() | new.keys():
        if name not in ("kind", "apiVersion", "metadata", "status"):
            _keep(new, old, name)
    if resource.schema == "io.k8s.api.core.v1.Pod":
        new["metadata"].pop("deletionTimestamp", None)
        _keep(new["metadata"], old["metadata"], "deletionTimestamp")
        _keep(new["metadata"], old["metadata"], "ownerReferences")
        status = new.setdefault("status", {})
        if not status.get("qosClass") and old.get("status", {}).get("qosClass"):
            status["qosClass"] = old["status"]["qosClass"]


def _only_spec(resource: Resource, new: Object, old: Object) -> None:
    if "status" in resource.subresources:
        _keep(new, old, "status")
    if resource.schema == _DEFINITION:
        _update_definition(new, old)
    if resource.schema in _COUNTS_GENERATIONS and new.get("spec") != old.get("spec"):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _fold_string_data(obj: Object) -> None:
    """`stringData` is write-only: it becomes `data`, over what is there."""
    texts = obj.pop("stringData", None)
    if texts:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        obj["data"] = {**obj.get("data", {}), **encoded}


def _create_namespace(obj: Object) -> None:
    obj["status"] = {"phase": "Active"}
    finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    # The name may have been generated after defaulting.
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _create_cron_job(obj: Object) -> None:
    obj["status"] = {}
    obj["metadata"]["generation"] = 1


def _create_job(obj: Object) -> None:
    obj["status"] = {}
    obj["metadata"]["generation"] = 1
    spec = obj["spec"]
    if not spec.get("manualSelector"):
        _generate_selector(obj)
    template_labels = spec["template"].get("metadata", {}).get("labels")
    if template_labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(template_labels)


def _generate_selector(job: Object) -> None:
    """A selector that no other job's pods can match, and the labels that it finds.

    A label or selector that somebody set is left alone; validation refuses it if it does not fit.
    """
    metadata, spec = job["metadata"], job["spec"]
    template = spec["template"]["metadata"] = dict(spec["template"].get("metadata") or {})
    labels = template["labels"] = dict(template.get("labels") or {})
    for key in (_CONTROLLER_UID, _LEGACY_CONTROLLER_UID):
        labels.setdefault(key, metadata["uid"])
    for key in (_JOB_NAME, _LEGACY_JOB_NAME):
        labels.setdefault(key, metadata["name"])
    selector = spec.setdefault("selector", {})
    match = selector.setdefault("matchLabels", {})
    match.setdefault(_CONTROLLER_UID, metadata["uid"])


def _create_network_policy(obj: Object) -> None:
    obj["metadata"]["generation"] = 1


def _create_pod(obj: Object) -> None:
    obj["metadata"]["generation"] = 1


def _create_resource_quota(obj: Object) -> None:
    obj["status"] = {}


def _create_priority_class(obj: Object) -> None:
    obj["metadata"]["generation"] = 1


def _pod_status(pod: Object) -> Object:
    status: Object = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}
    if pod["spec"].get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": None,
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    return status


def _update_namespace(new: Object, old: Object) -> None:
    new["spec"] = old.get("spec", {})


def _update_secret(new: Object, old: Object) -> None:
    _fold_string_data(new)


def _update_pod(new: Object, old: Object) -> None:
    """What admission decided when the pod was made stays, also for a client that writes its own copy."""
    for name in ("priority", "preemptionPolicy"):
        if name not in new["spec"]:
            _keep(new["spec"], old["spec"], name)
    admission.tolerate_unready(new["spec"])


def _create_service(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}
    services.prepare(obj, None)


def _create_counted(obj: Object) -> None:
    obj["metadata"]["generation"] = 1


def _create_ingress(obj: Object) -> None:
    obj["metadata"]["generation"] = 1
    obj["status"] = {"loadBalancer": {}}


def _update_endpoint_slice(new: Object, old: Object) -> None:
    """There is no spec here: whatever changes besides metadata counts."""
    if any(new.get(name) != old.get(name) for name in ("addressType", "endpoints", "ports")):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _create_definition(obj: Object) -> None:
    obj["metadata"]["generation"] = 1
    stored = naming.with_stored_version({"spec": obj["spec"]})
    names = {"plural": "", "kind": ""}
    obj["status"] = {"conditions": None, "acceptedNames": names, "storedVersions": stored or None}


def _update_definition(new: Object, old: Object) -> None:
    new["status"] = {
        **old["status"],
        "storedVersions": naming.with_stored_version({**old, "spec": new["spec"]}),
    }


_DEFINITION = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"
_CREATE: dict[str, Callable[[Object], None]] = {
    "io.k8s.api.batch.v1.CronJob": _create_cron_job,
    "io.k8s.api.batch.v1.Job": _create_job,
    "io.k8s.api.core.v1.Namespace": _create_namespace,
    "io.k8s.api.core.v1.Pod": _create_pod,
    "io.k8s.api.core.v1.ResourceQuota": _create_resource_quota,
    "io.k8s.api.scheduling.v1.PriorityClass": _create_priority_class,
    "io.k8s.api.core.v1.Secret": _fold_string_data,
    "io.k8s.api.core.v1.Service": _create_service,
    "io.k8s.api.discovery.v1.EndpointSlice": _create_counted,
    "io.k8s.api.networking.v1.Ingress": _create_ingress,
    "io.k8s.api.networking.v1.IngressClass": _create_counted,
    "io.k8s.api.networking.v1.NetworkPolicy": _create_network_policy,
    _DEFINITION: _create_definition,
}
_UPDATE: dict[str, Callable[[Object, Object], None]] = {
    "io.k8s.api.core.v1.Namespace": _update_namespace,
    "io.k8s.api.core.v1.Pod": _update_pod,
    "io.k8s.api.core.v1.Secret": _update_secret,
    "io.k8s.api.core.v1.Service": services.prepare,
    "io.k8s.api.discovery.v1.EndpointSlice": _update_endpoint_slice,
}
_COUNTS_GENERATIONS = frozenset(
    {
        "io.k8s.api.batch.v1.CronJob",
        "io.k8s.api.batch.v1.Job",
        "io.k8s.api.core.v1.Pod",
        "io.k8s.api.networking.v1.Ingress",
        "io.k8s.api.networking.v1.IngressClass",
        "io.k8s.api.networking.v1.NetworkPolicy",
        _DEFINITION,
    }
)
