"""Rules for single fields, of which the allow-list is made, and the review that collects what they refuse.

A rule looks at one value; where the value is nothing (null, "", false, 0, an empty list or map) no rule of
the kind "closed" minds it, for that is what clients send for a field that they do not use.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hubfleet.policysettings import Level
from hubfleet.tenancy.policy.metadata import Keys
from hubfleet.tenancy.policy.quantity import Amount
from hubfleet.tenancy.policy.violation import Path, Violation

_ALLOW = "tenancy.policy.allow"


class Placement(msgspec.Struct, frozen=True):
    """Where a profile puts a job: its tolerations, and the terms of its required node affinity."""

    profile: str
    tolerations: tuple[dict[str, Any], ...] = ()
    terms: tuple[dict[str, Any], ...] = ()


class Operator(msgspec.Struct, frozen=True):
    """What of the operator's job template and profiles a user's pod meets when it is merged with them."""

    placements: tuple[Placement, ...] = ()
    volumes: frozenset[str] = frozenset()  # names of the template's volumes
    context: dict[str, Any] = {}  # securityContext of the template's pod


class Policy(msgspec.Struct, frozen=True):
    """What one user may say: settings and the user's groups in one. Sets hold names; null is no limit."""

    level: Level
    run_as_user: int | None
    names: dict[str, frozenset[str]]  # by setting of `allow`: service_accounts, volumes, fields, ...
    tolerations: tuple[dict[str, Any], ...]
    labels: Keys
    annotations: Keys
    limits: dict[str, int | None]  # by setting of `limits`
    empty_dir: Amount | None


class Review:
    """One object under review: the policy, what else it depends on, and what was found so far."""

    def __init__(self, policy: Policy, operator: Operator, namespace: str, profile: str):
        self.policy = policy
        self.operator = operator
        self.namespace = namespace
        self.profile = profile
        self.found: list[Violation] = []
        self.pod: dict[str, Any] = {}  # the spec of the pod that is looked at

    def refuse(self, path: Path, rule: str, allowed: str) -> None:
        self.found.append(Violation(path, rule, allowed))


class Rule:
    """What may stand in one field."""

    def check(self, value: Any, path: Path, review: Review) -> None:
        """Tell `review` what is not allowed of `value`, which stands at `path`."""
        raise NotImplementedError


class Free(Rule):
    """Whatever the API server takes. `reviewed` says what else looks at it, if anything."""

    def __init__(self, reviewed: str = ""):
        self.reviewed = reviewed

    def check(self, value: Any, path: Path, review: Review) -> None:
        return


class Closed(Rule):
    """Nothing, unless the operator opened it: `opened_by` is the name of that in `allow.fields`.

    `instead` says how users get what they may want.
    """

    def __init__(self, rule: str, opened_by: str = "", *, instead: str = ""):
        self.rule = rule
        self.opened_by = opened_by
        self.instead = instead or (opened_by and f"the operator can open {opened_by} in {_ALLOW}.fields")

    def check(self, value: Any, path: Path, review: Review) -> None:
        if value and self.opened_by not in review.policy.names["fields"]:
            review.refuse(path, self.rule, f"nothing ({self.instead})" if self.instead else "nothing")


class OneOf(Rule):
    """One of a few words, or one that the operator allowed in the setting `allow.NAME`."""

    def __init__(self, rule: str, *words: str, allowed_in: str = ""):
        self.rule = rule
        self.words = words
        self.allowed_in = allowed_in

    def check(self, value: Any, path: Path, review: Review) -> None:
        if not value or value in self.words:
            return
        names = review.policy.names[self.allowed_in] if self.allowed_in else frozenset()
        if not isinstance(value, str) or value not in names:
            allowed = ", ".join([*self.words, *sorted(names)]) or "nothing"
            if self.allowed_in:
                allowed += f" (the operator can allow others in {_ALLOW}.{self.allowed_in})"
            review.refuse(path, self.rule, allowed)


class Limited(Rule):
    """A number up to the setting `limits.NAME`."""

    def __init__(self, rule: str, limit: str):
        self.rule = rule
        self.limit = limit

    def check(self, value: Any, path: Path, review: Review) -> None:
        limit = review.policy.limits[self.limit]
        if limit is not None and value is not None and not (isinstance(value, int) and value <= limit):
            review.refuse(path, self.rule, f"at most {limit}")


class Checked(Rule):
    """Whatever a function finds nothing wrong with."""

    def __init__(self, function: Callable[[Any, Path, Review], None]):
        self._function = function

    def check(self, value: Any, path: Path, review: Review) -> None:
        self._function(value, path, review)


class Part(Rule):
    """An object of a model of Kubernetes, or a list of them, field by field."""

    def __init__(self, model: str, table: Mapping[str, Mapping[str, Rule]], *, many: bool = False):
        self.model = model
        self.many = many
        self._table = table

    def check(self, value: Any, path: Path, review: Review) -> None:
        if value is None:
            return
        if not self.many:
            self.check_one(value, path, review)
        elif isinstance(value, list):
            for i, each in enumerate(value):
                self.check_one(each, (*path, i), review)
        else:
            review.refuse(path, "form", "a list")

    def check_one(self, value: Any, path: Path, review: Review) -> None:
        if not isinstance(value, dict):
            review.refuse(path, "form", "an object")
            return
        fields = self._table[self.model]
        for key, item in value.items():
            rule = fields.get(key)
            if rule is None:
                if item is not None:
                    review.refuse((*path, key), "fields that the policy does not know", "nothing")
            elif rule.__class__ is not Free:
                rule.check(item, (*path, key), review)
