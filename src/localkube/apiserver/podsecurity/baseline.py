"""The level `baseline`: what lets a pod out of its container, or at its node, is refused.

The controls, what they look at and their words are those of k8s.io/pod-security-admission 1.36.
"""

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
    setters,
)

_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    }
)  # fmt: skip
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
PROFILES = ("RuntimeDefault", "Localhost")
"""The profiles of AppArmor and seccomp that confine at least as the runtime does."""


def _app_armor(metadata: Object, spec: Object) -> Violation | None:
    def is_bad(found: Object) -> bool:
        profile = found.get("appArmorProfile")
        return profile is not None and profile.get("type", "") not in PROFILES

    pod = is_bad(context(spec))
    bad = [container for container in containers(spec) if is_bad(context(container))]
    used = {context(part)["appArmorProfile"].get("type", "") for part in ([spec] if pod else []) + bad}
    annotations = sorted(
        f'{name}="{value}"'
        for name, value in (metadata.get("annotations") or {}).items()
        if name.startswith(_APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    values = [*sorted(used), *annotations]
    if not values:
        return None
    who = setters(pod, names(bad), *([plural(len(annotations), "annotation")] if annotations else []))
    return Violation(
        plural(len(values), "forbidden AppArmor profile"),
        f"{who} must not set AppArmor profile type to {quoted(values)}",
    )


def _capabilities(_: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    forbidden: set[str] = set()
    for container in containers(spec):
        extra = set((context(container).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES
        if extra:
            bad.append(container.get("name", ""))
            forbidden |= extra
    if not bad:
        return None
    what = quoted(sorted(forbidden))
    return Violation(
        "non-default capabilities",
        f"{listed('container', bad)} must not include {what} in securityContext.capabilities.add",
    )


def _host_namespaces(_: Object, spec: Object) -> Violation | None:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _host_path(_: Object, spec: Object) -> Violation | None:
    found = names(volume for volume in spec.get("volumes") or () if volume.get("hostPath") is not None)
    return Violation("hostPath volumes", listed("volume", found)) if found else None


def _host_ports(_: Object, spec: Object) -> Violation | None:
    bad: list[str] = []
    ports: set[str] = set()
    for container in containers(spec):
        found = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        if found:
            bad.append(container.get("name", ""))
            ports |= found
    if not bad:
        return None
    uses = f"{plural(len(bad), 'uses', 'use')} {plural(len(ports), 'hostPort')}"
    return Violation("hostPort", f"{listed('container', bad)} {uses} {', '.join(sorted(ports))}")


def _host_probes(_: Object, spec: Object) -> Violation | None:
    bad: set[str] = set()
    hosts: set[str] = set()
    for container in containers(spec):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(name) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [lifecycle.get(name) for name in ("postStart", "preStop")]
        found = {
            handler[kind]["host"]
            for handler in handlers
            if handler
            for kind in ("httpGet", "tcpSocket")
            if (handler.get(kind) or {}).get("host")
        }
        if found:
            bad.add(container.get("name", ""))
            hosts |= found
    if not bad:
        return None
    uses = f"{plural(len(bad), 'uses', 'use')} {plural(len(hosts), 'probe or lifecycle host')}"
    who = listed("container", sorted(bad))
    return Violation("probe or lifecycle host", f"{who} {uses} {quoted(sorted(hosts))}")


def _privileged(_: Object, spec: Object) -> Violation | None:
    bad = names(c for c in containers(spec) if context(c).get("privileged"))
    if not bad:
        return None
    return Violation("privileged", f"{listed('container', bad)} must not set securityContext.privileged=true")


def proc_mount(_: Object, spec: Object) -> Violation | None:
    bad = [c for c in containers(spec) if context(c).get("procMount", "Default") != "Default"]
    if not bad:
        return None
    types = quoted(sorted({context(c)["procMount"] for c in bad}))
    return Violation(
        "procMount", f"{listed('container', names(bad))} must not set securityContext.procMount to {types}"
    )


def has_own_users(spec: Object) -> bool:
    """Whether root in the pod is nobody on its node: what user namespaces relax hangs on this."""
    return spec.get("hostUsers") is False


def _proc_mount_35(metadata: Object, spec: Object) -> Violation | None:
    return None if has_own_users(spec) else proc_mount(metadata, spec)


def _selinux(types: frozenset[str]) -> CheckPod:
    def check(_: Object, spec: Object) -> Violation | None:
        used: list[Object] = []

        def is_bad(found: Object) -> bool:
            options = found.get("seLinuxOptions") or {}
            bad = bool(options.get("type", "") not in types or options.get("user") or options.get("role"))
            if bad:
                used.append(options)
            return bad

        who = bad_setters(spec, is_bad)
        if not who:
            return None
        bad_types = sorted({options.get("type", "") for options in used} - types)
        data = [listed("type", bad_types)] if bad_types else []
        data += [f"{name} may not be set" for name in ("user", "role") if any(o.get(name) for o in used)]
        return Violation(
            "seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        )

    return check


def _seccomp_annotations(metadata: Object, spec: Object) -> Violation | None:
    """How seccomp was asked for before Kubernetes 1.19."""
    annotations = metadata.get("annotations") or {}
    keys = {_SECCOMP_POD, *(_SECCOMP_CONTAINER + name for name in names(containers(spec)))}
    bad = sorted(
        f'{name}="{annotations[name]}"'
        for name in keys & annotations.keys()
        if annotations[name] not in ("runtime/default", "docker/default")
        and not annotations[name].startswith("localhost/")
    )
    if not bad:
        return None
    return Violation("seccompProfile", f"forbidden {plural(len(bad), 'annotation')} {', '.join(bad)}")


def seccomp(_: Object, spec: Object) -> Violation | None:
    """Profiles that do not confine; none at all is no violation here."""
    used: set[str] = set()

    def is_bad(found: Object) -> bool:
        profile = found.get("seccompProfile")
        if profile is None or profile.get("type", "") in PROFILES:
            return False
        used.add(profile.get("type", ""))
        return True

    who = bad_setters(spec, is_bad)
    if not who:
        return None
    return Violation(
        "seccompProfile",
        f"{who} must not set securityContext.seccompProfile.type to {quoted(sorted(used))}",
    )


def _sysctls(allowed: frozenset[str]) -> CheckPod:
    def check(_: Object, spec: Object) -> Violation | None:
        bad = [name for name in names(context(spec).get("sysctls") or ()) if name not in allowed]
        return Violation("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def _host_process(_: Object, spec: Object) -> Violation | None:
    def is_bad(found: Object) -> bool:
        return bool((found.get("windowsOptions") or {}).get("hostProcess"))

    who = bad_setters(spec, is_bad)
    if not who:
        return None
    return Violation("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


CHECKS = (
    Check("appArmorProfile", ((0, _app_armor),)),
    Check("capabilities_baseline", ((0, _capabilities),)),
    Check("hostNamespaces", ((0, _host_namespaces),)),
    Check("hostPathVolumes", ((0, _host_path),)),
    Check("hostPorts", ((0, _host_ports),)),
    Check("hostProbesAndHostLifecycle", ((34, _host_probes),)),
    Check("privileged", ((0, _privileged),)),
    Check("procMount", ((0, proc_mount), (35, _proc_mount_35))),
    Check(
        "seLinuxOptions",
        ((0, _selinux(_SELINUX_TYPES)), (31, _selinux(_SELINUX_TYPES | {"container_engine_t"}))),
    ),
    Check("seccompProfile_baseline", ((0, _seccomp_annotations), (19, seccomp))),
    Check(
        "sysctls",
        (
            (0, _sysctls(_SYSCTLS)),
            (27, _sysctls(_SYSCTLS_27)),
            (29, _sysctls(_SYSCTLS_29)),
            (32, _sysctls(_SYSCTLS_32)),
        ),
    ),
    Check("windowsHostProcess", ((0, _host_process),)),
)
"""In the order in which the real server tells of them."""
