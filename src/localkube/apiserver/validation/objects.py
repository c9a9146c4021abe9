"""What objects must look like, in the real server's own words and order.

`validate` checks a new object, `validate_update` a changed one; both find the checks of its kind here.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from localkube.apiserver.resources import Resource
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import (
    core,
    customresourcedefinition,
    endpoints,
    endpointslice,
    ingress,
    job,
    metadata,
    names,
    networkpolicy,
    pod,
    priorityclass,
    quota,
    rbac,
    service,
)

Object = dict[str, Any]
_Check = Callable[[Object], list[FieldError]]
_UpdateCheck = Callable[[Object, Object], list[FieldError]]


class _Checks(msgspec.Struct, frozen=True):
    create: _Check
    update: _UpdateCheck
    subresources: dict[str, _UpdateCheck] = {}


_CHECKS = {
    "io.k8s.api.batch.v1.CronJob": _Checks(
        job.cron_job, job.cron_job_update, {"status": job.cron_job_status}
    ),
    "io.k8s.api.batch.v1.Job": _Checks(job.job, job.job_update, {"status": job.job_status}),
    "io.k8s.api.coordination.v1.Lease": _Checks(core.lease, core.lease_update),
    "io.k8s.api.core.v1.ConfigMap": _Checks(core.config_map, core.config_map_update),
    "io.k8s.api.core.v1.Event": _Checks(core.event, core.event_update),
    "io.k8s.api.core.v1.Namespace": _Checks(
        core.namespace,
        core.namespace_update,
        {"status": core.namespace_status, "finalize": core.namespace_finalize},
    ),
    "io.k8s.api.core.v1.Node": _Checks(core.node, core.node_update, {"status": core.node_update}),
    "io.k8s.api.core.v1.Pod": _Checks(
        pod.pod, pod.pod_update, {"status": pod.pod_status, "binding": pod.pod_status}
    ),
    "io.k8s.api.core.v1.LimitRange": _Checks(quota.limit_range, quota.limit_range_update),
    "io.k8s.api.core.v1.ResourceQuota": _Checks(
        quota.resource_quota, quota.resource_quota_update, {"status": quota.resource_quota_status}
    ),
    "io.k8s.api.scheduling.v1.PriorityClass": _Checks(
        priorityclass.priority_class, priorityclass.priority_class_update
    ),
    "io.k8s.api.core.v1.Secret": _Checks(core.secret, core.secret_update),
    "io.k8s.api.core.v1.ServiceAccount": _Checks(core.service_account, core.service_account_update),
    "io.k8s.api.networking.v1.NetworkPolicy": _Checks(
        networkpolicy.network_policy, networkpolicy.network_policy_update
    ),
    "io.k8s.api.core.v1.Endpoints": _Checks(endpoints.endpoints, endpoints.endpoints_update),
    "io.k8s.api.core.v1.Service": _Checks(
        service.service, service.service_update, {"status": service.service_status}
    ),
    "io.k8s.api.discovery.v1.EndpointSlice": _Checks(
        endpointslice.endpoint_slice, endpointslice.endpoint_slice_update
    ),
    "io.k8s.api.networking.v1.Ingress": _Checks(
        ingress.ingress, ingress.ingress_update, {"status": ingress.ingress_status}
    ),
    "io.k8s.api.networking.v1.IngressClass": _Checks(ingress.ingress_class, ingress.ingress_class_update),
    "io.k8s.api.rbac.v1.ClusterRole": _Checks(rbac.cluster_role, rbac.cluster_role_update),
    "io.k8s.api.rbac.v1.ClusterRoleBinding": _Checks(
        rbac.cluster_role_binding, rbac.cluster_role_binding_update
    ),
    "io.k8s.api.rbac.v1.Role": _Checks(rbac.role, rbac.role_update),
    "io.k8s.api.rbac.v1.RoleBinding": _Checks(rbac.role_binding, rbac.role_binding_update),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition": _Checks(
        customresourcedefinition.definition,
        customresourcedefinition.definition_update,
        {"status": customresourcedefinition.definition_status},
    ),
}


def validate(resource: Resource, obj: Object) -> list[FieldError]:
    """What is wrong with a new (decoded, defaulted, prepared) object, in the real server's order."""
    checks = _CHECKS.get(resource.schema)
    if resource.custom is not None:
        errors = metadata.validate(obj["metadata"], resource.namespaced, qualified_finalizers=False)
        errors += resource.custom.validate(obj)
    else:
        errors = checks.create(obj) if checks else metadata.validate(obj["metadata"], resource.namespaced)
    if errors:
        return errors
    name = obj["metadata"].get("name", "")
    # What the generic part of the server asks of every name, however lenient its kind is.
    return [_segment(name, message) for message in names.path_segment_name(name, False)]


def _segment(name: str, message: str) -> FieldError:
    return FieldError("FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {message}')


def validate_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> list[FieldError]:
    """What is wrong with a change. An error in metadata comes twice, as the real server gives it:
    once from its generic part and once from the kind's own."""
    generic = metadata.validate_update(new["metadata"], old["metadata"], qualified_finalizers=False)
    if resource.custom is not None:
        return generic + generic + resource.custom.validate(new, old)
    checks = _CHECKS.get(resource.schema)
    if checks is None:
        return generic
    check = checks.subresources.get(subresource, checks.update)
    return generic + check(new, old)
