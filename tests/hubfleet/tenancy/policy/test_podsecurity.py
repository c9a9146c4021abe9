"""Each control of the Pod Security Standards, at both levels, in each place where it can be written."""

from typing import Any

import pytest

from hubfleet.policysettings import Level
from hubfleet.tenancy.policy.podsecurity import CONTAINERS, violations

GOOD: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
GOOD_POD: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def pod(container: dict[str, Any] | None = None, key: str = "containers", **spec: Any) -> dict[str, Any]:
    """A pod that is good for `restricted`, with something else in it."""
    whole: dict[str, Any] = {
        "containers": [{"name": "c", "securityContext": GOOD}],
        "securityContext": GOOD_POD,
    }
    whole |= spec
    if container is not None:
        context = GOOD | container.get("securityContext", {})
        whole[key] = [*whole.get(key, []), {"name": "x", **container, "securityContext": context}]
    return {"metadata": {}, "spec": whole}


def context(**said: Any) -> dict[str, Any]:
    return {"securityContext": said}


BASELINE_CONTAINERS: list[tuple[dict[str, Any], str]] = [
    (context(privileged=True), "securityContext.privileged"),
    (context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "securityContext.capabilities.add"),
    (context(capabilities={"drop": ["ALL"], "add": ["ALL"]}), "securityContext.capabilities.add"),
    (context(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}), "securityContext.capabilities.add"),
    (context(procMount="Unmasked"), "securityContext.procMount"),
    (context(seccompProfile={"type": "Unconfined"}), "securityContext.seccompProfile.type"),
    (context(seccompProfile={}), "securityContext.seccompProfile.type"),
    (context(appArmorProfile={"type": "Unconfined"}), "securityContext.appArmorProfile.type"),
    (context(seLinuxOptions={"type": "spc_t"}), "securityContext.seLinuxOptions.type"),
    (context(seLinuxOptions={"user": "root"}), "securityContext.seLinuxOptions.user"),
    (context(seLinuxOptions={"role": "x"}), "securityContext.seLinuxOptions.role"),
    (context(windowsOptions={"hostProcess": True}), "securityContext.windowsOptions.hostProcess"),
    ({"ports": [{"containerPort": 1}, {"hostPort": 80}]}, "ports.1.hostPort"),
    *[
        ({probe: {action: {"host": "10.0.0.1"}}}, f"{probe}.{action}.host")
        for probe in ("livenessProbe", "readinessProbe", "startupProbe")
        for action in ("httpGet", "tcpSocket")
    ],
    *[
        ({"lifecycle": {hook: {action: {"host": "a"}}}}, f"lifecycle.{hook}.{action}.host")
        for hook in ("postStart", "preStop")
        for action in ("httpGet", "tcpSocket")
    ],
]


@pytest.mark.parametrize("key", CONTAINERS)
@pytest.mark.parametrize("level", ["baseline", "restricted"])
@pytest.mark.parametrize(("container", "where"), BASELINE_CONTAINERS)
def test_baseline_in_every_sort_of_container(
    container: dict[str, Any], where: str, level: Level, key: str
) -> None:
    found = pod(container, key)
    i = len(found["spec"][key]) - 1
    (only,) = violations(found, level)
    assert ".".join(map(str, only.path)) == f"spec.{key}.{i}.{where}"
    assert only.allowed


@pytest.mark.parametrize("level", ["baseline", "restricted"])
@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"hostPID": True}, "hostPID"),
        ({"hostIPC": True}, "hostIPC"),
        ({"volumes": [{"name": "a"}, {"name": "b", "hostPath": {"path": "/"}}]}, "volumes.1.hostPath"),
        ({"volumes": [{"name": "b", "emptyDir": {}, "hostPath": {}}]}, "volumes.0.hostPath"),
        (
            {"securityContext": GOOD_POD | {"sysctls": [{"name": "kernel.msgmax"}]}},
            "securityContext.sysctls.0.name",
        ),
        (
            {"securityContext": GOOD_POD | {"appArmorProfile": {"type": "Unconfined"}}},
            "securityContext.appArmorProfile.type",
        ),
        (
            {"securityContext": GOOD_POD | {"seccompProfile": {"type": "Unconfined"}}},
            "securityContext.seccompProfile.type",
        ),
        (
            {"securityContext": GOOD_POD | {"windowsOptions": {"hostProcess": True}}},
            "securityContext.windowsOptions.hostProcess",
        ),
        (
            {"securityContext": GOOD_POD | {"seLinuxOptions": {"type": "container_t", "user": "x"}}},
            "securityContext.seLinuxOptions.user",
        ),
    ],
)
def test_baseline_of_pods(spec: dict[str, Any], where: str, level: Level) -> None:
    (only,) = violations(pod(**spec), level)
    assert ".".join(map(str, only.path)) == f"spec.{where}"


@pytest.mark.parametrize("key", CONTAINERS)
@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"allowPrivilegeEscalation": None}, "allowPrivilegeEscalation"),
        ({"allowPrivilegeEscalation": True}, "allowPrivilegeEscalation"),
        ({"capabilities": {}}, "capabilities.drop"),
        ({"capabilities": {"drop": ["NET_RAW"]}}, "capabilities.drop"),
        ({"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}, "capabilities.add"),
        ({"runAsNonRoot": False}, "runAsNonRoot"),
        ({"runAsUser": 0}, "runAsUser"),
    ],
)
def test_restricted_in_every_sort_of_container(said: dict[str, Any], where: str, key: str) -> None:
    found = pod(context(**said), key)
    assert not violations(found, "baseline")
    (only,) = violations(found, "restricted")
    assert ".".join(map(str, only.path[3:])) == f"securityContext.{where}"


@pytest.mark.parametrize(
    ("of_pod", "where"),
    [
        ({"runAsNonRoot": True}, {"spec.containers.0.securityContext.seccompProfile"}),
        ({"seccompProfile": {"type": "Localhost"}}, {"spec.containers.0.securityContext.runAsNonRoot"}),
        (GOOD_POD | {"runAsUser": 0}, {"spec.securityContext.runAsUser"}),
        (
            GOOD_POD | {"runAsNonRoot": False},
            {"spec.securityContext.runAsNonRoot", "spec.containers.0.securityContext.runAsNonRoot"},
        ),
    ],
)
def test_restricted_of_pods(of_pod: dict[str, Any], where: set[str]) -> None:
    found = violations(pod(securityContext=of_pod), "restricted")
    assert {".".join(map(str, each.path)) for each in found} == where
    assert not violations(pod(securityContext=of_pod), "baseline")


@pytest.mark.parametrize("level", ["baseline", "restricted"])
@pytest.mark.parametrize(
    "kind",
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "nfs",
        "iscsi",
    ],
)
def test_kinds_of_volumes(kind: str, level: Level) -> None:
    found = violations(pod(volumes=[{"name": "a", kind: {}}]), level)
    assert bool(found) is (level == "restricted" and kind in ("nfs", "iscsi"))


@pytest.mark.parametrize("level", ["baseline", "restricted"])
@pytest.mark.parametrize(
    ("value", "allowed"),
    [("runtime/default", True), ("localhost/a", True), ("", True), ("unconfined", False)],
)
def test_apparmor_annotations(value: str, allowed: bool, level: Level) -> None:
    found = pod()
    found["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/c": value}
    assert bool(violations(found, level)) is not allowed


def test_what_is_allowed_is_allowed() -> None:
    fine = context(
        privileged=False,
        procMount="Default",
        capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        seLinuxOptions={"type": "container_engine_t", "level": "s0"},
        appArmorProfile={"type": "Localhost"},
        runAsUser=1000,
    )
    fine |= {"ports": [{"hostPort": 0}], "livenessProbe": {"httpGet": {"host": ""}}}
    sysctls = [{"name": "net.ipv4.tcp_rmem"}, {"name": "net.ipv4.ip_local_reserved_ports"}]
    whole = pod(fine, securityContext=GOOD_POD | {"sysctls": sysctls}, hostNetwork=False)
    assert not violations(whole, "restricted")
    assert not violations(pod(context(capabilities={"add": ["CHOWN", "MKNOD"]})), "baseline")


def test_a_user_namespace_of_its_own() -> None:
    unmasked = context(procMount="Unmasked")
    assert not violations(pod(unmasked, hostUsers=False), "baseline")
    assert violations(pod(unmasked, hostUsers=True), "baseline")
    assert violations(pod(unmasked, hostUsers=False), "restricted")
    # Clusters before 1.33 drop the field, and the pod would be root.
    for said in ({"runAsUser": 0}, {"runAsNonRoot": False}):
        assert violations(pod(context(**said), hostUsers=False), "restricted")
        assert violations(pod(context(), securityContext=GOOD_POD | said, hostUsers=False), "restricted")
        assert not violations(pod(context(**said), hostUsers=False), "baseline")
    assert violations(pod(context(), securityContext={}, hostUsers=False), "restricted")


@pytest.mark.parametrize(
    "odd", [{}, {"spec": None}, {"spec": []}, {"spec": {"containers": {}}}, {"metadata": 3}]
)
def test_what_is_no_pod_is_no_accident(odd: dict[str, Any]) -> None:
    assert violations(odd, "restricted") == []
