"""The Pod Security Standards of Kubernetes 1.36: every control of `baseline` and `restricted`, every value.

As the API server applies them to a namespace with the label `pod-security.kubernetes.io/enforce` and the
version `latest`, which at 1.36 is the policy of 1.35 (k8s.io/pod-security-admission/policy). In three points
the published page is behind that code, which is followed here: `image` volumes are allowed at `restricted`
(since 1.33), two more sysctls are safe (since 1.32), and a pod in a user namespace of its own (`hostUsers:
false`) may unmask /proc at `baseline` (since 1.35).

Two things are stricter. The exemptions for pods that say to be Windows' are not made. And no pod runs as root
at `restricted`, in a user namespace of its own neither: clusters before 1.33 drop the field.
"""

from collections.abc import Iterator
from typing import Any

from hubfleet.policysettings import Level
from hubfleet.tenancy.policy.violation import Path, Violation

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")

CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
PROFILES = frozenset({"RuntimeDefault", "Localhost"})  # of seccomp and of AppArmor
VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"

_BASELINE = "Pod Security baseline: "
_RESTRICTED = "Pod Security restricted: "


def violations(pod: dict[str, Any], level: Level, path: Path = ()) -> list[Violation]:
    """What of a pod, or a pod template, is against the level; `path` is its own in the object."""
    return list(_violations(pod, level == "restricted", path))


def _violations(pod: dict[str, Any], restricted: bool, path: Path) -> Iterator[Violation]:
    spec = _map(pod.get("spec"))
    at = (*path, "spec")
    in_user_namespace = spec.get("hostUsers") is False
    yield from _apparmor_annotations(pod, path)
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if not _unset(spec.get(key)):
            yield Violation((*at, key), _BASELINE + "namespaces of the node", "false")
    yield from _volumes(spec, restricted, at)
    context = _map(spec.get("securityContext"))
    yield from _context(context, restricted, (*at, "securityContext"))
    for i, sysctl in enumerate(_list(context.get("sysctls"))):
        if _map(sysctl).get("name") not in SYSCTLS:
            where = (*at, "securityContext", "sysctls", i, "name")
            yield Violation(where, _BASELINE + "sysctls", ", ".join(sorted(SYSCTLS)))
    for key in CONTAINERS:
        for i, container in enumerate(_list(spec.get(key))):
            where = (*at, key, i)
            yield from _container(_map(container), restricted, in_user_namespace, where)
            if restricted:
                yield from _required(context, _map(container), where)


def _apparmor_annotations(pod: dict[str, Any], path: Path) -> Iterator[Violation]:
    for key, value in _map(_map(pod.get("metadata")).get("annotations")).items():
        if not key.startswith(APPARMOR_ANNOTATION) or not value or value == "runtime/default":
            continue
        if not isinstance(value, str) or not value.startswith("localhost/"):
            where = (*path, "metadata", "annotations", key)
            yield Violation(where, _BASELINE + "AppArmor", "runtime/default or localhost/...")


def _volumes(spec: dict[str, Any], restricted: bool, at: Path) -> Iterator[Violation]:
    for i, volume in enumerate(_list(spec.get("volumes"))):
        for kind, source in _map(volume).items():
            if kind == "name" or source is None:
                continue
            if restricted and kind not in VOLUMES:
                rule, allowed = _RESTRICTED + "kinds of volumes", ", ".join(sorted(VOLUMES))
                yield Violation((*at, "volumes", i, kind), rule, allowed)
            elif kind == "hostPath":
                rule = _BASELINE + "files of the node"
                allowed = "nothing (files go into a persistentVolumeClaim or an emptyDir)"
                yield Violation((*at, "volumes", i, kind), rule, allowed)


def _context(context: dict[str, Any], restricted: bool, at: Path) -> Iterator[Violation]:
    """What a pod's securityContext and a container's have in common, where it is said."""
    for key, what in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = context.get(key)
        if profile is not None and _map(profile).get("type") not in PROFILES:
            yield Violation((*at, key, "type"), _BASELINE + what, "RuntimeDefault or Localhost")
    if not _unset(_map(context.get("windowsOptions")).get("hostProcess")):
        yield Violation((*at, "windowsOptions", "hostProcess"), _BASELINE + "host processes", "false")
    selinux = _map(context.get("seLinuxOptions"))
    if (selinux.get("type") or "") not in SELINUX_TYPES:
        allowed = ", ".join(sorted(SELINUX_TYPES - {""}))
        yield Violation((*at, "seLinuxOptions", "type"), _BASELINE + "SELinux", allowed)
    for key in ("user", "role"):
        if selinux.get(key):
            yield Violation((*at, "seLinuxOptions", key), _BASELINE + "SELinux", "nothing")
    if not restricted:
        return
    if context.get("runAsNonRoot") not in (None, True):
        yield Violation((*at, "runAsNonRoot"), _RESTRICTED + "running as root", "true")
    user = context.get("runAsUser")
    if user is not None and not user:
        yield Violation((*at, "runAsUser"), _RESTRICTED + "running as root", "any user but 0")


def _container(
    container: dict[str, Any], restricted: bool, in_user_namespace: bool, at: Path
) -> Iterator[Violation]:
    for i, port in enumerate(_list(container.get("ports"))):
        if _map(port).get("hostPort"):
            yield Violation((*at, "ports", i, "hostPort"), _BASELINE + "ports of the node", "0")
    yield from _hosts(container, at)
    context = container.get("securityContext")
    if not isinstance(context, dict):
        return
    at = (*at, "securityContext")
    yield from _context(context, restricted, at)
    if not _unset(context.get("privileged")):
        allowed = "false (a GPU is asked for in resources.limits)"
        yield Violation((*at, "privileged"), _BASELINE + "privileged containers", allowed)
    if context.get("procMount") not in (None, "Default") and (restricted or not in_user_namespace):
        yield Violation((*at, "procMount"), _BASELINE + "/proc", "Default")
    added = _map(context.get("capabilities")).get("add")
    known = {"NET_BIND_SERVICE"} if restricted else CAPABILITIES
    if any(capability not in known for capability in _list(added)):
        rule = (_RESTRICTED if restricted else _BASELINE) + "capabilities"
        allowed = f"{', '.join(sorted(known))} (most programs need none)"
        yield Violation((*at, "capabilities", "add"), rule, allowed)


def _hosts(container: dict[str, Any], at: Path) -> Iterator[Violation]:
    """Probes and hooks speak with the pod itself: the kubelet makes these calls, from the node."""
    handlers = [(key, container.get(key)) for key in ("livenessProbe", "readinessProbe", "startupProbe")]
    lifecycle = _map(container.get("lifecycle"))
    paths: list[tuple[Path, Any]] = [((key,), handler) for key, handler in handlers]
    paths += [(("lifecycle", key), lifecycle.get(key)) for key in ("postStart", "preStop")]
    for path, handler in paths:
        if not handler:
            continue
        for key in ("httpGet", "tcpSocket"):
            if _map(_map(handler).get(key)).get("host"):
                rule = _BASELINE + "hosts of probes and hooks"
                yield Violation((*at, *path, key, "host"), rule, "nothing: the pod itself")


def _required(pod_context: dict[str, Any], container: dict[str, Any], at: Path) -> Iterator[Violation]:
    """What `restricted` wants to be said, by the container or for some of it by its pod."""
    at = (*at, "securityContext")
    context = _map(container.get("securityContext"))
    if context.get("allowPrivilegeEscalation") is not False:
        rule = _RESTRICTED + "privilege escalation"
        yield Violation((*at, "allowPrivilegeEscalation"), rule, "false")
    if "ALL" not in _list(_map(context.get("capabilities")).get("drop")):
        yield Violation((*at, "capabilities", "drop"), _RESTRICTED + "capabilities", 'a list with "ALL"')
    if context.get("seccompProfile") is None and pod_context.get("seccompProfile") is None:
        yield Violation((*at, "seccompProfile"), _RESTRICTED + "seccomp", "RuntimeDefault or Localhost")
    if context.get("runAsNonRoot") is None and pod_context.get("runAsNonRoot") is not True:
        yield Violation((*at, "runAsNonRoot"), _RESTRICTED + "running as root", "true")


def _unset(value: Any) -> bool:
    return value is None or value is False


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
