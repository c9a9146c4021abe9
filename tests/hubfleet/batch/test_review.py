"""The pod policy on a submission's way: what the clients send passes, and nothing hides behind a merge."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.hubfleet.tenancy import oracle

from hubfleet.batch import manifests, submission
from hubfleet.batch.code import Code
from hubfleet.batch.manifests import Requester
from hubfleet.batch.profiles import Profiles
from hubfleet.batch.review import Reviewer
from hubfleet.batch.submission import Kind, Submission
from hubfleet.errors import UserError
from hubfleet.policysettings import PolicyAllow, PolicyLimits, PolicySettings
from hubfleet.settings import BatchSettings
from hubfleet.tenancy.policy.policies import everybodys

BODIES = Path(__file__).parent / "bodies"
ADA = Requester("ada", "ada", "mine", "hub", "s3cret")
PROFILES: dict[str, dict[str, Any]] = {
    "gpu": {
        "image": "gpu:1",
        "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "1"}},
        "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
        "node_affinity_required": [
            {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}]}
        ],
    }
}
AT = "body.job.spec.template.spec"


def body(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BODIES / f"{name}.json").read_text())
    return found


def pod_of(owner: dict[str, Any]) -> dict[str, Any]:
    inner = owner["spec"].get("jobTemplate", owner)
    pod: dict[str, Any] = inner["spec"]["template"]
    return pod


class Desk:
    """What submissions pass, without a server."""

    def __init__(self, policy: PolicySettings | None = None, **batch: Any):
        self.settings = BatchSettings(profiles=PROFILES, **batch)
        self.policy = everybodys(policy or PolicySettings())
        self.template = manifests.parse_template(self.settings.job_template)
        self.reviewer = Reviewer(Profiles(PROFILES, required=False), self.template)

    def check(self, sent: dict[str, Any]) -> Submission:
        kind: Kind = "CronJob" if sent["job"]["kind"] == "CronJob" else "Job"
        review = self.reviewer.for_user(self.policy, "mine")
        return submission.decode(json.dumps(sent).encode(), kind, self.settings, review)

    def land(self, sent: dict[str, Any], code: Code | None = None) -> dict[str, Any]:
        checked = self.check(sent)
        plan = manifests.plan(
            Submission(checked.kind, checked.job, "a", "", code, checked.profile),
            ADA,
            self.settings,
            self.template,
            name="a",
            submission_id="0123456789abcdef",
            expires=1,
            policy=self.policy,
        )
        self.reviewer.look_again(plan.owner, plan.kind, self.policy)
        return plan.owner

    def problems(self, sent: dict[str, Any]) -> dict[str, str]:
        with pytest.raises(UserError) as caught:
            self.check(sent)
        assert caught.value.status == 422
        return {".".join(map(str, p["loc"])): p["msg"] for p in caught.value.errors}


ALL = sorted(path.stem for path in BODIES.glob("*.json"))


@pytest.mark.parametrize("name", ALL)
def test_what_an_unmodified_client_sends_passes_as_it_is(name: str) -> None:
    sent = body(name)
    desk = Desk()
    kind: Kind = "CronJob" if name.startswith("cron") else "Job"
    before = submission.decode(json.dumps(sent).encode(), kind, desk.settings).job
    checked = desk.check(sent)
    assert checked.job == before
    pod = pod_of(desk.land(sent))["spec"]
    assert "securityContext" not in pod and "securityContext" not in pod["containers"][0]


@pytest.mark.parametrize("code", [None, Code(data=b"x", sha256="0" * 64, unpacked=1)])
@pytest.mark.parametrize("name", ALL)
def test_and_at_restricted_with_what_is_filled_in(name: str, code: Code | None) -> None:
    owner = Desk(PolicySettings(level="restricted")).land(body(name), code)
    pod = pod_of(owner)
    assert oracle.against_the_standards(pod, "restricted") == []
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000
    if code is not None:
        assert pod["spec"]["initContainers"][0]["name"] == "unpack-code"


def test_what_unpacks_the_code_runs_as_the_job_does_and_has_its_limits() -> None:
    policy = PolicySettings(level="restricted", run_as_user=5000, limits=PolicyLimits(empty_dir="1Gi"))
    spec = pod_of(Desk(policy).land(body("job-0.5"), Code(data=b"x", sha256="0" * 64, unpacked=1)))["spec"]
    assert spec["initContainers"][0]["securityContext"]["runAsUser"] == 5000
    assert [each.get("emptyDir") for each in spec["volumes"]] == [None, {"sizeLimit": "1Gi"}]


def test_the_profiles_own_tolerations_pass_and_others_do_not() -> None:
    sent = body("job-profile-0.5")
    pod = sent["job"]["spec"]["template"]["spec"]
    pod["tolerations"].append({"operator": "Exists"})
    assert set(Desk().problems(sent)) == {f"{AT}.tolerations.0", f"{AT}.tolerations.1"}
    pod["tolerations"].pop()
    pod["affinity"] = None
    assert set(Desk().problems(sent)) == {f"{AT}.tolerations.0"}
    sent["job"]["metadata"]["labels"] = {"hubfleet.dev/profile": "gpu"}
    assert pod_of(Desk().land(sent))["spec"]["affinity"]["nodeAffinity"]


def test_everything_is_told_at_once_in_the_clients_spelling() -> None:
    sent = body("job-0.5")
    job = sent["job"]
    job["metadata"]["labels"] = {"hubfleet.dev/user": "eve", "hubfleet.dev/profile": "none"}
    job["metadata"]["namespace"] = "kube-system"
    job["spec"]["backoff_limit"] = "0"
    pod = job["spec"]["template"]["spec"]
    pod |= {"host_ipc": True, "volumes": [{"name": "a", "host_path": {"path": "/"}}], "node_name": "n"}
    pod["containers"][0]["security_context"] = {"se_linux_options": {"type": "spc_t"}}
    assert set(Desk().problems(sent)) == {
        "body.job",
        "body.job.metadata.labels.hubfleet.dev/user",
        "body.job.metadata.namespace",
        "body.job.spec.backoff_limit",
        f"{AT}.host_ipc",
        f"{AT}.volumes.0.host_path",
        f"{AT}.node_name",
        f"{AT}.containers.0.security_context.se_linux_options.type",
    }


def test_cron_jobs_are_told_where_too() -> None:
    sent = body("cronjob-0.5")
    inner = sent["job"]["spec"]["job_template"]
    inner["metadata"]["namespace"] = "kube-system"
    inner["spec"]["template"]["spec"]["host_pid"] = True
    assert set(Desk().problems(sent)) == {
        "body.job.spec.job_template.metadata.namespace",
        "body.job.spec.job_template.spec.template.spec.host_pid",
    }


def test_ones_own_namespace_may_be_written_and_is_left_out() -> None:
    sent = body("job-0.5")
    for metadata in (sent["job"]["metadata"], sent["job"]["spec"]["template"]["metadata"]):
        metadata["namespace"] = "mine"
    owner = Desk().land(sent)
    assert owner["metadata"]["namespace"] == "mine"
    assert "namespace" not in pod_of(owner)["metadata"]


HOST_TEMPLATE: dict[str, Any] = {
    "spec": {
        "template": {
            "spec": {
                "volumes": [{"name": "fuse", "host_path": {"path": "/fuse"}}],
                "tolerations": [{"key": "batch", "operator": "Exists"}],
                "service_account_name": "operators",
                "priority_class_name": "batch",
                "containers": [
                    {"name": "beside", "image": "i", "security_context": {"privileged": True}},
                ],
            }
        }
    }
}


@pytest.mark.parametrize("level", ["baseline", "restricted"])
@pytest.mark.parametrize("name", ALL)
def test_the_operators_template_may_do_what_users_may_not(name: str, level: Any) -> None:
    owner = Desk(PolicySettings(level=level), job_template=HOST_TEMPLATE).land(body(name))
    spec = pod_of(owner)["spec"]
    assert spec["volumes"] == [{"name": "fuse", "hostPath": {"path": "/fuse"}}]
    assert spec["serviceAccountName"] == "operators"
    assert spec["containers"][-1]["securityContext"]["privileged"] is True


def test_the_templates_volume_is_not_the_users_to_mount() -> None:
    sent = body("job-0.5")
    container = sent["job"]["spec"]["template"]["spec"]["containers"][0]
    container["volume_mounts"] = [{"name": "fuse", "mount_path": "/host"}]
    where = f"{AT}.containers.0.volume_mounts.0.name"
    assert set(Desk(job_template=HOST_TEMPLATE).problems(sent)) == {where}
    allowed = PolicySettings(allow=PolicyAllow(template_volumes=("fuse",)))
    assert Desk(allowed, job_template=HOST_TEMPLATE).land(sent)


def test_nobody_chooses_their_way_past_the_templates_nodes() -> None:
    """Terms of node affinity are alternatives: joined as lists are, either one would do."""
    pool = {"matchExpressions": [{"key": "team", "operator": "In", "values": ["batch"]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [pool]}}
    }
    template = {"spec": {"template": {"spec": {"affinity": affinity}}}}
    for name in ("job-profile-0.5", "job-0.5"):
        owner = Desk(job_template=copy.deepcopy(template)).land(body(name))
        required = pod_of(owner)["spec"]["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        (term,) = required["nodeSelectorTerms"]
        keys = [each["key"] for each in term["matchExpressions"]]
        assert keys == (["pool", "team"] if "profile" in name else ["team"])


def test_a_container_does_not_overrule_the_templates_pod() -> None:
    template = {"spec": {"template": {"spec": {"securityContext": {"runAsUser": 1000}}}}}
    sent = body("job-0.5")
    sent["job"]["spec"]["template"]["spec"]["containers"][0]["security_context"] = {"run_as_user": 0}
    where = f"{AT}.containers.0.security_context.run_as_user"
    assert set(Desk(job_template=template).problems(sent)) == {where}
    assert Desk().land(sent)


def test_the_last_look_sees_what_the_first_one_missed() -> None:
    desk = Desk()
    owner = desk.land(body("job-0.5"))
    pod_of(owner)["spec"]["hostNetwork"] = True
    with pytest.raises(UserError) as caught:
        desk.reviewer.look_again(owner, "Job", desk.policy)
    assert caught.value.errors[0]["loc"] == ["body", "job", "spec", "template", "spec", "host_network"]


def test_however_much_is_refused_the_answer_is_one_to_read() -> None:
    sent = body("job-0.5")
    pod = sent["job"]["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": f"v{i}", "host_path": {"path": "/"}} for i in range(2000)]
    found = Desk().problems(sent)
    assert 50 < len(found) <= 101
    assert "there is more" in found["body"]
