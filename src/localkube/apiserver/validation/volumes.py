"""The volumes of a pod."""

from collections.abc import Callable
from typing import Any

from localkube.apiserver.quantity import value_of
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import downward, names
from localkube.apiserver.validation.causes import (
    duplicate,
    forbidden,
    index,
    invalid,
    not_supported,
    required,
)

Object = dict[str, Any]

_MODE_ERROR = "must be a number between 0 and 0777 (octal), both inclusive"
_MORE_THAN_ONE = "may not specify more than 1 volume type"
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip


def validate(volumes: list[Object], path: str) -> tuple[dict[str, Object], list[FieldError]]:
    """The good volumes by name, for mounts to refer to, and what is wrong with the others."""
    good: dict[str, Object] = {}
    errors: list[FieldError] = []
    for position, volume in enumerate(volumes):
        where = index(path, position)
        found = _source(volume, where)
        name = volume.get("name", "")
        if not name:
            found.append(required(f"{where}.name"))
        else:
            found += [invalid(f"{where}.name", name, m) for m in names.dns_label(name)]
        if name in good:
            found.append(duplicate(f"{where}.name", name))
        if not found:
            good[name] = volume
        errors += found
    return good, errors


def _source(volume: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    kinds = [kind for kind in _SOURCES if kind in volume]
    kinds += [kind for kind in volume if kind != "name" and kind not in _SOURCES]
    for count, kind in enumerate(kinds):
        if count:
            errors.append(forbidden(f"{path}.{kind}", _MORE_THAN_ONE))
        elif check := _SOURCES.get(kind):
            errors += check(volume[kind], f"{path}.{kind}")
    if not kinds:
        errors.append(required(path, "must specify a volume type"))
    return errors


def _mode(mode: int | None, path: str) -> list[FieldError]:
    return [] if mode is None or 0 <= mode <= 0o777 else [invalid(path, mode, _MODE_ERROR)]


def _file(path_of_file: str, path: str) -> list[FieldError]:
    if not path_of_file:
        return [required(path)]
    return [invalid(path, path_of_file, m) for m in names.file_path(path_of_file)]


def _items(items: list[Object] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, item in enumerate(items or ()):
        where = index(f"{path}.items", position)
        if not item.get("key"):
            errors.append(required(f"{where}.key"))
        errors += _file(item.get("path", ""), f"{where}.path")
        errors += _mode(item.get("mode"), f"{where}.mode")
    return errors


def _empty_dir(source: Object, path: str) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is not None and value_of(limit) < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(source: Object, path: str) -> list[FieldError]:
    if not source.get("path"):
        return [required(f"{path}.path")]
    errors = [invalid(f"{path}.path", source["path"], m) for m in names.no_backsteps(source["path"])]
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        errors.append(not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))
    return errors


def _secret(source: Object, path: str) -> list[FieldError]:
    errors = [] if source.get("secretName") else [required(f"{path}.secretName")]
    return (
        errors + _mode(source.get("defaultMode"), f"{path}.defaultMode") + _items(source.get("items"), path)
    )


def _config_map(source: Object, path: str) -> list[FieldError]:
    errors = [] if source.get("name") else [required(f"{path}.name")]
    return (
        errors + _mode(source.get("defaultMode"), f"{path}.defaultMode") + _items(source.get("items"), path)
    )


def _downward(source: Object, path: str) -> list[FieldError]:
    return _mode(source.get("defaultMode"), f"{path}.defaultMode") + _downward_items(
        source.get("items"), path
    )


def _downward_items(items: list[Object] | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    # The index is not part of the field here: the real server leaves it out.
    for item in items or ():
        errors += _file(item.get("path", ""), f"{path}.path")
        if "fieldRef" in item:
            errors += downward.field_ref(item["fieldRef"], downward.VOLUME_FIELDS, f"{path}.fieldRef")
            if "resourceFieldRef" in item:
                detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
                errors.append(invalid(path, "resource", detail))
        elif "resourceFieldRef" in item:
            errors += downward.resource_ref(item["resourceFieldRef"], f"{path}.resourceFieldRef", volume=True)
        else:
            errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
        errors += _mode(item.get("mode"), f"{path}.mode")
    return errors


def _projected(source: Object, path: str) -> list[FieldError]:
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    paths: set[str] = set()
    for position, part in enumerate(source.get("sources") or ()):
        where = index(f"{path}.sources", position)
        for kind in ("secret", "configMap"):
            if kind in part:
                if not part[kind].get("name"):
                    errors.append(required(f"{where}.{kind}.name"))
                errors += _items(part[kind].get("items"), f"{where}.{kind}")
                errors += _conflicts(part[kind].get("items"), paths, path)
        if "downwardAPI" in part:
            errors += _downward_items(part["downwardAPI"].get("items"), f"{where}.downwardAPI")
            errors += _conflicts(part["downwardAPI"].get("items"), paths, path)
        if "serviceAccountToken" in part:
            errors += _token(part["serviceAccountToken"], path, f"{where}.serviceAccountToken")
        if len(part) > 1:
            errors.append(forbidden(where, _MORE_THAN_ONE))
    return errors


def _conflicts(items: list[Object] | None, paths: set[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for item in items or ():
        name = item.get("path", "")
        if not name:
            continue
        if name in paths:
            errors.append(invalid(path, name, "conflicting duplicate paths"))
        paths.add(name)
    return errors


def _token(token: Object, path: str, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seconds = token.get("expirationSeconds", 0)
    if seconds < 600:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(invalid(f"{where}.expirationSeconds", seconds, detail))
    if seconds > 1 << 32:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid(f"{where}.expirationSeconds", seconds, detail))
    return errors + _file(token.get("path", ""), f"{path}.path")


def _claim(source: Object, path: str) -> list[FieldError]:
    return [] if source.get("claimName") else [required(f"{path}.claimName")]


def _nfs(source: Object, path: str) -> list[FieldError]:
    errors = [required(f"{path}.{name}") for name in ("server", "path") if not source.get(name)]
    if source.get("path") and not source["path"].startswith("/"):
        errors.append(invalid(f"{path}.path", source["path"], "must be an absolute path"))
    return errors


def _csi(source: Object, path: str) -> list[FieldError]:
    return [] if source.get("driver") else [required(f"{path}.driver")]


def _ephemeral(source: Object, path: str) -> list[FieldError]:
    return [] if source.get("volumeClaimTemplate") is not None else [required(f"{path}.volumeClaimTemplate")]


def _image(source: Object, path: str) -> list[FieldError]:
    return [] if source.get("reference") else [required(f"{path}.reference")]


# In the order in which the real server looks at them, which decides what "more than 1" points at.
_SOURCES: dict[str, Callable[[Object, str], list[FieldError]]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "configMap": _config_map,
    "projected": _projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
