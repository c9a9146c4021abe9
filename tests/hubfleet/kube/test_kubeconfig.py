"""Several files are one kubeconfig, by kubectl's rules."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from hubfleet.kube.kubeconfig import KubeconfigError, load, paths


def write(path: Path, current: str = "", **sections: dict[str, dict[str, Any]]) -> Path:
    document: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": current}
    for section, entries in sections.items():
        document[section] = [{"name": name, section[:-1]: value} for name, value in entries.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def simple(path: Path, name: str, server: str, **user: Any) -> Path:
    return write(
        path,
        name,
        clusters={name: {"server": server}},
        contexts={name: {"cluster": name, "user": name}},
        users={name: user},
    )


def test_the_first_file_wins(tmp_path: Path) -> None:
    one, two = simple(tmp_path / "1", "a", "https://one"), simple(tmp_path / "2", "b", "https://two")
    again = simple(tmp_path / "3", "a", "https://three")
    assert load([one, two, again]).cluster.value["server"] == "https://one"
    assert load([two, one, again]).name == "b"
    assert load([one, two], "b").cluster.value["server"] == "https://two"


def test_the_parts_may_lie_in_different_files(tmp_path: Path) -> None:
    one = write(tmp_path / "1", contexts={"x": {"cluster": "c", "user": "u", "namespace": "n"}})
    two = write(tmp_path / "2", clusters={"c": {"server": "https://s"}})
    three = write(tmp_path / "3", "x", users={"u": {"token": "t"}})
    (tmp_path / "empty").write_text("")
    context = load([tmp_path / "empty", one, two, three])
    assert (context.namespace, context.user.value) == ("n", {"token": "t"})


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    config = write(
        tmp_path / "sub" / "config",
        "x",
        clusters={"c": {"server": "https://s", "certificate-authority": "ca.crt"}},
        contexts={"x": {"cluster": "c"}},
    )
    (tmp_path / "sub" / "ca.crt").write_text("PEM")
    context = load([config])
    assert context.cluster.data("certificate-authority") == b"PEM"
    assert context.user.value == {} and context.namespace == "default"


def test_data_wins_over_the_file(tmp_path: Path) -> None:
    config = write(
        tmp_path / "config",
        "x",
        clusters={
            "c": {
                "certificate-authority": "missing",
                "certificate-authority-data": base64.b64encode(b"x").decode(),
            }
        },
        contexts={"x": {"cluster": "c"}},
    )
    assert load([config]).cluster.data("certificate-authority") == b"x"


def test_where_the_files_are(tmp_path: Path) -> None:
    one, two = simple(tmp_path / "1", "a", "s"), simple(tmp_path / "2", "b", "s")
    several = os.pathsep.join([str(one), str(tmp_path / "missing"), str(two)])
    assert paths("", {"KUBECONFIG": several}) == [one, two]
    assert paths(str(two), {"KUBECONFIG": several}) == [two]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "not a kubeconfig"),
        ("a: [", "while parsing"),
        ("clusters: [{cluster: {}}]", "clusters holds something"),
        ("current-context: nope", "no context 'nope' in .*there are: none"),
        ("contexts: []", "no context is named"),
        ("contexts: [{name: x, context: {cluster: y}}]\ncurrent-context: x", "no cluster 'y'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(KubeconfigError, match=words):
        load([file])


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"no kubeconfig file at .*missing"):
        paths(str(tmp_path / "missing"), {})
