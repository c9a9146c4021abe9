"""`hubfleet controller`: what must run once for all servers. The holder of a cluster's Lease does it."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import click
import structlog
import uvloop

from hubfleet import logs
from hubfleet.batch.collector import Collector
from hubfleet.batch.crontokens import Sweeper
from hubfleet.cli.settings import config_option, readable_errors
from hubfleet.identity.tokens import HubTokens
from hubfleet.kube.clusters import Cluster, Clusters
from hubfleet.kube.lease import Elector
from hubfleet.settings import Settings, read
from hubfleet.tenancy.provisioning import Namespaces

LEASE = "hubfleet-controller"
"""The Lease's name, in the namespace of the cluster's context (or of the pod that we run in)."""

PAUSE = 10.0
"""Seconds before work that failed begins again."""

log = structlog.get_logger(__name__)


@click.command()
@config_option
def controller(*, config: str | None) -> None:
    """Do what must run once for all servers: collect what dead submissions and deleted cron jobs left."""
    with readable_errors():
        settings = read(config)
        logs.configure(settings.log)
        uvloop.run(run(settings))


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; the Leases are then released, so that another one need not wait."""
    working = asyncio.current_task()
    assert working is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    identity = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    namespaces = Namespaces(settings.tenancy, labels=settings.batch.labels, hub=settings.hub.name)
    try:
        async with (
            HubTokens(settings.hub) as tokens,
            Clusters(settings.clusters) as clusters,
            asyncio.TaskGroup() as tasks,
        ):
            for cluster in clusters.values():
                hub = settings.hub.name
                collector = Collector(cluster.client, partial(namespaces.identity, cluster), hub=hub)
                work = [collector.run]
                if settings.hub.api_token:
                    sweeper = Sweeper(cluster.client, tokens, hub=hub, grace=settings.batch.part_expiry)
                    work.append(sweeper.run)
                tasks.create_task(control(cluster, identity, work))
            log.info("controlling", clusters=list(clusters), identity=identity)
    except asyncio.CancelledError:
        log.info("stopped")


async def control(
    cluster: Cluster, identity: str, work: Iterable[Callable[[], Coroutine[Any, Any, None]]]
) -> None:
    """All the `work` that runs once in this cluster, while we hold its Lease; until cancelled."""
    elector = Elector(cluster.client, cluster.namespace_of_context, LEASE, identity)

    async def all_of_it() -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in work:
                tasks.create_task(each())

    while True:
        try:
            await elector.run(all_of_it)
        except Exception:  # a fault met in one cluster must not end the work in the others
            log.exception("the work in a cluster failed, beginning again", cluster=cluster.name)
        await asyncio.sleep(PAUSE)
