"""Label selectors inside objects: are they well-formed, and do they match."""

from collections.abc import Mapping
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import names
from localkube.apiserver.validation.causes import forbidden, index, invalid, required
from localkube.apiserver.validation.metadata import validate_labels

Object = dict[str, Any]


def validate(selector: Object, path: str) -> list[FieldError]:
    errors = validate_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for position, requirement in enumerate(selector.get("matchExpressions") or ()):
        errors += _requirement(requirement, index(f"{path}.matchExpressions", position))
    return errors


def _requirement(requirement: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{path}.values", detail))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    name = requirement.get("key", "")
    errors += [invalid(f"{path}.key", name, m) for m in names.label_key(name)]
    for position, value in enumerate(values):
        errors += [invalid(index(f"{path}.values", position), value, m) for m in names.label_value(value)]
    return errors


def shown(selector: Object) -> Object:
    """The selector as Go prints it: labels in order."""
    labels = dict(sorted((selector.get("matchLabels") or {}).items()))
    found = {"matchLabels": labels, "matchExpressions": selector.get("matchExpressions")}
    return {name: value for name, value in found.items() if value}


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a (valid) selector selects these labels; an empty one selects everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for requirement in selector.get("matchExpressions") or ():
        key, operator = requirement.get("key", ""), requirement.get("operator")
        values = requirement.get("values") or ()
        satisfied = {
            "In": key in labels and labels[key] in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not satisfied.get(operator, False):
            return False
    return True
