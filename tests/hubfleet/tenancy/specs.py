"""Whole Job and CronJob bodies for fuzzing: what real clients send, and over it strokes of what people try.

A stroke writes one value in one place. Most places have values that are harmless and values that are not, so
that a good part of the bodies is accepted: a policy that refuses everything would pass no test here.
"""

import copy
import json
import re
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st
from kubernetes.client import models

BODIES = Path(__file__).parents[1] / "batch" / "bodies"
NAMES = ("job-0.4.2", "job-0.5", "cronjob-0.4.2", "cronjob-0.5", "job-profile-0.5")

HANDLERS = [
    {"httpGet": {"port": 80, "path": "/"}},
    {"httpGet": {"port": 80, "host": "169.254.169.254"}},
    {"httpGet": {"port": 80, "host": ""}},
    {"tcpSocket": {"port": 80, "host": "10.0.0.1"}},
    {"tcpSocket": {"port": 80}},
    {"exec": {"command": ["true"]}},
]
CONTEXT: dict[str, list[Any]] = {  # of pods and of containers
    "runAsUser": [0, 1, 1000, 65534],
    "runAsGroup": [0, 100],
    "runAsNonRoot": [True, False],
    "seccompProfile": [
        {"type": "RuntimeDefault"},
        {"type": "Localhost", "localhostProfile": "a.json"},
        {"type": "Unconfined"},
        {},
    ],
    "appArmorProfile": [{"type": "RuntimeDefault"}, {"type": "Unconfined"}, {}],
    "seLinuxOptions": [
        {"level": "s0:c1,c2"},
        {"type": "container_t"},
        {"type": "spc_t"},
        {"user": "root"},
        {"role": "sysadm_r", "type": "container_t"},
    ],
    "windowsOptions": [{"hostProcess": True}, {"hostProcess": False}, {"gmsaCredentialSpecName": "x"}],
}
SECURITY_CONTEXT = CONTEXT | {
    "privileged": [True, False],
    "allowPrivilegeEscalation": [True, False],
    "procMount": ["Default", "Unmasked"],
    "readOnlyRootFilesystem": [True],
    "capabilities": [
        {"add": ["SYS_ADMIN"]},
        {"add": ["NET_BIND_SERVICE"]},
        {"add": ["CHOWN", "KILL"]},
        {"add": ["ALL"]},
        {"add": ["net_raw"]},
        {"drop": ["ALL"]},
        {"drop": ["NET_RAW"], "add": ["SETUID"]},
    ],
}
POD_CONTEXT = CONTEXT | {
    "fsGroup": [0, 1000],
    "supplementalGroups": [[0], [1000]],
    "supplementalGroupsPolicy": ["Merge"],
    "sysctls": [
        [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
        [{"name": "net.ipv4.tcp_rmem", "value": "1 2 3"}],
        [{"name": "kernel.msgmax", "value": "1"}],
        [
            {"name": "net.ipv4.ip_local_port_range", "value": "1 2"},
            {"name": "net.core.somaxconn", "value": "1"},
        ],
    ],
}
VOLUMES: list[dict[str, Any]] = [
    {"emptyDir": {}},
    {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    {"emptyDir": {"medium": "HugePages-2Mi"}},
    {},
    {"secret": {"secretName": "a"}},
    {"configMap": {"name": "a", "items": [{"key": "a", "path": "b"}]}},
    {"persistentVolumeClaim": {"claimName": "home"}},
    {"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    {"projected": {"sources": [{"secret": {"name": "a"}}, {"configMap": {"name": "a"}}]}},
    {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    {
        "projected": {
            "sources": [{"secret": {"name": "a"}}, {"serviceAccountToken": {"path": "t", "audience": "x"}}]
        }
    },
    {"projected": {"sources": [{"podCertificate": {"signerName": "a/b", "keyType": "RSA3072"}}]}},
    {"projected": {"sources": [{"clusterTrustBundle": {"name": "a", "path": "b"}}]}},
    {"hostPath": {"path": "/"}},
    {"hostPath": {}},
    {"emptyDir": {}, "hostPath": {"path": "/var/run"}},
    {"nfs": {"server": "10.0.0.1", "path": "/"}},
    {"iscsi": {"targetPortal": "10.0.0.1", "iqn": "a", "lun": 0}},
    {"csi": {"driver": "a.example.org"}},
    {"cephfs": {"monitors": ["10.0.0.1"]}},
    {"glusterfs": {"endpoints": "a", "path": "b"}},
    {"flexVolume": {"driver": "a/b"}},
    {"gitRepo": {"repository": "https://a"}},
    {"image": {"reference": "a"}},
    {"azureFile": {"shareName": "a", "secretName": "b"}},
    {"ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}},
    {"ephemeral": {"volumeClaimTemplate": {"spec": {"volumeName": "pv-1"}}}},
    {
        "ephemeral": {
            "volumeClaimTemplate": {"spec": {"dataSourceRef": {"kind": "A", "name": "b", "namespace": "c"}}}
        }
    },
    {"ephemeral": {"volumeClaimTemplate": {"metadata": {"finalizers": ["a/b"]}, "spec": {}}}},
]
POD: dict[str, list[Any]] = {
    "hostNetwork": [True, False],
    "hostPID": [True, False],
    "hostIPC": [True],
    "hostUsers": [True, False, False],
    "nodeName": ["node-1", ""],
    "nodeSelector": [{"pool": "gpu"}, {}, {"kubernetes.io/hostname": "node-1"}],
    "serviceAccountName": ["default", "admin", ""],
    "serviceAccount": ["default", "admin"],
    "automountServiceAccountToken": [True, False],
    "priorityClassName": ["system-node-critical", ""],
    "priority": [0, 2_000_000_000],
    "preemptionPolicy": ["PreemptLowerPriority"],
    "schedulerName": ["default-scheduler", "mine"],
    "runtimeClassName": ["runc", ""],
    "tolerations": [
        [],
        [{"operator": "Exists"}],
        [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
    ],
    "affinity": [
        {},
        {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]}},
        {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "a", "namespaceSelector": {}}
                ]
            }
        },
        {
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "podAffinityTerm": {"topologyKey": "a", "namespaces": ["kube-system"]}}
                ]
            }
        },
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
                    ]
                }
            }
        },
    ],
    "topologySpreadConstraints": [[{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]],
    "hostAliases": [[{"ip": "10.0.0.1", "hostnames": ["hub"]}], []],
    "dnsConfig": [{"nameservers": ["10.0.0.1"]}],
    "dnsPolicy": ["ClusterFirst", "Default", "None"],
    "hostname": ["a"],
    "subdomain": ["a"],
    "hostnameOverride": ["a"],
    "setHostnameAsFQDN": [True, False],
    "shareProcessNamespace": [True, False],
    "overhead": [{"cpu": "1"}],
    "readinessGates": [[{"conditionType": "a"}]],
    "resourceClaims": [[{"name": "a", "resourceClaimName": "b"}]],
    "schedulingGates": [[{"name": "a/b"}]],
    "schedulingGroup": [{"podGroupName": "a"}],
    "terminationGracePeriodSeconds": [0, 30, 10**6],
    "activeDeadlineSeconds": [60],
    "os": [{"name": "linux"}, {"name": "windows"}],
    "ephemeralContainers": [
        [{"name": "e", "image": "a", "securityContext": {"privileged": True}}],
        [{"name": "e", "image": "a"}],
        [],
    ],
    "evictionResponders": [[{"name": "a/b"}]],
    "imagePullSecrets": [[{"name": "a"}]],
    "enableServiceLinks": [False],
}
CONTAINER: dict[str, list[Any]] = {
    "ports": [
        [{"containerPort": 80}],
        [{"containerPort": 80, "hostPort": 80}],
        [{"containerPort": 80, "hostIP": "0.0.0.0"}],
    ],
    "livenessProbe": HANDLERS,
    "readinessProbe": HANDLERS,
    "startupProbe": HANDLERS,
    "lifecycle": [{key: handler} for key in ("postStart", "preStop") for handler in HANDLERS],
    "volumeDevices": [[{"name": "a", "devicePath": "/dev/a"}]],
    "volumeMounts": [
        [{"name": "a", "mountPath": "/a"}],
        [{"name": "a", "mountPath": "/a", "mountPropagation": "Bidirectional"}],
        [{"name": "operators", "mountPath": "/a"}],
    ],
    "resources": [{"limits": {"cpu": "1"}}, {"claims": [{"name": "a"}]}],
    "env": [[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]],
    "envFrom": [[{"secretRef": {"name": "a"}}]],
    "restartPolicy": ["Always"],
    "stdin": [True],
}
JOB: dict[str, list[Any]] = {
    "parallelism": [1, 100, 101, 10**6],
    "completions": [1, 10**9],
    "backoffLimit": [0, 6, 10**6],
    "activeDeadlineSeconds": [60],
    "managedBy": ["kubernetes.io/job-controller", "a/b"],
    "manualSelector": [True, False],
    "selector": [{"matchLabels": {"a": "b"}}],
    "suspend": [True],
    "podReplacementPolicy": ["Failed"],
    "podFailurePolicy": [
        {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]}
    ],
}
METADATA: dict[str, list[Any]] = {
    "labels": [
        {"mine": "a"},
        {"app.kubernetes.io/name": "a"},
        {"hubfleet.dev/user": "eve"},
        {"kueue.x-k8s.io/queue-name": "a"},
        {"job-name": "other"},
        {"aadpodidbinding": "admin"},
    ],
    "annotations": [
        {"mine": "a"},
        {"container.apparmor.security.beta.kubernetes.io/job": "unconfined"},
        {"iam.amazonaws.com/role": "admin"},
        {"kubectl.kubernetes.io/default-container": "job"},
        {"io.kubernetes.cri-o.Devices": "/dev/fuse"},
    ],
    "finalizers": [["a/b"], []],
    "ownerReferences": [[{"apiVersion": "v1", "kind": "Secret", "name": "a", "uid": "b"}]],
    "namespace": ["kube-system", "mine"],
}
WHERE: dict[str, dict[str, list[Any]]] = {
    "pod": POD,
    "pod context": POD_CONTEXT,
    "container": CONTAINER,
    "context": SECURITY_CONTEXT,
    "init container": CONTAINER,
    "init context": SECURITY_CONTEXT,
    "job": JOB,
    "metadata": METADATA,
    "template metadata": METADATA,
}

Stroke = tuple[str, str, Any]


STROKES: list[Stroke] = [
    *(("volume", "volumes", volume) for volume in VOLUMES),
    *((where, key, value) for where in WHERE for key in WHERE[where] for value in WHERE[where][key]),
]
"""All of them alike, so that 2,000 bodies hold each one some ten times."""


def arbitrary(kind: str, random: Random, depth: int) -> Any:
    """Any value of a type of the official client's tables."""
    if match := re.fullmatch(r"List\[(\w+)\]", kind):
        return [arbitrary(match[1], random, depth) for _ in range(random.randint(0, 2))]
    if kind.startswith("Dict["):
        return {random.choice(["a", "b/c", "kubernetes.io/hostname"]): random.choice(["1", "x"])}
    if kind in ("str", "datetime", "bytes", "object"):
        return random.choice(["", "a", "default", "Always", "Localhost", "0"])
    if kind == "int":
        return random.choice([0, 1, 80, 1000])
    if kind == "bool":
        return random.random() < 0.5
    types = getattr(models, kind).openapi_types
    keys = random.sample(sorted(types), min(len(types), random.randint(1, 3))) if depth > 0 else []
    return {key: arbitrary(types[key], random, depth - 1) for key in keys}


def places(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What strokes are written on. An init container is there only once something is written on it."""
    job = body["job"]
    inner = job["spec"].get("job_template", job)
    template = inner["spec"]["template"]
    pod = template["spec"]
    container = pod["containers"][0]
    init = (pod["init_containers"] or [{}])[0]
    return {
        "pod": pod,
        "pod context": pod.get("securityContext") or {},
        "container": container,
        "context": container.get("securityContext") or {},
        "init container": init,
        "init context": init.get("securityContext") or {},
        "job": inner["spec"],
        "metadata": job["metadata"],
        "template metadata": template["metadata"],
    }


def painted(name: str, drawn: list[Stroke], seed: int) -> dict[str, Any]:
    """A body of a real client with the strokes on it; where `seed` is not 0, arbitrary fields as well."""
    body: dict[str, Any] = copy.deepcopy(ORIGINALS[name])
    at = places(body)
    pod = at["pod"]
    for where, key, value in drawn:
        value = copy.deepcopy(value)
        if where == "volume":
            pod.setdefault("volumes", None)
            pod["volumes"] = [*(pod["volumes"] or []), {"name": f"v{len(pod['volumes'] or [])}", **value}]
            continue
        at[where][key] = value
        if where.startswith("init"):
            at["init container"].update(name="init", image="busybox")
            pod["init_containers"] = [at["init container"]]
        if where == "pod context":
            pod["securityContext"] = at[where]
        elif where == "context":
            at["container"]["securityContext"] = at[where]
        elif where == "init context":
            at["init container"]["securityContext"] = at[where]
    if seed:
        random = Random(seed)
        where, model = random.choice(
            [
                ("pod", "V1PodSpec"),
                ("container", "V1Container"),
                ("job", "V1JobSpec"),
                ("metadata", "V1ObjectMeta"),
            ]
        )
        types = getattr(models, model).openapi_types
        key = random.choice(sorted(types.keys() - {"template", "containers", "name", "generate_name"}))
        at[where][key] = arbitrary(types[key], random, 6)
    return body


ORIGINALS = {name: json.loads((BODIES / f"{name}.json").read_text()) for name in NAMES}

bodies = st.builds(
    painted,
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(STROKES), max_size=3),
    st.sampled_from([0, 0, 0]) | st.integers(1, 2**32),
)
