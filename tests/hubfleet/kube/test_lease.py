"""Exactly one contender holds the lease, whoever dies, stalls or stops."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.kube.client import Client
from hubfleet.kube.errors import NotFound
from hubfleet.kube.lease import Elector, Lease, Observer, Spec, record
from hubfleet.kube.resources import LEASES

FAST = {"duration": 1.0, "deadline": 0.7, "retry": 0.1}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_lease_of_another_is_taken_only_after_its_time_by_our_clock() -> None:
    observer = Observer("me", 15)
    theirs = Spec(holder_identity="you", renew_time="1999-01-01T00:00:00Z", lease_duration_seconds=15)
    assert not observer.free(theirs, 1000)  # however old it says that it is: their clock may be wrong
    assert not observer.free(theirs, 1014)
    assert observer.free(theirs, 1015)


def test_a_renewal_starts_the_time_again() -> None:
    observer = Observer("me", 15)
    assert not observer.free(Spec(holder_identity="you", renew_time="1"), 0)
    assert not observer.free(Spec(holder_identity="you", renew_time="2"), 14)
    assert not observer.free(Spec(holder_identity="you", renew_time="2"), 28)
    assert observer.free(Spec(holder_identity="you", renew_time="2"), 29)


def test_the_holders_own_duration_counts() -> None:
    observer = Observer("me", 15)
    theirs = Spec(holder_identity="you", lease_duration_seconds=60)
    assert not observer.free(theirs, 0)
    assert not observer.free(theirs, 59)
    assert observer.free(theirs, 60)


@pytest.mark.parametrize("holder", [None, "", "me"])
def test_a_released_lease_and_our_own_are_free(holder: str | None) -> None:
    assert Observer("me", 15).free(Spec(holder_identity=holder, lease_duration_seconds=60), 0)


@given(st.sampled_from([None, "", "me", "you"]), st.one_of(st.none(), st.integers(0, 9)))
def test_the_record_counts_its_holders(holder: str | None, transitions: int | None) -> None:
    previous = Spec(holder_identity=holder, lease_transitions=transitions, acquire_time="then")
    made = record("me", previous, 15, NOW)
    assert made["holderIdentity"] == "me" and made["renewTime"] == "2026-01-01T00:00:00.000000Z"
    assert made["acquireTime"] == ("then" if holder == "me" else made["renewTime"])
    assert made["leaseTransitions"] == (transitions or 0) + (holder in ("", "you"))


def test_times_that_cannot_work_are_refused(client_of_nobody: Client) -> None:
    with pytest.raises(ValueError, match="retry < deadline < duration"):
        Elector(client_of_nobody, "ns", "x", "me", duration=10, deadline=10)


@pytest.fixture
def client_of_nobody() -> Any:
    class Nobody:
        name = "nobody"

    return Nobody()


async def test_one_of_several_holds_it_and_the_next_takes_over(client: Client, namespace: str) -> None:
    holders: set[str] = set()
    most = 0
    turns: list[str] = []

    async def work(identity: str) -> None:
        nonlocal most
        holders.add(identity)
        most = max(most, len(holders))
        turns.append(identity)
        try:
            await asyncio.sleep(3600)
        finally:
            holders.discard(identity)

    tasks = {}
    for i in range(5):
        elector = Elector(client, namespace, "one", f"p{i}", **FAST)
        tasks[f"p{i}"] = asyncio.create_task(elector.run(lambda i=i: work(f"p{i}")))  # type: ignore[misc]
    async with asyncio.timeout(30):
        while tasks:
            while not holders:
                await asyncio.sleep(0.01)
            (holder,) = holders
            task = tasks.pop(holder)
            task.cancel()  # a process that is stopped
            await asyncio.wait([task])
    assert most == 1 and len(turns) == len(set(turns)) == 5
    released = await client.get(LEASES, namespace, "one", type=Lease)
    assert released.spec.holder_identity == ""


async def test_the_work_ends_before_another_may_begin(client: Client, namespace: str) -> None:
    """The holder is robbed, as after a pause longer than its lease: it stops, and contends again."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    elector = Elector(client, namespace, "one", "me", **FAST)
    task = asyncio.create_task(elector.run(work))
    async with asyncio.timeout(20):
        await began.wait()
        assert elector.holding
        await client.patch(LEASES, namespace, "one", {"spec": {"holderIdentity": "you"}})
        await ended.wait()
        began.clear()
        await began.wait()  # the thief does not renew
    task.cancel()
    await asyncio.wait([task])


async def test_a_holder_that_cannot_renew_gives_up_in_time(client: Client, namespace: str) -> None:
    ended = asyncio.Event()
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    elector = Elector(client, namespace, "one", "me", **FAST)
    task = asyncio.create_task(elector.run(work))
    async with asyncio.timeout(20):
        await began.wait()
        breaker = client.transport.breaker
        while breaker.state == "closed":
            breaker.fail()  # nobody gets through any more
        started = asyncio.get_running_loop().time()
        await ended.wait()
        assert asyncio.get_running_loop().time() - started < FAST["duration"]
    task.cancel()
    await asyncio.wait([task])
    breaker.succeed()


async def test_work_that_ends_ends_the_run_and_frees_the_lease(client: Client, namespace: str) -> None:
    async def work() -> None:
        pass

    async def fail() -> None:
        raise RuntimeError("mine")

    async with asyncio.timeout(20):
        await Elector(client, namespace, "one", "me", **FAST).run(work)
        assert (await client.get(LEASES, namespace, "one", type=Lease)).spec.holder_identity == ""
        with pytest.raises(RuntimeError, match="mine"):
            await Elector(client, namespace, "one", "you", **FAST).run(fail)
    await client.delete(LEASES, namespace, "one")
    with pytest.raises(NotFound):
        await client.get(LEASES, namespace, "one")
