"""`hubfleet hubproxy` as a process, with the environment of jupyterhub-istio-proxy's Deployment alone."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("hubfleet")), "hubproxy"]
ENVIRONMENT = {
    "CONFIGPROXY_AUTH_TOKEN": "secret-of-the-hub",
    "ISTIO_GATEWAY": "istio-system/edge",
    "K8S_NAMESPACE": "jhub",
    "SUB_DOMAIN_HOST": "*",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as e:
        with e:
            return e.code
    except OSError:
        return 0


def test_the_originals_environment_is_all_it_needs(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{current-context: c, contexts: [{name: c, context: {cluster: c, user: c}}], "
        f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{free_port()}'}}}}], "
        "users: [{name: c, user: {}}]}"
    )
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "--port", str(port)],
            env={**os.environ, **ENVIRONMENT, "KUBECONFIG": str(kubeconfig)},
            stderr=output,
            cwd=tmp_path,
        )
    try:
        deadline = time.monotonic() + 30
        while status(f"http://127.0.0.1:{port}/ping") != 200:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        assert status(f"http://127.0.0.1:{port}/health") == 200
        assert status(f"http://127.0.0.1:{port}/api/routes") == 503  # the cluster is not there
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert "secret-of-the-hub" not in log.read_text()


def test_settings_that_make_no_sense_end_it(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "CONFIGPROXY_AUTH_TOKEN"}
    for text, words in (
        ("{}", "auth_token"),
        ("hubproxy: {auth_token: t}", "hubproxy.gateway"),
        ("hubproxy: {auth_token: t, gateway: 'a/'}", "expected [namespace/]name"),
        ("hubproxy: {auth_token: t, backend: nginx}", "hubproxy.backend"),
    ):
        (tmp_path / "hubfleet.yaml").write_text(text)
        found = subprocess.run(
            [*COMMAND, "--config", "hubfleet.yaml"], env=environ, capture_output=True, text=True, cwd=tmp_path
        )
        assert found.returncode == 2 and words in found.stderr, found.stderr
