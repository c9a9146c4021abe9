"""The command: what it says, what it keeps, how it stops."""

import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.localkube.conftest import Localkube

COMMAND = str(Path(sys.executable).with_name("localkube"))


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)


def test_one_line_says_where_it_serves(localkube_starter: Callable[..., Localkube]) -> None:
    server = localkube_starter("--no-kubelet")
    said = server.output.read_text()
    assert said == f"localkube: serving {server.url}, kubeconfig {server.kubeconfig}\n"
    assert server.stop() == 0
    assert server.output.read_text() == said
    # it stays, for whoever wants to know which port and token those were
    assert server.kubeconfig.exists()


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("--listen", address, "--kubeconfig", str(tmp_path / "k"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: cannot listen on {address}: Address already in use\n"


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", ":1", "h:99999"])
def test_bad_addresses_are_refused(tmp_path: Path, listen: str) -> None:
    done = run("--listen", listen, "--kubeconfig", str(tmp_path / "k"))
    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr


def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("- my notes\n")
    done = run("--listen", "127.0.0.1:0", "--kubeconfig", str(path), "--no-kubelet")
    assert done.returncode == 1
    assert "is no kubeconfig" in done.stderr
    assert path.read_text() == "- my notes\n"


def test_token_ca_and_objects_outlive_a_restart(
    localkube_starter: Callable[..., Localkube], tmp_path: Path
) -> None:
    data = f"--data-dir={tmp_path / 'data'}"
    first = localkube_starter(data, "--no-kubelet", "--tls")
    config = yaml.safe_load(first.kubeconfig.read_text())
    uid = secure(first, config, "/api/v1/namespaces/default")["metadata"]["uid"]
    assert first.stop() == 0
    second = localkube_starter(data, "--no-kubelet", "--tls")
    again = yaml.safe_load(second.kubeconfig.read_text())
    assert again["users"] == config["users"]
    name = "certificate-authority-data"
    assert again["clusters"][0]["cluster"][name] == config["clusters"][0]["cluster"][name]
    assert secure(second, config, "/api/v1/namespaces/default")["metadata"]["uid"] == uid


def secure(server: Localkube, config: Any, path: str) -> Any:
    """GET over TLS, trusting nothing but the CA of the kubeconfig."""
    ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=ca)
    request = urllib.request.Request(server.url + path)
    request.add_header("Authorization", f"Bearer {config['users'][0]['user']['token']}")
    with urllib.request.urlopen(request, context=context, timeout=20) as response:
        return json.load(response)


def test_a_data_directory_has_one_user(localkube_starter: Callable[..., Localkube], tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    localkube_starter("--data-dir", data, "--no-kubelet")
    done = run("--listen=127.0.0.1:0", f"--kubeconfig={tmp_path / 'k'}", f"--data-dir={data}", "--no-kubelet")
    assert done.returncode == 1
    assert "another localkube uses" in done.stderr


def test_a_stop_ends_the_watches(localkube_starter: Callable[..., Localkube]) -> None:
    server = localkube_starter("--no-kubelet")
    told = threading.Event()
    lines: list[bytes] = []

    def read() -> None:
        for line in server.stream("/api/v1/namespaces?watch=1"):
            lines.append(line)
            told.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert told.wait(10)
    assert server.stop() == 0
    reader.join(10)
    assert not reader.is_alive()


def test_the_context_is_named_as_asked(localkube_starter: Callable[..., Localkube]) -> None:
    server = localkube_starter("--no-kubelet", "--context=west")
    config = yaml.safe_load(server.kubeconfig.read_text())
    assert config["current-context"] == "west"
    assert config["contexts"][0]["context"] == {"cluster": "west", "user": "west", "namespace": "default"}
