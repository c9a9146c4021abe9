import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver import fieldset, managedfields, schema
from localkube.apiserver.mergestruct import of_type
from localkube.apiserver.resources import Resources
from localkube.apiserver.status import StatusError

RESOURCES = Resources()
CONFIG_MAPS, PODS, JOBS = RESOURCES["configmaps"], RESOURCES["pods"], RESOURCES["jobs.batch"]
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
Object = dict[str, Any]


def config_map(data: dict[str, str] | None = None, **metadata: Any) -> Object:
    body = {"data": data} if data else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}, **body}


def pod(**spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def apply(live: Object | None, config: Any, manager: str, **options: Any) -> Object:
    """Apply and decode, as the registry does, and see that nothing that was given is changed."""
    before = copy.deepcopy((live, config))
    resource = RESOURCES.of_kind("v1", config.get("kind", "")) or CONFIG_MAPS
    result = managedfields.apply(
        resource, live, config, manager=manager, now=options.pop("now", NOW), **options
    )
    assert (live, config) == before
    return result if result is live else schema.decode(resource, result)[0]


def update(old: Object | None, new: Object, manager: str, **options: Any) -> Object:
    before = copy.deepcopy((old, new))
    resource = RESOURCES.of_kind(new["apiVersion"], new["kind"]) or CONFIG_MAPS
    result = managedfields.update(resource, old, new, manager=manager, now=options.pop("now", NOW), **options)
    assert (old, new) == before
    return result


def edited(obj: Object, change: Callable[[Object], Any]) -> Object:
    new = copy.deepcopy(obj)
    change(new)
    return new


def entries(obj: Object) -> list[Object]:
    return obj["metadata"].get("managedFields", [])


def owners(obj: Object) -> dict[str, set[str]]:
    """Path -> managers."""
    found: dict[str, set[str]] = {}
    for entry in entries(obj):
        for path in fieldset.paths(entry["fieldsV1"]):
            found.setdefault(path, set()).add(entry["manager"])
    return found


def refusal(live: Object | None, config: Any, manager: str = "m", **options: Any) -> Object:
    with pytest.raises(StatusError) as refused:
        apply(live, config, manager, **options)
    return refused.value.status


# updates


def test_a_create_belongs_to_its_manager() -> None:
    created = update(None, config_map({"k": "v"}, namespace="n", labels={"x": "y"}), "creator")
    assert entries(created) == [
        {
            "manager": "creator",
            "operation": "Update",
            "apiVersion": "v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:data": {".": {}, "f:k": {}},
                "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
            },
        }
    ]
    assert list(entries(created)[0]) == [
        "manager",
        "operation",
        "apiVersion",
        "time",
        "fieldsType",
        "fieldsV1",
    ]


def test_what_only_the_server_says_has_no_owner() -> None:
    server = {
        "uid": "u",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": NOW,
        "namespace": "n",
        "selfLink": "/x",
    }
    assert entries(update(None, config_map(None, **server), "m")) == []


def test_a_patch_owns_what_it_adds() -> None:
    created = update(None, config_map({"k": "v"}), "creator")
    patched = update(created, edited(created, lambda o: o["data"].update(x="y")), "patcher")
    assert [e["manager"] for e in entries(patched)] == ["creator", "patcher"]
    assert entries(patched)[1]["fieldsV1"] == {"f:data": {"f:x": {}}}


def test_who_changes_a_field_takes_it_over() -> None:
    created = update(None, config_map({"k": "v", "l": "w"}), "a")
    taken = update(created, edited(created, lambda o: o["data"].update(k="2")), "b", now=LATER)
    assert owners(taken) == {".data": {"a"}, ".data.l": {"a"}, ".data.k": {"b"}}
    assert [(e["manager"], e["time"]) for e in entries(taken)] == [("a", NOW), ("b", LATER)]


def test_an_entry_with_nothing_left_goes() -> None:
    created = update(None, config_map({"k": "v"}), "a")
    patched = update(created, edited(created, lambda o: o["data"].update(x="y")), "b")
    removed = update(patched, edited(patched, lambda o: o["data"].pop("x")), "a", now=LATER)
    assert owners(removed) == {".data": {"a"}, ".data.k": {"a"}}
    assert entries(removed)[0]["time"] == NOW, "to remove is no change of what one owns"


def test_a_manager_without_a_name_is_unknown() -> None:
    assert entries(update(None, config_map({"k": "v"}), ""))[0]["manager"] == "unknown"


def test_a_second_change_joins_the_first() -> None:
    created = update(None, config_map({"k": "v"}), "a")
    changed = update(created, edited(created, lambda o: o["data"].update(l="w")), "a", now=LATER)
    [entry] = entries(changed)
    assert (entry["time"], entry["fieldsV1"]) == (LATER, {"f:data": {".": {}, "f:k": {}, "f:l": {}}})


def test_status_has_an_entry_of_its_own() -> None:
    created = update(None, pod(containers=[{"name": "c", "image": "i"}]), "a")
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    ready = update(created, {**created, "status": status}, "kubelet", subresource="status")
    assert entries(ready)[1] == {
        "manager": "kubelet",
        "operation": "Update",
        "apiVersion": "v1",
        "time": NOW,
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:status": {
                "f:conditions": {
                    ".": {},
                    'k:{"type":"Ready"}': {".": {}, "f:status": {}, "f:type": {}},
                },
                "f:phase": {},
            }
        },
        "subresource": "status",
    }


def test_an_endpoint_owns_only_what_it_can_change() -> None:
    created = update(None, {**pod(containers=[]), "status": {"phase": "Running"}}, "a")
    assert not any(path.startswith(".status") for path in owners(created))
    other = edited(created, lambda o: o["spec"].update(hostname="h"))
    assert owners(update(created, other, "b", subresource="status")) == owners(created)


def test_an_owner_of_a_status_keeps_it_when_another_endpoint_leaves_it_out() -> None:
    created = update(None, pod(hostname="h"), "a")
    ready = update(created, {**created, "status": {"phase": "Running"}}, "kubelet", subresource="status")
    without = edited(ready, lambda o: o.pop("status"))
    assert owners(update(ready, without, "a"))[".status.phase"] == {"kubelet"}


@pytest.mark.parametrize("reset", [[], [{}]])
def test_managed_fields_can_be_stripped(reset: list[Any]) -> None:
    created = update(None, config_map({"k": "v"}), "a")
    stripped = update(created, edited(created, lambda o: o["metadata"].update(managedFields=reset)), "a")
    assert "managedFields" not in stripped["metadata"]
    changed = update(stripped, edited(stripped, lambda o: o["data"].update(k="2")), "b")
    assert "managedFields" not in changed["metadata"], "nobody tracks it until it is applied to"
    applied = apply(changed, config_map({"l": "1"}), "c")
    assert owners(applied) == {
        ".data": {"before-first-apply"},
        ".data.k": {"before-first-apply"},
        ".data.l": {"c"},
    }


def test_managed_fields_are_kept_from_who_does_not_send_them() -> None:
    created = update(None, config_map({"k": "v"}), "a")
    silent = edited(created, lambda o: o["metadata"].pop("managedFields"))
    assert entries(update(created, silent, "b")) == entries(created)
    broken = edited(created, lambda o: o["metadata"].update(managedFields=[{"manager": "x"}]))
    assert entries(update(created, broken, "b")) == entries(created)


def test_managed_fields_can_be_set() -> None:
    created = update(None, config_map({"k": "v"}), "a")
    renamed = edited(created, lambda o: entries(o)[0].update(manager="z"))
    assert owners(update(created, renamed, "b")) == {".data": {"z"}, ".data.k": {"z"}}


def test_only_so_many_updaters_are_kept() -> None:
    obj = update(None, config_map({"k": "v"}), "m00")
    for number in range(1, 13):
        moment = f"2026-01-01T00:00:{number:02}Z"
        obj = update(
            obj,
            edited(obj, lambda o: o["data"].update({f"k{len(o['data'])}": "v"})),
            f"m{number:02}",
            now=moment,
        )
    names = [e["manager"] for e in entries(obj)]
    assert names == ["ancient-changes", *(f"m{n:02}" for n in range(4, 13))]
    assert entries(obj)[0]["time"] == "2026-01-01T00:00:03Z"
    assert owners(obj)[".data.k3"] == {"ancient-changes"}


def test_an_atomic_field_is_owned_as_a_whole() -> None:
    created = update(None, pod(nodeSelector={"a": "b"}, tolerations=[{"key": "x"}]), "a")
    changed = update(created, edited(created, lambda o: o["spec"]["nodeSelector"].update(c="d")), "b")
    assert owners(changed) == {".spec.nodeSelector": {"b"}, ".spec.tolerations": {"a"}}


# apply


def test_apply_creates_then_updates() -> None:
    first = apply(None, config_map({"k": "v"}), "m1")
    assert first["data"] == {"k": "v"}
    assert entries(first) == [
        {
            "manager": "m1",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:k": {}}},
        }
    ]
    second = apply(first, config_map({"k": "2", "l": "3"}), "m1")
    assert (second["data"], owners(second)) == ({"k": "2", "l": "3"}, {".data.k": {"m1"}, ".data.l": {"m1"}})
    third = apply(second, config_map({"l": "3"}), "m1")
    assert (third["data"], owners(third)) == ({"l": "3"}, {".data.l": {"m1"}})


def test_a_conflict_with_an_applier() -> None:
    live = apply(None, config_map({"k": "v"}), "x")
    assert refusal(live, config_map({"k": "2"})) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'Apply failed with 1 conflict: conflict with "x": .data.k',
        "reason": "Conflict",
        "details": {
            "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "x"', "field": ".data.k"}]
        },
        "code": 409,
    }


def test_conflicts_with_several_managers() -> None:
    live = update(None, pod(hostname="h", subdomain="s", priority=1), "x")
    live = update(live, edited(live, lambda o: o["spec"].update(priority=2)), "w")
    status = refusal(live, pod(hostname="1", subdomain="2", priority=3))
    assert status["message"] == (
        'Apply failed with 3 conflicts: conflicts with "w" using v1:\n- .spec.priority\n'
        'conflicts with "x" using v1:\n- .spec.hostname\n- .spec.subdomain'
    )
    assert [(c["message"], c["field"]) for c in status["details"]["causes"]] == [
        ('conflict with "w" using v1', ".spec.priority"),
        ('conflict with "x" using v1', ".spec.hostname"),
        ('conflict with "x" using v1', ".spec.subdomain"),
    ]


def test_a_conflict_names_the_subresource() -> None:
    created = update(None, pod(hostname="h"), "a")
    live = update(created, {**created, "status": {"phase": "Running"}}, "kubelet", subresource="status")
    status = refusal(live, {**pod(), "status": {"phase": "Failed"}}, subresource="status")
    assert status["message"] == (
        'Apply failed with 1 conflict: conflict with "kubelet" with subresource "status" using v1: '
        ".status.phase"
    )


def test_applying_the_status_through_the_object_owns_nothing_of_it() -> None:
    applied = apply(None, {**pod(hostname="h"), "status": {"phase": "Failed"}}, "m")
    assert owners(applied) == {".spec.hostname": {"m"}}


def test_force_takes_over() -> None:
    live = apply(None, config_map({"k": "v", "l": "w"}), "x")
    forced = apply(live, config_map({"k": "2"}), "m", force=True)
    assert forced["data"] == {"k": "2", "l": "w"}
    assert owners(forced) == {".data.k": {"m"}, ".data.l": {"x"}}


def test_the_same_value_is_shared() -> None:
    live = apply(None, config_map({"k": "v"}), "x")
    shared = apply(live, config_map({"k": "v"}), "m", now=LATER)
    assert owners(shared) == {".data.k": {"m", "x"}}
    assert "time" not in entries(shared)[0], "it changed nothing yet"
    left = apply(shared, config_map(), "x", now=LATER)
    assert (left["data"], owners(left)) == ({"k": "v"}, {".data.k": {"m"}})


def test_an_empty_map_is_owned_though_it_is_not_kept() -> None:
    empty = {**config_map(), "data": {}}
    live = apply(None, empty, "x")
    assert "data" not in live
    assert owners(live) == {".data": {"x"}}
    assert managedfields.restore_times(apply(live, empty, "x", now=LATER), live) == live


def test_what_an_updater_owns_is_not_pruned() -> None:
    live = apply(None, config_map({"k": "v"}), "x")
    live = update(live, edited(live, lambda o: o["data"].update(l="w")), "u")
    assert apply(live, config_map(), "x")["data"] == {"l": "w"}


def test_keyed_elements_merge_and_go() -> None:
    one, two = {"name": "one", "image": "1"}, {"name": "two", "image": "2"}
    live = apply(None, pod(containers=[one]), "x")
    live = apply(live, pod(containers=[two]), "y")
    assert live["spec"]["containers"] == [one, two]
    live = apply(live, pod(containers=[{**one, "command": ["c"]}]), "x")
    assert live["spec"]["containers"] == [{**one, "command": ["c"]}, two]
    live = apply(live, pod(), "x")
    assert live["spec"]["containers"] == [two]


def test_a_default_that_nobody_applied_stays_until_what_holds_it_goes() -> None:
    live = apply(None, pod(containers=[{"name": "c", "image": "1"}]), "x")
    live["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    live["spec"]["dnsPolicy"] = "ClusterFirst"
    kept = apply(live, pod(containers=[{"name": "c"}]), "x")
    assert kept["spec"]["containers"] == [{"name": "c", "imagePullPolicy": "Always"}]
    assert apply(kept, pod(), "x").get("spec") == {"dnsPolicy": "ClusterFirst"}


def test_an_apply_that_changes_nothing_returns_the_very_object() -> None:
    config = pod(containers=[{"name": "c", "image": "1", "env": [{"name": "A", "value": "1"}]}], hostname="h")
    live = apply(None, config, "x")
    assert apply(live, config, "x", now=LATER) is live


def test_times_are_restored_when_decoding_undid_the_difference() -> None:
    def limited(cpu: str) -> Object:
        return pod(containers=[{"name": "c", "resources": {"limits": {"cpu": cpu}}}])

    live = apply(None, limited("1"), "x")
    same = apply(live, limited("1000m"), "x", now=LATER)
    assert same != live
    assert managedfields.restore_times(same, live) == live
    other = apply(live, limited("2"), "x", now=LATER)
    assert managedfields.restore_times(other, live) == other


@pytest.mark.parametrize(
    ("config", "code", "reason", "message"),
    [
        (
            config_map({"k": "v"}, managedFields=[{"manager": "x"}]),
            400,
            "BadRequest",
            "metadata.managedFields must be nil",
        ),
        ({"metadata": {"name": "a"}}, 400, "BadRequest", "invalid object type: /, Kind="),
        (
            {"apiVersion": "batch/v1", "kind": "Job"},
            400,
            "BadRequest",
            "invalid object type: batch/v1, Kind=Job",
        ),
        (
            {**config_map(), "foo": 1},
            500,
            "",
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): "
            ".foo: field not declared in schema",
        ),
        (
            {**config_map(namespace="n"), "data": {"k": 1}},
            500,
            "",
            "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): "
            ".data.k: expected string, got &value.valueUnstructured{Value:1}",
        ),
    ],
)
def test_refusals(config: Any, code: int, reason: str, message: str) -> None:
    with pytest.raises(StatusError) as refused:
        managedfields.apply(CONFIG_MAPS, None, config, manager="m", now=NOW)
    found = refused.value
    assert (found.code, found.reason, found.message) == (code, reason, message)


def test_only_objects_are_applied() -> None:
    with pytest.raises(StatusError, match="cannot unmarshal array"):
        managedfields.apply(CONFIG_MAPS, None, [1], manager="m", now=NOW)


# laws

KEYS = st.sampled_from("abcdef")
DATA = st.dictionaries(KEYS, st.sampled_from("123"), max_size=4)
MANAGERS = st.sampled_from(["m1", "m2", "m3"])


@given(DATA, MANAGERS, MANAGERS)
def test_an_update_without_a_difference_is_none(data: dict[str, str], creator: str, other: str) -> None:
    created = update(None, config_map(data), creator)
    assert update(created, copy.deepcopy(created), other, now=LATER) == created


@given(DATA, st.lists(st.tuples(MANAGERS, DATA), max_size=5))
def test_a_key_belongs_to_who_wrote_it_last(
    data: dict[str, str], writes: list[tuple[str, dict[str, str]]]
) -> None:
    obj = update(None, config_map(data, labels={"l": "1"}), "m0")
    model = dict.fromkeys(data, "m0")
    for manager, new in writes:
        old = obj.get("data", {})
        changed = {k for k, v in new.items() if old.get(k) != v}
        obj = update(obj, edited(obj, lambda o, new=new: o.update(data=new)), manager)
        model = {k: manager if k in changed else model[k] for k in new}
    found = {p.removeprefix(".data."): who for p, who in owners(obj).items() if p.startswith(".data.")}
    assert found == {k: {who} for k, who in model.items()}


def test_what_had_no_owner_at_first_is_not_tracked_later() -> None:
    created = update(None, config_map(), "a")
    assert entries(update(created, {**created, "data": {"k": "v"}}, "b")) == []


@given(DATA, DATA)
def test_applying_the_same_twice_is_applying_it_once(data: dict[str, str], others: dict[str, str]) -> None:
    live = apply(None, config_map(others), "other")
    once = apply(live, config_map(data), "m", force=True)
    assert apply(once, config_map(data), "m", now=LATER) is once


@given(st.lists(st.tuples(MANAGERS, st.sets(KEYS, max_size=3)), max_size=6))
def test_appliers_of_different_fields_never_conflict(steps: list[tuple[str, set[str]]]) -> None:
    """Each manager's fields are its own, so each sees exactly what it applied last."""
    live: Object | None = None
    model: dict[str, dict[str, str]] = {}
    for number, (manager, keys) in enumerate(steps):
        model[manager] = {f"{manager}-{key}": str(number) for key in keys}
        live = apply(live, config_map(model[manager]), manager)
        assert live.get("data", {}) == {k: v for data in model.values() for k, v in data.items()}


@given(st.sets(KEYS), st.sets(KEYS), st.sets(KEYS))
def test_what_is_no_longer_applied_goes_unless_shared(
    first: set[str], shared: set[str], then: set[str]
) -> None:
    live = apply(None, config_map(dict.fromkeys(first, "v")), "m")
    live = apply(live, config_map(dict.fromkeys(shared, "v")), "co")
    live = apply(live, config_map(dict.fromkeys(then, "v")), "m")
    assert set(live.get("data", {})) == shared | then


@given(DATA, DATA)
def test_force_wins_what_it_says_and_nothing_else(theirs: dict[str, str], ours: dict[str, str]) -> None:
    live = apply(None, config_map(theirs), "theirs")
    forced = apply(live, config_map(ours), "ours", force=True)
    assert forced.get("data", {}) == theirs | ours
    lost = {k for k in ours if k in theirs and theirs[k] != ours[k]}
    found = owners(forced)
    assert {k for k in theirs if "theirs" not in found[f".data.{k}"]} == lost
    assert all("ours" in found[f".data.{k}"] for k in ours)
    if lost:
        causes = refusal(live, config_map(ours), "ours")["details"]["causes"]
        assert {cause["field"] for cause in causes} == {f".data.{k}" for k in lost}


TEXT = st.sampled_from("xyz")
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": TEXT},
        optional={
            "image": TEXT,
            "args": st.lists(TEXT, min_size=1, max_size=2),
            "securityContext": st.fixed_dictionaries({"runAsUser": st.integers(0, 2)}),
            "ports": st.lists(
                st.fixed_dictionaries({"containerPort": st.integers(1, 3)}, optional={"name": TEXT}),
                min_size=1,
                max_size=2,
                unique_by=lambda port: port["containerPort"],
            ),
        },
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda container: container["name"],
)
CONFIGS = st.builds(
    lambda metadata, spec: {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **metadata},
        **({"spec": spec} if spec else {}),
    },
    st.fixed_dictionaries(
        {},
        optional={
            "labels": st.dictionaries(TEXT, TEXT, min_size=1, max_size=2),
            "finalizers": st.lists(TEXT, min_size=1, max_size=3, unique=True),
        },
    ),
    st.fixed_dictionaries(
        {}, optional={"containers": CONTAINERS, "hostname": TEXT, "nodeSelector": st.just({"a": "b"})}
    ),
)


@given(st.lists(st.tuples(MANAGERS, CONFIGS), min_size=1, max_size=4))
def test_an_object_that_is_only_applied_consists_of_what_is_owned(steps: list[tuple[str, Object]]) -> None:
    """Nothing is left behind, nothing is owned that is not there, and each apply is there in full."""
    live: Object | None = None
    for manager, config in steps:
        live = apply(live, config, manager, force=True)
        assert apply(live, config, manager, force=True, now=LATER) is live
        everything = of_type(PODS.schema).owned(live)
        owned: dict[str, Any] = {}
        for entry in entries(live):
            owned = fieldset.union(owned, entry["fieldsV1"])
        there = set(fieldset.paths(everything)) - {".apiVersion", ".kind", ".metadata.name"}
        there -= {".metadata.managedFields"}
        assert set(fieldset.paths(owned)) == there
