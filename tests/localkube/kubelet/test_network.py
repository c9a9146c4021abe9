"""Pods with an address of their own."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from localkube.kubelet import router
from localkube.kubelet.router import Router, Unavailable
from localkube.kubelet.settings import Settings

from .conftest import QUICK

pytestmark = pytest.mark.kubelet

Node = Any


@pytest.fixture
def settings() -> Settings:
    return msgspec.structs.replace(QUICK, isolate_network=True)


@pytest.fixture(autouse=True)
async def possible() -> None:
    try:
        await (await router.open_router()).close()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
async def two_routers() -> AsyncIterator[tuple[Router, Router]]:
    made = await router.open_router(), await router.open_router()
    yield made
    for one in made:
        await one.close()


def links() -> set[str]:
    found = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout)
    return {link["ifname"] for link in found}


SERVER = (
    "import http.server, sys\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200)\n"
    "        self.end_headers()\n"
    "        self.wfile.write(b'hello from ' + sys.argv[1].encode())\n"
    "http.server.HTTPServer(('0.0.0.0', 8888), H).serve_forever()\n"
)
FETCH = "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


async def test_two_pods_listen_on_the_same_port_and_reach_each_other(node: Node) -> None:
    addresses = []
    for name in ("a", "b"):
        probe = {"httpGet": {"port": 8888}, "periodSeconds": 1}
        node.pod(name, {"name": "c", "command": ["python3", "-c", SERVER, name], "readinessProbe": probe})
    for name in ("a", "b"):
        # ready: the host reaches the pod
        pod = await node.until(name, lambda _, name=name: node.state(name)["ready"])
        addresses.append(pod["status"]["podIP"])
    assert len(set(addresses)) == 2
    node.pod("p", {"name": "c", "command": ["python3", "-c", FETCH, f"http://{addresses[0]}:8888/"]})
    await node.phase("p", "Succeeded")
    assert await node.log("p") == "hello from a\n"


CONNECT = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        print("reached")
    except OSError:
        print("not reached")
"""


async def test_a_pod_reaches_the_host_but_not_its_loopback(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as local, socket.create_server(("0.0.0.0", 0)) as public:
        host = node.registry.get("nodes", "", "node")["status"]["addresses"][0]["address"]
        places = [f"127.0.0.1:{local.getsockname()[1]}", f"{host}:{public.getsockname()[1]}"]
        node.pod("p", {"name": "c", "command": ["python3", "-c", CONNECT, *places]})
        await node.ended("p")
        assert await node.log("p") == "not reached\nreached\n"
        node.pod("q", {"name": "c", "command": ["python3", "-c", CONNECT, places[0]]}, hostNetwork=True)
        await node.ended("q")
        assert await node.log("q") == "reached\n"


async def test_address_in_status_environment_and_hosts(node: Node) -> None:
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    node.shell("p", "echo $IP; grep $IP /etc/hosts | cut -f 2", env=env)
    pod = await node.phase("p", "Succeeded")
    assert await node.log("p") == f"{pod['status']['podIP']}\np\n"
    assert pod["status"]["podIPs"] == [{"ip": pod["status"]["podIP"]}]


async def test_nothing_stays_on_the_host(node: Node) -> None:
    address = node.registry.get("nodes", "", "node")["status"]["addresses"][0]["address"]
    number = (int(IPv4Address(address)) - int(IPv4Network("10.88.0.0/13")[0])) >> 10
    assert f"lk{number}" in links()
    node.shell("p", "sleep 60")
    await node.phase("p", "Running")
    await node.stop()
    assert not {name for name in links() if name == f"lk{number}" or name.startswith(f"lk{number}v")}
    assert not list(Path("/run/netns").glob(f"lk{number}-*"))


async def test_two_localkubes_have_two_networks(two_routers: tuple[Router, Router]) -> None:
    first, second = two_routers
    assert first.host_ip != second.host_ip
    ours, theirs = await first.attach("u"), await second.attach("u")
    assert ours.ip != theirs.ip
    assert await first.attach("u") == ours


async def test_what_a_killed_localkube_leaves_is_swept_away() -> None:
    dead = await router.open_router()
    attached = await dead.attach("u")
    number, name = dead._number, attached.netns.rpartition("/")[2]
    orphan = subprocess.Popen([shutil.which("nsenter"), f"--net=/run/netns/{name}", "sleep", "60"])
    while dead._chores:
        await asyncio.sleep(0.01)
    # as when the process is killed: the lock is free, all else is still there
    os.close(dead._lock)
    assert f"lk{number}" in links()
    dead._control.close()
    fresh = await router.open_router()
    try:
        assert orphan.wait(5) == -9
        assert not Path(f"/run/netns/{name}").exists() or fresh._number == number
    finally:
        await fresh.close()
    assert f"lk{number}" not in links()
