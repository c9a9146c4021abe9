"""The real clients, 0.4.2 and 0.5, through every command that works in them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.hubfleet.batch.conftest import PROFILES, Kbatch, Person, Server, StartServer, until

from hubfleet.kube.client import Client
from hubfleet.kube.resources import CRONJOBS, JOBS

IMAGE = ("--image", "python:3.13")
FINISHED = 60.0
"""Seconds for a job to run, on a busy machine."""


def submit(kbatch: Kbatch, what: str, *arguments: str) -> str:
    """The name of what was made: 0.5 prints it, 0.4.2 prints all of it."""
    if kbatch.version == "0.4.2":
        return str(kbatch.json(what, "submit", *arguments)["metadata"]["name"])
    return kbatch.run(what, "submit", *arguments).strip()


def shell(script: str) -> tuple[str, ...]:
    return (*IMAGE, "--command", '["sh", "-c"]', "--args", json.dumps([script]))


async def finished(server: Server, person: Person, name: str) -> dict[str, Any]:
    """The status of a job that ended; asked for without the client, which takes a second to start."""

    def ended() -> Any:
        found = json.loads(server.call("GET", f"jobs/{name}", person.token)[2])["status"]
        return found if found["succeeded"] or found["failed"] else None

    found: dict[str, Any] = await until(ended, FINISHED)
    return found


def test_configure_asks_whether_the_token_is_good(
    kbatch: Kbatch, server: Server, person: Person, tmp_path: Path
) -> None:
    kbatch.run("configure", "--kbatch-url", server.url, "--token", person.token, configured=False)
    written = json.loads((tmp_path / "kbatch/config.json").read_text())
    assert written == {"kbatch_url": server.url, "token": person.token}
    assert kbatch.run("job", "list", "-o", "table", configured=False)
    complaint = kbatch.run(
        "configure", "--kbatch-url", server.url, "--token", "wrong", configured=False, fails=True
    )
    assert "401" in complaint


def test_profiles(kbatch: Kbatch) -> None:
    assert kbatch.json("profiles") == PROFILES


async def test_jobs_are_submitted_shown_listed_and_deleted(
    kbatch: Kbatch, person: Person, client: Client
) -> None:
    name = submit(kbatch, "job", "-n", "pi", *IMAGE, "--command", '["sleep", "300"]', "-e", '{"A": "1"}')
    job = await client.get(JOBS, person.namespace, name)
    container = job["spec"]["template"]["spec"]["containers"][0]
    names = [variable["name"] for variable in container["env"]]
    assert names == ["A", "JUPYTER_IMAGE", "JUPYTER_IMAGE_SPEC", "JUPYTERHUB_API_TOKEN"]
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    assert kbatch.json("job", "show", name)["metadata"]["name"] == name
    assert [each["metadata"]["name"] for each in kbatch.json("job", "list", "-o", "json")["items"]] == [name]
    assert name in kbatch.run("job", "list", "-o", "table")
    assert kbatch.json("job", "delete", name)["status"] == "Success"


async def test_cron_jobs_are_submitted_shown_listed_and_deleted(
    kbatch: Kbatch, person: Person, client: Client
) -> None:
    schedule = ("--schedule", "0 0 1 1 *")
    name = submit(kbatch, "cronjob", "-n", "tick", *IMAGE, "--command", '["date"]', *schedule)
    assert (await client.get(CRONJOBS, person.namespace, name))["spec"]["schedule"] == "0 0 1 1 *"
    assert kbatch.json("cronjob", "show", name)["spec"]["schedule"] == "0 0 1 1 *"
    found = kbatch.json("cronjob", "list", "-o", "json")["items"]
    assert [each["metadata"]["name"] for each in found] == [name]
    assert name in kbatch.run("cronjob", "list", "-o", "table")
    assert kbatch.json("cronjob", "delete", name)["status"] == "Success"


@pytest.fixture(scope="module")
def queueing_server(start_server: StartServer) -> Server:
    return start_server(batch={"queue_name": "nobody-admits"})


async def test_a_queued_job_crashes_no_table(kbatch: Kbatch, queueing_server: Server) -> None:
    client = kbatch.at(queueing_server.url)
    name = submit(client, "job", "-n", "pi", *IMAGE, "--command", '["true"]')
    assert client.json("job", "show", name)["status"]["active"] == 1
    assert name in client.run("job", "list", "-o", "table")


def test_errors_are_what_the_user_reads(kbatch: Kbatch) -> None:
    for command in (("job", "show"), ("job", "delete"), ("cronjob", "show"), ("cronjob", "delete")):
        assert '"nosuch" not found' in kbatch.run(*command, "nosuch", fails=True).replace("\n", " ")
    upper = kbatch.run("job", "submit", "-n", "UPPER", *IMAGE, fails=True)
    # 0.4.2 prints the whole answer as Python does, with a column of its own beside it.
    start = "{'detail': " if kbatch.version == "0.4.2" else "kbatch-proxy error 422: "
    told = " ".join(upper.replace("_core.py:119", "").split())
    assert f"{start}job.metadata.generate_name: must be lowercase letters" in told.replace('"', "")


def test_a_file_describes_a_job(kbatch: Kbatch, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: described\nimage: python:3.13\ncommand: [sleep, '300']\nenv: {A: '1'}\n")
    name = submit(kbatch, "job", "-f", str(file))
    assert name.startswith("described-")
    kbatch.run("job", "delete", name)


async def test_a_profile_reaches_the_job(kbatch: Kbatch, person: Person, client: Client) -> None:
    """0.5 applies what it read from us; 0.4.2 has no working `-p`, but its variables reach us."""
    by_variable = (*IMAGE, "-e", '{"KBATCH_PROFILE": "small"}')
    named = ("-p", "small") if kbatch.version == "0.5" else by_variable
    name = submit(kbatch, "job", "-n", "pi", "--command", '["true"]', *named)
    job = await client.get(JOBS, person.namespace, name)
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"] == PROFILES["small"]["resources"]["limits"]
    kbatch.run("job", "delete", name)


def test_another_cluster_is_another_base_url(kbatch: Kbatch, server: Server, person: Person) -> None:
    elsewhere = ("--kbatch-url", f"{server.url}clusters/other/")
    name = submit(kbatch, "job", "-n", "pi", *IMAGE, "--command", '["true"]', *elsewhere)
    assert kbatch.json("job", "show", name, *elsewhere)["metadata"]["name"] == name
    kbatch.run("job", "delete", name, *elsewhere)


@pytest.mark.kubelet
async def test_a_job_with_code_runs_and_its_log_is_read(
    kbatch: Kbatch, server: Server, person: Person, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "main.py").write_text(
        "import os, pathlib, time\n"
        "print('in', os.getcwd(), pathlib.Path('data/words.txt').read_text())\n"
        "print('I am', os.environ['WHO'], bool(os.environ['JUPYTERHUB_API_TOKEN']))\n"
        "print()\n"
        "for i in range(3): print('step', i, flush=True); time.sleep(0.1)\n"
    )
    (project / "data").mkdir()
    (project / "data/words.txt").write_text("hello")
    # What does not compress, and is larger than a ConfigMap: it travels in parts.
    (project / "data/noise.bin").write_bytes(_noise(1_500_000))
    command = ("--command", '["python3", "main.py"]', "-c", str(project), "-e", '{"WHO": "ada"}')
    name = submit(kbatch, "job", "-n", "code", *IMAGE, *command)
    expected = ["in /code hello", "I am ada True", "", "step 0", "step 1", "step 2"]
    if kbatch.version == "0.5":
        followed = kbatch.run("job", "logs", name, "--stream")
        assert [line.rstrip() for line in followed.splitlines()] == expected
    assert (await finished(server, person, name))["succeeded"] == 1
    (pod,) = kbatch.run("pod", "list", "--job-name", name, "-o", "name").split()[-1:]
    assert name in kbatch.run("job", "list", "-o", "table")
    assert pod in kbatch.run("pod", "list", "-o", "table")
    assert kbatch.json("pod", "list", "-o", "json")["items"][0]["status"]["phase"] == "Succeeded"
    assert "step 2" in kbatch.run("pod", "logs", pod)
    streamed = kbatch.run("pod", "logs", pod, "--stream")
    assert [line.rstrip() for line in streamed.splitlines()][-6:] == expected
    if kbatch.version == "0.5":
        assert kbatch.run("job", "logs", name).splitlines()[:2] == expected[:2]


@pytest.mark.kubelet
async def test_a_job_that_fails_shows_it(kbatch: Kbatch, server: Server, person: Person) -> None:
    name = submit(kbatch, "job", "-n", "broken", *shell("echo no such data; exit 3"))
    assert (await finished(server, person, name))["failed"] == 1
    assert "failed" in kbatch.run("job", "list", "-o", "table")


@pytest.mark.kubelet
@pytest.mark.nightly  # waits for the full minute; the demo, which CI runs, does it as well
async def test_a_cron_job_fires(kbatch: Kbatch, server: Server, person: Person) -> None:
    name = submit(kbatch, "cronjob", "-n", "tick", *shell("echo fired"), "--schedule", "* * * * *")

    def runs() -> list[str]:
        found = json.loads(server.call("GET", "jobs/", person.token)[2])["items"]
        return [j["metadata"]["name"] for j in found if j["metadata"]["owner_references"]]

    (run, *_) = await until(runs, 75)
    assert run.startswith(name)
    assert (await finished(server, person, run))["succeeded"] == 1
    kbatch.run("cronjob", "delete", name)
    await until(lambda: not runs())


def _noise(size: int) -> bytes:
    return bytes((i * i * 7919 + (i >> 3) * 104729) >> 5 & 0xFF for i in range(size))
