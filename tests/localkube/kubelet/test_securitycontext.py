"""Who a container runs as."""

from typing import Any

import pytest

from localkube.kubelet import securitycontext
from localkube.kubelet.securitycontext import ConfigFailed, Identity


def pod(outer: dict[str, Any], inner: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    container = {"name": "c", "securityContext": inner}
    made = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"securityContext": outer, "containers": [container]},
    }
    return made, container


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ({}, {}, Identity(1000, 1000, ())),
        ({"runAsUser": 5, "runAsGroup": 6}, {}, Identity(5, 6, ())),
        ({"runAsUser": 5}, {"runAsUser": 7, "runAsGroup": 8}, Identity(7, 8, ())),
        ({"runAsUser": 5}, {"runAsUser": 0}, Identity(0, 1000, ())),
        ({"fsGroup": 9, "supplementalGroups": [4, 9]}, {}, Identity(1000, 1000, (4, 9))),
        ({"runAsNonRoot": True, "runAsUser": 5}, {}, Identity(5, 1000, ())),
        ({"runAsNonRoot": True}, {"runAsNonRoot": False}, Identity(1000, 1000, ())),
    ],
)
def test_identity(outer: dict[str, Any], inner: dict[str, Any], expected: Identity) -> None:
    assert securitycontext.identity(*pod(outer, inner)) == expected


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ({}, 'container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)'),
        ({"runAsUser": 0}, 'container\'s runAsUser breaks non-root policy (pod: "p_ns(u)", container: c)'),
    ],
)
def test_non_root_is_enforced(inner: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigFailed) as failure:
        securitycontext.identity(*pod({"runAsNonRoot": True}, inner))
    assert str(failure.value) == message


def test_nobody_is_root_on_the_host() -> None:
    assert securitycontext.host_id(0) == securitycontext.DEFAULT_ID
    assert securitycontext.owner(pod({"runAsUser": 0, "fsGroup": 0}, {})[0]) == (1000, 1000)
    assert securitycontext.owner(pod({"runAsUser": 5, "fsGroup": 9}, {})[0]) == (5, 9)


def test_refusals() -> None:
    made, container = pod({}, {"privileged": True})
    assert securitycontext.refusal(made, container) == "localkube does not run privileged containers"
    made, container = pod({}, {})
    made["spec"]["hostPID"] = True
    assert "hostPID" in (securitycontext.refusal(made, container) or "")
    made["spec"]["hostPID"] = False
    assert securitycontext.refusal(made, container) is None
