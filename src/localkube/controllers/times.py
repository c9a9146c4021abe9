"""Kubernetes' times: UTC, whole seconds, `2026-01-31T12:00:00Z`."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the current time, with UTC as its time zone. A parameter, so that tests live in virtual time."""


def utcnow() -> datetime:
    return datetime.now(UTC)


def text(time: datetime) -> str:
    """As `metav1.Time` is written; fractions of a second are cut off."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(value: str) -> datetime:
    """Reads RFC 3339, with or without fractions and with any offset. Raises ValueError."""
    return datetime.fromisoformat(value).astimezone(UTC)
