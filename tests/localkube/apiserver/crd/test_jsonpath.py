import pytest

from localkube.apiserver.crd import jsonpath

OBJ = {
    "spec": {"size": 3, "a.b": "dotted", "list": [{"n": 1}, {"n": 2, "on": True}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".", [OBJ]),
        (".spec.size", [3]),
        (".spec.missing.more", []),
        (r".spec.a\.b", ["dotted"]),
        (".spec['a.b']", ["dotted"]),
        (".spec.list[0].n", [1]),
        (".spec.list[-1].n", [2]),
        (".spec.list[9].n", []),
        (".spec.list[*].n", [1, 2]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type == 'Other')].status", ["False"]),
        (".spec.list[?(@.n>1)].n", [2]),
        (".spec.list[?(@.on)].n", [2]),
        ('.spec.list[?(@.n=="1")].n', []),
    ],
)
def test_paths(path: str, found: list[object]) -> None:
    assert jsonpath.find(path, OBJ) == found


@pytest.mark.parametrize("path", ["spec", ".spec[", ".spec[?(", ".a]"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(jsonpath.Malformed):
        jsonpath.find(path, OBJ)
