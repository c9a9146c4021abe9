"""CustomResourceDefinitions in process: what is refused, in the real words, and what is established."""

import copy
from typing import Any

import pytest

from localkube.apiserver.crd.definitions import KEY, priority
from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError

Object = dict[str, Any]

SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "default": 1},
                "rows": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "v": {"type": "integer"}},
                    },
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def version(name: str = "v1", *, storage: bool = True, **more: Any) -> Object:
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": copy.deepcopy(SCHEMA)},
        **more,
    }


def definition(plural: str = "things", *versions: Object, **names: Any) -> Object:
    kind = {"things": "Thing"}.get(plural, plural.capitalize())
    return {
        "metadata": {"name": f"{plural}.x.io"},
        "spec": {
            "group": "x.io",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": list(versions) or [version(subresources={"status": {}})],
        },
    }


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.create("namespaces", "", {"metadata": {"name": "ns"}})
    return registry


def refused(registry: Registry, obj: Object) -> str:
    with pytest.raises(StatusError) as caught:
        registry.create(KEY, "", obj)
    assert caught.value.code == 422
    _, _, said = caught.value.message.partition(" is invalid: ")
    return said


def changed(obj: Object, path: str, value: Any) -> Object:
    """The object with something else at a path (`spec.versions.0.name`)."""
    obj = copy.deepcopy(obj)
    *steps, last = path.split(".")
    inner: Any = obj
    for step in steps:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value
    return obj


AT = "spec.validation.openAPIV3Schema"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            "spec.group",
            "nodot",
            'spec.group: Invalid value: "nodot": should be a domain with',
        ),
        (
            "spec.scope",
            "Galaxy",
            'spec.scope: Unsupported value: "Galaxy": supported',
        ),
        (
            "spec.names.kind",
            "thing_s",
            "may have mixed case, but should otherwise match: a DNS-1035 label must",
        ),
        (
            "spec.names.listKind",
            "Thing",
            'spec.names.listKind: Invalid value: "Thing": kind and listKind may not',
        ),
        (
            "spec.names.shortNames",
            ["T"],
            'spec.names.shortNames[0]: Invalid value: "T": a DNS-1035 label must',
        ),
        (
            "spec.versions.0.name",
            "1",
            'spec.versions[0].name: Invalid value: "1": a DNS-1035 label must consist',
        ),
        ("spec.versions.0.storage", False, "must have exactly one version marked as storage version"),
        ("spec.versions.0.schema", None, "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (
            "spec.preserveUnknownFields",
            True,
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true",
        ),
        ("spec.conversion", {"strategy": "Webhook", "webhook": {}}, "localkube calls no webhooks"),
        (
            "spec.versions.0.subresources",
            {"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.n"}},
            'spec.subresources.scale.specReplicasPath: Invalid value: ".x": should be a json path under',
        ),
        (
            "spec.versions.0.additionalPrinterColumns",
            [{"name": "A", "type": "text", "jsonPath": ".a"}],
            'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,',
        ),
        (
            "spec.versions.0.selectableFields",
            [{"jsonPath": ".spec.rows"}],
            'spec.selectableFields[0].jsonPath: Invalid value: ".spec.rows": must point to a field of type',
        ),
        (
            "spec.versions.0.deprecationWarning",
            "old",
            'spec.versions[0].deprecationWarning: Invalid value: "old": can only be set for deprecated',
        ),
    ],
)
def test_what_a_definition_may_not_say(registry: Registry, path: str, value: Any, said: str) -> None:
    assert said in refused(registry, changed(definition(), path, value))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string"}, f'{AT}.type: Invalid value: "string": must be object at the root'),
        ({"properties": {}}, f"{AT}.type: Required value: must not be empty at the root"),
        (
            {"type": "object", "properties": {"a": {}}},
            f"{AT}.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array"}}},
            f"{AT}.properties[a].items: Required value: must be specified",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "array", "items": {}}}},
            f"{AT}.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (
            {"type": "object", "anyOf": [{"type": "object"}]},
            f"{AT}.anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]},
            f"{AT}.properties[a]: Required value: because it is defined in {AT}.anyOf[0].properties[a]",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            f"{AT}.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "default": 1}}},
            f'{AT}.properties[a].default: Invalid value: "integer": '
            f'{AT}.properties[a].default in body must be of type string: "integer"',
        ),
        (
            {"type": "object", "properties": {"a": {"type": "object", "default": {"b": 1}}}},
            f'{AT}.properties[a].default: Invalid value: {{"b":1}}: must not have unknown fields',
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "array", "uniqueItems": True, "items": {"type": "string"}}},
            },
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "["}}},
            f'{AT}.properties[a].pattern: Invalid value: "[": must be a valid regular expression, but isn\'t',
        ),
        (
            {
                "type": "object",
                "properties": {
                    "a": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}
                },
            },
            f"{AT}.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if",
        ),
        (
            {
                "type": "object",
                "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
            },
            f"{AT}.properties[metadata]: Forbidden: must not specify anything other than name and",
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "string"}]}},
            },
            f"{AT}.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
    ],
)
def test_schemas_have_to_be_structural(registry: Registry, schema: Object, said: str) -> None:
    assert said in refused(registry, changed(definition(), "spec.versions.0.schema.openAPIV3Schema", schema))


def test_int_or_string_may_say_so_twice(registry: Registry) -> None:
    both = [{"type": "integer"}, {"type": "string"}]
    schema = {"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": True, "anyOf": both}}}
    registry.create(KEY, "", changed(definition(), "spec.versions.0.schema.openAPIV3Schema", schema))


def test_where_versions_differ_they_are_named(registry: Registry) -> None:
    bad = changed(version("v2", storage=False), "schema.openAPIV3Schema.properties.more", {})
    said = refused(registry, definition("things", version(), bad))
    assert said == (
        "spec.versions[1].schema.openAPIV3Schema.properties[more].type: "
        "Required value: must not be empty for specified object fields"
    )


def test_groups_of_the_community_need_approval(registry: Registry) -> None:
    obj = changed(definition(), "spec.group", "gateway.networking.k8s.io")
    obj["metadata"]["name"] = "things.gateway.networking.k8s.io"
    assert "protected groups must have approval annotation" in refused(registry, obj)
    obj["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.org/1"}
    registry.create(KEY, "", obj)


def test_what_was_answered_is_not_established_yet_but_served(registry: Registry) -> None:
    made = registry.create(KEY, "", definition())
    assert made["status"] == {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": ["v1"],
    }
    assert made["spec"]["names"] == {
        "plural": "things",
        "singular": "thing",
        "kind": "Thing",
        "listKind": "ThingList",
    }
    assert made["spec"]["conversion"] == {"strategy": "None"}
    now = registry.get(KEY, "", "things.x.io")["status"]
    assert now["acceptedNames"] == made["spec"]["names"]
    assert [(c["type"], c["status"], c["reason"]) for c in now["conditions"]] == [
        ("NamesAccepted", "True", "NoConflicts"),
        ("Established", "True", "InitialNamesAccepted"),
    ]
    assert registry.list("things.x.io") == []


def test_taken_names_are_not_accepted_until_they_are_free(registry: Registry) -> None:
    registry.create(KEY, "", definition("things", shortNames=["th"]))
    registry.create(KEY, "", definition("others", shortNames=["th"]))
    status = registry.get(KEY, "", "others.x.io")["status"]
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in status["conditions"]] == [
        ("NamesAccepted", "False", "ShortNamesConflict", '"th" is already in use'),
        ("Established", "False", "NotAccepted", "not all names are accepted"),
    ]
    with pytest.raises(KeyError):
        registry.list("others.x.io")
    free = {"spec": {"names": {"shortNames": None}}}
    registry.patch(KEY, "", "things.x.io", free)
    assert registry.list("others.x.io") == []


def test_several_versions_are_one_object(registry: Registry) -> None:
    old = version("v1beta1", storage=False)
    old["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["old"] = {"type": "string"}
    registry.create(KEY, "", definition("things", version(), old))
    made = registry.create(
        "things.x.io/v1beta1",
        "ns",
        {"apiVersion": "x.io/v1beta1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"old": "x"}},
    )
    assert (made["apiVersion"], made["spec"]) == ("x.io/v1beta1", {"old": "x", "size": 1})
    stored = registry.store.get("things.x.io", "ns", "t")
    assert stored is not None
    assert stored.object["apiVersion"] == "x.io/v1"
    # v1 knows nothing of `old`
    assert registry.get("things.x.io", "ns", "t")["spec"] == {"size": 1}
    assert registry.get("things.x.io/v1beta1", "ns", "t")["spec"] == {"old": "x", "size": 1}
    assert [obj["apiVersion"] for obj in registry.list("things.x.io/v1beta1")] == ["x.io/v1beta1"]


def test_a_stored_version_has_to_stay(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    both = [version("v2"), version("v1", storage=False)]
    now = registry.patch(KEY, "", "things.x.io", {"spec": {"versions": both}})
    assert now["status"]["storedVersions"] == ["v1", "v2"]
    with pytest.raises(StatusError) as caught:
        registry.patch(KEY, "", "things.x.io", {"spec": {"versions": [version("v2")]}})
    assert 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions' in caught.value.message


def test_a_new_default_shows_in_old_objects(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    before = registry.create("things.x.io", "ns", {"metadata": {"name": "t"}, "spec": {}})
    path = "schema.openAPIV3Schema.properties.spec.properties.color"
    newer = changed(version(), path, {"type": "string", "default": "red"})
    registry.patch(KEY, "", "things.x.io", {"spec": {"versions": [newer]}})
    now = registry.get("things.x.io", "ns", "t")
    assert now["spec"] == {"size": 1, "color": "red"}
    assert now["metadata"] == before["metadata"]


def test_generations_count_what_is_not_status_or_metadata(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    registry.create("things.x.io", "ns", {"metadata": {"name": "t"}, "status": {"x": 1}})

    def patch(body: Object, subresource: str = "") -> tuple[int, Any]:
        obj = registry.patch("things.x.io", "ns", "t", body, subresource=subresource)
        return obj["metadata"]["generation"], obj.get("status")

    assert patch({"metadata": {"labels": {"a": "b"}}}) == (1, None)
    assert patch({"spec": {"size": 2}, "status": {"x": 2}}) == (2, None)
    assert patch({"spec": {"size": 3}, "status": {"x": 3}}, "status") == (2, {"x": 3})
    assert patch({"metadata": {"labels": {"a": "c"}}}, "status") == (2, {"x": 3})
    assert registry.get("things.x.io", "ns", "t")["metadata"]["labels"] == {"a": "b"}


def test_an_update_has_to_say_what_it_replaces(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    registry.create("things.x.io", "ns", {"metadata": {"name": "t"}})
    with pytest.raises(StatusError) as caught:
        registry.update("things.x.io", "ns", {"metadata": {"name": "t"}, "spec": {}})
    assert (
        "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
        in caught.value.message
    )


def apply(registry: Registry, manager: str, spec: Object, **options: Any) -> Object:
    config = {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec}
    kind = "application/apply-patch+yaml"
    return registry.patch("things.x.io", "ns", "t", config, kind, manager=manager, **options)


def test_apply_by_the_list_types_of_the_schema(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    apply(registry, "a", {"rows": [{"name": "x", "v": 1}], "free": {"deep": {"a": 1}, "list": [1]}})
    now = apply(registry, "b", {"rows": [{"name": "y", "v": 2}], "free": {"deep": {"b": 2}}})
    assert now["spec"]["rows"] == [{"name": "x", "v": 1}, {"name": "y", "v": 2}]
    assert now["spec"]["free"] == {"deep": {"a": 1, "b": 2}, "list": [1]}
    fields = {e["manager"]: e["fieldsV1"] for e in now["metadata"]["managedFields"]}
    assert fields["b"] == {
        "f:spec": {
            "f:free": {"f:deep": {".": {}, "f:b": {}}},
            "f:rows": {'k:{"name":"y"}': {".": {}, "f:name": {}, "f:v": {}}},
        }
    }
    now = apply(registry, "a", {"rows": [], "free": {}})
    assert now["spec"]["rows"] == [{"name": "y", "v": 2}]
    assert now["spec"]["free"] == {"deep": {"b": 2}}


def test_apply_tells_conflicts_unknown_fields_and_types(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    apply(registry, "a", {"rows": [{"name": "x", "v": 1}]})
    with pytest.raises(StatusError, match=r'conflict with "a": \.spec\.rows\[name="x"\]\.v'):
        apply(registry, "b", {"rows": [{"name": "x", "v": 2}]})
    assert apply(registry, "b", {"rows": [{"name": "x", "v": 2}]}, force=True)["spec"]["rows"][0]["v"] == 2
    with pytest.raises(StatusError, match=r"\.spec\.nope: field not declared in schema"):
        apply(registry, "b", {"nope": 1})
    with pytest.raises(StatusError, match=r"\.spec\.size: expected numeric"):
        apply(registry, "b", {"size": "x"})


def test_an_object_of_the_wrong_types_is_refused_and_not_a_fault(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    for spec in ("no", [1], {"rows": "x"}, {"rows": [1]}, {"free": 3}):
        with pytest.raises(StatusError) as caught:
            registry.create("things.x.io", "ns", {"metadata": {"name": "t"}, "spec": spec})
        assert caught.value.code == 422
    with pytest.raises(StatusError, match="cannot unmarshal number into Go struct field ObjectMeta"):
        registry.create("things.x.io", "ns", {"metadata": {"name": "t", "labels": {"a": 1}}})


def test_a_schema_that_got_stricter_leaves_what_does_not_change(registry: Registry) -> None:
    registry.create(KEY, "", definition())
    registry.create("things.x.io", "ns", {"metadata": {"name": "t"}, "spec": {"size": 5}})
    path = "schema.openAPIV3Schema.properties.spec.properties.size.maximum"
    registry.patch(KEY, "", "things.x.io", {"spec": {"versions": [changed(version(), path, 3)]}})
    registry.patch("things.x.io", "ns", "t", {"spec": {"free": {"a": 1}}})
    with pytest.raises(StatusError, match="should be less than or equal to 3"):
        registry.patch("things.x.io", "ns", "t", {"spec": {"size": 4}})


def test_versions_in_kubernetes_order() -> None:
    names = ["v1alpha1", "foo1", "v2", "v10beta3", "v11alpha2", "v1", "v11beta2", "v10", "v3beta1", "foo10"]
    assert sorted(names, key=priority) == [
        "v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v11alpha2", "v1alpha1", "foo1", "foo10",
    ]  # fmt: skip
