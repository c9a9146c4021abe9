"""The bubblewrap command line, against an invented host."""

import stat
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from localkube.kubelet import hostroot, sandbox
from localkube.kubelet.hostroot import HostRoot
from localkube.kubelet.sandbox import Host, Mount, MountRefused, Sandbox

ROOT = HostRoot(
    directories=("/usr", "/etc"),
    symlinks=(("/bin", "usr/bin"), ("/lib", "usr/lib")),
    masked_files=("/etc/shadow",),
    masked_directories=("/etc/ssl/private",),
    python="/usr/bin/python3",
    passwd="",
    group="",
)
TREE = {
    "/": ["usr", "etc", "bin", "lib"],
    "/usr": ["bin", "lib", "share"],
    "/usr/bin": ["python3"],
    "/usr/lib": ["libc.so.6"],
    "/usr/share": [],
    "/etc": ["passwd", "link"],
}
LINKS = {"/etc/link": "../elsewhere", "/bin": "usr/bin", "/lib": "usr/lib"}


def exists(path: str) -> bool:
    parent, _, name = path.rpartition("/")
    return path in TREE or name in TREE.get(parent or "/", ())


def realpath(path: str) -> str:
    for link, target in (("/bin", "/usr/bin"), ("/lib", "/usr/lib")):
        if path == link or path.startswith(link + "/"):
            return target + path[len(link) :]
    return path


HOST = Host(exists=exists, list=lambda path: TREE[path], readlink=LINKS.get, realpath=realpath)


def arguments(*mounts: Mount, directory: str = "/", read_only: bool = False, user: bool = False) -> list[str]:
    box = Sandbox("h", directory, mounts, read_only, (1000, 1000) if user else None)
    return sandbox.arguments(box, ROOT, HOST)


def has(args: list[str], *words: str) -> bool:
    return any(tuple(args[n : n + len(words)]) == words for n in range(len(args)))


def test_golden() -> None:
    args = arguments(Mount("/d/v", "/m"), Mount("/d/hosts", "/etc/passwd", read_only=True))
    assert " ".join(args) == (
        "--unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try "
        "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP "
        "--as-pid-1 --die-with-parent --hostname h --clearenv "
        "--ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/bin /bin --symlink usr/lib /lib "
        "--perms 0000 --tmpfs /etc/ssl/private --ro-bind /dev/null /etc/shadow "
        "--proc /proc --dev /dev --perms 1777 --tmpfs /dev/shm "
        "--perms 0755 --dir /boot --perms 0777 --dir /home/pod --perms 0755 --dir /media "
        "--perms 0755 --dir /mnt --perms 0777 --dir /root --perms 0755 --dir /run "
        "--perms 1777 --dir /run/lock --perms 0755 --dir /srv --perms 1777 --dir /tmp "
        "--perms 0755 --dir /var/cache --perms 0755 --dir /var/lib --perms 0755 --dir /var/log "
        "--perms 0755 --dir /var/spool --perms 1777 --dir /var/tmp "
        "--symlink /run /var/run --symlink /run/lock /var/lock "
        "--bind /d/v /m --perms 0755 --dir /etc --ro-bind /d/hosts /etc/passwd "
        "--chmod 0777 /"
    )


def test_only_known_parts_of_the_host_are_bound() -> None:
    args = arguments()
    sources = {a for flag, a in pairwise(args) if flag in ("--ro-bind", "--bind", "--dev-bind")}
    assert sources == {"/usr", "/etc", "/dev/null"}


def test_without_root_a_user_namespace_holds_the_pod() -> None:
    args = arguments(user=True)
    assert has(args, "--unshare-user", "--uid", "1000", "--gid", "1000")
    assert "--cap-add" not in args


def test_read_only_root_is_remounted_after_everything_else() -> None:
    args = arguments(Mount("/d/v", "/m"), read_only=True)
    assert args[-2:] == ["--remount-ro", "/"]
    assert not has(args, "--chmod", "0777", "/")


def test_a_missing_working_directory_is_made() -> None:
    assert has(arguments(directory="/new/dir"), "--perms", "0777", "--dir", "/new/dir")
    inside = arguments(Mount("/d/v", "/m"), directory="/m/sub")
    assert not has(inside, "--dir", "/m/sub")


def test_a_mount_where_the_host_has_nothing_opens_the_directory() -> None:
    args = arguments(Mount("/d/v", "/etc/app/conf", read_only=True), directory="/usr/share/work")
    assert not has(args, "--ro-bind", "/etc", "/etc")
    assert has(args, "--perms", "0755", "--dir", "/etc")
    assert has(args, "--ro-bind", "/etc/passwd", "/etc/passwd")
    assert has(args, "--symlink", "../elsewhere", "/etc/link")
    assert has(args, "--ro-bind", "/d/v", "/etc/app/conf")
    assert has(args, "--ro-bind", "/usr/bin", "/usr/bin")
    assert has(args, "--perms", "0777", "--dir", "/usr/share/work")
    assert args.index("/etc/passwd") < args.index("/d/v")


def test_var_run_is_run() -> None:
    args = arguments(Mount("/d/t", "/var/run/secrets/x", read_only=True))
    assert has(args, "--perms", "0755", "--dir", "/run/secrets", "--ro-bind", "/d/t", "/run/secrets/x")


def test_outer_mounts_come_before_inner_ones_and_the_launcher_s_files_last() -> None:
    args = arguments(Mount("/d/inner", "/m/a/b"), Mount("/d/outer", "/m"))
    assert args.index("/d/outer") < args.index("/d/inner")
    lib = len(args) - 1 - args[::-1].index("/usr/lib")
    assert args[lib - 2 : lib] == ["--ro-bind", "/usr/lib"]
    assert args.index("/d/inner") < lib


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/usr", "/usr/lib", "/usr/lib/python3.11", "/lib/x", "/bin", "/usr/bin/python3"),
        *("/proc/1", "/proc", "/dev", "/etc", "/etc/ld.so.preload"),
    ],
)
def test_what_the_launcher_needs_cannot_be_covered(path: str) -> None:
    with pytest.raises(MountRefused, match="localkube cannot mount a volume at"):
        arguments(Mount("/d/v", path))


@pytest.mark.parametrize("path", ["/m", "/dev/shm", "/usr/local/share", "/etc/hosts", "/home/pod", "/sys/x"])
def test_other_places_can(path: str) -> None:
    assert has(arguments(Mount("/d/v", path)), "--bind", "/d/v", path)


def test_scan(tmp_path: Path) -> None:
    for directory in ("usr/bin", "etc/ssl/private", "root/.ssh", "home/me", "work", "opt/data"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/python3").touch(0o755)
    (tmp_path / "etc/shadow").touch(0o640)
    (tmp_path / "etc/hosts").touch(0o644)
    (tmp_path / "etc/ssl/private").chmod(stat.S_IRWXU)
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000:Me:/home/me:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
    )
    found = hostroot.scan((), tmp_path)
    assert found.directories[:3] == ("/usr", "/opt", "/etc")
    assert found.symlinks == (("/bin", "usr/bin"),)
    assert found.masked_files == (str(tmp_path / "etc/shadow"),)
    assert found.masked_directories == (str(tmp_path / "etc/ssl/private"),)
    assert found.python == "/usr/bin/python3"
    assert "me:" not in found.passwd
    assert "nobody:" in found.passwd


def test_the_data_directory_is_masked_where_it_would_show() -> None:
    found = hostroot.scan((Path("/usr/share"), Path("/usr/bin/env"), Path("/nowhere/else")))
    assert "/usr/share" in found.masked_directories
    assert str(Path("/usr/bin/env").resolve()) in found.masked_files
    assert "/nowhere/else" not in (*found.masked_files, *found.masked_directories)
    assert "/usr/lib" in msgspec.structs.replace(found, python="/usr/bin/python3").protected
