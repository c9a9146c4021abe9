"""The application put together: what it answers beside the API itself, whatever is sent to it."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.testing import AsyncTestClient

from hubfleet.app import create_app, has_affinity_abroad, priority_classes, warn_of_open_doors
from hubfleet.errors import SettingsError
from hubfleet.policysettings import PolicySettings
from hubfleet.probes import ClusterState, Readiness
from hubfleet.settings import BatchSettings, ClusterSettings, HubSettings, Settings, TenancySettings, load

PREFIX = "/services/kbatch"


def kubeconfig_document(port: int) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "a", "user": {"token": "t"}}],
        }
    )


@pytest.fixture
def dead_kubeconfig(tmp_path: Path, unused_tcp_port: int) -> Path:
    """Of a cluster that nobody will ever answer for."""
    path = tmp_path / "dead"
    path.write_text(kubeconfig_document(unused_tcp_port))
    return path


def settings_for(hub: Any, *clusters: ClusterSettings, prefix: str = PREFIX) -> Settings:
    return Settings(
        hub=HubSettings(api_url=hub.api_url, service_name=hub.service_name),
        clusters=clusters,
        batch=BatchSettings(prefix=prefix, profiles={"small": {"image": "a"}}, budget=2.0),
    )


def reaching(app: Litestar) -> AsyncTestClient[Litestar]:
    return AsyncTestClient(app, raise_server_exceptions=False)


@pytest.fixture
async def client(jupyterhub: Any, dead_kubeconfig: Path) -> AsyncIterator[AsyncTestClient[Litestar]]:
    cluster = ClusterSettings(name="dead", kubeconfig=str(dead_kubeconfig), budget=1.0)
    async with reaching(create_app(settings_for(jupyterhub, cluster))) as client:
        yield client


def detail(response: httpx.Response) -> Any:
    assert response.headers["content-type"] == "application/json"
    (only,) = response.json().items()
    assert only[0] == "detail"
    return only[1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", f"{PREFIX}/nope", 404),
        ("GET", f"{PREFIX}/jobs/a/b", 404),
        ("GET", "/%ff/%00", 404),
        ("GET", f"{PREFIX}/schema/nope", 404),
        ("GET", f"{PREFIX}/authorized", 401),
        ("GET", f"{PREFIX}/jobs/", 401),
        ("POST", f"{PREFIX}/jobs/", 401),
        ("PUT", f"{PREFIX}/jobs/", 405),
        ("PATCH", f"{PREFIX}/jobs/a", 405),
        ("BREW", f"{PREFIX}/jobs/", 405),
        ("GET", f"{PREFIX}/clusters/nowhere/profiles/", 404),
    ],
)
async def test_a_refusal_is_json(
    client: AsyncTestClient[Litestar], method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert detail(response)


@pytest.mark.parametrize("path", [PREFIX, f"{PREFIX}/", "/", f"{PREFIX}/clusters/dead/"])
async def test_the_root_says_what_kbatch_proxy_said(client: AsyncTestClient[Litestar], path: str) -> None:
    response = await client.get(path)
    assert response.json() == {"message": "kbatch"}


@pytest.mark.parametrize("path", ["profiles", "profiles/", "clusters/dead/profiles/"])
async def test_both_spellings_of_a_path(client: AsyncTestClient[Litestar], path: str) -> None:
    assert (await client.get(f"{PREFIX}/{path}")).json() == {"small": {"image": "a"}}


async def test_without_a_prefix(jupyterhub: Any, dead_kubeconfig: Path) -> None:
    cluster = ClusterSettings(name="dead", kubeconfig=str(dead_kubeconfig))
    async with reaching(create_app(settings_for(jupyterhub, cluster, prefix=""))) as client:
        assert (await client.get("/")).json() == {"message": "kbatch"}
        assert (await client.get("/profiles/")).status_code == 200
        assert (await client.get("/health")).json() == {"status": "ok"}


async def test_users_and_services_of_a_real_hub(client: AsyncTestClient[Litestar], jupyterhub: Any) -> None:
    async def authorized(token: str) -> httpx.Response:
        return await client.get(f"{PREFIX}/authorized", headers={"Authorization": f"token {token}"})

    user = await authorized(jupyterhub.user("carol", groups=("blue",)))
    assert (user.status_code, user.json()) == (200, {"name": "carol", "groups": ["blue"]})
    service = await authorized(jupyterhub.robot_token)
    assert (service.status_code, service.json()) == (200, {"name": "robot", "groups": []})
    unknown = await authorized("f" * 32)
    assert (unknown.status_code, detail(unknown)) == (401, "Incorrect token")
    other = await authorized(jupyterhub.user("carol", scopes=["read:users:name!user=carol"]))
    assert other.status_code == 403


async def test_a_cluster_that_does_not_answer_is_503(
    client: AsyncTestClient[Litestar], jupyterhub: Any
) -> None:
    headers = {"Authorization": f"token {jupyterhub.user('carol')}"}
    response = await client.get(f"{PREFIX}/jobs/", headers=headers)
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "cluster dead" in detail(response)


@pytest.fixture
def hung_kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Of a cluster that takes every connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        path = tmp_path / "hung"
        path.write_text(kubeconfig_document(listening.getsockname()[1]))
        yield path


async def test_dead_and_hung_clusters_slow_nobody_down(
    jupyterhub: Any, kubeconfig: Path, kube_context: str, dead_kubeconfig: Path, hung_kubeconfig: Path
) -> None:
    app = create_app(
        Settings(
            hub=HubSettings(api_url=jupyterhub.api_url, service_name=jupyterhub.service_name),
            clusters=(
                ClusterSettings(name="live", kubeconfig=str(kubeconfig), context=kube_context),
                ClusterSettings(name="dead", kubeconfig=str(dead_kubeconfig)),
                ClusterSettings(name="hung", kubeconfig=str(hung_kubeconfig)),
            ),
        )
    )
    headers = {"Authorization": f"token {jupyterhub.user('carol')}"}
    async with reaching(app) as client:

        async def ask(cluster: str, path: str = "jobs/") -> tuple[httpx.Response, float]:
            started = time.monotonic()
            response = await client.get(f"/clusters/{cluster}/{path}", headers=headers)
            return response, time.monotonic() - started

        await ask("live")  # the Hub is asked about the token
        hung = [asyncio.create_task(ask("hung", path)) for path in ("jobs/", "pods/", "jobs/logs/a/")]
        for path in ("jobs/", "pods/", "cronjobs/"):
            response, seconds = await ask("live", path)
            assert response.status_code == 200
            assert seconds < 1
            response, seconds = await ask("dead", path)
            assert response.status_code == 503
            assert detail(response) == "cluster dead does not answer: try again in a moment"
            assert seconds < 1
        assert not any(task.done() for task in hung)
        listed = (await client.get("/clusters/", headers=headers)).json()["items"]
        assert [(each["name"], each["reachable"]) for each in listed] == [
            ("live", True),
            ("dead", False),
            ("hung", False),
        ]
        for response, seconds in await asyncio.gather(*hung):
            assert response.status_code == 503
            assert seconds < 4


async def test_a_dead_cluster_does_not_keep_us_from_being_ready(
    client: AsyncTestClient[Litestar],
) -> None:
    async with asyncio.timeout(20):
        while (response := await client.get("/ready")).status_code != 200:
            assert response.status_code == 503
            assert detail(response) == "reading what is on cluster dead"
            await asyncio.sleep(0.05)
    assert response.json()["clusters"] == {"dead": {"reachable": False, "synced": False}}
    assert (await client.get("/health")).status_code == 200


async def test_ready_and_its_figures_on_a_live_cluster(
    jupyterhub: Any, kubeconfig: Path, kube_context: str
) -> None:
    cluster = ClusterSettings(name="live", kubeconfig=str(kubeconfig), context=kube_context)
    async with reaching(create_app(settings_for(jupyterhub, cluster))) as client:
        async with asyncio.timeout(20):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        page = (await client.get("/metrics")).text
    assert 'hubfleet_cluster_reachable{cluster="live"} 1.0' in page


async def test_the_figures_have_routes_and_no_paths(client: AsyncTestClient[Litestar]) -> None:
    await client.get(f"{PREFIX}/jobs/some-name")
    await client.get("/invented/by/somebody")
    await client.request("BREW", f"{PREFIX}/jobs/")
    response = await client.get("/metrics")
    assert response.headers["content-type"].count("charset") == 1
    page = response.text
    assert f'{{method="GET",route="{PREFIX}/jobs/{{name}}",status="401"}} 1.0' in page
    assert 'route="unmatched",status="404"} 1.0' in page
    assert 'method="other"' in page
    for word in ("some-name", "invented", "BREW"):
        assert word not in page
    assert "hubfleet_requests_under_way 1.0" in page  # this one


@pytest.mark.parametrize("given_id", ["abc-1.2_3", "", "a b", "x" * 65, "a\x7f", "ü"])
async def test_a_request_has_an_id(client: AsyncTestClient[Litestar], given_id: str) -> None:
    headers = [(b"x-request-id", given_id.encode())]
    answered = (await client.get("/nope", headers=headers)).headers["x-request-id"]
    if given_id == "abc-1.2_3":
        assert answered == given_id
    else:
        assert len(answered) == 16


async def test_a_fault_of_ours_is_a_500_without_a_trace(client: AsyncTestClient[Litestar]) -> None:
    @get("/fault")
    async def fault() -> None:
        secret = "s3cret"
        raise RuntimeError(secret)

    client.app.register(fault)
    response = await client.get("/fault", headers={"X-Request-ID": "abc"})
    assert response.status_code == 500
    assert detail(response) == (
        "Something went wrong on our side (request abc); the server's log has the details"
    )


@pytest.mark.parametrize("path", ["schema", "schema/openapi.json"])
async def test_the_schema_is_json_and_loads_nothing(client: AsyncTestClient[Litestar], path: str) -> None:
    response = await client.get(f"{PREFIX}/{path}")
    assert response.json()["info"]["title"] == "hubfleet"
    assert "http" not in response.text.replace("http://localhost", "").split('"paths"')[0]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Informers that try once: the pauses between their attempts are drawn from the generator that hypothesis
    watches while it draws examples."""
    monkeypatch.setattr("hubfleet.kube.informer.pause", lambda failures: 3600.0)


words = st.text(st.characters(codec="utf-8"), max_size=12)
segments = st.sampled_from(["jobs", "cronjobs", "pods", "logs", "clusters", "dead", "authorized", ""]) | words


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
    st.lists(segments, max_size=4),
    st.dictionaries(st.sampled_from(["stream", "job_name", "x"]) | words, words, max_size=2),
    st.binary(max_size=30),
)
async def test_whatever_is_sent_is_answered_below_500(
    patient: None,
    client: AsyncTestClient[Litestar],
    method: str,
    path: list[str],
    query: dict[str, str],
    body: bytes,
) -> None:
    url = "/".join([PREFIX, *(quote(segment, safe="") for segment in path)]) + f"?{urlencode(query)}"
    response = await client.request(method, url, content=body, headers={"Authorization": "token x y"})
    assert response.status_code < 500
    if response.status_code >= 400 and method != "HEAD":
        assert detail(response)


# Before it starts


def test_a_template_or_profile_that_is_wrong_stops_the_start() -> None:
    batch = BatchSettings(job_template={"spec": {"paralellism": 2}})
    with pytest.raises(SettingsError, match=r"batch: .*paralellism"):
        create_app(Settings(hub=HubSettings(service_name="kbatch"), batch=batch))


# Readiness, by itself


def state(name: str, *, synced: bool = False, silent: bool = False) -> ClusterState:
    return ClusterState(name=name, synced=synced, reachable=synced, silent=silent, last_contact=0.0)


@pytest.mark.parametrize(
    ("states", "obstacle"),
    [
        ([state("a", synced=True), state("b", synced=True)], ""),
        ([state("a", synced=True), state("b", silent=True)], ""),
        ([state("a", synced=True), state("b")], "reading what is on cluster b"),
        ([state("a"), state("b")], "reading what is on cluster a, b"),
        ([], ""),
    ],
)
def test_ready_once_each_cluster_is_read_or_silent(states: list[ClusterState], obstacle: str) -> None:
    assert Readiness(lambda: states).obstacle() == obstacle


def test_a_cluster_that_takes_too_long_keeps_nobody_waiting() -> None:
    now = 0.0
    clock: Callable[[], float] = lambda: now  # noqa: E731
    readiness = Readiness(lambda: [state("a")], patience=10.0, clock=clock)
    assert readiness.obstacle()
    now = 10.0
    assert not readiness.obstacle()


def test_a_server_that_stops_is_not_ready() -> None:
    readiness = Readiness(list)
    readiness.stopping = True
    assert readiness.obstacle() == "the server is stopping"


@pytest.mark.parametrize(
    ("environ", "opened"),
    [
        ({}, None),
        (
            {"KBATCH_CREATE_USER_NAMESPACE": "false"},
            [
                "tenancy.impersonation",
                "tenancy.network_policy",
                "tenancy.adopt_unmarked",
                "tenancy.create_namespaces",
            ],
        ),
        (
            {"KBATCH_PREFIX": "/services/kbatch"},
            ["tenancy.impersonation", "tenancy.network_policy", "tenancy.adopt_unmarked"],
        ),
    ],
)
def test_what_is_left_open_is_said_at_every_start(environ: dict[str, str], opened: list[str] | None) -> None:
    def no_file(path: str) -> str:
        raise FileNotFoundError(path)

    with structlog.testing.capture_logs() as logs:
        warn_of_open_doors(load(None, environ, no_file).tenancy)
    assert [entry["settings"] for entry in logs] == ([] if opened is None else [opened])


def test_the_priority_class_of_the_job_template_is_known() -> None:
    template = {"spec": {"template": {"spec": {"priority_class_name": "low"}}}}
    assert priority_classes(BatchSettings(job_template=template)) == ("low",)
    assert priority_classes(BatchSettings()) == ()


@pytest.mark.parametrize("kind", ["pod_affinity", "pod_anti_affinity"])
def test_affinity_of_the_job_template_to_other_namespaces_is_known(kind: str) -> None:
    def reaches_abroad(**term: Any) -> bool:
        one = {"topology_key": "a", **term}
        preferred = [{"weight": 1, "pod_affinity_term": one}]
        found = []
        for rule in (
            {"required_during_scheduling_ignored_during_execution": [one]},
            {"preferred_during_scheduling_ignored_during_execution": preferred},
        ):
            template = {"spec": {"template": {"spec": {"affinity": {kind: rule}}}}}
            found.append(has_affinity_abroad(BatchSettings(job_template=template)))
        assert found[0] is found[1]
        return found[0]

    assert reaches_abroad(namespaces=["gpu-operator"])
    assert reaches_abroad(namespace_selector={})
    assert not reaches_abroad(label_selector={})
    assert not has_affinity_abroad(BatchSettings())


HOST_TEMPLATE: dict[str, Any] = {
    "spec": {"template": {"spec": {"volumes": [{"name": "fuse", "hostPath": {"path": "/fuse"}}]}}}
}


def test_a_job_template_against_the_policy_is_told_of_at_the_start() -> None:
    clusters = (ClusterSettings(name="a", kubeconfig="/nowhere"),)
    hub = HubSettings(service_name="kbatch")
    batch = BatchSettings(job_template=HOST_TEMPLATE)
    with structlog.testing.capture_logs() as logs:
        create_app(Settings(hub=hub, clusters=clusters, batch=batch))
    (warning,) = [each for each in logs if "job template" in each["event"]]
    assert (warning["policy"], warning["enforced"]) == ("baseline", "privileged")
    assert "hostPath" in str(warning["template"])
    tenancy = TenancySettings(policy=PolicySettings(enforce="baseline"))
    with pytest.raises(
        SettingsError, match=r"tenancy\.policy\.enforce is baseline, and batch\.job_template has"
    ):
        create_app(Settings(hub=hub, clusters=clusters, batch=batch, tenancy=tenancy))
