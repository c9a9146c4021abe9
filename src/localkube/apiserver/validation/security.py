"""Security contexts of pods and containers."""

import re
from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import names
from localkube.apiserver.validation.causes import duplicate, index, invalid, not_supported, required

Object = dict[str, Any]

_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"


def pod(context: Object | None, spec: Object, path: str) -> list[FieldError]:
    """A pod's security context; it may be absent."""
    if context is None:
        return []
    errors: list[FieldError] = []
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        errors += _id(context.get(name), f"{path}.{name}")
    for position, group in enumerate(context.get("supplementalGroups") or ()):
        errors += _id(group, index(f"{path}.supplementalGroups", position))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.shareProcessNamespace", True, detail))
    errors += _sysctls(context.get("sysctls") or [], f"{path}.sysctls")
    errors += _one_of(context, "fsGroupChangePolicy", ("Always", "OnRootMismatch"), path)
    errors += _seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")
    errors += _app_armor(context.get("appArmorProfile"), f"{path}.appArmorProfile")
    return errors + _one_of(context, "supplementalGroupsPolicy", ("Merge", "Strict"), path)


def container(context: Object | None, path: str) -> list[FieldError]:
    """A container's security context; it may be absent."""
    if context is None:
        return []
    errors = _id(context.get("runAsUser"), f"{path}.runAsUser")
    errors += _id(context.get("runAsGroup"), f"{path}.runAsGroup")
    errors += _one_of(context, "procMount", ("Default", "Unmasked"), path)
    errors += _seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(path, context, detail))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, context, detail))
    return errors + _app_armor(context.get("appArmorProfile"), f"{path}.appArmorProfile")


def _id(value: int | None, path: str) -> list[FieldError]:
    return [] if value is None else [invalid(path, value, m) for m in names.user_or_group(value)]


def _one_of(context: Object, name: str, known: tuple[str, ...], path: str) -> list[FieldError]:
    value = context.get(name)
    return [] if value is None or value in known else [not_supported(f"{path}.{name}", value, known)]


def _sysctls(sysctls: list[Object], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, sysctl in enumerate(sysctls):
        where = f"{index(path, position)}.name"
        name = sysctl.get("name", "")
        if not name:
            errors.append(required(where))
        elif len(name) > 253 or not re.fullmatch(_SYSCTL, name):
            errors.append(
                invalid(where, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$")
            )
        elif name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
    return errors


def _seccomp(profile: Object | None, path: str) -> list[FieldError]:
    if profile is None:
        return []
    errors: list[FieldError] = []
    kind, file = profile.get("type", ""), profile.get("localhostProfile")
    if not kind:
        errors.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILES:
        errors.append(not_supported(f"{path}.type", kind, _PROFILES))
    where = f"{path}.localhostProfile"
    if kind == "Localhost":
        if file is None:
            errors.append(required(where, "must be set when seccomp type is Localhost"))
        else:
            errors += [invalid(where, file, m) for m in names.descending_path(file)]
    elif file is not None:
        shown = {"Type": kind, "LocalhostProfile": file}
        errors.append(invalid(where, shown, "can only be set when seccomp type is Localhost"))
    return errors


def _app_armor(profile: Object | None, path: str) -> list[FieldError]:
    if profile is None:
        return []
    kind, file = profile.get("type", ""), profile.get("localhostProfile")
    where = f"{path}.localhostProfile"
    if kind == "Localhost":
        if file is None or not file.strip():
            return [required(where, "must be set when AppArmor type is Localhost")]
        return [invalid(where, file, "must not be padded with whitespace")] if file != file.strip() else []
    if not kind:
        return [required(f"{path}.type", "type is required when appArmorProfile is set")]
    if kind not in _PROFILES:
        return [not_supported(f"{path}.type", kind, _PROFILES)]
    if file is not None:
        return [invalid(where, file, "can only be set when AppArmor type is Localhost")]
    return []
