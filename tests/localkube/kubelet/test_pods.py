"""Pods that run: what a real kubelet reports while containers start, fail, restart and are stopped."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from localkube.apiserver.status import StatusError

pytestmark = pytest.mark.kubelet

Node = Any
LOOP = "while true; do sleep 0.05; done"


def sh(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "command": ["/bin/sh", "-c", script], **more}


async def test_completes(node: Node) -> None:
    node.shell("p", "echo out; echo err >&2")
    pod = await node.ended("p")
    (status,) = pod["status"]["containerStatuses"]
    assert pod["status"]["phase"] == "Succeeded"
    assert status["state"]["terminated"]["exitCode"] == 0
    assert status["state"]["terminated"]["reason"] == "Completed"
    assert sorted((await node.log("p")).split()) == ["err", "out"]
    assert [reason for _, reason, _ in node.events("p")] == ["Pulled", "Created", "Started"]
    image = 'Container image "busybox" already present on machine and can be accessed by the pod'
    assert ("Normal", "Pulled", image) in node.events("p")


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("kill -9 $$$$", 137), ("sh -c 'kill -15 $$$$'; exit $?", 143)]
)
async def test_exit_codes(node: Node, script: str, code: int) -> None:
    node.shell("p", script)
    pod = await node.ended("p")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    # the first process of a container is PID 1, which even its own SIGKILL does not reach
    assert (ended["exitCode"], ended["reason"]) == ((0, "Completed") if code == 137 else (code, "Error"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/no/such/binary"], 'exec: "/no/such/binary": stat /no/such/binary: no such file or directory'),
        (["nosuchcommand"], 'exec: "nosuchcommand": executable file not found in $PATH'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
    ],
)
async def test_command_that_cannot_be_executed(node: Node, command: list[str], words: str) -> None:
    node.pod("p", {"name": "c", "command": command})
    await node.ended("p")
    ended = node.state("p")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["message"].endswith(f"error during container init: {words}")
    assert ended["startedAt"] == "1970-01-01T00:00:00Z"
    assert node.events("p")[-1][:2] == ("Warning", "Failed")


async def test_init_containers_run_in_order_and_share_volumes(node: Node) -> None:
    mount = {"volumeMounts": [{"name": "m", "mountPath": "/m"}]}
    node.pod(
        "p",
        sh("c", "cat /m/x", **mount),
        initContainers=[sh("i1", "echo one >> /m/x", **mount), sh("i2", "echo two >> /m/x", **mount)],
        volumes=[{"name": "m", "emptyDir": {}}],
    )
    pod = await node.ended("p")
    assert await node.log("p") == "one\ntwo\n"
    assert [s["state"]["terminated"]["reason"] for s in pod["status"]["initContainerStatuses"]] == [
        "Completed"
    ] * 2


async def test_failed_init_container_is_retried_on_failure(node: Node) -> None:
    mount = {"volumeMounts": [{"name": "m", "mountPath": "/m"}]}
    node.pod(
        "p",
        sh("c", "true"),
        initContainers=[sh("i", "test -f /m/x || { touch /m/x; exit 1; }", **mount)],
        volumes=[{"name": "m", "emptyDir": {}}],
        restartPolicy="OnFailure",
    )
    await node.phase("p", "Succeeded")
    assert node.state("p", "i")["restartCount"] == 1


async def test_crash_loop(node: Node) -> None:
    node.pod("p", sh("c", "echo run; exit 1"), restartPolicy="Always")
    pod = await node.until("p", lambda _: node.state("p")["restartCount"] >= 2)
    pod = await node.until(
        "p", lambda _: node.state("p")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    assert pod["status"]["phase"] == "Running"
    uid = pod["metadata"]["uid"]
    assert node.state("p")["lastState"]["terminated"]["exitCode"] == 1
    assert (
        f"restarting failed container=c pod=p_default({uid})"
        in node.state("p")["state"]["waiting"]["message"]
    )
    text = f"Back-off restarting failed container c in pod p_default({uid})"
    assert ("Warning", "BackOff", text) in node.events("p")
    assert await node.log("p") == "run\n"
    assert await node.log("p", previous=True) == "run\n"
    await asyncio.sleep(0)
    runs = list((node.data_dir / "kubelet/pods" / uid / "logs").iterdir())
    assert len(runs) <= 2, "only the newest run and the one before keep their logs"


async def test_deletion_sends_sigterm_and_waits(node: Node) -> None:
    node.shell("p", f"trap 'echo got term; sleep 0.2; echo bye; exit 0' TERM; echo up; {LOOP}")
    await node.phase("p", "Running")
    follower = asyncio.create_task(node.log("p", follow=True))
    await node.until("p", lambda _: node.kubelet._logs and next(iter(node.kubelet._logs.values())).size)
    asked = node.registry.delete("pods", "default", "p")
    assert asked["metadata"]["deletionGracePeriodSeconds"] == 2
    await node.gone("p")
    assert await follower == "up\ngot term\nbye\n"
    assert ("Normal", "Killing", "Stopping container c") in node.events("p")


async def test_deletion_kills_what_does_not_stop(node: Node) -> None:
    node.pod("p", sh("c", f"trap '' TERM; echo up; {LOOP}"), terminationGracePeriodSeconds=1)
    await node.phase("p", "Running")
    began = time.monotonic()
    node.registry.delete("pods", "default", "p")
    await node.gone("p")
    assert 0.9 < time.monotonic() - began < 5


async def test_a_deletion_can_be_shortened(node: Node) -> None:
    node.pod("p", sh("c", f"trap '' TERM; echo up; {LOOP}"), terminationGracePeriodSeconds=600)
    await node.phase("p", "Running")
    node.registry.delete("pods", "default", "p")
    node.registry.delete("pods", "default", "p", grace=1)
    await node.gone("p")


async def test_forced_deletion_ends_the_processes_and_removes_the_files(node: Node) -> None:
    node.shell("p", LOOP)
    pod = await node.phase("p", "Running")
    directory = node.data_dir / "kubelet/pods" / pod["metadata"]["uid"]
    assert directory.exists()
    node.registry.delete("pods", "default", "p", grace=0)
    deadline = time.monotonic() + 10
    while directory.exists() or node.kubelet._workers:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_pod_of_the_same_name_is_another_pod(node: Node) -> None:
    assert await node.output("echo 1") == "1\n"
    node.registry.delete("pods", "default", "p")
    assert await node.output("echo 2") == "2\n"


async def test_a_pod_for_another_system_does_not_run(node: Node) -> None:
    node.pod("p", sh("c", "echo ran"), os={"name": "windows"})
    pod = await node.phase("p", "Failed")
    assert pod["status"]["reason"] == "PodOSNotSupported"
    assert pod["status"]["message"].startswith("Pod was rejected: Failed to admit pod as the OS field")
    assert all("terminated" not in c["state"] for c in pod["status"]["containerStatuses"])


async def test_deadline(node: Node) -> None:
    node.pod("p", sh("c", LOOP), activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    pod = await node.phase("p", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"


async def test_missing_secret_waits_until_it_is_there(node: Node) -> None:
    env = [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    node.shell("p", "echo $S", env=env)
    await node.until("p", lambda _: node.state("p")["state"].get("waiting", {}).get("message"))
    assert node.state("p")["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'secret "s" not found',
    }
    assert ("Warning", "Failed", 'Error: secret "s" not found') in node.events("p")
    with pytest.raises(StatusError, match="is waiting to start: CreateContainerConfigError"):
        await node.log("p")
    node.create("secrets", {"metadata": {"name": "s"}, "stringData": {"k": "now"}})
    await node.phase("p", "Succeeded")
    assert await node.log("p") == "now\n"


async def test_missing_volume_waits_until_it_is_there(node: Node) -> None:
    node.pod(
        "p",
        sh("c", "cat /c/k", volumeMounts=[{"name": "c", "mountPath": "/c"}]),
        volumes=[{"name": "c", "configMap": {"name": "cm"}}],
    )
    failed = 'MountVolume.SetUp failed for volume "c" : configmap "cm" not found'
    await node.until("p", lambda _: ("Warning", "FailedMount", failed) in node.events("p"))
    assert node.state("p")["state"]["waiting"]["reason"] == "ContainerCreating"
    node.create("configmaps", {"metadata": {"name": "cm"}, "data": {"k": "v"}})
    await node.phase("p", "Succeeded")


async def test_unsupported_volume_is_named(node: Node) -> None:
    node.pod("p", sh("c", "true"), volumes=[{"name": "h", "hostPath": {"path": "/"}}])
    await node.until("p", lambda _: "hostPath" in str(node.state("p")["state"]))
    assert node.state("p")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    node.registry.delete("pods", "default", "p")
    await node.gone("p")


async def test_sidecar_runs_beside_and_is_stopped_after_the_rest(node: Node) -> None:
    node.pod(
        "p",
        sh("c", "sleep 0.3; echo main"),
        initContainers=[
            sh("side", f"trap 'echo term; exit 0' TERM; echo side up; {LOOP}", restartPolicy="Always")
        ],
    )
    await node.phase("p", "Succeeded")
    assert await node.log("p", "side") == "side up\nterm\n"


async def test_termination_message(node: Node) -> None:
    node.shell("file", "echo words > /dev/termination-log; exit 1")
    node.shell("log", "echo last words; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    node.shell("good", "echo words", terminationMessagePolicy="FallbackToLogsOnError")
    for name, message in (("file", "words\n"), ("log", "last words\n"), ("good", None)):
        await node.ended(name)
        assert node.state(name)["state"]["terminated"].get("message") == message


async def test_readiness_follows_the_probe(node: Node) -> None:
    probe = {"exec": {"command": ["test", "-f", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.shell("p", f"sleep 0.5; touch /tmp/ok; {LOOP}", readinessProbe=probe)
    pod = await node.phase("p", "Running")
    assert [c["status"] for c in pod["status"]["conditions"][:4]] == ["True", "True", "False", "False"]
    await node.until("p", lambda _: node.state("p")["ready"])
    assert ("Warning", "Unhealthy", "Readiness probe failed: ") in node.events("p")


async def test_liveness_restarts(node: Node) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.pod(
        "p", sh("c", "sleep 60", livenessProbe=probe), restartPolicy="Always", terminationGracePeriodSeconds=1
    )
    await node.until("p", lambda _: node.state("p")["restartCount"] == 1)
    ended = node.state("p")["lastState"]["terminated"]
    # PID 1 without a handler does not notice SIGTERM
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")
    assert ("Normal", "Killing", "Container c failed liveness probe, will be restarted") in node.events("p")


async def test_startup_probe_holds_the_others_back(node: Node) -> None:
    startup = {"exec": {"command": ["test", "-f", "/tmp/up"]}, "periodSeconds": 1}
    liveness = {"exec": {"command": ["test", "-f", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.shell("p", f"sleep 0.6; touch /tmp/up; {LOOP}", startupProbe=startup, livenessProbe=liveness)
    await node.phase("p", "Running")
    assert not node.state("p")["started"]
    await node.until("p", lambda _: node.state("p")["ready"])
    assert node.state("p")["restartCount"] == 0


async def test_http_and_tcp_probes(node: Node) -> None:
    server = (
        "import http.server as h\n"
        "s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)\n"
        "open('/m/port', 'w').write(str(s.server_port))\n"
        "s.serve_forever()"
    )
    node.pod(
        "p",
        {
            "name": "c",
            "command": ["python3", "-c", server],
            "volumeMounts": [{"name": "m", "mountPath": "/m"}],
        },
        volumes=[{"name": "m", "emptyDir": {}}],
    )
    pod = await node.phase("p", "Running")
    path = node.data_dir / "kubelet/pods" / pod["metadata"]["uid"] / "volumes/m/port"
    await node.until("p", lambda _: path.exists() and path.read_text())
    port = int(path.read_text())
    for name, action in (
        ("http", {"httpGet": {"path": "/", "port": port}}),
        ("tcp", {"tcpSocket": {"port": port}}),
    ):
        node.shell(name, LOOP, readinessProbe={**action, "periodSeconds": 1})
        await node.until(name, lambda _, name=name: node.state(name)["ready"])
    node.shell("bad", LOOP, readinessProbe={"httpGet": {"path": "/none", "port": port}, "periodSeconds": 1})
    text = "Readiness probe failed: HTTP probe failed with statuscode: 404"
    await node.until("bad", lambda _: ("Warning", "Unhealthy", text) in node.events("bad"))


async def test_lifecycle_hooks(node: Node) -> None:
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started > /m/hooks"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /m/hooks"]}},
    }
    node.pod(
        "p",
        sh(
            "c",
            f"trap 'cat /m/hooks; exit 0' TERM; {LOOP}",
            lifecycle=lifecycle,
            volumeMounts=[{"name": "m", "mountPath": "/m"}],
        ),
        volumes=[{"name": "m", "emptyDir": {}}],
    )
    pod = await node.until(
        "p", lambda _: node.get("p")["status"].get("phase") == "Running" and node.state("p")["ready"]
    )
    hooks = node.data_dir / "kubelet/pods" / pod["metadata"]["uid"] / "volumes/m/hooks"
    await node.until("p", lambda _: hooks.exists() and hooks.read_text() == "started\n")
    follower = asyncio.create_task(node.log("p", follow=True))
    await asyncio.sleep(0)
    node.registry.delete("pods", "default", "p")
    assert await follower == "started\nstopping\n"


async def test_images_that_are_missing(node: Node) -> None:
    node.pod("never", {"name": "c", "image": "x/absent:1", "imagePullPolicy": "Never"})
    node.pod("pull", {"name": "c", "image": "x/absent:1", "imagePullPolicy": "Always"})
    await node.until("never", lambda _: "ErrImageNeverPull" in str(node.get("never")["status"]))
    await node.until("pull", lambda _: "ImagePullBackOff" in str(node.get("pull")["status"]))
    assert node.state("never")["imageID"] == ""


async def test_fifty_at_once(node: Node) -> None:
    names = [f"p{n}" for n in range(50)]
    for name in names:
        node.shell(name, f"echo {name}")
    for name in names:
        pod = await node.ended(name)
        assert pod["status"]["phase"] == "Succeeded"
        assert await node.log(name) == f"{name}\n"


async def test_token_is_not_the_admin_s(node: Node, tmp_path: Path) -> None:
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    node.pod(
        "p", sh("c", f"cat {place}/namespace; echo; cat {place}/token"), automountServiceAccountToken=True
    )
    await node.ended("p")
    namespace, token = (await node.log("p")).split()
    assert namespace == "default"
    assert len(token) > 20
