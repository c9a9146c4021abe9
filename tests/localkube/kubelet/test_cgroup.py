"""Memory limits: what is enforced where this machine lets us, and the files that ask for it."""

import os
from pathlib import Path
from typing import Any

import pytest

from localkube.kubelet import cgroup
from localkube.kubelet.cgroup import Cgroups, Group

Node = Any

ALLOCATE = "held = bytearray({} * 2**20); print(len(held) // 2**20)"


@pytest.fixture
def limits(tmp_path: Path) -> None:
    found = cgroup.find(tmp_path)
    if found is None:
        pytest.skip("this process may not limit memory")
    found.close()


def limited(memory: str) -> dict[str, Any]:
    return {"resources": {"limits": {"memory": memory}}}


@pytest.mark.kubelet
@pytest.mark.usefixtures("limits")
async def test_a_container_that_takes_too_much_memory_is_killed(node: Node) -> None:
    node.shell("p", f"exec python3 -c '{ALLOCATE.format(200)}'", **limited("64Mi"))
    node.shell("q", f"exec python3 -c '{ALLOCATE.format(20)}'", **limited("64Mi"))
    assert (await node.ended("p"))["status"]["phase"] == "Failed"
    terminated = node.state("p")["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "OOMKilled")
    assert (await node.ended("q"))["status"]["phase"] == "Succeeded"
    assert await node.log("q") == "20\n"


@pytest.mark.kubelet
@pytest.mark.usefixtures("limits")
async def test_what_a_container_starts_counts_with_it(node: Node) -> None:
    node.shell("p", f"python3 -c '{ALLOCATE.format(200)}' & wait $!; exit $?", **limited("64Mi"))
    await node.ended("p")
    terminated = node.state("p")["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "OOMKilled")


@pytest.mark.kubelet
@pytest.mark.usefixtures("limits")
async def test_a_container_that_never_starts_leaves_no_cgroup(node: Node, tmp_path: Path) -> None:
    node.pod("p", {"name": "c", "command": ["nosuchcommand"], **limited("64Mi")})
    await node.ended("p")
    assert node.state("p")["state"]["terminated"]["reason"] == "StartError"
    made = [
        path for _, parent in cgroup._parents(Path("/proc/self")) for path in parent.glob("localkube-*/*/")
    ]
    assert not [path for path in made if path.name in str(node.get("p")["status"])]


# The files of both versions, as they look to who writes them


def test_version_1(tmp_path: Path) -> None:
    group = Cgroups(tmp_path, 1).limited("a", 1000)
    assert (tmp_path / "a/memory.limit_in_bytes").read_text() == "1000"
    assert group.enter()[-1] == str(tmp_path / "a/cgroup.procs")
    assert not group.has_killed()
    for count in (0, 1):
        (group.path / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n")
        assert group.has_killed() == bool(count)


def test_version_2(tmp_path: Path) -> None:
    group = Cgroups(tmp_path, 2).limited("a", 1000)
    assert (tmp_path / "a/memory.max").read_text() == "1000"
    assert (tmp_path / "a/memory.oom.group").read_text() == "1"
    for count in (0, 2):
        (group.path / "memory.events").write_text(f"low 0\noom 3\noom_kill {count}\noom_group_kill 0\n")
        assert group.has_killed() == bool(count)


@pytest.mark.parametrize(
    ("mount", "own", "version", "below"),
    [
        ("cgroup cgroup rw,memory", "4:memory:/mine", 1, "mine"),
        ("cgroup cgroup rw,memory", "4:memory:/not/here", 1, ""),
        ("cgroup2 cgroup rw", "0::/mine", 2, "mine"),
    ],
)
def test_where_cgroups_are_made(tmp_path: Path, mount: str, own: str, version: int, below: str) -> None:
    top, process = tmp_path / "top", tmp_path / "process"
    (top / "mine").mkdir(parents=True)
    process.mkdir()
    (process / "mountinfo").write_text(f"1 2 0:3 / {top} rw shared:1 - {mount}\n4 5 0:6 / / rw - ext4 x rw\n")
    (process / "cgroup").write_text(f"7:pids:/\n{own}\n")
    found = cgroup.find(Path("/data"), process=process)
    assert found is not None
    group = found.limited("a", 1)
    assert group.path.parents[1] == top / below
    assert (group.path / ("memory.limit_in_bytes" if version == 1 else "memory.max")).exists()


def test_nowhere(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("4 5 0:6 / / rw - ext4 x rw\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    assert cgroup.find(Path("/data"), process=tmp_path) is None


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(f"1 2 0:3 / {tmp_path} rw - cgroup cgroup rw,memory\n")
    (tmp_path / "cgroup").write_text("4:memory:/\n")
    crashed, other = (tmp_path / name for name in ("localkube-crashed", "localkube-other"))
    for path in (crashed / "a", crashed, other / "old", other / "new"):
        path.mkdir(parents=True, exist_ok=True)
        if path.name != "new":
            os.utime(path, (0, 0))
    os.utime(crashed, (0, 0))
    found = cgroup.find(Path("/data"), process=tmp_path)
    assert found is not None
    (ours,) = set(tmp_path.glob("localkube-*/")) - {other}
    assert list(other.iterdir()) == [other / "new"], "another localkube is about to use it"
    ours.rmdir()
    found.limited("a", 1)
    (ours / "a/memory.limit_in_bytes").unlink()
    found.close()
    assert not ours.exists()


def test_a_group_that_is_still_in_use_is_left(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    Group(tmp_path / "a").remove()
    assert (tmp_path / "a").exists()
