"""A pod gets its node: what the `binding` subresource makes of a pod."""

from typing import Any

from localkube.apiserver import status

Object = dict[str, Any]


def bound(pod: Object, node: str, now: str) -> Object:
    """The pod as it is with its node, told at `now` (RFC 3339). Raises 409 when it has one."""
    name = pod["metadata"]["name"]
    if pod["spec"].get("nodeName"):
        detail = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
        raise status.conflict("pods/binding", name, detail)
    scheduled = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
    }
    others = [c for c in pod["status"].get("conditions") or () if c["type"] != "PodScheduled"]
    return {
        **pod,
        "spec": {**pod["spec"], "nodeName": node},
        "status": {**pod["status"], "conditions": [*others, scheduled]},
    }
