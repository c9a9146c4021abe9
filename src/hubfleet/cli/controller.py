"""`hubfleet controller`: what must run once for all servers. The holder of a cluster's Lease does it."""

import asyncio
import os
import secrets
import signal
import socket
from functools import partial

import click
import structlog
import uvloop

from hubfleet import logs
from hubfleet.batch.collector import Collector
from hubfleet.cli.settings import config_option, readable_errors
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
    """Do what must run once for all servers: collect what dead submissions left behind."""
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
        async with Clusters(settings.clusters) as clusters, asyncio.TaskGroup() as tasks:
            for cluster in clusters.values():
                tasks.create_task(control(cluster, identity, namespaces, hub=settings.hub.name))
            log.info("controlling", clusters=list(clusters), identity=identity)
    except asyncio.CancelledError:
        log.info("stopped")


async def control(cluster: Cluster, identity: str, namespaces: Namespaces, *, hub: str) -> None:
    """Everything that runs once in this cluster, while we hold its Lease; until cancelled."""
    elector = Elector(cluster.client, cluster.namespace_of_context, LEASE, identity)
    collector = Collector(cluster.client, partial(namespaces.identity, cluster), hub=hub)
    while True:
        try:
            await elector.run(collector.run)
        except Exception:  # a fault met in one cluster must not end the work in the others
            log.exception("the work in a cluster failed, beginning again", cluster=cluster.name)
        await asyncio.sleep(PAUSE)
