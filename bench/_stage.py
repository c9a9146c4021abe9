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
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from hubfleet.demo import hub
from hubfleet.demo.process import Process, free_port

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
    addresses: hub.HubAddresses
    stage_token: str
    kubelet: bool  # whether pods run

    def token_for(self, user: str) -> str:
        return hub.token_for(self.addresses, self.stage_token, user)


@contextlib.contextmanager
def batch(kubeconfig: Path | None, context: str, *, kubelet: bool) -> Iterator[Stage]:
    """Start everything; without `kubeconfig` a localkube too."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hubfleet-bench-")))

        def start(name: str, command: list[str], ready, **env: str) -> Process:
            clean = {k: v for k, v in os.environ.items() if not k.startswith(("KBATCH_", "JUPYTERHUB_"))}
            process = Process(name, command, directory / f"{name}.log", env={**clean, **env})
            stack.enter_context(process).wait_until(ready, 60)
            return process

        if kubeconfig is None:
            kubeconfig, context = directory / "kubeconfig", "bench"
            command = [str(BIN / "localkube"), "--listen", "127.0.0.1:0", "--kubeconfig", str(kubeconfig)]
            command += ["--context", context] + ([] if kubelet else ["--no-kubelet"])
            start(
                "localkube",
                command,
                lambda: kubeconfig.exists() and "current-context" in kubeconfig.read_text(),
            )
        api = read_kubeconfig(kubeconfig, context, directory)

        addresses = hub.HubAddresses(free_port(), free_port(), free_port(), free_port())
        stage_token, service_token, proxy_token = (secrets.token_hex(24) for _ in range(3))
        config = directory / "jupyterhub_config.py"
        config.write_text(
            hub.configuration(
                addresses,
                proxy_token=proxy_token,
                service_token=service_token,
                stage_token=stage_token,
            )
        )
        settings = directory / "hubfleet.yaml"
        settings.write_bytes(
            msgspec.yaml.encode(
                {
                    "listen": f"127.0.0.1:{addresses.service_port}",
                    "hub": {
                        "api_url": addresses.api_url,
                        "api_token": service_token,
                        "service_name": "kbatch",
                    },
                    "clusters": [{"name": "bench", "context": context, "kubeconfig": str(kubeconfig)}],
                    "batch": {"prefix": "/services/kbatch"},
                    "tenancy": {"namespace": NAMESPACE_SCHEME, "adopt_unmarked": True},
                }
            )
        )
        ours = f"http://127.0.0.1:{addresses.service_port}"
        process = start(
            "hubfleet",
            [str(BIN / "hubfleet"), "serve", "--config", str(settings)],
            lambda: hub.call("GET", ours + "/ready")[0] == 200,
        )

        node = ROOT / ".venvs/node/node_modules/.bin"
        start("proxy", hub.proxy_command(addresses, node), lambda: True, CONFIGPROXY_AUTH_TOKEN=proxy_token)
        start(
            "hub",
            [str(BIN / "jupyterhub"), "--config", str(config)],
            lambda: hub.call("GET", addresses.api_url + "/")[0] == 200,
        )

        port = free_port()
        peer = f"http://127.0.0.1:{port}"
        # As its image runs it: one worker per core, two at least.
        start(
            "kbatch-proxy",
            [
                str(ROOT / ".venvs/kbatch-proxy/bin/uvicorn"),
                *[
                    "kbatch_proxy.main:app",
                    "--port",
                    str(port),
                    "--workers",
                    str(max(2, os.cpu_count() or 2)),
                ],
                *["--log-level", "warning"],
            ],
            lambda: hub.call("GET", peer + "/services/kbatch/profiles/")[0] == 200,
            KUBECONFIG=str(single_context(kubeconfig, context, directory)),
            KBATCH_PREFIX="/services/kbatch",
            KBATCH_INIT_LOGGING="0",
            JUPYTERHUB_API_TOKEN=service_token,
            JUPYTERHUB_API_URL=addresses.api_url,
            JUPYTERHUB_HOST=addresses.url,
            JUPYTERHUB_SERVICE_NAME="kbatch",
        )
        yield Stage(
            api=api,
            ours=ours + "/services/kbatch/",
            peer=peer + "/services/kbatch/",
            our_pid=process.pid,
            addresses=addresses,
            stage_token=stage_token,
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
