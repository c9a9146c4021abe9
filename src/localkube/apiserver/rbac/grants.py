"""Who has which rules: the bindings of the store by their subjects, and the roles that they name.

The index follows the store from within its writes, so it is never behind, and a change costs as much as the
one binding that changed, however many there are. Roles are read from the store when they are needed.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from localkube.apiserver import status
from localkube.apiserver.rbac.rules import Rule
from localkube.apiserver.requests import User
from localkube.apiserver.scalars import go_quote
from localkube.apiserver.status import StatusError
from localkube.apiserver.store import Change, Store

GROUP = "rbac.authorization.k8s.io"
ROLES = f"roles.{GROUP}"
ROLE_BINDINGS = f"rolebindings.{GROUP}"
CLUSTER_ROLES = f"clusterroles.{GROUP}"
CLUSTER_ROLE_BINDINGS = f"clusterrolebindings.{GROUP}"

Object = dict[str, Any]
_Subject = tuple[str, str]
"""(`User` or `Group`, name); a service account is the user that it acts as."""
_Index = dict[_Subject, dict[str, Object]]


class Grant(NamedTuple):
    """A binding that applies to a user through `subject`: the rules that it gives, or why it gives none."""

    binding: Object
    subject: Object
    rules: Sequence[Rule]
    error: StatusError | None = None

    def __str__(self) -> str:
        """As reviews tell the reason of what is allowed."""
        metadata, role = self.binding["metadata"], self.binding["roleRef"]
        namespace = metadata.get("namespace", "")
        name = f"{metadata['name']}/{namespace}" if namespace else metadata["name"]
        subject = self.subject["name"]
        if self.subject["kind"] == "ServiceAccount":
            subject = f"{subject}/{self.subject.get('namespace') or namespace}"
        return (
            f"{self.binding['kind']} {go_quote(name)} of {role['kind']} {go_quote(role['name'])} "
            f"to {self.subject['kind']} {go_quote(subject)}"
        )


def service_account_user(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


class Grants:
    """The bindings of a store. `generation` is another one after every change of what anybody may do."""

    def __init__(self, store: Store) -> None:
        self.generation = 0
        self._store = store
        self._cluster: _Index = {}
        self._namespaces: dict[str, _Index] = {}
        for key in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            for version in store.list(key):
                self._put(version.object)
            store.subscribe(key, None, self._follow)
        for key in (CLUSTER_ROLES, ROLES):
            store.subscribe(key, None, self._count)

    def of(self, user: User, namespace: str) -> Iterator[Grant]:
        """What applies to a user in a namespace: cluster-wide bindings first, each kind by name."""
        yield from self._applying(self._cluster, user)
        if namespace and (index := self._namespaces.get(namespace)) is not None:
            yield from self._applying(index, user)

    def rules_of(self, user: User, namespace: str) -> tuple[list[Rule], list[StatusError]]:
        """All rules of a user in a namespace, and the roles that could not be found."""
        rules: list[Rule] = []
        errors: list[StatusError] = []
        for grant in self.of(user, namespace):
            rules += grant.rules
            if grant.error is not None:
                errors.append(grant.error)
        return rules, errors

    def role(self, reference: Object, namespace: str) -> Object | None:
        """The role that a roleRef in a namespace names."""
        if reference["kind"] == "Role":
            found = self._store.get(ROLES, namespace, reference["name"])
        else:
            found = self._store.get(CLUSTER_ROLES, "", reference["name"])
        return found.object if found is not None else None

    def _applying(self, index: _Index, user: User) -> Iterator[Grant]:
        found: dict[str, tuple[Object, _Subject]] = {}
        for key in (("User", user.name), *(("Group", group) for group in user.groups)):
            for name, binding in (index.get(key) or {}).items():
                found.setdefault(name, (binding, key))
        for name in sorted(found):
            binding, key = found[name]
            reference, namespace = binding["roleRef"], binding["metadata"].get("namespace", "")
            role = self.role(reference, namespace)
            if role is None:
                key_of_kind = f"{reference['kind'].lower()}.{GROUP}"
                error = status.not_found(key_of_kind, reference["name"])
                yield Grant(binding, _subject(binding, key), (), error)
            else:
                yield Grant(binding, _subject(binding, key), role.get("rules") or ())

    def _count(self, change: Change) -> None:
        self.generation += 1

    def _follow(self, change: Change) -> None:
        self.generation += 1
        if change.previous is not None:
            self._drop(change.previous.object)
        if change.type != "DELETED":
            self._put(change.version.object)

    def _index_of(self, binding: Object) -> _Index:
        namespace = binding["metadata"].get("namespace", "")
        return self._namespaces.setdefault(namespace, {}) if namespace else self._cluster

    def _put(self, binding: Object) -> None:
        index = self._index_of(binding)
        for key, _ in _subjects(binding):
            index.setdefault(key, {})[binding["metadata"]["name"]] = binding

    def _drop(self, binding: Object) -> None:
        index = self._index_of(binding)
        for key, _ in _subjects(binding):
            if (bindings := index.get(key)) is not None:
                bindings.pop(binding["metadata"]["name"], None)
                if not bindings:
                    del index[key]
        if not index:
            self._namespaces.pop(binding["metadata"].get("namespace", ""), None)


def _subjects(binding: Object) -> Iterable[tuple[_Subject, Object]]:
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind in ("User", "Group"):
            yield (kind, name), subject
        elif kind == "ServiceAccount":
            # in a RoleBinding, a namespace that is not named is the binding's own
            namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
            if namespace:
                yield ("User", service_account_user(namespace, name)), subject


def _subject(binding: Object, wanted: _Subject) -> Object:
    return next(subject for key, subject in _subjects(binding) if key == wanted)
