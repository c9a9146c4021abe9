"""The part that all objects share: `metadata`."""

from collections.abc import Mapping
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import names
from localkube.apiserver.validation.causes import (
    forbidden,
    immutable,
    index,
    invalid,
    nonnegative,
    required,
    too_long,
)

Object = dict[str, Any]

_ANNOTATIONS_LIMIT_BYTES = 256 * 1024
# The finalizers that need no domain in front.
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_IMMUTABLE = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def validate(
    metadata: Object,
    namespaced: bool,
    check_name: names.NameCheck = names.subdomain_name,
    *,
    qualified_finalizers: bool = True,
) -> list[FieldError]:
    """Validate a new object's metadata; a few kinds do not ask for a domain in a finalizer."""
    errors: list[FieldError] = []
    name, base = metadata.get("name", ""), metadata.get("generateName", "")
    if base:
        errors += [invalid("metadata.generateName", base, m) for m in check_name(base, True)]
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid("metadata.name", name, m) for m in check_name(name, False)]
    namespace = metadata.get("namespace", "")
    if not namespaced:
        if namespace:
            errors.append(forbidden("metadata.namespace", "not allowed on this type"))
    elif not namespace:
        errors.append(required("metadata.namespace"))
    else:
        errors += [invalid("metadata.namespace", namespace, m) for m in names.dns_label(namespace)]
    errors += nonnegative("metadata.generation", metadata.get("generation"))
    return errors + _common(metadata) + (_finalizer_domains(metadata) if qualified_finalizers else [])


def validate_update(new: Object, old: Object, *, qualified_finalizers: bool = True) -> list[FieldError]:
    """Validate changed metadata, after the server put back what is its own."""
    errors: list[FieldError] = []
    if old.get("deletionTimestamp"):
        extra = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if extra:
            shown = ", ".join(f'"{name}"' for name in extra)
            detail = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{shown}}}"
            )
            errors.append(forbidden("metadata.finalizers", detail))
    if new.get("generation", 0) < old.get("generation", 0):
        errors.append(invalid("metadata.generation", new.get("generation", 0), "must not be decremented"))
    for name in _IMMUTABLE:
        errors += immutable(f"metadata.{name}", new.get(name), old.get(name))
    # Of finalizers only the domain is looked at again; that their names are good was checked before.
    return errors + _common(new, finalizers=False) + (_finalizer_domains(new) if qualified_finalizers else [])


def validate_labels(labels: Mapping[str, str] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for key, value in (labels or {}).items():
        errors += [invalid(path, key, m) for m in names.label_key(key)]
        errors += [invalid(path, value, m) for m in names.label_value(value)]
    return errors


def _common(metadata: Object, *, finalizers: bool = True) -> list[FieldError]:
    errors = validate_labels(metadata.get("labels"), "metadata.labels")
    errors += validate_annotations(metadata.get("annotations"), "metadata.annotations")
    errors += _owner_references(metadata.get("ownerReferences") or [])
    if finalizers:
        errors += _finalizers(metadata.get("finalizers") or [])
    return errors


def validate_annotations(annotations: Mapping[str, str] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    size = 0
    for key, value in (annotations or {}).items():
        errors += [invalid(path, key, m) for m in names.label_key(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > _ANNOTATIONS_LIMIT_BYTES:
        errors.append(too_long(path, _ANNOTATIONS_LIMIT_BYTES))
    return errors


def _owner_references(references: list[Object]) -> list[FieldError]:
    path = "metadata.ownerReferences"
    errors: list[FieldError] = []
    controller = ""
    for reference in references:
        version = reference.get("apiVersion", "").rpartition("/")[2]
        if not version:
            errors.append(
                invalid(f"{path}.apiVersion", reference.get("apiVersion", ""), "version must not be empty")
            )
        for name in ("kind", "name", "uid"):
            if not reference.get(name):
                errors.append(invalid(f"{path}.{name}", "", "must not be empty"))
        if (reference.get("apiVersion"), reference.get("kind")) == ("v1", "Event"):
            detail = "/v1, Kind=Event is disallowed from being an owner"
            errors.append(invalid(path, reference, detail))
        if reference.get("controller"):
            this = f"{reference.get('kind', '')}/{reference.get('name', '')}"
            if controller:
                detail = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {this}'
                )
                errors.append(invalid(path, [_ordered(r) for r in references], detail))
            else:
                controller = this
    return errors


def _ordered(reference: Object) -> Object:
    order = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
    return {name: reference[name] for name in order if name in reference}


def _finalizers(finalizers: list[str]) -> list[FieldError]:
    path = "metadata.finalizers"
    errors: list[FieldError] = []
    for finalizer in finalizers:
        errors += [invalid(path, finalizer, m) for m in names.label_key(finalizer)]
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid(path, finalizers, detail))
    return errors


def _finalizer_domains(metadata: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, finalizer in enumerate(metadata.get("finalizers") or ()):
        errors += finalizer_domain(finalizer, index("metadata.finalizers", position))
    return errors


def finalizer_domain(finalizer: str, path: str) -> list[FieldError]:
    if "/" in finalizer or finalizer in _STANDARD_FINALIZERS:
        return []
    return [invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")]
