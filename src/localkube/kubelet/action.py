"""Probe and lifecycle actions: run a command in the container, ask it over HTTP, or connect to a port."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from localkube.kubelet import process
from localkube.kubelet.process import Command, StartFailed

_OUTPUT = 10 * 1024
"""Bytes kept of what an action says (the kubelet's maxProbeOutput)."""

Execute = Callable[[list[str]], Command]
"""Makes the command that runs these words inside the container."""


class Outcome(NamedTuple):
    ok: bool
    output: str


class Place(NamedTuple):
    """Where an action happens."""

    ip: str
    container: dict[str, Any]
    execute: Execute


async def perform(action: dict[str, Any], place: Place, timeout: float) -> Outcome:
    """Carry out the action that is set; never raises for what the container does."""
    try:
        async with asyncio.timeout(timeout):
            if spec := action.get("exec"):
                return await _execute(spec.get("command") or [], place)
            if spec := action.get("httpGet"):
                return await _http(spec, place)
            if spec := action.get("tcpSocket"):
                return await _connect(spec, place)
            if spec := action.get("sleep"):
                await asyncio.sleep(spec["seconds"])
                return Outcome(True, "")
    except TimeoutError:
        return Outcome(False, f"command timed out after {timeout:g}s")
    return Outcome(False, f"localkube does not support this action: {', '.join(action)}")


async def _execute(words: list[str], place: Place) -> Outcome:
    output = bytearray()

    def keep(_: Literal["stdout", "stderr"], data: bytes) -> None:
        output.extend(data[: _OUTPUT - len(output)])

    try:
        running = await process.start(place.execute(words), keep)
    except StartFailed as error:
        return Outcome(False, str(error))
    try:
        code = await running.wait()
    finally:
        await running.abandon()
    return Outcome(code == 0, output.decode(errors="replace"))


async def _http(spec: dict[str, Any], place: Place) -> Outcome:
    host = spec.get("host") or place.ip
    port = _port(spec["port"], place.container)
    path = spec.get("path") or "/"
    url = f"{(spec.get('scheme') or 'HTTP').lower()}://{host}:{port}{path}"
    if (spec.get("scheme") or "HTTP") != "HTTP":
        return Outcome(False, f'Get "{url}": localkube probes over plain HTTP only')
    headers = {
        "Host": f"{host}:{port}",
        "User-Agent": "kube-probe/1.36",
        "Accept": "*/*",
        "Connection": "close",
    }
    headers.update({header["name"]: header["value"] for header in spec.get("httpHeaders") or ()})
    request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome(False, f'Get "{url}": dial tcp {host}:{port}: {(error.strerror or "").lower()}')
    try:
        writer.write(request.encode())
        line = await reader.readline()
    except OSError as error:
        return Outcome(False, f'Get "{url}": {error}')
    finally:
        writer.close()
    words = line.split()
    if len(words) < 2 or not words[1].isdigit():
        return Outcome(False, f'Get "{url}": EOF')
    code = int(words[1])
    return Outcome(200 <= code < 400, f"HTTP probe failed with statuscode: {code}" if code >= 400 else "")


async def _connect(spec: dict[str, Any], place: Place) -> Outcome:
    host = spec.get("host") or place.ip
    port = _port(spec["port"], place.container)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome(False, f"dial tcp {host}:{port}: connect: {(error.strerror or '').lower()}")
    writer.close()
    return Outcome(True, "")


def _port(port: int | str, container: dict[str, Any]) -> int:
    """A port by its number or by the name that the container gave it; 0 for one that there is not."""
    if isinstance(port, int):
        return port
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known["containerPort"])
    return int(port) if port.isdigit() else 0
