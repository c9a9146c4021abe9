"""The routes, over HTTP: paths, status codes and the form of errors."""

import asyncio
import json
import urllib.request
from functools import partial
from typing import Any

import pytest
from tests.hubfleet.batch.conftest import (
    PREFIX,
    PROFILES,
    Person,
    Server,
    StartServer,
    body,
    leftovers,
    until,
)

from hubfleet.kube.client import Client
from hubfleet.kube.errors import NotFound
from hubfleet.kube.resources import JOBS, NAMESPACES, PODS


def detail(answer: tuple[int, dict[str, str], bytes]) -> Any:
    assert answer[1]["content-type"].startswith("application/json")
    return json.loads(answer[2])["detail"]


def submit(server: Server, person: Person, what: str = "jobs/", name: str = "job-0.5") -> dict[str, Any]:
    status, _, answer = server.call("POST", what, person.token, body(name))
    assert status == 200, answer
    found: dict[str, Any] = json.loads(answer)
    return found


def names(server: Server, person: Person, what: str = "jobs/") -> list[str]:
    status, _, answer = server.call("GET", what, person.token)
    assert status == 200
    return [each["metadata"]["name"] for each in json.loads(answer)["items"]]


def test_what_needs_no_token(server: Server) -> None:
    for prefix in ("", "clusters/other/"):
        assert json.loads(server.call("GET", prefix)[2]) == {"message": "kbatch"}
        assert json.loads(server.call("GET", f"{prefix}profiles/")[2]) == PROFILES


@pytest.mark.parametrize(
    "path",
    ["authorized", "jobs/", "cronjobs/", "pods/", "jobs/a", "jobs/logs/a/?stream=true", "pods/logs/a/"],
)
def test_everything_else_needs_one(server: Server, path: str) -> None:
    for token in ("", "wrong"):
        for place in ("", "clusters/other/"):
            answer = server.call("GET", place + path, token)
            assert answer[0] == 401
            assert detail(answer) == "Incorrect token"


def test_who_i_am(server: Server, jupyterhub: Any, person: Person) -> None:
    jupyterhub.user(person.name, groups=("crew",))
    answer = json.loads(server.call("GET", "authorized", person.token)[2])
    assert answer == {"name": person.name, "groups": ["crew"]}


def test_a_token_without_the_scope_is_a_403(server: Server, jupyterhub: Any, person: Person) -> None:
    token = jupyterhub.user(person.name, scopes=["read:users:name!user"])
    answer = server.call("GET", "jobs/", token)
    assert answer[0] == 403
    assert "access:services!service=kbatch" in detail(answer)


def test_a_service_of_the_hub_is_a_user_like_others(server: Server, jupyterhub: Any) -> None:
    answer = json.loads(server.call("GET", "authorized", jupyterhub.robot_token)[2])
    assert answer == {"name": "robot", "groups": []}
    assert server.call("GET", "jobs/", jupyterhub.robot_token)[0] == 200


@pytest.mark.parametrize(("what", "name"), [("jobs", "job-0.5"), ("cronjobs", "cronjob-0.4.2")])
def test_both_spellings_of_a_path(server: Server, person: Person, what: str, name: str) -> None:
    made = submit(server, person, what, name)["metadata"]["name"]
    assert names(server, person, what) == names(server, person, f"{what}/") == [made]
    for spelling in (f"{what}/{made}", f"{what}/{made}/"):
        assert json.loads(server.call("GET", spelling, person.token)[2])["metadata"]["name"] == made


@pytest.mark.parametrize(("what", "name"), [("jobs", "job-0.4.2"), ("cronjobs", "cronjob-0.5")])
async def test_the_life_of_an_object(
    server: Server, person: Person, client: Client, what: str, name: str
) -> None:
    made = submit(server, person, f"{what}/", name)
    key = made["metadata"]["name"]
    assert made["metadata"]["namespace"] == person.namespace
    assert made["metadata"]["creation_timestamp"].endswith("+00:00")
    assert names(server, person, f"{what}/") == [key], "one's own write is there at once"
    status, _, answer = server.call("GET", f"{what}/{key}", person.token)
    assert status == 200
    assert json.loads(answer)["metadata"]["uid"] == made["metadata"]["uid"]
    assert len(await leftovers(client, person.namespace)) == 2
    status, _, answer = server.call("DELETE", f"{what}/{key}", person.token)
    assert status == 200
    assert json.loads(answer)["status"] == "Success"

    async def nothing_left() -> bool:
        return not await leftovers(client, person.namespace)

    await until(nothing_left)
    await until(lambda: names(server, person, f"{what}/") == [])
    assert server.call("GET", f"{what}/{key}", person.token)[0] == 404


def test_a_new_user_has_nothing_and_that_is_no_error(server: Server, person: Person) -> None:
    for what in ("jobs/", "cronjobs/", "pods/", "pods/?job_name=", "pods/?job_name=x"):
        assert names(server, person, what) == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("what", ["jobs", "cronjobs", "pods"])
def test_what_is_not_there_is_a_404_in_kubernetes_words(
    server: Server, person: Person, method: str, what: str
) -> None:
    if (method, what) == ("DELETE", "pods"):
        assert server.call(method, f"{what}/nosuch", person.token)[0] == 405
        return
    answer = server.call(method, f"{what}/nosuch", person.token)
    assert answer[0] == 404
    assert '"nosuch" not found' in detail(answer)


@pytest.mark.parametrize(
    "path", ["jobs/logs/nosuch/", "jobs/logs/nosuch/?stream=true", "pods/logs/nosuch/", "jobs/logs/nosuch"]
)
def test_a_log_that_is_not_there_is_a_404(server: Server, person: Person, path: str) -> None:
    answer = server.call("GET", path, person.token)
    assert answer[0] == 404
    assert '"nosuch" not found' in detail(answer)


def test_an_unknown_cluster_is_a_404_that_names_the_others(server: Server, person: Person) -> None:
    for path in ("jobs/", "profiles/", "authorized", ""):
        answer = server.call("GET", f"clusters/mars/{path}", person.token)
        assert answer[0] == 404
        assert detail(answer) == "There is no cluster 'mars'; there is: other, test"


def test_the_clusters_are_told_with_the_urls_to_configure(server: Server, person: Person) -> None:
    assert server.call("GET", "clusters/", "wrong")[0] == 401
    expected = [
        {"name": name, "default": name == "test", "reachable": True, "url": f"{server.url}clusters/{name}/"}
        for name in ("test", "other")
    ]
    for path in ("clusters", "clusters/"):
        status, _, answer = server.call("GET", path, person.token)
        assert (status, json.loads(answer)["items"]) == (200, expected)
    for each in expected:
        assert server.call("GET", f"{each['url']}authorized", person.token)[0] == 200


def test_the_urls_of_the_clusters_are_those_that_the_user_sees(server: Server, person: Person) -> None:
    """Behind a proxy that ends TLS, as JupyterHub's does."""
    headers = {"Authorization": f"token {person.token}", "Host": "hub.example.org"}
    for scheme, told in (("https,http", "https"), ("HTTPS", "https"), ("javascript", "http"), ("", "http")):
        request = urllib.request.Request(server.url + "clusters/", headers=headers)
        request.add_header("X-Forwarded-Proto", scheme)
        with urllib.request.urlopen(request, timeout=30) as response:
            first = json.load(response)["items"][0]
        assert first["url"] == f"{told}://hub.example.org{PREFIX}/clusters/test/"


def test_one_user_does_not_see_the_other(server: Server, person: Person, jupyterhub: Any) -> None:
    made = submit(server, person)["metadata"]["name"]
    other = Person("bob-" + person.name, jupyterhub.user("bob-" + person.name))
    assert names(server, other) == []
    for method, path in (("GET", "jobs/"), ("DELETE", "jobs/"), ("GET", "jobs/logs/")):
        assert server.call(method, path + made, other.token)[0] == 404
    assert names(server, person) == [made]


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fnamespaces", "%2e%2e", "%25", "a%00b", "%F0%9F%90%B1", "x" * 300, "a%20b", "%ff"]
)
def test_strange_names_are_errors_of_the_user(server: Server, person: Person, name: str) -> None:
    for path in ("jobs/", "cronjobs/", "pods/", "jobs/logs/", "pods/logs/"):
        answer = server.call("GET", path + name, person.token)
        assert 400 <= answer[0] < 500
        assert detail(answer)


def test_strange_parameters_are_errors_of_the_user(server: Server, person: Person) -> None:
    answer = server.call("GET", "jobs/logs/a/?stream=perhaps", person.token)
    assert answer[0] == 422
    assert detail(answer).startswith("query.stream: ")
    assert json.loads(answer[2])["errors"][0]["loc"] == ["query", "stream"]
    assert names(server, person, "pods/?job_name=%F0%9F%90%B1&x=y") == []


def test_a_body_over_the_limit_is_a_413(start_server: StartServer, person: Person) -> None:
    server = start_server(batch={"body_limit": 20_000})
    answer = server.call("POST", "jobs/", person.token, b"x" * 20_001)
    assert answer[0] == 413
    assert "limit" in detail(answer)
    answer = server.call("POST", "jobs/", person.token, b"x" * 2_000_000)
    assert answer[0] in (0, 413)


async def test_a_sender_who_leaves_is_no_fault_of_ours(server: Server, person: Person) -> None:
    seen = len(server.log)
    _, writer = await asyncio.open_connection("127.0.0.1", int(server.origin.rpartition(":")[2]))
    head = f"POST {PREFIX}/jobs/ HTTP/1.1\r\nHost: a\r\nAuthorization: token {person.token}\r\n"
    writer.write(f"{head}X-Request-ID: whoever-left\r\nContent-Length: 1000\r\n\r\n{{".encode())
    await writer.drain()
    # Nothing tells when the server has begun to read: whenever it does, it finds that nobody is there.
    writer.close()
    await writer.wait_closed()
    await until(lambda: "POST" in server.log[seen:])
    assert '"status":400' in server.log[seen:]
    assert "Traceback" not in server.log[seen:]
    assert "failed unexpectedly" not in server.log[seen:]


async def test_logs_is_a_name_like_others(server: Server, person: Person, client: Client) -> None:
    sent = json.loads(body("job-0.5"))
    sent["job"]["metadata"]["name"] = "logs"
    assert server.call("POST", "jobs/", person.token, json.dumps(sent).encode())[0] == 200
    pod = {"metadata": {"name": "logs"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    await client.create(PODS, person.namespace, {"apiVersion": "v1", "kind": "Pod", **pod})

    def found(path: str) -> bool:
        return server.call("GET", path, person.token)[0] == 200

    for path in ("jobs/logs", "jobs/logs/", "pods/logs", "pods/logs/"):
        await until(partial(found, path))
        answer = json.loads(server.call("GET", path, person.token)[2])
        assert (answer["kind"].lower() + "s", answer["metadata"]["name"]) == (path.partition("/")[0], "logs")
    assert server.call("DELETE", "jobs/logs", person.token)[0] == 200
    await until(lambda: server.call("GET", "jobs/logs", person.token)[0] == 404)
    assert server.call("DELETE", "jobs/logs/", person.token)[0] == 404


async def test_a_job_submitted_through_one_replica_is_there_for_the_other(
    server: Server, start_server: StartServer, person: Person
) -> None:
    other = start_server()
    made = submit(server, person)["metadata"]["name"]
    assert json.loads(other.call("GET", f"jobs/{made}", person.token)[2])["metadata"]["name"] == made
    await until(lambda: names(other, person) == [made], seconds=5)
    other.stop()


async def test_what_was_made_by_other_means_is_read_all_the_same(
    server: Server, person: Person, client: Client
) -> None:
    submit(server, person)
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template}}
    await client.create(JOBS, person.namespace, job)
    assert server.call("GET", "jobs/a", person.token)[0] == 200
    assert server.call("DELETE", "jobs/a", person.token)[0] == 200


async def test_what_the_policy_refuses_is_told_whole_and_leaves_nothing(
    server: Server, person: Person, client: Client
) -> None:
    sent = json.loads(body("job-0.5"))
    pod = sent["job"]["spec"]["template"]["spec"]
    pod |= {"host_network": True, "volumes": [{"name": "root", "host_path": {"path": "/"}}]}
    status, headers, answer = server.call("POST", "jobs/", person.token, json.dumps(sent).encode())
    assert status == 422
    assert headers["content-type"].startswith("application/json")
    found = json.loads(answer)
    at = ["body", "job", "spec", "template", "spec"]
    assert [each["loc"] for each in found["errors"]] == [
        [*at, "host_network"],
        [*at, "volumes", 0, "host_path"],
    ]
    assert "host_network: Pod Security baseline: namespaces of the node; allowed: false" in found["detail"]
    with pytest.raises(NotFound):
        await client.get(NAMESPACES, None, person.namespace)
