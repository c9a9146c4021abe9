"""Runs the way of a new object (decode, defaults, strategy, validation) on what a real server answered.

The recordings are reference material that stands beside some checkouts; without it there is nothing to
compare with, and the other tests of this folder stand alone.
"""

import copy
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from localkube.apiserver import defaults, priority, schema, status, strategy
from localkube.apiserver.resources import Resource, Resources
from localkube.apiserver.validation import objects as validation

FOLDER = Path(__file__).parents[4] / "shared" / "transcripts"
RESOURCES = Resources()
UID = "11111111-2222-3333-4444-555555555555"
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v1/(?:namespaces/(?P<namespace>[^/]+)/)?(?P<plural>[a-z]+)"
)
# Answered by other parts than the pure ones: the store, the namespace's state, plugins yet to come.
ELSEWHERE = re.compile(
    "already exists|no-such-namespace|being terminated|PodSecurity|quota|maximum cpu usage|LimitRanger"
    "|resourceVersion should not be set|does not match the namespace|json parse error|managedFields"
    "|unknown format"
)


def load_replay() -> Any:
    path = str(FOLDER / "replay")
    loader = importlib.machinery.SourceFileLoader("replay", path)
    spec = importlib.util.spec_from_loader("replay", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def lookup(key: str, namespace: str, name: str) -> dict[str, Any] | None:
    if (key, name) == ("serviceaccounts", "default"):
        return {"metadata": {"name": name, "namespace": namespace}}
    if key == priority.CLASSES:
        return next((found for found in priority.SYSTEM if found["metadata"]["name"] == name), None)
    return None


def answer(resource: Resource, namespace: str, step: dict[str, Any]) -> dict[str, Any]:
    """What a create is answered with, as far as the pure part decides it."""
    try:
        obj, unknown = schema.decode(resource, copy.deepcopy(step["b"]))
        if unknown and step.get("q", {}).get("fieldValidation") == "Strict":
            fields = ", ".join(f'unknown field "{path}"' for path in unknown)
            prefix = f'{resource.kind} in version "v1" cannot be handled as a {resource.kind}: '
            raise status.bad_request(f"{prefix}strict decoding error: {fields}")
        defaults.apply(resource, obj)
        metadata = obj["metadata"]
        if metadata.get("generateName") and not metadata.get("name"):
            metadata["name"] = metadata["generateName"] + "abcde"
        if resource.namespaced:
            metadata["namespace"] = namespace
        metadata |= {"uid": UID, "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "7"}
        strategy.prepare_create(resource, obj, lookup)
        if errors := validation.validate(resource, obj):
            raise status.invalid(resource.kind, resource.group, metadata.get("name", ""), errors)
        return {"code": 201, "type": "application/json", "body": obj}
    except status.StatusError as refusal:
        return {"code": refusal.code, "type": "application/json", "body": refusal.status}


def cases() -> list[Any]:
    path = FOLDER / "control-plane.json"
    if not path.exists():
        return []
    found = []
    for scenario in json.loads(path.read_text()):
        for step, recorded in zip(scenario["steps"], scenario["recorded"], strict=True):
            match = PATH.fullmatch(step["p"])
            if step["m"] != "POST" or match is None or not isinstance(step.get("b"), dict):
                continue
            resource = RESOURCES.at(match["group"] or "", "v1", match["plural"])
            if resource is None or not resource.list_kind:
                # not served, or never stored
                continue
            if step.get("q", {}).get("dryRun") or step.get("as"):
                continue
            if ELSEWHERE.search(json.dumps(recorded)):
                continue
            if "fieldValidation" in step.get("q", {}) and step["q"]["fieldValidation"] != "Strict":
                continue
            found.append(pytest.param(resource, step, recorded, id=scenario["name"]))
    return found


CASES = cases()


@pytest.mark.skipif(not CASES, reason="the recordings of a real server are not beside this checkout")
@pytest.mark.parametrize(("resource", "step", "recorded"), CASES or [(None, None, None)])
def test_is_answered_as_a_real_server_does(
    resource: Resource, step: dict[str, Any], recorded: dict[str, Any]
) -> None:
    replay = load_replay()
    env = {"ns": "t-12345678"}
    filled = replay.fill(step, env)
    got = answer(resource, env["ns"], filled)
    if step.get("only"):
        got["body"] = {pointer: replay.pointer(got["body"], pointer) for pointer in step["only"]}
    for pointer in step.get("drop", ()):
        got["body"].pop(pointer.strip("/"), None)
    got["body"] = None if step.get("quiet") else replay.tidy(got["body"], env)
    assert got == recorded
