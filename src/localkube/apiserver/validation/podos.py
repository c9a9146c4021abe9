"""What a pod may say that is meant for another operating system: nothing.

Pod Security asks less of pods for Windows, which makes this more than a courtesy: without it, whoever says
`os: windows` gets by with capabilities that a Linux node would grant.
"""

from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation.causes import forbidden, index, not_supported, required

Object = dict[str, Any]

_SYSTEMS = ("linux", "windows")
_POD_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls",
    "runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy",
)  # fmt: skip
_POD = ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
_CONTAINER_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem",
    "privileged", "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip


def system(spec: Object, path: str) -> list[FieldError]:
    """The operating system that a pod names, if any, and what does not belong to it."""
    named = spec.get("os")
    if named is None:
        return []
    name = named.get("name", "")
    if name not in _SYSTEMS:
        where = f"{path}.os.name"
        return [not_supported(where, name, _SYSTEMS) if name else required(where)]
    if name == "linux":
        options = ("windowsOptions",)
        return _others(spec, path, (), options, options, "windows options cannot be set for a linux pod")
    return _others(spec, path, _POD, _POD_CONTEXT, _CONTAINER_CONTEXT, "cannot be set for a windows pod")


def _others(
    spec: Object,
    path: str,
    of_pod: tuple[str, ...],
    of_context: tuple[str, ...],
    of_container: tuple[str, ...],
    detail: str,
) -> list[FieldError]:
    context = spec.get("securityContext") or {}
    found = [f"{path}.securityContext.{name}" for name in of_context if name in context]
    found += [f"{path}.{name}" for name in of_pod if name in spec]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for position, container in enumerate(spec.get(kind) or ()):
            where = index(f"{path}.{kind}", position)
            own = container.get("securityContext") or {}
            found += [f"{where}.securityContext.{name}" for name in of_container if name in own]
    return [forbidden(field, detail) for field in found]
