"""Which Pod Security Standard a namespace asks for: its `pod-security.kubernetes.io/*` labels, read.

What cannot be read counts as the strictest level where it is enforced, and as no level where it only
warns, as in the real server: a mistake in a label must not open a namespace.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from localkube.apiserver.status import FieldError
from localkube.apiserver.validation.causes import invalid

PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = LEVELS = ("privileged", "baseline", "restricted")
"""In order of strictness."""

LATEST = 10**6
"""The minor version behind `latest`: newer than every version that there will be."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")


class Standard(NamedTuple):
    """A level at a minor version of Kubernetes 1; as text, `baseline:latest`."""

    level: str = PRIVILEGED
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"


class Policy(NamedTuple):
    """What is enforced in a namespace, and what is warned of. Nothing is audited: there is no audit log."""

    enforce: Standard = Standard()
    warn: Standard = Standard()


_NONE = Policy()


def of_labels(labels: Mapping[str, str] | None) -> Policy:
    """The policy of a namespace with these labels."""
    if not labels or not any(name.startswith(PREFIX) for name in labels):
        return _NONE
    return Policy(
        _standard(labels, "enforce", unreadable=RESTRICTED), _standard(labels, "warn", unreadable=PRIVILEGED)
    )


def validate(labels: Mapping[str, str] | None) -> list[FieldError]:
    """What is wrong with the labels' values."""
    errors: list[FieldError] = []
    for mode in ("enforce", "audit", "warn"):
        name = PREFIX + mode
        if (level := (labels or {}).get(name)) is not None and level not in LEVELS:
            errors.append(_invalid(name, level, f"must be one of {', '.join(LEVELS)}"))
        name += "-version"
        if (version := (labels or {}).get(name)) is not None and _minor(version) is None:
            errors.append(_invalid(name, version, 'must be "latest" or "v1.x"'))
    return errors


def _invalid(name: str, value: str, detail: str) -> FieldError:
    return invalid(f"metadata.labels[{name}]", value, detail)


def _standard(labels: Mapping[str, str], mode: str, *, unreadable: str) -> Standard:
    level = labels.get(PREFIX + mode, PRIVILEGED)
    minor = _minor(labels.get(f"{PREFIX}{mode}-version", "latest"))
    return Standard(level if level in LEVELS else unreadable, LATEST if minor is None else minor)


def _minor(version: str) -> int | None:
    if version == "latest":
        return LATEST
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else None
