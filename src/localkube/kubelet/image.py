"""Whether an image is on the node. Pure.

There are no images: every container sees the host's root file system, whatever its image is called. So that
a missing image can be tried out, names whose last part is on a list (`absent`) count as missing.
"""

from collections.abc import Collection
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """Why a container waits for its image: the status's reason and message, and the event's."""

    reason: str
    message: str
    event: str
    event_message: str


def is_missing(image: str, missing: Collection[str]) -> bool:
    """Whether the last part of the repository, without tag and digest, is listed."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return name in missing


def refuse(container: dict[str, Any], missing: Collection[str], attempt: int) -> Refusal | None:
    """None for an image that is present; `attempt` counts from 0."""
    image = str(container.get("image") or "")
    if not is_missing(image, missing):
        return None
    if container.get("imagePullPolicy") == "Never":
        message = f'Container image "{image}" is not present with pull policy of Never'
        return Refusal("ErrImageNeverPull", message, "ErrImageNeverPull", message)
    cause = f'failed to pull image "{image}": localkube has no such image'
    if attempt == 0:
        return Refusal("ErrImagePull", cause, "Failed", f'Failed to pull image "{image}": {cause}')
    message = f'Back-off pulling image "{image}"'
    return Refusal("ImagePullBackOff", f"{message}: ErrImagePull: {cause}", "BackOff", message)
