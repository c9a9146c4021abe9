"""What our account may do with the objects that carry routes: it decides how they are read and written."""

from collections.abc import Sequence

import msgspec
import structlog

from hubfleet.kube.budget import Budget
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ApiError
from hubfleet.kube.resources import SELFSUBJECTACCESSREVIEWS, Resource

log = structlog.get_logger(__name__)


class Rights(msgspec.Struct, frozen=True):
    """`watch` and `patch` are what jupyterhub-istio-proxy's documented role lacks."""

    watch: bool
    patch: bool


async def rights_on(client: Client, resource: Resource, namespace: str, budget: Budget) -> Rights:
    """Asks the API server; where it does not tell, the answer is that we may.

    Raises ClusterUnreachable.
    """
    watch, patch = [await _may(client, resource, namespace, verb, budget) for verb in ("watch", "patch")]
    if not watch:
        log.warning(
            f"no right to watch {resource.key}: they are listed whenever somebody asks, and what others "
            "change is not repaired",
            namespace=namespace,
        )
    if not patch:
        log.warning(
            f"no right to patch {resource.key}: each change makes a new object and deletes the old one",
            namespace=namespace,
        )
    return Rights(watch, patch)


async def watchable(
    client: Client, kinds: Sequence[Resource], namespace: str, budget: Budget
) -> list[Resource]:
    """Those of the kinds that routes lean on that we may watch, and so repair."""
    may = [kind for kind in kinds if await _may(client, kind, namespace, "watch", budget)]
    if missing := [kind.key for kind in kinds if kind not in may]:
        log.info(
            "without the right to watch them, what others change of these is not repaired",
            kinds=missing,
            namespace=namespace,
        )
    return may


async def _may(client: Client, resource: Resource, namespace: str, verb: str, budget: Budget) -> bool:
    review = {
        "apiVersion": SELFSUBJECTACCESSREVIEWS.api_version,
        "kind": SELFSUBJECTACCESSREVIEWS.kind,
        "spec": {
            "resourceAttributes": {
                "group": resource.group,
                "resource": resource.plural,
                "namespace": namespace,
                "verb": verb,
            }
        },
    }
    try:
        answer = await client.create(SELFSUBJECTACCESSREVIEWS, None, review, budget=budget)
    except ApiError as e:
        log.warning("the API server does not say what we may do", error=str(e))
        return True
    return bool(answer.get("status", {}).get("allowed"))
