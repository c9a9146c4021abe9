"""Jobs and CronJobs."""

import re
import zoneinfo
from typing import Any

from localkube.apiserver import schedule
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import gotypes, metadata, names, pod, selector
from localkube.apiserver.validation.causes import (
    IMMUTABLE,
    duplicate,
    immutable,
    index,
    invalid,
    key,
    nonnegative,
    not_supported,
    required,
    too_long,
    too_many,
)

Object = dict[str, Any]

# The CronJob controller appends 11 characters to make the name of a Job, which is limited to 63.
_CRON_JOB_NAME_LIMIT = 52
_INDEXED_LIMIT = 100_000
_CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
_JOB_NAME = "batch.kubernetes.io/job-name"
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
# What a suspended job that has not started yet may still change in its template, for a queueing system.
_SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates", "affinity")
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")


def job(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], True)
    errors += _generated_selector(obj)
    spec = obj["spec"]
    errors += _spec_with_selector(spec, "spec")
    completions = spec.get("completions")
    name = obj["metadata"].get("name", "")
    if spec.get("completionMode") == "Indexed" and completions:
        hostname = f"{name}-{completions - 1}"
        if names.dns_label(hostname):
            detail = f"will not able to create pod with invalid DNS label: {hostname}"
            errors.append(invalid("metadata.name", name, detail))
    return errors


def _generated_selector(obj: Object) -> list[FieldError]:
    """Nobody chose other values for the labels and the selector that the server generates."""
    spec = obj["spec"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    uid, name = obj["metadata"].get("uid", ""), obj["metadata"].get("name", "")
    labels = spec["template"].get("metadata", {}).get("labels") or {}
    expected = {"controller-uid": uid, "job-name": name, _CONTROLLER_UID: uid, _JOB_NAME: name}
    errors: list[FieldError] = []
    for label, value in expected.items():
        path = key("spec.template.metadata.labels", label)
        if label not in labels:
            errors.append(required(path, f"must be '{value}'"))
        elif labels[label] != value:
            errors.append(invalid(path, dict(sorted(labels.items())), f"must be '{value}'"))
    if not selector.matches(spec["selector"], expected):
        shown = selector.shown(spec["selector"])
        errors.append(invalid("spec.selector", shown, "`selector` not auto-generated"))
    return errors


def _spec_with_selector(spec: Object, path: str) -> list[FieldError]:
    errors = _spec(spec, path)
    chosen = spec.get("selector")
    if chosen is None:
        return [*errors, required(f"{path}.selector")]
    errors += selector.validate(chosen, f"{path}.selector")
    labels = spec["template"].get("metadata", {}).get("labels") or {}
    if not selector.matches(chosen, labels):
        where = f"{path}.template.metadata.labels"
        shown = dict(sorted(labels.items())) or None
        errors.append(invalid(where, shown, "`selector` does not match template `labels`"))
    return errors


def _spec(spec: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit"):
        errors += nonnegative(f"{path}.{name}", spec.get(name))
    errors += nonnegative(f"{path}.ttlSecondsAfterFinished", spec.get("ttlSecondsAfterFinished"))
    errors += _per_index(spec, path)
    if (manager := spec.get("managedBy")) is not None:
        errors += _domain_prefixed(manager, f"{path}.managedBy")
        if len(manager.encode()) > 63:
            errors.append(too_long(f"{path}.managedBy", 63))
    errors += _completion_mode(spec, path)
    if (policy := spec.get("podFailurePolicy")) is not None:
        errors += _pod_failure_policy(spec, policy, f"{path}.podFailurePolicy")
    if (policy := spec.get("successPolicy")) is not None:
        if spec.get("completionMode") != "Indexed":
            errors.append(invalid(f"{path}.successPolicy", policy, "requires indexed completion mode"))
        else:
            errors += _success_policy(spec, policy, f"{path}.successPolicy")
    errors += _pod_replacement_policy(spec, path)
    errors += pod.template(spec["template"], f"{path}.template")
    restart = spec["template"].get("spec", {}).get("restartPolicy", "")
    where = f"{path}.template.spec.restartPolicy"
    if restart not in ("OnFailure", "Never"):
        errors.append(required(where, 'valid values: "OnFailure", "Never"'))
    if spec.get("podFailurePolicy") is not None and restart != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(invalid(where, restart, detail))
    return errors


def _per_index(spec: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    limit, most = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    if most is not None:
        errors += nonnegative(f"{path}.maxFailedIndexes", most)
        if limit is None:
            detail = "when maxFailedIndexes is specified"
            errors.append(required(f"{path}.backoffLimitPerIndex", detail))
    if limit is not None:
        errors += nonnegative(f"{path}.backoffLimitPerIndex", limit)
    if spec.get("completionMode") != "Indexed":
        if limit is not None:
            errors.append(invalid(f"{path}.backoffLimitPerIndex", limit, "requires indexed completion mode"))
        if most is not None:
            errors.append(invalid(f"{path}.maxFailedIndexes", most, "requires indexed completion mode"))
    return errors


def _domain_prefixed(value: str, path: str) -> list[FieldError]:
    if not value:
        return [required(path)]
    host, slash, rest = value.partition("/")
    if not slash or not host or not rest:
        return [invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = [invalid(path, host, m) for m in names.dns_subdomain(host)]
    pattern = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
    if not re.fullmatch(pattern, rest):
        errors.append(invalid(path, rest, f"Invalid path (regex used for validation is '{pattern}')"))
    return errors


def _completion_mode(spec: Object, path: str) -> list[FieldError]:
    mode = spec.get("completionMode")
    if mode is None:
        return []
    if mode not in ("NonIndexed", "Indexed"):
        return [not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))]
    if mode == "NonIndexed":
        return []
    errors: list[FieldError] = []
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    if completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    detail = f"must be less than or equal to {_INDEXED_LIMIT} when completion mode is Indexed"
    if parallelism is not None and parallelism > _INDEXED_LIMIT:
        errors.append(invalid(f"{path}.parallelism", parallelism, detail))
    if completions is not None and spec.get("maxFailedIndexes") is not None:
        most = spec["maxFailedIndexes"]
        if most > completions:
            detail = "must be less than or equal to completions"
            errors.append(invalid(f"{path}.maxFailedIndexes", most, detail))
    return errors


def _pod_failure_policy(spec: Object, policy: Object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    rules = policy.get("rules") or []
    if len(rules) > 20:
        errors.append(too_many(f"{path}.rules", len(rules), 20))
    template = spec["template"].get("spec", {})
    containers = [*(template.get("containers") or ()), *(template.get("initContainers") or ())]
    known = {container.get("name", "") for container in containers}
    for position, rule in enumerate(rules):
        errors += _failure_rule(spec, rule, index(f"{path}.rules", position), known)
    return errors


def _failure_rule(spec: Object, rule: Object, path: str, known: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    action = rule.get("action", "")
    if not action:
        errors.append(required(f"{path}.action", 'valid values: "Count", "FailIndex", "FailJob", "Ignore"'))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            errors.append(invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    elif action not in _ACTIONS:
        errors.append(not_supported(f"{path}.action", action, _ACTIONS))
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        errors += _exit_codes(codes, f"{path}.onExitCodes", known)
    for position, condition in enumerate(conditions):
        where = index(f"{path}.onPodConditions", position)
        kind = condition.get("type", "")
        errors += [invalid(f"{where}.type", kind, m) for m in names.label_key(kind)]
        status = condition.get("status", "")
        if not status:
            errors.append(required(f"{where}.status", 'valid values: "False", "True", "Unknown"'))
        elif status not in ("False", "True", "Unknown"):
            errors.append(not_supported(f"{where}.status", status, ("False", "True", "Unknown")))
    if codes is not None and conditions:
        errors.append(
            invalid(path, "<excluded>", "specifying both OnExitCodes and OnPodConditions is not supported")
        )
    if codes is None and not conditions:
        errors.append(
            invalid(path, "<excluded>", "specifying one of OnExitCodes and OnPodConditions is required")
        )
    return errors


def _exit_codes(codes: Object, path: str, known: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        errors.append(required(f"{path}.operator", 'valid values: "In", "NotIn"'))
    elif operator not in ("In", "NotIn"):
        errors.append(not_supported(f"{path}.operator", operator, ("In", "NotIn")))
    name = codes.get("containerName")
    if name is not None and name not in known:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(f"{path}.containerName", name, detail))
    where = f"{path}.values"
    if not values:
        errors.append(invalid(where, values, "at least one value is required"))
    elif len(values) > 255:
        errors.append(too_many(where, len(values), 255))
    seen: set[int] = set()
    for position, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(invalid(index(where, position), value, "must not be 0 for the In operator"))
        if value in seen:
            errors.append(duplicate(index(where, position), value))
        elif position and value < values[position - 1]:
            errors.append(invalid(where, values, "must be ordered"))
        seen.add(value)
    return errors


def _success_policy(spec: Object, policy: Object, path: str) -> list[FieldError]:
    rules = policy.get("rules") or []
    if not rules:
        return [
            required(
                f"{path}.rules", "at least one rules must be specified when the successPolicy is specified"
            )
        ]
    if len(rules) > 20:
        return [too_many(f"{path}.rules", len(rules), 20)]
    errors: list[FieldError] = []
    completions = spec.get("completions") or 0
    for position, rule in enumerate(rules):
        where = index(f"{path}.rules", position)
        count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            detail = "at least one of succeededCount or succeededIndexes must be specified"
            errors.append(required(where, detail))
        if count is not None:
            errors += nonnegative(f"{where}.succeededCount", count)
            if count > completions:
                detail = f"must be less than or equal to {completions} (the number of specified completions)"
                errors.append(invalid(f"{where}.succeededCount", count, detail))
    return errors


def _pod_replacement_policy(spec: Object, path: str) -> list[FieldError]:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return []
    where = f"{path}.podReplacementPolicy"
    if spec.get("podFailurePolicy") is not None:
        return [] if policy == "Failed" else [not_supported(where, policy, ("Failed",))]
    known = ("Failed", "TerminatingOrFailed")
    return [] if policy in known else [not_supported(where, policy, known)]


def job_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    spec, before = new["spec"], old["spec"]
    errors += _spec_with_selector(spec, "spec")
    errors += _completions_update(spec, before)
    if spec.get("selector") != before.get("selector"):
        chosen = spec.get("selector")
        errors.append(invalid("spec.selector", chosen and selector.shown(chosen), IMMUTABLE))
    if _template_changed(new, old):
        errors.append(invalid("spec.template", gotypes.pod_template(spec["template"]), IMMUTABLE))
    fixed = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
    for name in fixed:
        errors += immutable(f"spec.{name}", spec.get(name), before.get(name))
    return errors


def _completions_update(spec: Object, before: Object) -> list[FieldError]:
    path = "spec.completions"
    if spec.get("completionMode") != "Indexed":
        return immutable(path, spec.get("completions"), before.get("completions"))
    completions = spec.get("completions")
    if completions in (None, before.get("completions")) or completions == spec.get("parallelism"):
        return []
    return [invalid(path, completions, "can only be modified in tandem with spec.parallelism")]


def _template_changed(new: Object, old: Object) -> bool:
    template, before = new["spec"]["template"], old["spec"]["template"]
    if template == before:
        return False
    if not old["spec"].get("suspend") or old.get("status", {}).get("startTime"):
        return True
    allowed = {"spec": dict(before.get("spec", {})), "metadata": template.get("metadata", {})}
    for name in _SCHEDULING:
        allowed["spec"].pop(name, None)
        if name in template.get("spec", {}):
            allowed["spec"][name] = template["spec"][name]
    return bool(template != {**before, **allowed})


def job_status(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    for name in ("active", "succeeded", "failed", "ready", "terminating"):
        errors += nonnegative(f"status.{name}", new.get("status", {}).get(name))
    return errors


def cron_job(obj: Object) -> list[FieldError]:
    errors = metadata.validate(obj["metadata"], True) + _cron_spec(obj["spec"], None)
    name = obj["metadata"].get("name", "")
    if len(name) > _CRON_JOB_NAME_LIMIT:
        detail = f"must be no more than {_CRON_JOB_NAME_LIMIT} characters"
        errors.append(invalid("metadata.name", name, detail))
    return errors


def cron_job_update(new: Object, old: Object) -> list[FieldError]:
    errors = metadata.validate_update(new["metadata"], old["metadata"])
    # The length of the name is not checked again: it cannot change.
    return errors + _cron_spec(new["spec"], old["spec"])


def cron_job_status(new: Object, old: Object) -> list[FieldError]:
    return metadata.validate_update(new["metadata"], old["metadata"])


def _cron_spec(spec: Object, before: Object | None) -> list[FieldError]:
    errors: list[FieldError] = []
    if not spec.get("schedule"):
        errors.append(required("spec.schedule"))
    else:
        keeps_zone = before is not None and "TZ" in before.get("schedule", "")
        errors += _schedule(spec["schedule"], keeps_zone, spec.get("timeZone"))
    errors += nonnegative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    if before is None or spec.get("timeZone") != before.get("timeZone"):
        errors += _time_zone(spec.get("timeZone"))
    policy = spec.get("concurrencyPolicy", "")
    known = ("Allow", "Forbid", "Replace")
    if not policy:
        errors.append(required("spec.concurrencyPolicy"))
    elif policy not in known:
        errors.append(not_supported("spec.concurrencyPolicy", policy, known))
    errors += _job_template(spec["jobTemplate"], "spec.jobTemplate")
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += nonnegative(f"spec.{name}", spec.get(name))
    return errors


def _schedule(text: str, keeps_zone: bool, time_zone: str | None) -> list[FieldError]:
    path = "spec.schedule"
    errors: list[FieldError] = []
    plain = re.sub(r"^(CRON_)?TZ=\S+\s+", "", text)
    try:
        schedule.parse(plain.strip())
    except ValueError as e:
        errors.append(invalid(path, text, str(e)))
    if "TZ" in text:
        if not keeps_zone:
            detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            errors.append(invalid(path, text, detail))
        elif time_zone is not None:
            detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            errors.append(invalid(path, text, detail))
    return errors


def _time_zone(name: str | None) -> list[FieldError]:
    path = "spec.timeZone"
    if name is None:
        return []
    if not name:
        return [invalid(path, name, "timeZone must be nil or non-empty string")]
    if not all(_ZONE_PART.fullmatch(part) for part in name.split("/")):
        return [invalid(path, name, f"unknown time zone {name}")]
    if name.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid(path, name, detail)]
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid(path, name, f"unknown time zone {name}")]
    return []


def _job_template(template: Object, path: str) -> list[FieldError]:
    spec = template["spec"]
    errors = _spec(spec, f"{path}.spec")
    if spec.get("selector") is not None:
        errors.append(invalid(f"{path}.spec.selector", spec["selector"], "`selector` will be auto-generated"))
    if spec.get("manualSelector"):
        errors.append(not_supported(f"{path}.spec.manualSelector", True, ("nil", "false")))
    return errors
