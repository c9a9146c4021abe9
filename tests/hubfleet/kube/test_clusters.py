"""Every way in that a kubeconfig knows, against servers that check who comes."""

import asyncio
import base64
import datetime
import ipaddress
import json
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hubfleet.kube.breaker import State
from hubfleet.kube.clusters import Clusters, proxy_for
from hubfleet.kube.errors import ApiError, ClusterUnreachable, CredentialsError
from hubfleet.settings import ClusterSettings

Serve = Callable[..., Awaitable[str]]


class Authority:
    """A CA that makes certificates."""

    def __init__(self, name: str):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name: str, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = self._sign(subject, key.public_key(), names=names)
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool = False, names: Any = ()) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("cluster-ca")


async def whoami(request: web.Request) -> web.Response:
    """Who the server thinks that its client is."""
    assert request.transport is not None
    peer = request.transport.get_extra_info("peercert") or {}
    common = [value for part in peer.get("subject", ()) for key, value in part if key == "commonName"]
    return web.json_response({"cn": common, "authorization": request.headers.get("Authorization", "")})


async def tls_server(
    serve: Serve, directory: Path, authority: Authority, *names: x509.GeneralName, handler: Any = whoami
) -> str:
    certificate, key = authority.issue("server", *names)
    (directory / "server.pem").write_bytes(certificate + key)
    (directory / "server-ca.pem").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.load_verify_locations(directory / "server-ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return await serve(handler, context)


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def kubeconfig(directory: Path, cluster: dict[str, Any], user: dict[str, Any]) -> str:
    path = directory / "config"
    document = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


async def ask(directory: Path, cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    settings = ClusterSettings(name="c", kubeconfig=kubeconfig(directory, cluster, user))
    async with Clusters((settings,), environ={"PATH": os.environ["PATH"]}) as clusters:
        assert clusters.default.namespace_of_context == "n"
        answer: dict[str, Any] = json.loads(await clusters["c"].client.raw("/whoami"))
        return answer


async def test_a_custom_ca_and_a_client_certificate(
    serve: Serve, tmp_path: Path, authority: Authority
) -> None:
    server = await tls_server(serve, tmp_path, authority, LOOPBACK)
    certificate, key = authority.issue("jo")
    data = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}
    cluster = {"server": server, "certificate-authority-data": b64(authority.pem)}
    assert (await ask(tmp_path, cluster, data))["cn"] == ["jo"]
    for name, content in (("c.crt", certificate), ("c.key", key), ("ca.crt", authority.pem)):
        (tmp_path / name).write_bytes(content)
    files = {"client-certificate": "c.crt", "client-key": "c.key", "token": "t"}
    answer = await ask(tmp_path, {"server": server, "certificate-authority": "ca.crt"}, files)
    assert answer == {"cn": ["jo"], "authorization": "Bearer t"}


async def test_another_ca_is_not_trusted(serve: Serve, tmp_path: Path, authority: Authority) -> None:
    server = await tls_server(serve, tmp_path, authority, LOOPBACK)
    other = Authority("other")
    with pytest.raises(ClusterUnreachable, match="certificate"):
        await ask(tmp_path, {"server": server, "certificate-authority-data": b64(other.pem)}, {})
    answer = await ask(tmp_path, {"server": server, "insecure-skip-tls-verify": True}, {"token": "t"})
    assert answer["authorization"] == "Bearer t"


async def test_a_tls_server_name(serve: Serve, tmp_path: Path, authority: Authority) -> None:
    server = await tls_server(serve, tmp_path, authority, x509.DNSName("api.internal"))
    cluster = {"server": server, "certificate-authority-data": b64(authority.pem)}
    with pytest.raises(ClusterUnreachable, match=r"127.0.0.1"):
        await ask(tmp_path, cluster, {})
    assert await ask(tmp_path, {**cluster, "tls-server-name": "api.internal"}, {})


async def test_a_plugins_certificates_are_renewed(serve: Serve, tmp_path: Path, authority: Authority) -> None:
    """The server refuses the first certificate; the plugin's second one works, on new connections."""

    async def gate(request: web.Request) -> web.StreamResponse:
        answer = await whoami(request)
        return answer if b"run2" in (answer.body or b"") else web.Response(status=401)  # type: ignore[operator]

    server = await tls_server(serve, tmp_path, authority, LOOPBACK, handler=gate)
    for run in (1, 2):
        certificate, key = authority.issue(f"run{run}")
        status = {"clientCertificateData": certificate.decode(), "clientKeyData": key.decode()}
        document = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": status,
        }
        (tmp_path / f"{run}.json").write_text(json.dumps(document))
    plugin = tmp_path / "plugin"
    plugin.write_text(
        '#!/bin/sh\ncd "$(dirname "$0")"\necho x >> runs\ncat "$(wc -l < runs | tr -d " ").json"\n'
    )
    plugin.chmod(0o755)
    spec = {"command": "./plugin", "apiVersion": "client.authentication.k8s.io/v1"}
    cluster = {"server": server, "certificate-authority-data": b64(authority.pem)}
    assert (await ask(tmp_path, cluster, {"exec": spec}))["cn"] == ["run2"]


async def test_the_account_of_a_pod(serve: Serve, tmp_path: Path, authority: Authority) -> None:
    server = await tls_server(serve, tmp_path, authority, LOOPBACK)
    host, _, port = server.removeprefix("https://").partition(":")
    for name, content in (("token", b"one"), ("ca.crt", authority.pem), ("namespace", b"hub\n")):
        (tmp_path / name).write_bytes(content)
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    settings = (ClusterSettings(name="here", in_cluster=True),)
    async with Clusters(settings, environ=environ, service_account=tmp_path) as clusters:
        assert clusters.default.namespace_of_context == "hub"
        assert json.loads(await clusters.default.client.raw("/"))["authorization"] == "Bearer one"
    with pytest.raises(CredentialsError, match="this is no pod"):
        async with Clusters(settings, environ={}):
            pytest.fail("entered")


async def test_a_proxy(serve: Serve, tmp_path: Path) -> None:
    async def proxy(request: web.Request) -> web.Response:
        return web.json_response({"asked": str(request.url)})

    through = await serve(proxy)
    answer = await ask(tmp_path, {"server": "http://cluster.invalid", "proxy-url": through}, {})
    assert answer == {"asked": "http://cluster.invalid/whoami"}
    with pytest.raises(CredentialsError, match="socks5://x: only http and https"):
        await ask(tmp_path, {"server": "http://cluster.invalid", "proxy-url": "socks5://x"}, {})


@pytest.mark.parametrize(
    ("server", "environ", "expected"),
    [
        ("https://a.example", {"HTTPS_PROXY": "http://p"}, "http://p"),
        ("https://a.example", {"HTTP_PROXY": "http://p"}, ""),
        ("https://a.example:6443", {"https_proxy": "http://p", "no_proxy": "b.example,.example"}, ""),
        ("https://10.0.0.1", {"https_proxy": "http://p", "NO_PROXY": "10.0.0.1"}, ""),
        ("https://10.0.0.2", {"https_proxy": "http://p", "NO_PROXY": "10.0.0.1"}, "http://p"),
        ("https://a.example", {}, ""),
    ],
)
def test_the_proxies_of_the_environment(server: str, environ: dict[str, str], expected: str) -> None:
    assert proxy_for(server, environ) == expected


async def test_a_dead_cluster_harms_no_other(serve: Serve, tmp_path: Path) -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return web.Response()

    for name, handler in (("dead", hang), ("alive", whoami)):
        (tmp_path / name).mkdir()
        kubeconfig(tmp_path / name, {"server": await serve(handler)}, {"token": name})
    settings = tuple(
        ClusterSettings(name=name, kubeconfig=str(tmp_path / name / "config"), budget=0.3, max_connections=1)
        for name in ("dead", "alive")
    )
    async with Clusters(settings, environ={}) as clusters:
        assert list(clusters) == ["dead", "alive"] and clusters.default.name == "dead"

        async def knock() -> None:
            with pytest.raises(ClusterUnreachable, match="cluster dead"):
                await clusters["dead"].client.raw("/")

        knocking = asyncio.gather(*(knock() for _ in range(8)))
        for _ in range(20):
            assert json.loads(await clusters["alive"].client.raw("/"))["authorization"] == "Bearer alive"
        await knocking
        assert clusters["dead"].breaker.state is State.OPEN
        assert clusters["alive"].breaker.state is State.CLOSED


async def test_a_missing_plugin_does_not_keep_us_from_starting(tmp_path: Path) -> None:
    spec = {
        "command": "no-such-plugin",
        "apiVersion": "client.authentication.k8s.io/v1",
        "installHint": "get it",
    }
    with pytest.raises(CredentialsError, match=r"(?s)no-such-plugin.*get it"):
        await ask(tmp_path, {"server": "https://127.0.0.1:1"}, {"exec": spec})


@pytest.mark.parametrize("server", ["", "ftp://x", "https://"])
async def test_a_server_that_is_no_url(tmp_path: Path, server: str) -> None:
    with pytest.raises(CredentialsError, match="is not a URL"):
        await ask(tmp_path, {"server": server}, {})


async def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"server": "https://x"}, {})
    settings = (ClusterSettings(name="c", kubeconfig=path, context="y"),)
    with pytest.raises(CredentialsError, match=r"cluster c: no context 'y' in .*there are: x"):
        async with Clusters(settings, environ={}):
            pytest.fail("entered")


def test_names_are_needed_and_unique() -> None:
    for settings in ((), (ClusterSettings(name="a"), ClusterSettings(name="a"))):
        with pytest.raises(ValueError, match="a name of its own"):
            Clusters(settings, environ={})


async def test_a_path_in_the_server_url_is_kept(serve: Serve, tmp_path: Path) -> None:
    async def path(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path})

    answer = await ask(tmp_path, {"server": f"{await serve(path)}/k8s/clusters/c-1/"}, {})
    assert answer == {"path": "/k8s/clusters/c-1/whoami"}


async def test_a_refusal_without_credentials_is_the_servers(serve: Serve, tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.Response:
        status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "system:anonymous cannot"}
        return web.json_response(status, status=403)

    with pytest.raises(ApiError, match="system:anonymous cannot"):
        await ask(tmp_path, {"server": await serve(refuse)}, {})
