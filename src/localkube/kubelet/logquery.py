"""Which of a container's runs a log request is about: decided from the pod's status, as the kubelet does."""

from typing import Any

from localkube.apiserver import status

_PULL = {
    "ErrImagePull": "trying and failing to pull image",
    "ImagePullBackOff": "trying and failing to pull image",
}


def run_id(pod: dict[str, Any], container: str, previous: bool) -> str:
    """The containerID whose log answers. Raises StatusError 400 in the kubelet's words."""
    name = pod["metadata"]["name"]
    where = f'container "{container}" in pod "{name}"'
    found = _status(pod, container)
    if found is None:
        if previous:
            raise status.bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        raise status.bad_request(f"{where} is not available")
    state = found.get("state") or {}
    last = str(((found.get("lastState") or {}).get("terminated") or {}).get("containerID") or "")
    if previous:
        if not last:
            raise status.bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        return last
    if "running" in state:
        return str(found["containerID"])
    if "terminated" in state:
        own = str(state["terminated"].get("containerID") or "") or last
        if not own:
            raise status.bad_request(f"{where} is terminated")
        return own
    if last:
        return last
    reason = (state.get("waiting") or {}).get("reason")
    if reason is None:
        raise status.bad_request(f"{where} is not running")
    raise status.bad_request(f"{where} is waiting to start: {_PULL.get(reason, reason)}")


def _status(pod: dict[str, Any], container: str) -> dict[str, Any] | None:
    observed = pod.get("status") or {}
    for field in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for entry in observed.get(field) or ():
            if entry["name"] == container:
                return dict(entry)
    return None
