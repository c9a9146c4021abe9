"""Whatever is accepted and lands is what the oracle lets land, and enough is accepted to say something."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.hubfleet.tenancy import oracle
from tests.hubfleet.tenancy.specs import STROKES, bodies, painted

from hubfleet.batch import manifests, submission
from hubfleet.batch.code import Code
from hubfleet.batch.manifests import Requester
from hubfleet.batch.profiles import Profiles
from hubfleet.batch.review import Reviewer
from hubfleet.batch.submission import Kind
from hubfleet.errors import UserError
from hubfleet.policysettings import Level, PolicySettings
from hubfleet.settings import BatchSettings
from hubfleet.tenancy.policy.policies import everybodys

GPU: dict[str, Any] = {
    "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
    "node_affinity_required": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}]}],
}
GROUPS: dict[str, Any] = {"fsGroup": 100, "supplementalGroups": [100, 200]}
TEMPLATE: dict[str, Any] = {
    "spec": {
        "template": {
            "spec": {
                "volumes": [{"name": "operators", "persistentVolumeClaim": {"claimName": "shared"}}],
                "securityContext": GROUPS | {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "beside", "image": "operators"}],
            }
        }
    }
}
ADA = Requester("ada", "ada", "mine", "hub", "s3cret")
CODE = Code(data=b"x", sha256="0" * 64, unpacked=1)
EXAMPLES = 2000


class Case:
    """One configuration: what is submitted to it is refused, or lands."""

    def __init__(self, level: Level, template: dict[str, Any]):
        self.settings = BatchSettings(profiles={"gpu": GPU}, job_template=template)
        self.level = level
        self.policy = everybodys(PolicySettings(level=level))
        self.template = manifests.parse_template(template)
        self.reviewer = Reviewer(Profiles(self.settings.profiles, required=False), self.template)

    def landed(self, body: dict[str, Any], code: Code | None = None) -> dict[str, Any] | None:
        """The Job or CronJob that is created; None for what is refused by the review."""
        kind: Kind = "CronJob" if "job_template" in body["job"]["spec"] else "Job"
        try:
            checked = submission.decode(
                json.dumps(body).encode(), kind, self.settings, self.reviewer.for_user(self.policy, "mine")
            )
        except UserError as e:
            if e.status != 422 or not e.errors:
                raise
            return None
        plan = manifests.plan(
            submission.Submission(kind, checked.job, "a", "", code, checked.profile),
            ADA,
            self.settings,
            self.template,
            name="a",
            submission_id="0123456789abcdef",
            expires=1,
            policy=self.policy,
        )
        self.reviewer.look_again(
            plan.owner, kind, self.policy
        )  # what the review lets through has no need of it
        return plan.owner


CASES = [Case(level, template) for level in ("baseline", "restricted") for template in ({}, TEMPLATE)]


def pod_of(owner: dict[str, Any]) -> dict[str, Any]:
    inner = owner["spec"].get("jobTemplate", owner)
    pod: dict[str, Any] = inner["spec"]["template"]
    return pod


def faults(owner: dict[str, Any], case: Case) -> Iterator[str]:
    level = case.level
    pod = pod_of(owner)
    context = pod["spec"].get("securityContext", {})
    groups = {key: context.get(key) for key in (*GROUPS, "supplementalGroupsPolicy")}
    if case.template.get("spec") and groups != GROUPS | {"supplementalGroupsPolicy": None}:
        yield f"groups of their own: {groups}"
    if "aadpodidbinding" in pod["metadata"]["labels"]:
        yield "an identity of the cloud"
    yield from oracle.against_the_standards(pod, level)
    yield from oracle.beyond_the_namespace(pod)
    inner = owner["spec"].get("jobTemplate", owner)
    for metadata in (owner["metadata"], inner["metadata"], pod["metadata"]):
        if metadata["labels"]["hubfleet.dev/user"] != "ada" or metadata.get("namespace", "mine") != "mine":
            yield f"not the user's: {metadata}"
        if metadata.get("ownerReferences") or metadata.get("finalizers"):
            yield f"tied to others: {metadata}"
    tolerations = pod["spec"].get("tolerations", [])
    if tolerations and tolerations != GPU["tolerations"]:
        yield f"tolerations of their own: {tolerations}"
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    nodes = pod["spec"].get("affinity", {}).get("nodeAffinity", {}).get(required, {})
    terms = [{k: v for k, v in term.items() if v} for term in nodes.get("nodeSelectorTerms", [])]
    terms = [term for term in terms if term]  # an empty one suits no node
    if terms not in ([], GPU["node_affinity_required"]) or (tolerations and not terms):
        yield f"nodes of their own: {terms} with {tolerations}"
    if inner["spec"].get("parallelism", 1) > 100 or inner["spec"].get("manualSelector"):
        yield f"too much of a job: {inner['spec']}"


def fuzz(examples: int) -> None:
    counts = {"accepted": 0, "refused": 0}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(CASES), bodies, st.sampled_from([None, None, CODE]))
    def submit(case: Case, body: dict[str, Any], code: Code | None) -> None:
        owner = case.landed(body, code)
        counts["refused" if owner is None else "accepted"] += 1
        if owner is not None:
            assert not list(faults(owner, case)), json.dumps(owner["spec"])

    submit()
    assert counts["accepted"] > examples / 10, counts
    assert counts["refused"] > examples / 10, counts


@pytest.mark.parametrize(
    "case", CASES, ids=["baseline", "baseline-template", "restricted", "restricted-template"]
)
def test_each_stroke_alone(case: Case) -> None:
    """What hypothesis may miss by chance: nothing else is there that could have it refused."""
    accepted = 0
    for stroke in STROKES:
        for name in ("job-0.5", "cronjob-0.5"):
            owner = case.landed(painted(name, [stroke], 0))
            if owner is not None:
                accepted += 1
                assert not list(faults(owner, case)), stroke
    assert len(STROKES) / 2 < accepted < len(STROKES) * 1.5


def test_what_lands_is_what_the_oracle_lets_land() -> None:
    fuzz(EXAMPLES)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_what_lands_is_what_the_oracle_lets_land_ten_times_as_often() -> None:
    fuzz(10 * EXAMPLES)


def test_the_oracle_sees_what_is_wrong() -> None:
    """Each stroke of `specs` that is meant to be wrong is one that the oracle refuses, were it to land."""
    pod: dict[str, Any] = {
        "metadata": {},
        "spec": {"containers": [{"securityContext": {"privileged": True}}]},
    }
    assert any("Privileged" in each for each in oracle.against_the_standards(pod, "baseline"))
    assert len(oracle.against_the_standards(pod, "restricted")) == 5
    pod["spec"] = {"containers": [], "nodeName": "a", "volumes": [{"name": "a", "hostPath": {}}]}
    assert any("HostPath" in each for each in oracle.against_the_standards(pod, "baseline"))
    assert len(oracle.beyond_the_namespace(pod)) == 2
