from localkube.apiserver.crd.listtypes import check


def said(schema: dict, value: object) -> list[str]:
    return [str(error) for error in check({"properties": {"l": schema}}, {"l": value})]


def test_sets() -> None:
    schema = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    assert said(schema, ["a", "b", "a", "a"]) == ['l[2]: Duplicate value: "a"']


def test_maps() -> None:
    schema = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object"},
    }
    assert said(schema, [{"name": "a"}, {"name": "a", "v": 1}]) == ['l[1]: Duplicate value: {"name":"a"}']
    assert said(schema, [{"v": 1}, {}]) == ["l[1]: Duplicate value: {}"]
    assert said(schema, ["x"]) == [
        'l[0]: Invalid value: "x": must be an object for an array of list-type map'
    ]
