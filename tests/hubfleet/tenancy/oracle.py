"""What may land in a user's namespace, written down a second time, for tests to hold the policy against.

The first part is the Pod Security Standards of Kubernetes 1.36, control by control as the page has them: the
fields that are restricted, as patterns, and the values that are allowed. The second is what tenancy asks for
beyond them. Nothing here is imported from hubfleet or localkube, so that nobody's fault is shared.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

Values = Callable[[Any], bool]
UNDEFINED = None
CONTAINERS = "spec.(containers|initContainers|ephemeralContainers)[*]"


def among(*values: Any) -> Values:
    """One of the values; `0` is not False here, and `1` not True."""
    return lambda value: any(
        value is each or (type(value) is type(each) and value == each) for each in values
    )


def subset(*values: str) -> Values:
    return lambda found: found is UNDEFINED or all(value in values for value in found)


def select(value: Any, pattern: str) -> Iterator[tuple[str, Any]]:
    """`(path, value)` for each place that a pattern such as `spec.(a|b)[*].c` means, undefined ones too."""
    yield from _select(value, pattern.split("."), "")


def _select(value: Any, keys: list[str], path: str) -> Iterator[tuple[str, Any]]:
    if not keys:
        yield path, value
        return
    key, rest = keys[0], keys[1:]
    listed = key.endswith("[*]")
    key = key.removesuffix("[*]")
    for name in key.strip("()").split("|"):
        inner = value.get(name) if isinstance(value, dict) else UNDEFINED
        if not listed:
            yield from _select(inner, rest, f"{path}.{name}")
            continue
        for i, each in enumerate(inner or []):
            yield from _select(each, rest, f"{path}.{name}[{i}]")


BASELINE: list[tuple[str, str, Values]] = [
    (
        "HostProcess",
        f"(spec|{CONTAINERS}).securityContext.windowsOptions.hostProcess",
        among(UNDEFINED, False),
    ),
    ("Host Namespaces", "spec.(hostNetwork|hostPID|hostIPC)", among(UNDEFINED, False)),
    ("Privileged Containers", f"{CONTAINERS}.securityContext.privileged", among(UNDEFINED, False)),
    (
        "Capabilities",
        f"{CONTAINERS}.securityContext.capabilities.add",
        subset(
            *[
                "AUDIT_WRITE",
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "FSETID",
                "KILL",
                "MKNOD",
                "NET_BIND_SERVICE",
                "SETFCAP",
            ],
            *["SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"],
        ),
    ),
    ("HostPath Volumes", "spec.volumes[*].hostPath", among(UNDEFINED)),
    ("Host Ports", f"{CONTAINERS}.ports[*].hostPort", among(UNDEFINED, 0)),
    (
        "Host Probes",
        f"{CONTAINERS}.(livenessProbe|readinessProbe|startupProbe).(httpGet|tcpSocket).host",
        among(UNDEFINED, ""),
    ),
    (
        "Lifecycle Hooks",
        f"{CONTAINERS}.lifecycle.(postStart|preStop).(httpGet|tcpSocket).host",
        among(UNDEFINED, ""),
    ),
    (
        "AppArmor",
        f"(spec|{CONTAINERS}).securityContext.appArmorProfile.type",
        among(UNDEFINED, "RuntimeDefault", "Localhost"),
    ),
    (
        "SELinux type",
        f"(spec|{CONTAINERS}).securityContext.seLinuxOptions.type",
        among(UNDEFINED, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"),
    ),
    (
        "SELinux user and role",
        f"(spec|{CONTAINERS}).securityContext.seLinuxOptions.(user|role)",
        among(UNDEFINED, ""),
    ),
    (
        "Seccomp",
        f"(spec|{CONTAINERS}).securityContext.seccompProfile.type",
        among(UNDEFINED, "RuntimeDefault", "Localhost"),
    ),
    (
        "Sysctls",
        "spec.securityContext.sysctls[*].name",
        among(
            "kernel.shm_rmid_forced",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.ip_unprivileged_port_start",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.ping_group_range",
            "net.ipv4.ip_local_reserved_ports",
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.tcp_fin_timeout",
            "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
            "net.ipv4.tcp_rmem",
            "net.ipv4.tcp_wmem",
        ),
    ),
]

RESTRICTED: list[tuple[str, str, Values]] = [
    (
        "Volume Types",
        "spec.volumes[*]",
        lambda volume: (
            volume.keys()
            <= {
                "name",
                *["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"],
                *["persistentVolumeClaim", "projected", "secret"],
            }
        ),
    ),
    ("Privilege Escalation", f"{CONTAINERS}.securityContext.allowPrivilegeEscalation", among(False)),
    ("Capabilities dropped", f"{CONTAINERS}.securityContext.capabilities.drop", lambda v: "ALL" in (v or [])),
    ("Capabilities added", f"{CONTAINERS}.securityContext.capabilities.add", subset("NET_BIND_SERVICE")),
]

PROC = f"{CONTAINERS}.securityContext.procMount"
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def against_the_standards(pod: dict[str, Any], level: str) -> list[str]:
    """Each control that a pod (or its template) breaks, with the place."""
    restricted = level == "restricted"
    broken = [
        f"{control}: {path} = {value!r}"
        for control, pattern, allowed in BASELINE + (RESTRICTED if restricted else [])
        for each in expand(pattern)
        for path, value in select(pod, each)
        if not allowed(value)
    ]
    in_user_namespace = pod["spec"].get("hostUsers") is False
    if restricted or not in_user_namespace:
        proc = [(path, value) for path, value in select(pod, PROC) if value not in (None, "Default")]
        broken += [f"/proc: {path} = {value!r}" for path, value in proc]
    for key, value in (pod.get("metadata", {}).get("annotations") or {}).items():
        if key.startswith(APPARMOR_ANNOTATION) and not re.fullmatch("|runtime/default|localhost/.*", value):
            broken.append(f"AppArmor: {key} = {value}")
    if restricted:
        broken += _said_by_container_or_pod(pod)
    return broken


def expand(pattern: str) -> list[str]:
    """`(spec|spec.a[*]).b` is two patterns; a group within one key is left to `select`."""
    if not pattern.startswith("(spec|"):
        return [pattern]
    rest = pattern.removeprefix(f"(spec|{CONTAINERS})")
    return [f"spec{rest}", f"{CONTAINERS}{rest}"]


def _said_by_container_or_pod(pod: dict[str, Any]) -> Iterator[str]:
    """Seccomp and non-root: what a container does not say, its pod says for it."""
    of_pod = pod["spec"].get("securityContext") or {}
    contexts = [context or {} for _, context in select(pod, f"{CONTAINERS}.securityContext")]
    for context in [of_pod, *contexts]:
        effective = of_pod | context
        seccomp = (effective.get("seccompProfile") or {}).get("type")
        if context is not of_pod and seccomp not in ("RuntimeDefault", "Localhost"):
            yield f"Seccomp: {effective}"
        if context.get("runAsUser") == 0:
            yield "Running as Non-root user: 0"
        if context.get("runAsNonRoot") is False:
            yield "Running as Non-root: false"
        if context is not of_pod and effective.get("runAsNonRoot") is not True:
            yield "Running as Non-root: not said"


NOT_SAID = among(UNDEFINED, "", False, 0, [], {})

TENANCY: list[tuple[str, Values]] = [
    ("spec.nodeName", NOT_SAID),
    ("spec.(priorityClassName|priority|preemptionPolicy)", NOT_SAID),
    ("spec.(serviceAccountName|serviceAccount)", among(UNDEFINED, "", "default")),
    ("spec.automountServiceAccountToken", NOT_SAID),
    ("spec.schedulerName", among(UNDEFINED, "", "default-scheduler")),
    ("spec.(runtimeClassName|overhead|resourceClaims|schedulingGates|schedulingGroup)", NOT_SAID),
    ("spec.(hostAliases|dnsConfig|hostnameOverride|setHostnameAsFQDN)", NOT_SAID),
    ("spec.(shareProcessNamespace|ephemeralContainers|readinessGates|evictionResponders)", NOT_SAID),
    ("spec.nodeSelector", NOT_SAID),
    ("spec.dnsPolicy", among(UNDEFINED, "", "ClusterFirst")),
    ("spec.(containers|initContainers)[*].volumeDevices", NOT_SAID),
    ("spec.(containers|initContainers)[*].volumeMounts[*].mountPropagation", among(UNDEFINED, "", "None")),
    (
        "spec.volumes[*].projected.sources[*].(serviceAccountToken|podCertificate|clusterTrustBundle)",
        NOT_SAID,
    ),
    (
        "spec.volumes[*]",
        lambda volume: (
            volume.keys()
            <= {
                "name",
                *[
                    "configMap",
                    "downwardAPI",
                    "emptyDir",
                    "ephemeral",
                    "persistentVolumeClaim",
                    "projected",
                    "secret",
                ],
            }
        ),
    ),
    (
        "spec.volumes[*].ephemeral.volumeClaimTemplate.spec.(volumeName|selector|dataSource|dataSourceRef)",
        NOT_SAID,
    ),
    ("metadata.(finalizers|ownerReferences|namespace)", NOT_SAID),
]


def beyond_the_namespace(pod: dict[str, Any]) -> list[str]:
    """What of a pod template of a user is not theirs to say, whatever the Pod Security Standards think."""
    broken = [
        f"{path} = {value!r}"
        for pattern, allowed in TENANCY
        for path, value in select(pod, pattern)
        if not allowed(value)
    ]
    affinity = pod["spec"].get("affinity") or {}
    for terms in _terms(affinity):
        if terms.get("namespaces") or terms.get("namespaceSelector") is not None:
            broken.append(f"pod affinity over namespaces: {terms}")
    return broken


def _terms(affinity: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("podAffinity", "podAntiAffinity"):
        of_pods = affinity.get(key) or {}
        yield from of_pods.get("requiredDuringSchedulingIgnoredDuringExecution") or []
        for weighted in of_pods.get("preferredDuringSchedulingIgnoredDuringExecution") or []:
            yield weighted.get("podAffinityTerm") or {}
