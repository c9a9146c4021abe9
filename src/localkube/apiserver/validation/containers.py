"""The containers of a pod: names, images, ports, environment, mounts, probes, resources."""

from typing import Any

from localkube.apiserver.quantity import value_of
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import downward, names, security
from localkube.apiserver.validation.causes import (
    NOT_NEGATIVE,
    duplicate,
    forbidden,
    index,
    invalid,
    key,
    nonnegative,
    not_found,
    not_supported,
    required,
)

Object = dict[str, Any]

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_PROPAGATION = ("Bidirectional", "HostToContainer", "None")
_ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
STANDARD_RESOURCES = frozenset(
    {"cpu", "memory", "ephemeral-storage", "storage", "pods", "services", "secrets", "configmaps",
     "replicationcontrollers", "resourcequotas", "persistentvolumeclaims", "services.loadbalancers",
     "services.nodeports", "requests.cpu", "requests.memory", "requests.storage", "limits.cpu",
     "limits.memory", "requests.ephemeral-storage", "limits.ephemeral-storage"}
)  # fmt: skip
_CONTAINER_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def containers(spec: Object, volumes: dict[str, Object], path: str) -> list[FieldError]:
    """`spec.containers`; at least one."""
    found = spec.get("containers") or []
    if not found:
        return [required(path)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    grace = spec.get("terminationGracePeriodSeconds")
    for position, container in enumerate(found):
        where = index(path, position)
        errors += _common(container, volumes, where)
        name = container.get("name", "")
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        seen.add(name)
        errors += _lifecycle_and_probes(container, where, grace)
        errors += _restart_policy(container, where)
    return errors + _host_ports(found, path)


def init_containers(spec: Object, volumes: dict[str, Object], path: str) -> list[FieldError]:
    """`spec.initContainers`: names differ from the containers'; only sidecars are probed."""
    errors: list[FieldError] = []
    seen = {container.get("name", "") for container in spec.get("containers") or ()}
    grace = spec.get("terminationGracePeriodSeconds")
    for position, container in enumerate(spec.get("initContainers") or ()):
        where = index(path, position)
        errors += _common(container, volumes, where)
        errors += _restart_policy(container, where)
        name = container.get("name", "")
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        elif name:
            seen.add(name)
        errors += _host_ports([container], path)
        if container.get("restartPolicy") == "Always":
            errors += _lifecycle_and_probes(container, where, grace)
        else:
            for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if field in container:
                    errors.append(forbidden(f"{where}.{field}", _ONLY_SIDECARS))
    return errors


def _restart_policy(container: Object, path: str) -> list[FieldError]:
    policy = container.get("restartPolicy")
    if policy is None or policy in _RESTART_POLICIES:
        return []
    return [not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES)]


def _common(container: Object, volumes: dict[str, Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [invalid(f"{path}.name", name, m) for m in names.dns_label(name)]
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    message_policy = container.get("terminationMessagePolicy", "")
    if message_policy not in _MESSAGE_POLICIES:
        where = f"{path}.terminationMessagePolicy"
        errors.append(not_supported(where, message_policy, _MESSAGE_POLICIES))
    errors += _ports(container.get("ports") or [], f"{path}.ports")
    errors += _env(container.get("env") or [], f"{path}.env")
    errors += _env_from(container.get("envFrom") or [], f"{path}.envFrom")
    errors += _mounts(container, volumes, f"{path}.volumeMounts")
    errors += _devices(container, volumes, f"{path}.volumeDevices")
    policy = container.get("imagePullPolicy", "")
    if policy not in _PULL_POLICIES:
        errors.append(not_supported(f"{path}.imagePullPolicy", policy, _PULL_POLICIES))
    errors += resources(container.get("resources") or {}, f"{path}.resources")
    return errors + security.container(container.get("securityContext"), f"{path}.securityContext")


def _ports(ports: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, port in enumerate(ports):
        where = index(path, position)
        if name := port.get("name", ""):
            messages = names.port_name(name)
            errors += [invalid(f"{where}.name", name, m) for m in messages]
            if not messages and name in seen:
                errors.append(duplicate(f"{where}.name", name))
            if not messages:
                seen.add(name)
        number = port.get("containerPort", 0)
        if not number:
            errors.append(required(f"{where}.containerPort"))
        else:
            errors += [invalid(f"{where}.containerPort", number, m) for m in names.port_number(number)]
        if host := port.get("hostPort"):
            errors += [invalid(f"{where}.hostPort", host, m) for m in names.port_number(host)]
        protocol = port.get("protocol", "")
        if protocol not in _PROTOCOLS:
            errors.append(not_supported(f"{where}.protocol", protocol, _PROTOCOLS))
    return errors


def _host_ports(found: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for number, container in enumerate(found):
        for position, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in seen:
                where = index(f"{index(path, number)}.ports", position)
                errors.append(duplicate(f"{where}.hostPort", text))
            seen.add(text)
    return errors


def _env(variables: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, variable in enumerate(variables):
        where = index(path, position)
        name = variable.get("name", "")
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors += [invalid(f"{where}.name", name, m) for m in names.env_name(name)]
        if "valueFrom" in variable:
            errors += _value_from(variable, f"{where}.valueFrom")
    return errors


def _value_from(variable: Object, path: str) -> list[FieldError]:
    source = variable["valueFrom"]
    errors: list[FieldError] = []
    if "fieldRef" in source:
        errors += downward.field_ref(source["fieldRef"], downward.ENV_FIELDS, f"{path}.fieldRef")
    if "resourceFieldRef" in source:
        errors += downward.resource_ref(source["resourceFieldRef"], f"{path}.resourceFieldRef", volume=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in source:
            errors += _key_ref(source[kind], f"{path}.{kind}")
    if not source:
        kinds = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        detail = f"must specify one of: {kinds}"
        errors.append(invalid(path, "", detail))
    elif variable.get("value"):
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(source) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _key_ref(reference: Object, path: str) -> list[FieldError]:
    name, wanted = reference.get("name", ""), reference.get("key", "")
    errors = [invalid(f"{path}.name", name, m) for m in names.dns_subdomain(name)]
    if not wanted:
        return [*errors, required(f"{path}.key")]
    return errors + [invalid(f"{path}.key", wanted, m) for m in names.config_key(wanted)]


def _env_from(sources: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, source in enumerate(sources):
        where = index(path, position)
        if prefix := source.get("prefix", ""):
            errors += [invalid(f"{where}.prefix", prefix, m) for m in names.env_name(prefix)]
        kinds = [kind for kind in ("configMapRef", "secretRef") if kind in source]
        for kind in kinds:
            name = source[kind].get("name", "")
            if not name:
                errors.append(required(f"{where}.{kind}.name"))
            else:
                errors += [invalid(f"{where}.{kind}.name", name, m) for m in names.subdomain_name(name, True)]
        if not kinds:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _mounts(container: Object, volumes: dict[str, Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    devices = {d.get("name", ""): d.get("devicePath", "") for d in container.get("volumeDevices") or ()}
    seen: set[str] = set()
    for position, mount in enumerate(container.get("volumeMounts") or ()):
        where = index(path, position)
        name, at = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        if name not in volumes:
            errors.append(not_found(f"{where}.name", name))
        if not at:
            errors.append(required(f"{where}.mountPath"))
        if at in seen:
            errors.append(invalid(f"{where}.mountPath", at, "must be unique"))
        seen.add(at)
        if name in devices:
            errors.append(invalid(f"{where}.name", name, "must not already exist in volumeDevices"))
        if at in devices.values():
            detail = "must not already exist as a path in volumeDevices"
            errors.append(invalid(f"{where}.mountPath", at, detail))
        # For these the real server leaves the index out of the field.
        below, expression = mount.get("subPath", ""), mount.get("subPathExpr", "")
        errors += [invalid(f"{path}.subPath", below, m) for m in names.descending_path(below)]
        if expression and below:
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(invalid(f"{where}.subPathExpr", expression, detail))
        errors += [invalid(f"{path}.subPathExpr", expression, m) for m in names.descending_path(expression)]
        errors += _mount_modes(container, mount, path)
    return errors


def _mount_modes(container: Object, mount: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    propagation = mount.get("mountPropagation")
    where = f"{path}.mountPropagation"
    if propagation is not None and propagation not in _PROPAGATION:
        errors.append(not_supported(where, propagation, _PROPAGATION))
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        detail = "Bidirectional mount propagation is available only to privileged containers"
        errors.append(forbidden(where, detail))
    recursive = mount.get("recursiveReadOnly")
    where = f"{path}.recursiveReadOnly"
    if recursive in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            errors.append(forbidden(where, "may only be specified when readOnly is true"))
        if propagation not in (None, "None"):
            detail = "may only be specified when mountPropagation is None or not specified"
            errors.append(forbidden(where, detail))
    elif recursive not in (None, "Disabled"):
        errors.append(not_supported(where, recursive, ("Disabled", "Enabled", "IfPossible")))
    return errors


def _devices(container: Object, volumes: dict[str, Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, device in enumerate(container.get("volumeDevices") or ()):
        where = index(path, position)
        name, at = device.get("name", ""), device.get("devicePath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        if name in seen:
            errors.append(invalid(f"{where}.name", name, "must be unique"))
        if name not in volumes:
            errors.append(not_found(f"{where}.name", name))
        elif not {"persistentVolumeClaim", "ephemeral"} & volumes[name].keys():
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid(f"{where}.name", name, detail))
        if not at:
            errors.append(required(f"{where}.devicePath"))
        elif names.no_backsteps(at):
            errors.append(invalid(f"{where}.devicePath", at, "can not contain backsteps ('..')"))
        seen.add(name)
    return errors


def _lifecycle_and_probes(container: Object, path: str, grace: int | None) -> list[FieldError]:
    errors: list[FieldError] = []
    lifecycle = container.get("lifecycle") or {}
    for name in ("postStart", "preStop"):
        if name in lifecycle:
            errors += _handler(lifecycle[name], f"{path}.lifecycle.{name}", grace)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            errors += _probe(container[name], name, f"{path}.{name}")
    return errors


def _probe(probe: Object, kind: str, path: str) -> list[FieldError]:
    errors = _handler(probe, path, None)
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        errors += nonnegative(f"{path}.{name}", probe.get(name))
    grace = probe.get("terminationGracePeriodSeconds")
    where = f"{path}.terminationGracePeriodSeconds"
    if grace is not None and grace <= 0:
        errors.append(invalid(where, grace, "must be greater than 0"))
    if kind == "readinessProbe":
        if grace is not None:
            errors.append(invalid(where, grace, "must not be set for readinessProbes"))
    elif probe.get("successThreshold", 1) != 1:
        errors.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return errors


def _handler(handler: Object, path: str, grace: int | None) -> list[FieldError]:
    errors: list[FieldError] = []
    kinds = [kind for kind in _HANDLERS if kind in handler]
    for count, kind in enumerate(kinds):
        where = f"{path}.{kind}"
        if count:
            errors.append(forbidden(where, "may not specify more than 1 handler type"))
        elif kind == "exec":
            if not handler["exec"].get("command"):
                errors.append(required(f"{where}.command"))
        elif kind == "httpGet":
            errors += _http_get(handler["httpGet"], where)
        elif kind == "sleep":
            errors += _sleep(handler["sleep"].get("seconds", 0), where, grace)
        else:
            errors += _port(handler[kind].get("port", 0), f"{where}.port")
    if not kinds:
        errors.append(required(path, "must specify a handler type"))
    return errors


def _sleep(seconds: int, path: str, grace: int | None) -> list[FieldError]:
    if grace is None or 0 <= seconds <= grace:
        return []
    detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [invalid(path, seconds, detail)]


def _http_get(action: Object, path: str) -> list[FieldError]:
    errors = [] if action.get("path") else [required(f"{path}.path")]
    errors += _port(action.get("port", 0), f"{path}.port")
    scheme = action.get("scheme", "")
    if scheme not in ("HTTP", "HTTPS"):
        errors.append(not_supported(f"{path}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        errors += [invalid(f"{path}.httpHeaders", name, m) for m in names.http_header(name)]
    return errors


def _port(port: int | str, path: str) -> list[FieldError]:
    messages = names.port_name(port) if isinstance(port, str) else names.port_number(port)
    return [invalid(path, port, m) for m in messages]


def resources(requirements: Object, path: str) -> list[FieldError]:
    """What containers request and are limited to."""
    errors: list[FieldError] = []
    limits, requests = requirements.get("limits") or {}, requirements.get("requests") or {}
    for name, text in limits.items():
        errors += _amount(name, text, key(f"{path}.limits", name))
    for name, text in requests.items():
        errors += _amount(name, text, key(f"{path}.requests", name))
        errors += _within(name, text, limits.get(name), path)
    huge = any(name.startswith("hugepages-") for name in (*limits, *requests))
    if huge and not {"cpu", "memory"} & {*limits, *requests}:
        errors.append(forbidden(path, "HugePages require cpu or memory"))
    return errors


def _amount(name: str, text: str, path: str) -> list[FieldError]:
    errors = resource_name(name, path)
    amount = value_of(text)
    if amount < 0:
        errors.append(invalid(path, text, NOT_NEGATIVE))
    if is_extended(name) and amount != amount.to_integral_value():
        errors.append(invalid(path, text, "must be an integer"))
    return errors


def resource_name(name: str, path: str) -> list[FieldError]:
    errors = [invalid(path, name, m) for m in names.label_key(name)]
    huge = name.startswith("hugepages-")
    if "/" not in name:
        if not errors and name not in STANDARD_RESOURCES and not huge:
            errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))
        if name not in _CONTAINER_RESOURCES and not huge:
            errors.append(invalid(path, name, "must be a standard resource for containers"))
    elif "kubernetes.io/" not in name and not is_extended(name):
        errors.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return errors


def is_extended(name: str) -> bool:
    """A device or the like: whole numbers of it, and its request is its limit."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def _within(name: str, text: str, limit: str | None, path: str) -> list[FieldError]:
    fixed = is_extended(name) or name.startswith("hugepages-")
    if limit is None:
        detail = "Limit must be set for non overcommitable resources"
        return [required(f"{path}.limits", detail)] if fixed else []
    wanted, most = value_of(text), value_of(limit)
    if fixed and wanted != most:
        return [invalid(f"{path}.requests", text, f"must be equal to {name} limit of {limit}")]
    if wanted > most:
        return [invalid(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limit}")]
    return []
