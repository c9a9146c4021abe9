"""Labels and annotations: which a user may write.

Names without a prefix are the user's own, as Kubernetes means them. A prefix belongs to whoever owns that
domain, and what they do with it is theirs to decide (kubernetes.io, kueue.x-k8s.io, cluster autoscalers,
service meshes, cloud providers that give out credentials by it), so it must be allowed. Names without a
prefix but with dots are older programs' (io.kubernetes.cri-o.*, run.oci.*): they count as prefixed.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

OWN = "names without prefix and dots"

RESERVED = frozenset({"job-name", "controller-uid", "pod-template-hash", "aadpodidbinding"})
"""Names without a prefix that Kubernetes' controllers write, and the label by which AAD Pod Identity gives a
pod an identity of the cloud."""


class Keys(msgspec.Struct, frozen=True):
    """Names of labels, or of annotations, with a prefix, that may be written."""

    names: frozenset[str]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, allowed: Iterable[str]) -> "Keys":
        """Of names and of prefixes, which end in `/`."""
        allowed = frozenset(allowed)
        prefixes = tuple(sorted(key for key in allowed if key.endswith("/")))
        return cls(allowed - {*prefixes}, prefixes)

    def refused(self, values: Any) -> list[str]:
        """Those keys of a map that may not be written."""
        return [key for key in values if not self.allows(key)]

    def allows(self, key: str) -> bool:
        if "/" not in key and "." not in key:
            return key not in RESERVED
        return key in self.names or key.startswith(self.prefixes)

    def __str__(self) -> str:
        return ", ".join([OWN, *sorted(self.names), *(f"{prefix}*" for prefix in self.prefixes)])


LABELS = ("app.kubernetes.io/",)  # Kubernetes' recommended labels, for people and their tools
ANNOTATIONS = ("app.kubernetes.io/", "kubectl.kubernetes.io/default-container")
