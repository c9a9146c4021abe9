"""Cron jobs' tokens, with a real Hub, a real server and the controller's sweeper."""

import base64
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hubfleet.batch.conftest import Person, Server, body

from hubfleet.batch.crontokens import Sweeper, is_orphan
from hubfleet.batch.manifests import TOKEN_ANNOTATION
from hubfleet.identity.tokens import HubTokens, Token
from hubfleet.kube.client import Client
from hubfleet.kube.resources import CRONJOBS, JOBS, SECRETS
from hubfleet.settings import HubSettings

ACCESS = "access:services!service=kbatch"


async def token_in(client: Client, namespace: str, name: str) -> str:
    """The token that a cron job's runs get."""
    cron_job = await client.get(CRONJOBS, namespace, name)
    container = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    (variable,) = [each for each in container["env"] if each["name"] == "JUPYTERHUB_API_TOKEN"]
    reference = variable["valueFrom"]["secretKeyRef"]
    secret = await client.get(SECRETS, namespace, reference["name"])
    return base64.b64decode(secret["data"][reference["key"]]).decode()


def owner_of(hub: Any, token: str) -> str | None:
    """Whose token it is; None where the Hub does not know it."""
    answer = hub.call("GET", "/user", token=token, expect=(200, 403))
    return answer.get("name")


def notes_of(hub: Any, person: Person) -> dict[str, str]:
    """The ids and notes of the tokens that were issued for cron jobs."""
    tokens = hub.call("GET", f"/users/{person.name}/tokens")["api_tokens"]
    return {each["id"]: each["note"] for each in tokens if each["note"].startswith("hubfleet: ")}


def submit(server: Server, person: Person, *, name: str = "", status: int = 200) -> dict[str, Any]:
    sent = json.loads(body("cronjob-0.5"))
    if name:
        sent["job"]["metadata"]["name"] = name
    answered, _, content = server.call("POST", "cronjobs/", person.token, json.dumps(sent).encode())
    assert answered == status, content
    return dict(json.loads(content))


async def test_a_cron_job_has_a_token_of_its_own_that_ends_with_it(
    server: Server, client: Client, jupyterhub: Any, person: Person
) -> None:
    made = submit(server, person)
    name = made["metadata"]["name"]
    namespace = made["metadata"]["namespace"]
    token = await token_in(client, namespace, name)
    assert token != person.token
    assert owner_of(jupyterhub, token) == person.name
    mark = made["metadata"]["annotations"][TOKEN_ANNOTATION]
    assert notes_of(jupyterhub, person)[mark].startswith(f"hubfleet: cron job {namespace}/{name} on test (")

    jupyterhub.revoke(person.token)
    assert owner_of(jupyterhub, token) == person.name, "whatever becomes of the one it was submitted with"
    again = jupyterhub.user(person.name)
    assert server.call("DELETE", f"cronjobs/{name}", again)[0] == 200
    assert owner_of(jupyterhub, token) is None


async def test_a_job_runs_with_the_token_that_it_was_submitted_with(
    server: Server, jupyterhub: Any, client: Client, person: Person
) -> None:
    status, _, content = server.call("POST", "jobs/", person.token, body("job-0.5"))
    assert status == 200, content
    made = json.loads(content)["metadata"]
    job = await client.get(JOBS, made["namespace"], made["name"])
    assert TOKEN_ANNOTATION not in job["metadata"]["annotations"]
    assert not notes_of(jupyterhub, person)


@pytest.mark.parametrize("fails", ["at the API server", "for its name"])
async def test_a_failed_submission_leaves_no_token(
    server: Server, jupyterhub: Any, person: Person, fails: str
) -> None:
    if fails == "for its name":
        submit(server, person, name="taken")
        before = notes_of(jupyterhub, person)
        submit(server, person, name="taken", status=409)
        assert notes_of(jupyterhub, person) == before
    else:
        sent = json.loads(body("cronjob-0.5"))
        sent["job"]["spec"]["schedule"] = "never"
        assert server.call("POST", "cronjobs/", person.token, json.dumps(sent).encode())[0] == 422
        assert not notes_of(jupyterhub, person)


async def test_where_the_hub_issues_none_the_cron_job_says_so(
    server: Server, client: Client, jupyterhub: Any, person: Person
) -> None:
    limited = Person(person.name, jupyterhub.user(person.name, scopes=[ACCESS]))
    made = submit(server, limited)
    metadata = made["metadata"]
    assert metadata["annotations"][TOKEN_ANNOTATION] == (
        "as submitted: neither that token nor hubfleet's own may issue tokens"
    )
    assert await token_in(client, metadata["namespace"], metadata["name"]) == limited.token
    assert "a cron job keeps the token that it was submitted with" in server.log
    assert server.call("DELETE", f"cronjobs/{metadata['name']}", limited.token)[0] == 200
    assert owner_of(jupyterhub, limited.token) == person.name


async def test_a_user_cannot_write_the_mark(server: Server, jupyterhub: Any, person: Person) -> None:
    """Else deleting a cron job would revoke any token of theirs; and its own would stay."""
    sent = json.loads(body("cronjob-0.5"))
    sent["job"]["metadata"]["annotations"] = {TOKEN_ANNOTATION: "a1"}
    status, _, content = server.call("POST", "cronjobs/", person.token, json.dumps(sent).encode())
    if status == 200:
        annotations = json.loads(content)["metadata"]["annotations"]
        assert annotations[TOKEN_ANNOTATION] in notes_of(jupyterhub, person)
    else:
        assert status == 422
        assert not notes_of(jupyterhub, person)


@pytest.fixture
async def tokens(jupyterhub: Any) -> AsyncIterator[HubTokens]:
    settings = HubSettings(
        api_url=jupyterhub.api_url, service_name="kbatch", api_token=jupyterhub.stage_token
    )
    async with HubTokens(settings) as found:
        yield found


async def test_the_controller_revokes_what_kubectl_left(
    server: Server, client: Client, jupyterhub: Any, person: Person, tokens: HubTokens
) -> None:
    kept, deleted = submit(server, person)["metadata"], submit(server, person)["metadata"]
    await client.delete(CRONJOBS, deleted["namespace"], deleted["name"])
    client_of_test = Client("test", client.transport)
    young = Sweeper(client_of_test, tokens, hub="jupyterhub", grace=3600, pace=1e6)
    assert await young.sweep() == 0, "it may be for one that is still being made"
    other = Sweeper(Client("elsewhere", client.transport), tokens, hub="jupyterhub", grace=-60, pace=1e6)
    assert await other.sweep() == 0, "of another cluster it knows nothing"
    stranger = Sweeper(client_of_test, tokens, hub="another", grace=-60, pace=1e6)
    assert await stranger.sweep() == 0, "of another hub it knows nobody"
    sweeper = Sweeper(client_of_test, tokens, hub="jupyterhub", grace=-60, pace=1e6)
    assert await sweeper.sweep() >= 1
    assert list(notes_of(jupyterhub, person)) == [kept["annotations"][TOKEN_ANNOTATION]]
    assert await sweeper.sweep() == 0


async def test_the_controller_without_the_right_does_nothing(
    server: Server, client: Client, jupyterhub: Any, person: Person
) -> None:
    made = submit(server, person)["metadata"]
    await client.delete(CRONJOBS, made["namespace"], made["name"])
    weak = HubSettings(api_url=jupyterhub.api_url, service_name="kbatch", api_token=jupyterhub.service_token)
    async with HubTokens(weak) as tokens:
        sweeper = Sweeper(Client("test", client.transport), tokens, hub="jupyterhub", grace=-60, pace=1e6)
        assert await sweeper.sweep() == 0
    assert notes_of(jupyterhub, person)


NOTE = "hubfleet: cron job hubfleet-ada/tick on west (0123abcd by kbatch)"
PLACE: dict[str, Any] = {"cluster": "west", "service": "kbatch", "namespace": "hubfleet-ada"}


def orphan(
    note: str = NOTE, *, age: float = 100.0, submissions: frozenset[str] = frozenset(), **place: str
) -> bool:
    now = time.time()
    token = Token("a1", note, datetime.fromtimestamp(now - age, UTC))
    return is_orphan(token, **PLACE | place, submissions=submissions, before=now - 50)


def test_whose_token_is_an_orphans() -> None:
    assert orphan()
    assert not orphan(submissions=frozenset({"0123abcd"}))
    assert not orphan(age=10)
    for place in ("cluster", "service", "namespace"):
        assert not orphan(**{place: "another"})
    assert not is_orphan(Token("a1", NOTE), **PLACE, submissions=frozenset(), before=time.time())


@given(st.text())
def test_no_other_note_is_ours(note: str) -> None:
    assert not orphan(note)
    assert not orphan(note + NOTE) or note == ""
