"""The small kinds: ConfigMap, Secret, Namespace, Node, ServiceAccount, Event, Lease."""

import base64
import json
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names
from localkube.apiserver.validation.causes import (
    duplicate,
    forbidden,
    immutable,
    index,
    invalid,
    key,
    nonnegative,
    not_supported,
    required,
    too_long,
)

Object = dict[str, Any]

# What etcd's largest request leaves room for.
_DATA_LIMIT_BYTES = 1024 * 1024
_FIXED = "field is immutable when `immutable` is set"
_EVENT_LIMITS = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
_TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _base64_length(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=", -2)


def config_map(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True) + _config_map_data(obj)


def config_map_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    return errors + _unchanged(new, old, ("data", "binaryData")) + config_map(new)


def _config_map_data(obj: Object) -> list[FieldError]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    errors: list[FieldError] = []
    size = 0
    for name, value in data.items():
        errors += [invalid(key("data", name), name, m) for m in names.config_key(name)]
        if name in binary:
            errors.append(invalid(key("data", name), name, "duplicate of key present in binaryData"))
        size += len(value.encode())
    for name, value in binary.items():
        errors += [invalid(key("binaryData", name), name, m) for m in names.config_key(name)]
        size += _base64_length(value)
    if size > _DATA_LIMIT_BYTES:
        errors.append(too_long("[]", _DATA_LIMIT_BYTES))
    return errors


def _unchanged(new: Object, old: Object, fields: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    errors = [] if new.get("immutable") else [forbidden("immutable", _FIXED)]
    return errors + [forbidden(f, _FIXED) for f in fields if (new.get(f) or {}) != (old.get(f) or {})]


def secret(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], True)
    data = obj.get("data") or {}
    for name in data:
        errors += [invalid(key("data", name), name, m) for m in names.config_key(name)]
    if sum(_base64_length(value) for value in data.values()) > _DATA_LIMIT_BYTES:
        errors.append(too_long("data", _DATA_LIMIT_BYTES))
    return errors + _secret_type(obj, data)


def _secret_type(obj: Object, data: Object) -> list[FieldError]:
    """The keys that a type of secret promises to whoever reads it."""
    kind = obj.get("type", "")
    if kind == "kubernetes.io/service-account-token":
        annotation = "kubernetes.io/service-account.name"
        if not (obj["metadata"].get("annotations") or {}).get(annotation):
            return [required(key("metadata.annotations", annotation))]
    elif kind == "kubernetes.io/dockercfg":
        return _json_key(data, ".dockercfg")
    elif kind == "kubernetes.io/dockerconfigjson":
        return _json_key(data, ".dockerconfigjson")
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            return [required(key("data", "username")), required(key("data", "password"))]
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            return [required(key("data", "ssh-privatekey"))]
    elif kind == "kubernetes.io/tls":
        return [required(key("data", name)) for name in ("tls.crt", "tls.key") if name not in data]
    return []


def _json_key(data: Object, name: str) -> list[FieldError]:
    if name not in data:
        return [required(key("data", name))]
    try:
        value = json.loads(base64.b64decode(data[name]))
    except ValueError:
        detail = "invalid character looking for beginning of value"
        return [invalid(key("data", name), "<secret contents redacted>", detail)]
    if isinstance(value, dict) or value is None:
        return []
    detail = "json: cannot unmarshal value into Go value of type map[string]interface {}"
    return [invalid(key("data", name), "<secret contents redacted>", detail)]


def secret_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    errors += immutable("type", new.get("type"), old.get("type"))
    return errors + _unchanged(new, old, ("data",)) + secret(new)


def namespace(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], False, names.label_name)
    for finalizer in obj.get("spec", {}).get("finalizers") or ():
        errors += [invalid("spec.finalizers", finalizer, m) for m in names.label_key(finalizer)]
        errors += metadata.finalizer_domain(finalizer, "spec.finalizers")
    return errors


def namespace_update(new: Object, old: Object) -> list[FieldError]:
    return metadata.validate_update(new["metadata"], old["metadata"])


def namespace_status(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    phase = new.get("status", {}).get("phase", "")
    if new["metadata"].get("deletionTimestamp"):
        if phase != "Terminating":
            detail = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            errors.append(invalid("status.Phase", phase, detail))
    elif phase != "Active":
        errors.append(invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty"))
    return errors


def namespace_finalize(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    for position, finalizer in enumerate(new.get("spec", {}).get("finalizers") or ()):
        path = index("spec.finalizers", position)
        errors += [invalid(path, finalizer, m) for m in names.label_key(finalizer)]
        errors += metadata.finalizer_domain(finalizer, path)
    return errors


def service_account(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True)


def service_account_update(new: Object, old: Object) -> list[FieldError]:
    return metadata.validate_update(new["metadata"], old["metadata"]) + service_account(new)


def node(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], False) + _taints(obj)


def node_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"]) + _taints(new)
    before = old.get("spec", {}).get("providerID", "")
    if before and new.get("spec", {}).get("providerID", "") != before:
        errors.append(
            forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
        )
    return errors


def _taints(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for position, taint in enumerate(obj.get("spec", {}).get("taints") or ()):
        path = index("metadata.taints", position)
        name, effect = taint.get("key", ""), taint.get("effect", "")
        errors += [invalid(f"{path}.key", name, m) for m in names.label_key(name)]
        value = taint.get("value", "")
        if messages := names.label_value(value):
            errors.append(invalid(f"{path}.value", value, ";".join(messages)))
        if not effect:
            errors.append(required(f"{path}.effect"))
        elif effect not in _TAINT_EFFECTS:
            errors.append(not_supported(f"{path}.effect", effect, _TAINT_EFFECTS))
        if (name, effect) in seen:
            errors.append(duplicate(path, taint))
        seen.add((name, effect))
    return errors


def event(obj: Object) -> list[FieldError]:
    """core/v1 Events may have any name that fits into a path."""
    return _event(obj) or metadata.validate(
        obj["metadata"], True, names.path_segment_name, qualified_finalizers=False
    )


def event_update(new: Object, old: Object) -> list[FieldError]:
    return _event(new)


def _event(obj: Object) -> list[FieldError]:
    """Old clients' events are checked for little, new ones' (with eventTime) for more."""
    path = "involvedObject.namespace"
    own, involved = obj["metadata"].get("namespace", ""), obj.get("involvedObject", {}).get("namespace", "")
    errors: list[FieldError] = []
    if not obj.get("eventTime"):
        if own != involved and not (involved == "" and own == "default"):
            errors.append(invalid(path, involved, "does not match event.namespace"))
    else:
        if not involved and own not in ("default", "kube-system"):
            errors.append(invalid(path, involved, "does not match event.namespace"))
        component = obj.get("reportingComponent", "")
        if not component:
            errors.append(required("reportingController"))
        errors += [invalid("reportingController", component, m) for m in names.label_key(component)]
        for name, limit in _EVENT_LIMITS.items():
            value = obj.get(name, "")
            if not value and name != "message":
                errors.append(required(name))
            if len(value.encode()) > limit:
                errors.append(invalid(name, "", f"can have at most {limit} characters"))
    return errors + [invalid("namespace", own, m) for m in names.dns_subdomain(own)]


def lease(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True, qualified_finalizers=False) + _lease_spec(obj)


def lease_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"], qualified_finalizers=False)
    return errors + _lease_spec(new)


def _lease_spec(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj.get("spec", {})
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    errors += nonnegative("spec.leaseTransitions", spec.get("leaseTransitions"))
    strategy = spec.get("strategy")
    if strategy is not None:
        errors += [invalid("spec.strategy", strategy, m) for m in names.label_key(strategy)]
    if spec.get("preferredHolder") and not strategy:
        errors.append(forbidden("spec.preferredHolder", "may only be specified when `strategy` is defined"))
    return errors
