"""The node: runs the pods that are assigned to it, keeps its Node and Lease, answers for their logs."""

import asyncio
import os
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from localkube.apiserver import status
from localkube.apiserver.registry import Event, Registry
from localkube.apiserver.status import StatusError
from localkube.kubelet import cgroup, hostroot, leftovers, logline, logquery, node, router
from localkube.kubelet.anchor import drop_anchor
from localkube.kubelet.firewall import Firewall
from localkube.kubelet.logfile import LogFile, Selection
from localkube.kubelet.network import HostNetwork, Network
from localkube.kubelet.poddir import PodDir, SharedEtc
from localkube.kubelet.router import Unavailable
from localkube.kubelet.runtime import Runtime
from localkube.kubelet.settings import Settings
from localkube.kubelet.tokens import Issue, TokenManager
from localkube.kubelet.worker import MANAGER, Site, Worker

_NODE_STATUS_EVERY = 30
"""Heartbeats (Lease renewals) between two writes of the node's status."""
_STOP_SECONDS = 5.0
_LEASES = "leases.coordination.k8s.io"
_LEASE_NAMESPACE = "kube-node-lease"

log = structlog.get_logger(__name__)


class Kubelet:
    """`run` serves until cancelled, and then leaves nothing of its pods on the host.

    `issue_token` makes the service account tokens of pods.
    """

    def __init__(
        self,
        registry: Registry,
        data_dir: Path,
        node_name: str,
        settings: Settings | None = None,
        *,
        issue_token: Issue,
    ):
        self._registry = registry
        self._node_name = node_name
        self._settings = settings if settings is not None else Settings()
        self._tokens = TokenManager(issue_token, registry.clock)
        self._data_dir = data_dir.resolve()
        self._pods = self._data_dir / "kubelet" / "pods"
        self._logs: dict[str, LogFile] = {}
        self._workers: dict[str, tuple[Worker, asyncio.Task[None]]] = {}
        self.ready = asyncio.Event()
        """Set when the Node object is there and pods are being run."""
        self.host_ip = ""
        """Where pods with a network of their own reach this machine; "" when they have none."""

    async def run(self) -> None:
        """Run pods until cancelled. Raises NotInstalled when the host lacks bubblewrap."""
        self._pods.mkdir(parents=True, exist_ok=True, mode=0o700)
        root = await asyncio.to_thread(hostroot.scan, (self._data_dir, *self._settings.masked))
        anchor = await drop_anchor()
        cgroups = cgroup.find(self._data_dir)
        try:
            shared = SharedEtc(self._data_dir / "kubelet" / "etc")
            first = anchor.first if anchor is not None else None
            await self._run(Runtime(root, shared, first, cgroups))
        finally:
            if anchor is not None:
                await asyncio.shield(anchor.close())
            if cgroups is not None:
                cgroups.close()

    async def _run(self, runtime: Runtime) -> None:
        killed = await asyncio.to_thread(leftovers.kill_processes, self._pods)
        if killed:
            log.warning("killed processes of pods that an earlier localkube left", count=killed)
        network = await self._network()
        settings = self._settings
        if network.isolated:
            # whatever address the API is told to others by, from there it is this one
            self.host_ip = network.host_ip
            environment = {**settings.service_environment, "KUBERNETES_SERVICE_HOST": network.host_ip}
            settings = msgspec.structs.replace(settings, service_environment=environment)
        firewall = Firewall(self._registry, network)
        machine = node.measure(self._data_dir, self._settings.max_pods)
        site = Site(
            registry=self._registry,
            runtime=runtime,
            network=network,
            firewall=firewall,
            settings=settings,
            node_name=self._node_name,
            allocatable=machine.capacity,
            pods=self._pods,
            tokens=self._tokens,
            logs=self._logs,
            starting=asyncio.Semaphore(2 * len(os.sched_getaffinity(0))),
        )
        self._registry.log_source = self.open_log
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._heartbeat(machine, network))
                group.create_task(firewall.run())
                group.create_task(self._serve(site))
        finally:
            await asyncio.shield(self._stop(network))

    async def _network(self) -> Network:
        if self._settings.isolate_network:
            try:
                return await router.open_router()
            except Unavailable as error:
                log.warning(
                    "pods share the host's network and have no address of their own", reason=str(error)
                )
        return HostNetwork()

    async def _stop(self, network: Network) -> None:
        self._registry.log_source = None
        tasks = [task for _, task in self._workers.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        await network.close()

    # pods

    async def _serve(self, site: Site) -> None:
        while True:
            watch = self._registry.watch("pods", fields=f"spec.nodeName={self._node_name}", bookmark=True)
            seen: set[str] | None = set()
            try:
                async for event in watch:
                    if event.type == "BOOKMARK":
                        if seen is not None:
                            await self._forget_all_but(seen)
                            seen = None
                        self.ready.set()
                        continue
                    if seen is not None:
                        seen.add(str(event.object["metadata"]["uid"]))
                    self._dispatch(site, event)
            except StatusError as error:
                log.warning("the kubelet's watch of pods ended and starts anew", reason=error.reason)
            finally:
                watch.close()

    def _dispatch(self, site: Site, event: Event) -> None:
        pod = event.object
        uid = str(pod["metadata"]["uid"])
        entry = self._workers.get(uid)
        if event.type == "DELETED":
            if entry is not None:
                entry[0].remove()
        elif entry is not None:
            entry[0].update(pod)
            site.firewall.look(pod)
        else:
            worker = Worker(site, pod)
            task = asyncio.create_task(worker.run(), name=f"pod {pod['metadata']['name']}")
            self._workers[uid] = (worker, task)
            task.add_done_callback(lambda done: self._ended(uid, done))

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        worker, _ = self._workers.pop(uid)
        self._tokens.forget(uid)
        if not task.cancelled() and (error := task.exception()) is not None:
            # as text: a renderer that shows local variables would show the pod's secrets
            text = "".join(traceback.format_exception(error))
            log.error("a pod's worker failed", pod=worker.pod["metadata"]["name"], error=text)

    async def _forget_all_but(self, uids: set[str]) -> None:
        """Catch up with deletions that no watch told about."""
        for uid, (worker, _) in self._workers.items():
            if uid not in uids:
                worker.remove()
        await asyncio.to_thread(leftovers.remove_directories, self._pods, uids | self._workers.keys())

    # the node

    async def _heartbeat(self, machine: node.Machine, network: Network) -> None:
        beat = 0
        while True:
            delay = self._settings.heartbeat
            try:
                self._renew(machine, network, beat % _NODE_STATUS_EVERY == 0)
                beat += 1
            except StatusError as error:
                # the namespace of leases is made by a controller that may start after us
                log.debug("the node's heartbeat was refused", error=str(error))
                delay = min(delay, 0.1)
            await asyncio.sleep(delay)

    def _renew(self, machine: node.Machine, network: Network, with_status: bool) -> None:
        name, registry, now = self._node_name, self._registry, datetime.now(UTC)
        if not registry.exists("nodes", "", name):
            fresh = node.build(name, machine, network.host_ip, network.isolated)
            registry.create("nodes", "", fresh, manager=MANAGER)
            with_status = True
        current = registry.get("nodes", "", name)
        if with_status:
            fresh_status = node.status(name, machine, network.host_ip, now, current.get("status") or {})
            registry.update(
                "nodes", "", {**current, "status": fresh_status}, subresource="status", manager=MANAGER
            )
        lease = node.lease(name, current["metadata"]["uid"], now)
        if registry.exists(_LEASES, _LEASE_NAMESPACE, name):
            spec = {"spec": lease["spec"]}
            registry.patch(_LEASES, _LEASE_NAMESPACE, name, spec, manager=MANAGER)
        else:
            registry.create(_LEASES, _LEASE_NAMESPACE, lease, manager=MANAGER)

    # logs

    async def open_log(
        self,
        pod: dict[str, Any],
        container: str | None,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        since_seconds: int | None = None,
        since_time: str | None = None,
        timestamps: bool = False,
        previous: bool = False,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The log of a container, of its newest run or the `previous` one. Raises StatusError."""
        name = container or pod["spec"]["containers"][0]["name"]
        run_id = logquery.run_id(pod, name, previous)
        since = b""
        if since_seconds is not None:
            moment = datetime.now(UTC) - timedelta(seconds=since_seconds)
            since = logline.earliest(moment.isoformat())
        elif since_time is not None:
            try:
                since = logline.earliest(since_time)
            except ValueError as error:
                raise status.bad_request(f"sinceTime is no RFC 3339 time: {error}") from None
        file = self._logs.get(run_id)
        if file is None:
            path = PodDir(self._pods, pod["metadata"]["uid"]).log(run_id)
            if not path.exists():
                text = f"unable to retrieve container logs for {run_id}"
                raise status.unclassified(text)
            file = LogFile(path, closed=True)
        return file.read(Selection(tail_lines, since, timestamps, limit_bytes), follow)
