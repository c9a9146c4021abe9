"""Keeps the router's rules in step with NetworkPolicies, pods and namespaces.

A pod's containers start only when the rules know the pod (`admit`): what a policy forbids is not possible for
a moment, also not to the next pod with the same address. Everything else follows the API a moment later. As
long as there is no policy there are no rules, and nothing here costs anything.
"""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import structlog

from localkube.apiserver.registry import Event, Registry
from localkube.apiserver.status import StatusError
from localkube.kubelet import networkpolicy, nftables
from localkube.kubelet.network import Attachment, Network
from localkube.kubelet.networkpolicy import Endpoint, Part, Plan
from localkube.kubelet.nftables import Contents
from localkube.kubelet.router import UPLINK

POLICIES = "networkpolicies.networking.k8s.io"
_SETTLE_SECONDS = 0.01
"""How long a change waits for others to come along."""
_RETRY_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Firewall:
    """All methods are for the event loop's thread. `run` serves until cancelled."""

    def __init__(self, registry: Registry, network: Network):
        self._registry = registry
        self._network = network
        self._nft = shutil.which("nft")
        self._nsenter = shutil.which("nsenter") or "nsenter"
        self._attached: dict[str, tuple[dict[str, Any], Attachment]] = {}
        """By uid: the pod as it was seen last, and its place."""
        self._parts: dict[str, tuple[tuple[str, ...], Part]] = {}
        """By namespace: what its policies need, and the versions of the policies that it was made of."""
        self._numbers = itertools.count()
        self._applied: tuple[Plan, Contents] | None = None
        self._certain = True
        """Whether `_applied` is what is in force: not after a failure, nor while nft runs."""
        self._changed = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def obstacle(self) -> str:
        """Why policies are not enforced here, "" where they are."""
        if not self._network.namespace:
            return "pods share the host's network"
        return "" if self._nft is not None else "the command nft (nftables) is missing"

    @property
    def _excuse(self) -> str:
        return f"localkube stores this policy and does not enforce it: {self.obstacle}"

    async def admit(self, pod: dict[str, Any], place: Attachment) -> None:
        """Return when the rules know the pod. Raises OSError when they cannot be made."""
        if self.obstacle or not place.cable:
            return
        self._attached[pod["metadata"]["uid"]] = pod, place
        if self._certain and self._applied is None and not self._registry.list(POLICIES):
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._changed.set()
        await done

    def look(self, pod: dict[str, Any]) -> None:
        """Of all that happens to a pod, its labels are what rules may depend on."""
        uid = pod["metadata"]["uid"]
        known = self._attached.get(uid)
        if known is None:
            return
        self._attached[uid] = pod, known[1]
        if known[0]["metadata"].get("labels") != pod["metadata"].get("labels"):
            self._changed.set()

    def release(self, uid: str) -> None:
        """The pod has lost its place."""
        if self._attached.pop(uid, None) is not None:
            self._changed.set()

    async def run(self) -> None:
        if self.obstacle:
            self._registry.caveats[POLICIES] = self._excuse
            await self._follow(POLICIES, self._tell)
        async with asyncio.TaskGroup() as group:
            for key in (POLICIES, "namespaces"):
                group.create_task(self._follow(key, lambda _: self._changed.set()))
            group.create_task(self._keep())

    async def _follow(self, key: str, heed: Callable[[Event], None]) -> NoReturn:
        while True:
            watch = self._registry.watch(key)
            try:
                async for event in watch:
                    heed(event)
            except StatusError as error:
                log.debug("a watch of the firewall ended and starts anew", key=key, reason=error.reason)
            finally:
                watch.close()

    def _tell(self, event: Event) -> None:
        if event.type != "ADDED":
            return
        metadata = event.object["metadata"]
        log.warning("a NetworkPolicy is not enforced", policy=metadata["name"], reason=self.obstacle)
        try:
            self._registry.record_event(event.object, "NotEnforced", self._excuse, "Warning")
        except StatusError as error:
            log.debug("no event could be written", reason=error.reason)

    async def _keep(self) -> None:
        """Make the rules what they should be, whenever that may have changed."""
        while True:
            await self._changed.wait()
            if not self._waiting:
                await asyncio.sleep(_SETTLE_SECONDS)
            self._changed.clear()
            served, self._waiting = self._waiting, []
            try:
                await self._apply()
            except OSError as error:
                log.error("network policies could not be applied", error=str(error))
                for done in served:
                    if not done.done():
                        done.set_exception(OSError(str(error)))
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()
            else:
                for done in served:
                    if not done.done():
                        done.set_result(None)

    async def _apply(self) -> None:
        plan = self._planned()
        after: Contents = {}
        if plan is not None:
            after = networkpolicy.contents(plan.meanings, self._endpoints(), self._namespaces())
        text = self._text(plan, after)
        if text:
            self._certain = False
            await self._run(text)
            self._certain = True
        self._applied = (plan, after) if plan is not None else None

    def _text(self, plan: Plan | None, after: Contents) -> str:
        """What nft has to be told; "" for nothing."""
        if plan is None:
            return "" if self._certain and self._applied is None else nftables.GONE
        if self._certain and self._applied is not None:
            before, had = self._applied
            return nftables.change((before.table, had), (plan.table, after))
        return nftables.render(plan.table, after)

    def _planned(self) -> Plan | None:
        """The plan for the policies that there are, None when there are none."""
        policies: dict[str, list[dict[str, Any]]] = {}
        for policy in self._registry.list(POLICIES):
            policies.setdefault(policy["metadata"]["namespace"], []).append(policy)
        parts = {namespace: self._part(namespace, them) for namespace, them in policies.items()}
        self._parts = parts
        if not parts:
            return None
        made = {namespace: part for namespace, (_, part) in parts.items()}
        return networkpolicy.plan(made, UPLINK, self._network.host_ip)

    def _part(self, namespace: str, policies: list[dict[str, Any]]) -> tuple[tuple[str, ...], Part]:
        """The part as it was if its policies are what they were, else a new one with a name of its own."""
        versions = tuple(policy["metadata"]["resourceVersion"] for policy in policies)
        known = self._parts.get(namespace)
        if known is not None and known[0] == versions:
            return known
        return versions, networkpolicy.part(f"{namespace}.{next(self._numbers)}", policies)

    def _endpoints(self) -> list[Endpoint]:
        return [networkpolicy.endpoint(pod, place.ip, place.cable) for pod, place in self._attached.values()]

    def _namespaces(self) -> Mapping[str, Mapping[str, str]]:
        return {
            namespace["metadata"]["name"]: namespace["metadata"].get("labels") or {}
            for namespace in self._registry.list("namespaces")
        }

    async def _run(self, text: str) -> None:
        assert self._nft is not None
        process = await asyncio.create_subprocess_exec(
            self._nsenter,
            f"--net={self._network.namespace}",
            self._nft,
            "-f",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, error = await process.communicate(text.encode())
        if process.returncode:
            raise OSError(f"nft: {error.decode(errors='replace').strip()}")
