"""A hostile user beside an ordinary one: how long the ordinary one waits, with and without them, in one run.

The hostile user has one account and sends, one kind after the other and then all at once: lists, submissions,
bodies at the limit, tokens that nobody has, connections that begin and say no more; and follows many logs.
hubfleet runs with its own defaults. And what tenancy costs: each submission as the user's own account.
The last line is JSON with `ratio` (higher is better) and `goal`.
"""

import base64
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import click

from bench._load import percentile_of
from bench._stage import ROOT, Ground, client_payload
from hubfleet.demo.hub import call

SECONDS = 10
"""Of each measurement."""

REST = 5
"""Seconds from the beginning of an attack to the measurement: what a rested user may send at once is sent."""

SILENT = 500
FOLLOWERS = 300
LINES = 200_000
PAIRS = 60
GOAL = {
    # 1.0: nothing is noticed. The attacker's load, the API server and hubfleet share the machine's cores.
    "authorized_p99_beside_attack": 0.5,
    "list_p99_beside_attack": 0.5,
    "submit_p99_beside_attack": 0.5,
    "authorized_p99_beside_followers": 0.5,
    "list_p99_beside_followers": 0.5,
    "submission_with_tenancy": 0.8,
}


class Attack(contextlib.ExitStack):
    """What the hostile user has running; all of it ends with the `with`."""

    def __init__(self, base: str, token: str, payload: bytes):
        super().__init__()
        self._base = base
        self._token = token
        self._payload = payload
        self._directory = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="hubfleet-attack-")))
        self._files = 0

    def lists(self) -> None:
        self._wrk("jobs/", "", connections=64)

    def submissions(self) -> None:
        self._post(self._payload, connections=64)

    def large_bodies(self) -> None:
        """At the limit of what is read: one that is dear to decode, and good code that is refused late."""
        self._post(b'{"job": [' + b"[]," * (10 * 2**20) + b"1]}", connections=4)
        self._post(large_code(json.loads(self._payload)), connections=4)

    def tokens(self) -> None:
        lua = (
            "math.randomseed(os.time())\n"
            'request = function() wrk.headers["Authorization"] = "token " .. math.random(1e15)\n'
            "return wrk.format() end\n"
        )
        self._wrk("authorized", lua, connections=64)

    def silent(self) -> None:
        """Half of them before the end of their headers, half before their bodies."""
        parts = urlsplit(self._base)
        for number in range(SILENT):
            begun = f"POST {parts.path}jobs/ HTTP/1.1\r\nHost: a\r\nAuthorization: {self._token}\r\n"
            begun += "Content-Length: 1000\r\n\r\n{" if number % 2 else ""
            self._connect().sendall(begun.encode())

    def followers(self, job: str) -> None:
        """Each reads as fast as it is sent."""
        parts = urlsplit(self._base)
        request = f"GET {parts.path}jobs/logs/{job}?stream=true HTTP/1.1\r\nHost: a\r\n"
        command = [sys.executable, "-m", "bench._followers", parts.netloc, str(FOLLOWERS)]
        process = subprocess.Popen(["nice", "-n", "10", *command], stdin=subprocess.PIPE, cwd=ROOT)
        self._end(process)
        assert process.stdin is not None
        process.stdin.write(f"{request}Authorization: {self._token}\r\n\r\n".encode())
        process.stdin.close()

    def _connect(self) -> socket.socket:
        parts = urlsplit(self._base)
        return self.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=10))

    def _post(self, body: bytes, *, connections: int) -> None:
        path = self._file(body)
        lua = f'wrk.method = "POST"\nwrk.body = io.open("{path}", "rb"):read("*a")\n'
        self._wrk("jobs/", lua, connections=connections)

    def _wrk(self, path: str, lua: str, *, connections: int) -> None:
        script = self._file(f'wrk.headers["Authorization"] = "{self._token}"\n{lua}'.encode())
        # Below everybody else: the load comes from elsewhere, and must not take the cores of what it meets.
        command = ["nice", "-n", "10", "wrk", "-t1", f"-c{connections}", "-d600s", "--timeout", "30s"]
        self._end(
            subprocess.Popen([*command, "-s", str(script), self._base + path], stdout=subprocess.DEVNULL)
        )

    def _file(self, content: bytes) -> Path:
        self._files += 1
        path = self._directory / str(self._files)
        path.write_bytes(content)
        return path

    def _end(self, process: subprocess.Popen) -> None:
        self.callback(process.wait)
        self.callback(process.kill)


KINDS = ("lists", "submissions", "large_bodies", "tokens", "silent")


def large_code(payload: dict) -> bytes:
    """A submission with a sound zip file of 19 MiB, and a quantity that only the API server refuses."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("main.bin", os.urandom(19 * 2**20))
    payload["code"]["binary_data"]["code"] = base64.b64encode(archive.getvalue()).decode()
    payload["job"]["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "much"}}
    return json.dumps(payload).encode()


class Bench:
    """The measurements; they fill `ratio`."""

    def __init__(self, ground: Ground, directory: Path):
        self._ground = ground
        self._payload = client_payload("ordinary", code=True)
        self._body = directory / "body"
        self._body.write_bytes(self._payload)
        self.ratio: dict[str, float] = {}

    def _measure(self, what: str, base: str, token: str, seconds: float = SECONDS) -> dict[str, list[float]]:
        command = [sys.executable, "-m", "bench._probe", base, token, str(seconds), str(self._body)]
        output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        found = json.loads(output)
        taken: dict[str, list[float]] = found["taken"]
        figures = "   ".join(
            f"{kind} {statistics.median(values) * 1e3:6.1f} {percentile_of(values, 99) * 1e3:7.1f}"
            for kind, values in taken.items()
        )
        click.echo(f"  {what:20} {figures}")
        if failures := found["failures"]:
            click.echo(f"    {len(failures)} failed, the first one: {failures[0]}")
        return taken

    def _tokens(self) -> tuple[str, str]:
        ordinary, hostile = (f"token {self._ground.token_for(name)}" for name in ("ordinary", "hostile"))
        return ordinary, hostile

    def attacks(self) -> None:
        base, _ = self._ground.hubfleet(tenancy={"adopt_unmarked": True})
        ordinary, hostile = self._tokens()
        click.echo("an ordinary user, p50 and p99 in ms")
        self._measure("warming up", base, ordinary, 3)
        calm = self._measure("alone", base, ordinary)
        # Who holds their turns with silence has none for the rest: not with the others.
        for kinds in (*((kind,) for kind in KINDS), KINDS[:-1]):
            with Attack(base, hostile, self._payload) as attack:
                for kind in kinds:
                    getattr(attack, kind)()
                time.sleep(REST)
                name = f"beside {kinds[0]}" if len(kinds) == 1 else "beside all of it"
                attacked = self._measure(name, base, ordinary)
        for kind, again in self._measure("alone again", base, ordinary).items():
            calm[kind] += again
        self._compare("attack", calm, attacked)

    def followed_logs(self) -> None:
        base, _ = self._ground.hubfleet(tenancy={"adopt_unmarked": True})
        ordinary, hostile = self._tokens()
        job = json.loads(client_payload("talker", code=False))
        container = job["job"]["spec"]["template"]["spec"]["containers"][0]
        container["command"] = ["sh", "-c", f"seq {LINES}; sleep 600"]
        status, made = call("POST", f"{base}jobs/", hostile.removeprefix("token "), job)
        if status != 200:
            raise RuntimeError(f"the hostile user's job: {status} {made}")
        click.echo("an ordinary user beside followed logs, p50 and p99 in ms")
        self._measure("warming up", base, ordinary, 3)
        calm = self._measure("alone", base, ordinary)
        with Attack(base, hostile, self._payload) as attack:
            attack.followers(made["metadata"]["name"])
            time.sleep(REST)
            attacked = self._measure(f"beside {FOLLOWERS} followers", base, ordinary)
        self._compare("followers", calm, attacked)

    def _compare(self, what: str, calm: dict[str, list[float]], attacked: dict[str, list[float]]) -> None:
        for kind, values in calm.items():
            if (name := f"{kind}_p99_beside_{what}") in GOAL:
                self.ratio[name] = percentile_of(values, 99) / percentile_of(attacked[kind], 99)

    def cost(self) -> None:
        """The same submission to two servers: one acts as the user's account, the other as our own."""
        limits = {"submissions_per_second": 1e6}
        with_it, _ = self._ground.hubfleet("with", limits=limits)
        without, _ = self._ground.hubfleet("without", limits=limits, tenancy={"impersonation": "off"})
        token = self._ground.token_for("ordinary")
        job = json.loads(self._payload)
        taken: dict[str, list[float]] = {with_it: [], without: []}
        for _ in range(PAIRS + 1):
            for base, seconds in taken.items():
                begun = time.perf_counter()
                status, answer = call("POST", f"{base}jobs/", token, job)
                seconds.append(time.perf_counter() - begun)
                if status != 200:
                    raise RuntimeError(f"a submission: {status} {answer}")
        medians = {base: statistics.median(seconds[1:]) for base, seconds in taken.items()}
        click.echo(
            f"one submission, p50: as the user's account {medians[with_it] * 1e3:.1f} ms, "
            f"as our own {medians[without] * 1e3:.1f} ms"
        )
        self.ratio["submission_with_tenancy"] = medians[without] / medians[with_it]


@click.command()
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True), help="Use this API server.")
@click.option("--kube-context", default="", help="The context in it; the current one if not given.")
def main(kubeconfig: Path | None, kube_context: str) -> None:
    ratio: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="hubfleet-bench-") as directory:
        for kubelet in (False, True):
            with Ground(kubeconfig, kube_context, kubelet=kubelet) as ground:
                bench = Bench(ground, Path(directory))
                if not kubelet:
                    bench.cost()
                    bench.attacks()
                elif ground.runs_pods():
                    bench.followed_logs()
                else:
                    click.echo("this cluster has no node: followed logs are left out")
                ratio |= bench.ratio
    for name, value in ratio.items():
        verdict = "ok" if value >= GOAL[name] else "MISSED"
        click.echo(f"  {name:34} {value:8.2f}  goal {GOAL[name]}  {verdict}")
    goal = {name: GOAL[name] for name in ratio}
    click.echo(json.dumps({"ratio": {k: round(v, 3) for k, v in ratio.items()}, "goal": goal}))


if __name__ == "__main__":
    main()
