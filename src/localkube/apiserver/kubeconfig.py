"""The kubeconfig that reaches this server, merged into whatever else the file holds."""

import base64
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml


def entries(name: str, server: str, token: str, ca: str | None) -> dict[str, Any]:
    """A kubeconfig with one context; cluster, user and context are all called `name`."""
    cluster: dict[str, Any] = {"server": server}
    if ca is not None:
        cluster["certificate-authority-data"] = base64.b64encode(ca.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }


def merged(existing: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """`existing` with our entries in place of those of the same name; its current context stays."""
    result = {**existing}
    for kind in ("clusters", "users", "contexts"):
        names = {entry["name"] for entry in ours[kind]}
        others = [e for e in existing.get(kind) or () if e.get("name") not in names]
        result[kind] = [*others, *ours[kind]]
    result["apiVersion"], result["kind"] = "v1", "Config"
    if not existing.get("current-context"):
        result["current-context"] = ours["current-context"]
    return result


def write(path: Path, ours: dict[str, Any]) -> None:
    """Put our entries into the file, atomically and readable only by its owner (it holds the token).

    Raises ValueError when the file is there but is no kubeconfig.
    """
    existing: dict[str, Any] = {}
    if path.exists():
        try:
            loaded = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no kubeconfig: {error}") from None
        if loaded is not None and (not isinstance(loaded, dict) or loaded.get("kind", "Config") != "Config"):
            raise ValueError(f"{path} is no kubeconfig; name another file with --kubeconfig")
        existing = loaded or {}
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(merged(existing, ours), file, sort_keys=False)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
