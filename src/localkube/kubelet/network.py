"""Where a pod's sockets live: what the rest of the kubelet knows about networks."""

from typing import NamedTuple, Protocol

LOOPBACK = "127.0.0.1"


class Attachment(NamedTuple):
    """A pod's place in a network: `netns` is the path of its namespace, "" the host's own."""

    ip: str
    netns: str = ""
    cable: str = ""
    """The device by which the router knows the pod."""


class Network(Protocol):
    """Addresses for pods. All methods are for the event loop's thread."""

    host_ip: str
    """The address at which pods reach the host."""

    isolated: bool
    """Whether a pod has an address of its own."""

    namespace: str
    """The path of the network namespace that all packets of pods are routed through, "" where none is."""

    async def attach(self, uid: str) -> Attachment: ...

    async def detach(self, uid: str) -> None: ...

    async def close(self) -> None:
        """Take away everything that was made on the host."""


class HostNetwork:
    """Every pod shares the host's sockets; all that is possible without root."""

    host_ip = LOOPBACK
    isolated = False
    namespace = ""

    async def attach(self, uid: str) -> Attachment:
        return Attachment(LOOPBACK)

    async def detach(self, uid: str) -> None:
        return None

    async def close(self) -> None:
        return None
