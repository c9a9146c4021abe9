"""localkube is killed without warning and starts again over the same data."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.kubelet

Localkube = Any
WAIT_SECONDS = 20.0
POD = "/api/v1/namespaces/default/pods"


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := holds()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
    return found


def make(server: Localkube, name: str, script: str, **spec: Any) -> None:
    container = {
        "name": "c",
        "image": "busybox",
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{"name": "m", "mountPath": "/m"}],
    }
    spec = {"containers": [container], "volumes": [{"name": "m", "emptyDir": {}}], **spec}
    until(lambda: server.call("GET", "/api/v1/namespaces/default/serviceaccounts/default").code == 200)
    answer = server.call("POST", POD, {"metadata": {"name": name}, "spec": spec})
    assert answer.code == 201, answer.body


def status(server: Localkube, name: str) -> dict[str, Any]:
    body: dict[str, Any] = server.call("GET", f"{POD}/{name}").body
    return body.get("status", {})


def running(word: str) -> list[int]:
    """The processes on this host whose command line contains a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_kill_and_start_again(localkube_starter: Callable[..., Localkube], tmp_path: Path) -> None:
    word = f"12{time.time_ns()}"
    server = localkube_starter("--data-dir", str(tmp_path / "data"))
    script = f"echo run >> /m/x; cat /m/x; (sleep {word}; true) & sleep {word}"
    make(server, "always", script, restartPolicy="Always")
    make(server, "never", script, restartPolicy="Never")
    make(server, "done", "echo done", restartPolicy="Never")
    for name, phase in (("always", "Running"), ("never", "Running"), ("done", "Succeeded")):
        until(lambda name=name, phase=phase: status(server, name).get("phase") == phase)
    until(lambda: len(running(word)) >= 4)

    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not running(word))

    server = localkube_starter("--data-dir", str(tmp_path / "data"))
    lost = until(lambda: status(server, "never").get("phase") == "Failed" and status(server, "never"))
    ended = lost["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (255, "Unknown")
    entry = until(lambda: (s := status(server, "always")["containerStatuses"][0])["restartCount"] == 1 and s)
    assert entry["lastState"]["terminated"]["reason"] == "Unknown"
    # the volume is still there, and so are the logs of both lives
    until(lambda: server.call("GET", f"{POD}/always/log").content == b"run\nrun\n")
    assert server.call("GET", f"{POD}/always/log?previous=true").content == b"run\n"
    assert server.call("GET", f"{POD}/done/log").content == b"done\n"
    assert status(server, "done")["phase"] == "Succeeded"
    assert server.stop() == 0
    assert not running(word)


def test_deleted_while_away(localkube_starter: Callable[..., Localkube], tmp_path: Path) -> None:
    """A pod that was being deleted when localkube was killed goes when it comes back."""
    server = localkube_starter("--data-dir", str(tmp_path / "data"))
    make(server, "p", "trap '' TERM; while true; do sleep 0.1; done", terminationGracePeriodSeconds=600)
    until(lambda: status(server, "p").get("phase") == "Running")
    server.call("DELETE", f"{POD}/p")
    server.stop(signal.SIGKILL)
    server = localkube_starter("--data-dir", str(tmp_path / "data"))
    until(lambda: server.call("GET", f"{POD}/p").code == 404)
    until(lambda: not list((tmp_path / "data/kubelet/pods").iterdir()))
