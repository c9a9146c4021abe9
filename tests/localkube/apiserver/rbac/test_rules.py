"""What rules allow, against an oracle that knows nothing of how it is decided."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver.rbac.attributes import Attributes
from localkube.apiserver.rbac.authorizer import Authorizer
from localkube.apiserver.rbac.grants import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    GROUP,
    ROLE_BINDINGS,
    ROLES,
    Grants,
)
from localkube.apiserver.rbac.rules import allows, described, missing
from localkube.apiserver.registry import Registry
from localkube.apiserver.requests import User

VERBS = ("get", "list", "create")
GROUPS = ("", "batch")
RESOURCES = ("pods", "jobs")
SUBRESOURCES = ("", "log", "status")
NAMES = ("", "a", "b")
PATHS = ("/version", "/api", "/api/v1", "/api/v1/x")
NAMESPACES = ("", "n1", "n2")
USER_NAMES = ("alice", "bob", "system:serviceaccount:n1:bot", "system:serviceaccount:n2:bot")
USER_GROUPS = ("team", "others")


def some(values: Any, size: int = 2) -> Any:
    return st.lists(st.sampled_from(values), max_size=size, unique=True)


RESOURCE_RULES = st.fixed_dictionaries(
    {
        "verbs": some((*VERBS, "*")),
        "apiGroups": some((*GROUPS, "*")),
        "resources": some(("*", "pods", "jobs", "pods/log", "jobs/status", "*/log", "*/status", "*/scale")),
        "resourceNames": some(("a", "b")),
    }
)
URL_RULES = st.fixed_dictionaries(
    {"verbs": some((*VERBS, "*")), "nonResourceURLs": some(("*", "/version", "/api/*", "/api", "/a*"))}
)
RULES = st.lists(st.one_of(RESOURCE_RULES, URL_RULES), max_size=3)
USERS = st.tuples(st.sampled_from(USER_NAMES), some(USER_GROUPS).map(tuple)).map(lambda one: User(*one))
ABOUT_OBJECTS = st.tuples(
    USERS,
    st.sampled_from(VERBS),
    st.sampled_from(GROUPS),
    st.just("v1"),
    st.sampled_from(RESOURCES),
    st.sampled_from(SUBRESOURCES),
    st.sampled_from(NAMESPACES),
    st.sampled_from(NAMES),
).map(lambda one: Attributes(*one))
ABOUT_PATHS = st.tuples(USERS, st.sampled_from(VERBS), st.sampled_from(PATHS)).map(
    lambda one: Attributes(one[0], one[1], path=one[2])
)
WANTED = st.one_of(ABOUT_OBJECTS, ABOUT_PATHS)


def spelled_out(rule: dict[str, Any]) -> set[tuple[str, ...]]:
    """Every single thing that a rule allows in the little world of these tests."""
    verbs = VERBS if "*" in rule["verbs"] else rule["verbs"]
    found: set[tuple[str, ...]] = set()
    for pattern in rule.get("nonResourceURLs", ()):
        stem = pattern[:-1] if pattern.endswith("*") else None
        paths = [p for p in PATHS if p == pattern or (stem is not None and p[: len(stem)] == stem)]
        found |= set(itertools.product(verbs, paths))
    groups = GROUPS if "*" in rule.get("apiGroups", ()) else rule.get("apiGroups", ())
    names = rule.get("resourceNames") or NAMES
    for resource, subresource in itertools.product(RESOURCES, SUBRESOURCES):
        spellings = {"*", f"{resource}/{subresource}" if subresource else resource}
        if subresource:
            spellings.add(f"*/{subresource}")
        if spellings & set(rule.get("resources", ())):
            found |= set(itertools.product(verbs, groups, [resource], [subresource], names))
    return found


def named(wanted: Attributes) -> tuple[str, ...]:
    if wanted.path:
        return (wanted.verb, wanted.path)
    return (wanted.verb, wanted.group, wanted.resource, wanted.subresource, wanted.name)


@given(st.one_of(RESOURCE_RULES, URL_RULES), WANTED)
def test_a_rule_allows_what_it_spells_out_and_nothing_else(rule: dict[str, Any], wanted: Attributes) -> None:
    assert allows(rule, wanted) is (named(wanted) in spelled_out(rule))


@given(RULES, RULES)
def test_rules_that_miss_nothing_allow_all_that_the_others_do(held: Any, granted: Any) -> None:
    if not missing(held, granted):
        have = set().union(*map(spelled_out, held))
        assert set().union(*map(spelled_out, granted)) <= have


@given(RULES)
def test_rules_miss_nothing_of_themselves(rules: Any) -> None:
    assert missing(rules, rules) == []


def test_missing_rights_are_listed_by_resource() -> None:
    granted = [
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets", "pods"]},
        {"verbs": ["get"], "nonResourceURLs": ["/x"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]},
    ]
    held = [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["secrets"]}]
    assert described(missing(held, granted)) == (
        '{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}\n'
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["list"]}\n'
        '{NonResourceURLs:["/x"], Verbs:["get"]}'
    )


# the whole authorizer

SUBJECTS = st.one_of(
    st.builds(lambda name: {"kind": "User", "name": name, "apiGroup": GROUP}, st.sampled_from(USER_NAMES)),
    st.builds(lambda name: {"kind": "Group", "name": name, "apiGroup": GROUP}, st.sampled_from(USER_GROUPS)),
    st.builds(
        lambda namespace: {"kind": "ServiceAccount", "name": "bot", **namespace},
        st.sampled_from([{}, {"namespace": "n1"}, {"namespace": "n2"}]),
    ),
)
ROLE_NAMES = ("r1", "r2")


def objects(kind: str, content: Any) -> Any:
    namespaces = [""] if kind.startswith("Cluster") else ["n1", "n2"]
    return st.dictionaries(st.tuples(st.sampled_from(namespaces), st.sampled_from(ROLE_NAMES)), content)


def bindings(kinds: tuple[str, ...]) -> Any:
    return st.fixed_dictionaries(
        {
            "roleRef": st.fixed_dictionaries(
                {
                    "apiGroup": st.just(GROUP),
                    "kind": st.sampled_from(kinds),
                    "name": st.sampled_from(ROLE_NAMES),
                }
            ),
            "subjects": st.lists(SUBJECTS, max_size=2),
        }
    )


WORLDS = st.fixed_dictionaries(
    {
        "ClusterRole": objects("ClusterRole", RULES),
        "Role": objects("Role", RULES),
        "ClusterRoleBinding": objects("ClusterRoleBinding", bindings(("ClusterRole",))),
        "RoleBinding": objects("RoleBinding", bindings(("Role", "ClusterRole"))),
    }
)
KEYS = {
    "Role": ROLES,
    "ClusterRole": CLUSTER_ROLES,
    "RoleBinding": ROLE_BINDINGS,
    "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS,
}


def oracle(world: dict[str, Any], wanted: Attributes) -> bool:
    """Whether some binding in force in the namespace gives a rule that spells it out."""
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for (namespace, _), binding in world[kind].items():
            if kind == "RoleBinding" and (wanted.namespace != namespace or wanted.path):
                continue
            if not any(is_meant(wanted.user, subject, namespace) for subject in binding["subjects"]):
                continue
            reference = binding["roleRef"]
            where = namespace if reference["kind"] == "Role" else ""
            for rule in world[reference["kind"]].get((where, reference["name"]), ()):
                if named(wanted) in spelled_out(rule):
                    return True
    return False


def is_meant(user: User, subject: dict[str, str], namespace: str) -> bool:
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    if subject["kind"] == "User":
        return subject["name"] == user.name
    where = subject.get("namespace", namespace)
    return where != "" and user.name == f"system:serviceaccount:{where}:{subject['name']}"


def put(registry: Registry, kind: str, namespace: str, name: str, content: Any) -> None:
    """Straight into the store: the index must bear whatever is there."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    body = {"rules": content} if isinstance(content, list) else content
    registry.store.put(KEYS[kind], namespace, name, {"kind": kind, "metadata": metadata, **body})


@given(WORLDS, WORLDS, st.lists(WANTED, min_size=1, max_size=8))
def test_nothing_is_allowed_that_no_rule_grants(
    before: dict[str, Any], world: dict[str, Any], wanted: list[Attributes]
) -> None:
    registry = Registry()
    for kind, found in before.items():
        for (namespace, name), content in found.items():
            put(registry, kind, namespace, name, content)
    authorizer = Authorizer(Grants(registry.store))
    for one in wanted:
        assert authorizer.allowed(one) is oracle(before, one), one
    # it follows: what was there goes, changes or stays, and more comes
    for kind, found in before.items():
        for namespace, name in found.keys() - world[kind].keys():
            registry.store.delete(KEYS[kind], namespace, name)
    for kind, found in world.items():
        for (namespace, name), content in found.items():
            put(registry, kind, namespace, name, content)
    for one in wanted:
        assert authorizer.allowed(one) is oracle(world, one), one
    fresh = Authorizer(Grants(registry.store))
    assert [fresh.allowed(one) for one in wanted] == [authorizer.allowed(one) for one in wanted]
