"""What is filled in, and that nothing which is said is changed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hubfleet.tenancy import oracle

from hubfleet.policysettings import PolicyLimits, PolicySettings
from hubfleet.tenancy.policy.fill import fill_job, fill_pod
from hubfleet.tenancy.policy.policies import everybodys

RESTRICTED = everybodys(PolicySettings(level="restricted"))


def filled(pod: dict[str, Any], settings: PolicySettings | None = None) -> dict[str, Any]:
    fill_pod(pod, RESTRICTED if settings is None else everybodys(settings))
    return pod


def test_a_bare_pod_becomes_a_restricted_one() -> None:
    pod = filled({"containers": [{"name": "a"}], "initContainers": [{"name": "b"}]})
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    said = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["containers"][0]["securityContext"] == said
    assert pod["initContainers"][0]["securityContext"] == said
    assert oracle.against_the_standards({"spec": pod}, "restricted") == []


def test_baseline_leaves_a_pod_alone() -> None:
    assert filled({"containers": [{"name": "a"}]}, PolicySettings()) == {"containers": [{"name": "a"}]}


def test_the_user_may_be_left_to_the_image() -> None:
    settings = PolicySettings(level="restricted", run_as_user=None)
    assert "runAsUser" not in filled({"containers": []}, settings)["securityContext"]


def test_what_is_said_stays() -> None:
    said: dict[str, Any] = {
        "securityContext": {"runAsUser": 5, "runAsNonRoot": False, "seccompProfile": {"type": "Localhost"}},
        "containers": [
            {"securityContext": {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["NET_RAW"]}}}
        ],
    }
    pod = filled(said)
    assert pod["securityContext"] == {
        "runAsUser": 5,
        "runAsNonRoot": False,
        "seccompProfile": {"type": "Localhost"},
    }
    context = pod["containers"][0]["securityContext"]
    assert context == {"allowPrivilegeEscalation": True, "capabilities": {"drop": ["NET_RAW", "ALL"]}}


def test_a_user_namespace_of_its_own_makes_no_difference() -> None:
    # Clusters before 1.33 drop the field.
    pod = filled({"hostUsers": False, "containers": [{}]})
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 1000
    root = filled({"hostUsers": False, "containers": [{"securityContext": {"runAsUser": 0}}]})
    assert oracle.against_the_standards({"spec": root}, "restricted") == ["Running as Non-root user: 0"]


def test_limits_are_filled_in_where_nothing_is_said() -> None:
    policy = everybodys(PolicySettings(limits=PolicyLimits(deadline_seconds=60, empty_dir="1Gi")))
    volumes = [
        {"name": "a"},
        {"name": "b", "emptyDir": {}},
        {"name": "c", "emptyDir": {"sizeLimit": "5M"}},
        {"name": "d", "secret": {"secretName": "d"}},
    ]
    job = {"spec": {"template": {"spec": {"containers": [], "volumes": volumes}}}}
    fill_job(job, policy)
    assert job["spec"]["activeDeadlineSeconds"] == 60  # type: ignore[comparison-overlap]
    assert [v.get("emptyDir") for v in volumes] == [
        {"sizeLimit": "1Gi"},
        {"sizeLimit": "1Gi"},
        {"sizeLimit": "5M"},
        None,
    ]  # type: ignore[attr-defined]
    shorter = {"spec": {"activeDeadlineSeconds": 5, "template": {"spec": {"containers": []}}}}
    fill_job(shorter, policy)
    assert shorter["spec"]["activeDeadlineSeconds"] == 5


CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.sampled_from([1, 1000]),
        "runAsNonRoot": st.just(True),
        "seccompProfile": st.sampled_from([{"type": "RuntimeDefault"}, {"type": "Localhost"}]),
    },
)


@given(CONTEXTS, st.lists(CONTEXTS, min_size=1, max_size=3), st.sampled_from([None, True, False]))
def test_whatever_does_not_contradict_the_level_is_made_to_keep_it(
    context: dict[str, Any], containers: list[dict[str, Any]], host_users: bool | None
) -> None:
    pod = {"securityContext": context, "containers": [{"securityContext": each} for each in containers]}
    if host_users is not None:
        pod["hostUsers"] = host_users  # type: ignore[assignment]
    assert oracle.against_the_standards({"spec": filled(pod)}, "restricted") == []
    again = filled({**pod})
    assert again == pod


@pytest.mark.parametrize("odd", [{"containers": [1]}, {"securityContext": None, "containers": None}])
def test_what_is_no_pod_is_no_accident(odd: dict[str, Any]) -> None:
    assert filled(odd)["securityContext"]["runAsNonRoot"] is True
