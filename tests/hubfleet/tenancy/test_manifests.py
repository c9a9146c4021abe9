"""What a user's namespace holds, against golden files (UPDATE_GOLDEN=1 writes them anew: read the diff)."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.identity.user import User
from hubfleet.policysettings import GroupPolicy, PolicyAllow, PolicySettings
from hubfleet.settings import (
    LocalQueueSettings,
    NetworkPolicySettings,
    QuotaSettings,
    TenancySettings,
)
from hubfleet.tenancy import manifests
from hubfleet.tenancy.manifests import Entitlement, amount, quota_for
from hubfleet.tenancy.policy.policies import Policies

GOLDEN = Path(__file__).parent / "golden"
ADA = User(name="Ada Lovelace", groups=("gpu", "staff"))
ACCOUNT = "system:serviceaccount:hubfleet:server"

EVERYTHING = TenancySettings(
    quota=QuotaSettings(
        hard={"pods": 50, "requests.cpu": "8", "requests.memory": "32Gi"},
        groups={
            "gpu": {"requests.nvidia.com/gpu": 2, "requests.cpu": "16"},
            "staff": {"requests.cpu": "12000m", "pods": 20},
        },
    ),
    limits=({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}},),
    network_policy=NetworkPolicySettings(
        gateways=({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}},),
        egress=({"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 8081}]},),
    ),
    local_queue=LocalQueueSettings(cluster_queue="batch"),
    policy=PolicySettings(level="restricted", allow=PolicyAllow(priority_classes=("low",))),
)


def gets(settings: TenancySettings, groups: tuple[str, ...], operators: tuple[str, ...] = ()) -> Entitlement:
    return manifests.entitlement(settings, Policies(settings.policy).of(groups), groups, operators)


def everything(settings: TenancySettings, *, default_class: str = "", queue_version: str = "") -> list[Any]:
    given = gets(settings, ADA.groups)
    items = manifests.content(settings, given, default_class=default_class, queue_version=queue_version)
    optional = [item.optional for item in items if item.optional]
    namespace = manifests.namespace(
        "hubfleet-ada", ADA, given.enforce, labels={"team": "a"}, hub="hub-1", optional=optional
    )
    return [namespace, *(i.manifest for i in (*manifests.identity("hubfleet-ada", ACCOUNT), *items))]


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("namespace-default", everything(TenancySettings())),
        ("namespace-everything", everything(EVERYTHING, default_class="normal", queue_version="v1beta1")),
    ],
)
def test_golden(name: str, objects: list[Any]) -> None:
    written = yaml.safe_dump_all(objects, sort_keys=False)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(written)
    assert written == path.read_text()


def test_nothing_is_made_of_what_the_settings_do_not_say() -> None:
    settings = TenancySettings(network_policy=NetworkPolicySettings(enabled=False))
    given = manifests.entitlement(settings, Policies(settings.policy).of(()), (), affinity_abroad=True)
    items = manifests.content(settings, given, default_class=None, queue_version="")
    assert [item.manifest["kind"] for item in items] == ["ServiceAccount"]


def test_a_queue_is_left_out_where_there_is_no_kueue() -> None:
    items = manifests.content(EVERYTHING, gets(EVERYTHING, ()), default_class="", queue_version="")
    assert "LocalQueue" not in {item.manifest["kind"] for item in items}


def test_what_can_be_taken_away_is_what_is_made() -> None:
    items = manifests.content(EVERYTHING, gets(EVERYTHING, ()), default_class="", queue_version="v1beta1")
    known = manifests.removable(EVERYTHING, "v1beta1")
    made = {i.optional: (i.resource, i.manifest["metadata"]["name"]) for i in items if i.optional}
    assert made == known


def test_the_operators_labels_may_say_another_level_and_never_another_owner() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "hubfleet.dev/user": "eve"}
    made = manifests.namespace("n", ADA, "baseline", labels=labels, hub="h", optional=())["metadata"][
        "labels"
    ]
    assert made["pod-security.kubernetes.io/enforce"] == "restricted"
    assert made["hubfleet.dev/user"] != "eve"


@pytest.mark.parametrize(
    ("policy", "groups", "level"),
    [
        (PolicySettings(), (), "baseline"),
        (PolicySettings(level="restricted"), ("x",), "restricted"),
        (PolicySettings(level="restricted", groups={"x": GroupPolicy(level="baseline")}), ("x",), "baseline"),
        (PolicySettings(level="restricted", groups={"x": GroupPolicy(level="baseline")}), (), "restricted"),
        (PolicySettings(groups={"x": GroupPolicy(level="restricted")}), ("x", "y"), "restricted"),
        (PolicySettings(enforce="privileged"), (), "privileged"),
    ],
)
def test_the_api_server_enforces_the_level_of_the_users_groups(
    policy: PolicySettings, groups: tuple[str, ...], level: str
) -> None:
    assert gets(TenancySettings(policy=policy), groups).enforce == level


def test_priority_classes_of_the_policy_its_groups_and_the_templates_pass() -> None:
    policy = PolicySettings(
        allow=PolicyAllow(priority_classes=("a",)),
        groups={"x": GroupPolicy(allow=PolicyAllow(priority_classes=("b",)))},
    )
    assert gets(TenancySettings(policy=policy), ("x",), ("t",)).priority_classes == ("a", "b", "t")
    assert gets(TenancySettings(policy=policy), ()).priority_classes == ("a",)


quantities = st.builds(
    lambda number, suffix: f"{number}{suffix}",
    st.integers(0, 10_000),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e2", "E"]),
)
hards = st.dictionaries(
    st.sampled_from(["pods", "requests.cpu", "limits.memory"]), quantities | st.integers(0, 99)
)


@given(hards, st.dictionaries(st.sampled_from("abc"), hards), st.lists(st.sampled_from("abcd"), unique=True))
def test_of_the_users_groups_the_largest_goes_before_everybodys(
    hard: dict[str, str | int], by_group: dict[str, dict[str, str | int]], groups: list[str]
) -> None:
    found = quota_for(QuotaSettings(hard=hard, groups=by_group), groups)
    assert found == quota_for(QuotaSettings(hard=hard, groups=by_group), groups[::-1])
    for resource in {*hard, *(r for values in by_group.values() for r in values)}:
        theirs = [str(by_group[g][resource]) for g in groups if resource in by_group.get(g, {})]
        if theirs:
            assert amount(found[resource]) == max(map(amount, theirs))
        elif resource in hard:
            assert found[resource] == str(hard[resource])
        else:
            assert resource not in found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"),
        ("100m", "0.1"),
        ("2", "2"),
        (".5", "0.5"),
        ("1.5Gi", str(3 * 2**29)),
        ("1k", "1000"),
        ("1E", str(10**18)),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("5Ei", str(5 * 2**60)),
        ("250u", "0.00025"),
    ],
)
def test_quantities_are_numbers(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)
    msgspec.convert({"hard": {"pods": text}}, QuotaSettings)


@pytest.mark.parametrize("text", ["", "1Gb", "1ki", "-1", "1 Gi", "one", "1e"])
def test_what_is_no_quantity_is_refused_when_the_settings_are_read(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"hard": {"pods": text}}, QuotaSettings)
