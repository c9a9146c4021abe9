"""The objects of one submission: a Job or CronJob, a Secret with its environment, ConfigMaps with its code.

Pure: a checked submission, whom it is for and the settings in, Kubernetes' JSON out. The order of what is
done to a job is kbatch-proxy's: the operator's template, labels, time to live, environment, code, Secret.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import msgspec

from hubfleet.batch import wire
from hubfleet.batch.code import UNPACKERS, Code
from hubfleet.batch.submission import PROFILE_LABEL, SUFFIX_LENGTH, Kind, Submission, pod_template
from hubfleet.batch.wire import Problems
from hubfleet.settings import BatchSettings
from hubfleet.tenancy.policy.fill import fill_job
from hubfleet.tenancy.policy.placement import REQUIRED, terms
from hubfleet.tenancy.policy.policies import DEFAULT
from hubfleet.tenancy.policy.rules import Policy

USERNAME = "kbatch.jupyter.org/username"  # label and annotation of kbatch; what our informers select by
OURS = "hubfleet.dev/"
HUB_LABEL = OURS + "hub"
USER_LABEL = OURS + "user"
WORKLOAD_LABEL = OURS + "workload"
SUBMISSION_LABEL = OURS + "submission"  # the same on a Job and its parts, different for every submission
EXPIRES_LABEL = OURS + "expires"  # on a part without an owner yet: the Unix time when it may be collected
OWNER_ANNOTATION = OURS + "owner"  # on a part: `Job/NAME` or `CronJob/NAME`, which will own it
TOKEN_ANNOTATION = OURS + "token"  # on a CronJob: the id of the token that was issued for it, or why none was
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

UNPACK_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"cpu": "1", "memory": "256Mi"},
}
"""Asked for so that a namespace with a quota lets the pod in; they run before the job, not beside it."""

UNPACK_USER = 1000
"""Who unpacks where the job does not say who it runs as: any user but root, and that of Jupyter's images."""

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # the API server's own: no vowels, no words
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


class Requester(msgspec.Struct, frozen=True):
    """Whom a submission is for. `token` is theirs: the job acts as them; it is not in the repr.

    `token_mark` is what a CronJob says of its token (`crontokens`).
    """

    username: str
    label: str  # the username as a label's value
    namespace: str
    hub: str
    token: str
    token_mark: str = ""

    def __repr__(self) -> str:
        return f"Requester({self.username!r}, namespace={self.namespace!r})"


class Plan(msgspec.Struct, frozen=True):
    """What to create: the parts first, then `owner`."""

    kind: Kind
    name: str
    submission: str
    namespace: str
    owner: dict[str, Any]
    secret: dict[str, Any]
    config_maps: tuple[dict[str, Any], ...]


class OwnerMetadata(TypedDict):
    name: str
    uid: str


class Owner(TypedDict):
    """What its parts must know of a Job or CronJob."""

    kind: str
    metadata: OwnerMetadata


def generated_name(generate_name: str, entropy: int, limit: int) -> str:
    """`generate_name`, cut as the API server cuts it, and letters made of the random number `entropy`."""
    suffix = ""
    for _ in range(SUFFIX_LENGTH):
        entropy, index = divmod(entropy, len(_SUFFIX_LETTERS))
        suffix += _SUFFIX_LETTERS[index]
    return generate_name[: limit - SUFFIX_LENGTH] + suffix


def parse_template(template: dict[str, Any]) -> dict[str, Any]:
    """The operator's job template as Kubernetes' JSON. Raises ValueError with the path of what is wrong.

    Whatever kind it says, it is a Job's: of a CronJob it shapes the jobs.
    """
    problems = Problems()
    body = {k: v for k, v in template.items() if k not in ("kind", "apiVersion", "api_version", "status")}
    parsed = wire.parse("V1Job", body, ("job_template",), problems)
    if problems:
        raise ValueError("; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems))
    metadata = parsed.get("metadata", {})
    parsed["metadata"] = {key: metadata[key] for key in ("labels", "annotations") if key in metadata}
    return parsed


def merge(user: Any, template: Any) -> Any:
    """The template over the user's: of two objects the template's values win, two lists are joined."""
    if isinstance(user, dict) and isinstance(template, dict):
        return user | {k: merge(user[k], v) if k in user else v for k, v in template.items()}
    if isinstance(user, list) and isinstance(template, list):
        return user + template
    return template


def plan(
    submission: Submission,
    requester: Requester,
    settings: BatchSettings,
    template: dict[str, Any],
    *,
    name: str,
    submission_id: str,
    expires: int,
    policy: Policy = DEFAULT,
) -> Plan:
    """All objects of a submission. `name` is the Job's; `expires` is the Unix time of abandoned parts.

    The `policy` has let the submission through; what it fills in is filled in last, over all that is ours and
    the operator's.
    """
    owner = _copy(submission.job)
    for metadata in _metadatas(owner, submission.kind):
        _drop_ours(metadata)
    # A copy of the template, too: what is merged from it is changed below, and it is for all submissions.
    owner = _with_template(owner, _copy(template), submission.kind)
    job = owner["spec"]["jobTemplate"] if submission.kind == "CronJob" else owner
    pod = pod_template(job)["spec"]
    labels = _labels(submission, requester, settings)
    annotations = {USERNAME: requester.username}
    if submission.profile:
        annotations[PROFILE_LABEL] = submission.profile
    for metadata in _metadatas(owner, submission.kind):
        metadata["labels"] = metadata.get("labels", {}) | labels
        metadata["annotations"] = metadata.get("annotations", {}) | annotations
        metadata.pop("namespace", None)
    job["spec"]["ttlSecondsAfterFinished"] = settings.job_ttl_seconds
    if settings.queue_name:
        job["metadata"]["labels"][QUEUE_LABEL] = settings.queue_name
        job["spec"]["suspend"] = True
    owner["metadata"] |= {"name": name, "namespace": requester.namespace}
    owner["metadata"].pop("generateName", None)
    owner["metadata"]["labels"][SUBMISSION_LABEL] = submission_id
    if requester.token_mark:
        owner["metadata"]["annotations"][TOKEN_ANNOTATION] = requester.token_mark

    # A job that was given its name by the user may have had a namesake, whose parts are still being deleted.
    parts = name if submission.generate_name else f"{name}-{submission_id[:SUFFIX_LENGTH]}"
    metadata = {
        "namespace": requester.namespace,
        "labels": labels | {SUBMISSION_LABEL: submission_id, EXPIRES_LABEL: str(expires)},
        "annotations": {USERNAME: requester.username, OWNER_ANNOTATION: f"{submission.kind}/{name}"},
    }
    _add_environment(pod["containers"][0], settings.extra_env, requester.token)
    fill_job(job, policy)  # what unpacks the code runs as the user that the job gets
    config_maps: tuple[dict[str, Any], ...] = ()
    if submission.code is not None:
        config_maps = tuple(_config_maps(submission.code, parts, metadata))
        _add_code(pod, submission.code, [c["metadata"]["name"] for c in config_maps], settings.unpack_image)
        fill_job(job, policy)
    secret = _secret(pod, parts, metadata)
    owner |= {"apiVersion": "batch/v1", "kind": submission.kind}
    return Plan(submission.kind, name, submission_id, requester.namespace, owner, secret, config_maps)


def owned_by(owner: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that gives a part to its Job or CronJob, as created, and takes its expiry away."""
    metadata = owner["metadata"]
    reference = {
        "apiVersion": "batch/v1",
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {"metadata": {"labels": {EXPIRES_LABEL: None}, "ownerReferences": [reference]}}


def _copy(obj: dict[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(obj))  # eight times faster than deepcopy
    return copied


def _metadatas(owner: dict[str, Any], kind: Kind) -> Iterator[dict[str, Any]]:
    yield owner["metadata"]
    job = owner
    if kind == "CronJob":
        job = owner["spec"]["jobTemplate"]
        yield job["metadata"]
    yield pod_template(job)["metadata"]


def _drop_ours(metadata: dict[str, Any]) -> None:
    for key in ("labels", "annotations"):
        if values := metadata.get(key):
            metadata[key] = {k: v for k, v in values.items() if not k.startswith(OURS)}


def _with_template(owner: dict[str, Any], template: dict[str, Any], kind: Kind) -> dict[str, Any]:
    job = owner if kind == "Job" else owner["spec"]["jobTemplate"]
    nodes = _both(terms(_node_affinity(job)), terms(_node_affinity(template)))
    merged: dict[str, Any] = merge(job, template)
    if nodes:
        _node_affinity(merged)[REQUIRED]["nodeSelectorTerms"] = nodes
    if kind == "Job":
        return merged
    spec = owner["spec"] | {"jobTemplate": merged}
    return owner | {"spec": spec, "metadata": merge(owner["metadata"], template.get("metadata", {}))}


def _node_affinity(job: dict[str, Any]) -> dict[str, Any]:
    spec = job.get("spec", {}).get("template", {}).get("spec", {})
    found: dict[str, Any] = spec.get("affinity", {}).get("nodeAffinity", {})
    return found


def _both(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The terms of nodes that both ask for. Joined as other lists are, they would be alternatives, and a job
    would choose its way past the operator's."""
    return [
        {key: mine.get(key, []) + other.get(key, []) for key in mine.keys() | other.keys()}
        for mine in ours
        for other in theirs
    ]


def _labels(submission: Submission, requester: Requester, settings: BatchSettings) -> dict[str, str]:
    labels = settings.labels | {
        USERNAME: requester.label,
        HUB_LABEL: requester.hub,
        USER_LABEL: requester.label,
        WORKLOAD_LABEL: submission.kind.lower(),
    }
    return labels | {PROFILE_LABEL: profile_label(submission.profile)} if submission.profile else labels


def profile_label(name: str) -> str:
    """A profile's name as a label's value: itself where it can be one, else what is left of it and its hash.

    kbatch's profiles have any name ("GPU large"); the whole one is in the annotation of the same key.
    """
    if _LABEL_VALUE.fullmatch(name):
        return name
    stem = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-") or "x"
    return f"{stem}--{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def _add_environment(container: dict[str, Any], extra: dict[str, str], token: str) -> None:
    """The operator's and the Hub's variables, after the user's own, of which a namesake gives way to ours."""
    image = container["image"]
    ours = extra | {
        "JUPYTER_IMAGE": image,
        "JUPYTER_IMAGE_SPEC": image,
        "JUPYTERHUB_API_TOKEN": token,
    }
    theirs = [variable for variable in container.get("env", []) if variable.get("name") not in ours]
    container["env"] = theirs + [{"name": name, "value": value} for name, value in ours.items()]


def _secret(pod: dict[str, Any], name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Move every plain value of every container's environment into one Secret, in place; the Secret.

    Keys name the container as well, so that two containers can give one name two values. Kubernetes takes
    names of variables that are no keys: those get their position.
    """
    data: dict[str, str] = {}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        for position, variable in enumerate(container.get("env", [])):
            if "value" not in variable:
                continue
            key = f"{container.get('name', '')}.{variable.get('name', '')}"
            if key in data or not _SECRET_KEY.fullmatch(key):
                key = f"{len(data)}-{position}"
            data[key] = base64.b64encode(variable.pop("value").encode()).decode("ascii")
            variable["valueFrom"] = {"secretKeyRef": {"name": name, "key": key}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata | {"name": name},
        "type": "Opaque",
        "data": data,
    }


def _config_maps(code: Code, name: str, metadata: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The zip file in parts, each in a ConfigMap of its own; the first one also holds what unpacks it."""
    for i, part in enumerate(code.parts()):
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata | {"name": f"{name}-code-{i}"},
            "binaryData": {"code": part},
            **({"data": UNPACKERS} if i == 0 else {}),
        }


def _add_code(pod: dict[str, Any], code: Code, config_maps: list[str], unpack_image: str) -> None:
    first = pod["containers"][0]
    sources = [
        {
            "configMap": {
                "name": config_map,
                # Four digits: the shell joins the parts in the order of their names.
                "items": [{"key": "code", "path": f"part-{i:04d}"}]
                + [{"key": key, "path": key} for key in UNPACKERS if i == 0],
            }
        }
        for i, config_map in enumerate(config_maps)
    ]
    unpack = {
        "name": "unpack-code",
        "image": unpack_image or first["image"],
        "command": ["/bin/sh", "/code-parts/unpack.sh", code.sha256],
        "resources": _copy(UNPACK_RESOURCES),
        "securityContext": _security_context(pod, first),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "code-source-volume", "mountPath": "/code-parts", "readOnly": True},
            {"name": "code-volume", "mountPath": "/code"},
        ],
    }
    if not unpack_image and "imagePullPolicy" in first:
        unpack["imagePullPolicy"] = first["imagePullPolicy"]
    pod["initContainers"] = [unpack, *pod.get("initContainers", [])]
    pod["volumes"] = [
        *pod.get("volumes", []),
        {"name": "code-source-volume", "projected": {"sources": sources}},
        {"name": "code-volume", "emptyDir": {}},
    ]
    first["volumeMounts"] = [*first.get("volumeMounts", []), {"name": "code-volume", "mountPath": "/code"}]


def _security_context(pod: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """What the pod security standard "restricted" asks for; as the user that the job runs as, if not root."""
    users = [each.get("securityContext", {}).get("runAsUser") for each in (first, pod)]
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": next((user for user in users if user), UNPACK_USER),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
