"""Where a pod may run: affinity, tolerations, spreading, gates."""

from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import names, selector
from localkube.apiserver.validation.causes import (
    duplicate,
    forbidden,
    index,
    invalid,
    not_supported,
    required,
)

Object = dict[str, Any]

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("Equal", "Exists")
_BAD_OPERATOR = "not a valid selector operator"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def tolerations(found: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, toleration in enumerate(found):
        where = index(path, position)
        name, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if name:
            errors += [invalid(f"{where}.key", name, m) for m in names.label_key(name)]
        elif operator != "Exists":
            detail = (
                'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            )
            errors.append(invalid(f"{where}.operator", operator, detail))
        if "tolerationSeconds" in toleration and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(f"{where}.effect", effect, detail))
        if operator in ("", "Equal"):
            if messages := names.label_value(value):
                errors.append(invalid(f"{where}.operator", value, ";".join(messages)))
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                errors.append(invalid(f"{where}.operator", toleration, detail))
        else:
            errors.append(not_supported(f"{where}.operator", operator, _OPERATORS))
        if effect and effect not in _EFFECTS:
            errors.append(not_supported(f"{where}.effect", effect, _EFFECTS))
    return errors


def only_added(new: list[Object], old: list[Object], path: str) -> list[FieldError]:
    """Tolerations may be added to a pod, and how long they hold may change."""
    for before in old:
        same = {**before, "tolerationSeconds": None}
        if not any({**toleration, "tolerationSeconds": None} == same for toleration in new):
            return [forbidden(path, "existing toleration can not be modified except its tolerationSeconds")]
    return tolerations(new, path)


def affinity(found: Object | None, path: str) -> list[FieldError]:
    if found is None:
        return []
    errors: list[FieldError] = []
    node = found.get("nodeAffinity") or {}
    if _REQUIRED in node:
        errors += _node_selector(node[_REQUIRED], f"{path}.nodeAffinity.{_REQUIRED}")
    for position, term in enumerate(node.get(_PREFERRED) or ()):
        where = index(f"{path}.nodeAffinity.{_PREFERRED}", position)
        errors += _weight(term, where)
        errors += _node_term(term.get("preference") or {}, f"{where}.preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = found.get(kind) or {}
        for position, term in enumerate(pods.get(_REQUIRED) or ()):
            errors += _pod_term(term, index(f"{path}.{kind}.{_REQUIRED}", position))
        for position, term in enumerate(pods.get(_PREFERRED) or ()):
            where = index(f"{path}.{kind}.{_PREFERRED}", position)
            errors += _weight(term, where)
            errors += _pod_term(term.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")
    return errors


def _weight(term: Object, path: str) -> list[FieldError]:
    weight = term.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _node_selector(found: Object, path: str) -> list[FieldError]:
    terms = found.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    errors: list[FieldError] = []
    for position, term in enumerate(terms):
        errors += _node_term(term, index(f"{path}.nodeSelectorTerms", position))
    return errors


def _node_term(term: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, requirement in enumerate(term.get("matchExpressions") or ()):
        errors += _node_label(requirement, index(f"{path}.matchExpressions", position))
    for position, requirement in enumerate(term.get("matchFields") or ()):
        errors += _node_field(requirement, index(f"{path}.matchFields", position))
    return errors


def _node_label(requirement: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    where = f"{path}.values"
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(where, "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(where, detail))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(where, detail))
    else:
        errors.append(invalid(f"{path}.operator", operator, _BAD_OPERATOR))
    name = requirement.get("key", "")
    return errors + [invalid(f"{path}.key", name, m) for m in names.label_key(name)]


def _node_field(requirement: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    values = requirement.get("values") or []
    if requirement.get("operator") not in ("In", "NotIn"):
        errors.append(invalid(f"{path}.operator", requirement.get("operator", ""), _BAD_OPERATOR))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", detail))
    name = requirement.get("key", "")
    if name != "metadata.name":
        return [*errors, invalid(f"{path}.key", name, "not a valid field selector key")]
    for position, value in enumerate(values):
        where = index(f"{path}.values", position)
        errors += [invalid(where, value, m) for m in names.dns_subdomain(value)]
    return errors


def _pod_term(term: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("labelSelector", "namespaceSelector"):
        if term.get(name) is not None:
            errors += selector.validate(term[name], f"{path}.{name}")
    for namespace in term.get("namespaces") or ():
        errors += [invalid(f"{path}.namespace", namespace, m) for m in names.dns_label(namespace)]
    topology = term.get("topologyKey", "")
    if not topology:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    return errors + [invalid(f"{path}.topologyKey", topology, m) for m in names.label_key(topology)]


def spread(constraints: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    known = ("DoNotSchedule", "ScheduleAnyway")
    for position, constraint in enumerate(constraints):
        where = index(path, position)
        skew = constraint.get("maxSkew", 0)
        if skew <= 0:
            errors.append(invalid(f"{where}.maxSkew", skew, "must be greater than zero"))
        topology = constraint.get("topologyKey", "")
        if not topology:
            errors.append(required(f"{where}.topologyKey", "can not be empty"))
        else:
            errors += [invalid(f"{where}.topologyKey", topology, m) for m in names.label_key(topology)]
        action = constraint.get("whenUnsatisfiable", "")
        if action not in known:
            errors.append(not_supported(f"{where}.whenUnsatisfiable", action, known))
        if constraint.get("labelSelector") is not None:
            errors += selector.validate(constraint["labelSelector"], f"{where}.labelSelector")
    return errors


def gates(found: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, gate in enumerate(found):
        name = gate.get("name", "")
        errors += [invalid(index(path, position), name, m) for m in names.label_key(name)]
        if name in seen:
            errors.append(duplicate(index(path, position), name))
        seen.add(name)
    return errors
