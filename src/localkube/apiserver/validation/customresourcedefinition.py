"""CustomResourceDefinition: names, versions, and what each version says."""

from typing import Any
from urllib.parse import urlsplit

from localkube.apiserver.crd import naming
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import metadata, names, structuralschema
from localkube.apiserver.validation.causes import (
    forbidden,
    immutable,
    index,
    invalid,
    key,
    not_supported,
    required,
    too_many,
)

Object = dict[str, Any]

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_LIMIT = 8
_APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_PARTS = {
    "schema": "validation",
    "subresources": "subresources",
    "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}
"""What versions have each of their own, and where the server keeps it when it is the same in all."""


def definition(obj: Object) -> list[FieldError]:
    spec = obj["spec"]

    def check_name(name: str, prefix: bool) -> list[str]:
        errors = names.subdomain_name(name, prefix)
        if name != f"{spec['names'].get('plural', '')}.{spec.get('group', '')}":
            errors.append('must be spec.names.plural+"."+spec.group')
        return errors

    errors = metadata.validate(obj["metadata"], False, check_name, qualified_finalizers=False)
    return errors + _spec(spec) + _stored_versions(obj) + _approval(obj, None) + _preserves(obj, None)


def definition_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"], qualified_finalizers=False)
    errors += _spec(new["spec"])
    before, after = old["spec"], new["spec"]
    if naming.holds(old, "Established"):
        errors += immutable("spec.scope", after.get("scope"), before.get("scope"))
        errors += immutable("spec.names.kind", after["names"].get("kind"), before["names"].get("kind"))
    errors += immutable("spec.group", after.get("group"), before.get("group"))
    errors += immutable("spec.names.plural", after["names"].get("plural"), before["names"].get("plural"))
    return errors + _stored_versions(new) + _approval(new, old) + _preserves(new, old)


def definition_status(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"], qualified_finalizers=False)
    return errors + _names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


def _spec(spec: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    group, scope = spec.get("group") or "", spec.get("scope") or ""
    if not group:
        errors.append(required("spec.group"))
    elif problems := names.dns_subdomain(group):
        errors.append(invalid("spec.group", group, ",".join(problems)))
    elif "." not in group:
        errors.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    if not scope:
        errors.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        errors.append(not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    versions = spec.get("versions") or []
    for i, version in enumerate(versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            errors.append(required(f"{index('spec.versions', i)}.schema.openAPIV3Schema"))
    shared = {name for name in _PARTS if versions and _identical(versions, name)}
    errors += _versions(versions, shared)
    for name in ("plural", "singular", "kind", "listKind"):
        if not spec["names"].get(name):
            errors.append(required(f"spec.names.{name}"))
    errors += _names(spec["names"], "spec.names")
    if versions:
        errors += _parts(versions[0], "spec", [name for name in _PARTS if name in shared], shared=True)
    return errors + _conversion(spec.get("conversion"))


def _identical(versions: list[Object], name: str) -> bool:
    return all(version.get(name) == versions[0].get(name) for version in versions)


def _versions(versions: list[Object], shared: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, version in enumerate(versions):
        path = index("spec.versions", i)
        name = version.get("name") or ""
        if problems := names.dns_label_1035(name):
            errors.append(invalid(f"{path}.name", name, ",".join(problems)))
        warning = version.get("deprecationWarning")
        if warning is not None and not version.get("deprecated"):
            detail = "can only be set for deprecated versions"
            errors.append(invalid(f"{path}.deprecationWarning", warning, detail))
        elif warning is not None and (problem := _warning_problem(warning)):
            errors.append(invalid(f"{path}.deprecationWarning", warning, problem))
        errors += _parts(version, path, [part for part in _PARTS if part not in shared], shared=False)
    if len({version.get("name") for version in versions}) < len(versions):
        errors.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(1 for version in versions if version.get("storage")) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(invalid("spec.versions", versions, detail))
    return errors


def _warning_problem(warning: str) -> str:
    if not warning:
        return "must not be an empty string"
    if len(warning.encode()) > 256:
        return "must be <= 256 characters long"
    bad = next((i for i, char in enumerate(warning) if not char.isprintable()), None)
    if bad is None:
        return ""
    return f"must only contain printable UTF-8 characters; non-printable character found at index {bad}"


def _parts(version: Object, path: str, parts: list[str], *, shared: bool) -> list[FieldError]:
    """What is wrong with some parts of a version, or with what all versions have in common."""
    errors: list[FieldError] = []
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    subresources = version.get("subresources") or {}
    for part in parts:
        place = f"{path}.{_PARTS[part] if shared else part}"
        if part == "schema" and schema is not None:
            has_status = subresources.get("status") is not None
            errors += structuralschema.validate(schema, f"{place}.openAPIV3Schema", has_status=has_status)
        elif part == "subresources" and subresources.get("scale") is not None:
            errors += _scale(subresources["scale"], f"{place}.scale")
        elif part == "additionalPrinterColumns":
            for i, column in enumerate(version.get(part) or ()):
                errors += _column(column, index(place, i))
        elif part == "selectableFields" and version.get(part):
            fields = version[part]
            errors += structuralschema.selectable(fields, schema or {}, place)
            count = len({field.get("jsonPath") for field in fields})
            if count > _SELECTABLE_LIMIT:
                errors.append(too_many(place, count, _SELECTABLE_LIMIT))
    return errors


def _names(given: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("plural", "singular"):
        if given.get(name) and (problems := names.dns_label_1035(given[name])):
            errors.append(invalid(f"{path}.{name}", given[name], ",".join(problems)))
    for name in ("kind", "listKind"):
        if given.get(name) and (problems := names.dns_label_1035(given[name].lower())):
            detail = "may have mixed case, but should otherwise match: " + ",".join(problems)
            errors.append(invalid(f"{path}.{name}", given[name], detail))
    errors += _labels(given.get("shortNames"), f"{path}.shortNames")
    if given.get("kind") and given["kind"] == given.get("listKind"):
        detail = "kind and listKind may not be the same"
        errors.append(invalid(f"{path}.listKind", given["listKind"], detail))
    return errors + _labels(given.get("categories"), f"{path}.categories")


def _labels(values: list[str] | None, path: str) -> list[FieldError]:
    return [
        invalid(index(path, i), value, ",".join(problems))
        for i, value in enumerate(values or ())
        if (problems := names.dns_label_1035(value))
    ]


def _column(column: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not column.get("name"):
        errors.append(required(f"{path}.name"))
    kind, form, text = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
    if kind not in _COLUMN_TYPES:
        detail = f"must be one of {','.join(_COLUMN_TYPES)}"
        errors.append(invalid(f"{path}.type", kind, detail) if kind else required(f"{path}.type", detail))
    if form and form not in _COLUMN_FORMATS:
        errors.append(invalid(f"{path}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
    if not text:
        errors.append(required(f"{path}.JSONPath"))
    elif not text.startswith("."):
        errors.append(invalid(f"{path}.JSONPath", text, "must be a simple json path starting with ."))
    return errors


def _scale(scale: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, roots in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".spec.", ".status.")),
    ):
        text, place = scale.get(name) or "", f"{path}.{name}"
        if not text:
            if name != "labelSelectorPath":
                errors.append(required(place))
        elif not text.startswith("."):
            errors.append(invalid(place, text, "must be a simple json path starting with ."))
        elif not text.startswith(roots):
            where = roots[0].strip(".") if len(roots) == 1 else "either .spec or .status"
            detail = f"should be a json path under {where if len(roots) > 1 else '.' + where}"
            errors.append(invalid(place, text, detail))
    return errors


def _conversion(conversion: Object | None) -> list[FieldError]:
    if conversion is None:
        return []
    path, strategy, webhook = "spec.conversion", conversion.get("strategy") or "", conversion.get("webhook")
    if not strategy:
        return [required(f"{path}.strategy")]
    if strategy not in ("None", "Webhook"):
        return [not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        detail = "should not be set when strategy is not set to Webhook"
        return [forbidden(f"{path}.webhookClientConfig", detail)] if webhook else []
    # told plainly, instead of serving objects that nobody converts
    return [invalid(f"{path}.strategy", strategy, "localkube calls no webhooks: only None is supported")]


def _stored_versions(obj: Object) -> list[FieldError]:
    path = "status.storedVersions"
    stored = (obj.get("status") or {}).get("storedVersions") or []
    if not stored:
        return [invalid(path, stored, "must have at least one stored version")]
    errors: list[FieldError] = []
    known = {version.get("name") for version in obj["spec"].get("versions") or ()}
    for i, name in enumerate(stored):
        if name not in known:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                "spec.versions until a storage migration ensures no data remains persisted in "
                f"{name} and removes {name} from status.storedVersions"
            )
            errors.append(invalid(index(path, i), name, detail))
    return errors


def _approval(new: Object, old: Object | None) -> list[FieldError]:
    """Groups of the Kubernetes community are its own: who defines a kind there says by what right."""
    group = new["spec"].get("group") or ""
    if not any(group == name or group.endswith(f".{name}") for name in _PROTECTED):
        return []
    annotations = new["metadata"].get("annotations") or {}
    before = (old["metadata"].get("annotations") or {}) if old is not None else {}
    text = annotations.get(_APPROVAL, "")
    if old is not None and text == before.get(_APPROVAL, ""):
        return []
    path = key("metadata.annotations", _APPROVAL)
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    must = f'protected groups must have approval annotation "{_APPROVAL}"'
    if not text:
        return [required(path, f"{must}, {see}")]
    url = urlsplit(text)
    if text.startswith("unapproved") or (url.scheme and url.netloc):
        return []
    return [invalid(path, text, f'{must} with either a URL or a reason starting with "unapproved", {see}')]


def _preserves(new: Object, old: Object | None) -> list[FieldError]:
    if not new["spec"].get("preserveUnknownFields") or (
        old is not None and old["spec"].get("preserveUnknownFields")
    ):
        return []
    detail = (
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
        "spec.versions[*].schema instead"
    )
    return [invalid("spec.preserveUnknownFields", True, detail)]
