"""When a route was last used: the gateway alone knows, for its traffic does not pass through us."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol


class Activity(Protocol):
    """One source of it, such as the gateway's statistics."""

    def last_activity(self) -> Mapping[str, datetime]:
        """By the `identity` of routes, with a time zone; one of which nothing is known is not there."""


class Unknown:
    """No source: routes are told of without `last_activity`, and the Hub goes by what servers say."""

    def last_activity(self) -> Mapping[str, datetime]:
        return {}
