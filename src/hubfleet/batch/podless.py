"""Why a job has no pod: where the cluster refuses them (a full quota, pod security), only events say so."""

import msgspec

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError, KubeError
from hubfleet.kube.impersonation import Impersonation
from hubfleet.kube.resources import EVENTS
from hubfleet.tenancy.refusals import for_user, of_a_pod

ASKING = 5.0
"""Seconds, for what is only an explanation."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    creation_timestamp: str | None = None


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    metadata: _Metadata
    message: str = ""
    last_timestamp: str | None = None
    event_time: str | None = None

    @property
    def when(self) -> str:
        return self.last_timestamp or self.event_time or self.metadata.creation_timestamp or ""


async def refusal(
    client: Client, namespace: str, uid: str, on_behalf_of: Impersonation | None, budget: Budget
) -> str:
    """What was last said of pods of the job `uid` that could not be made; "" where nothing is known."""
    budget = Budget(min(ASKING, budget.left()))
    about = f"involvedObject.uid={uid},reason=FailedCreate"
    found = client.list(
        EVENTS, namespace, fields=about, type=_Event, on_behalf_of=on_behalf_of, budget=budget
    )
    try:
        said = [event async for event in found]
    except KubeError as e:
        if isinstance(e, ApiError):
            for_user(e, namespace, on_behalf_of)  # which right is missing, for the operator's log
        return ""
    return of_a_pod(max(said, key=lambda event: event.when).message) if said else ""
