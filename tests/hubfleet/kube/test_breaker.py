"""The circuit opens on repeated silence only, and one request at a time finds out whether it is over."""

from hubfleet.kube.breaker import Breaker, State


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(threshold=3, pause=2, longest=5, clock=clock)
    for _ in range(3):
        assert breaker.admit() == 0
        breaker.fail()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(threshold=3)
    for _ in range(10):
        breaker.fail()
        breaker.fail()
        breaker.succeed()
    assert breaker.state is State.CLOSED and breaker.failures == 0


def test_while_open_it_says_how_long() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 0.5
    assert breaker.state is State.OPEN and breaker.admit() == 1.5


def test_one_request_probes_and_the_others_wait() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 2
    assert breaker.admit() == 0 and breaker.state is State.HALF_OPEN
    assert breaker.admit() > 0
    breaker.succeed()
    assert breaker.state is State.CLOSED and breaker.admit() == 0


def test_a_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    breaker = opened(clock)
    pauses = []
    for _ in range(4):
        pauses.append(breaker.admit())
        clock.now += breaker.admit()
        assert breaker.admit() == 0
        breaker.fail()
    assert pauses == [2, 4, 5, 5]


def test_stragglers_from_before_do_not_prolong_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 1.5
    breaker.fail()
    assert breaker.admit() == 0.5


def test_an_abandoned_probe_makes_room() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 2
    assert breaker.admit() == 0
    breaker.abandon()
    assert breaker.admit() == 0


def test_an_abandoned_request_changes_nothing() -> None:
    breaker = Breaker(threshold=1)
    breaker.abandon()
    assert breaker.state is State.CLOSED
