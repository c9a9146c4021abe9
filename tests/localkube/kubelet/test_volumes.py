"""What is in a volume, and how it lies on disk."""

import base64
from pathlib import Path
from typing import Any

import pytest

from localkube.kubelet import volumedir, volumes
from localkube.kubelet.references import Facts, ReferenceFailed
from localkube.kubelet.volumedir import SubPathFailed
from localkube.kubelet.volumes import File, Sources, Unsupported

OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("configmaps", "a"): {
        "data": {"k": "conf", "l": "two"},
        "binaryData": {"b": base64.b64encode(b"\0\xff").decode()},
    },
    ("secrets", "s"): {"data": {"k": base64.b64encode(b"sec").decode()}},
}
POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "c", "a": 'la"b'}},
    "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "64Mi"}}}]},
}


def lookup(kind: str, name: str) -> dict[str, Any] | None:
    return OBJECTS.get((kind, name))


def payload(**volume: Any) -> dict[str, File]:
    sources = Sources(lookup, Facts(), lambda pod, ref: f"token-for-{ref.get('audience', 'all')}")
    return volumes.payload(POD, {"name": "v", **volume}, sources)


def test_config_map_with_binary_data() -> None:
    assert payload(configMap={"name": "a"}) == {
        "k": File(b"conf", 0o644),
        "l": File(b"two", 0o644),
        "b": File(b"\0\xff", 0o644),
    }


def test_items_choose_rename_and_have_modes() -> None:
    items = [{"key": "k", "path": "sub/renamed", "mode": 0o400}, {"key": "l", "path": "l"}]
    assert payload(configMap={"name": "a", "items": items, "defaultMode": 0o440}) == {
        "sub/renamed": File(b"conf", 0o400),
        "l": File(b"two", 0o440),
    }


def test_downward_api() -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "memory", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory"}},
    ]
    assert payload(downwardAPI={"items": items}) == {
        "labels": File(b'a="la\\"b"\nb="c"', 0o644),
        "memory": File(str(64 * 2**20).encode(), 0o644),
    }


def test_projected_sources_are_laid_over_each_other() -> None:
    sources = [
        {"configMap": {"name": "a", "items": [{"key": "l", "path": "x"}]}},
        {"secret": {"name": "s"}},
        {"serviceAccountToken": {"path": "token", "audience": "me"}},
        {"configMap": {"name": "openshift-service-ca.crt", "items": [{"key": "c", "path": "c"}]}},
        {"secret": {"name": "nope", "optional": True}},
    ]
    assert payload(projected={"sources": sources, "defaultMode": 0o600}) == {
        "x": File(b"two", 0o600),
        "k": File(b"sec", 0o600),
        "token": File(b"token-for-me", 0o600),
    }


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "nope"}}, 'configmap "nope" not found'),
        ({"secret": {"secretName": "nope"}}, 'secret "nope" not found'),
        (
            {"configMap": {"name": "a", "items": [{"key": "x", "path": "x"}]}},
            "configmap references non-existent config key: x",
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "x", "path": "x"}]}},
            "secret references non-existent secret key: x",
        ),
    ],
)
def test_missing(volume: dict[str, Any], message: str) -> None:
    with pytest.raises(ReferenceFailed) as failure:
        payload(**volume)
    assert str(failure.value) == message
    ((kind, spec),) = volume.items()
    assert payload(**{kind: {**spec, "optional": True}}) == {}


@pytest.mark.parametrize("kind", ["hostPath", "persistentVolumeClaim", "nfs", "csi"])
def test_unsupported_kinds_are_named(kind: str) -> None:
    with pytest.raises(Unsupported, match=f'does not support volumes of type {kind} \\(volume "v"\\)'):
        volumes.kind({"name": "v", kind: {}})
    assert volumes.kind({"name": "v"}) == "emptyDir"


def test_written_files_are_replaced_in_one_step(tmp_path: Path) -> None:
    root = tmp_path / "v"
    volumedir.write(root, {"a": File(b"1", 0o400), "d/b": File(b"2", 0o640)}, (1000, 1000))
    assert (root / "a").read_bytes() == b"1"
    assert (root / "a").stat().st_mode & 0o777 == 0o400
    assert (root / "d/b").stat().st_mode & 0o777 == 0o640
    seen = (root / "..data").resolve()
    volumedir.write(root, {"a": File(b"3", 0o644)}, (1000, 1000))
    assert (root / "a").read_bytes() == b"3"
    assert sorted(p.name for p in root.iterdir() if not p.name.startswith("..")) == ["a"]
    assert (root / "..data").resolve() != seen
    assert not seen.exists()


def test_sub_path_stays_inside(tmp_path: Path) -> None:
    root = tmp_path / "v"
    volumedir.make_empty(root, (1000, 1000), None)
    assert root.stat().st_mode & 0o7777 == 0o777
    made = volumedir.sub_path(root, "a/b", (1000, 1000), create=True)
    assert made == root / "a/b"
    assert made.is_dir()
    (root / "out").symlink_to("/etc")
    for below in ("out", "out/passwd", "../other", "a/../../other"):
        with pytest.raises(SubPathFailed, match="outside of the volume"):
            volumedir.sub_path(root, below, (1000, 1000), create=True)
    with pytest.raises(SubPathFailed, match="does not exist"):
        volumedir.sub_path(root, "none", (1000, 1000), create=False)
    assert not (tmp_path / "other").exists()
