"""What the API server is told to enforce, beside a job template that may be against it."""

from typing import Any

import pytest

from hubfleet.policysettings import GroupPolicy, PolicySettings
from hubfleet.tenancy.policy.enforcement import settled, template_violations


def template(**pod: Any) -> dict[str, Any]:
    return {"metadata": {}, "spec": {"backoffLimit": 2, "template": {"spec": pod}}}


HARMLESS = template(tolerations=[{"operator": "Exists"}], containers=[{"name": "beside", "image": "i"}])
ROOT = template(securityContext={"runAsUser": 0})
HOST = template(volumes=[{"name": "a", "hostPath": {"path": "/fuse"}}])


@pytest.mark.parametrize("found", [{}, {"metadata": {}}, HARMLESS])
@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_template_that_keeps_the_level_changes_nothing(found: dict[str, Any], level: Any) -> None:
    settings = PolicySettings(level=level)
    assert settled(settings, found) == (settings, [])
    assert template_violations(found, level) == []


@pytest.mark.parametrize(
    ("settings", "found", "enforce"),
    [
        (PolicySettings(), ROOT, "auto"),
        (PolicySettings(), HOST, "privileged"),
        (PolicySettings(level="restricted"), ROOT, "baseline"),
        (PolicySettings(level="restricted"), HOST, "privileged"),
        (PolicySettings(groups={"a": GroupPolicy(level="restricted")}), ROOT, "baseline"),
        (PolicySettings(enforce="privileged"), HOST, "privileged"),
        (PolicySettings(enforce="baseline", level="restricted"), ROOT, "baseline"),
    ],
)
def test_a_template_that_breaks_it_lowers_what_is_enforced(
    settings: PolicySettings, found: dict[str, Any], enforce: str
) -> None:
    policy, broken = settled(settings, found)
    assert policy.enforce == enforce
    assert policy.level == settings.level
    assert bool(broken) is (settings.enforce == "auto" and enforce != "auto")


def test_what_an_operator_asks_for_is_not_lowered() -> None:
    with pytest.raises(ValueError, match=r"job_template has spec.template.spec.volumes.0.hostPath"):
        settled(PolicySettings(enforce="baseline"), HOST)
    with pytest.raises(ValueError, match="runAsUser"):
        settled(PolicySettings(enforce="restricted", level="restricted"), ROOT)


def test_the_template_is_left_as_it_is() -> None:
    before = template(containers=[{"name": "a"}])
    settled(PolicySettings(level="restricted"), before)
    assert before == template(containers=[{"name": "a"}])
