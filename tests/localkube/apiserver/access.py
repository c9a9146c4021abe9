"""Roles, bindings and service accounts for tests over HTTP."""

from typing import Any

from tests.localkube.conftest import Answer, Localkube

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"

Rule = dict[str, Any]


def rule(verbs: str, resources: str, group: str = "", *names: str) -> Rule:
    found: Rule = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return {**found, "resourceNames": list(names)} if names else found


def user(name: str) -> dict[str, str]:
    return {"kind": "User", "name": name, "apiGroup": GROUP}


def group(name: str) -> dict[str, str]:
    return {"kind": "Group", "name": name, "apiGroup": GROUP}


def account(name: str, namespace: str = "") -> dict[str, str]:
    found = {"kind": "ServiceAccount", "name": name}
    return {**found, "namespace": namespace} if namespace else found


def role_of(name: str, *rules: Rule) -> dict[str, Any]:
    return {"metadata": {"name": name}, "rules": list(rules)}


def binding_of(name: str, role: str, *subjects: dict[str, str], kind: str = "Role") -> dict[str, Any]:
    reference = {"apiGroup": GROUP, "kind": kind, "name": role}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": list(subjects)}


class Cluster:
    """A localkube, seen by its admin; `name` is a namespace of the test's own."""

    def __init__(self, api: Localkube, name: str) -> None:
        self.api = api
        self.name = name

    def post(self, path: str, body: Any, **options: Any) -> Any:
        answer = self.api.call("POST", path, body, **options)
        assert answer.code == 201, answer.content
        return answer.body

    def role(self, name: str, *rules: Rule, namespace: str = "") -> None:
        self.post(f"{RBAC}/namespaces/{namespace or self.name}/roles", role_of(name, *rules))

    def bind(
        self, name: str, role: str, *subjects: dict[str, str], kind: str = "Role", namespace: str = ""
    ) -> None:
        path = f"{RBAC}/namespaces/{namespace or self.name}/rolebindings"
        self.post(path, binding_of(name, role, *subjects, kind=kind))

    def grant(self, name: str, *rules: Rule, to: dict[str, str]) -> None:
        """A role and its binding in the namespace."""
        self.role(name, *rules)
        self.bind(name, name, to)

    def grant_everywhere(self, name: str, *rules: Rule, to: dict[str, str]) -> None:
        """A cluster role and its binding; their names are this test's own."""
        name = f"{self.name}-{name}"
        self.post(f"{RBAC}/clusterroles", role_of(name, *rules))
        self.post(f"{RBAC}/clusterrolebindings", binding_of(name, name, to, kind="ClusterRole"))

    def account(self, name: str) -> str:
        """A service account; its user name."""
        self.post(f"/api/v1/namespaces/{self.name}/serviceaccounts", {"metadata": {"name": name}})
        return f"system:serviceaccount:{self.name}:{name}"

    def token(self, name: str, **spec: Any) -> str:
        """A token of a service account."""
        path = f"/api/v1/namespaces/{self.name}/serviceaccounts/{name}/token"
        return str(self.post(path, {"spec": spec})["status"]["token"])

    def as_user(
        self, who: str, method: str, path: str, body: Any = None, groups: str = "", **options: Any
    ) -> Answer:
        """A request of somebody else, whom the admin impersonates; `{}` in the path is the namespace."""
        headers = {"Impersonate-User": who, **({"Impersonate-Group": groups} if groups else {})}
        return self.api.call(method, path.format(self.name), body, headers=headers, **options)


def refused(answer: Answer) -> str:
    """The message of a 403."""
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden"), answer.content
    return str(answer.body["message"])
