"""Container logs: their format, what a reader selects, and followers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver.status import StatusError
from localkube.kubelet import logline, logquery
from localkube.kubelet.logfile import LogFile, Selection
from localkube.kubelet.logline import LONGEST, Lines

NOW = logline.stamp(1_767_225_600_000_000_001)


@given(st.lists(st.binary(max_size=40)))
def test_what_is_written_is_read_however_it_is_cut(pieces: list[bytes]) -> None:
    lines = Lines("stdout")
    written = b"".join(lines.feed(piece, NOW) for piece in pieces if piece) + lines.feed(b"", NOW)
    assert logline.render(written, b"", timestamps=False) == b"".join(pieces)


@pytest.mark.parametrize("size", [*range(LONGEST - 1, LONGEST + 3), 2 * LONGEST, 5 * LONGEST + 1])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_long_lines_are_cut_and_joined(size: int, end: bytes) -> None:
    data = b"x" * size + end
    lines = Lines("stderr")
    written = lines.feed(data, NOW) + lines.feed(b"", NOW)
    assert logline.render(written, b"", timestamps=False) == data
    head = len(NOW) + len(b" stderr P ")
    assert all(len(line) - head <= LONGEST for line in written.split(b"\n"))


def test_format() -> None:
    lines = Lines("stdout")
    assert lines.feed(b"a\nb", NOW) == b"2026-01-01T00:00:00.000000001Z stdout F a\n"
    assert lines.feed(b"", NOW) == b"2026-01-01T00:00:00.000000001Z stdout P b\n"
    assert lines.feed(b"", NOW) == b""


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("2026-01-01T00:00:00Z", b"2026-01-01T00:00:00.000000000Z"),
        ("2026-01-01T02:00:00.25+02:00", b"2026-01-01T00:00:00.250000000Z"),
    ],
)
def test_earliest(text: str, stamp: bytes) -> None:
    assert logline.earliest(text) == stamp


def log_with(path: Path, *lines: str) -> LogFile:
    """Line n is of second n of 2026."""
    text = "".join(f"2026-01-01T00:00:{n:02d}.000000000Z stdout F {line}\n" for n, line in enumerate(lines))
    path.write_text(text)
    return LogFile(path, closed=True)


async def read(log: LogFile, follow: bool = False, **selection: Any) -> bytes:
    return b"".join([piece async for piece in log.read(Selection(**selection), follow)])


async def test_selections(tmp_path: Path) -> None:
    log = log_with(tmp_path / "log", "a", "bb", "", "ccc")
    assert await read(log) == b"a\nbb\n\nccc\n"
    assert await read(log, tail=0) == b""
    assert await read(log, tail=2) == b"\nccc\n"
    assert await read(log, tail=9) == b"a\nbb\n\nccc\n"
    assert await read(log, since=logline.earliest("2026-01-01T00:00:02Z")) == b"\nccc\n"
    assert await read(log, limit=3) == b"a\nb"
    assert await read(log, tail=1, timestamps=True) == b"2026-01-01T00:00:03.000000000Z ccc\n"
    assert await read(log, tail=3, since=logline.earliest("2026-01-01T00:00:03Z")) == b"ccc\n"
    assert log.last(4, 80) == b"ccc\n"
    assert log.last(100, 2) == b"\nccc\n"


@pytest.mark.parametrize("lines", [1, 7, 3000, 10_000])
async def test_tail_of_a_long_log(tmp_path: Path, lines: int) -> None:
    log = log_with(tmp_path / "log", *(f"{n:060d}" for n in range(5000)))
    expected = b"".join(b"%060d\n" % n for n in range(max(0, 5000 - lines), 5000))
    assert await read(log, tail=lines) == expected


async def test_followers_see_what_comes_and_end_with_the_container(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.write("stdout", b"before\n")
    followers = [asyncio.create_task(read(log, follow=True)) for _ in range(500)]
    late = asyncio.create_task(read(log, follow=True, tail=0))
    leaving = asyncio.create_task(read(log, follow=True))
    await asyncio.sleep(0)
    for n in range(20):
        log.write("stdout" if n % 2 else "stderr", b"line %d\n" % n)
        await asyncio.sleep(0)
        if n == 5:
            leaving.cancel()
    log.write("stdout", b"unfinished")
    for stream in ("stdout", "stderr"):
        log.write(stream, b"")  # type: ignore[arg-type]
    log.close()
    lines = b"".join(b"line %d\n" % n for n in range(20)) + b"unfinished"
    assert set(await asyncio.gather(*followers)) == {b"before\n" + lines}
    assert await late == lines
    assert leaving.cancelled() or await asyncio.gather(leaving, return_exceptions=True)


async def test_a_follower_that_ends_does_not_end_the_others(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    first, second = (asyncio.create_task(read(log, follow=True)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    log.write("stdout", b"x\n")
    log.close()
    assert await second == b"x\n"


def pod(state: dict[str, Any], last: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    entry = {"name": "c", "state": state, "lastState": {"terminated": last} if last else {}, **more}
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": [entry]}}


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
ENDED = {"terminated": {"exitCode": 1, "containerID": "now"}}


@pytest.mark.parametrize(
    ("made", "previous", "expected"),
    [
        (pod(RUNNING, containerID="now"), False, "now"),
        (pod(RUNNING, {"containerID": "before"}, containerID="now"), True, "before"),
        (pod(ENDED), False, "now"),
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}, {"containerID": "before"}), False, "before"),
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}, {"containerID": "before"}), True, "before"),
    ],
)
def test_which_run(made: dict[str, Any], previous: bool, expected: str) -> None:
    assert logquery.run_id(made, "c", previous) == expected


@pytest.mark.parametrize(
    ("made", "previous", "message"),
    [
        (pod(RUNNING, containerID="x"), True, 'previous terminated container "c" in pod "p" not found'),
        (
            pod({"waiting": {"reason": "PodInitializing"}}),
            False,
            'container "c" in pod "p" is waiting to start: PodInitializing',
        ),
        (
            pod({"waiting": {"reason": "ErrImagePull"}}),
            False,
            'container "c" in pod "p" is waiting to start: trying and failing to pull image',
        ),
        ({"metadata": {"name": "p"}}, False, 'container "c" in pod "p" is not available'),
    ],
)
def test_nothing_to_read(made: dict[str, Any], previous: bool, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        logquery.run_id(made, "c", previous)
    assert (failure.value.code, failure.value.message) == (400, message)
