"""What a PolicyRule allows, and whether one set of rules covers another. Pure.

A rule is the dict that a Role holds: `verbs`, `apiGroups`, `resources`, `resourceNames`, `nonResourceURLs`.
Whatever is missing is empty, and an empty list of names means every name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localkube.apiserver.rbac.attributes import Attributes
from localkube.apiserver.scalars import go_quote

Rule = Mapping[str, Any]
ALL = "*"

FULL_AUTHORITY: tuple[Rule, ...] = (
    {"verbs": [ALL], "apiGroups": [ALL], "resources": [ALL]},
    {"verbs": [ALL], "nonResourceURLs": [ALL]},
)

_PARTS = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def allows(rule: Rule, wanted: Attributes) -> bool:
    """Whether a rule allows what is wanted (RuleAllows of the RBAC authorizer)."""
    verbs = rule.get("verbs") or ()
    if wanted.verb not in verbs and ALL not in verbs:
        return False
    if wanted.path:
        return any(_url_covers(url, wanted.path) for url in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if wanted.group not in groups and ALL not in groups:
        return False
    names = rule.get("resourceNames")
    if names and wanted.name not in names:
        return False
    resources = rule.get("resources") or ()
    if ALL in resources:
        return True
    if not wanted.subresource:
        return wanted.resource in resources
    return (
        f"{wanted.resource}/{wanted.subresource}" in resources or f"{ALL}/{wanted.subresource}" in resources
    )


def _url_covers(pattern: str, path: str) -> bool:
    if pattern in (ALL, path):
        return True
    return pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL))


def missing(held: Iterable[Rule], granted: Iterable[Rule]) -> list[Rule]:
    """The single rights in `granted` that no rule of `held` covers: none, if nothing is escalated."""
    held = tuple(held)
    single = [part for rule in granted for part in _broken_down(rule)]
    return [part for part in single if not any(_covers(rule, part) for rule in held)]


def _broken_down(rule: Rule) -> Iterable[Rule]:
    """The rule as rules of one verb, one group, one resource and at most one name each."""
    verbs = rule.get("verbs") or ()
    names = rule.get("resourceNames")
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                single = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                if names:
                    yield from ({**single, "resourceNames": [name]} for name in names)
                else:
                    yield single
    for url in rule.get("nonResourceURLs") or ():
        yield from ({"nonResourceURLs": [url], "verbs": [verb]} for verb in verbs)


def _covers(held: Rule, single: Rule) -> bool:
    """Whether one rule allows all of a rule that `_broken_down` made."""
    verbs = held.get("verbs") or ()
    if ALL not in verbs and single["verbs"][0] not in verbs:
        return False
    if "nonResourceURLs" in single:
        url = single["nonResourceURLs"][0]
        return any(_prefix_covers(own, url) for own in held.get("nonResourceURLs") or ())
    groups = held.get("apiGroups") or ()
    if ALL not in groups and single["apiGroups"][0] not in groups:
        return False
    names = held.get("resourceNames") or ()
    if names and not ("resourceNames" in single and single["resourceNames"][0] in names):
        return False
    resources, resource = held.get("resources") or (), single["resources"][0]
    if ALL in resources or resource in resources:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"{ALL}/{subresource}" in resources


def _prefix_covers(own: str, url: str) -> bool:
    return own == url or (own.endswith(ALL) and url.startswith(own.rstrip(ALL)))


def compacted(rules: Iterable[Rule]) -> list[Rule]:
    """Rules about the same resource and name as one, with all their verbs: for people who read them."""
    whole: list[Rule] = []
    simple: dict[tuple[str, ...], dict[str, Any]] = {}
    for rule in rules:
        groups: list[str] = rule.get("apiGroups") or []
        resources: list[str] = rule.get("resources") or []
        names: list[str] = rule.get("resourceNames") or []
        if len(groups) != 1 or len(resources) != 1 or len(names) > 1 or rule.get("nonResourceURLs"):
            whole.append(rule)
            continue
        key = (groups[0], resources[0], *names)
        if key in simple:
            simple[key]["verbs"] += rule["verbs"]
        else:
            simple[key] = {**rule, "verbs": list(rule.get("verbs") or ())}
    return whole + list(simple.values())


def described(rules: Iterable[Rule]) -> str:
    """Rules as escalation errors list them, one per line: `{APIGroups:[""], Resources:["pods"], ...}`."""
    return "\n".join(sorted({_described(rule) for rule in compacted(rules)}))


def _described(rule: Rule) -> str:
    parts = [f"{title}:{go_strings(rule[name])}" for title, name in _PARTS if rule.get(name)]
    return "{" + ", ".join(parts) + "}"


def go_strings(values: Sequence[str]) -> str:
    """Go's `%q` of a slice."""
    return "[" + " ".join(map(go_quote, values)) + "]"
