"""One user's latencies, measured by a process of its own: `python -m bench._probe BASE TOKEN SECONDS BODY`.

Asks at a steady pace, one request at a time, and prints JSON: for each kind of request its seconds, and what
was answered where something else than success was. Deletes what it submits, so that lists stay as they are.
A pace, because whoever asks again at once after a slow answer
measures the slow moments less often than the fast ones.
"""

import http.client
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

PACE = 0.0125
"""Seconds from one request to the next."""

KINDS = ("authorized", "list", "authorized", "submit", "authorized", "list", "authorized", "delete")


def main(base: str, token: str, seconds: float, body: Path) -> None:
    parts = urlsplit(base)
    payload = body.read_bytes()
    calls = {
        "authorized": ("GET", parts.path + "authorized", None),
        "list": ("GET", parts.path + "jobs/", None),
        "submit": ("POST", parts.path + "jobs/", payload),
        "delete": ("DELETE", parts.path + "jobs/", None),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in calls}
    failures: list[str] = []
    last = ""
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    begun = time.perf_counter()
    due, turn = begun, 0
    while due < begun + seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        kind = KINDS[turn % len(KINDS)]
        method, path, content = calls[kind]
        if kind == "delete":
            path += last
        started = time.perf_counter()
        connection.request(method, path, content, {"Authorization": token})
        response = connection.getresponse()
        answer = response.read()
        taken[kind].append(time.perf_counter() - started)
        if response.status != 200:
            failures.append(f"{kind}: {response.status} {answer[:200]!r}")
        elif kind == "submit":
            last = json.loads(answer)["metadata"]["name"]
        turn += 1
        due = max(due + PACE, time.perf_counter() - 1.0)
    print(json.dumps({"taken": taken, "failures": failures}))


if __name__ == "__main__":
    os.nice(-5 if os.geteuid() == 0 else 0)  # the user's machine is another one than the attacker's
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
