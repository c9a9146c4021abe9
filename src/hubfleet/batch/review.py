"""A job under review: the pod policy over what the user sent, the profile, and a last look at the whole.

The policy comes first, while nothing but the user's own words is in the job; then the profile is filled in,
and later (`manifests`) the operator's template, which may say what users may not. The finished object is held
against the Pod Security Standards once more: whatever way through the merging somebody finds, ends there.
"""

from typing import Any

from hubfleet.batch import wire
from hubfleet.batch.profiles import Profiles
from hubfleet.batch.submission import Kind, Review, pod_template
from hubfleet.batch.wire import Path, Problems
from hubfleet.errors import UserError
from hubfleet.tenancy.policy import podsecurity
from hubfleet.tenancy.policy.enforcement import template_violations
from hubfleet.tenancy.policy.review import at, pod_path, violations
from hubfleet.tenancy.policy.rules import Operator, Policy

_ROOT: Path = ("body", "job")


class Reviewer:
    """What is reviewed against: the operator's profiles, and the job template as Kubernetes' JSON."""

    def __init__(self, profiles: Profiles, template: dict[str, Any]):
        self._profiles = profiles
        pod: dict[str, Any] = at(template, (*pod_path("Job"), "spec")) or {}
        self._operator = Operator(
            placements=profiles.placements,
            volumes=frozenset(volume.get("name", "") for volume in pod.get("volumes", [])),
            context=pod.get("securityContext", {}),
        )
        # Rules that the template breaks are the operator's to break, in every pod.
        self._excused = {
            "baseline": {each.rule for each in template_violations(template, "baseline")},
            "restricted": {each.rule for each in template_violations(template, "restricted")},
        }

    def for_user(self, policy: Policy, namespace: str) -> Review:
        """The review of what a user submits into their namespace."""

        def review(job: dict[str, Any], kind: Kind, profile: str, problems: Problems) -> None:
            found = violations(
                job, kind, policy, namespace=namespace, profile=profile, operator=self._operator
            )
            for each in found:
                problems.add((*_ROOT, *wire.spelled(f"V1{kind}", each.path)), each.message)
            inner = job["spec"]["jobTemplate"] if kind == "CronJob" else job
            if pod_template(inner)["spec"]["containers"]:
                self._enforce_profile(job, kind, profile, problems)

        return review

    def _enforce_profile(self, job: dict[str, Any], kind: Kind, profile: str, problems: Problems) -> None:
        try:
            self._profiles.enforce(job, kind, profile)
        except UserError as e:
            for each in e.errors:
                problems.add(tuple(each["loc"]), each["msg"])

    def look_again(self, owner: dict[str, Any], kind: Kind, policy: Policy) -> None:
        """At the finished Job or CronJob. Raises UserError 422 where the policy's level is not kept."""
        pod = at(owner, pod_path(kind))
        problems = Problems()
        for each in podsecurity.violations(pod, policy.level, pod_path(kind)):
            if each.rule not in self._excused[policy.level]:
                problems.add((*_ROOT, *wire.spelled(f"V1{kind}", each.path)), each.message)
        if problems:
            raise UserError(422, problems)
