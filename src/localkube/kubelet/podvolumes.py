"""A pod's volumes on this node: made once; those that hold tokens are written again when one is due."""

import time
from typing import Any

from localkube.kubelet import securitycontext, volumedir, volumes
from localkube.kubelet.poddir import PodDir
from localkube.kubelet.references import ReferenceFailed
from localkube.kubelet.tokens import TokenManager, is_projected
from localkube.kubelet.volumes import Sources

Object = dict[str, Any]


class PodVolumes:
    """Those in `files`. `renewal` is when tokens in them are due, by the monotonic clock; None is never."""

    def __init__(self, files: PodDir, tokens: TokenManager):
        self._files = files
        self._tokens = tokens
        self.renewal: float | None = None

    def make(self, pod: Object, sources: Sources) -> None:
        """Raises ReferenceFailed, volumes.Unsupported and OSError."""
        owner = securitycontext.owner(pod)
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in pod["spec"].get("volumes") or ():
            if volumes.kind(volume) == "emptyDir":
                volumedir.make_empty(self._files.volume(volume["name"]), owner, group)
            else:
                self._write(pod, volume, sources)
        self._plan(pod)

    def renew(self, pod: Object, sources: Sources) -> None:
        """Writes those that hold tokens again, when one of these is due. Raises as `make`."""
        if self.renewal is None or time.monotonic() < self.renewal:
            return
        for volume in pod["spec"].get("volumes") or ():
            if is_projected(volume):
                self._write(pod, volume, sources)
        self._plan(pod)

    def put_off(self, seconds: float) -> None:
        """The renewal failed: it is due again then."""
        self.renewal = time.monotonic() + seconds

    def _plan(self, pod: Object) -> None:
        wait = self._tokens.wait(pod)
        self.renewal = None if wait is None else time.monotonic() + wait

    def _write(self, pod: Object, volume: Object, sources: Sources) -> None:
        name = volume["name"]
        try:
            files = volumes.payload(pod, volume, sources)
        except ReferenceFailed as error:
            raise ReferenceFailed(f'MountVolume.SetUp failed for volume "{name}" : {error}') from None
        volumedir.write(self._files.volume(name), files, securitycontext.owner(pod))
