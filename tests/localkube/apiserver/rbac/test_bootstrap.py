"""The roles that every cluster starts with, and what a restart does to those that were changed."""

from typing import Any

import pytest

from localkube.apiserver.rbac import bootstrap
from localkube.apiserver.rbac.grants import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from localkube.apiserver.registry import Registry


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    bootstrap.reconcile(made)
    return made


def change(registry: Registry, key: str, name: str, patch: dict[str, Any]) -> None:
    registry.patch(key, "", name, patch)


def test_a_second_start_writes_nothing(registry: Registry) -> None:
    revision = registry.store.revision
    bootstrap.reconcile(registry)
    assert registry.store.revision == revision


def test_what_was_taken_away_comes_back_and_what_was_added_stays(registry: Registry) -> None:
    extra = {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}
    change(registry, CLUSTER_ROLES, "system:public-info-viewer", {"rules": [extra]})
    registry.delete(CLUSTER_ROLES, "", "system:basic-user")
    change(registry, CLUSTER_ROLE_BINDINGS, "system:discovery", {"subjects": None})
    bootstrap.reconcile(registry)
    viewer = registry.get(CLUSTER_ROLES, "", "system:public-info-viewer")
    assert extra in viewer["rules"]
    assert {"verbs": ["get"], "nonResourceURLs": ["/healthz"]} in viewer["rules"]
    assert registry.get(CLUSTER_ROLES, "", "system:basic-user")["rules"]
    subjects = registry.get(CLUSTER_ROLE_BINDINGS, "", "system:discovery")["subjects"]
    assert [subject["name"] for subject in subjects] == ["system:authenticated"]


def test_what_asks_to_be_left_alone_is(registry: Registry) -> None:
    alone = {"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}}
    name = "system:public-info-viewer"
    change(registry, CLUSTER_ROLES, name, {**alone, "rules": []})
    change(registry, CLUSTER_ROLE_BINDINGS, name, {**alone, "subjects": None})
    bootstrap.reconcile(registry)
    assert not registry.get(CLUSTER_ROLES, "", name)["rules"]
    assert "subjects" not in registry.get(CLUSTER_ROLE_BINDINGS, "", name)
