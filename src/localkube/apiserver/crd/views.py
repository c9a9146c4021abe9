"""Stored versions as a resource shows them: a custom object can be seen in several API versions."""

from localkube.apiserver.resources import Resource
from localkube.apiserver.store import Version


def seen(resource: Resource, version: Version) -> Version:
    """A stored version as `resource` shows it: in its API version, with what its schema says now."""
    custom = resource.custom
    if custom is None:
        return version
    if version.view is None or version.view[0] is not custom:
        obj = custom.view(version.object)
        shown = version if obj is version.object else Version(version.key, obj, version.revision)
        version.view = (custom, shown)
    return version.view[1]
