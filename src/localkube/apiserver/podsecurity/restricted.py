"""The level `restricted`: what `baseline` refuses, and whatever is not needed to run a program.

The controls, what they look at and their words are those of k8s.io/pod-security-admission 1.36.
"""

from localkube.apiserver.podsecurity.baseline import PROFILES, has_own_users, proc_mount, seccomp
from localkube.apiserver.podsecurity.checks import (
    Check,
    CheckPod,
    Object,
    Violation,
    bad_setters,
    containers,
    context,
    listed,
    names,
    plural,
    quoted,
)

_VOLUMES = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
        "projected", "secret",
    }
)  # fmt: skip


def _for_linux(check: CheckPod) -> CheckPod:
    """The same control for pods that do not say that they are for Windows, which has no such thing."""

    def only_linux(metadata: Object, spec: Object) -> Violation | None:
        return None if (spec.get("os") or {}).get("name") == "windows" else check(metadata, spec)

    return only_linux


def _for_host_users(check: CheckPod) -> CheckPod:
    """The same control for pods without a user namespace, where root is root."""

    def only_host_users(metadata: Object, spec: Object) -> Violation | None:
        return None if has_own_users(spec) else check(metadata, spec)

    return only_host_users


def _escalation(_: Object, spec: Object) -> Violation | None:
    bad = names(c for c in containers(spec) if context(c).get("allowPrivilegeEscalation", True))
    if not bad:
        return None
    return Violation(
        "allowPrivilegeEscalation != false",
        f"{listed('container', bad)} must set securityContext.allowPrivilegeEscalation=false",
    )


def _capabilities(_: Object, spec: Object) -> Violation | None:
    keeping: list[str] = []
    adding: list[str] = []
    forbidden: set[str] = set()
    for container in containers(spec):
        capabilities = context(container).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            keeping.append(container.get("name", ""))
        extra = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
        if extra:
            adding.append(container.get("name", ""))
            forbidden |= extra
    details: list[str] = []
    if keeping:
        who = listed("container", keeping)
        details.append(f'{who} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        what = quoted(sorted(forbidden))
        who = listed("container", adding)
        details.append(f"{who} must not include {what} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def _volumes(_: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        sources = volume.keys() - {"name"}
        if not sources & _VOLUMES:
            bad.append(volume.get("name", ""))
            types.add(min(sources, default="unknown"))
    if not bad:
        return None
    uses = f"{plural(len(bad), 'uses', 'use')} {plural(len(types), 'restricted volume type')}"
    return Violation("restricted volume types", f"{listed('volume', bad)} {uses} {quoted(sorted(types))}")


def _run_as_non_root(_: Object, spec: Object) -> Violation | None:
    who = bad_setters(spec, lambda found: found.get("runAsNonRoot") is False)
    if who:
        return Violation("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false")
    if context(spec).get("runAsNonRoot"):
        return None
    silent = names(c for c in containers(spec) if context(c).get("runAsNonRoot") is None)
    if not silent:
        return None
    who = listed("container", silent)
    return Violation("runAsNonRoot != true", f"pod or {who} must set securityContext.runAsNonRoot=true")


def _run_as_user(_: Object, spec: Object) -> Violation | None:
    who = bad_setters(spec, lambda found: found.get("runAsUser") == 0)
    return Violation("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def _seccomp(metadata: Object, spec: Object) -> Violation | None:
    if unconfined := seccomp(metadata, spec):
        return unconfined
    if context(spec).get("seccompProfile") is not None:
        return None
    silent = names(c for c in containers(spec) if context(c).get("seccompProfile") is None)
    if not silent:
        return None
    allowed = " or ".join(f'"{profile}"' for profile in PROFILES)
    return Violation(
        "seccompProfile",
        f"pod or {listed('container', silent)} must set securityContext.seccompProfile.type to {allowed}",
    )


CHECKS = (
    Check("allowPrivilegeEscalation", ((8, _escalation), (25, _for_linux(_escalation)))),
    Check(
        "capabilities_restricted",
        ((22, _capabilities), (25, _for_linux(_capabilities))),
        overrides=("capabilities_baseline",),
    ),
    Check("procMount_restricted", ((35, proc_mount),), overrides=("procMount",)),
    Check("restrictedVolumes", ((0, _volumes),), overrides=("hostPathVolumes",)),
    Check("runAsNonRoot", ((0, _run_as_non_root), (35, _for_host_users(_run_as_non_root)))),
    Check("runAsUser", ((23, _run_as_user), (35, _for_host_users(_run_as_user)))),
    Check(
        "seccompProfile_restricted",
        ((19, _seccomp), (25, _for_linux(_seccomp))),
        overrides=("seccompProfile_baseline",),
    ),
)
"""In the order in which the real server tells of them."""
