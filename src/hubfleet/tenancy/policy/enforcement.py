"""What the API server enforces in users' namespaces, and whether the operator's job template gets past it.

What users may say keeps the policy's level by itself. The template is the operator's, and may do what no user
may (a hostPath volume that every job mounts): then the API server would refuse the pods of every job in a
namespace that is labelled with the level, so the label says less, and the process says so at its start.
"""

from typing import Any

import msgspec

from hubfleet.policysettings import Enforced, Level, PolicySettings
from hubfleet.tenancy.policy import podsecurity
from hubfleet.tenancy.policy.fill import fill_pod
from hubfleet.tenancy.policy.policies import Policies
from hubfleet.tenancy.policy.review import at, pod_path
from hubfleet.tenancy.policy.violation import Violation


def template_violations(template: dict[str, Any], level: Level) -> list[Violation]:
    """What of a job template, a Job's JSON, is against the level, once all is filled in that can be."""
    pod: Any = at(template, pod_path("Job"))
    if not isinstance(pod, dict):
        return []
    pod = msgspec.json.decode(msgspec.json.encode(pod))
    if isinstance(spec := pod.get("spec"), dict):
        fill_pod(spec, Policies(PolicySettings(level=level)).of(()))
    return podsecurity.violations(pod, level, pod_path("Job"))


def settled(settings: PolicySettings, template: dict[str, Any]) -> tuple[PolicySettings, list[Violation]]:
    """The settings with `auto` decided, and what of the template made it less than the level.

    Raises ValueError where the template is against what the settings say to enforce.
    """
    if settings.enforce == "privileged":
        return settings, []
    if settings.enforce != "auto":
        if found := template_violations(template, settings.enforce):
            raise ValueError(
                f"tenancy.policy.enforce is {settings.enforce}, and batch.job_template has {_shown(found)}"
            )
        return settings, []
    levels = {settings.level, *(group.level for group in settings.groups.values() if group.level)}
    restricted = template_violations(template, "restricted") if "restricted" in levels else []
    baseline = template_violations(template, "baseline")
    if not restricted and not baseline:
        return settings, []
    enforce: Enforced = "privileged" if baseline else "baseline"
    return msgspec.structs.replace(settings, enforce=enforce), baseline or restricted


def _shown(found: list[Violation]) -> str:
    return "; ".join(f"{'.'.join(map(str, each.path))} ({each.message})" for each in found[:5])
