"""In the place of jupyterhub-istio-proxy: its objects, and its rights alone."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from tests.hubfleet.account import ROLES
from tests.hubfleet.hubproxy.conftest import Proxy, Run, eventually
from tests.hubfleet.hubproxy.test_truth import call, objects_in, served
from tests.hubfleet.routing import gateways

from hubfleet.kube.client import Client
from hubfleet.kube.resources import ROLEBINDINGS, SERVICEACCOUNTS, Resource
from hubfleet.routing.istio import VIRTUALSERVICES
from hubfleet.settings import ClusterSettings

OLD = Resource("networking.istio.io", "v1alpha3", "virtualservices", "VirtualService")


def as_it_wrote(path: str, host: str, port: int, **data: Any) -> dict[str, Any]:
    """A VirtualService as jupyterhub-istio-proxy 0.3 makes it."""
    name = f"jupyter-{hashlib.sha256(path.encode()).hexdigest()}"
    route = {
        "route_spec": path,
        "target": f"http://{host}:{port}",
        "jupyterhub": True,
        **({"data": data} if data else {}),
    }
    return {
        "apiVersion": OLD.api_version,
        "kind": OLD.kind,
        "metadata": {
            "name": name,
            "annotations": {
                "jupyter.splunk.io/proxy-data": base64.b64encode(json.dumps(route).encode()).decode()
            },
        },
        "spec": {
            "hosts": ["hub.example.org"],
            "gateways": ["edge"],
            "http": [
                {
                    "match": [{"uri": {"prefix": path}}],
                    "route": [
                        {
                            "destination": {
                                "host": f"{host}.jhub.svc.cluster.local",
                                "port": {"number": port},
                            }
                        }
                    ],
                    "headers": {"response": {"set": {"jupyter-proxy-id": name}}},
                }
            ],
        },
    }


INHERITED = (
    as_it_wrote("/", "hub", 8081, hub=True),
    as_it_wrote("/user/foo", "jupyter-foo", 8888, user="foo", server_name=""),
    as_it_wrote("/user/foo/named", "jupyter-foo-named", 8888, user="foo", server_name="named"),
    as_it_wrote("/user/josé", "jupyter-jose", 8888, user="josé", server_name=""),
)
FOREIGN = {
    "apiVersion": VIRTUALSERVICES.api_version,
    "kind": VIRTUALSERVICES.kind,
    "metadata": {"name": "somebodys"},
    "spec": {"hosts": ["other.example.org"], "gateways": ["edge"], "http": [{"match": [], "route": []}]},
}

FULL = ("get", "list", "watch", "create", "update", "patch", "delete")
DOCUMENTED = ("get", "list", "create", "delete")


async def account(
    client: Client, namespace: str, kubeconfig: Path, context: str, directory: Path, verbs: Sequence[str]
) -> ClusterSettings:
    """An account that has these rights on VirtualServices in the namespace, and no others."""
    meta = {"name": "proxy", "namespace": namespace}
    rule = {"apiGroups": ["networking.istio.io"], "resources": ["virtualservices"], "verbs": list(verbs)}
    rbac = "rbac.authorization.k8s.io"
    await client.create(
        SERVICEACCOUNTS, namespace, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    )
    await client.create(
        ROLES,
        namespace,
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
    )
    await client.create(
        ROLEBINDINGS,
        namespace,
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "proxy"},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "proxy"}],
        },
    )
    tokens = Resource("", "v1", "serviceaccounts/proxy/token", "TokenRequest")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = (await client.create(tokens, namespace, request))["status"]["token"]
    config = yaml.safe_load(kubeconfig.read_text())
    chosen = next(
        c["context"] for c in config["contexts"] if c["name"] == (context or config["current-context"])
    )
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == chosen["cluster"])
    path = directory / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "c", "user": {"token": token}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": namespace}}],
            }
        )
    )
    return ClusterSettings(name="test", kubeconfig=str(path))


@pytest.mark.parametrize("verbs", [FULL, DOCUMENTED], ids=["full", "documented"])
async def test_its_routes_are_read_kept_and_taken_over(
    running: Run,
    client: Client,
    namespace: str,
    kubeconfig: Path,
    kube_context: str,
    tmp_path: Path,
    verbs: Sequence[str],
) -> None:
    for obj in INHERITED:
        await client.create(OLD, namespace, obj)
    foreign = await client.create(VIRTUALSERVICES, namespace, FOREIGN)
    limited = await account(client, namespace, kubeconfig, kube_context, tmp_path, verbs)
    settings = {"backend": "istio", "inherit_prefix": "jupyter", "hostnames": ("hub.example.org",)}
    with structlog.testing.capture_logs() as logs:
        async with running(cluster=limited, **settings) as proxy:
            expected = {
                "/": {"hub": True, "jupyterhub": True, "target": "http://hub:8081"},
                "/user/foo": {
                    "jupyterhub": True,
                    "server_name": "",
                    "target": "http://jupyter-foo:8888",
                    "user": "foo",
                },
                "/user/foo/named": {
                    "jupyterhub": True,
                    "server_name": "named",
                    "target": "http://jupyter-foo-named:8888",
                    "user": "foo",
                },
                "/user/josé": {
                    "jupyterhub": True,
                    "server_name": "",
                    "target": "http://jupyter-jose:8888",
                    "user": "josé",
                },
            }
            assert await proxy.routes() == expected

            async def taken_over() -> bool:
                names = [o["metadata"]["name"] async for o in client.list(VIRTUALSERVICES, namespace)]
                return not any(name.startswith("jupyter-") for name in names)

            await eventually(taken_over)
            await eventually(lambda: equal(proxy, expected))

            async def at(path: str) -> str | None:
                return await served(client, namespace, "istio", path, "hub.example.org")

            assert await at("/user/foobar") == f"hub.{namespace}:8081"
            assert await at("/user/foo/named/lab") == f"jupyter-foo-named.{namespace}:8888"
            assert await at("/user/foo/lab") == f"jupyter-foo.{namespace}:8888"
            assert await at("/user/jos%C3%A9/lab") == f"jupyter-jose.{namespace}:8888"
            await proxy.add("/user/foo", "http://elsewhere:9999", user="foo")
            assert await at("/user/foo/lab") == f"elsewhere.{namespace}:9999"
            await proxy.add("/user/new", "http://new:8888", user="new")
            assert await at("/user/new") == f"new.{namespace}:8888"
            for path in ("/user/foo", "/user/new", "/user/jos%C3%A9", "/user/foo/named"):
                assert await call(proxy, "DELETE", path) == 204
            assert await call(proxy, "DELETE", "/user/foo") == 404
            assert await at("/user/foo/lab") == f"hub.{namespace}:8081"
            assert set(await proxy.routes()) == {"/"}
            assert await call(proxy, "DELETE", "/") == 204
            assert await client.get(VIRTUALSERVICES, namespace, "somebodys") == foreign
            assert [o["metadata"]["name"] for o in await objects_in(client, namespace, "istio")] == [
                "somebodys"
            ]
    missing = [entry for entry in logs if entry["event"].startswith("no right to")]
    assert bool(missing) == (verbs == DOCUMENTED)


async def equal(proxy: Proxy, expected: dict[str, Any]) -> bool:
    return await proxy.routes() == expected


async def test_with_the_documented_rights_many_writers_agree_and_nobody_is_ever_unserved(
    running: Run, client: Client, namespace: str, kubeconfig: Path, kube_context: str, tmp_path: Path
) -> None:
    limited = await account(client, namespace, kubeconfig, kube_context, tmp_path, DOCUMENTED)
    async with (
        running(cluster=limited, backend="istio") as one,
        running(cluster=limited, backend="istio") as other,
    ):
        await one.add("/user/0", "http://zero:8888")
        gaps = []

        async def look() -> None:
            while True:
                objects = await objects_in(client, namespace, "istio")
                if gateways.istio(objects, "h", "/user/0") != f"zero.{namespace}:8888":
                    gaps.append(objects)
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await asyncio.gather(
            *((one, other)[n % 2].add(f"/user/{n % 10 + 1}", f"http://s{n}:8888") for n in range(50))
        )
        looking.cancel()
        wanted = {f"/user/{n}" for n in range(11)}
        await eventually(lambda: agree(one, other, wanted), 15)
        routes = await one.routes()
        for path in wanted:
            place = routes[path]["target"].removeprefix("http://").replace(":", f".{namespace}:")
            assert await served(client, namespace, "istio", path) == place
        assert not gaps


async def agree(one: Proxy, other: Proxy, wanted: set[str]) -> bool:
    routes = await one.routes()
    return set(routes) == wanted and routes == await other.routes()
