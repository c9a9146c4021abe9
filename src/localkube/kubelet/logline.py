"""The format of container logs: what containerd writes and the kubelet reads (CRI logging). Pure.

A line of the file is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`; P marks a piece that the next one
continues: of a line longer than `LONGEST`, or of output that ended without a newline.
"""

from datetime import UTC, datetime

LONGEST = 16 * 1024
"""Bytes of one line before it is cut in pieces (containerd's max_container_log_line_size)."""


def stamp(nanoseconds: int) -> bytes:
    """A time since the epoch as RFC 3339 with all nine digits, so that stamps sort as text."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()


def earliest(text: str) -> bytes:
    """The stamp of an RFC 3339 time. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return stamp(int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000)


class Lines:
    """Cuts one stream's bytes into lines of the log; keeps what is not yet a line."""

    def __init__(self, name: str):
        self._stream = name.encode()
        self._rest = b""

    def feed(self, data: bytes, now: bytes) -> bytes:
        """The lines that are complete with `data`; empty `data` is the end and gives up the rest."""
        out: list[bytes] = []
        head = now + b" " + self._stream
        if not data:
            if self._rest:
                out.append(b"%b P %b\n" % (head, self._rest))
            self._rest = b""
            return b"".join(out)
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()
        for piece in pieces:
            while len(piece) > LONGEST:
                out.append(b"%b P %b\n" % (head, piece[:LONGEST]))
                piece = piece[LONGEST:]
            out.append(b"%b F %b\n" % (head, piece))
        while len(self._rest) > LONGEST:
            out.append(b"%b P %b\n" % (head, self._rest[:LONGEST]))
            self._rest = self._rest[LONGEST:]
        return b"".join(out)


def render(lines: bytes, since: bytes, timestamps: bool) -> bytes:
    """What a client reads of complete log lines: those not before the stamp `since`, with or without it."""
    out: list[bytes] = []
    for line in lines.split(b"\n"):
        if not line:
            continue
        time, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if since and time < since:
            continue
        if timestamps:
            out.append(time + b" ")
        out.append(text)
        if tag == b"F":
            out.append(b"\n")
    return b"".join(out)
