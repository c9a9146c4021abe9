from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver.schedule import Cron, parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-03-01T12:00:00", "2026-03-01T12:01:00"),
        ("* * * * *", "2026-03-01T12:00:59.5", "2026-03-01T12:01:00"),
        ("*/15 * * * *", "2026-03-01T12:45:00", "2026-03-01T13:00:00"),
        ("30 6-16/4 * * 1-5", "2026-03-06T14:30:00", "2026-03-09T06:30:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 1 jan *", "2026-03-01T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 ? * SUN", "2026-03-02T00:00:00", "2026-03-08T00:00:00"),
        ("5/20 * * * *", "2026-03-01T12:25:00", "2026-03-01T12:45:00"),
        ("@hourly", "2026-03-01T12:00:00", "2026-03-01T13:00:00"),
        ("@weekly", "2026-03-01T12:00:00", "2026-03-08T00:00:00"),
        ("@every 90s", "2026-03-01T12:00:00.7", "2026-03-01T12:01:30"),
        ("@every 1h30m", "2026-03-01T12:00:00", "2026-03-01T13:30:00"),
        ("@every 1ms", "2026-03-01T12:00:00", "2026-03-01T12:00:01"),
        # either day when both are given, both when one is a star
        ("0 0 13 * 5", "2026-03-01T00:00:00", "2026-03-06T00:00:00"),
        ("0 0 13 * *", "2026-03-01T00:00:00", "2026-03-13T00:00:00"),
        # a step takes the star away: every second day OR Monday
        ("0 0 */2 * 1", "2026-03-01T00:00:00", "2026-03-02T00:00:00"),
        ("0 0 */1 * 1", "2026-03-02T00:00:00", "2026-03-09T00:00:00"),
    ],
)
def test_next(schedule: str, after: str, expected: str) -> None:
    assert parse(schedule).next(at(after)) == at(expected)


def test_a_day_that_never_comes() -> None:
    assert parse("59 23 30 2 *").next(at("2026-01-01T00:00:00")) is None


def test_the_skipped_hour_is_not_run() -> None:
    # New York, 8 March 2026: 02:00 becomes 03:00
    assert parse("30 2 * * *", "America/New_York").next(at("2026-03-08T00:00:00")) == at(
        "2026-03-09T06:30:00"
    )


def test_the_repeated_hour_is_run_twice() -> None:
    # New York, 1 November 2026: 02:00 becomes 01:00
    schedule = parse("30 1 * * *", "America/New_York")
    first = schedule.next(at("2026-11-01T00:00:00"))
    assert first == at("2026-11-01T05:30:00")
    assert schedule.next(first) == at("2026-11-01T06:30:00")


def test_a_midnight_that_does_not_exist() -> None:
    # Beirut, 29 March 2026: 00:00 becomes 01:00
    assert parse("30 1 * * *", "Asia/Beirut").next(at("2026-03-28T12:00:00")) == at("2026-03-28T22:30:00")


@given(
    after=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"]
    ),
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
)
def test_next_matches_the_wall_clock_and_misses_nothing(
    after: datetime, zone: str, minute: int, hour: int
) -> None:
    after = after.replace(tzinfo=UTC)
    schedule = parse(f"{minute} {hour} * * *", zone)
    found = schedule.next(after)
    assert found is not None and found > after
    wall = found.astimezone(ZoneInfo(zone))
    assert (wall.hour, wall.minute, wall.second) == (hour, minute, 0)
    # minute by minute there is no earlier one on the days between
    assert isinstance(schedule, Cron)
    slow = int(after.timestamp()) // 60 * 60 + 60
    while slow < found.timestamp():
        wall = datetime.fromtimestamp(slow, ZoneInfo(zone))
        assert (wall.hour, wall.minute) != (hour, minute)
        slow += 60


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("nonsense", "expected exactly 5 fields, found 1: [nonsense]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("*/1/2 * * * *", "too many slashes: */1/2"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)
def test_errors(schedule: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(schedule)
    assert str(error.value) == message
