"""What an aggregated ClusterRole takes in."""

from typing import Any

from localkube.controllers.clusterroles import aggregate


def role(name: str, labels: dict[str, str], *verbs: str) -> dict[str, Any]:
    rules = [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]} for verb in verbs]
    return {"metadata": {"name": name, "labels": labels}, "rules": rules}


def taken(*selectors: dict[str, Any], roles: list[dict[str, Any]]) -> list[str]:
    all_ = {**role("all", {"a": "1"}, "own"), "aggregationRule": {"clusterRoleSelectors": list(selectors)}}
    return [rule["verbs"][0] for rule in aggregate(all_, [*roles, all_])]


def test_rules_come_in_the_order_of_selectors_and_names_and_once() -> None:
    roles = [
        role("z", {"a": "1"}, "get", "get"),
        role("b", {"a": "1"}, "list"),
        role("c", {"b": "1"}, "watch", "list"),
        role("d", {"c": "1"}, "delete"),
    ]
    assert taken({"matchLabels": {"b": "1"}}, {"matchLabels": {"a": "1"}}, roles=roles) == [
        "watch",
        "list",
        "get",
    ]


def test_selectors_may_be_expressions() -> None:
    roles = [role("x", {"a": "2"}, "get"), role("y", {}, "list")]
    expression = {"key": "a", "operator": "Exists"}
    assert taken({"matchExpressions": [expression]}, roles=roles) == ["get"]


def test_a_role_does_not_take_itself_in() -> None:
    assert taken({"matchLabels": {"a": "1"}}, roles=[]) == []
