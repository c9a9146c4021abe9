"""GET pods/<name>/log: the kubelet's bytes, passed on as they come."""

from collections.abc import AsyncGenerator, AsyncIterator

from localkube.apiserver import status
from localkube.apiserver.exchange import Exchange
from localkube.apiserver.requests import Query
from localkube.apiserver.responses import Response, Stream
from localkube.apiserver.status import FieldError

_TEXT = "text/plain"


async def read(x: Exchange) -> Response | Stream:
    pod = x.registry.get("pods", x.namespace, x.target.name)
    query = x.query
    _check(query)
    container = query.get("container") or None
    spec = pod.get("spec") or {}
    names = [c["name"] for kind in ("initContainers", "containers") for c in spec.get(kind) or ()]
    if container is None:
        container = _default(x.target.name, spec)
    elif container not in names:
        raise status.bad_request(f"container {container} is not valid for pod {x.target.name}")
    if not spec.get("nodeName"):
        # nobody runs it yet: the real server has nowhere to ask and answers with nothing
        return Response(204, media="")
    if x.registry.log_source is None:
        raise status.not_implemented("this localkube runs no pods, so there are no logs")
    chunks = await x.registry.log_source(
        pod,
        container,
        follow=query.flag("follow"),
        tail_lines=query.integer("tailLines"),
        since_seconds=query.integer("sinceSeconds"),
        since_time=query.get("sinceTime") or None,
        timestamps=query.flag("timestamps"),
        previous=query.flag("previous"),
        limit_bytes=query.integer("limitBytes"),
    )
    return Stream(_flushed(chunks), _TEXT)


async def _flushed(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            if chunk:
                yield chunk
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


def _default(pod: str, spec: dict[str, list[dict[str, str]]]) -> str:
    names = [c["name"] for c in spec.get("containers") or ()]
    if len(names) == 1:
        return names[0]
    init = [c["name"] for c in spec.get("initContainers") or ()]
    also = f" or one of the init containers: [{' '.join(init)}]" if init else ""
    raise status.bad_request(
        f"a container name must be specified for pod {pod}, choose one of: [{' '.join(names)}]{also}"
    )


def _check(query: Query) -> None:
    """Validation of PodLogOptions. Raises 400 and 422."""
    problems: list[FieldError] = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        value = query.integer(name)
        if value is not None and value < least:
            than = "greater than 0" if least else "greater than or equal to 0"
            problems.append(FieldError("FieldValueInvalid", name, f"Invalid value: {value}: must be {than}"))
    if query.get("sinceTime") and query.get("sinceSeconds"):
        problems.append(
            FieldError(
                "FieldValueForbidden",
                "",
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            )
        )
    if problems:
        raise status.invalid("PodLogOptions", "", "", problems)
