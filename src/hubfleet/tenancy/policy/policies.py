"""The policy of each user: what the settings say for everybody, and for the groups that the user is in."""

from collections.abc import Iterable
from typing import Any

import msgspec

from hubfleet.policysettings import GroupPolicy, PolicyAllow, PolicySettings
from hubfleet.tenancy.policy import quantity
from hubfleet.tenancy.policy.metadata import ANNOTATIONS, LABELS, Keys
from hubfleet.tenancy.policy.quantity import Amount
from hubfleet.tenancy.policy.rules import Policy

_NAMES = (
    "csi_drivers",
    "fields",
    "node_labels",
    "priority_classes",
    "runtime_classes",
    "schedulers",
    "service_accounts",
    "template_volumes",
    "volumes",
)
_LIMITS = (
    "backoff_limit",
    "completions",
    "containers",
    "deadline_seconds",
    "grace_seconds",
    "history",
    "parallelism",
)


class Policies:
    """`of(groups)` is a user's policy, made once for each combination of groups that the settings know."""

    def __init__(self, settings: PolicySettings):
        self._settings = settings
        self._made: dict[tuple[str, ...], Policy] = {}

    def of(self, groups: Iterable[str]) -> Policy:
        known = self._settings.groups
        key = tuple(sorted({group for group in groups if group in known})) if known else ()
        if (policy := self._made.get(key)) is None:
            policy = self._made[key] = _policy(self._settings, [known[group] for group in key])
        return policy


def everybodys(settings: PolicySettings) -> Policy:
    """The policy of a user in no group."""
    return _policy(settings, [])


def _policy(settings: PolicySettings, groups: list[GroupPolicy]) -> Policy:
    allows = [settings.allow, *(group.allow for group in groups)]
    names = {name: frozenset(each for allow in allows for each in getattr(allow, name)) for name in _NAMES}
    if names["priority_classes"]:
        names["fields"] |= {"preemptionPolicy"}  # which must be that of the class
    levels = [group.level for group in groups if group.level is not None]
    return Policy(
        level="baseline" if "baseline" in levels else levels[0] if levels else settings.level,
        run_as_user=settings.run_as_user,
        names=names,
        tolerations=tuple(toleration for allow in allows for toleration in allow.tolerations),
        labels=_keys(LABELS, allows, "labels"),
        annotations=_keys(ANNOTATIONS, allows, "annotations"),
        limits={name: _largest(settings.limits, groups, name) for name in _LIMITS},
        empty_dir=_largest_amount(settings.limits.empty_dir, [g.limits.empty_dir for g in groups]),
    )


def _keys(always: tuple[str, ...], allows: list[PolicyAllow], name: str) -> Keys:
    return Keys.of([*always, *(key for allow in allows for key in getattr(allow, name))])


def _largest(everybodys: msgspec.Struct, groups: list[GroupPolicy], name: str) -> int | None:
    said: list[int] = [n for group in groups if (n := getattr(group.limits, name)) is not None]
    limit: int | None = getattr(everybodys, name)
    return limit if limit is None or not said else max(said)


def _largest_amount(everybodys: str | None, groups: list[str | None]) -> Amount | None:
    said: list[Any] = [quantity.parse(text) for text in groups if text is not None]
    if everybodys is None:
        return None
    return max(said, key=lambda amount: amount.value) if said else quantity.parse(everybodys)


DEFAULT = everybodys(PolicySettings())
"""Where nothing is set."""
