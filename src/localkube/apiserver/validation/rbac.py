"""Roles and bindings."""

from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names, selector
from localkube.apiserver.validation.causes import index, invalid, not_supported, required

Object = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"


def role(obj: Object) -> list[FieldError]:
    return metadata.validate(obj["metadata"], True, names.path_segment_name) + _rules(obj, namespaced=True)


def role_update(new: Object, old: Object) -> list[FieldError]:
    return role(new) + metadata.validate_update(new["metadata"], old["metadata"])


def cluster_role(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], False, names.path_segment_name)
    errors += _rules(obj, namespaced=False)
    if (aggregation := obj.get("aggregationRule")) is not None:
        path = "aggregationRule.clusterRoleSelectors"
        selectors = aggregation.get("clusterRoleSelectors") or ()
        if not selectors:
            detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            errors.append(required(path, detail))
        for position, found in enumerate(selectors):
            errors += selector.validate(found, index(path, position))
    return errors


def cluster_role_update(new: Object, old: Object) -> list[FieldError]:
    return cluster_role(new) + metadata.validate_update(new["metadata"], old["metadata"])


def role_binding(obj: Object) -> list[FieldError]:
    return _binding(obj, True, ("Role", "ClusterRole"))


def role_binding_update(new: Object, old: Object) -> list[FieldError]:
    return role_binding(new) + _binding_update(new, old)


def cluster_role_binding(obj: Object) -> list[FieldError]:
    return _binding(obj, False, ("ClusterRole",))


def cluster_role_binding_update(new: Object, old: Object) -> list[FieldError]:
    return cluster_role_binding(new) + _binding_update(new, old)


def _rules(obj: Object, *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, rule in enumerate(obj.get("rules") or ()):
        errors += _rule(rule, namespaced, index("rules", position))
    return errors


def _rule(rule: Object, namespaced: bool, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if urls := rule.get("nonResourceURLs"):
        where = f"{path}.nonResourceURLs"
        if namespaced:
            errors.append(invalid(where, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(where, urls, detail))
        return errors
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def _binding(obj: Object, namespaced: bool, kinds: tuple[str, ...]) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], namespaced, names.path_segment_name)
    reference = obj["roleRef"]
    if reference["apiGroup"] != GROUP:
        errors.append(not_supported("roleRef.apiGroup", reference["apiGroup"], [GROUP]))
    if reference["kind"] not in kinds:
        errors.append(not_supported("roleRef.kind", reference["kind"], kinds))
    if not reference["name"]:
        errors.append(required("roleRef.name"))
    else:
        problems = names.path_segment_name(reference["name"], False)
        errors += [invalid("roleRef.name", reference["name"], m) for m in problems]
    for position, subject in enumerate(obj.get("subjects") or ()):
        errors += _subject(subject, namespaced, index("subjects", position))
    return errors


def _subject(subject: Object, namespaced: bool, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    name, group = subject["name"], subject.get("apiGroup", "")
    if not name:
        errors.append(required(f"{path}.name"))
    if subject["kind"] == "ServiceAccount":
        if name:
            errors += [invalid(f"{path}.name", name, m) for m in names.subdomain_name(name, False)]
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, [""]))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif subject["kind"] in ("User", "Group"):
        if group != GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, [GROUP]))
    else:
        kinds = ("ServiceAccount", "User", "Group")
        errors.append(not_supported(f"{path}.kind", subject["kind"], kinds))
    return errors


def _binding_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    if new["roleRef"] != old["roleRef"]:
        # as the server's own type prints itself
        value = {
            "APIGroup": new["roleRef"]["apiGroup"],
            "Kind": new["roleRef"]["kind"],
            "Name": new["roleRef"]["name"],
        }
        errors.append(invalid("roleRef", value, "cannot change roleRef"))
    return errors
