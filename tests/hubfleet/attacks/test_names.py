"""Users whose names look like another's, or like the cluster's own namespaces."""

import json
import secrets
import unicodedata
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.hubfleet.attacks.conftest import SECRET, everything, harmless, sent
from tests.hubfleet.batch.conftest import opened

from hubfleet.errors import UserError
from hubfleet.identity.user import User
from hubfleet.kube.client import Client
from hubfleet.kube.errors import NotFound
from hubfleet.kube.resources import NAMESPACES
from hubfleet.tenancy.naming import namespace_for, username_label

TAG = secrets.token_hex(3)
PREFIX = f"eve{TAG}"


def decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


LOOK_ALIKES = {
    "capital": (PREFIX, PREFIX.capitalize()),
    "all-capitals": (PREFIX, PREFIX.upper()),
    "two-spellings-in-capitals": (PREFIX.capitalize(), PREFIX.upper()),
    "space-behind": (PREFIX, f"{PREFIX} "),
    "space-before": (PREFIX, f" {PREFIX}"),
    "dot-for-dash": (f"{PREFIX}-x", f"{PREFIX}.x"),
    "underscore-for-dash": (f"{PREFIX}-x", f"{PREFIX}_x"),
    "at-for-dash": (f"{PREFIX}-x", f"{PREFIX}@x"),
    "dash-behind": (PREFIX, f"{PREFIX}-"),
    "two-dashes": (f"{PREFIX}-x", f"{PREFIX}--x"),
    "cyrillic": (f"{PREFIX}a", f"{PREFIX}\u0430"),
    "greek": (f"{PREFIX}o", f"{PREFIX}\u03bf"),
    "wide": (f"{PREFIX}a", f"{PREFIX}\uff41"),
    "without-a-dot": (f"{PREFIX}i", f"{PREFIX}\u0131"),
    "with-a-dot": (f"{PREFIX}I", f"{PREFIX}\u0130"),
    "kelvin": (f"{PREFIX}k", f"{PREFIX}\u212a"),
    "sharp-s": (f"{PREFIX}ss", f"{PREFIX}\u00df"),
    "composed-and-not": (f"{PREFIX}\u00e9", decomposed(f"{PREFIX}\u00e9")),
    "nothing-between": (PREFIX, f"{PREFIX}\u200b"),
    "written-backwards": (PREFIX, f"\u202e{PREFIX}"),
    "other-digits": (f"{PREFIX}1", f"{PREFIX}\u0661"),
    "a-slash": (PREFIX, f"{PREFIX}/../{PREFIX}"),
    "longer-than-a-namespace": (f"{PREFIX}{'a' * 60}", f"{PREFIX}{'a' * 61}"),
    "named-like-anothers-namespace": (
        f"{PREFIX}.Y",
        namespace_for(f"{PREFIX}.Y").removeprefix("hubfleet-"),
    ),
    "named-like-anothers-label": (f"{PREFIX}.z", username_label(f"{PREFIX}.z")),
}
"""A user, and another one whose name looks the same to a person, a file system or a careless program."""

RESERVED = (
    "kube-system",
    "kube-public",
    "default",
    "hubfleet",
    "KUBE-SYSTEM",
    "kube-system ",
    "..",
    ".",
    "-",
    "",
)


@pytest.fixture
async def tidy(client: Client) -> AsyncIterator[list[str]]:
    """Namespaces to be deleted."""
    names: list[str] = []
    yield names
    for name in names:
        with suppress(NotFound):
            await client.delete(NAMESPACES, None, name)


@pytest.mark.parametrize("pair", LOOK_ALIKES)
async def test_who_looks_like_another_is_somebody_else(
    pair: str, kubeconfig: Path, kube_context: str, client: Client, tidy: list[str]
) -> None:
    victim, attacker = (User(name=name, token=f"token-of-{i}") for i, name in enumerate(LOOK_ALIKES[pair]))
    tidy += [namespace_for(victim.name), namespace_for(attacker.name)]
    async with opened(kubeconfig, kube_context) as service:
        wing = service.on()
        await wing.submit(victim, "Job", sent(harmless("precious", SECRET)))
        before = await everything(client, namespace_for(victim.name))
        for what in (wing.jobs, wing.cron_jobs, wing.pods):
            body, _ = await wing.list(attacker, what)
            assert json.loads(body)["items"] == []
        with pytest.raises(NotFound):
            await wing.get(attacker, wing.jobs, "precious")
        with pytest.raises(NotFound):
            await wing.delete(attacker, wing.jobs, "precious")
        with pytest.raises(NotFound):
            await wing.find_log(attacker, "precious")
        made = json.loads(await wing.submit(attacker, "Job", sent(harmless("precious", "x"))))
        assert made["metadata"]["namespace"] == namespace_for(attacker.name) != namespace_for(victim.name)
        assert await everything(client, namespace_for(victim.name)) == before
        found = await client.get(NAMESPACES, None, namespace_for(attacker.name))
        assert found["metadata"]["annotations"]["hubfleet.dev/username"] == attacker.name


async def test_a_service_of_the_hub_is_no_user_of_that_name(
    kubeconfig: Path, kube_context: str, client: Client, tidy: list[str]
) -> None:
    victim = User(name=f"{PREFIX}-service", token="a")
    attacker = User(name=victim.name, kind="service", token="b")
    tidy += [namespace_for(victim.name), namespace_for(attacker.name, "service")]
    async with opened(kubeconfig, kube_context) as service:
        wing = service.on()
        await wing.submit(victim, "Job", sent(harmless("precious", SECRET)))
        assert json.loads((await wing.list(attacker, wing.jobs))[0])["items"] == []
        with pytest.raises(NotFound):
            await wing.delete(attacker, wing.jobs, "precious")


@pytest.mark.parametrize("name", RESERVED)
async def test_nobody_is_called_as_the_cluster_calls_its_own(
    name: str, kubeconfig: Path, kube_context: str, client: Client, tidy: list[str]
) -> None:
    attacker = User(name=name, token="x")
    namespaces = {each["metadata"]["name"] async for each in client.list(NAMESPACES)}
    tidy.append(namespace_for(name))
    async with opened(kubeconfig, kube_context) as service:
        made = json.loads(await service.on().submit(attacker, "Job", sent(harmless("mine", "x"))))
    assert made["metadata"]["namespace"].startswith("hubfleet-")
    assert made["metadata"]["namespace"] not in namespaces


async def test_a_namespace_that_is_anothers_by_its_marks_is_nobody_elses(
    kubeconfig: Path, kube_context: str, client: Client, tidy: list[str]
) -> None:
    """Whoever gets a namespace named as one likes, by other means, gets nobody to write into it."""
    name = f"{PREFIX}-marked"
    tidy.append(namespace_for(name))
    metadata = {"name": namespace_for(name), "annotations": {"hubfleet.dev/username": f"{PREFIX}-another"}}
    await client.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    async with opened(kubeconfig, kube_context) as service:
        for call in (
            service.on().submit(User(name=name, token="x"), "Job", sent(harmless("mine", "x"))),
            service.on().list(User(name=name, token="x"), service.on().jobs),
        ):
            with pytest.raises(UserError, match="belongs to another user"):
                await call
