"""Whether new objects may come where they want to be (admission plugin NamespaceLifecycle, and its like)."""

from localkube.apiserver import status
from localkube.apiserver.resources import Resource
from localkube.apiserver.store import Store


def admit(store: Store, resource: Resource, namespace: str, name: str) -> None:
    """Refuse a new object in a namespace, or of a kind, that is missing or on its way out."""
    if resource.namespaced:
        _admit_namespace(store, resource, namespace, name)
    if resource.custom is not None and resource.custom.terminating:
        details = {"group": resource.group, "kind": resource.plural}
        message = "create not allowed while custom resource definition is terminating"
        raise status.error(405, "MethodNotAllowed", message, details)


def _admit_namespace(store: Store, resource: Resource, namespace: str, name: str) -> None:
    found = store.get("namespaces", "", namespace)
    if found is None:
        raise status.not_found("namespaces", namespace)
    if found.object["metadata"].get("deletionTimestamp") is not None:
        raise status.forbidden(
            resource.key,
            name,
            f"unable to create new content in namespace {namespace} because it is being terminated",
            [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ],
        )
