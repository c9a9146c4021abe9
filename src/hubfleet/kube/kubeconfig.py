"""Kubeconfig files, read and merged by kubectl's rules.

Not with the official client's merger, which differs from kubectl where it matters with several files (there
the last file's current-context wins, kubectl takes the first's; an empty file is a TypeError), and whose
import costs 0.8 s and 60 MB in every process.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml


class KubeconfigError(ValueError):
    """A kubeconfig that says nothing usable; the message names the file."""


class Entry(msgspec.Struct, frozen=True):
    """A cluster or a user as its file says; paths in it are relative to `directory`."""

    value: dict[str, Any]
    directory: Path

    def data(self, key: str) -> bytes | None:
        """What `<key>-data` (base64) or else the file `<key>` holds; None where neither is set."""
        if encoded := self.value.get(f"{key}-data"):
            try:
                return msgspec.convert(encoded, bytes)
            except msgspec.ValidationError as e:
                raise KubeconfigError(f"{key}-data is not base64") from e
        if path := self.value.get(key):
            return self.file(str(path)).read_bytes()
        return None

    def file(self, path: str) -> Path:
        return self.directory / Path(path).expanduser()


class Context(msgspec.Struct, frozen=True):
    """One context with all that it refers to."""

    name: str
    namespace: str
    cluster: Entry
    user: Entry


def paths(kubeconfig: str, environ: Mapping[str, str]) -> list[Path]:
    """The files that are meant: those named, or $KUBECONFIG, or ~/.kube/config. Missing ones are left out."""
    named = kubeconfig or environ.get("KUBECONFIG") or str(Path("~/.kube/config"))
    candidates = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    found = [path for path in candidates if path.exists()]
    if not found:
        raise KubeconfigError(f"no kubeconfig file at {', '.join(map(str, candidates))}")
    return found


def load(files: Sequence[Path], context: str = "") -> Context:
    """The context of that name, or the current one. The first file that defines a name or a value wins."""
    sections: dict[str, dict[str, Entry]] = {"clusters": {}, "contexts": {}, "users": {}}
    current = ""
    for file in files:
        try:
            document = yaml.safe_load(file.read_text()) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
            raise KubeconfigError(f"{file}: {e}") from e
        if not isinstance(document, dict):
            raise KubeconfigError(f"{file} is not a kubeconfig")
        current = current or str(document.get("current-context") or "")
        for section, entries in sections.items():
            for name, value in _named(file, document, section):
                entries.setdefault(name, Entry(value, file.resolve().parent))
    where = ", ".join(map(str, files))
    wanted = context or current
    if not wanted:
        raise KubeconfigError(f"no context is named and there is no current-context in {where}")
    chosen = _lookup(sections["contexts"], "context", wanted, where).value
    user = chosen.get("user")
    return Context(
        name=wanted,
        namespace=str(chosen.get("namespace") or "default"),
        cluster=_lookup(sections["clusters"], "cluster", str(chosen.get("cluster") or ""), where),
        user=_lookup(sections["users"], "user", str(user), where) if user else Entry({}, Path()),
    )


def _named(file: Path, document: dict[str, Any], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in document.get(section) or ():
        value = entry.get(section[:-1]) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or "name" not in entry or not isinstance(value or {}, dict):
            raise KubeconfigError(
                f"{file}: {section} holds something that is not a {section[:-1]} with a name"
            )
        yield str(entry["name"]), value or {}


def _lookup(entries: dict[str, Entry], what: str, name: str, where: str) -> Entry:
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise KubeconfigError(f"no {what} {name!r} in {where} (there are: {known})")
    return entries[name]
