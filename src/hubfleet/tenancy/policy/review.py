"""What a user's object may not say: the allow-list, and the Pod Security Standards over its pod.

The object is what the user sent, before anything of the operator's (profile, job template) is merged into it:
what the operator adds is allowed, and nothing that a user sends can hide behind it. Where the two meet in one
pod (a container that mounts a volume of the template), `Operator` says what the user's part meets there.
"""

from typing import Any, Literal

import msgspec

from hubfleet.tenancy.policy import podsecurity
from hubfleet.tenancy.policy.fields import FIELDS
from hubfleet.tenancy.policy.fill import fill_pod
from hubfleet.tenancy.policy.rules import Operator, Part, Policy, Review
from hubfleet.tenancy.policy.violation import Path, Violation

Kind = Literal["Job", "CronJob"]

NOTHING = Operator()


def violations(
    obj: dict[str, Any],
    kind: Kind,
    policy: Policy,
    *,
    namespace: str = "",
    profile: str = "",
    operator: Operator = NOTHING,
) -> list[Violation]:
    """Everything in a Job or CronJob that the policy does not allow, in the object's own order.

    `obj` is Kubernetes' JSON and is not changed. `namespace` is the user's own: another one may not be
    written anywhere; with "" none may. `profile` is the one that the job names, whose nodes and tolerations
    are filled in later.
    """
    review = Review(policy, operator, namespace, profile)
    Part(kind, FIELDS).check_one(obj, (), review)
    path = pod_path(kind)
    pod = at(obj, path)
    if isinstance(pod, dict):
        if policy.level == "restricted":
            pod = msgspec.json.decode(msgspec.json.encode(pod))
            if isinstance(pod.get("spec"), dict):
                fill_pod(pod["spec"], policy)
        review.found += podsecurity.violations(pod, policy.level, path)
    return review.found


def pod_path(kind: Kind) -> Path:
    """Where the pod template of an object is."""
    job: Path = ("spec", "jobTemplate") if kind == "CronJob" else ()
    return (*job, "spec", "template")


def at(obj: Any, path: Path) -> Any:
    """What stands at a path of keys; None where there is no such thing."""
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj
