"""One thing in an object that a policy does not allow: where, by which rule, and what is allowed instead."""

import msgspec

Path = tuple[str | int, ...]
"""Keys of Kubernetes' JSON (camelCase) and positions in lists, from the object's root."""


class Violation(msgspec.Struct, frozen=True):
    """`rule` says what is looked at and by whose rule; `allowed` what may stand there."""

    path: Path
    rule: str
    allowed: str

    @property
    def message(self) -> str:
        return f"{self.rule}; allowed: {self.allowed}"
