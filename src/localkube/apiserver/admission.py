"""The admission plugins that change a pod before it is stored: ServiceAccount, Priority, tolerations.

They depend on other objects, which the caller finds (`lookup`); everything else here is pure.
"""

import secrets
from collections.abc import Callable
from typing import Any

from localkube.apiserver import priority
from localkube.apiserver.status import StatusError, forbidden

Object = dict[str, Any]
# (resource key, namespace, name) -> the object, or None.
Lookup = Callable[[str, str, str], Object | None]

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
# An hour and seven seconds: what the plugin asks for, so that one can tell its tokens from others.
TOKEN_SECONDS = 3607
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_TOLERATED_FOR_SECONDS = 300
_TOLERATED_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit_pod(pod: Object, lookup: Lookup) -> None:
    """Change a new pod in place as the plugins do. Raises 403 in their words."""
    _service_account(pod, lookup)
    _priority(pod, lookup)
    tolerate_unready(pod["spec"])


def _refuse(pod: Object, detail: str) -> StatusError:
    """A name that is still to be generated is told without what is generated: these plugins come first."""
    name, base = pod["metadata"].get("name", ""), pod["metadata"].get("generateName", "")
    return forbidden("pods", base if base and name.startswith(base) else name, detail)


def _priority(pod: Object, lookup: Lookup) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName", "")
    value, preemption = 0, "PreemptLowerPriority"
    if name:
        found = lookup(priority.CLASSES, "", name)
        if found is None:
            raise _refuse(pod, f"no PriorityClass with name {name} was found")
        value = found.get("value", 0)
        preemption = found.get("preemptionPolicy", preemption)
    given = spec.get("priority")
    if given is not None and given != value:
        raise _refuse(
            pod,
            f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
            f"controller computed {value} from the given PriorityClass name",
        )
    if spec.get("preemptionPolicy") not in (None, preemption):
        raise _refuse(
            pod,
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod "
            f"spec; priority admission controller computed {preemption} from the given PriorityClass name",
        )
    spec["priority"] = value
    spec["preemptionPolicy"] = preemption


def _service_account(pod: Object, lookup: Lookup) -> None:
    spec = pod["spec"]
    namespace = pod["metadata"]["namespace"]
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = lookup("serviceaccounts", namespace, name)
    if account is None:
        raise _refuse(
            pod, f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        )
    automount = spec.get("automountServiceAccountToken")
    if automount is None:
        automount = account.get("automountServiceAccountToken", True)
    if automount:
        _mount_token(spec)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(reference) for reference in account["imagePullSecrets"]]


def _mount_token(spec: Object) -> None:
    """Mount a token into every container that has nothing at the token's path yet."""
    volume = ""
    for existing in spec.get("volumes") or ():
        if existing.get("name", "").startswith("kube-api-access-"):
            volume = existing["name"]
    name = volume or "kube-api-access-" + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    mounted = False
    for containers in ("initContainers", "containers"):
        for container in spec.get(containers) or ():
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == TOKEN_PATH for mount in mounts):
                continue
            mount = {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}
            container["volumeMounts"] = [*mounts, mount]
            mounted = True
    if mounted and not volume:
        spec.setdefault("volumes", []).append({"name": name, "projected": token_volume()})


def token_volume() -> Object:
    """The projected volume behind the token's path, as the recorded server makes it.

    That server also projects `openshift-service-ca.crt`, which need not exist for the pod to start.
    """
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "namespace",
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        }
                    ]
                }
            },
            {
                "configMap": {
                    "name": "openshift-service-ca.crt",
                    "items": [{"key": "service-ca.crt", "path": "service-ca.crt"}],
                }
            },
        ],
        "defaultMode": 0o644,
    }


def tolerate_unready(spec: Object) -> None:
    """A pod outlives its node's silence for five minutes, unless it says otherwise."""
    tolerations = spec.get("tolerations") or []
    added = []
    for taint in _TOLERATED_TAINTS:
        if not any(_tolerates(toleration, taint) for toleration in tolerations):
            added.append(
                {
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _TOLERATED_FOR_SECONDS,
                }
            )
    if added:
        spec["tolerations"] = [*tolerations, *added]


def _tolerates(toleration: Object, taint: str) -> bool:
    effect, key = toleration.get("effect", ""), toleration.get("key", "")
    return effect in ("", "NoExecute") and key in ("", taint)
