"""What a pod may say that is meant for another operating system: nothing.

Pod Security asks less of pods for Windows, which makes this more than a courtesy: without it, whoever says
`os: windows` gets by with capabilities that a Linux node would grant.
"""

from typing import Any

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation.causes import forbidden, index, not_supported, required

Object = dict[str, Any]

_SYSTEMS = ("linux", "windows")
_NOT_OF_WINDOWS = (
    "securityContext.appArmorProfile", "securityContext.seLinuxOptions", "hostUsers", "hostPID", "hostIPC",
    "securityContext.seccompProfile", "securityContext.fsGroup", "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls", "shareProcessNamespace", "securityContext.runAsUser",
    "securityContext.runAsGroup", "securityContext.supplementalGroups",
    "securityContext.supplementalGroupsPolicy",
)  # fmt: skip
_NOT_OF_A_WINDOWS_CONTAINER = (
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
        detail = "windows options cannot be set for a linux pod"
        return _others(spec, path, ("securityContext.windowsOptions",), ("windowsOptions",), detail)
    detail = "cannot be set for a windows pod"
    return _others(spec, path, _NOT_OF_WINDOWS, _NOT_OF_A_WINDOWS_CONTAINER, detail)


def _others(
    spec: Object, path: str, of_pod: tuple[str, ...], of_container: tuple[str, ...], detail: str
) -> list[FieldError]:
    """`of_pod` are fields of the spec, `of_container` such of each container's security context."""
    context = spec.get("securityContext") or {}
    given = spec.keys() | {f"securityContext.{name}" for name in context}
    found = [f"{path}.{name}" for name in of_pod if name in given]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for position, container in enumerate(spec.get(kind) or ()):
            where = index(f"{path}.{kind}", position)
            own = container.get("securityContext") or {}
            found += [f"{where}.securityContext.{name}" for name in of_container if name in own]
    return [forbidden(field, detail) for field in found]
