"""Ingress and IngressClass: hosts, paths and what stands behind them."""

import ipaddress
import re
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names
from localkube.apiserver.validation.causes import (
    forbidden,
    immutable,
    index,
    invalid,
    key,
    not_supported,
    required,
    too_long,
)
from localkube.apiserver.validation.service import service_name

Object = dict[str, Any]

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_ENDS = ("/..", "/.")
_CONTROLLER_LIMIT = 250
_WILDCARD = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def ingress(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], True)
    annotation = (obj["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    if annotation and obj["spec"].get("ingressClassName") is not None:
        path = key("metadata.annotations", CLASS_ANNOTATION)
        errors.append(invalid(path, annotation, "can not be set when the class field is also set"))
    return errors + _spec(obj["spec"])


def ingress_update(new: Object, old: Object) -> list[FieldError]:
    return metadata.validate_update(new["metadata"], old["metadata"]) + _spec(new["spec"])


def ingress_status(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    for i, item in enumerate(((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()):
        path = index("status.loadBalancer.ingress", i)
        if item.get("ip"):
            errors += [invalid(f"{path}.ip", item["ip"], m) for m in names.ip_address(item["ip"])]
        if item.get("hostname"):
            name = item["hostname"]
            errors += [invalid(f"{path}.hostname", name, m) for m in names.dns_subdomain(name)]
    return errors


def ingress_class(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], False) + _class_spec(obj.get("spec") or {})


def ingress_class_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    before, after = old.get("spec") or {}, new.get("spec") or {}
    errors += immutable("spec.controller", after.get("controller", ""), before.get("controller", ""))
    return errors + _class_parameters(after.get("parameters"))


def _spec(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    rules, default = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and default is None:
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.append(invalid("spec", spec.get("rules"), detail))
    if default is not None:
        errors += _backend(default, "spec.defaultBackend")
    for i, rule in enumerate(rules):
        errors += _rule(rule, index("spec.rules", i))
    for i, tls in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(tls.get("hosts") or ()):
            errors += _host(host, index(f"{index('spec.tls', i)}.hosts", j))
    name = spec.get("ingressClassName")
    if name is not None:
        errors += [invalid("spec.ingressClassName", name, m) for m in names.dns_subdomain(name)]
    return errors


def _host(host: str, path: str) -> list[FieldError]:
    if "*" not in host:
        return [invalid(path, host, m) for m in names.dns_subdomain(host)]
    errors = []
    if len(host) > 253:
        errors.append(invalid(path, host, "must be no more than 253 characters"))
    if not re.fullmatch(_WILDCARD, host):
        detail = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
            "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
            f"character (e.g. '*.example.com', regex used for validation is '{_WILDCARD}')"
        )
        errors.append(invalid(path, host, detail))
    return errors


def _rule(rule: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    host = rule.get("host") or ""
    if host:
        try:
            ipaddress.ip_address(host)
            errors.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        except ValueError:
            pass
        errors += _host(host, f"{path}.host")
    http = rule.get("http")
    if http is not None:
        if not http.get("paths"):
            errors.append(required(f"{path}.http.paths"))
        for i, item in enumerate(http.get("paths") or ()):
            errors += _path(item, index(f"{path}.http.paths", i))
    return errors


def _path(item: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, text = item.get("pathType"), item.get("path") or ""
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    if kind not in _PATH_TYPES:
        errors.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
    else:
        if not text.startswith("/"):
            errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
        if text:
            for part in _NOT_IN_PATHS:
                if part in text:
                    errors.append(invalid(f"{path}.path", text, f"must not contain '{part}'"))
            for end in _NOT_AT_ENDS:
                if text.endswith(end):
                    errors.append(invalid(f"{path}.path", text, f"cannot end with '{end}'"))
    return errors + _backend(item.get("backend") or {}, f"{path}.backend")


def _backend(backend: Object, path: str) -> list[FieldError]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        errors: list[FieldError] = []
        for name in ("kind", "name"):
            if not resource.get(name):
                errors.append(required(f"{path}.resource.{name}"))
        return errors
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    return _service(service, f"{path}.service")


def _service(service: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    name, port = service.get("name") or "", service.get("port") or {}
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [invalid(f"{path}.name", name, m) for m in service_name(name, False)]
    port_name, number = port.get("name") or "", port.get("number") or 0
    if port_name and number:
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif port_name:
        errors += [invalid(f"{path}.port.name", port_name, m) for m in names.port_name(port_name)]
    elif number:
        errors += [invalid(f"{path}.port.number", number, m) for m in names.port_number(number)]
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def _class_spec(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    controller = spec.get("controller") or ""
    if len(controller) > _CONTROLLER_LIMIT:
        errors.append(too_long("spec.controller", _CONTROLLER_LIMIT))
    domain, slash, rest = controller.partition("/")
    if not controller:
        errors.append(required("spec.controller"))
    elif not slash or not domain or not rest:
        detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
        errors.append(invalid("spec.controller", controller, detail))
    else:
        errors += [invalid("spec.controller", domain, m) for m in names.dns_subdomain(domain)]
    return errors + _class_parameters(spec.get("parameters"))


def _class_parameters(parameters: Object | None) -> list[FieldError]:
    if parameters is None:
        return []
    errors: list[FieldError] = []
    path, scope, namespace = "spec.parameters", parameters.get("scope"), parameters.get("namespace")
    for name in ("kind", "name"):
        if not parameters.get(name):
            errors.append(required(f"{path}.{name}"))
    if scope is None:
        errors.append(required(f"{path}.scope"))
    elif scope not in ("Cluster", "Namespace"):
        errors.append(not_supported(f"{path}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace" and not namespace:
        detail = "`parameters.scope` is set to 'Namespace'"
        errors.append(required(f"{path}.namespace", detail))
    elif scope == "Cluster" and namespace is not None:
        detail = "`parameters.scope` is set to 'Cluster'"
        errors.append(forbidden(f"{path}.namespace", detail))
    return errors
