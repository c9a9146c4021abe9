"""Content negotiation: JSON or YAML, and the object itself, a Table, or its metadata only."""

from typing import Literal, NamedTuple

from localkube.apiserver import status

Form = Literal["", "Table", "PartialObjectMetadata"]

OFFERS = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
)


class Representation(NamedTuple):
    """`version` is that of the form in the group meta.k8s.io, "v1" or "v1beta1"."""

    media: Literal["application/json", "application/yaml"]
    form: Form = ""
    version: str = "v1"


PLAIN = Representation("application/json")

_MEDIA: dict[str, Literal["application/json", "application/yaml"]] = {
    "application/json": "application/json",
    "application/yaml": "application/yaml",
    "application/*": "application/json",
    "*/*": "application/json",
    "": "application/json",
}
_FORMS: dict[str, Form] = {
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadata",
}


def negotiate(accept: str) -> Representation:
    """The first form the client prefers and localkube can give. Raises StatusError 406."""
    if not accept or accept in ("application/json", "*/*"):
        return PLAIN
    clauses = [_clause(part) for part in accept.split(",")]
    for media, parameters, _ in sorted(clauses, key=lambda c: -c[2]):
        found = _match(media, parameters)
        if found is not None:
            return found
    raise status.not_acceptable(OFFERS)


def _clause(text: str) -> tuple[str, dict[str, str], float]:
    media, *rest = (part.strip() for part in text.split(";"))
    parameters = {name.strip(): value.strip() for name, _, value in (p.partition("=") for p in rest)}
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 0.0
    return media.lower(), parameters, quality


def _match(media: str, parameters: dict[str, str]) -> Representation | None:
    kind = _MEDIA.get(media)
    if kind is None:
        return None
    asked = parameters.get("as")
    if asked is None:
        return Representation(kind)
    if parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1") and asked in _FORMS:
        return Representation(kind, _FORMS[asked], parameters["v"])
    return None


def wants_aggregated_discovery(accept: str) -> bool:
    """Whether `APIGroupDiscoveryList` (v2) is what the client prefers for /api and /apis."""
    for part in accept.split(","):
        media, parameters, _ = _clause(part)
        if media == "application/json":
            return (
                parameters.get("as") == "APIGroupDiscoveryList"
                and parameters.get("g") == "apidiscovery.k8s.io"
                and parameters.get("v") == "v2"
            )
    return False
