"""Who is let in, who waits and who is refused; the application behind the door is one that waits for us."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from hubfleet import admission
from hubfleet.admission import LARGE, Admission, Visit, address_of, visit_of
from hubfleet.errors import UserError
from hubfleet.gates import REMEMBERED, Gate, Rates, Refused
from hubfleet.metrics import Metrics
from hubfleet.settings import LimitSettings

ALICE, BOB = ("user", "alice"), ("user", "bob")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class House:
    """An Admission, the application behind it, and what both said."""

    def __init__(self, **limits: Any):
        self.clock = Clock()
        self.metrics = Metrics(lambda: ())
        self.settings = msgspec.convert(limits, LimitSettings)
        self.admission = Admission(
            self.app, self.settings, self.owner_of, self.metrics, clock=self.clock, refusal_seconds=0.0
        )
        self.inside: list[Visit] = []
        self.door = asyncio.Event()
        self.inner: Callable[[Visit], Awaitable[None]] | None = None

    def owner_of(self, token: str) -> tuple[str, str] | None:
        return ("user", token) if token in ("alice", "bob") else None

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if "state" in scope:
            self.inside.append(visit_of(scope))
        if self.inner is not None:
            await self.inner(visit_of(scope))
        else:
            await self.door.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def call(
        self, token: str = "", path: str = "/jobs", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        named = {"authorization": f"token {token}", **headers}
        scope: Any = {
            "type": "http",
            "path": path,
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()],
            "client": ("10.0.0.9", 1),
        }
        await self.admission(scope, None, send)  # type: ignore[arg-type]
        answered = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return sent[0]["status"], answered, json.loads(sent[1]["body"] or b"null")

    def knock(self, *tokens: str) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.call(token)) for token in tokens]

    def refusals(self, limit: str) -> float:
        return self.metrics.refused.labels(limit)._value.get()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_so_many_at_once_and_the_others_in_line() -> None:
    house = House(concurrent_requests=2)
    calls = house.knock(*["alice"] * 5, "bob")
    await settle()
    assert [visit.owner for visit in house.inside] == [ALICE, ALICE, BOB]
    house.door.set()
    assert [(await call)[0] for call in calls] == [200] * 6


async def test_a_full_line_is_a_429_that_says_why() -> None:
    house = House(concurrent_requests=1, waiting_requests=1)
    house.knock("alice", "alice")
    await settle()
    status, headers, body = await house.call("alice")
    assert (status, int(headers["retry-after"])) == (429, 5)
    assert "limits.concurrent_requests" in body["detail"]
    assert "1 requests" in body["detail"]
    assert house.refusals("concurrent_requests") == 1
    house.door.set()


async def test_a_rate_for_each_user() -> None:
    house = House(requests_per_second=0.01, request_burst=2)
    house.door.set()
    assert [(await house.call("alice"))[0] for _ in range(3)] == [200, 200, 429]
    assert (await house.call("bob"))[0] == 200
    status, headers, body = await house.call("alice")
    assert (status, headers["retry-after"]) == (429, "100")
    assert "limits.requests_per_second" in body["detail"]
    house.clock.now += 100
    assert (await house.call("alice"))[0] == 200


async def test_who_is_not_known_counts_for_the_address_and_then_for_themselves() -> None:
    house = House(requests_per_second=0.01, request_burst=1)
    house.door.set()
    assert (await house.call("who", x_forwarded_for="1.1.1.1, 10.1.1.1"))[0] == 200
    assert (await house.call("else", x_forwarded_for="2.2.2.2, 10.1.1.1"))[0] == 429
    assert (await house.call("", x_forwarded_for="1.1.1.1"))[0] == 200

    async def is_alice(visit: Visit) -> None:
        await visit.identify(ALICE)

    house.inner = is_alice
    assert (await house.call("new", x_forwarded_for="3.3.3.3"))[0] == 200
    with pytest.raises(Refused, match="requests_per_second"):
        await house.call("new", x_forwarded_for="4.4.4.4")
    house.inner = None
    assert (await house.call("alice"))[0] == 429


async def test_who_comes_without_a_token_keeps_out_nobody_who_has_one() -> None:
    house = House(requests_per_second=0.01, request_burst=2, concurrent_requests=1, waiting_requests=0)
    flood = asyncio.create_task(house.call(""))
    await settle()
    assert [(await house.call(""))[0] for _ in range(3)] == [429] * 3
    new = asyncio.create_task(house.call("new"))
    await settle()
    assert [visit.owner for visit in house.inside] == [("nobody", "10.0.0.9"), ("address", "10.0.0.9")]
    house.door.set()
    assert [(await call)[0] for call in (flood, new)] == [200, 200]
    assert "requests without a token" in (await house.call(""))[2]["detail"]


async def test_many_addresses_do_not_make_us_forget_a_users_rate() -> None:
    house = House(requests_per_second=0.01, request_burst=1)
    house.door.set()
    assert (await house.call("alice"))[0] == 200
    for kind in ("address", "nobody"):
        for number in range(REMEMBERED + 1):
            house.admission.rates_of((kind, str(number))).take((kind, str(number)))
    assert (await house.call("alice"))[0] == 429


async def test_probes_are_always_answered() -> None:
    house = House(requests_per_second=0.01, request_burst=1)
    house.door.set()
    for path in ("/health", "/ready", "/metrics"):
        assert [(await house.call(path=path))[0] for _ in range(5)] == [200] * 5


async def test_a_followed_log_is_no_request_under_way_and_has_a_limit_of_its_own() -> None:
    house = House(concurrent_requests=1, followed_logs_per_user=2, followed_logs=3)
    going_on = asyncio.Event()

    async def follow(visit: Visit) -> None:
        visit.follow()
        await going_on.wait()

    house.inner = follow
    calls = house.knock("alice", "alice", "bob")
    await settle()
    assert len(house.inside) == 3
    for who in ("alice", "bob"):  # hers are full, and so are those of all
        with pytest.raises(Refused, match="followed_logs"):
            await house.call(who)
    assert house.refusals("followed_logs") == 2
    going_on.set()
    await asyncio.gather(*calls)
    assert [status for status, *_ in [await house.call(who) for who in ("alice", "bob")]] == [200, 200]


async def test_large_bodies_wait_for_each_other_and_small_ones_for_neither() -> None:
    house = House(large_bodies=2)
    working: list[tuple[str, int]] = []
    door = asyncio.Event()

    async def send(who: tuple[str, str], length: int) -> None:
        visit = Visit(house.admission, who, "")
        async with visit.submitting(length):
            async with visit.receiving() as progress:
                progress(length)
            await visit.received(length)
            working.append((who[1], length))
            await door.wait()

    sent = [(ALICE, LARGE + 1), (ALICE, LARGE + 2), (ALICE, 5), (BOB, 4 * LARGE), (("user", "c"), LARGE + 1)]
    tasks = [asyncio.create_task(send(*each)) for each in sent]
    await settle()
    assert working == [("alice", LARGE + 1), ("alice", 5), ("bob", 4 * LARGE)]
    door.set()
    await asyncio.gather(*tasks)
    assert len(working) == 5
    assert [len(gate) for gate in (house.admission.arriving, house.admission.large)] == [0, 0]


async def test_bodies_that_take_their_time_to_arrive_stop_nobody() -> None:
    house = House(large_bodies=1, arriving_bodies=3)
    door = asyncio.Event()

    async def dawdle(who: tuple[str, str], length: int | None) -> None:
        visit = Visit(house.admission, who, "")
        async with visit.submitting(length), visit.receiving():
            await door.wait()

    crowd = [(ALICE, LARGE + 1), (ALICE, None), (("user", "c"), None)]
    tasks = [asyncio.create_task(dawdle(*each)) for each in crowd]  # the second waits for the first
    await settle()
    visit = Visit(house.admission, BOB, "")
    async with asyncio.timeout(1), visit.submitting(LARGE + 1):
        await visit.received(LARGE + 1)
        # What is worked on no longer counts as arriving.
        tasks.append(asyncio.create_task(dawdle(("user", "d"), None)))
        await settle()
        assert len(house.admission.arriving) == 3
    door.set()
    await asyncio.gather(*tasks)


async def test_what_arrived_is_in_memory_and_counts_until_its_turn_comes() -> None:
    house = House(large_bodies=1, arriving_bodies=1)
    first, second = (Visit(house.admission, who, "") for who in (ALICE, BOB))
    async with first.submitting(None):
        await first.received(LARGE + 1)
        async with second.submitting(None):
            waiting = asyncio.create_task(second.received(LARGE + 1))
            third = asyncio.create_task(
                Visit(house.admission, ("user", "c"), "").submitting(None).__aenter__()
            )
            await settle()
            assert not waiting.done() and not third.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await asyncio.wait_for(third, 1)


@pytest.mark.parametrize("size", [LARGE + 1, LARGE // 4], ids=["large", "small"])
async def test_the_bytes_of_all_bodies_count(size: int) -> None:
    house = House(body_bytes_per_second=1, body_burst=2 * size)

    async def send(who: tuple[str, str]) -> None:
        visit = Visit(house.admission, who, "")
        async with visit.submitting(size):
            await visit.received(size)

    for _ in range(3):  # the last one is paid for by the one after it
        await send(ALICE)
    with pytest.raises(Refused, match="body_bytes_per_second"):
        await send(ALICE)
    await send(BOB)
    house.clock.now += size
    await send(ALICE)


async def test_a_large_answer_counts_as_several() -> None:
    house = House(requests_per_second=1, request_burst=10)
    house.door.set()
    visit = Visit(house.admission, ALICE, "")
    visit.answered(LARGE)
    assert house.admission.rates_of(ALICE).take(ALICE, 10)[1] == 0
    house.clock.now += 100
    visit.answered(30 * LARGE)
    assert (await house.call("alice"))[0] == 429
    assert (await house.call("bob"))[0] == 200


async def test_a_body_that_does_not_come_is_a_408() -> None:
    visit = Visit(House(body_seconds=0.01).admission, ALICE, "")
    with pytest.raises(UserError, match=r"limits\.body_seconds") as caught:
        async with visit.receiving():
            await asyncio.Event().wait()
    assert caught.value.status == 408


async def test_a_body_that_comes_in_drops_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BODY_GRACE", 0.02)
    visit = Visit(House(slowest_body=1000).admission, ALICE, "")

    async def drip() -> None:
        async with asyncio.timeout(10), visit.receiving() as progress:
            for size in range(1, 10_000):  # 200 bytes a second, at most
                progress(size)
                await asyncio.sleep(0.005)

    with pytest.raises(
        UserError, match=r"slower than 1000 bytes a second \(limits\.slowest_body\)"
    ) as caught:
        await drip()
    assert caught.value.status == 408
    async with visit.receiving() as progress:
        for size in range(1, 11):
            progress(size * 10_000)
            await asyncio.sleep(0.005)


async def test_logs_are_slowed_down_and_never_refused() -> None:
    house = House(log_lines_per_second=10, log_line_burst=5)
    visit = Visit(house.admission, ALICE, "")
    assert [visit.pace(100) for _ in range(5)] == [0] * 5
    assert [round(visit.pace(100), 3) for _ in range(3)] == [0.1, 0.2, 0.3]
    assert round(visit.pace(9 * 4096), 3) == 0.8  # as ten lines, of which a burst is five
    assert Visit(house.admission, BOB, "").pace(100) == 0


@pytest.mark.parametrize("first", ["the turn", "the end"])
async def test_a_turn_that_is_not_waited_for_is_not_lost(first: str) -> None:
    gate = Gate(each=1, waiting=10)
    assert await gate.enter(ALICE)
    assert not await gate.enter(ALICE, patience=0.001)
    waiting = asyncio.create_task(gate.enter(ALICE))
    await settle()
    if first == "the turn":
        gate.leave(ALICE)
        waiting.cancel()
    else:
        waiting.cancel()
        gate.leave(ALICE)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(gate) == 0
    assert await asyncio.wait_for(gate.enter(ALICE), 1)


async def test_turns_and_rates_of_the_idle_take_no_memory() -> None:
    house = House()
    house.door.set()
    for number in range(200):
        await house.call("x", x_forwarded_for=f"10.0.{number}.1")
    assert len(house.admission.requests) == 0
    rates = Rates(1, 1, house.clock)
    for number in range(10_050):
        rates.take(("address", str(number)))
    assert len(rates) == 10_000


def test_the_address_is_the_last_proxys_word() -> None:
    scope: Any = {"headers": [(b"x-forwarded-for", b"6.6.6.6, 10.0.0.1")], "client": ("127.0.0.1", 5)}
    assert address_of(scope) == "10.0.0.1"
    assert address_of(scope, 2) == "6.6.6.6"
    assert address_of(scope, 3) == "6.6.6.6"
    assert address_of(scope, 0) == "127.0.0.1"
    twice = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2, 10.0.0.1")]
    assert [address_of({**scope, "headers": twice}, n) for n in (1, 2)] == ["10.0.0.1", "2.2.2.2"]
    assert address_of({**scope, "headers": []}) == "127.0.0.1"
    assert address_of({**scope, "headers": [], "client": None}) == ""
