"""The escapes: what a hostile user writes into a Job or CronJob, and which wall stands behind our policy.

Each is refused by the policy (`where` is the place that the answer names). `backstop` is what holds where the
policy is switched off, as Kubernetes' defaults and what hubfleet puts into the namespace make it:

- `pod-security`: the API server's PodSecurity admission, by the label `enforce: baseline` of the namespace;
- `restricted`: the same, where the operator has chosen that level; at `baseline` only our policy holds;
- `quota`: the ResourceQuotas `hubfleet-priority` and `hubfleet-affinity`;
- `rbac`: the user's account may not;
- `validation`, `admission`: the API server takes no such object, whoever sends it;
- `namespace`: Kubernetes lets it be, and it reaches nothing outside the user's own namespace;
- `none`: only our policy holds.

An API server that refuses more (a newer one, one with admission plugins of its own) is none the worse.
"""

from copy import deepcopy
from typing import Any, Literal

import msgspec

Backstop = Literal[
    "pod-security", "restricted", "quota", "rbac", "validation", "admission", "namespace", "none"
]

VICTIM_NAMESPACE = "VICTIM-NAMESPACE"
VICTIM_USER = "VICTIM-USER"
VICTIM_UID = "VICTIM-UID"  # of their Job `precious`
OWN_UID = "OWN-UID"  # of a Job `mine` of the attacker


class Attack(msgspec.Struct, frozen=True):
    """One escape. `obj` is a Job or CronJob without a name, with the words above for what tests fill in."""

    id: str
    backstop: Backstop
    where: str  # a part of the path that the answer names
    obj: dict[str, Any]

    def manifest(self, name: str, words: dict[str, str]) -> dict[str, Any]:
        text = msgspec.json.encode(self.obj).decode()
        for word, value in words.items():
            text = text.replace(word, value)
        obj: dict[str, Any] = msgspec.json.decode(text)
        obj["metadata"]["name"] = name
        return obj


def _base() -> dict[str, Any]:
    container = {"name": "main", "image": "python:3.13", "command": ["true"]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {},
        "spec": {"suspend": True, "template": {"metadata": {}, "spec": pod}},
    }


def _attack(
    id: str,
    backstop: Backstop,
    where: str,
    *,
    cron: bool = False,
    job: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    pod_metadata: dict[str, Any] | None = None,
    job_metadata: dict[str, Any] | None = None,
    pod: dict[str, Any] | None = None,
    container: dict[str, Any] | None = None,
    init: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    volume: dict[str, Any] | None = None,
    mount: dict[str, Any] | None = None,
) -> Attack:
    """What is named is laid over a harmless Job; `init` and `second` are further containers."""
    obj = _base()
    template = obj["spec"]["template"]
    main = template["spec"]["containers"][0]
    obj["metadata"] |= metadata or {}
    obj["spec"] |= job or {}
    template["metadata"] |= pod_metadata or {}
    main |= container or {}
    other = {"name": "other", "image": "python:3.13"}
    if init is not None:
        template["spec"]["initContainers"] = [other | init]
    if second is not None:
        template["spec"]["containers"].append(other | second)
    if volume is not None:
        template["spec"]["volumes"] = [{"name": "v"} | volume]
        main["volumeMounts"] = [{"name": "v", "mountPath": "/v"} | (mount or {})]
    template["spec"] |= pod or {}
    if cron:
        inner = {"metadata": job_metadata or {}, "spec": deepcopy(obj["spec"])}
        spec = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": inner}
        obj |= {"kind": "CronJob", "spec": spec}
    return Attack(id, backstop, where, obj)


def _security(**context: Any) -> dict[str, Any]:
    return {"securityContext": context}


def _labels(key: str, value: str) -> dict[str, Any]:
    return {"labels": {key: value}}


def _annotations(key: str, value: str) -> dict[str, Any]:
    return {"annotations": {key: value}}


def _host_path(path: str, kind: str = "") -> dict[str, Any]:
    return {"hostPath": {"path": path, "type": kind}}


_OWNER = {"apiVersion": "batch/v1", "kind": "Job", "name": "precious", "uid": VICTIM_UID}
_TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
_METADATA_SERVICE = {"path": "/latest/meta-data/", "port": 80, "host": "169.254.169.254"}
_EVERYWHERE = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}
_CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}

NODE = (
    _attack("hostpath-root", "pod-security", "host_path", volume=_host_path("/")),
    _attack(
        "hostpath-docker-socket",
        "pod-security",
        "host_path",
        volume=_host_path("/var/run/docker.sock", "Socket"),
    ),
    _attack("hostpath-kubelet-pods", "pod-security", "host_path", volume=_host_path("/var/lib/kubelet/pods")),
    _attack(
        "hostpath-that-nobody-mounts",
        "pod-security",
        "host_path",
        pod={"volumes": [{"name": "v", **_host_path("/etc")}]},
    ),
    _attack(
        "hostpath-among-others",
        "pod-security",
        "volumes",
        pod={"volumes": [{"name": "a", "emptyDir": {}}, {"name": "v", **_host_path("/")}]},
    ),
    _attack(
        "hostpath-read-only", "pod-security", "host_path", volume=_host_path("/etc"), mount={"readOnly": True}
    ),
    _attack("host-network", "pod-security", "host_network", pod={"hostNetwork": True}),
    _attack("host-pid", "pod-security", "host_pid", pod={"hostPID": True}),
    _attack("host-ipc", "pod-security", "host_ipc", pod={"hostIPC": True}),
    _attack(
        "host-port",
        "pod-security",
        "host_port",
        container={"ports": [{"containerPort": 1, "hostPort": 10250}]},
    ),
    _attack(
        "host-port-of-an-init-container",
        "pod-security",
        "host_port",
        init={"ports": [{"containerPort": 1, "hostPort": 443}]},
    ),
    _attack(
        "host-ip",
        "none",
        "host_ip",
        container={"ports": [{"containerPort": 1, "hostIP": "127.0.0.1"}]},
    ),
    _attack("node-name", "namespace", "node_name", pod={"nodeName": "control-plane"}),
    _attack(
        "node-selector-of-the-control-plane",
        "namespace",
        "node_selector",
        pod={"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}},
    ),
    _attack(
        "node-affinity-of-the-control-plane",
        "namespace",
        "node_affinity",
        pod={
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}
                                ]
                            }
                        ]
                    }
                }
            }
        },
    ),
    _attack(
        "toleration-of-everything", "namespace", "tolerations", pod={"tolerations": [{"operator": "Exists"}]}
    ),
    _attack(
        "toleration-of-the-control-plane",
        "namespace",
        "tolerations",
        pod={"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
    ),
    _attack("scheduler-of-ones-own", "namespace", "scheduler_name", pod={"schedulerName": "mine"}),
    _attack("runtime-class", "namespace", "runtime_class_name", pod={"runtimeClassName": "unsandboxed"}),
    _attack(
        "probe-of-the-metadata-service",
        "pod-security",
        "host",
        container={"livenessProbe": {"httpGet": _METADATA_SERVICE}},
    ),
    _attack(
        "hook-to-the-metadata-service",
        "pod-security",
        "host",
        container={"lifecycle": {"postStart": {"httpGet": _METADATA_SERVICE}}},
    ),
)

KERNEL = (
    _attack("privileged", "pod-security", "privileged", container=_security(privileged=True)),
    _attack("privileged-init-container", "pod-security", "privileged", init=_security(privileged=True)),
    _attack(
        "privileged-sidecar",
        "pod-security",
        "privileged",
        init=_security(privileged=True) | {"restartPolicy": "Always"},
    ),
    _attack("privileged-second-container", "pod-security", "privileged", second=_security(privileged=True)),
    _attack(
        "capability-sys-admin",
        "pod-security",
        "capabilities",
        container=_security(capabilities={"add": ["SYS_ADMIN"]}),
    ),
    _attack(
        "capability-all", "pod-security", "capabilities", container=_security(capabilities={"add": ["ALL"]})
    ),
    _attack(
        "capability-net-raw",
        "pod-security",
        "capabilities",
        container=_security(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}),
    ),
    _attack(
        "capability-in-another-spelling",
        "pod-security",
        "capabilities",
        container=_security(capabilities={"add": ["cap_sys_admin"]}),
    ),
    _attack(
        "capability-of-an-init-container",
        "pod-security",
        "capabilities",
        init=_security(capabilities={"add": ["SYS_PTRACE"]}),
    ),
    _attack(
        "seccomp-unconfined",
        "pod-security",
        "seccomp_profile",
        pod=_security(seccompProfile={"type": "Unconfined"}),
    ),
    _attack(
        "seccomp-unconfined-container",
        "pod-security",
        "seccomp_profile",
        container=_security(seccompProfile={"type": "Unconfined"}),
    ),
    _attack(
        "apparmor-unconfined",
        "pod-security",
        "app_armor_profile",
        pod=_security(appArmorProfile={"type": "Unconfined"}),
    ),
    _attack(
        "apparmor-unconfined-by-annotation",
        "pod-security",
        "annotations",
        pod_metadata=_annotations("container.apparmor.security.beta.kubernetes.io/main", "unconfined"),
    ),
    _attack(
        "selinux-type",
        "pod-security",
        "se_linux_options",
        container=_security(seLinuxOptions={"type": "spc_t"}),
    ),
    _attack(
        "selinux-user", "pod-security", "se_linux_options", pod=_security(seLinuxOptions={"user": "system_u"})
    ),
    _attack("proc-mount", "pod-security", "proc_mount", container=_security(procMount="Unmasked")),
    _attack(
        "sysctl",
        "pod-security",
        "sysctls",
        pod=_security(sysctls=[{"name": "kernel.core_pattern", "value": "|/evil"}]),
    ),
    _attack(
        "windows-host-process",
        "pod-security",
        "windows_options",
        pod=_security(windowsOptions={"hostProcess": True, "runAsUserName": "NT AUTHORITY\\SYSTEM"})
        | {"hostNetwork": True, "os": {"name": "windows"}},
    ),
    _attack(
        "mount-propagation-to-the-node",
        "validation",
        "mount_propagation",
        volume={"emptyDir": {}},
        mount={"mountPropagation": "Bidirectional"},
    ),
)

DATA = (
    _attack("nfs", "restricted", "nfs", volume={"nfs": {"server": "10.0.0.1", "path": "/home"}}),
    _attack(
        "iscsi",
        "restricted",
        "iscsi",
        volume={"iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn.2001-04.com.example:a", "lun": 0}},
    ),
    _attack("cephfs", "restricted", "cephfs", volume={"cephfs": {"monitors": ["10.0.0.1"], "path": "/"}}),
    _attack("rbd", "restricted", "rbd", volume={"rbd": {"monitors": ["10.0.0.1"], "image": "homes"}}),
    _attack(
        "glusterfs", "restricted", "glusterfs", volume={"glusterfs": {"endpoints": "a", "path": "homes"}}
    ),
    _attack("git-repo", "restricted", "git_repo", volume={"gitRepo": {"repository": "--upload-pack=evil"}}),
    _attack("flex-volume", "restricted", "flex_volume", volume={"flexVolume": {"driver": "evil/driver"}}),
    _attack(
        "cloud-disk",
        "restricted",
        "aws_elastic_block_store",
        volume={"awsElasticBlockStore": {"volumeID": "vol-of-the-victim"}},
    ),
    _attack(
        "csi-volume-of-any-driver",
        "none",
        "csi",
        volume={"csi": {"driver": "files.example.org", "volumeAttributes": {"path": "/"}}},
    ),
    _attack(
        "claim-of-anothers-volume",
        "namespace",
        "volume_name",
        volume={"ephemeral": {"volumeClaimTemplate": {"spec": _CLAIM | {"volumeName": "pv-of-the-victim"}}}},
    ),
    _attack(
        "claim-from-another-namespace",
        "namespace",
        "data_source_ref",
        volume={
            "ephemeral": {
                "volumeClaimTemplate": {
                    "spec": _CLAIM
                    | {
                        "dataSourceRef": {
                            "kind": "PersistentVolumeClaim",
                            "name": "home",
                            "namespace": VICTIM_NAMESPACE,
                        }
                    }
                }
            }
        },
    ),
    _attack(
        "claim-in-another-namespace",
        "namespace",
        "namespace",
        volume={
            "ephemeral": {
                "volumeClaimTemplate": {"metadata": {"namespace": VICTIM_NAMESPACE}, "spec": _CLAIM}
            }
        },
    ),
    _attack(
        "sub-path-upwards",
        "validation",
        "sub_path",
        volume={"emptyDir": {}},
        mount={"subPath": "../../other"},
    ),
    _attack(
        "block-device",
        "namespace",
        "volume_devices",
        container={"volumeDevices": [{"name": "v", "devicePath": "/dev/sda"}]},
        pod={"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "raw"}}]},
    ),
    _attack(
        "device-by-claim",
        "namespace",
        "resource_claims",
        pod={"resourceClaims": [{"name": "gpu", "resourceClaimName": "of-the-victim"}]},
    ),
)

IDENTITY = (
    _attack("service-account", "namespace", "service_account_name", pod={"serviceAccountName": "builder"}),
    _attack(
        "service-account-by-its-old-name", "namespace", "service_account", pod={"serviceAccount": "builder"}
    ),
    _attack(
        "service-account-that-is-the-users-own",
        "namespace",
        "service_account_name",
        pod={"serviceAccountName": "hubfleet-user"},
    ),
    _attack(
        "service-account-of-another-namespace",
        "validation",
        "service_account_name",
        pod={"serviceAccountName": "kube-system/default"},
    ),
    _attack(
        "service-account-of-a-cron-job",
        "namespace",
        "service_account_name",
        cron=True,
        pod={"serviceAccountName": "builder"},
    ),
    _attack(
        "token-automount",
        "namespace",
        "automount_service_account_token",
        pod={"automountServiceAccountToken": True},
    ),
    _attack(
        "token-projection", "namespace", "service_account_token", volume={"projected": {"sources": [_TOKEN]}}
    ),
    _attack(
        "token-projection-for-others",
        "namespace",
        "service_account_token",
        volume={
            "projected": {
                "sources": [
                    {"configMap": {"name": "kube-root-ca.crt"}},
                    {"serviceAccountToken": {"path": "token", "audience": "vault"}},
                ]
            }
        },
    ),
    _attack(
        "priority-of-a-node",
        "quota",
        "priority_class_name",
        pod={"priorityClassName": "system-node-critical"},
    ),
    _attack(
        "priority-of-the-cluster",
        "quota",
        "priority_class_name",
        pod={"priorityClassName": "system-cluster-critical"},
    ),
    _attack(
        "priority-of-a-cron-job",
        "quota",
        "priority_class_name",
        cron=True,
        pod={"priorityClassName": "system-node-critical"},
    ),
    _attack("priority-as-a-number", "admission", "priority", pod={"priority": 2_000_001_000}),
    _attack(
        "ephemeral-containers",
        "validation",
        "ephemeral_containers",
        pod={"ephemeralContainers": [{"name": "x", "image": "y"}]},
    ),
    _attack("shared-processes", "namespace", "share_process_namespace", pod={"shareProcessNamespace": True}),
    _attack(
        "host-aliases",
        "namespace",
        "host_aliases",
        pod={"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["kubernetes.default.svc"]}]},
    ),
    _attack(
        "name-server",
        "namespace",
        "dns",
        pod={"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}},
    ),
)

OTHERS = (
    _attack("namespace-of-a-job", "validation", "namespace", metadata={"namespace": VICTIM_NAMESPACE}),
    _attack("namespace-of-the-system", "validation", "namespace", metadata={"namespace": "kube-system"}),
    _attack("namespace-of-a-pod", "namespace", "namespace", pod_metadata={"namespace": VICTIM_NAMESPACE}),
    _attack(
        "namespace-of-a-cron-job",
        "validation",
        "namespace",
        cron=True,
        metadata={"namespace": VICTIM_NAMESPACE},
    ),
    _attack(
        "namespace-of-a-cron-jobs-job",
        "namespace",
        "namespace",
        cron=True,
        job_metadata={"namespace": VICTIM_NAMESPACE},
    ),
    _attack(
        "affinity-to-anothers-pods",
        "quota",
        "namespaces",
        pod={
            "affinity": {
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        _EVERYWHERE | {"namespaces": [VICTIM_NAMESPACE]}
                    ]
                }
            }
        },
    ),
    _attack(
        "keeping-everybody-off-a-node",
        "quota",
        "namespace_selector",
        pod={
            "affinity": {
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        _EVERYWHERE | {"namespaceSelector": {}}
                    ]
                }
            }
        },
    ),
    _attack("owner-of-anothers", "namespace", "owner_references", metadata={"ownerReferences": [_OWNER]}),
    _attack(
        "owner-that-is-held-up",
        "namespace",
        "owner_references",
        metadata={"ownerReferences": [_OWNER | {"blockOwnerDeletion": True, "controller": True}]},
    ),
    _attack("owner-of-a-pod", "namespace", "owner_references", pod_metadata={"ownerReferences": [_OWNER]}),
    _attack(
        "owner-of-a-cron-jobs-job",
        "namespace",
        "owner_references",
        cron=True,
        job_metadata={"ownerReferences": [_OWNER]},
    ),
    _attack("finalizer", "namespace", "finalizers", metadata={"finalizers": ["evil.example/pin"]}),
    _attack(
        "finalizer-of-a-pod", "namespace", "finalizers", pod_metadata={"finalizers": ["evil.example/pin"]}
    ),
    _attack(
        "finalizer-of-a-cron-jobs-job",
        "namespace",
        "finalizers",
        cron=True,
        job_metadata={"finalizers": ["foregroundDeletion"]},
    ),
    _attack(
        "selector-of-anothers-pods",
        "namespace",
        "selector",
        job={"manualSelector": True, "selector": {"matchLabels": {"job": "precious"}}},
        pod_metadata=_labels("job", "precious"),
    ),
    _attack("controller-of-jobs", "namespace", "managed_by", job={"managedBy": "evil.example/controller"}),
    _attack("label-user", "namespace", "labels", metadata=_labels("hubfleet.dev/user", VICTIM_USER)),
    _attack(
        "label-user-of-a-pod", "namespace", "labels", pod_metadata=_labels("hubfleet.dev/user", VICTIM_USER)
    ),
    _attack(
        "label-of-kbatch", "namespace", "labels", metadata=_labels("kbatch.jupyter.org/username", VICTIM_USER)
    ),
    _attack("label-hub", "namespace", "labels", metadata=_labels("hubfleet.dev/hub", "another-hub")),
    _attack("label-submission", "namespace", "labels", metadata=_labels("hubfleet.dev/submission", "0")),
    _attack("label-expires", "namespace", "labels", pod_metadata=_labels("hubfleet.dev/expires", "1")),
    _attack(
        "label-of-a-cron-jobs-job",
        "namespace",
        "labels",
        cron=True,
        job_metadata=_labels("hubfleet.dev/user", VICTIM_USER),
    ),
    _attack(
        "label-of-the-queue", "namespace", "labels", metadata=_labels("kueue.x-k8s.io/queue-name", "vip")
    ),
    _attack(
        "label-that-leaves-the-mesh",
        "namespace",
        "labels",
        pod_metadata=_labels("sidecar.istio.io/inject", "false"),
    ),
    _attack(
        "annotation-username",
        "namespace",
        "annotations",
        metadata=_annotations("hubfleet.dev/username", VICTIM_USER),
    ),
    _attack(
        "annotation-of-a-cloud-role",
        "none",
        "annotations",
        pod_metadata=_annotations("iam.amazonaws.com/role", "admin"),
    ),
    _attack(
        "annotation-of-another-network",
        "none",
        "annotations",
        pod_metadata=_annotations("k8s.v1.cni.cncf.io/networks", "kube-system/storage"),
    ),
    _attack(
        "annotation-of-the-runtime",
        "none",
        "annotations",
        pod_metadata=_annotations("io.kubernetes.cri-o.Devices", "/dev/mem"),
    ),
    _attack(
        "annotation-that-holds-a-node",
        "namespace",
        "annotations",
        pod_metadata=_annotations("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ),
    _attack("too-many-pods", "namespace", "parallelism", job={"parallelism": 100_000}),
    _attack(
        "an-end-that-never-comes",
        "namespace",
        "termination_grace",
        pod={"terminationGracePeriodSeconds": 10**8},
    ),
)

IN_CRON_JOBS = (
    _attack("cron-hostpath", "pod-security", "host_path", cron=True, volume=_host_path("/")),
    _attack("cron-host-network", "pod-security", "host_network", cron=True, pod={"hostNetwork": True}),
    _attack("cron-privileged", "pod-security", "privileged", cron=True, container=_security(privileged=True)),
    _attack(
        "cron-capability",
        "pod-security",
        "capabilities",
        cron=True,
        init=_security(capabilities={"add": ["SYS_MODULE"]}),
    ),
    _attack("cron-node-name", "namespace", "node_name", cron=True, pod={"nodeName": "control-plane"}),
)

ATTACKS = (*NODE, *KERNEL, *DATA, *IDENTITY, *OTHERS, *IN_CRON_JOBS)
