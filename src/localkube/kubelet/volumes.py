"""The contents of a pod's volumes: which files, with which bytes and modes. Pure; `volumedir` writes them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from localkube.kubelet import references
from localkube.kubelet.references import Facts, Lookup, ReferenceFailed

DEFAULT_MODE = 0o644

Token = Callable[[dict[str, Any], dict[str, Any]], str]
"""Issues a service account token for (pod, the projection that asks)."""

_NEED_NOT_EXIST = ("openshift-service-ca.crt",)
"""Projected into every pod with a token, although only OpenShift has it."""

SUPPORTED = ("emptyDir", "configMap", "secret", "projected", "downwardAPI")


class File(NamedTuple):
    data: bytes
    mode: int


Payload = dict[str, File]
"""Files by their path below the volume's root."""


class Unsupported(Exception):
    """A kind of volume that localkube does not have; the message says so."""


class Sources(NamedTuple):
    """Where contents come from."""

    lookup: Lookup
    facts: Facts
    token: Token


def kind(volume: dict[str, Any]) -> str:
    """Which of the volume's sources is set. Raises Unsupported for one that localkube does not have.

    A volume without a source is an emptyDir, as the API server would have defaulted it.
    """
    sources = [name for name, value in volume.items() if name != "name" and value is not None]
    if not sources:
        return "emptyDir"
    if sources[0] not in SUPPORTED:
        raise Unsupported(
            f'localkube does not support volumes of type {sources[0]} (volume "{volume["name"]}"), '
            f"only {', '.join(SUPPORTED)}"
        )
    return sources[0]


def payload(pod: dict[str, Any], volume: dict[str, Any], sources: Sources) -> Payload:
    """The files of a volume that has contents of its own (all but emptyDir).

    Raises ReferenceFailed in the words of the kubelet's FailedMount event.
    """
    which = kind(volume)
    spec = volume[which]
    mode = _mode(spec.get("defaultMode"), DEFAULT_MODE)
    if which == "configMap":
        return _keys("configmaps", spec.get("name", ""), spec, mode, sources)
    if which == "secret":
        return _keys("secrets", spec.get("secretName", ""), spec, mode, sources)
    if which == "downwardAPI":
        return _downward(pod, spec, mode, sources)
    files: Payload = {}
    for source in spec.get("sources") or ():
        files.update(_projection(pod, source, mode, sources))
    return files


def _projection(pod: dict[str, Any], source: dict[str, Any], mode: int, sources: Sources) -> Payload:
    if ref := source.get("configMap"):
        if ref.get("name") in _NEED_NOT_EXIST:
            ref = {**ref, "optional": True}
        return _keys("configmaps", ref.get("name", ""), ref, mode, sources)
    if ref := source.get("secret"):
        return _keys("secrets", ref.get("name", ""), ref, mode, sources)
    if ref := source.get("downwardAPI"):
        return _downward(pod, ref, mode, sources)
    if ref := source.get("serviceAccountToken"):
        return {ref["path"]: File(sources.token(pod, ref).encode(), mode)}
    raise ReferenceFailed(f"localkube does not support this projected source: {', '.join(source)}")


def _keys(kind: str, name: str, spec: dict[str, Any], mode: int, sources: Sources) -> Payload:
    optional = bool(spec.get("optional"))
    values = references.content(sources.lookup, kind, name, optional)
    items = spec.get("items")
    if not items:
        return {key: File(data, mode) for key, data in values.items()}
    files: Payload = {}
    for item in items:
        if item["key"] not in values:
            if optional:
                continue
            singular = "configmap" if kind == "configmaps" else "secret"
            raise ReferenceFailed(f"{singular} references non-existent {_key_word(kind)} key: {item['key']}")
        files[item["path"]] = File(values[item["key"]], _mode(item.get("mode"), mode))
    return files


def _key_word(kind: str) -> str:
    return "config" if kind == "configmaps" else "secret"


def _downward(pod: dict[str, Any], spec: dict[str, Any], mode: int, sources: Sources) -> Payload:
    files: Payload = {}
    for item in spec.get("items") or ():
        if ref := item.get("fieldRef"):
            text = references.field(pod, ref["fieldPath"], sources.facts)
        else:
            ref = item["resourceFieldRef"]
            container = _named(pod["spec"].get("containers") or (), ref.get("containerName", ""))
            text = references.resource(container, ref, sources.facts)
        files[item["path"]] = File(text.encode(), _mode(item.get("mode"), mode))
    return files


def _named(containers: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    for container in containers:
        if container["name"] == name:
            return container
    raise ReferenceFailed(f"container {name} not found")


def _mode(value: Any, default: int) -> int:
    return default if value is None else int(value)
