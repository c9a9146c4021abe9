"""The laws of rates and turns, in virtual time."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hubfleet.limits import TokenBucket, Turns, Verdict

RATES = st.floats(0.1, 1000)
BURSTS = st.integers(1, 100)
PAUSES = st.lists(st.floats(0, 2), max_size=200)


@given(RATES, BURSTS, PAUSES)
def test_never_more_than_the_burst_and_the_rate(rate: float, burst: int, pauses: list[float]) -> None:
    bucket, now = TokenBucket(rate, burst), 0.0
    taken: list[float] = []
    for pause in pauses:
        now += pause
        if bucket.wait(now) <= 0:
            bucket.take(now)
            taken.append(now)
    for first, begun in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - begun) * rate + 1e-6


@given(RATES, BURSTS, PAUSES)
def test_who_waits_as_long_as_told_may_take(rate: float, burst: int, pauses: list[float]) -> None:
    bucket, now = TokenBucket(rate, burst), 0.0
    for pause in pauses:
        now += pause
        wait = bucket.wait(now)
        if wait > 0:
            assert bucket.wait(now + wait / 2) > 0  # and not before
        assert bucket.wait(now + wait) <= 1e-6
        bucket.take(now)  # in advance, as whoever waits does


@given(RATES, BURSTS)
def test_a_bucket_that_rested_is_full(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    for _ in range(burst):
        assert bucket.wait(5.0) <= 1e-6
        bucket.take(5.0)
    assert bucket.wait(5.0) > 0
    assert not bucket.is_full(5.0)
    assert bucket.is_full(5.0 + burst / rate + 1e-6)


def test_more_than_a_burst_is_taken_of_a_full_one_and_paid_for_afterwards() -> None:
    bucket = TokenBucket(10, 5)
    assert bucket.wait(0.0, 20) == 0
    bucket.take(0.0, 20)
    assert bucket.wait(0.0) == 1.6  # 20 are missing: after 1.6 s 4 are still, and there is one again


EACH, IN_ALL, WAITING = 2, 3, 4


class TurnsMachine(RuleBasedStateMachine):
    """Three owners, any order of asking, leaving and withdrawing, against a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[str, int] = Turns(each=EACH, waiting=WAITING, in_all=IN_ALL)
        self.held: Counter[str] = Counter()
        self.waiting: dict[str, list[int]] = {}
        self.overtaken: dict[tuple[str, int], Counter[str]] = {}
        self.next = 0

    @rule(owner=st.sampled_from("abc"))
    def ask(self, owner: str) -> None:
        self.next += 1
        verdict = self.turns.ask(owner, self.next)
        line = self.waiting.setdefault(owner, [])
        if verdict is Verdict.GO:
            assert not line
            self.held[owner] += 1
        elif verdict is Verdict.WAIT:
            assert len(line) < WAITING
            line.append(self.next)
        else:
            assert len(line) == WAITING

    @precondition(lambda self: self.held.total())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.held.elements())))
        self.held[owner] -= 1
        for who, ticket in self.turns.leave(owner):
            assert self.waiting[who][0] == ticket, "first come, first served"
            self._is_fair(who)
            self.waiting[who].pop(0)
            self.held[who] += 1

    def _is_fair(self, who: str) -> None:
        """No owner gets a second turn while another waits for the first one and could have it."""
        for other, line in self.waiting.items():
            if other != who and line and self.held[other] < EACH:
                seen = self.overtaken.setdefault((other, line[0]), Counter())
                seen[who] += 1
                assert seen[who] <= 1 + EACH, f"{who} went {seen[who]} times before {other}"

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(o for o, line in self.waiting.items() if line)))
        ticket = data.draw(st.sampled_from(self.waiting[owner]))
        self.turns.withdraw(owner, ticket)
        self.waiting[owner].remove(ticket)

    @invariant()
    def within_the_limits(self) -> None:
        assert self.held.total() <= IN_ALL
        assert all(count <= EACH for count in self.held.values())

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if self.held.total() < IN_ALL:
            assert not any(line and self.held[o] < EACH for o, line in self.waiting.items())

    @invariant()
    def the_idle_are_forgotten(self) -> None:
        busy = {o for o, count in self.held.items() if count} | {
            o for o, line in self.waiting.items() if line
        }
        assert len(self.turns) == len(busy)


TestTurns = TurnsMachine.TestCase


def test_one_with_many_tickets_costs_another_a_single_turn() -> None:
    turns: Turns[str, int] = Turns(each=4, waiting=1000, in_all=4)
    for ticket in range(1004):
        turns.ask("many", ticket)
    assert turns.ask("one", -1) is Verdict.WAIT
    granted = turns.leave("many") + turns.leave("many")
    assert ("one", -1) in granted
