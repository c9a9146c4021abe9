"""The kubeconfig file: ours in it, everything else left alone."""

from pathlib import Path

import pytest
import yaml

from localkube.apiserver import kubeconfig

OURS = kubeconfig.entries("local", "https://127.0.0.1:1", "t", "CA")


def test_a_new_file_holds_one_context_that_is_current(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config"
    kubeconfig.write(path, OURS)
    written = yaml.safe_load(path.read_text())
    assert written == OURS
    assert written["current-context"] == "local"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["config"]


def test_the_contexts_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig.write(path, kubeconfig.entries("other", "https://o", "o", None))
    kubeconfig.write(path, kubeconfig.entries("local", "https://old", "old", None))
    kubeconfig.write(path, OURS)
    written = yaml.safe_load(path.read_text())
    assert [c["name"] for c in written["contexts"]] == ["other", "local"]
    assert written["current-context"] == "other"
    assert {u["name"]: u["user"]["token"] for u in written["users"]} == {"other": "o", "local": "t"}


@pytest.mark.parametrize("content", ["[1]", "kind: Pod", "{", "a: b: c"])
def test_another_file_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(ValueError, match="is no kubeconfig"):
        kubeconfig.write(path, OURS)
    assert path.read_text() == content


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.touch()
    kubeconfig.write(path, OURS)
    assert yaml.safe_load(path.read_text()) == OURS
