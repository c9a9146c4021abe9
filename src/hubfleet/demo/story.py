"""What the demo does on its stage: a user's first ten minutes, through the real kbatch client."""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from hubfleet.demo import hub
from hubfleet.demo.stage import Stage

CRON_SECONDS = 150.0  # a `* * * * *` fires within 60 s; the rest is for a slow machine


class StoryFailed(Exception):
    """Something that the demo shows did not happen."""


class Terminal(msgspec.Struct):
    """A user's shell: runs the client, and shows the command with what it prints."""

    kbatch: Path
    home: Path  # where the client keeps its configuration
    project: Path  # the user's current folder
    show: Callable[[str], None]

    def run(self, *arguments: str, hide: str = "", fails: bool = False) -> str:
        """Run `kbatch ARGUMENTS`, showing each line as it comes; the whole output. `hide` is not shown.

        Raises `StoryFailed` where it does not end well, or, with `fails`, where it does.
        """
        self.show(f"$ kbatch {shlex.join(arguments)}".replace(hide or "\0", "..."))
        with self._start(arguments) as child:
            assert child.stdout is not None
            lines = []
            for line in child.stdout:
                lines.append(line)
                self.show("  " + line.rstrip())
        if (child.returncode != 0) != fails:
            said = f"kbatch {shlex.join(arguments)} ended with {child.returncode}:\n{''.join(lines[-5:])}"
            raise StoryFailed(said.replace(hide or "\0", "...").rstrip())
        return "".join(lines)

    def read(self, *arguments: str) -> Any:
        """The JSON that `kbatch ARGUMENTS` prints; shows nothing."""
        with self._start(arguments) as child:
            assert child.stdout is not None
            output = child.stdout.read()
        if child.returncode != 0:
            raise StoryFailed(f"kbatch {' '.join(arguments)} ended with {child.returncode}: {output}")
        return json.loads(output)

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("KBATCH_", "JUPYTERHUB_"))}
        env |= {"XDG_CONFIG_HOME": str(self.home), "COLUMNS": "100", "NO_COLOR": "1"}
        return subprocess.Popen(
            [str(self.kbatch), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            cwd=self.project,
        )


def tell(stage: Stage, terminal: Terminal, headline: Callable[[str], None]) -> None:
    """Run the whole story. Raises `StoryFailed` at the first thing that does not happen."""
    token = stage.token_for("ada")
    headline("Ada connects the kbatch client to the Hub's service")
    terminal.run("configure", "--kbatch-url", stage.addresses.service_url, "--token", token, hide=token)

    headline("A cron job, which will fire on the next full minute")
    cron = terminal.run("cronjob", "submit", "-f", "cronjob.yaml").split()[-1]

    headline("A job with code, environment and a profile, on the default cluster")
    _run_job(terminal, "job", "submit", "-f", "job.yaml", "-p", "small")

    headline("The same project on the other cluster: only the URL differs")
    _run_job(terminal, "job", "submit", "-f", "job.yaml", url=stage.cluster_url("east"))

    headline("A job that fails says so")
    command = ["--command", '["sh", "-c"]', "--args", '["echo no such data; exit 3"]']
    name = terminal.run("job", "submit", "-n", "broken", "--image", "python:3.13", *command).split()[-1]
    _wait(lambda: terminal.read("job", "show", name)["status"]["failed"], 60, f"{name} to fail")
    terminal.run("job", "logs", name)

    headline("A job that reaches for the node is refused, with all that is wrong")
    _try_to_escape(stage, terminal, token)

    headline("Bob has a namespace of his own, and sees nothing of Ada's")
    other = stage.token_for("bob")
    terminal.run("job", "list", "--token", other, hide=other)
    terminal.run("job", "show", name, "--token", other, hide=other, fails=True)

    headline("The cron job fires")
    fired = _wait(lambda: _finished_run_of(terminal, cron), CRON_SECONDS, f"{cron} to fire")
    terminal.run("job", "logs", fired)
    terminal.run("job", "list")
    terminal.run("cronjob", "list")


def _try_to_escape(stage: Stage, terminal: Terminal, token: str) -> None:
    """Ask for files and the network of the node, past the client, which has no words for them."""
    container = {"name": "job", "image": "python:3.13", "securityContext": {"privileged": True}}
    pod = {
        "containers": [container],
        "hostNetwork": True,
        "restartPolicy": "Never",
        "volumes": [{"name": "node", "hostPath": {"path": "/"}}],
    }
    job = {"metadata": {"generateName": "escape-"}, "spec": {"template": {"spec": pod}}}
    terminal.show(
        "POST /services/kbatch/jobs/  with a hostPath volume, hostNetwork and a privileged container"
    )
    status, answer = hub.call("POST", f"{stage.addresses.service_url}jobs/", token, {"job": job})
    detail = answer["detail"] if isinstance(answer, dict) else str(answer)
    for line in f"{status}: {detail}".splitlines():
        terminal.show("  " + line)
    if status != 422 or "host_path" not in detail:
        raise StoryFailed(f"a job with a hostPath volume was answered with {status}, not refused")


def _run_job(terminal: Terminal, *arguments: str, url: str = "") -> None:
    where = ("--kbatch-url", url) if url else ()
    name = terminal.run(*arguments, *where).split()[-1]
    output = terminal.run("job", "logs", name, "--stream", *where)
    if "done: " not in output:
        raise StoryFailed(f"the log of {name} does not end as it should")
    _wait(lambda: terminal.read("job", "show", name, *where)["status"]["succeeded"], 30, f"{name} to succeed")


def _finished_run_of(terminal: Terminal, cron: str) -> str | None:
    for job in terminal.read("job", "list", "-o", "json")["items"]:
        owners = job["metadata"]["owner_references"] or []
        if job["status"]["succeeded"] and any(owner["name"] == cron for owner in owners):
            return str(job["metadata"]["name"])
    return None


def _wait(happened: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := happened()):
        if time.monotonic() > deadline:
            raise StoryFailed(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)
    return answer
