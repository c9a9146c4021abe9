"""Requests that two readers could read in two ways, and those that are too large or too slow, on the wire.

The server's parser is granian's (hyper). Behind a proxy, a request that is one to the proxy and two to us
would be somebody else's; so whatever is ambiguous must be refused, or end the connection after one answer.
"""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubfleet.cli.serve import HEADER_BYTES

GET = b"GET /p/profiles HTTP/1.1\r\nHost: a\r\n"
LAST = GET + b"Connection: close\r\n"
POST = b"POST /p/profiles HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /p/smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

Address = tuple[str, int]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    directory = tmp_path_factory.mktemp("http")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (directory / "kubeconfig").write_text(
        "{current-context: c, contexts: [{name: c, context: {cluster: c, user: c}}], "
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: c, user: {}}]}"
    )
    config = directory / "hubfleet.yaml"
    config.write_text(
        f"listen: 127.0.0.1:{port}\nhub: {{service_name: kbatch, api_url: 'http://127.0.0.1:1/hub/api'}}\n"
        f"clusters: [{{name: a, kubeconfig: {directory / 'kubeconfig'}}}]\nbatch: {{prefix: /p}}\n"
    )
    command = [str(Path(sys.executable).with_name("hubfleet")), "serve", "--config", str(config)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    pytest.fail((directory / "log").read_text())
                time.sleep(0.05)
        yield "127.0.0.1", port
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def answers(address: Address, sent: bytes) -> list[int]:
    """The statuses of all answers, up to the end of the connection, which must come."""
    with socket.create_connection(address, timeout=20) as connection:
        received = b""
        try:
            connection.sendall(sent)
            while got := connection.recv(65536):
                received += got
        except (ConnectionResetError, BrokenPipeError):
            pass  # it did not want to hear the rest
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


REFUSED = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 44\r\n\r\nabcde" + SMUGGLED,
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nabcde" + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\nabcde" + SMUGGLED,
    "a negative length": POST + b"Content-Length: -5\r\n\r\n" + SMUGGLED,
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nabcde" + SMUGGLED,
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + SMUGGLED,
    "a space before the colon of a length": POST + b"Content-Length : 5\r\n\r\nabcde" + SMUGGLED,
    "a space before the colon of an encoding": POST
    + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "an encoding that nobody knows": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an encoding after chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two encodings": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a vertical tab before an encoding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks in HTTP/1.0": b"POST /p/profiles HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a header that goes on in the next line": POST + b"X: a\r\n Content-Length: 5\r\n\r\nabcde" + SMUGGLED,
    "a carriage return in a header": GET + b"X: a\rContent-Length: 5\r\n\r\n" + SMUGGLED,
    "a null in a header": GET + b"X: a\0b\r\n\r\n" + SMUGGLED,
    "no version": b"GET /p/profiles\r\n\r\n" + SMUGGLED,
    "a method that is none": b"G@T /p/profiles HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED,
    "a space in the path": b"GET /p/profiles /x HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_ambiguous_is_refused(address: Address, what: str) -> None:
    assert answers(address, REFUSED[what]) == [400]


ONE_ANSWER = {
    "chunks and a length": CHUNKED + b"Content-Length: 60\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a length and chunks": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a chunk's size that is none": CHUNKED + b"\r\nzz\r\n\r\n" + SMUGGLED,
    "a chunk's size beyond 64 bits": CHUNKED + b"\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk's extension without end": CHUNKED
    + b"\r\n1;"
    + b"a" * 100_000
    + b"\r\nx\r\n0\r\n\r\n"
    + SMUGGLED,
    "a trailer without end": CHUNKED + b"\r\n0\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("what", ONE_ANSWER)
def test_after_what_may_be_two_requests_there_is_one_answer(address: Address, what: str) -> None:
    assert len(answers(address, ONE_ANSWER[what])) <= 1


def test_two_requests_in_a_row_are_two(address: Address) -> None:
    """What the tests above would not notice: that nothing is answered at all."""
    assert answers(address, GET + b"\r\n" + SMUGGLED) == [200, 404]
    assert answers(address, POST + b"Content-Length: 5\r\n\r\nabcde" + SMUGGLED)[:1] == [405]
    body = f"Content-Length: {len(SMUGGLED)}\r\n\r\n".encode()
    assert answers(address, GET + body + SMUGGLED + LAST + b"\r\n") == [200, 200], "a body, and no request"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (LAST + b"X: " + b"a" * (HEADER_BYTES // 2) + b"\r\n\r\n", 200),
        (GET + b"X: " + b"a" * (16 * HEADER_BYTES) + b"\r\n\r\n", 431),
        (LAST + b"".join(b"X%d: a\r\n" % i for i in range(50)) + b"\r\n", 200),
        (GET + b"".join(b"X%d: a\r\n" % i for i in range(150)) + b"\r\n", 431),
        (b"GET /p/" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ],
)
def test_headers_have_a_limit(address: Address, sent: bytes, status: int) -> None:
    assert answers(address, sent) == [status]


def test_other_protocols_are_not_spoken(address: Address) -> None:
    assert answers(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == []
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    assert answers(address, GET + upgrade + b"\r\n" + SMUGGLED) == [200, 404]
    assert answers(address, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == [405]


@pytest.mark.nightly
@pytest.mark.parametrize("sent", [b"", b"GET /p/profiles HTTP/1.1\r\nHo", GET + b"\r\n"])
def test_a_connection_that_says_nothing_more_is_closed(address: Address, sent: bytes) -> None:
    """Before a request, within its headers, and after it."""
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(sent)
        begun = time.monotonic()
        while connection.recv(65536):
            pass
        assert 25 < time.monotonic() - begun < 40
