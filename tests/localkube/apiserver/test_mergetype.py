"""Types of the schema, walked: what is added, changed, owned, merged and removed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import fieldset
from localkube.apiserver.mergestruct import of_type
from localkube.apiserver.mergetype import MISSING, KeyedList, Map, MergeType, ValueSet

POD = of_type("io.k8s.api.core.v1.Pod")
TEXT = st.sampled_from(["x", "y", "z"])
MAPS = st.dictionaries(TEXT, TEXT, min_size=1, max_size=3)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": TEXT},
        optional={
            "image": TEXT,
            "args": st.lists(TEXT, min_size=1, max_size=2),
            "resources": objects(limits=MAPS),
            "securityContext": objects(runAsUser=st.integers(0, 2)),
            "ports": st.lists(
                st.fixed_dictionaries({"containerPort": st.integers(1, 3)}, optional={"name": TEXT}),
                min_size=1,
                max_size=2,
                unique_by=lambda port: port["containerPort"],
            ),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda container: container["name"],
)
PODS = objects(
    metadata=objects(labels=MAPS, finalizers=st.lists(TEXT, min_size=1, max_size=3, unique=True)),
    spec=objects(
        containers=CONTAINERS, nodeSelector=MAPS, hostname=TEXT, securityContext=objects(fsGroup=st.just(1))
    ),
)


@given(PODS)
def test_nothing_changes_from_an_object_to_itself(pod: dict[str, Any]) -> None:
    assert POD.diff(pod, pod) == (None, None)


@given(PODS, PODS)
def test_changes_and_removals_are_apart_and_opposite(old: dict[str, Any], new: dict[str, Any]) -> None:
    changed, removed = POD.diff(old, new)
    back_changed, back_removed = POD.diff(new, old)
    assert not set(fieldset.paths(changed or {})) & set(fieldset.paths(removed or {}))
    assert set(fieldset.paths(removed or {})) <= set(fieldset.paths(back_changed or {}))
    assert set(fieldset.paths(back_removed or {})) <= set(fieldset.paths(changed or {}))


@given(PODS, PODS)
def test_merging_takes_all_that_the_config_says(live: dict[str, Any], config: dict[str, Any]) -> None:
    merged = POD.merge(live, config)
    assert POD.merge(merged, config) == merged
    assert POD.merge(live, live) == live
    changed, _ = POD.diff(config, merged)
    # What the result has beyond the configuration is what was there.
    _, gone = POD.diff(live, merged)
    assert gone is None
    beyond = set(fieldset.paths(changed or {}))
    assert beyond <= set(fieldset.paths(POD.added(live)))


@given(PODS, PODS)
def test_lists_are_merged_in_the_order_of_the_config(live: dict[str, Any], config: dict[str, Any]) -> None:
    wanted = config.get("metadata", {}).get("finalizers", [])
    had = live.get("metadata", {}).get("finalizers", [])
    merged = POD.merge(live, config).get("metadata", {}).get("finalizers", [])
    assert [v for v in merged if v in wanted] == wanted
    assert [v for v in merged if v not in wanted] == [v for v in had if v not in wanted]


@given(MAPS, MAPS, st.lists(TEXT, unique=True, min_size=1))
def test_what_is_taken_out_is_gone_and_nothing_else(live: Any, config: Any, finalizers: list[str]) -> None:
    merged = POD.merge(
        {"metadata": {"labels": live}}, {"metadata": {"labels": config, "finalizers": finalizers}}
    )
    rest = POD.without(merged, POD.owned({"metadata": {"labels": config, "finalizers": finalizers}}))
    labels = {k: v for k, v in live.items() if k not in config}
    assert rest == {"metadata": {"labels": labels or None, "finalizers": None}}


def test_the_order_of_a_merged_list() -> None:
    values = ValueSet(MergeType())
    assert values.merge(["a", "b", "c"], ["b", "d"]) == ["a", "b", "c", "d"]
    assert values.merge(["a", "b", "c"], ["c", "a"]) == ["b", "c", "a"]
    assert values.merge(["a"], ["b", "a"]) == ["b", "a"]
    assert values.merge([], ["a"]) == ["a"]
    assert values.merge(["a"], None) == ["a"]


def test_elements_of_one_name_stand_and_fall_together() -> None:
    env = KeyedList(Map(MergeType()), {"name": None})
    twice = [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]
    assert env.added(twice) == {".": {}, 'k:{"name":"a"}': {}}
    assert env.owned(twice) == {'k:{"name":"a"}': {}}
    assert env.diff(twice, twice[:1]) == ({'k:{"name":"a"}': {}}, None)
    assert env.diff(twice, list(twice)) == (None, None)


def test_a_key_without_a_default_has_to_be_given() -> None:
    env = KeyedList(Map(MergeType()), {"name": None, "protocol": "TCP"})
    assert env.step({"name": "a"}) == 'k:{"name":"a","protocol":"TCP"}'
    with pytest.raises(ValueError) as refused:
        env.step({"value": "1"})
    assert str(refused.value) == (
        'associative list with keys has an element that omits key field "name" '
        "(and doesn't have default value)"
    )


@pytest.mark.parametrize("value", [None, {}, []])
def test_what_is_empty_comes_and_goes_as_a_whole(value: Any) -> None:
    labels = Map(MergeType())
    assert labels.diff(MISSING, value) == ({}, None)
    assert labels.diff(value, MISSING) == (None, {})


def test_fields_that_go_never_leaves_out_are_not_added_with_what_is_in_them() -> None:
    """`spec` and `containers` are always there, `volumes` and `securityContext` only when given."""
    spec = {"containers": [{"name": "c"}], "volumes": [{"name": "v"}], "securityContext": {"fsGroup": 1}}
    changed, _ = POD.diff({}, {"spec": spec})
    assert changed == {
        "f:spec": {
            "f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}, "f:resources": {}}},
            "f:volumes": {".": {}, 'k:{"name":"v"}': {".": {}, "f:name": {}}},
            "f:securityContext": {".": {}, "f:fsGroup": {}},
        }
    }
