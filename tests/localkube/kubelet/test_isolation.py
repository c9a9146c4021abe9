"""What a pod can see and do: looked for from inside."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from localkube.kubelet.settings import Settings

from .conftest import QUICK, needs_root

pytestmark = pytest.mark.kubelet

Node = Any

SEARCH = r"""
import os, sys
needle = sys.argv[1].encode()[::-1]   # so that the search does not find itself
found = []
for top, directories, files in os.walk("/"):
    if top in ("/proc", "/sys", "/usr", "/opt", "/dev"):
        directories.clear()
    for name in files:
        path = os.path.join(top, name)
        try:
            if os.path.isfile(path) and needle in open(path, "rb").read(1 << 20):
                found.append(path)
        except OSError:
            pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "maps"):
        try:
            if needle in open(f"/proc/{pid}/{name}", "rb").read():
                found.append(f"/proc/{pid}/{name}")
        except OSError:
            pass
print(found)
"""


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A word that the host keeps where hosts keep secrets: environment, home, /tmp, /run, data directory."""
    word = secrets.token_hex(16)
    monkeypatch.setenv("LOCALKUBE_TEST_SECRET", word)
    places = [tmp_path / "data" / "token", tmp_path / "kubeconfig"]
    if os.geteuid() == 0:
        places += [Path(f"/root/.localkube-test-{word[:8]}/id_rsa"), Path(f"/run/localkube-test-{word[:8]}")]
        places += [Path(f"/var/lib/localkube-test-{word[:8]}"), Path(f"/srv/localkube-test-{word[:8]}")]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(word)
    yield word
    for place in places:
        place.unlink()
    if os.geteuid() == 0:
        places[2].parent.rmdir()


async def test_no_secret_of_the_host_is_in_sight(secret: str, node: Node) -> None:
    node.pod("other", {"name": "c", "command": ["sleep", "60"], "env": [{"name": "S", "value": secret}]})
    await node.phase("other", "Running")
    node.pod("p", {"name": "c", "command": ["python3", "-c", SEARCH, secret[::-1]]})
    await node.ended("p")
    assert await node.log("p") == "[]\n"


async def test_other_pods_volumes_are_out_of_sight(node: Node) -> None:
    word = secrets.token_hex(16)
    node.create("secrets", {"metadata": {"name": "s"}, "stringData": {"k": word}})
    mount = {"volumeMounts": [{"name": "s", "mountPath": "/s"}]}
    volumes = [{"name": "s", "secret": {"secretName": "s"}}]
    node.pod("other", {"name": "c", "command": ["sleep", "60"], **mount}, volumes=volumes)
    await node.phase("other", "Running")
    node.pod("p", {"name": "c", "command": ["python3", "-c", SEARCH, word[::-1]], **mount}, volumes=volumes)
    await node.ended("p")
    assert "'/s/k'" in await node.log("p"), "the search works"
    node.pod("q", {"name": "c", "command": ["python3", "-c", SEARCH, word[::-1]]})
    await node.ended("q")
    assert await node.log("q") == "[]\n"


async def test_privileges(node: Node) -> None:
    said = await node.output("id -u; id -g; grep -E '^(Cap|NoNewPrivs)' /proc/self/status")
    assert said.split("\n")[:2] == ["1000", "1000"]
    values = dict(line.split(":\t") for line in said.strip().split("\n")[2:])
    assert values.pop("NoNewPrivs") == "1"
    assert set(values.values()) == {"0" * 16}
    assert len(values) == 5


async def test_only_its_own_processes(node: Node) -> None:
    said = await node.output("echo $$$$; ls /proc | grep -c '^[0-9]'; readlink /proc/1/exe")
    pid, count, first = said.split()
    assert (pid, first) == ("1", os.path.realpath("/bin/sh"))
    assert int(count) < 6


@pytest.mark.parametrize(
    "attempt",
    [
        "touch /usr/x",
        "touch /etc/x",
        "cat /etc/shadow | grep .",
        "mount -o remount,rw /usr",
        "umount /proc",
        "unshare -Urm mount -o remount,rw,bind /usr /usr",
        "unshare -Urm umount /etc/shadow",
        "unshare -Urm umount /etc",
        "mknod /tmp/sda b 8 0",
        "chroot / true",
        "ls /root/.ssh /home/*/.ssh",
        "ls /var/run/docker.sock /run/containerd",
        "echo 1 > /proc/sys/kernel/sysrq",
        "cat /proc/kcore | head -c 1 | grep .",
        "ls /sys/kernel",
        "hostname other",
        "su -c true",
        "nsenter -t 1 -m -p true",
        "python3 -c 'import os; os.setuid(0)'",
        "python3 -c 'import os; os.setgroups([0, 42])'",
    ],
)
async def test_what_a_pod_cannot_do(node: Node, attempt: str) -> None:
    assert (
        await node.output(f"if ( {attempt} ) 2>/dev/null; then echo done; else echo refused; fi")
        == "refused\n"
    )


async def test_a_real_container_lets_it_do_these(node: Node) -> None:
    script = "cd; touch x ~/y /tmp/z /var/tmp/z /dev/shm/z /z /run/lock/z && pwd && python3 -c 'print(1)'"
    assert (
        await node.output(f"{script}; hostname; nproc")
        == f"/home/pod\n1\np\n{len(os.sched_getaffinity(0))}\n"
    )


async def test_read_only_root(node: Node) -> None:
    node.pod(
        "p",
        {
            "name": "c",
            "command": [
                "sh",
                "-c",
                "for f in /x /tmp/x /home/pod/x /v/x; do touch $f 2>/dev/null && echo $f; done; true",
            ],
            "securityContext": {"readOnlyRootFilesystem": True},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        },
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    await node.phase("p", "Succeeded")
    assert await node.log("p") == "/v/x\n"


async def test_a_container_cannot_reach_the_host_through_its_volume(node: Node) -> None:
    mount = [{"name": "v", "mountPath": "/v"}]
    node.pod(
        "p",
        {
            "name": "c",
            "command": ["true"],
            "volumeMounts": [{"name": "v", "mountPath": "/w", "subPath": "out"}],
        },
        initContainers=[{"name": "i", "command": ["ln", "-s", "/etc", "/v/out"], "volumeMounts": mount}],
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    await node.until("p", lambda _: "outside of the volume" in str(node.state("p")["state"]))


async def test_a_container_cannot_redirect_a_mount_onto_the_launcher(node: Node) -> None:
    """An init container plants a symlink where a nested volume will be mounted."""
    node.create(
        "configmaps", {"metadata": {"name": "evil"}, "data": {"os.py": "raise SystemExit('taken over')"}}
    )
    outer, inner = {"name": "v", "mountPath": "/v"}, {"name": "e", "mountPath": "/v/x"}
    library = "/newroot/usr/lib/python3.11"
    node.pod(
        "p",
        {"name": "c", "command": ["echo", "fine"], "volumeMounts": [outer, inner]},
        initContainers=[{"name": "i", "command": ["ln", "-s", library, "/v/x"], "volumeMounts": [outer]}],
        volumes=[{"name": "v", "emptyDir": {}}, {"name": "e", "configMap": {"name": "evil"}}],
    )
    await node.ended("p")
    assert "taken over" not in str(node.get("p")["status"])


@needs_root
@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"runAsUser": 0}, "0 1000"),
        ({"runAsUser": 0, "runAsGroup": 0}, "0 0"),
        ({"runAsUser": 2000, "runAsGroup": 3000}, "2000 3000"),
        ({"runAsUser": 33, "runAsGroup": 0}, "33 0"),
    ],
)
async def test_users(node: Node, context: dict[str, int], said: str) -> None:
    """Root in a container is nobody special on the host, and whatever it makes is not root's."""
    script = (
        "echo $(id -u) $(id -g); touch /v/x; cat /etc/shadow 2>/dev/null | grep -c . ; "
        "grep CapEff /proc/self/status"
    )
    node.pod(
        "p",
        {
            "name": "c",
            "command": ["sh", "-c", script],
            "securityContext": context,
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        },
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    pod = await node.ended("p")
    lines = (await node.log("p")).splitlines()
    assert [lines[0], *lines[-2:]] == [said, "0", "CapEff:\t0000000000000000"]
    made = (node.data_dir / "kubelet/pods" / pod["metadata"]["uid"] / "volumes/v/x").stat()
    assert (made.st_uid, made.st_gid) == tuple(int(word) or 1000 for word in said.split())


@needs_root
async def test_groups_of_the_host_open_nothing(node: Node) -> None:
    """Any group may be named, so what only a group may read is not there at all."""
    node.pod(
        "p",
        {"name": "c", "command": ["sh", "-c", "id -G; cat /etc/shadow /etc/gshadow; ls -A /etc/ssl/private"]},
        securityContext={"supplementalGroups": [0, 42], "fsGroup": 42},
    )
    await node.ended("p")
    lines = (await node.log("p")).splitlines()
    assert lines[0] == "1000 42"
    assert all("Permission denied" in line or "cannot" in line for line in lines[1:]), lines


@needs_root
async def test_fs_group_owns_the_volume(node: Node) -> None:
    node.pod(
        "p",
        {
            "name": "c",
            "command": ["sh", "-c", "touch /v/x; stat -c '%g %a' /v /v/x"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        },
        securityContext={"fsGroup": 4321},
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    await node.ended("p")
    assert await node.log("p") == "4321 2777\n4321 644\n"


async def test_privileged_is_refused_in_words(node: Node) -> None:
    node.pod("p", {"name": "c", "command": ["true"], "securityContext": {"privileged": True}})
    await node.until(
        "p", lambda _: "waiting" in node.state("p")["state"] and "message" in str(node.state("p"))
    )
    waiting = node.state("p")["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerError"
    assert waiting["message"] == "localkube does not run privileged containers"


async def test_mounts_where_the_host_has_nothing(node: Node) -> None:
    node.create("configmaps", {"metadata": {"name": "cm"}, "data": {"k": "v"}})
    mounts = [
        {"name": "v", "mountPath": "/code"},
        {"name": "c", "mountPath": "/etc/app"},
        {"name": "c", "mountPath": "/opt/app/conf/k.conf", "subPath": "k"},
        {"name": "v", "mountPath": "/code/deep/er", "subPath": "sub"},
    ]
    node.pod(
        "p",
        {
            "name": "c",
            "command": [
                "sh",
                "-c",
                "pwd; cat /etc/app/k /opt/app/conf/k.conf; touch /code/deep/er/y; test -f /etc/passwd",
            ],
            "workingDir": "/opt/work/dir",
            "volumeMounts": mounts,
        },
        volumes=[{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "cm"}}],
    )
    await node.phase("p", "Succeeded")
    assert await node.log("p") == "/opt/work/dir\nvv"


class TestMaskedPaths:
    """A data directory or a kubeconfig may lie where the host's files are exposed."""

    @pytest.fixture
    def settings(self, hidden: Path) -> Settings:
        return msgspec.structs.replace(QUICK, masked=(hidden,))

    @pytest.fixture
    def hidden(self) -> Iterator[Path]:
        path = Path(f"/opt/localkube-test-{secrets.token_hex(4)}")
        try:
            path.mkdir()
        except OSError:
            pytest.skip("needs to write to /opt")
        (path / "key").write_text("secret")
        yield path
        (path / "key").unlink()
        path.rmdir()

    async def test_it_is_hidden(self, node: Node, hidden: Path) -> None:
        assert "secret" not in await node.output(f"cat {hidden}/key; ls -la {hidden}; true")
