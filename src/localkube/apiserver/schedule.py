"""Cron schedules as CronJobs write them, with the meaning that Kubernetes' parser (robfig/cron v3) gives.

Of our own, for the library `cronsim` follows Debian's cron where the two differ: the step in
`*/2` makes day-of-month and day-of-week alternatives here; a wall-clock time that a change of the clocks
skips is not run at all, and one that it repeats is run twice.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec

YEARS = 5
"""How far ahead a time is looked for; a schedule that has none by then (30 February) never runs."""

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = dict(jan=1, feb=2, mar=3, apr=4, may=5, jun=6, jul=7, aug=8, sep=9, oct=10, nov=11, dec=12)  # noqa: C408
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


class Schedule(Protocol):
    def next(self, after: datetime) -> datetime | None:
        """The first time after `after` (aware), in UTC; None if there is none within `YEARS`."""


class Every(msgspec.Struct, frozen=True):
    """`@every 90s`: counted from the time asked for, in whole seconds, at least one."""

    seconds: int

    def next(self, after: datetime) -> datetime | None:
        return after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=self.seconds)


class Cron(msgspec.Struct, frozen=True):
    """Five fields; a time matches when its wall clock in `zone` does."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Whether day-of-month and day-of-week are alternatives: when neither is a star."""
    zone: tzinfo

    def next(self, after: datetime) -> datetime | None:
        time = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        last = time + timedelta(days=366 * YEARS)
        while time < last:
            wall = time.astimezone(self.zone)
            if not self._matches_day(wall):
                # fold=0: in a gap the offset from before it applies, so this is the gap's very end
                midnight = datetime(wall.year, wall.month, wall.day, tzinfo=self.zone) + timedelta(days=1)
                time = max(midnight.astimezone(UTC), time + timedelta(minutes=1))
            elif wall.hour not in self.hours:
                time += timedelta(minutes=60 - wall.minute)
            elif wall.minute not in self.minutes:
                later = min((m for m in self.minutes if m > wall.minute), default=60)
                time += timedelta(minutes=later - wall.minute)
            else:
                return time
        return None

    def _matches_day(self, wall: datetime) -> bool:
        if wall.month not in self.months:
            return False
        day = wall.day in self.days
        weekday = wall.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either_day else day and weekday


@lru_cache(maxsize=1024)
def parse(text: str, time_zone: str = "UTC") -> Schedule:
    """Raises ValueError with what is wrong with the schedule, in the words of robfig/cron."""
    if text.startswith("@every "):
        return Every(_duration(text))
    if text.startswith("@"):
        if text not in _MACROS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _MACROS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, _ = _field(fields[0], 0, 59)
    hours, _ = _field(fields[1], 0, 23)
    days, any_day = _field(fields[2], 1, 31)
    months, _ = _field(fields[3], 1, 12, _MONTHS)
    weekdays, any_weekday = _field(fields[4], 0, 6, _DAYS)
    return Cron(minutes, hours, days, months, weekdays, not (any_day or any_weekday), ZoneInfo(time_zone))


def _duration(text: str) -> int:
    amount = text.removeprefix("@every ")
    parts = list(_DURATION.finditer(amount))
    if not parts or "".join(part[0] for part in parts) != amount.removeprefix("+"):
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{amount}"')
    return max(1, int(sum(float(part[1]) * _UNITS[part[2]] for part in parts)))


def _field(
    text: str, low: int, high: int, names: dict[str, int] | None = None
) -> tuple[frozenset[int], bool]:
    """The values of one field, and whether it is a star."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        if not part:
            continue
        found, is_star = _range(part, low, high, names or {})
        values.update(found)
        star = star or is_star
    return frozenset(values), star


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[range, bool]:
    bounds, *steps = text.split("/")
    first, *rest = bounds.split("-")
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    star = first in ("*", "?")
    if star:
        start, end = low, high
    else:
        if len(rest) > 1:
            raise ValueError(f"too many hyphens: {text}")
        start = _number(first, names)
        end = _number(rest[0], names) if rest else high if steps else start
    step = _number(steps[0], {}) if steps else 1
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ValueError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    return range(start, end + 1, step), star and step == 1


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if re.fullmatch(r"-[0-9]+", text):
        raise ValueError(f"negative number ({text}) not allowed: {text}")
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
