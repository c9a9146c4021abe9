"""Decides whether somebody may do something: by RBAC, except for `system:masters`, who may do everything."""

from collections.abc import Iterable
from typing import NamedTuple

from localkube.apiserver.rbac.attributes import Attributes, forbidden
from localkube.apiserver.rbac.grants import Grants
from localkube.apiserver.rbac.rules import FULL_AUTHORITY, Rule, allows
from localkube.apiserver.requests import User
from localkube.apiserver.status import StatusError

MASTERS = "system:masters"


class Decision(NamedTuple):
    """`reason` is why it is allowed, or what could not be evaluated where it is not."""

    allowed: bool
    reason: str = ""


_REMEMBERED = 8192


class Authorizer:
    """Remembers what it decided until a role or a binding changes: clients ask for few things, often."""

    def __init__(self, grants: Grants) -> None:
        self.grants = grants
        self._generation = grants.generation
        self._decisions: dict[tuple[object, ...], Decision] = {}

    def decide(self, wanted: Attributes) -> Decision:
        if MASTERS in wanted.user.groups:
            return Decision(True)
        if self._generation != self.grants.generation or len(self._decisions) >= _REMEMBERED:
            self._generation = self.grants.generation
            self._decisions.clear()
        # of a user, rules see the name and the groups
        key = (wanted.user.name, wanted.user.groups, *wanted[1:])
        decision = self._decisions.get(key)
        if decision is None:
            decision = self._decisions[key] = self._decide(wanted)
        return decision

    def _decide(self, wanted: Attributes) -> Decision:
        errors: list[StatusError] = []
        for grant in self.grants.of(wanted.user, wanted.namespace):
            if grant.error is not None:
                errors.append(grant.error)
            for rule in grant.rules:
                if allows(rule, wanted):
                    return Decision(True, f"RBAC: allowed by {grant}")
        return Decision(False, f"RBAC: {aggregated(errors)}" if errors else "")

    def allowed(self, wanted: Attributes) -> bool:
        return self.decide(wanted).allowed

    def require(self, wanted: Attributes) -> None:
        """Raises 403 for what is not allowed."""
        if MASTERS in wanted.user.groups:
            return
        decision = self.decide(wanted)
        if not decision.allowed:
            raise forbidden(wanted, decision.reason)

    def rules_of(self, user: User, namespace: str) -> tuple[list[Rule], list[StatusError]]:
        """Every rule that a user has in a namespace, and what could not be evaluated."""
        rules, errors = self.grants.rules_of(user, namespace)
        if MASTERS in user.groups:
            rules = [*FULL_AUTHORITY, *rules]
        return rules, errors


def aggregated(errors: Iterable[StatusError]) -> str:
    """Errors as Go's NewAggregate prints them: each once, in brackets if there are several."""
    messages = list(dict.fromkeys(error.message for error in errors))
    return messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
