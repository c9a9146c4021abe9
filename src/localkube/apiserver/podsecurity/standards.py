"""The Pod Security Standards: which controls a level has at a version, and what they find in a pod."""

from functools import cache

from localkube.apiserver.podsecurity import baseline, restricted
from localkube.apiserver.podsecurity.checks import Check, CheckPod, Object, Violation
from localkube.apiserver.podsecurity.policy import BASELINE, PRIVILEGED, Standard


def violations(standard: Standard, metadata: Object, spec: Object) -> list[Violation]:
    """What a pod (or a template for pods) does that the standard forbids; empty where it is allowed."""
    if standard.level == PRIVILEGED:
        return []
    return [found for check in _controls(standard) if (found := check(metadata, spec)) is not None]


@cache
def _controls(standard: Standard) -> tuple[CheckPod, ...]:
    common = _at(baseline.CHECKS, standard.minor)
    if standard.level == BASELINE:
        return tuple(common.values())
    strict = _at(restricted.CHECKS, standard.minor)
    overridden = {name for check in restricted.CHECKS if check.id in strict for name in check.overrides}
    return (*(check for name, check in common.items() if name not in overridden), *strict.values())


def _at(checks: tuple[Check, ...], minor: int) -> dict[str, CheckPod]:
    """The newest revision that there was of each control, by id."""
    found: dict[str, CheckPod] = {}
    for check in checks:
        for since, revision in check.versions:
            if since <= minor:
                found[check.id] = revision
    return found
