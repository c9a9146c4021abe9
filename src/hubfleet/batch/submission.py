"""What a user submits: the body of a POST, decoded and checked, before anything else happens with it.

What is wrong (a hundred things of it, at most) is told at once, with the user's own spelling of the path.
What only the API server knows (quantities, label syntax, schedules, ...) is left to it: its own message
reaches the user, and nothing of the submission stays.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from hubfleet.batch import code, wire
from hubfleet.batch.code import Code
from hubfleet.batch.wire import Path, Problems, problem
from hubfleet.errors import UserError
from hubfleet.settings import BatchSettings

Kind = Literal["Job", "CronJob"]

NAME_LIMITS: dict[str, int] = {"Job": 63, "CronJob": 52}
"""Characters: a Job's name becomes a label of its pods; a CronJob's gets 11 more for the time of each run."""

SUFFIX_LENGTH = 5
"""Characters that a generated name ends with, as the API server does it."""

MAX_VALUES = 50_000
"""Of a body: objects, lists, texts and numbers; a client's usual job has a few hundred. Bytes are no measure:
32 MiB of `[],[],` take seconds to decode, in one call that lets nobody else go on."""

HEAVY_BYTES = 256 * 1024
HEAVY_VALUES = 2000

PIECE = 2**20
"""Bytes that are looked at in one call: a fraction of a millisecond, for other threads wait that long."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_GENERATE_NAME = re.compile(r"[a-z0-9][-a-z0-9.]*")
_CLIENTS_METADATA = ("name", "generateName", "namespace", "labels", "annotations")


Review = Callable[[dict[str, Any], Kind, str, Problems], None]
"""`review(job, kind, profile, problems)` tells what else is wrong with a job, and may fill in what is not.

The job is well-formed, but where there are problems already, what they are about is missing from it.
"""


class Submission(msgspec.Struct, frozen=True):
    """A checked request: `job` is Kubernetes' JSON of a Job or CronJob, without what only servers may set.

    Exactly one of `name` and `generate_name` is not "". `profile` is the name of a profile, or "".
    """

    kind: Kind
    job: dict[str, Any]
    name: str
    generate_name: str
    code: Code | None
    profile: str


def decode(
    body: bytes | bytearray, kind: Kind, settings: BatchSettings, review: Review | None = None
) -> Submission:
    """Raises UserError: 400 for what is not JSON, 413 over a limit, 422 with every problem for all else."""
    if len(body) > settings.body_limit:
        raise UserError(413, f"the request is larger than the limit of {settings.body_limit} bytes")
    if values(body) > MAX_VALUES:
        raise UserError(413, f"the body has more than {MAX_VALUES} values")
    try:
        return _decode(msgspec.json.decode(body), len(body), kind, settings, review)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise UserError(400, f"the body is not JSON: {e}") from None
    except RecursionError:
        raise UserError(400, "the body is nested too deeply") from None


def is_heavy(body: bytes | bytearray) -> bool:
    """Whether it takes milliseconds to decode and check: that is for a thread, so nobody waits for it."""
    return len(body) > HEAVY_BYTES or values(body) > HEAVY_VALUES


def values(body: bytes | bytearray) -> int:
    """How many values are in a JSON text, at most; one beyond MAX_VALUES is as good as any other.

    Every value but the outermost one follows a comma or the beginning of a list or an object (and some commas
    are part of a text).
    """
    found = 1
    for start in range(0, len(body), PIECE):
        found += sum(body.count(each, start, start + PIECE) for each in (b",", b"[", b"{"))
        if found > MAX_VALUES:
            break
    return found


def pod_template(job: dict[str, Any]) -> dict[str, Any]:
    """The pod template of a Job or of a CronJob's jobTemplate; it must have one."""
    template: dict[str, Any] = job["spec"]["template"]
    return template


def _decode(body: Any, size: int, kind: Kind, settings: BatchSettings, review: Review | None) -> Submission:
    problems = Problems()
    root: Path = ("body",)
    if not isinstance(body, dict):
        raise UserError(422, [problem(root, 'must be an object with the key "job"')])
    for key in body.keys() - {"job", "code"}:
        problems.add((*root, key), f"unknown field {key[:100]!r}")
    if body.get("job") is None:
        problems.add((*root, "job"), "is required")
        raise UserError(422, problems)
    job = _job(body["job"], kind, (*root, "job"), problems)
    archive = _code_text(body.get("code"), (*root, "code"), problems)
    if size - len(archive or "") > settings.job_limit:
        raise UserError(
            413, f"the {kind} without its code is larger than {settings.job_limit} bytes (batch.job_limit)"
        )
    name, generate_name = _names(job["metadata"], kind, (*root, "job", "metadata"), problems)
    profile = _profile(job, kind, (*root, "job"), problems)
    if review is not None:
        review(job, kind, profile, problems)
    if problems:
        raise UserError(422, problems)
    checked = None
    if archive is not None:
        path = (*root, "code", "binary_data", "code")
        limits = {"limit": settings.code_limit, "unpacked_limit": settings.code_unpacked_limit}
        checked = code.decode(archive, path, **limits)
    return Submission(kind, job, name, generate_name, checked, profile)


def _job(body: Any, kind: Kind, path: Path, problems: Problems) -> dict[str, Any]:
    """The object with metadata, spec and a pod template with a container; problems where it has not."""
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if key != "status"}
    job = wire.parse(f"V1{kind}", body, path, problems)
    for key, expected in (("kind", kind), ("apiVersion", "batch/v1")):
        if job.get(key, expected) != expected:
            problems.add((*path, key), f"must be {expected!r}, not {str(job[key])[:100]!r}")
    inner, inner_path = job, path
    job["metadata"] = _metadata(job.get("metadata", {}), (*path, "metadata"), problems)
    if kind == "CronJob":
        inner = job.setdefault("spec", {}).setdefault("jobTemplate", {})
        inner_path = (*path, "spec", "job_template")
        inner["metadata"] = _metadata(inner.get("metadata", {}), (*inner_path, "metadata"), problems)
    template = inner.setdefault("spec", {}).setdefault("template", {})
    template_path = (*inner_path, "spec", "template")
    template["metadata"] = _metadata(template.get("metadata", {}), (*template_path, "metadata"), problems)
    containers = template.setdefault("spec", {}).setdefault("containers", [])
    if not containers and not problems:
        problems.add((*template_path, "spec", "containers"), "at least one container is required")
    return job


def _metadata(metadata: dict[str, Any], path: Path, problems: Problems) -> dict[str, Any]:
    """What of an object's metadata is the client's to say.

    What servers write is dropped; what would tie the object to others is refused. The namespace is the
    user's in the end: another one is for the pod policy to refuse.
    """
    for key, spelled in (("finalizers", "finalizers"), ("ownerReferences", "owner_references")):
        if metadata.get(key):
            problems.add((*path, spelled), "may not be set")
    return {key: metadata[key] for key in _CLIENTS_METADATA if key in metadata}


def _names(metadata: dict[str, Any], kind: Kind, path: Path, problems: Problems) -> tuple[str, str]:
    """`(name, "")` or `("", generate_name)`; the API server prefers the name, and so do we."""
    limit = NAME_LIMITS[kind]
    rule = "lowercase letters, digits, '-' and '.', beginning"
    if name := metadata.get("name", ""):
        if len(name) > limit:
            problems.add((*path, "name"), f"{kind}s have names of at most {limit} characters")
        elif not _NAME.fullmatch(name) or ".." in name or ".-" in name or "-." in name:
            problems.add((*path, "name"), f"must be {rule} and ending with a letter or a digit")
        return name, ""
    generate_name = metadata.get("generateName", "")
    if not generate_name:
        problems.add((*path, "generate_name"), "a name or generate_name is required")
    elif len(generate_name) > limit:
        problems.add((*path, "generate_name"), f"{kind}s have names of at most {limit} characters")
    elif not _GENERATE_NAME.fullmatch(generate_name) or ".." in generate_name or ".-" in generate_name:
        problems.add((*path, "generate_name"), f"must be {rule} with a letter or a digit")
    elif "-." in generate_name:
        problems.add((*path, "generate_name"), "'-.' cannot be in a name")
    return "", generate_name


def _profile(job: dict[str, Any], kind: Kind, path: Path, problems: Problems) -> str:
    """The profile that the job names: label `hubfleet.dev/profile`, or the variable KBATCH_PROFILE.

    The label is for whoever writes the body; the variable is the one place where a user of the unmodified
    client can put a word that reaches us (`--env`, `env:` in the YAML file).
    """
    inner = job["spec"]["jobTemplate"] if kind == "CronJob" else job
    named = {job["metadata"].get("labels", {}).get(PROFILE_LABEL, "")}
    for container in pod_template(inner)["spec"]["containers"][:1]:
        named |= {e.get("value", "") for e in container.get("env", []) if e.get("name") == PROFILE_VARIABLE}
    named.discard("")
    if len(named) > 1:
        problems.add(path, f"names two profiles: {', '.join(sorted(named))[:200]}")
    return min(named, default="")


def _code_text(body: Any, path: Path, problems: Problems) -> str | None:
    """The base64 text of the ConfigMap that the clients send; None where no code is attached."""
    if body is None:
        return None
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if key != "metadata"}
    config_map = wire.parse("V1ConfigMap", body, path, problems)
    values = config_map.get("binaryData", {})
    for key in values.keys() - {"code"}:
        problems.add((*path, "binary_data", key), "only the key 'code' is read")
    if config_map.get("data"):
        problems.add((*path, "data"), "may not be set; the code is binary_data.code")
    if "code" not in values and not problems:
        problems.add((*path, "binary_data", "code"), "is required: base64 of a zip file")
    text: str | None = values.get("code")
    return text


PROFILE_LABEL = "hubfleet.dev/profile"
PROFILE_VARIABLE = "KBATCH_PROFILE"
