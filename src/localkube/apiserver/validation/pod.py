"""Pods and pod templates."""

from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import containers, metadata, names, podos, scheduling, security, volumes
from localkube.apiserver.validation.causes import forbidden, index, invalid, not_supported, required

Object = dict[str, Any]

_INT32_MAX = 2**31 - 1
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_UPDATABLE = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)
_MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def pod(obj: Object) -> list[FieldError]:
    errors = _metadata_and_spec(obj)
    spec = obj["spec"]
    if spec.get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        detail = "cannot be set until all schedulingGates have been cleared"
        errors.append(forbidden("spec.nodeName", detail))
    return errors


def _metadata_and_spec(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], True)
    spec = obj["spec"]
    errors += _annotations(obj["metadata"].get("annotations") or {}, spec)
    errors += pod_spec(spec, "spec", is_pod=True)
    for kind in ("containers", "initContainers"):
        for position, container in enumerate(spec.get(kind) or ()):
            image = container.get("image", "")
            if image != image.strip():
                where = f"{index(f'spec.{kind}', position)}.image"
                errors.append(invalid(where, image, "must not have leading or trailing whitespace"))
    return errors


def _annotations(annotations: dict[str, str], spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    if _MIRROR in annotations and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid(f"metadata.annotations[{_MIRROR}]", annotations[_MIRROR], detail))
    cost = annotations.get(_DELETION_COST)
    if cost is not None and not _is_int32(cost):
        errors.append(invalid(f"metadata.annotations[{_DELETION_COST}]", cost, "must be a 32bit integer"))
    return errors


def _is_int32(text: str) -> bool:
    try:
        return -_INT32_MAX - 1 <= int(text) <= _INT32_MAX and not text.startswith("+")
    except ValueError:
        return False


def template(found: Object, path: str) -> list[FieldError]:
    """The pod template of a workload."""
    meta = found.get("metadata") or {}
    errors = metadata.validate_labels(meta.get("labels"), f"{path}.labels")
    errors += metadata.validate_annotations(meta.get("annotations"), f"{path}.annotations")
    spec = found.get("spec") or {}
    errors += pod_spec(spec, f"{path}.spec", is_pod=False)
    if spec.get("ephemeralContainers"):
        where = f"{path}.spec.ephemeralContainers"
        errors.append(forbidden(where, "ephemeral containers not allowed in pod template"))
    return errors


def pod_spec(spec: Object, path: str, *, is_pod: bool) -> list[FieldError]:
    good_volumes, errors = volumes.validate(spec.get("volumes") or [], f"{path}.volumes")
    errors += containers.containers(spec, good_volumes, f"{path}.containers")
    errors += containers.init_containers(spec, good_volumes, f"{path}.initContainers")
    errors += _host_network_ports(spec, path, is_pod)
    policy = spec.get("restartPolicy", "")
    if policy not in _RESTART_POLICIES:
        errors.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    policy = spec.get("dnsPolicy", "")
    if policy not in _DNS_POLICIES:
        errors.append(not_supported(f"{path}.dnsPolicy", policy, _DNS_POLICIES))
    errors += metadata.validate_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    errors += security.pod(spec.get("securityContext"), spec, f"{path}.securityContext")
    errors += scheduling.affinity(spec.get("affinity"), f"{path}.affinity")
    errors += _dns_config(spec, f"{path}.dnsConfig")
    for position, gate in enumerate(spec.get("readinessGates") or ()):
        where = f"{index(f'{path}.readinessGates', position)}.conditionType"
        kind = gate.get("conditionType", "")
        errors += [invalid(where, kind, m) for m in names.label_key(kind)]
    errors += scheduling.gates(spec.get("schedulingGates") or [], f"{path}.schedulingGates")
    errors += scheduling.spread(
        spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints"
    )
    errors += _host_users(spec, path)
    errors += _names(spec, path)
    errors += scheduling.tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    for position, alias in enumerate(spec.get("hostAliases") or ()):
        where = index(f"{path}.hostAliases", position)
        address = alias.get("ip", "")
        errors += [invalid(f"{where}.ip", address, m) for m in names.ip_address(address)]
        for number, hostname in enumerate(alias.get("hostnames") or ()):
            at = index(f"{where}.hostnames", number)
            errors += [invalid(at, hostname, m) for m in names.dns_subdomain(hostname)]
    for name in ("priorityClassName", "runtimeClassName"):
        if spec.get(name):
            errors += [invalid(f"{path}.{name}", spec[name], m) for m in names.dns_subdomain(spec[name])]
    preemption = spec.get("preemptionPolicy")
    if preemption not in (None, "PreemptLowerPriority", "Never"):
        known = ("PreemptLowerPriority", "Never")
        errors.append(not_supported(f"{path}.preemptionPolicy", preemption, known))
    return errors + podos.system(spec, path)


def _names(spec: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("serviceAccountName", "nodeName"):
        if spec.get(name):
            errors += [invalid(f"{path}.{name}", spec[name], m) for m in names.dns_subdomain(spec[name])]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _INT32_MAX:
        errors.append(invalid(f"{path}.activeDeadlineSeconds", deadline, names.in_range(1, _INT32_MAX)))
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            errors += [invalid(f"{path}.{name}", spec[name], m) for m in names.dns_label(spec[name])]
    return errors


def _host_network_ports(spec: Object, path: str, is_pod: bool) -> list[FieldError]:
    """On the host's network a port is the host's; a template may leave that to the pod's defaults."""
    errors: list[FieldError] = []
    if not spec.get("hostNetwork"):
        return errors
    for number, container in enumerate(spec.get("containers") or ()):
        for position, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort", 0)
            if (is_pod or host) and host != port.get("containerPort", 0):
                where = index(f"{index(f'{path}.containers', number)}.ports", position)
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid(f"{where}.hostPort", host, detail))
    return errors


def _host_users(spec: Object, path: str) -> list[FieldError]:
    if spec.get("hostUsers") is not False:
        return []
    detail = "when `hostUsers` is false"
    return [
        forbidden(f"{path}.{name}", detail)
        for name in ("hostNetwork", "hostPID", "hostIPC")
        if spec.get(name)
    ]


def _dns_config(spec: Object, path: str) -> list[FieldError]:
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{path}.nameservers", detail)]
    errors: list[FieldError] = []
    config = config or {}
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        errors.append(invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers"))
    for position, server in enumerate(servers):
        where = index(f"{path}.nameservers", position)
        errors += [invalid(where, server, m) for m in names.ip_address(server)]
    if len(searches) > 32:
        errors.append(invalid(f"{path}.searches", searches, "must not have more than 32 search paths"))
    for position, search in enumerate(searches):
        name = search.removesuffix(".")
        where = index(f"{path}.searches", position)
        errors += [invalid(where, name, m) for m in names.dns_subdomain(name)]
    for position, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(index(f"{path}.options", position), "must not be empty"))
    return errors


def pod_update(new: Object, old: Object) -> list[FieldError]:
    """A pod's spec is fixed, except for a few fields."""
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    errors += _metadata_and_spec(new)
    spec, before = new["spec"], old["spec"]
    for kind in ("containers", "initContainers"):
        if len(spec.get(kind) or ()) != len(before.get(kind) or ()):
            detail = "pod updates may not add or remove containers"
            return [*errors, forbidden(f"spec.{kind}", detail)]
    deadline, earlier = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    where = "spec.activeDeadlineSeconds"
    if deadline is None and earlier is not None:
        errors.append(invalid(where, None, "must not update from a positive integer to nil value"))
    elif deadline is not None and earlier is not None and earlier < deadline:
        return [*errors, invalid(where, deadline, "must be less than or equal to previous value")]
    errors += scheduling.only_added(
        spec.get("tolerations") or [], before.get("tolerations") or [], "spec.tolerations"
    )
    gates = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for position, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in gates:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.append(forbidden(f"{index('spec.schedulingGates', position)}.name", detail))
    changed = _fixed_part(spec, before)
    if changed != before:
        fields = ",".join(_UPDATABLE)
        names_of = sorted(n for n in changed.keys() | before.keys() if changed.get(n) != before.get(n))
        detail = f"pod updates may not change fields other than {fields}\nchanged: {', '.join(names_of)}"
        errors.append(forbidden("spec", detail))
    return errors


def _fixed_part(spec: Object, before: Object) -> Object:
    """The spec with what may change put back, so that any difference left is a forbidden one."""
    fixed = dict(spec)
    for kind in ("containers", "initContainers"):
        if kind in spec:
            fixed[kind] = [
                {**container, "image": earlier.get("image")}
                for container, earlier in zip(spec[kind], before[kind], strict=True)
            ]
    updatable = ["activeDeadlineSeconds", "schedulingGates", "tolerations"]
    if before.get("schedulingGates"):
        # Until a pod is let go, it can still be told where to run.
        updatable += ["affinity", "nodeSelector"]
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        updatable.append("terminationGracePeriodSeconds")
    for name in updatable:
        fixed.pop(name, None)
        if name in before:
            fixed[name] = before[name]
    return fixed


def pod_status(new: Object, old: Object) -> list[FieldError]:
    return metadata.validate_update(new["metadata"], old["metadata"])
