"""Starts all controllers: what kube-controller-manager and kube-scheduler are to a real cluster."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from localkube.apiserver.registry import Registry
from localkube.controllers import namespace, priority
from localkube.controllers.clusterroles import ClusterRoleController
from localkube.controllers.cronjob import CronJobController
from localkube.controllers.customresources import CustomResourceFinalizer
from localkube.controllers.endpoints import EndpointsController
from localkube.controllers.feed import Feed
from localkube.controllers.garbage import GarbageCollector
from localkube.controllers.job import JobController
from localkube.controllers.jobpolicy import BACKOFF_FIRST, BACKOFF_MOST
from localkube.controllers.namespace import NamespaceController
from localkube.controllers.podgc import PodGC
from localkube.controllers.resourcequota import ResourceQuotaController
from localkube.controllers.scheduler import Scheduler
from localkube.controllers.serviceaccount import ServiceAccountController
from localkube.controllers.ttl import TTLController

RESTART_FIRST = 0.1
RESTART_MOST = 30.0
"""Seconds between restarts of a controller's loop that has crashed; doubled each time."""

log = structlog.get_logger(__name__)


async def run_controllers(
    registry: Registry,
    *,
    ca: str = "",
    backoff_first: float = BACKOFF_FIRST,
    backoff_most: float = BACKOFF_MOST,
) -> None:
    """Run all controllers until cancelled.

    The namespaces of every cluster exist when this first yields. `ca` is the PEM that `kube-root-ca.crt`
    gives to pods. `backoff_first` and `backoff_most` bound the seconds between failed pods of a Job.
    """
    feed = Feed(registry)
    jobs = JobController(registry, feed, backoff_first=backoff_first, backoff_most=backoff_most)
    cron_jobs = CronJobController(registry, feed)
    loops: list[Callable[[], Awaitable[None]]] = [
        ServiceAccountController(registry, feed, ca).run,
        NamespaceController(registry, feed).run,
        ClusterRoleController(registry, feed).run,
        CustomResourceFinalizer(registry, feed).run,
        EndpointsController(registry, feed).run,
        GarbageCollector(registry, feed).run,
        jobs.run,
        jobs.run_orphans,
        cron_jobs.run,
        cron_jobs.run_clock,
        TTLController(registry, feed).run,
        Scheduler(registry, feed).run,
        PodGC(registry, feed).run,
        ResourceQuotaController(registry, feed).run,
    ]
    namespace.bootstrap(registry)
    priority.bootstrap(registry)
    feed.start()
    try:
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(_forever(loop))
    finally:
        feed.stop()


async def _forever(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop again when it crashes: one controller's fault must not end the others, or the process."""
    delay = RESTART_FIRST
    while True:
        try:
            await loop()
        except Exception:
            log.exception("a controller crashed and will start again", seconds=delay)
        await asyncio.sleep(delay)
        delay = min(delay * 2, RESTART_MOST)
