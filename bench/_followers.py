"""Many readers of one answer: `python -m bench._followers HOST:PORT COUNT`, the request on standard input.

They read all that comes, and do nothing with it, until the process is ended.
"""

import selectors
import socket
import sys


def main(address: str, count: int, request: bytes) -> None:
    host, _, port = address.rpartition(":")
    ready = selectors.DefaultSelector()
    for _ in range(count):
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.sendall(request)
        connection.setblocking(False)
        ready.register(connection, selectors.EVENT_READ)
    while ready.get_map():
        for key, _ in ready.select():
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if not connection.recv(65536):
                ready.unregister(connection)
                connection.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.stdin.buffer.read())
