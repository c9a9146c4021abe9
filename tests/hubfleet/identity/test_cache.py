"""ExpiringCache keeps what was used last, as long as it was told, and never more than it may."""

from hypothesis import given
from hypothesis import strategies as st

from hubfleet.identity.cache import ExpiringCache


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.floats(0, 4)), max_size=60))
def test_never_more_than_size_never_older_than_seconds(steps: list[tuple[bool, int, float]]) -> None:
    now = 0.0
    cache: ExpiringCache[int, float] = ExpiringCache(4, 10.0, clock=lambda: now)
    for put, key, pause in steps:
        now += pause
        if put:
            cache.put(key, now)
            assert cache.get(key) == now
        elif (when := cache.get(key)) is not None:
            assert now - when < 10.0
        assert len(cache) <= 4


def test_the_longest_unused_goes_first() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(2, 10.0)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.get("a")
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
