"""`hubfleet migrate adopt` on a cluster: what is marked, what is left alone, and what the exit code says."""

import asyncio
import io
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hubfleet.cli.migrate import migrate, report
from hubfleet.errors import HubFailed, SettingsError
from hubfleet.identity.directory import user_names
from hubfleet.identity.user import User
from hubfleet.kube.client import Client
from hubfleet.kube.clusters import Cluster
from hubfleet.kube.errors import NotFound
from hubfleet.kube.resources import CRONJOBS, NAMESPACES
from hubfleet.settings import HubSettings, TenancySettings
from hubfleet.tenancy.adoption import Finding, Outcome
from hubfleet.tenancy.naming import kbatch_namespace
from hubfleet.tenancy.provisioning import Namespaces


class Site:
    """A cluster that the originals ran on, and the settings that take it over."""

    def __init__(self, client: Client, kubeconfig: Path, context: str, directory: Path):
        self.client = client
        self.tag = secrets.token_hex(3)
        self._directory = directory
        self._cluster = {"name": "test", "kubeconfig": str(kubeconfig), "context": context}
        self.made: list[str] = []

    async def namespace(self, name: str, **metadata: Any) -> str:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}
        await self.client.create(NAMESPACES, None, body)
        self.made.append(name)
        return name

    async def adopt(
        self, *arguments: str, users: list[str] | None, **settings: Any
    ) -> tuple[Result, dict[str, str]]:
        """The result, and what became of each user."""
        config = self._directory / "hubfleet.yaml"
        config.write_text(yaml.safe_dump({"clusters": [self._cluster], "hub": {"name": "ours"}, **settings}))
        command = ["adopt", "--config", str(config), *arguments]
        if users is not None:
            path = self._directory / "users"
            path.write_text("\n".join([*users, "", ""]))
            command += ["--users", str(path)]
        result = await asyncio.to_thread(CliRunner().invoke, migrate, command)
        rows = [line.split("\t") for line in result.stdout.splitlines()[1:]]
        return result, {row[1]: row[3] for row in rows}


@pytest.fixture
async def site(client: Client, kubeconfig: Path, kube_context: str, tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(client, kubeconfig, kube_context, tmp_path)
    yield site
    for name in site.made:
        with suppress(NotFound):
            await client.delete(NAMESPACES, None, name)


KBATCH = {"tenancy": {"namespace": "kbatch"}}


async def test_namespaces_of_kbatch_become_their_users(site: Site) -> None:
    tag = site.tag
    one = await site.namespace(f"kbatch-one-{tag}", labels={"app.kubernetes.io/managed-by": "kbatch"})
    await site.namespace(f"kbatch-two-{tag}")
    await site.namespace(f"kbatch-three-{tag}", annotations={"hubfleet.dev/username": "eve"})
    await site.namespace(f"kbatch-cron-{tag}")
    annotations = {"kbatch.jupyter.org/username": f"cron-{tag}"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {
            "schedule": "0 0 1 1 *",
            "suspend": True,
            "jobTemplate": {
                "spec": {"template": {"metadata": {"annotations": annotations}, "spec": pod}},
            },
        },
    }
    await site.client.create(CRONJOBS, f"kbatch-cron-{tag}", cron)
    users = [f"{name}-{tag}" for name in ("one", "two", "three", "cron", "none")]
    expected = ["adopted", "unproven", "foreign", "adopted", "missing"]

    result, outcomes = await site.adopt("--dry-run", users=users, **KBATCH)
    assert list(outcomes.values()) == expected
    assert result.exit_code == 1
    assert "2 adopted, 1 missing, 1 foreign, 1 unproven (dry run: nothing was written)" in result.stderr
    metadata = (await site.client.get(NAMESPACES, None, one))["metadata"]
    assert "hubfleet.dev/username" not in metadata.get("annotations", {})

    _, outcomes = await site.adopt(users=users, **KBATCH)
    assert list(outcomes.values()) == expected
    metadata = (await site.client.get(NAMESPACES, None, one))["metadata"]
    assert metadata["annotations"]["hubfleet.dev/username"] == f"one-{tag}"
    assert metadata["labels"]["hubfleet.dev/hub"] == "ours"
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "kbatch"
    # The service then takes them for what they are, without believing names.
    namespaces = Namespaces(TenancySettings(namespace="kbatch"), hub="ours")
    cluster = Cluster(site.client.name, site.client, "default")
    assert await namespaces.ensure(cluster, User(name=f"cron-{tag}")) == f"kbatch-cron-{tag}"

    result, outcomes = await site.adopt("--by-name", users=users, **KBATCH)
    assert list(outcomes.values()) == ["already ours", "adopted", "foreign", "already ours", "missing"]
    assert result.exit_code == 1
    result, outcomes = await site.adopt(users=users[:2], **KBATCH)
    assert list(outcomes.values()) == ["already ours", "already ours"]
    assert result.exit_code == 0


async def test_namespaces_of_the_spawner_become_their_users(site: Site) -> None:
    name = f"A.{site.tag}"
    escaped = f"jupyter--41-2e{site.tag}"
    await site.namespace(escaped, labels={"mcks.hub.jupyter.org/key": f"{escaped}--lab"})
    scheme = {"tenancy": {"namespace": "multicluster-kubespawner"}}
    result, outcomes = await site.adopt(users=[name], **scheme)
    assert outcomes == {name: "adopted"}
    assert result.exit_code == 0


async def test_a_namespace_to_which_the_settings_do_not_lead_is_pointed_at(site: Site) -> None:
    labels = {"app.kubernetes.io/managed-by": "kbatch"}
    user, long = f"ada-{site.tag}", f"{'x' * 60}-{site.tag}"
    await site.namespace(f"kbatch-{user}", labels=labels)
    result, outcomes = await site.adopt(users=[user])
    assert outcomes == {user: "other name"}
    assert f"kbatch-{user} is there: tenancy.namespace 'kbatch' leads to it" in result.stdout
    assert result.exit_code == 1
    assert len(await site.namespace(kbatch_namespace(long), labels=labels)) == 56
    result, outcomes = await site.adopt(users=[long], **KBATCH)
    assert outcomes == {long: "name too long"}
    assert "has 56 characters, and a namespace 51" in result.stdout


@pytest.mark.parametrize(
    ("scheme", "hint"),
    [
        ("hubfleet", "tenancy.namespace 'hubfleet' leads to it"),
        ("multicluster-kubespawner", "tenancy.namespace 'multicluster-kubespawner' leads to it"),
        ("lab-{user}", "a template of tenancy.namespace may"),
    ],
)
async def test_a_namespace_that_was_made_under_another_scheme_is_pointed_at(
    site: Site, scheme: str, hint: str
) -> None:
    ada, eve = User(name=f"ada-{site.tag}"), User(name=f"eve-{site.tag}")
    cluster = Cluster(site.client.name, site.client, "default")
    made = await Namespaces(TenancySettings(namespace=scheme), hub="ours").ensure(cluster, ada)
    theirs = await Namespaces(TenancySettings(namespace=scheme), hub="theirs").ensure(cluster, eve)
    site.made += [made, theirs]
    result, outcomes = await site.adopt(users=[ada.name, eve.name], **KBATCH)
    assert outcomes == {ada.name: "other name", eve.name: "missing"}
    assert made in result.stdout and hint in result.stdout
    assert result.exit_code == 1


async def test_a_cluster_that_does_not_answer_is_a_failure_of_its_own(site: Site, tmp_path: Path) -> None:
    config = {
        "clusters": [{"name": "dead", "cluster": {"server": "https://127.0.0.1:9"}}],
        "contexts": [{"name": "dead", "context": {"cluster": "dead", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "dead",
    }
    dead = tmp_path / "dead"
    dead.write_text(yaml.safe_dump(config))
    clusters = [{"name": "dead", "kubeconfig": str(dead)}]
    result, outcomes = await site.adopt(users=["ada"], clusters=clusters)
    assert not outcomes
    assert result.exit_code == 1
    assert "failed: dead: ada: " in result.stderr


async def test_an_unknown_cluster_is_a_mistake(site: Site) -> None:
    result, _ = await site.adopt("--cluster", "east", users=["ada"])
    assert result.exit_code == 2
    assert "--cluster east: there is: test" in result.stderr


async def test_names_cannot_write_to_a_terminal(site: Site) -> None:
    result, _ = await site.adopt(users=["a\x1b[2Jb"])
    assert "\x1b" not in result.stdout
    assert r"a\x1b[2Jb" in result.stdout


async def test_the_hub_is_asked_for_its_users(jupyterhub: Any) -> None:
    names = [f"listed-{n}-{secrets.token_hex(3)}" for n in range(3)]
    for name in names:
        jupyterhub.user(name)
    settings = HubSettings(api_url=jupyterhub.api_url, api_token=jupyterhub.stage_token)
    assert set(names) <= set(await user_names(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hubfleet.identity.directory.PAGE", 1)
        paged = await user_names(settings)
    assert sorted(paged) == sorted(await user_names(settings))


async def test_the_hub_does_not_list_its_users_to_everybody(jupyterhub: Any) -> None:
    settings = HubSettings(api_url=jupyterhub.api_url, api_token=jupyterhub.service_token)
    with pytest.raises(SettingsError, match="give this service the scope list:users"):
        await user_names(settings)
    with pytest.raises(HubFailed, match=r"127\.0\.0\.1:9.* does not answer"):
        await user_names(HubSettings(api_url="http://127.0.0.1:9/hub/api"))


async def test_a_hub_that_does_not_answer_is_no_matter_of_wrong_settings(site: Site) -> None:
    hub = {"name": "ours", "api_url": "http://127.0.0.1:9/hub/api", "api_token": "t"}
    result, _ = await site.adopt(users=None, hub=hub)
    assert result.exit_code == 1
    assert "the Hub does not tell its users" in result.stderr
    assert "http://127.0.0.1:9/hub/api/users (hub.api_url) does not answer" in result.stderr
    assert "settings" not in result.stderr
    assert not result.stdout


def test_on_a_terminal_the_report_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    findings = [
        Finding("west", "ada", "hubfleet-ada", Outcome.OURS),
        Finding("west", "somebody-else", "hubfleet-somebody-else", Outcome.UNPROVEN, "nothing says whose"),
    ]
    for terminal, starts in ((Terminal(), True), (io.StringIO(), False)):
        with monkeypatch.context() as patch:
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", "100")
            patch.setenv("NO_COLOR", "1")
            patch.setattr("sys.stdout", terminal)
            report(findings, [], dry_run=False)
        lines = [line for line in terminal.getvalue().splitlines() if "hubfleet-" in line]
        assert len(lines) == len(findings)
        assert (lines[0].index("hubfleet-") == lines[1].index("hubfleet-")) is starts
        assert any("\t" in line for line in lines) is not starts
