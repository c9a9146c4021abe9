"""The routes of kbatch: at the prefix for the default cluster, and below `clusters/NAME/` for each one.

Both spellings of a path, with and without the slash at its end, are answered; status codes are kbatch's (a
created job is a 200). Bodies are read as they are and checked in `submission`: whatever is wrong with one
gets the same form of answer.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import InternalServerException
from litestar.params import FromQuery, PathParameter, SkipValidation
from litestar.types import ASGIApp

from hubfleet.admission import visit_of
from hubfleet.batch.chunks import Chunks, Json
from hubfleet.batch.podlog import Target
from hubfleet.batch.service import BatchService, ClusterBatch
from hubfleet.batch.submission import Kind
from hubfleet.batch.workloads import Answer
from hubfleet.errors import UserError
from hubfleet.identity.user import User

UserOf = Callable[[ASGIConnection[Any, Any, Any, State]], Awaitable[User]]
"""Who makes a request; raises UserError 401, 403 or 503."""

Batch = NamedDependency[SkipValidation[ClusterBatch]]
Service = NamedDependency[SkipValidation[BatchService]]
Asking = NamedDependency[SkipValidation[User]]


class Recheck(msgspec.Struct, frozen=True):
    """How a request that goes on for long is asked again who makes it, and after how many seconds."""

    ask: Callable[[], Awaitable[User]]
    seconds: float


Rechecked = NamedDependency[SkipValidation[Recheck]]
AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, PathParameter(description="The name of the object")]

_LENGTH = re.compile(r"[0-9]{1,18}")


def routes(service: BatchService, user_of: UserOf, *, recheck: float) -> Router:
    """Everything below `settings.prefix`. After `recheck` seconds a followed log asks again whose it is."""

    def provide_batch(request: AnyRequest) -> ClusterBatch:
        return service.on(request.path_params.get("cluster", ""))

    # After the batch, which it does not use: an unknown cluster is a 404 whoever asks, and dependencies that
    # do not depend on each other cost a task each.
    async def provide_user(request: AnyRequest, batch: Batch) -> User:
        return await user_of(request)

    def provide_recheck(request: AnyRequest) -> Recheck:
        return Recheck(partial(user_of, request), recheck)

    def provide_service(batch: Batch) -> BatchService:
        return service

    calls = [
        authorized,
        list_profiles,
        list_jobs,
        create_job,
        get_job,
        get_job_named_logs,
        delete_job,
        delete_job_named_logs,
        job_log,
        list_cron_jobs,
        create_cron_job,
        get_cron_job,
        delete_cron_job,
        list_pods,
        get_pod,
        get_pod_named_logs,
        pod_log,
    ]
    return Router(
        path=service.settings.prefix or "/",
        route_handlers=[
            root,
            list_clusters,
            *calls,
            Router(path="/clusters/{cluster:str}", route_handlers=[root, *calls]),
        ],
        dependencies={
            "batch": Provide(provide_batch, sync_to_thread=False),
            "user": Provide(provide_user),
            "service": Provide(provide_service, sync_to_thread=False),
            "recheck": Provide(provide_recheck, sync_to_thread=False),
        },
        tags=["kbatch"],
        request_max_body_size=None,  # submission.decode says it in kbatch's form
    )


@get("/")
async def root(batch: Batch) -> dict[str, str]:
    return {"message": "kbatch"}


@get("/authorized")
async def authorized(user: Asking, batch: Batch) -> dict[str, Any]:
    """Whose token this is; `kbatch configure` asks before it writes it down."""
    return {"name": user.name, "groups": list(user.groups)}


@get("/clusters")
async def list_clusters(
    request: AnyRequest, user: Asking, service: Service, batch: Batch
) -> dict[str, list[dict[str, Any]]]:
    """The clusters, each with the URL that the client can be configured with to use it."""
    base = _origin(request) + service.settings.prefix
    items = [
        {
            "name": name,
            "default": wing is service.on(),
            "reachable": wing.reachable,
            "url": f"{base}/clusters/{name}/",
        }
        for name, wing in service.wings.items()
    ]
    return {"items": items}


@get("/profiles")
async def list_profiles(service: Service, batch: Batch) -> dict[str, Any]:
    """What the operator offers. Without a token, as in kbatch."""
    return service.profiles.offered


@get("/jobs")
async def list_jobs(user: Asking, batch: Batch) -> ASGIApp:
    return _json(await batch.list(user, batch.jobs))


@post("/jobs", status_code=200)
async def create_job(user: Asking, batch: Batch, request: AnyRequest) -> ASGIApp:
    return await _submit(user, "Job", batch, request)


@get("/jobs/{name:str}")
async def get_job(user: Asking, batch: Batch, name: Name) -> ASGIApp:
    return _json(await batch.get(user, batch.jobs, name))


@delete("/jobs/{name:str}", status_code=200)
async def delete_job(user: Asking, batch: Batch, name: Name) -> ASGIApp:
    return _json((await batch.delete(user, batch.jobs, name), {}))


# "logs" is a name like any other, but the router follows it only into the paths of the logs.


@get("/jobs/logs")
async def get_job_named_logs(user: Asking, batch: Batch) -> ASGIApp:
    return _json(await batch.get(user, batch.jobs, "logs"))


@delete("/jobs/logs", status_code=200)
async def delete_job_named_logs(user: Asking, batch: Batch) -> ASGIApp:
    return _json((await batch.delete(user, batch.jobs, "logs"), {}))


@get("/pods/logs")
async def get_pod_named_logs(user: Asking, batch: Batch) -> ASGIApp:
    return _json(await batch.get(user, batch.pods, "logs"))


@get("/jobs/logs/{name:str}")
async def job_log(
    user: Asking,
    batch: Batch,
    name: Name,
    request: AnyRequest,
    recheck: Rechecked,
    stream: FromQuery[bool] = False,
) -> ASGIApp:
    """The log of all pods of a job, or of one pod."""
    target = await batch.find_log(user, name)
    return await _log(user, target, batch, request, recheck if stream else None)


@get("/cronjobs")
async def list_cron_jobs(user: Asking, batch: Batch) -> ASGIApp:
    return _json(await batch.list(user, batch.cron_jobs))


@post("/cronjobs", status_code=200)
async def create_cron_job(user: Asking, batch: Batch, request: AnyRequest) -> ASGIApp:
    return await _submit(user, "CronJob", batch, request)


@get("/cronjobs/{name:str}")
async def get_cron_job(user: Asking, batch: Batch, name: Name) -> ASGIApp:
    return _json(await batch.get(user, batch.cron_jobs, name))


@delete("/cronjobs/{name:str}", status_code=200)
async def delete_cron_job(user: Asking, batch: Batch, name: Name) -> ASGIApp:
    return _json((await batch.delete(user, batch.cron_jobs, name), {}))


@get("/pods")
async def list_pods(user: Asking, batch: Batch, job_name: FromQuery[str] = "") -> ASGIApp:
    return _json(await batch.pods_of(user, job_name))


@get("/pods/{name:str}")
async def get_pod(user: Asking, batch: Batch, name: Name) -> ASGIApp:
    return _json(await batch.get(user, batch.pods, name))


@get("/pods/logs/{name:str}")
async def pod_log(
    user: Asking,
    batch: Batch,
    name: Name,
    request: AnyRequest,
    recheck: Rechecked,
    stream: FromQuery[bool] = False,
) -> ASGIApp:
    target = await batch.find_log(user, name, pods_only=True)
    return await _log(user, target, batch, request, recheck if stream else None)


async def _log(
    user: User, target: Target, batch: ClusterBatch, request: AnyRequest, recheck: Recheck | None
) -> ASGIApp:
    visit = visit_of(request.scope)
    if recheck is None:
        return Chunks(await batch.log(user, target), visit.pace)
    following = visit.follow()
    following.check(recheck.ask, recheck.seconds)
    return Chunks(await batch.log(user, target, following), visit.pace)


async def _submit(user: User, kind: Kind, batch: ClusterBatch, request: AnyRequest) -> ASGIApp:
    visit = visit_of(request.scope)
    length = request.headers.get("content-length", "")
    async with visit.submitting(int(length) if _LENGTH.fullmatch(length) else None):
        async with visit.receiving() as progress:
            body = await _body(request, batch, progress)
        await visit.received(len(body))
        return _json((await batch.submit(user, kind, body), {}))


async def _body(
    request: AnyRequest, batch: ClusterBatch, progress: Callable[[int], None]
) -> bytes | bytearray:
    """The body, read only as far as the limit: whoever sends more is told so (413) by `submission.decode`."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            progress(len(body))
            if len(body) > batch.settings.body_limit:
                break
    except InternalServerException:
        # The framework's word for a sender who left, who hears no answer: nothing that is wrong with us.
        raise UserError(400, "the request ended before its body did") from None
    return body


def _origin(request: AnyRequest) -> str:
    """Scheme and host as the client wrote them: proxies keep the Host, and tell the scheme.

    Whoever forges either of them is told it back, and nobody else.
    """
    scheme = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if scheme not in ("http", "https"):
        scheme = request.url.scheme
    return f"{scheme}://{request.headers.get('host') or request.url.netloc}"


def _json(answer: Answer) -> ASGIApp:
    body, headers = answer
    return Json(body, headers)
