"""One API server, one JupyterHub, hubfleet and the real kbatch-proxy side by side on the same of both."""

import base64
import contextlib
import json
import os
import secrets
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from hubfleet.demo import hub
from hubfleet.demo.process import Process, free_port

NO_LIMITS = {
    # One user asks for all of it here, which is what these keep from happening.
    "requests_per_second": 1e6,
    "submissions_per_second": 1e6,
    "concurrent_submissions": 16,
    "followed_logs_per_user": 1000,
}
ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
NAMESPACE_SCHEME = "kbatch"
"""Of users' namespaces: the peer knows no other, and both are asked for what is in the same one."""


class Api(msgspec.Struct, frozen=True):
    """How to reach the API server directly."""

    url: str
    headers: dict[str, str]
    tls: ssl.SSLContext | None
    certificate: str  # path of the client's certificate and key, if that is how it logs in
    kubeconfig: Path
    context: str


class Stage(msgspec.Struct, frozen=True):
    """What a benchmark talks to."""

    api: Api
    ours: str  # base URL, with a slash at the end
    peer: str
    our_pid: int
    token_for: Callable[[str], str]  # of a user
    kubelet: bool  # whether pods run


class Ground:
    """An API server and a JupyterHub, and what is started on them; all of it ends with the `with`."""

    def __init__(self, kubeconfig: Path | None, context: str, *, kubelet: bool):
        self._stack = ExitStack()
        self._given = kubeconfig
        self.context = context
        self.kubelet = kubelet

    def __enter__(self) -> "Ground":
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        self.directory = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hubfleet-bench-"))
        )
        self.kubeconfig = self._given or self._localkube()
        self.api = read_kubeconfig(self.kubeconfig, self.context, self.directory)
        self.addresses = hub.HubAddresses(free_port(), free_port(), free_port(), free_port())
        self.stage_token, self.service_token, proxy_token = (secrets.token_hex(24) for _ in range(3))
        config = self.directory / "jupyterhub_config.py"
        config.write_text(
            hub.configuration(
                self.addresses,
                proxy_token=proxy_token,
                service_token=self.service_token,
                stage_token=self.stage_token,
            )
        )
        node = ROOT / ".venvs/node/node_modules/.bin"
        command = hub.proxy_command(self.addresses, node)
        self.start("proxy", command, lambda: True, CONFIGPROXY_AUTH_TOKEN=proxy_token)
        self.start(
            "hub",
            [str(BIN / "jupyterhub"), "--config", str(config)],
            lambda: hub.call("GET", self.addresses.api_url + "/")[0] == 200,
        )

    def _localkube(self) -> Path:
        path, self.context = self.directory / "kubeconfig", "bench"
        command = [str(BIN / "localkube"), "--listen", "127.0.0.1:0", "--kubeconfig", str(path)]
        command += ["--context", self.context] + ([] if self.kubelet else ["--no-kubelet"])
        self.start("localkube", command, lambda: path.exists() and "current-context" in path.read_text())
        return path

    def start(self, name: str, command: list[str], ready: Callable[[], bool], **env: str) -> Process:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("KBATCH_", "JUPYTERHUB_"))}
        process = Process(name, command, self.directory / f"{name}.log", env={**clean, **env})
        self._stack.enter_context(process).wait_until(ready, 60)
        return process

    def hubfleet(self, name: str = "hubfleet", **sections: dict) -> tuple[str, Process]:
        """A hubfleet: its base URL, with a slash at the end. `sections` are of the settings."""
        port = free_port()
        config = self.directory / f"{name}.yaml"
        settings = {
            "listen": f"127.0.0.1:{port}",
            "hub": {
                "api_url": self.addresses.api_url,
                "api_token": self.service_token,
                "service_name": "kbatch",
            },
            "clusters": [{"name": "bench", "context": self.context, "kubeconfig": str(self.kubeconfig)}],
            "batch": {"prefix": "/services/kbatch"},
        }
        config.write_bytes(msgspec.yaml.encode(settings | sections))
        url = f"http://127.0.0.1:{port}"
        command = [str(BIN / "hubfleet"), "serve", "--config", str(config)]
        return f"{url}/services/kbatch/", self.start(
            name, command, lambda: hub.call("GET", url + "/ready")[0] == 200
        )

    def kbatch_proxy(self) -> str:
        """The real one, as its image runs it: one worker per core, two at least."""
        port = free_port()
        url = f"http://127.0.0.1:{port}/services/kbatch/"
        command = [str(ROOT / ".venvs/kbatch-proxy/bin/uvicorn"), "kbatch_proxy.main:app"]
        command += ["--port", str(port), "--workers", str(max(2, os.cpu_count() or 2))]
        self.start(
            "kbatch-proxy",
            [*command, "--log-level", "warning"],
            lambda: hub.call("GET", url + "profiles/")[0] == 200,
            KUBECONFIG=str(single_context(self.kubeconfig, self.context, self.directory)),
            KBATCH_PREFIX="/services/kbatch",
            KBATCH_INIT_LOGGING="0",
            JUPYTERHUB_API_TOKEN=self.service_token,
            JUPYTERHUB_API_URL=self.addresses.api_url,
            JUPYTERHUB_HOST=self.addresses.url,
            JUPYTERHUB_SERVICE_NAME="kbatch",
        )
        return url

    def runs_pods(self) -> bool:
        """Whether a node is ready."""
        request = urllib.request.Request(self.api.url + "/api/v1/nodes", headers=self.api.headers)
        with urllib.request.urlopen(request, context=self.api.tls) as response:
            nodes = json.loads(response.read())["items"]
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in nodes
            for condition in node["status"].get("conditions", [])
        )

    def token_for(self, user: str) -> str:
        return hub.token_for(self.addresses, self.stage_token, user)


@contextlib.contextmanager
def batch(kubeconfig: Path | None, context: str, *, kubelet: bool) -> Iterator[Stage]:
    """Start everything; without `kubeconfig` a localkube too."""
    with Ground(kubeconfig, context, kubelet=kubelet) as ground:
        ours, process = ground.hubfleet(
            limits=NO_LIMITS, tenancy={"namespace": NAMESPACE_SCHEME, "adopt_unmarked": True}
        )
        yield Stage(
            api=ground.api,
            ours=ours,
            peer=ground.kbatch_proxy(),
            our_pid=process.pid,
            token_for=ground.token_for,
            kubelet=kubelet,
        )


def single_context(kubeconfig: Path, context: str, directory: Path) -> Path:
    """A copy whose current context is the one in use: the peer knows no other."""
    document = msgspec.yaml.decode(kubeconfig.read_bytes())
    if context:
        document["current-context"] = context
    path = directory / "kubeconfig-of-the-peer"
    path.write_bytes(msgspec.yaml.encode(document))
    return path


def read_kubeconfig(path: Path, context: str, directory: Path) -> Api:
    """The address and credentials of a context: a bearer token or a client certificate."""
    document = msgspec.yaml.decode(path.read_bytes())

    def named(kind: str, name: str) -> dict:
        return next(entry for entry in document[kind] if entry["name"] == name)[kind[:-1]]

    name = context or document["current-context"]
    chosen = named("contexts", name)
    cluster, user = named("clusters", chosen["cluster"]), named("users", chosen["user"])
    tls, pair = None, None
    if cluster["server"].startswith("https"):
        tls = ssl.create_default_context()
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        elif authority := _content(cluster, "certificate-authority"):
            tls = ssl.create_default_context(cadata=authority)
        certificate, key = _content(user, "client-certificate"), _content(user, "client-key")
        if certificate and key:
            pair = directory / "client.pem"
            pair.touch(0o600)
            pair.write_text(certificate + "\n" + key)
            tls.load_cert_chain(pair)
    token = user.get("token", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Api(cluster["server"].rstrip("/"), headers, tls, str(pair or ""), path, name)


def _content(entry: dict, key: str) -> str:
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    return Path(entry[key]).read_text() if entry.get(key) else ""


def client_payload(name: str, *, code: bool) -> bytes:
    """What the real kbatch 0.5 client sends for a job, built by its own code."""
    program = f"""
import base64, json, pathlib, tempfile
from kbatch._backend import make_configmap, make_job
from kbatch._types import Job
job = Job(name={name!r}, image="python:3.13", command=["python3", "main.py"], env={{"A": "1", "B": "2"}})
body = {{"job": make_job(job, profile={{}}).to_dict()}}
if {code}:
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "main.py").write_text("print('hello')\\n" * 200)
        code = make_configmap(pathlib.Path(folder), generate_name={name!r}).to_dict()
    code["binary_data"]["code"] = base64.b64encode(code["binary_data"]["code"]).decode()
    body["code"] = code
print(json.dumps(body))
"""
    python = ROOT / ".venvs/kbatch-0.5/bin/python"
    output = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout
    return json.dumps(json.loads(output)).encode()
