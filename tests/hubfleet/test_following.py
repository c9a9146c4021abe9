"""Turns of followed logs, and the end of the right to read one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.errors import UserError
from hubfleet.following import Following
from hubfleet.gates import Owner
from hubfleet.limits import Turns

ADA, BOB = ("user", "ada"), ("user", "bob")


def turns(each: int, in_all: int | None = None) -> Turns[Owner, Following]:
    return Turns(each=each, waiting=each, in_all=in_all)


class Log:
    """A followed log of a job with `pods`: it reads as many of them as it has turns for, as `Logs` does."""

    def __init__(self, shared: Turns[Owner, Following], owner: Owner, pods: int):
        self.following = Following(shared, owner)
        self.owner = owner
        self.unread = pods
        self.read = 0

    def look(self) -> None:
        self.following.wake.clear()
        while self.unread and self.following.take():
            self.unread -= 1
            self.read += 1
        if not self.unread:
            self.following.settle()

    def end_one(self) -> None:
        self.read -= 1
        self.following.give_back()
        # As in `Logs`: what has ended wakes it, and so does a turn that came.
        self.following.wake.set()


async def test_each_pod_takes_a_turn_and_the_others_wait_for_one() -> None:
    shared = turns(2)
    log = Log(shared, ADA, pods=3)
    assert log.following.enter()
    log.look()
    assert (log.read, log.unread) == (2, 1)
    assert not Following(shared, ADA).enter()
    assert Following(shared, BOB).enter()
    log.end_one()
    assert log.following.wake.is_set()
    assert log.following.free
    log.look()
    assert (log.read, log.unread) == (2, 0)
    log.end_one()
    other = Following(shared, ADA)
    assert other.enter()
    log.end_one()
    assert not Following(shared, ADA).enter()  # its own turn is kept until it is closed
    log.following.close()
    assert Following(shared, ADA).enter()


async def test_a_turn_goes_to_another_log_that_waits_for_one() -> None:
    shared = turns(3)
    big, small = Log(shared, ADA, pods=5), Log(shared, ADA, pods=2)
    assert big.following.enter()
    assert small.following.enter()
    big.look()
    small.look()
    assert (big.read, small.read) == (2, 1)
    big.following.close()
    assert small.following.wake.is_set()
    small.look()
    assert small.read == 2
    small.following.close()
    assert len(shared) == 0


@given(
    each=st.integers(1, 3),
    in_all=st.integers(1, 4),
    pods=st.lists(st.tuples(st.sampled_from([ADA, BOB]), st.integers(0, 5)), min_size=1, max_size=5),
    choices=st.lists(st.integers(0, 1000), max_size=40),
)
def test_there_are_never_too_many_and_every_pod_is_read(
    each: int, in_all: int, pods: list[tuple[Owner, int]], choices: list[int]
) -> None:
    shared = turns(each, in_all)
    logs = [Log(shared, owner, count) for owner, count in pods]
    logs = [log for log in logs if log.following.enter()]
    assert logs
    for log in logs:
        log.look()

    def step(choice: int) -> None:
        reading = [log for log in logs if log.read]
        if reading:
            reading[choice % len(reading)].end_one()
        for log in logs:
            if log.following.wake.is_set():
                log.look()
        for owner in (ADA, BOB):
            assert sum(log.read for log in logs if log.owner == owner) <= each
        assert sum(log.read for log in logs) <= in_all
        # Each of them goes on: there is always one pod of it that is read.
        assert all(log.read for log in logs if log.unread)

    for choice in choices:
        step(choice)
        if choice % 7 == 0 and len(logs) > 1:
            logs.pop(choice % len(logs)).following.close()
    for _ in range(sum(log.read + log.unread for log in logs)):
        step(0)
    assert not any(log.read or log.unread for log in logs)
    for log in logs:
        log.following.close()
    assert len(shared) == 0


@pytest.mark.parametrize("status", [401, 403])
async def test_it_ends_with_the_right_to_read_and_not_with_the_hub(status: int) -> None:
    answers: list[Exception | None] = [None, UserError(503, "away"), UserError(status, "no"), None]
    asked = 0

    async def check() -> None:
        nonlocal asked
        asked += 1
        if (answer := answers[asked - 1]) is not None:
            raise answer

    following = following_at_once(check)
    async with asyncio.timeout(10):
        await following.wake.wait()
    assert asked == 3
    assert not following.may_read()
    following.close()


async def test_nothing_is_asked_any_more_once_it_is_closed() -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def check() -> None:
        begun.set()
        await never.wait()

    following = following_at_once(check)
    await begun.wait()
    task = following._checking
    assert isinstance(task, asyncio.Task)
    following.close()
    await asyncio.wait([task])
    assert task.cancelled()
    assert following._checking is None


def following_at_once(check: Callable[[], Awaitable[object]]) -> Following:
    following = Following(turns(1), ADA)
    assert following.enter()
    following.check(check, 0.0)
    return following
