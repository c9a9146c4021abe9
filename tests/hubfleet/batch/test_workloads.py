"""What is read from memory: one's own writes, what others wrote, and what was heard last."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.hubfleet.batch.conftest import Gate, Person, body, kubeconfig_for, opened, until, user

from hubfleet.batch.service import ClusterBatch
from hubfleet.errors import UserError
from hubfleet.kube.client import Client
from hubfleet.kube.errors import ClusterUnreachable, NotFound
from hubfleet.kube.resources import JOBS


async def listed(wing: ClusterBatch, person: Person) -> list[str]:
    answer, _ = await wing.list(user(person), wing.jobs)
    return [each["metadata"]["name"] for each in json.loads(answer)["items"]]


async def submitted(wing: ClusterBatch, person: Person) -> str:
    answer: dict[str, Any] = json.loads(await wing.submit(user(person), "Job", body("job-0.5")))
    return str(answer["metadata"]["name"])


async def test_a_list_follows_what_happens(
    kubeconfig: Path, kube_context: str, person: Person, client: Client
) -> None:
    async with opened(kubeconfig, kube_context) as service:
        wing = service.on()
        assert await listed(wing, person) == []
        names = sorted([await submitted(wing, person) for _ in range(3)])
        assert await listed(wing, person) == names
        await client.patch(JOBS, person.namespace, names[0], {"metadata": {"labels": {"color": "blue"}}})

        async def is_blue() -> bool:
            answer, _ = await wing.list(user(person), wing.jobs)
            return b'"color":"blue"' in answer

        await until(is_blue)
        await client.delete(JOBS, person.namespace, names[1])

        async def is_gone() -> bool:
            return await listed(wing, person) == [names[0], names[2]]

        await until(is_gone)
        with pytest.raises(NotFound):
            await wing.get(user(person), wing.jobs, names[1])


async def test_an_unchanged_list_is_not_made_again(
    kubeconfig: Path, kube_context: str, person: Person
) -> None:
    async with opened(kubeconfig, kube_context) as service:
        wing = service.on()
        await submitted(wing, person)
        first, _ = await wing.list(user(person), wing.cron_jobs)
        second, _ = await wing.list(user(person), wing.cron_jobs)
        assert first is second


async def test_while_the_cluster_is_away_what_was_heard_last_is_told_as_such(
    gate: tuple[Gate, str], tmp_path: Path, person: Person
) -> None:
    async with opened(kubeconfig_for(gate[1], tmp_path / "kubeconfig"), budget=2.0) as service:
        wing = service.on()
        name = await submitted(wing, person)
        _, headers = await wing.list(user(person), wing.jobs)
        assert headers == {}
        await gate[0].tear_down()
        await until(lambda: not wing.jobs.informer.reachable)
        answer, headers = await wing.list(user(person), wing.jobs)
        assert name.encode() in answer
        assert headers["Warning"].startswith('110 hubfleet "cluster test does not answer; this is as of')
        _, headers = await wing.get(user(person), wing.jobs, name)
        assert "Warning" in headers
        for call in (
            wing.submit(user(person), "Job", body("job-0.5")),
            wing.get(user(person), wing.jobs, "nosuch"),
            wing.delete(user(person), wing.jobs, name),
        ):
            with pytest.raises(ClusterUnreachable):
                await call


async def test_a_cluster_that_never_answered_is_unreachable(tmp_path: Path, person: Person) -> None:
    nobody = kubeconfig_for("http://127.0.0.1:9", tmp_path / "kubeconfig")
    async with opened(nobody, budget=0.5) as service:
        wing = service.on()
        async with asyncio.timeout(5):
            with pytest.raises(ClusterUnreachable):
                await wing.list(user(person), wing.jobs)
        with pytest.raises(UserError, match="There is no cluster 'mars'"):
            service.on("mars")
