"""Whose a namespace is: the marks that we put on it, and what they say of one that is there.

The owner's name is an annotation, for it holds the name as it is; labels are for selecting. A namespace that
says nothing goes to the user of its name only where kbatch-proxy's label is on it, or the operator said so:
`kbatch-system` may be the platform's.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from hubfleet.tenancy.naming import username_label

HUB = "hubfleet.dev/hub"
USER = "hubfleet.dev/user"
USERNAME = "hubfleet.dev/username"
KIND = "hubfleet.dev/kind"

MARKS = (HUB, USER, KIND)
"""The labels; they are on everything in the namespace, too."""

OBJECTS = "hubfleet.dev/objects"
"""An annotation: which of the objects that the settings can do without we made in the namespace."""

POD_SECURITY = "pod-security.kubernetes.io"

MANAGED_BY = "app.kubernetes.io/managed-by"
"""`kbatch` on every namespace that kbatch-proxy 0.5.0b1 made, unless KBATCH_LABELS says otherwise.

Earlier ones put nothing on theirs.
"""


class Owner(Protocol):
    """Whom a namespace is for; `identity.User` is one."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """ "user" or "service"."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The Hub's groups that they are in."""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class Namespace(msgspec.Struct, frozen=True):
    """What we read of a namespace."""

    metadata: Metadata

    @property
    def is_marked(self) -> bool:
        """Whether it says whose it is."""
        return USERNAME in self.metadata.annotations

    @property
    def is_going(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def objects(self) -> frozenset[str]:
        """What OBJECTS says."""
        return frozenset(self.metadata.annotations.get(OBJECTS, "").split())

    def covers(self, wanted: Mapping[str, Any]) -> bool:
        """Whether applying the manifest `wanted` would change nothing."""
        there = {**self.metadata.labels, **self.metadata.annotations}
        metadata = wanted["metadata"]
        return all(there.get(k) == v for part in ("labels", "annotations") for k, v in metadata[part].items())


def marks(owner: Owner, hub: str) -> dict[str, str]:
    """The labels that say whose something is."""
    labels = {USER: username_label(owner.name), KIND: owner.kind}
    return {**labels, HUB: hub} if hub else labels


def claim(namespace: str, owner: Owner, hub: str) -> dict[str, Any]:
    """The Namespace as it is created: with nothing but the marks.

    What is created stays ours whatever is applied later, so what may change is applied.
    """
    metadata = {"name": namespace, "labels": marks(owner, hub), "annotations": {USERNAME: owner.name}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def stranger(found: Namespace, owner: Owner, hub: str) -> str:
    """Who else the marks say that it belongs to; "" where they say nothing against the owner."""
    metadata = found.metadata
    name = metadata.annotations.get(USERNAME, owner.name)
    kind = metadata.labels.get(KIND, owner.kind)
    theirs = metadata.labels.get(HUB, "")
    # An administrator who says whose it is writes the annotation alone; a hub writes all of its marks.
    if theirs != hub and not metadata.labels.keys().isdisjoint(MARKS):
        return f"a user of another hub, {theirs or 'which has no name'}"
    if (name, kind) != (owner.name, owner.kind):
        return f"another {kind} whose name leads to it, too"
    return ""


def made_by_kbatch(labels: Mapping[str, str], kbatch_labels: Mapping[str, str]) -> bool:
    """Whether kbatch-proxy 0.5.0b1 made a namespace with these labels.

    `kbatch_labels` are KBATCH_LABELS of a deployment that is being replaced, never those that we write: a
    label such as `team: a` is on the namespaces of others, too.
    """
    return labels.get(MANAGED_BY) == "kbatch" or bool(
        kbatch_labels and kbatch_labels.items() <= labels.items()
    )
