"""Profiles as the clients apply them, and as we do."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from hubfleet.batch import submission
from hubfleet.batch.profiles import Profiles
from hubfleet.errors import UserError
from hubfleet.settings import BatchSettings

BODIES = Path(__file__).parent / "bodies"
GPU: dict[str, Any] = {
    "image": "gpu:1",
    "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "1"}},
    "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
    "node_affinity_required": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}]}],
}
SMALL: dict[str, Any] = {"resources": {"limits": {"cpu": "1"}}}


def job(name: str) -> dict[str, Any]:
    found = submission.decode((BODIES / f"{name}.json").read_bytes(), "Job", BatchSettings()).job
    return copy.deepcopy(found)


def spec(found: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def profiles(*, required: bool = False) -> Profiles:
    return Profiles({"gpu": GPU, "small": SMALL}, required=required)


def refused(found: dict[str, Any], named: str = "", *, required: bool = False) -> list[str]:
    with pytest.raises(UserError) as caught:
        profiles(required=required).enforce(found, "Job", named)
    assert caught.value.status == 422
    return [".".join(map(str, p["loc"])) for p in caught.value.errors]


@pytest.mark.parametrize("client", ["0.4.2", "0.5"])
def test_we_fill_in_what_the_client_fills_in(client: str) -> None:
    by_client = job(f"job-profile-{client}")
    profiles().enforce(by_client, "Job", "gpu")
    bare = job(f"job-profile-{client}")
    for key in ("tolerations", "affinity"):
        del spec(bare)[key]
    for key in ("resources", "image"):
        del spec(bare)["containers"][0][key]
    profiles().enforce(bare, "Job", "gpu")
    assert spec(bare)["containers"] == spec(by_client)["containers"]
    assert spec(bare)["tolerations"] == spec(by_client)["tolerations"]
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    assert spec(bare)["affinity"]["nodeAffinity"][required] == {
        "nodeSelectorTerms": GPU["node_affinity_required"]
    }


def test_what_contradicts_the_profile_is_refused() -> None:
    found = job("job-profile-0.5")
    pod = spec(found)
    pod["containers"][0]["image"] = "other:1"
    pod["containers"][0]["resources"]["limits"]["cpu"] = "64"
    pod["tolerations"].append({"operator": "Exists"})
    pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]
    }
    at = "body.job.spec.template.spec"
    assert set(refused(found, "gpu")) == {
        f"{at}.containers.0.image",
        f"{at}.containers.0.resources.limits",
        f"{at}.tolerations",
        f"{at}.affinity.node_affinity",
    }


def test_a_second_container_is_no_way_around() -> None:
    found = job("job-0.5")
    spec(found)["containers"].append({"name": "b", "resources": {"limits": {"cpu": "64"}}})
    assert refused(found, "small")
    found = job("job-0.5")
    spec(found)["initContainers"] = [{"name": "b", "resources": {"limits": {"cpu": "64"}}}]
    assert refused(found, "small") == ["body.job.spec.template.spec.init_containers.0.resources.limits"]


AT = "body.job.spec.template.spec"


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"nodeName": "gpu-1"}, "node_name"),
        ({"resources": {"limits": {"cpu": "64"}}}, "resources"),
        ({"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}, "resource_claims"),
        ({"initContainers": [{"name": "b", "image": "other:1"}]}, "init_containers.0.image"),
        ({"initContainers": [{"name": "b", "restartPolicy": "Always"}]}, "init_containers.0.restart_policy"),
        (
            {"initContainers": [{"name": "b", "resources": {"limits": {"cpu": "64"}}}]},
            "init_containers.0.resources.limits",
        ),
    ],
)
def test_there_is_no_way_around_a_profile(change: dict[str, Any], at: str, required: bool) -> None:
    found = job("job-profile-0.5")
    spec(found).update(copy.deepcopy(change))
    if required:
        assert refused(found, required=True) == [AT]
    else:
        assert refused(found, "gpu") == [f"{AT}.{at}"]


@pytest.mark.parametrize("named", ["gpu", ""])
def test_an_init_container_gets_what_the_profile_gives(named: str) -> None:
    found = job("job-profile-0.5")
    spec(found)["initContainers"] = [{"name": "b"}, {"name": "c", "image": "gpu:1"}]
    profiles(required=True).enforce(found, "Job", named)
    for each in spec(found)["initContainers"]:
        assert (each["image"], each["resources"]) == ("gpu:1", GPU["resources"])


def test_without_a_profile_all_of_it_is_the_jobs_own_affair() -> None:
    found = job("job-0.5")
    spec(found).update(nodeName="a", initContainers=[{"name": "b", "restartPolicy": "Always"}])
    before = copy.deepcopy(found)
    profiles().enforce(found, "Job", "")
    assert found == before


def test_an_unknown_profile_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        profiles().enforce(job("job-0.5"), "Job", "huge")
    assert "unknown profile 'huge'; there is: gpu, small" in str(caught.value)


def test_an_image_comes_from_the_job_or_from_its_profile() -> None:
    found = job("job-0.5")
    del spec(found)["containers"][0]["image"]
    assert refused(copy.deepcopy(found)) == ["body.job.spec.template.spec.containers.0.image"]
    assert refused(copy.deepcopy(found), "small") == ["body.job.spec.template.spec.containers.0.image"]
    profiles().enforce(found, "Job", "gpu")
    assert spec(found)["containers"][0]["image"] == "gpu:1"


@pytest.mark.parametrize("client", ["0.4.2", "0.5"])
def test_where_one_is_required_what_a_client_made_of_one_is_enough(client: str) -> None:
    profiles(required=True).enforce(job(f"job-profile-{client}"), "Job", "")
    assert refused(job(f"job-{client}"), required=True)


def test_a_cron_job_is_held_to_it_as_well() -> None:
    sent = json.loads((BODIES / "cronjob-0.5.json").read_text())
    found = submission.decode(json.dumps(sent).encode(), "CronJob", BatchSettings()).job
    profiles().enforce(found, "CronJob", "small")
    container = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {"limits": {"cpu": "1"}}
    with pytest.raises(UserError) as caught:
        profiles().enforce(found, "CronJob", "gpu")
    assert caught.value.errors[0]["loc"][:4] == ["body", "job", "spec", "job_template"]


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"imagee": "x"}, "profiles.p.imagee: unknown field"),
        ({"resources": {"limits": 3}}, "profiles.p.resources.limits: must be an object"),
        ({"tolerations": [{"keys": "x"}]}, "profiles.p.tolerations.0.keys: unknown field"),
        ("x", "profiles.p: must be an object"),
    ],
)
def test_a_profile_that_is_none_is_refused_at_the_start(profile: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Profiles({"p": profile}, required=False)
