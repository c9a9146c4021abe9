"""A PID namespace around all containers, which the kernel ends with localkube, however that ends.

bubblewrap's `--die-with-parent` alone does not reach a container that has changed its uid: the signal comes
from a process that has no right to send it. So everything runs in namespaces below one whose first process
asks to be killed together with localkube: when that goes, the kernel kills all that is inside.
"""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

_START_SECONDS = 10.0


class Anchor:
    """`pidns` is a descriptor of the namespace. Made by `drop_anchor`."""

    def __init__(self, process: "subprocess.Popen[bytes]", pidns: int):
        self._process = process
        self.pidns = pidns

    async def close(self) -> None:
        """Kill all that is still inside."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        os.close(self.pidns)


async def drop_anchor() -> Anchor | None:
    """Make the namespace; None where it is neither possible nor needed: without root, uids do not change."""
    if os.geteuid() != 0:
        return None
    words = [shutil.which(name) or name for name in ("setpriv", "unshare", "sleep")]
    process = subprocess.Popen(  # noqa: ASYNC220 (returns after exec)
        [words[0], "--pdeathsig", "KILL", words[1], "--pid", "--fork", "--kill-child", words[2], "infinity"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            while (first := _child(process.pid)) is None:
                if process.poll() is not None:
                    raise OSError("cannot make a PID namespace for pods: unshare failed")
                await asyncio.sleep(0.001)
        return Anchor(process, os.open(f"/proc/{first}/ns/pid", os.O_RDONLY | os.O_CLOEXEC))
    except BaseException:
        process.kill()
        process.wait()
        raise


def _child(pid: int) -> int | None:
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(words[0]) if words else None
