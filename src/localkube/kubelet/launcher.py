"""The last step into a container: give up every privilege, then become the container's command.

bubblewrap starts this file inside the finished sandbox as `python3 -I -S -c <this source> <fd> <fd>`, with
an empty environment, so that nothing of what a pod's author chose (LD_PRELOAD, PYTHONPATH) is in force while
there are privileges to lose; the container's own environment is set by the exec itself. It runs in the
system's Python, which may be older than localkube's, and imports next to nothing because every container
start pays for it.
"""

import os
import sys

SEPARATOR = b"\0"


def encode(
    ids: "tuple[int, int, int, int]",
    groups: "tuple[int, ...]",
    directory: str,
    command: "list[str]",
    variables: "dict[str, str]",
) -> bytes:
    """What the launcher reads. `ids` are uid and gid in the container, then on the host.

    Negative host ids mean that the sandbox's user namespace has settled them already.
    """
    head = [",".join(map(str, ids)), ",".join(map(str, groups)), directory, str(len(command))]
    words = [*head, *command, *(f"{name}={value}" for name, value in variables.items())]
    return SEPARATOR.join(word.encode(errors="surrogateescape") for word in words)


def main() -> None:
    spec, report = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(spec, False)
    os.set_inheritable(report, False)
    with open(spec, "rb") as file:
        words = file.read().split(SEPARATOR)
    uid, gid, host_uid, host_gid = map(int, words[0].split(b","))
    groups = [int(group) for group in words[1].split(b",") if group]
    count = int(words[3])
    command, variables = words[4 : 4 + count], words[4 + count :]
    os.environb.clear()
    os.environb.update(dict(word.split(b"=", 1) for word in variables))
    try:
        drop(uid, gid, host_uid, host_gid, groups)
    except OSError as error:
        fail(report, f"cannot become uid {uid} gid {gid}: {error.strerror}")
    try:
        os.chdir(words[2])
    except OSError as error:
        fail(report, f'chdir to cwd ("{text(words[2])}") set in config.json failed: {text(error)}')
    os.write(report, b"+")
    try:
        os.execvpe(command[0], command, os.environb)  # noqa: S606
    except OSError as error:
        name = text(command[0])
        if "/" not in name and isinstance(error, FileNotFoundError):
            fail(report, f'exec: "{name}": executable file not found in $PATH')
        verb = f"stat {name}: " if isinstance(error, FileNotFoundError) else ""
        fail(report, f'exec: "{name}": {verb}{text(error)}')
    except ValueError as error:
        fail(report, f"exec: {error}")


def text(value: object) -> str:
    if isinstance(value, OSError):
        return (value.strerror or "").lower()
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def fail(report: int, message: str) -> None:
    os.write(report, message.encode(errors="replace"))
    os._exit(128)


def drop(uid: int, gid: int, host_uid: int, host_gid: int, groups: "list[int]") -> None:
    """Become the user and lose all capabilities, for good."""
    import _ctypes

    libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None is what is loaded already

    def call(name: str, *arguments: "int | bytes") -> int:
        result: int = _ctypes.call_function(_ctypes.dlsym(libc, name), arguments)
        return result

    def drop_bounding_set() -> None:
        capability = 0
        while call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
            capability += 1

    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    drop_bounding_set()
    if host_uid >= 0:
        os.setgroups(groups)
        os.setresgid(host_gid, host_gid, host_gid)
        os.setresuid(host_uid, host_uid, host_uid)
        if (uid, gid) != (host_uid, host_gid):
            # An id that is somebody on the host (root, above all) exists in a user namespace only.
            # A change of uid takes a process's own /proc files from it until it is dumpable again.
            call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
            if call("unshare", CLONE_NEWUSER) != 0:
                raise OSError(1, "the host does not let its users make user namespaces")
            for path, line in (
                ("setgroups", "deny"),
                ("uid_map", f"{uid} {host_uid} 1"),
                ("gid_map", f"{gid} {host_gid} 1"),
            ):
                with open("/proc/self/" + path, "w") as file:  # noqa: PTH123
                    file.write(line)
            drop_bounding_set()
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
    call("capset", CAPABILITY_HEADER, bytes(24))
    if host_uid < 0:
        # With another uid, which undoes it, this would have no effect: see localkube.kubelet.anchor.
        call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)


PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CAPABILITY_HEADER = (0x20080522).to_bytes(4, sys.byteorder) + bytes(4)
"""struct __user_cap_header_struct: version 3, this process (linux/capability.h)."""

if __name__ == "__main__":
    main()
