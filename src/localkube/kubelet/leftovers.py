"""What an earlier localkube with the same data directory may have left behind when it was killed."""

import contextlib
import os
import shutil
import signal
from collections.abc import Collection
from pathlib import Path

from localkube.kubelet.process import MARKER


def kill_processes(pods: Path) -> int:
    """Kill sandboxes that were started for pods in this directory; how many there were.

    They die with their parent; this is for one that was between two steps just then.
    """
    wanted = f"{MARKER}={pods}".encode()
    found = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                found += 1
    return found


def remove_directories(pods: Path, known: Collection[str]) -> None:
    """Remove the files of pods that do not exist any more; `known` are the uids of those that do."""
    for entry in pods.iterdir():
        if entry.name not in known:
            shutil.rmtree(entry, ignore_errors=True)
