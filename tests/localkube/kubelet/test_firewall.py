"""Pods that try to reach each other, the node and the node them, through what NetworkPolicies leave open."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from localkube.kubelet import netdevice, router
from localkube.kubelet.firewall import POLICIES
from localkube.kubelet.router import Unavailable
from localkube.kubelet.settings import Settings

from .conftest import QUICK, Node

pytestmark = pytest.mark.kubelet

WAIT_SECONDS = 15.0
UNREACHED_SECONDS = 0.4
"""How long an attempt may take that is not expected to succeed."""
Spec = dict[str, Any]


@pytest.fixture
def settings() -> Settings:
    return msgspec.structs.replace(QUICK, isolate_network=True)


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    async def attempt() -> None:
        await (await router.open_router()).close()

    if shutil.which("nft") is None:
        pytest.skip("needs nftables")
    try:
        asyncio.run(attempt())
    except Unavailable as reason:
        pytest.skip(str(reason))


def number_of(ip: str) -> tuple[int, int]:
    """The numbers of a localkube and of one of its pods, or of its node."""
    distance = int(IPv4Address(ip)) - int(IPv4Network("10.88.0.0/13")[0])
    return distance >> 10, distance & 1023


class Place:
    """A pod's place in the network, or the host's (`netns` None); it has sockets of its own there."""

    def __init__(self, ip: str, netns: Path | None):
        self.ip = ip
        self._netns = netns
        self._servers: list[socket.socket] = []

    @classmethod
    def of(cls, ip: str) -> "Place":
        number, host = number_of(ip)
        return cls(ip, Path(f"/run/netns/lk{number}-{host}"))

    def _socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        with netdevice.inside(self._netns) if self._netns is not None else contextlib.nullcontext():
            made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        return made

    def listen(self, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
        server = self._socket(kind)
        server.bind((self.ip, port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        self._servers.append(server)
        return int(server.getsockname()[1])

    def close(self) -> None:
        for server in self._servers:
            server.close()

    async def reaches(self, other: "Place", port: int) -> bool:
        with self._socket() as client:
            with contextlib.suppress(TimeoutError):
                address = (other.ip, port)
                await asyncio.wait_for(
                    asyncio.get_running_loop().sock_connect(client, address), UNREACHED_SECONDS
                )
            # what the kernel says counts, and not whether this process was in time to see it
            try:
                client.getpeername()
            except OSError:
                return False
        return True

    async def is_answered(self, other: "Place", port: int) -> bool:
        """Whether a datagram arrives and its answer comes back."""
        server = next(s for s in other._servers if s.getsockname()[1] == port)
        with self._socket(socket.SOCK_DGRAM) as client:
            client.sendto(b"?", (other.ip, port))
            if (asked := await received(server)) is None:
                return False
            server.sendto(b"!", asked[1])
            return await received(client) is not None


async def received(waiting: socket.socket) -> tuple[bytes, Any] | None:
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            return waiting.recvfrom(16)
        await asyncio.sleep(UNREACHED_SECONDS / 20)
    return None


async def until(expected: bool, attempt: Callable[[], Any]) -> None:
    """Wait until attempts turn out as expected."""
    deadline = time.monotonic() + WAIT_SECONDS
    while await attempt() is not expected:
        assert time.monotonic() < deadline, f"still {not expected}"


class World:
    """Pods in some namespaces, each listening on TCP 80 (named web) and 81 and on UDP 53."""

    def __init__(self, node: Node):
        self.node = node
        self.host = Place(node.registry.get("nodes", "", "node")["status"]["addresses"][0]["address"], None)
        self.places: dict[str, Place] = {}

    async def pod(self, namespace: str, name: str, **labels: str) -> Place:
        registry = self.node.registry
        if not registry.exists("namespaces", "", namespace):
            registry.create("namespaces", "", {"metadata": {"name": namespace, "labels": {"is": namespace}}})
        deadline = time.monotonic() + WAIT_SECONDS
        while not registry.exists("serviceaccounts", namespace, "default"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        container = {
            "name": "c",
            "image": "busybox",
            "command": ["sleep", "600"],
            "ports": [{"name": "web", "containerPort": 80}],
        }
        spec = {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
        }
        registry.create("pods", namespace, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        while not (registry.get("pods", namespace, name)["status"].get("containerStatuses") or [{}])[0].get(
            "ready"
        ):
            assert time.monotonic() < deadline, registry.get("pods", namespace, name)
            await asyncio.sleep(0.01)
        place = Place.of(registry.get("pods", namespace, name)["status"]["podIP"])
        place.listen(80)
        place.listen(81)
        place.listen(53, socket.SOCK_DGRAM)
        self.places[name] = place
        return place

    def policy(self, namespace: str, spec: Spec, name: str = "policy") -> None:
        self.node.registry.create(POLICIES, namespace, {"metadata": {"name": name}, "spec": spec})

    def change(self, namespace: str, spec: Spec, name: str = "policy") -> None:
        old = self.node.registry.get(POLICIES, namespace, name)
        self.node.registry.update(POLICIES, namespace, {**old, "spec": spec})

    def rules(self) -> str:
        name = f"lk{number_of(self.host.ip)[0]}-router"
        command = ["nsenter", f"--net=/run/netns/{name}", "nft", "list", "ruleset"]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout


@pytest.fixture
async def world(node: Node) -> AsyncIterator[World]:
    made = World(node)
    yield made
    for place in [*made.places.values(), made.host]:
        place.close()


def peer(**selectors: dict[str, str]) -> Spec:
    return {name: {"matchLabels": labels} for name, labels in selectors.items()}


async def test_ingress(world: World) -> None:
    server, friend, stranger = (
        await world.pod("a", "server", app="server"),
        await world.pod("a", "friend"),
        await world.pod("b", "stranger"),
    )
    assert world.rules() == ""
    assert await stranger.reaches(server, 80)

    world.policy("a", {"podSelector": {"matchLabels": {"app": "server"}}})
    await until(False, lambda: stranger.reaches(server, 80))
    assert not await friend.reaches(server, 80)
    # the node reaches its pods, a pod itself; nobody else is concerned, and the server may still call
    assert await world.host.reaches(server, 80)
    assert await server.reaches(server, 80)
    assert await stranger.reaches(friend, 80)
    assert await server.reaches(stranger, 80)
    assert await server.is_answered(stranger, 53)

    world.change("a", {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})
    await until(True, lambda: friend.reaches(server, 80))
    assert not await stranger.reaches(server, 80)

    # two policies: what either allows; ports as number and as name
    from_b = peer(namespaceSelector={"is": "b"})
    world.policy("a", {"ingress": [{"from": [from_b], "ports": [{"port": "web"}]}]}, "more")
    await until(True, lambda: stranger.reaches(server, 80))
    assert not await stranger.reaches(server, 81)
    assert not await stranger.is_answered(server, 53)
    assert await friend.reaches(server, 81)

    # labels count as they are now
    patch = {"metadata": {"labels": {"is": "other"}}}
    world.node.registry.patch("namespaces", "", "b", patch)
    await until(False, lambda: stranger.reaches(server, 80))

    for name in ("policy", "more"):
        world.node.registry.delete(POLICIES, "a", name)
    await until(True, lambda: stranger.reaches(server, 80))
    assert world.rules() == ""


async def test_egress(world: World) -> None:
    job, mate, stranger = (
        await world.pod("a", "job", app="job"),
        await world.pod("a", "mate"),
        await world.pod("b", "stranger"),
    )
    resolver = world.host.listen(0, socket.SOCK_DGRAM)
    service = world.host.listen(0)
    only_job = {"podSelector": {"matchLabels": {"app": "job"}}, "policyTypes": ["Egress"]}
    world.policy("a", only_job)
    await until(False, lambda: job.reaches(stranger, 80))
    assert not await job.reaches(mate, 80)
    assert not await job.reaches(world.host, service)
    assert not await job.is_answered(world.host, resolver)
    # who calls it gets its answers, and others are not concerned
    assert await mate.reaches(job, 80)
    assert await mate.is_answered(job, 53)
    assert await mate.reaches(world.host, service)

    to_host = {"ipBlock": {"cidr": f"{world.host.ip}/32"}}
    world.change(
        "a",
        {
            **only_job,
            "egress": [
                {"to": [{"podSelector": {}}], "ports": [{"port": 79, "endPort": 80}]},
                {"to": [to_host], "ports": [{"port": resolver, "protocol": "UDP"}]},
            ],
        },
    )
    await until(True, lambda: job.reaches(mate, 80))
    assert not await job.reaches(mate, 81)
    assert not await job.reaches(stranger, 80)
    assert await job.is_answered(world.host, resolver)
    assert not await job.reaches(world.host, service)

    # all but the host; a pod that joins is known at once
    block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{world.host.ip}/32"]}}
    world.change("a", {**only_job, "egress": [{"to": [block]}]})
    await until(True, lambda: job.reaches(stranger, 80))
    assert not await job.reaches(world.host, service)
    newcomer = await world.pod("b", "newcomer")
    assert await job.reaches(newcomer, 80)


EARLY = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=0.3).close()
        print("reached")
    except TimeoutError:
        print("not reached")
"""


async def test_what_a_pod_does_first_is_held_to_the_policy_already(world: World) -> None:
    port = world.host.listen(0)
    allowed = world.host.listen(0)
    to_host = {"ipBlock": {"cidr": f"{world.host.ip}/32"}}
    spec = {"policyTypes": ["Egress"], "egress": [{"to": [to_host], "ports": [{"port": allowed}]}]}
    # no pod is waited for, nothing is polled: the policy is there, then the pods are
    world.policy("default", spec)
    for name in ("p", "q", "r"):
        command = ["python3", "-c", EARLY, world.host.ip, str(port), str(allowed)]
        world.node.pod(name, {"name": "c", "command": command})
    for name in ("p", "q", "r"):
        await world.node.phase(name, "Succeeded")
        assert await world.node.log(name) == "not reached\nreached\n"


async def test_labels_of_a_pod_change_what_is_allowed(world: World) -> None:
    server, client = await world.pod("a", "server"), await world.pod("a", "client")
    world.policy("a", {"ingress": [{"from": [peer(podSelector={"may": "call"})]}]})
    await until(False, lambda: client.reaches(server, 80))
    world.node.registry.patch("pods", "a", "client", {"metadata": {"labels": {"may": "call"}}})
    await until(True, lambda: client.reaches(server, 80))
    world.node.registry.patch("pods", "a", "client", {"metadata": {"labels": {"may": None}}})
    await until(False, lambda: client.reaches(server, 80))


async def test_two_localkubes_do_not_disturb_each_other(
    world: World, tmp_path: Path, settings: Settings
) -> None:
    other = Node(tmp_path / "other", settings)
    await other.start()
    theirs = World(other)
    try:
        places = [await w.pod("a", name) for w in (world, theirs) for name in ("server", "client")]
        world.policy("a", {})
        await until(False, lambda: places[1].reaches(places[0], 80))
        assert await places[3].reaches(places[2], 80)
        assert theirs.rules() == ""
        theirs.policy("a", {})
        await until(False, lambda: places[3].reaches(places[2], 80))
    finally:
        for place in theirs.places.values():
            place.close()
        await other.stop()
    # the end of one takes its rules along, and those only
    assert not await places[1].reaches(places[0], 80)
    assert await world.host.reaches(places[0], 80)


async def test_nothing_stays_behind(world: World) -> None:
    await world.pod("a", "server")
    world.policy("a", {})
    while "ingress" not in world.rules():
        await asyncio.sleep(0.01)
    number = number_of(world.host.ip)[0]
    await world.node.stop()
    assert not list(Path("/run/netns").glob(f"lk{number}-*"))
    listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True, text=True).stdout
    assert f"lk{number}v" not in listed


@pytest.fixture
def forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file; as long as it is there, nft fails."""
    flag, tools = tmp_path / "forbidden", tmp_path / "bin"
    tools.mkdir()
    wrapper = tools / "nft"
    wrapper.write_text(
        f'#!/bin/sh\n[ -e {flag} ] && echo not today >&2 && exit 1\nexec {shutil.which("nft")} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return flag


async def test_a_pod_does_not_start_before_its_rules_are_made(forbidden: Path, world: World) -> None:
    forbidden.touch()
    world.policy("default", {})
    world.node.shell("p", "true")
    deadline = time.monotonic() + WAIT_SECONDS
    told = ("Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: nft: not today")
    while told not in world.node.events("p"):
        assert time.monotonic() < deadline, world.node.events("p")
        await asyncio.sleep(0.01)
    assert world.node.get("p")["status"]["phase"] == "Pending"
    forbidden.unlink()
    await world.node.phase("p", "Succeeded")


@pytest.mark.parametrize("settings", [QUICK])
async def test_where_pods_share_the_network_a_policy_says_that_it_is_not_enforced(node: Node) -> None:
    text = "localkube stores this policy and does not enforce it: pods share the host's network"
    warnings: list[str] = []
    node.registry.create(POLICIES, "default", {"metadata": {"name": "p"}, "spec": {}}, warn=warnings.append)
    assert warnings == [text]
    deadline = time.monotonic() + WAIT_SECONDS
    while ("Warning", "NotEnforced", text) not in node.events("p"):
        assert time.monotonic() < deadline, node.events("p")
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def listening(place: Place) -> Iterator[None]:
    place.listen(80)
    try:
        yield
    finally:
        place.close()


async def test_killed_and_started_again(localkube_starter: Callable[..., Any], tmp_path: Path) -> None:
    server = localkube_starter("--data-dir", str(tmp_path / "data"))
    core, policies = "/api/v1/namespaces/default", "/apis/networking.k8s.io/v1/namespaces/default"

    async def address(name: str, before: str = "") -> str:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            status = server.call("GET", f"{core}/pods/{name}").body.get("status", {})
            ready = (status.get("containerStatuses") or [{}])[0].get("ready")
            if ready and status["containerStatuses"][0]["containerID"] != before:
                return str(status["podIP"])
            assert time.monotonic() < deadline, status
            await asyncio.sleep(0.02)

    def container(name: str) -> str:
        status = server.call("GET", f"{core}/pods/{name}").body["status"]
        return str(status["containerStatuses"][0]["containerID"])

    while server.call("GET", f"{core}/serviceaccounts/default").code != 200:
        await asyncio.sleep(0.02)
    policy = {"metadata": {"name": "p"}, "spec": {"podSelector": {"matchLabels": {"app": "server"}}}}
    assert server.call("POST", f"{policies}/networkpolicies", policy).code == 201
    for name in ("server", "client"):
        spec = {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "600"]}]}
        pod = {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        assert server.call("POST", f"{core}/pods", pod).code == 201
    target, client = Place.of(await address("server")), Place.of(await address("client"))
    with listening(target), listening(client):
        assert not await client.reaches(target, 80)
        assert await target.reaches(client, 80)
    before = {name: container(name) for name in ("server", "client")}
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL

    server = localkube_starter("--data-dir", str(tmp_path / "data"))
    target = Place.of(await address("server", before["server"]))
    client = Place.of(await address("client", before["client"]))
    with listening(target), listening(client):
        assert not await client.reaches(target, 80)
        assert await target.reaches(client, 80)
        assert server.call("DELETE", f"{policies}/networkpolicies/p").code == 200
        await until(True, lambda: client.reaches(target, 80))
    number = number_of(target.ip)[0]
    assert server.stop() == 0
    assert not list(Path("/run/netns").glob(f"lk{number}-*"))
