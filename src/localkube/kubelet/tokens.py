"""The service account tokens of the pods on this node: asked for once, and anew before they end.

When a token is due is what the real kubelet's token manager decides: when four fifths of its time are over,
and after a day at the latest.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from localkube.apiserver.status import StatusError
from localkube.apiserver.tokens import Issued
from localkube.kubelet.references import ReferenceFailed

Object = dict[str, Any]

Issue = Callable[[Object, Object], Issued]
"""Makes a token for (pod, the serviceAccountToken projection that asks). Raises StatusError."""

_LONGEST = timedelta(hours=24)
_USED = 0.8
_EXPIRATION_SECONDS = 3600


class TokenManager:
    def __init__(self, issue: Issue, clock: Callable[[], datetime]) -> None:
        self._issue = issue
        self._clock = clock
        self._tokens: dict[str, dict[tuple[str, int], Issued]] = {}
        """By the pod's uid, and by what the projection asks for."""

    def get(self, pod: Object, projection: Object) -> str:
        """The token for a projection. Raises ReferenceFailed in the words of the FailedMount event."""
        tokens = self._tokens.setdefault(pod["metadata"]["uid"], {})
        key = (projection.get("audience", ""), projection.get("expirationSeconds", _EXPIRATION_SECONDS))
        found = tokens.get(key)
        if found is None or renewal(found) <= self._clock():
            try:
                found = self._issue(pod, projection)
            except StatusError as error:
                raise ReferenceFailed(f"failed to fetch token: {error.message}") from None
            tokens[key] = found
        return found.token

    def wait(self, pod: Object) -> float | None:
        """Seconds until a token of the pod is due; None when it has none."""
        tokens = self._tokens.get(pod["metadata"]["uid"])
        if not tokens:
            return None
        return max(0.0, (min(map(renewal, tokens.values())) - self._clock()).total_seconds())

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._tokens.pop(uid, None)


def renewal(issued: Issued) -> datetime:
    """When a token has to be replaced."""
    return issued.issued + min(_USED * (issued.expires - issued.issued), _LONGEST)


def is_projected(volume: Object) -> bool:
    """Whether a volume holds a token."""
    sources = (volume.get("projected") or {}).get("sources") or ()
    return any(source.get("serviceAccountToken") for source in sources)
