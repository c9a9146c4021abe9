"""What a pod for one operating system may not say of another."""

from typing import Any

import pytest

from localkube.apiserver.validation import podos

Object = dict[str, Any]
LINUX, WINDOWS = "windows options cannot be set for a linux pod", "cannot be set for a windows pod"


def said(name: str, spec: Object | None = None, **context: Any) -> list[str]:
    container = {"name": "c", "securityContext": context}
    errors = podos.system({"os": {"name": name}, "containers": [container], **(spec or {})}, "spec")
    return [str(error) for error in errors]


@pytest.mark.parametrize(
    "context",
    [
        {"capabilities": {"add": ["SYS_ADMIN"]}},
        {"privileged": False},
        {"allowPrivilegeEscalation": False},
        {"procMount": "Unmasked"},
        {"seccompProfile": {"type": "Unconfined"}},
        {"seLinuxOptions": {"type": "spc_t"}},
        {"appArmorProfile": {"type": "Unconfined"}},
        {"runAsUser": 0},
    ],
)
def test_a_windows_container_has_nothing_of_linux(context: Object) -> None:
    (name,) = context
    expected = f"Forbidden: {WINDOWS}"
    assert said("windows", **context) == [f"spec.containers[0].securityContext.{name}: {expected}"]
    init = {"initContainers": [{"name": "i", "securityContext": context}]}
    assert said("windows", init) == [f"spec.initContainers[0].securityContext.{name}: {expected}"]
    assert said("linux", **context) == []


@pytest.mark.parametrize("name", ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"])
def test_a_windows_pod_has_nothing_of_linux(name: str) -> None:
    assert said("windows", {name: True}) == [f"spec.{name}: Forbidden: {WINDOWS}"]
    assert said("linux", {name: True}) == []


def test_a_linux_pod_has_nothing_of_windows() -> None:
    options = {"windowsOptions": {"hostProcess": True}}
    assert said("linux", {"securityContext": options}, **options) == [
        f"spec.securityContext.windowsOptions: Forbidden: {LINUX}",
        f"spec.containers[0].securityContext.windowsOptions: Forbidden: {LINUX}",
    ]
    assert said("windows", {"securityContext": options}, **options) == []


def test_other_systems() -> None:
    assert said("plan9") == ['spec.os.name: Unsupported value: "plan9": supported values: "linux", "windows"']
    assert said("") == ["spec.os.name: Required value"]
    assert podos.system({"containers": []}, "spec") == []
