"""Load and latency, measured the same way for everyone: wrk keeps up the load, /proc tells the memory."""

import math
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import msgspec

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk saw."""

    per_second: float  # successful answers
    p50: float  # seconds
    p99: float  # seconds
    failures: int  # answers that were not 2xx or 3xx, and socket errors


def wrk(
    url: str, token: str, *, connections: int, seconds: int, method: str = "GET", body: bytes = b""
) -> Load:
    """Keep `connections` requests under way for `seconds`."""
    script = [f'wrk.method = "{method}"', f'wrk.headers["Authorization"] = "{token}"']
    with tempfile.TemporaryDirectory() as directory:
        if body:
            payload = Path(directory, "body")
            payload.write_bytes(body)
            script += ['wrk.headers["Content-Type"] = "application/json"']
            script += [f'wrk.body = io.open("{payload}", "rb"):read("*a")']
        path = Path(directory, "load.lua")
        path.write_text("\n".join(script))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
        output = subprocess.run(
            [*command, "-s", str(path), url], capture_output=True, text=True, check=True, timeout=seconds + 60
        ).stdout
    return parse(output, seconds)


def one_by_one(url: str, headers: dict[str, str], *, times: int, certificate: str = "") -> float:
    """The median of the seconds that one GET takes, on one connection, after one to warm up.

    By curl: with megabytes to read, a client in Python would measure itself.
    """
    command = ["curl", "--silent", "--insecure", "--fail", "--write-out", "%{time_total}\n"]
    command += ["--cert", certificate] if certificate else []
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    command += ["--output", "/dev/null", url] * (times + 1)
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    return statistics.median(map(float, output.split()[1:]))


def parse(output: str, seconds: int) -> Load:
    """The figures of wrk's report."""
    total = int(re.search(r"(\d+) requests in", output)[1])
    failures = int((re.search(r"Non-2xx or 3xx responses: (\d+)", output) or [0, 0])[1])
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    lost = sum(map(int, sockets.groups())) if sockets else 0
    return Load(
        per_second=max(total - failures, 0) / seconds,
        p50=_percentile(output, 50),
        p99=_percentile(output, 99),
        failures=failures + lost,
    )


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    return float(found[1]) * UNITS[found[2]] if found else float("nan")


def percentile_of(values: list[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def resident(pid: int) -> int:
    """Bytes of memory of a process and its children, shared pages counted once (PSS)."""
    total = 0
    for each in family(pid):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) * 1024
    return total


def family(pid: int) -> list[int]:
    """The process and everything below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [each for child in children for each in family(int(child))]
