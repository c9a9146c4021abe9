"""What a waiting stream says, second by second."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hubfleet.batch.waiting import REMINDER, SOON, Waiting


def told(reasons: list[str], step: float = 1.0) -> list[tuple[float, str]]:
    """What is said, and when, where the reason is that of the list, each for a step."""
    waiting = Waiting(0.0)
    return [(i * step, reason) for i, reason in enumerate(reasons) if waiting.is_due(reason, i * step)]


def test_the_first_reason_is_told_soon_and_then_repeated_now_and_then() -> None:
    assert told(["queued"] * 60) == [(2.0, "queued"), (22.0, "queued"), (42.0, "queued")]


def test_who_starts_at_once_is_told_nothing() -> None:
    assert told(["scheduled", "creating"]) == []


def test_a_new_reason_is_told_at_once_but_for_what_passes() -> None:
    reasons = ["queued"] * 10 + ["scheduled"] + ["creating"] * 5
    assert told(reasons) == [(2.0, "queued"), (10.0, "scheduled"), (12.0, "creating")]


def test_reasons_that_come_and_go_are_told_once() -> None:
    reasons = (["ErrImagePull"] * 5 + ["ImagePullBackOff"] * 5) * 4
    assert told(reasons) == [(2.0, "ErrImagePull"), (5.0, "ImagePullBackOff"), (25.0, "ImagePullBackOff")]


@given(st.lists(st.sampled_from("abcd"), min_size=60, max_size=200))
def test_no_silence_is_long_and_no_flood(reasons: list[str]) -> None:
    times = [0.0, *(moment for moment, _ in told(reasons, 0.5)), len(reasons) * 0.5]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) <= REMINDER
    assert all(gap >= SOON for gap in gaps[:-1])
    assert len(gaps) <= len(set(reasons)) + times[-1] / REMINDER + 1


def test_how_long_there_is_nothing_to_tell() -> None:
    waiting = Waiting(10.0)
    assert waiting.pause("queued", 10.5) == 1.5
    assert waiting.is_due("queued", 12.0)
    assert (waiting.pause("queued", 13.0), waiting.pause("creating", 13.0)) == (REMINDER - 1, SOON - 1)
