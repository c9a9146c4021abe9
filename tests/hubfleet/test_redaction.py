"""One long story full of secrets, told to the real server and controller; all that they say is searched.

A secret may be in the Secret of the Job or CronJob that it was submitted for, and (where it is part of a
job's code) in its ConfigMaps; nowhere else: not in a log, in an answer to anybody else, a figure, an object.
"""

import asyncio
import base64
import io
import json
import secrets
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from tests.hubfleet.batch.conftest import PREFIX, Server, body, until

from hubfleet.kube.client import Client
from hubfleet.kube.errors import NotFound
from hubfleet.kube.resources import (
    CONFIGMAPS,
    CRONJOBS,
    JOBS,
    LEASES,
    NAMESPACES,
    NETWORKPOLICIES,
    PODS,
    RESOURCEQUOTAS,
    ROLEBINDINGS,
    SECRETS,
    SERVICEACCOUNTS,
    Resource,
)

EVENTS = Resource("", "v1", "events", "Event")
EVERYTHING = (
    NAMESPACES, PODS, CONFIGMAPS, JOBS, CRONJOBS, LEASES, SERVICEACCOUNTS, RESOURCEQUOTAS, NETWORKPOLICIES,
    ROLEBINDINGS, EVENTS,
)  # fmt: skip


class Planted:
    """The secrets, by what they are, and the many shapes in which they would be found."""

    def __init__(self) -> None:
        self._shapes: list[tuple[str, set[str]]] = []

    def __call__(self, what: str, value: str = "") -> str:
        value = value or f"pl4nt+d/{what.replace(' ', '_')}={secrets.token_urlsafe(12)}"
        self._shapes.append((what, shapes(value)))
        return value

    def found_in(self, text: str) -> set[str]:
        """What they are."""
        return {what for what, each in self._shapes if any(shape in text for shape in each)}


def shapes(value: str) -> set[str]:
    """Plain, as JSON, percent-encoded, and in base64 at each of the three places where it can begin."""
    found = {value, json.dumps(value)[1:-1], quote(value), quote(value, safe=""), quote_plus(value)}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value.encode()).decode()
        # Without the letters at both ends, of which some bits belong to the neighbours.
        whole = encoded[(0, 2, 3)[shift] : len(encoded.rstrip("=")) - 1]
        found |= {whole, whole.replace("+", "-").replace("/", "_")}
    return found


def test_the_search_finds_what_it_should() -> None:
    planted = Planted()
    value = planted("it")
    for text in (value, quote(value), json.dumps({"a": value})):
        assert planted.found_in(f"xx{text}yy") == {"it"}
    for before in ("", "a", "ab", "abc"):
        assert planted.found_in(base64.b64encode(f"{before}{value}xyz".encode()).decode()) == {"it"}
    assert not planted.found_in("pl4nt+d")


def zipped(**files: str) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return base64.b64encode(archive.getvalue()).decode()


def submission(kind: str, planted: Planted) -> dict[str, Any]:
    """A body with a secret in every place where an ordinary user has one."""
    sent = json.loads(body(f"{kind}-0.5"))
    job = sent["job"]["spec"]["job_template"]["spec"] if kind == "cronjob" else sent["job"]["spec"]
    pod = job["template"]["spec"]
    first = pod["containers"][0]
    first["env"] = [{"name": "PASSWORD", "value": planted(f"{kind} env")}]
    more = {"image": first["image"], "command": ["true"]}
    pod["containers"].append(
        {**more, "name": "second", "env": [{"name": "A", "value": planted(f"{kind} second env")}]}
    )
    pod["init_containers"] = [
        {**more, "name": "first", "env": [{"name": "A", "value": planted(f"{kind} init env")}]}
    ]
    sent["code"] = {"binary_data": {"code": zipped(main=planted(f"{kind} code"))}}
    return dict(sent)


def kubeconfig(path: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "c", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    path.write_text(json.dumps(document))
    return path


def plugin(directory: Path, name: str, script: str, **env: str) -> dict[str, Any]:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(path),
            "interactiveMode": "Never",
            "env": [{"name": key, "value": value} for key, value in env.items()],
        }
    }


def through_a_plugin(given: Path, context: str, directory: Path, planted: Planted) -> Path:
    """The cluster under test, logged into with a token that a plugin prints; as it is, where it has none."""
    document = msgspec.yaml.decode(given.read_bytes())
    chosen = next(
        each["context"]
        for each in document["contexts"]
        if each["name"] == (context or document["current-context"])
    )
    cluster = next(each["cluster"] for each in document["clusters"] if each["name"] == chosen["cluster"])
    user = next(each["user"] for each in document["users"] if each["name"] == chosen["user"])
    if "token" not in user:
        return given
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": planted("a plugin's token", user["token"])},
    }
    script = f"cat <<'END'\n{json.dumps(credential)}\nEND\necho warned about $SECRET >&2"
    user = plugin(directory, "good-plugin", script, SECRET=planted("a plugin's variable"))
    return kubeconfig(directory / "good.yaml", cluster.pop("server"), user, **cluster)


def failing_clusters(directory: Path, planted: Planted, talkative: str) -> dict[str, Path]:
    """By name, each with secrets in its credentials, and a reason of its own not to work."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"https://127.0.0.1:{probe.getsockname()[1]}"
    password = planted("a password")
    variable = planted("a failing plugin's variable")
    words = f'echo "cannot log in: password={password} and $SECRET" >&2; exit 1'
    printed = planted("a confused plugin's output")
    users: dict[str, dict[str, Any]] = {
        "dead": {"token": planted("a dead cluster's token")},
        "basic": {"username": "me", "password": planted("a basic password")},
        "failing-plugin": plugin(directory, "failing-plugin", words, SECRET=variable),
        "confused-plugin": plugin(directory, "confused-plugin", f'echo "token: {printed}"'),
        "oidc": {
            "auth-provider": {
                "name": "oidc",
                "config": {
                    "client-id": "me",
                    "client-secret": planted("an OIDC client's secret"),
                    "refresh-token": planted("a refresh token"),
                    "id-token": planted("an ID token", expired_jwt()),
                    "idp-issuer-url": nobody,
                },
            }
        },
    }
    found = {name: kubeconfig(directory / f"{name}.yaml", nobody, user) for name, user in users.items()}
    token = {
        "token": planted(
            "a talkative cluster's token", f"eyJ{secrets.token_hex(8)}.{secrets.token_hex(20)}.x"
        )
    }
    return found | {"talkative": kubeconfig(directory / "talkative.yaml", talkative, token)}


class Talkative(BaseHTTPRequestHandler):
    """An API server, or a proxy before one, that says too much."""

    def do_GET(self) -> None:
        message = f"cannot do {self.path} with {self.headers['Authorization']}"
        status = {"kind": "Status", "apiVersion": "v1", "code": 500, "reason": "x", "message": message}
        content = json.dumps(status).encode()
        self.send_response(500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def talkative() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Talkative)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def expired_jwt() -> str:
    parts = ({"alg": "none"}, {"exp": 1_000_000_000, "of": secrets.token_hex(8)})
    encoded = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts]
    return ".".join([*encoded, secrets.token_urlsafe(12)])


@pytest.fixture
def planted() -> Planted:
    return Planted()


class Stage:
    """The server and the controller, at the log level debug, and all that anybody else was answered."""

    def __init__(
        self, hub: Any, good: Path, context: str, directory: Path, planted: Planted, clusters: dict[str, Path]
    ):
        service_token = planted("the service's token", hub.stage_token)
        good_cluster = {"name": "good", "kubeconfig": str(good), "context": context}
        settings: dict[str, Any] = {
            "hub": {
                "api_url": hub.api_url,
                "api_token": service_token,
                "service_name": hub.service_name,
            },
            "clusters": [
                good_cluster if good.name != "good.yaml" else {**good_cluster, "context": "c"},
                *({"name": name, "kubeconfig": str(path)} for name, path in clusters.items()),
            ],
            "batch": {"prefix": PREFIX, "extra_env": {"OPERATORS": planted("the operator's env")}},
            "log": {"level": "debug"},
        }
        self.server = Server(directory, settings)
        self.failing = list(clusters)
        self.answers: list[str] = []
        config = directory / "hubfleet.yaml"
        self._log = directory / "controller.log"
        command = [str(Path(sys.executable).with_name("hubfleet")), "controller", "--config", str(config)]
        with self._log.open("wb") as output:
            self.controller = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        self.server.stop()
        self.controller.send_signal(signal.SIGTERM)
        try:
            self.controller.wait(20)
        except subprocess.TimeoutExpired:
            self.controller.kill()
            self.controller.wait()

    @property
    def logs(self) -> str:
        return self.server.log + self._log.read_text()

    def asks(self, method: str, path: str, token: str = "", sent: bytes | None = None) -> tuple[int, bytes]:
        """Somebody who planted nothing."""
        status, headers, content = self.server.call(method, path, token, sent)
        self.answers.append(f"{headers} {content.decode(errors='replace')}")
        return status, content


@pytest.fixture
def stage(
    jupyterhub: Any, kubeconfig: Path, kube_context: str, tmp_path: Path, planted: Planted, talkative: str
) -> Iterator[Stage]:
    good = through_a_plugin(kubeconfig, kube_context, tmp_path, planted)
    failing = failing_clusters(tmp_path, planted, talkative)
    stage = Stage(jupyterhub, good, kube_context, tmp_path, planted, failing)
    try:
        stage.server.wait_until_ready()
        yield stage
    finally:
        stage.stop()


def wrong_bodies(planted: Planted) -> Iterator[bytes]:
    secret = planted("in a wrong body").encode()
    yield b'{"job": {"metadata": {"name": "' + secret
    yield b'{"token": "' + secret + b'"}'
    yield b'{"' + secret + b'": 1, "job": null}'
    yield secret
    yield b'{"job": "' + secret + b'"}'
    yield b'\xff\xfe{"job": "' + secret + b'"}'
    sent = json.loads(body("job-0.5"))
    container = sent["job"]["spec"]["template"]["spec"]["containers"][0]
    container["env"] = secret.decode()
    yield json.dumps(sent).encode()
    container["env"] = [{"name": "A", "value": {"secret": secret.decode()}}]
    yield json.dumps(sent).encode()
    container["env"] = [{"name": secret.decode(), "value": "x"}]
    yield json.dumps(sent).encode()
    container["env"] = []
    container["resources"] = {"limits": {"cpu": secret.decode()}}
    yield json.dumps(sent).encode()
    sent = json.loads(body("job-0.5"))
    yield json.dumps(sent | {"code": {"binary_data": {"code": secret.decode()}}}).encode()
    yield json.dumps(
        sent | {"code": {"binary_data": {"code": zipped(**{f"../{secret.decode()}": ""})}}}
    ).encode()


async def test_nothing_tells_a_secret(
    stage: Stage, planted: Planted, jupyterhub: Any, client: Client
) -> None:
    name = f"red-{secrets.token_hex(3)}"
    mine, others = (planted("my token", jupyterhub.user(name)), jupyterhub.user(f"{name}-other"))
    call = stage.server.call

    # What is as it should be.
    made = {}
    for kind, path in (("job", "jobs/"), ("cronjob", "cronjobs/")):
        status, _, content = call("POST", path, mine, json.dumps(submission(kind, planted)).encode())
        assert status == 200, content
        made[kind] = json.loads(content)["metadata"]
        assert planted.found_in(content.decode()) == set(), "not even in the answer to its own user"
    namespace = made["job"]["namespace"]
    (token_id,) = [
        each["id"]
        for each in jupyterhub.call("GET", f"/users/{name}/tokens")["api_tokens"]
        if each["note"].startswith("hubfleet: cron job")
    ]
    assert made["cronjob"]["annotations"]["hubfleet.dev/token"] == token_id
    for path in (
        "jobs/",
        "cronjobs/",
        "pods/",
        f"jobs/{made['job']['name']}",
        f"jobs/logs/{made['job']['name']}",
    ):
        call("GET", path, mine)

    # What is not.
    for sent in wrong_bodies(planted):
        for path in ("jobs/", "cronjobs/"):
            status, _, content = call("POST", path, mine, sent)
            assert 400 <= status < 500, (status, content)
    wrong = planted("a wrong token")
    for token in (wrong, planted("another wrong token", secrets.token_hex(16)), f"{wrong} {wrong}"):
        assert call("GET", "jobs/", token)[0] == 401
    query = quote(planted("a token in a query"))
    for path in (f"jobs/?token={query}", f"jobs/nothing?access_token={query}&x=1", f"authorized?{query}"):
        call("GET", path, mine)
        call("GET", path)
    secret = planted("in other headers")
    for header in ("Cookie", "X-Api-Key", "Proxy-Authorization", "X-Request-Id", "Referer"):
        await raw(
            stage.server,
            f"GET {PREFIX}/jobs/ HTTP/1.1",
            f"{header}: {secret}",
            f"Authorization: Basic {secret}",
        )
    for cluster in stage.failing:
        for method, path, sent in (
            ("GET", "jobs/", None),
            ("POST", "jobs/", json.dumps(submission("job", planted)).encode()),
            ("POST", "cronjobs/", json.dumps(submission("cronjob", planted)).encode()),
            ("GET", "jobs/logs/x/?stream=true", None),
        ):
            assert call(method, f"clusters/{cluster}/{path}", mine, sent)[0] in (422, 500, 503)
            stage.asks("GET", f"clusters/{cluster}/jobs/", others)
    jupyterhub.revoke(mine)
    call("GET", "jobs/", mine)

    # What the others see.
    for path in ("authorized", "profiles/", "jobs/", "cronjobs/", "pods/", "schema/openapi.json", "nowhere"):
        stage.asks("GET", path, others)
    for what, each in made.items():
        stage.asks("GET", f"{what}s/{each['name']}", others)
        stage.asks("GET", f"jobs/logs/{each['name']}/", others)
        stage.asks("DELETE", f"{what}s/{each['name']}", others)
    for path in ("/metrics", "/ready", "/health", "/"):
        stage.asks("GET", stage.server.origin + path)
    assert planted.found_in("".join(stage.answers)) == set()

    # What is in the cluster.
    await owned_secrets_only(client, namespace, made, planted)

    # What the controller did meanwhile, and both of them at their end.
    await until(lambda: '"controlling"' in stage.logs)
    await asyncio.sleep(0)
    again = jupyterhub.user(name)
    for kind, each in made.items():
        assert call("DELETE", f"{kind}s/{each['name']}", again)[0] == 200
    assert token_id not in {
        each["id"] for each in jupyterhub.call("GET", f"/users/{name}/tokens")["api_tokens"]
    }
    stage.stop()
    for words in (
        "cannot log in",
        "printed something that is not JSON",
        "the issuer renews nothing",
        "cannot do /api",
    ):
        assert words in stage.logs, "what an operator needs to know is there"
    for line in stage.logs.splitlines():
        assert planted.found_in(line) == set(), line
    for person in (name, f"{name}-other"):
        try:
            await client.delete(NAMESPACES, None, namespace.replace(name, person))
        except NotFound:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "clusters: [{name: a, kubeconfig: KUBECONFIG}]",
        "hub: {api_token: [SECRET]}",
        "hub: {api_token: {SECRET: 1}}",
        "batch: {extra_env: {A: [SECRET]}}",
        "batch: {extra_env: SECRET}",
        "hub: {api_token: SECRET",
    ],
)
def test_a_start_that_fails_tells_none(text: str, tmp_path: Path, planted: Planted) -> None:
    key = base64.b64encode(planted("a key").encode()).decode()
    user = {"client-certificate-data": base64.b64encode(b"none").decode(), "client-key-data": key}
    path = kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:1", user)
    config = tmp_path / "hubfleet.yaml"
    secret = json.dumps(planted("in the settings"))
    config.write_text(text.replace("KUBECONFIG", str(path)).replace("SECRET", secret))
    command = [str(Path(sys.executable).with_name("hubfleet")), "serve", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert planted.found_in(done.stdout + done.stderr) == set(), done.stderr


async def owned_secrets_only(client: Client, namespace: str, made: dict[str, Any], planted: Planted) -> None:
    for resource in EVERYTHING:
        where = namespace if resource.namespaced else None
        found = [each async for each in client.list(resource, where)]
        for each in found:
            code = each.pop("binaryData", None) if resource is CONFIGMAPS else None
            text = json.dumps(each)
            assert planted.found_in(text) == set(), (resource.kind, text)
            if code is not None:
                (owner,) = each["metadata"]["ownerReferences"]
                kind = owner["kind"].lower()
                assert planted.found_in(base64.b64decode(code["code"]).decode("latin-1")) == {f"{kind} code"}
    holders = {}
    async for each in client.list(SECRETS, namespace):
        data = {k: base64.b64decode(v).decode() for k, v in each.pop("data", {}).items()}
        assert planted.found_in(json.dumps(each)) == set()
        if inside := planted.found_in(json.dumps(data)):
            (owner,) = each["metadata"]["ownerReferences"]
            assert owner["uid"] == made[owner["kind"].lower()]["uid"]
            holders[owner["kind"].lower()] = inside
    everywhere = {"the operator's env"}
    for kind, token in (("job", {"my token"}), ("cronjob", set())):
        env = {f"{kind} {which}env" for which in ("", "second ", "init ")}
        assert holders[kind] == env | everywhere | token


async def raw(server: Server, *lines: str) -> bytes:
    port = int(server.origin.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*lines, "Host: a", "Connection: close", "", ""]).encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer
