"""What a DELETE does to an object: pure decisions, in the order the real API server's registry takes them.

An object goes at once, unless it is given time (pods bound to a node), finalizers hold it, or the propagation
policy adds one that makes the garbage collector hold it.
"""

import copy
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, cast

import msgspec

from localkube.apiserver import priority, status
from localkube.apiserver.crd import naming
from localkube.apiserver.status import FieldError

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"

Propagation = Literal["Background", "Foreground", "Orphan"]

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"

RETURNS_OBJECT = frozenset({"pods", "serviceaccounts", "services"})
"""Kinds whose deletion answers with the object itself instead of a Status (`ReturnDeletedObject`)."""

_ORPHANS_BY_DEFAULT = frozenset({"jobs.batch"})
_NO_GARBAGE = frozenset({"events"})
_PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})

JOB_ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove "
    "them or set propagationPolicy=Orphan to suppress this warning"
)


class Options(NamedTuple):
    """DeleteOptions; `grace` is in seconds, None is the object's own."""

    propagation: Propagation | None = None
    grace: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


class Plan(NamedTuple):
    """`update` is the object as it is stored (marked as being deleted), None when it stays as it is.

    `remove` says that it goes away now (after the update, if there is one).
    """

    update: dict[str, Any] | None
    remove: bool


def check_preconditions(kind: str, group: str, obj: dict[str, Any], options: Options) -> None:
    """Raise 409 when the object is not the one that the caller meant."""
    metadata = obj["metadata"]
    key = f"{kind}.{group}" if group else kind
    if options.uid is not None and options.uid != metadata["uid"]:
        raise status.conflict(
            key,
            metadata["name"],
            f"the UID in the precondition ({options.uid}) does not match the UID in record "
            f"({metadata['uid']}). The object might have been deleted and then recreated",
        )
    if options.resource_version is not None and options.resource_version != metadata["resourceVersion"]:
        raise status.conflict(
            key,
            metadata["name"],
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({metadata['resourceVersion']}). The object might have been modified",
        )


def plan(key: str, obj: dict[str, Any], options: Options, now: datetime) -> Plan:
    """Decide about a DELETE of `obj` (of the resource `key`), which is not changed."""
    if key == "namespaces":
        return _plan_namespace(obj, now)
    if key == DEFINITIONS and obj["metadata"].get("deletionTimestamp") is None:
        return _plan_definition(obj, options, now)
    if key == priority.CLASSES and obj["metadata"]["name"].startswith(priority.SYSTEM_PREFIX):
        name = obj["metadata"]["name"]
        raise status.forbidden(key, name, "this is a system priority class and cannot be deleted")
    grace: int | None = None
    if key == "pods":
        grace = _pod_grace(obj, options)
        held = obj["metadata"].get("deletionGracePeriodSeconds")
        if obj["metadata"].get("deletionTimestamp") is not None and held is not None:
            # a deletion that runs can only be shortened
            if options.grace is None or grace >= held:
                return Plan(None, False)
            return _graceful(key, obj, options, now, grace)
        if obj["metadata"].get("deletionTimestamp") is None:
            return _graceful(key, obj, options, now, grace)
    finalizers = _finalizers(key, obj, options)
    if not finalizers:
        return Plan(None, True)
    marked = _mark(obj, finalizers, now, 0)
    return Plan(marked if marked != obj else None, False)


def finished(key: str, obj: dict[str, Any]) -> bool:
    """Whether an update took away the last thing that held a deletion."""
    metadata = obj["metadata"]
    if metadata.get("deletionTimestamp") is None or metadata.get("finalizers"):
        return False
    if key == "namespaces" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def orphans_silently(key: str, options: Options) -> bool:
    """Whether this deletion leaves dependents behind that the caller may have expected to go too."""
    return key in _ORPHANS_BY_DEFAULT and options.propagation is None


class _Preconditions(msgspec.Struct):
    uid: str | None = None
    resourceVersion: str | None = None


class _DeleteOptions(msgspec.Struct):
    kind: str | None = None
    propagationPolicy: str | None = None
    orphanDependents: bool | None = None
    gracePeriodSeconds: int | None = None
    dryRun: list[str] | None = None
    preconditions: _Preconditions | None = None


def parse_options(body: dict[str, Any]) -> Options:
    """DeleteOptions as they are sent in a body. Raises StatusError 400 or 422."""
    try:
        given = msgspec.convert(body, _DeleteOptions)
    except msgspec.ValidationError as error:
        raise status.bad_request(f"the object provided is no DeleteOptions: {error}") from None
    if given.kind not in (None, "", "DeleteOptions"):
        raise status.bad_request(f"decoded object cannot be converted to DeleteOptions: it is a {given.kind}")
    propagation = given.propagationPolicy
    problems: list[FieldError] = []
    if propagation is not None and given.orphanDependents is not None:
        problems.append(
            FieldError(
                "FieldValueInvalid",
                "propagationPolicy",
                f'Invalid value: "{propagation}": orphanDependents and deletionPropagation '
                "cannot be both set",
            )
        )
    elif propagation not in (None, "Background", "Foreground", "Orphan"):
        offers = '"Foreground", "Background", "Orphan", "nil"'
        problems.append(
            FieldError(
                "FieldValueNotSupported",
                "propagationPolicy",
                f'Unsupported value: "{propagation}": supported values: {offers}',
            )
        )
    dry_run = given.dryRun or []
    if any(value != "All" for value in dry_run):
        quoted = ",".join(f'"{value}"' for value in dry_run)
        problems.append(
            FieldError(
                "FieldValueNotSupported",
                "dryRun",
                f'Unsupported value: [{quoted}]: supported values: "All"',
            )
        )
    if problems:
        raise status.invalid("DeleteOptions", "meta.k8s.io", "", problems)
    if given.orphanDependents is not None:
        propagation = "Orphan" if given.orphanDependents else "Background"
    preconditions = given.preconditions or _Preconditions()
    return Options(
        cast(Propagation | None, propagation),
        given.gracePeriodSeconds,
        preconditions.uid,
        preconditions.resourceVersion,
        bool(dry_run),
    )


def _pod_grace(pod: dict[str, Any], options: Options) -> int:
    spec = pod.get("spec") or {}
    grace = options.grace if options.grace is not None else spec.get("terminationGracePeriodSeconds", 0)
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return 0
    return 1 if grace < 0 else int(grace)


def _graceful(key: str, obj: dict[str, Any], options: Options, now: datetime, grace: int) -> Plan:
    finalizers = _finalizers(key, obj, options)
    held = obj["metadata"].get("deletionGracePeriodSeconds")
    marked = _mark(obj, finalizers, now, grace)
    if obj["metadata"].get("deletionTimestamp") is not None and held is not None:
        asked = _parse(obj["metadata"]["deletionTimestamp"]) - timedelta(seconds=held)
        marked["metadata"]["deletionTimestamp"] = timestamp(asked + timedelta(seconds=grace))
    return Plan(marked, grace == 0 and not finalizers)


def _plan_namespace(namespace: dict[str, Any], now: datetime) -> Plan:
    metadata = namespace["metadata"]
    if metadata["name"] in _PROTECTED_NAMESPACES:
        raise status.forbidden("namespaces", metadata["name"], "this namespace may not be deleted")
    if metadata.get("deletionTimestamp") is None:
        marked = copy.deepcopy(namespace)
        marked["metadata"]["deletionTimestamp"] = timestamp(now)
        marked.setdefault("status", {})["phase"] = "Terminating"
        return Plan(marked, finished("namespaces", marked))
    return Plan(None, finished("namespaces", namespace))


def _plan_definition(definition: dict[str, Any], options: Options, now: datetime) -> Plan:
    """A definition stays until its objects are gone, and says so."""
    finalizers = _finalizers(DEFINITIONS, definition, options)
    if naming.CLEANUP not in finalizers:
        finalizers = [*finalizers, naming.CLEANUP]
    marked = _mark(definition, finalizers, now, 0)
    del marked["metadata"]["deletionGracePeriodSeconds"]
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    marked["status"] = naming.with_condition(
        marked["status"], timestamp(now), "Terminating", "True", "InstanceDeletionPending", message
    )
    return Plan(marked, False)


def _finalizers(key: str, obj: dict[str, Any], options: Options) -> list[str]:
    """The finalizers after the propagation policy added or removed its own."""
    before: list[str] = obj["metadata"].get("finalizers") or []
    if key in _NO_GARBAGE:
        return before
    kept = [f for f in before if f not in (ORPHAN, FOREGROUND)]
    propagation = options.propagation
    if propagation is None:
        if ORPHAN in before:
            propagation = "Orphan"
        elif FOREGROUND in before:
            propagation = "Foreground"
        elif key in _ORPHANS_BY_DEFAULT:
            propagation = "Orphan"
    if propagation == "Orphan":
        return [*kept, ORPHAN]
    if propagation == "Foreground":
        return [*kept, FOREGROUND]
    return kept


def _mark(obj: dict[str, Any], finalizers: list[str], now: datetime, grace: int) -> dict[str, Any]:
    marked = copy.deepcopy(obj)
    metadata = marked["metadata"]
    if metadata.get("deletionTimestamp") is None:
        metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
        if metadata.get("generation"):
            metadata["generation"] += 1
    metadata["deletionGracePeriodSeconds"] = grace
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    return marked


def timestamp(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as metav1.Time is written."""
    return f"{moment.isoformat(timespec='seconds')[:19]}Z"


def _parse(text: str) -> datetime:
    return datetime.fromisoformat(text)
