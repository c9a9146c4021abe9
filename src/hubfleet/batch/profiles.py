"""Profiles: named choices of image, resources, tolerations and nodes, offered and enforced by us.

kbatch's clients read the profiles and apply one themselves (0.5), or do not (0.4.2 ignores `-p`), and tell
the server nothing of it. Here a job can name its profile (see `submission`); what the profile says is then
filled in where the job says nothing, and a job that says something else is refused. Where the operator
requires a profile, a job that names none must be one that a client could have made from a profile.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from hubfleet.batch import wire
from hubfleet.batch.submission import Kind, pod_template
from hubfleet.batch.wire import Path, Problems, problem
from hubfleet.errors import UserError
from hubfleet.tenancy.policy.rules import Placement

_AROUND = {"nodeName": "node_name", "resources": "resources", "resourceClaims": "resource_claims"}
"""What of a pod's spec gets a job nodes or resources past any profile, with the clients' spelling."""


class Choice(msgspec.Struct, frozen=True):
    """What a profile says, as Kubernetes' JSON; None or () where it says nothing."""

    image: str | None = None
    resources: dict[str, dict[str, str]] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    node_affinity: dict[str, Any] | None = None  # a V1NodeSelector


class Profiles:
    """The operator's profiles. Raises ValueError, with the path, for one that is not a profile."""

    def __init__(self, offered: dict[str, dict[str, Any]], *, required: bool):
        self.offered = offered
        self.required = required
        self._choices = {name: _choice(name, profile) for name, profile in offered.items()}
        self.placements = tuple(
            Placement(name, choice.tolerations, _terms(choice)) for name, choice in self._choices.items()
        )

    def enforce(self, job: dict[str, Any], kind: Kind, named: str) -> None:
        """Fill in, in place, what the profile says. Raises UserError 422 for all that contradicts it."""
        root: Path = ("body", "job")
        if kind == "CronJob":
            job = job["spec"]["jobTemplate"]
            root = (*root, "spec", "job_template")
        spec = pod_template(job)["spec"]
        path: Path = (*root, "spec", "template", "spec")
        self._apply(spec, path, root, named)
        if not spec["containers"][0].get("image"):
            raise UserError(422, [problem((*path, "containers", 0, "image"), "is required")])

    def _apply(self, spec: dict[str, Any], path: Path, root: Path, named: str) -> None:
        if not named:
            if self.required:
                self._require_a_match(spec, path)
            return
        if named not in self._choices:
            offered = ", ".join(sorted(self._choices)) or "none"
            raise UserError(422, [problem(root, f"unknown profile {named[:100]!r}; there is: {offered}")])
        if problems := _differences(self._choices[named], spec, path, named):
            raise UserError(422, problems)
        _fill(self._choices[named], spec)

    def _require_a_match(self, spec: dict[str, Any], path: Path) -> None:
        for name, choice in self._choices.items():
            if not _differences(choice, spec, path, name) and not _missing(choice, spec):
                _fill(choice, spec)  # its init containers, which the clients leave as they are
                return
        offered = ", ".join(sorted(self._choices)) or "none"
        message = f"a profile is required, and this job is made from none of: {offered}"
        raise UserError(422, [problem(path, message)])


def _choice(name: str, profile: Any) -> Choice:
    path: Path = ("profiles", name)
    problems = Problems()
    if not isinstance(profile, dict):
        raise ValueError(f"profiles.{name}: must be an object")
    known = {"image", "resources", "tolerations", "node_affinity_required"}
    for key in profile.keys() - known - {"description"}:
        problems.add((*path, key), "unknown field")
    container = wire.parse(
        "V1Container", {k: profile[k] for k in ("image", "resources") if k in profile}, path, problems
    )
    spec = wire.parse("V1PodSpec", {k: profile[k] for k in ("tolerations",) if k in profile}, path, problems)
    # One term with all the expressions of the list, as the clients make it of the profile.
    term: dict[str, Any] = {}
    for i, item in enumerate(profile.get("node_affinity_required") or ()):
        parsed = wire.parse("V1NodeSelectorTerm", item, (*path, "node_affinity_required", i), problems)
        for key, values in parsed.items():
            term.setdefault(key, []).extend(values)
    if problems:
        raise ValueError("; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems))
    return Choice(
        image=container.get("image"),
        resources=container.get("resources", {}),
        tolerations=tuple(spec.get("tolerations", ())),
        node_affinity={"nodeSelectorTerms": [term]} if term else None,
    )


def _terms(choice: Choice) -> tuple[dict[str, Any], ...]:
    return tuple((choice.node_affinity or {}).get("nodeSelectorTerms", ()))


def _differences(choice: Choice, spec: dict[str, Any], path: Path, name: str) -> Problems:
    """Where a job says something else than its profile; saying nothing is no difference."""
    problems = Problems()

    def differs(where: Path, ours: Any, theirs: Any) -> None:
        if theirs and theirs != ours:
            message = f"profile {name!r} has {_shown(ours)}, the job has {_shown(theirs)}"
            problems.add((*path, *where), message)

    container = spec["containers"][0]
    for place, each in _containers(spec):
        if choice.image is not None:
            differs((*place, "image"), choice.image, each.get("image"))
        for kind in ("requests", "limits"):
            theirs = each.get("resources", {}).get(kind, {})
            ours = choice.resources.get(kind, {})
            if choice.resources and (each is container or theirs):
                differs((*place, "resources", kind), ours, theirs)
    for i, each in enumerate(spec.get("initContainers", [])):
        if choice.resources.get("limits") and each.get("restartPolicy"):
            # It runs beside the job, as a second container does.
            where: Path = (*path, "init_containers", i, "restart_policy")
            problems.add(where, f"profile {name!r} is for one container")
    for key, spelled in _AROUND.items():
        if spec.get(key):
            problems.add(
                (*path, spelled), f"may not be set: profile {name!r} says where and with what it runs"
            )
    if choice.resources.get("limits") and len(spec["containers"]) > 1:
        problems.add((*path, "containers"), f"profile {name!r} is for one container")
    if choice.tolerations or spec.get("tolerations"):
        differs(("tolerations",), list(choice.tolerations), spec.get("tolerations"))
    if choice.node_affinity is not None:
        differs(("affinity", "node_affinity"), choice.node_affinity, _required_affinity(spec))
    return problems


def _missing(choice: Choice, spec: dict[str, Any]) -> bool:
    """Whether a job leaves out something that its profile says."""
    container = spec["containers"][0]
    resources = container.get("resources", {})
    return (
        any(resources.get(kind, {}) != values for kind, values in choice.resources.items())
        or spec.get("tolerations", []) != list(choice.tolerations)
        or (choice.node_affinity is not None and _required_affinity(spec) != choice.node_affinity)
    )


def _fill(choice: Choice, spec: dict[str, Any]) -> None:
    for _, each in _containers(spec):
        if choice.image is not None:
            each["image"] = choice.image
        if choice.resources:
            each["resources"] = {**each.get("resources", {}), **choice.resources}
    if choice.tolerations:
        spec["tolerations"] = list(choice.tolerations)
    if choice.node_affinity is not None:
        node_affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = choice.node_affinity


def _containers(spec: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every container and init container, with its place in the spec."""
    for key, spelled in (("containers", "containers"), ("initContainers", "init_containers")):
        for i, each in enumerate(spec.get(key, [])):
            yield (spelled, i), each


def _required_affinity(spec: dict[str, Any]) -> Any:
    """A job's required node affinity, without the empty lists that the clients put into it."""
    node_affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return None
    terms = [{k: v for k, v in term.items() if v} for term in required.get("nodeSelectorTerms", [])]
    return {"nodeSelectorTerms": terms}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()[:200]
