"""The allow-list: every field that a Job or a CronJob can have, down to the last, and what may stand in it.

Keyed by the models of Kubernetes' API, with its own names. A field that is not here is refused, so that what
a new Kubernetes brings is closed until somebody has thought about it; a test holds the table against the
models of the client. Models that are missing lie below fields that are closed, or opened as a whole.
"""

from collections.abc import Mapping
from typing import Any

from hubfleet.tenancy.policy import checks, placement
from hubfleet.tenancy.policy.rules import Checked, Closed, Free, Limited, OneOf, Part, Review, Rule
from hubfleet.tenancy.policy.violation import Path

_FREE = Free()
_STANDARD = Free("the Pod Security Standards")
_SERVER = Closed("what the API server writes")
_BOUND = Closed("what ties an object to others")
_OTHERS = Closed("objects that are not the user's own")
_SCHEDULING = Closed("scheduling that is the operator's")
_NEW = Closed("fields that Kubernetes 1.36 does not have")
_UNNEEDED = Closed("fields that nobody needs here")

_TABLE: dict[str, dict[str, Rule]] = {}
FIELDS: Mapping[str, Mapping[str, Rule]] = _TABLE


def _all(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


def _free(names: str) -> dict[str, Rule]:
    return _all(names, _FREE)


def _standard(names: str) -> dict[str, Rule]:
    return _all(names, _STANDARD)


def _part(model: str) -> Part:
    return Part(model, _TABLE)


def _parts(model: str) -> Part:
    return Part(model, _TABLE, many=True)


def _pod(value: Any, path: Path, review: Review) -> None:
    """A PodSpec: the rules below look at other parts of it, too."""
    if not isinstance(value, dict):
        review.refuse(path, "form", "an object")
        return
    review.pod = value
    count = len(value.get("containers") or ()) + len(value.get("initContainers") or ())
    checks.check_containers(count, (*path, "containers"), review)
    _part("PodSpec").check_one(value, path, review)


def _context(value: Any, path: Path, review: Review) -> None:
    checks.check_overrides(value, path, review)
    _part("SecurityContext").check(value, path, review)


def _pod_context(value: Any, path: Path, review: Review) -> None:
    checks.check_groups(value, path, review)
    _part("PodSecurityContext").check(value, path, review)


_TABLE["Job"] = _free("apiVersion kind") | {
    "metadata": _part("ObjectMeta"),
    "spec": _part("JobSpec"),
    "status": _SERVER,
}
_TABLE["CronJob"] = _TABLE["Job"] | {"spec": _part("CronJobSpec")}
_TABLE["ObjectMeta"] = {
    **_free("name generateName"),
    "namespace": Checked(checks.check_namespace),
    "labels": Checked(checks.check_labels),
    "annotations": Checked(checks.check_annotations),
    "finalizers": _BOUND,
    "ownerReferences": _BOUND,
    **_all(
        "creationTimestamp deletionGracePeriodSeconds deletionTimestamp generation managedFields", _SERVER
    ),
    **_all("resourceVersion selfLink uid", _SERVER),
}

# -- jobs --------------------------------------------------------------------------------------------------

_TABLE["CronJobSpec"] = {
    **_free("concurrencyPolicy schedule startingDeadlineSeconds suspend timeZone"),
    "failedJobsHistoryLimit": Limited("finished jobs that are kept", "history"),
    "successfulJobsHistoryLimit": Limited("finished jobs that are kept", "history"),
    "jobTemplate": _part("JobTemplateSpec"),
}
_TABLE["JobTemplateSpec"] = {"metadata": _part("ObjectMeta"), "spec": _part("JobSpec")}
_TABLE["JobSpec"] = {
    **_free("completionMode podReplacementPolicy suspend ttlSecondsAfterFinished"),
    "activeDeadlineSeconds": Limited("deadline of a job", "deadline_seconds"),
    "backoffLimit": Limited("failures of a job", "backoff_limit"),
    "backoffLimitPerIndex": Limited("failures of a job", "backoff_limit"),
    "maxFailedIndexes": Limited("pods of a job", "completions"),
    "completions": Limited("pods of a job", "completions"),
    "parallelism": Limited("pods of a job at once", "parallelism"),
    "managedBy": OneOf("controllers of jobs", "kubernetes.io/job-controller"),
    "manualSelector": Closed("pods of other jobs"),
    "selector": Closed("pods of other jobs"),
    "podFailurePolicy": _part("PodFailurePolicy"),
    "successPolicy": _part("SuccessPolicy"),
    "scheduling": _NEW,
    "template": _part("PodTemplateSpec"),
}
_TABLE["PodFailurePolicy"] = {"rules": _parts("PodFailurePolicyRule")}
_TABLE["PodFailurePolicyRule"] = {
    **_free("action"),
    "onExitCodes": _part("PodFailurePolicyOnExitCodesRequirement"),
    "onPodConditions": _parts("PodFailurePolicyOnPodConditionsPattern"),
}
_TABLE["PodFailurePolicyOnExitCodesRequirement"] = _free("containerName operator values")
_TABLE["PodFailurePolicyOnPodConditionsPattern"] = _free("status type")
_TABLE["SuccessPolicy"] = {"rules": _parts("SuccessPolicyRule")}
_TABLE["SuccessPolicyRule"] = _free("succeededCount succeededIndexes")

# -- pods --------------------------------------------------------------------------------------------------

_ACCOUNT = OneOf("service accounts", checks.DEFAULT_ACCOUNT, allowed_in="service_accounts")

_TABLE["PodTemplateSpec"] = {"metadata": _part("ObjectMeta"), "spec": Checked(_pod)}
_TABLE["PodSpec"] = {
    **_free("activeDeadlineSeconds enableServiceLinks hostUsers hostname restartPolicy subdomain"),
    **_standard("hostIPC hostNetwork hostPID"),
    "affinity": _part("Affinity"),
    "automountServiceAccountToken": Checked(checks.check_automount),
    "containers": _parts("Container"),
    "dnsConfig": Closed("name resolution", "dnsConfig"),
    "dnsPolicy": OneOf("name resolution", "ClusterFirst"),
    "ephemeralContainers": Closed("ephemeral containers"),
    "evictionResponders": _NEW,
    "hostAliases": Closed("name resolution", "hostAliases"),
    "hostnameOverride": Closed("name resolution", "hostnameOverride"),
    "imagePullSecrets": _parts("LocalObjectReference"),
    "initContainers": _parts("Container"),
    "nodeName": Closed("nodes to run on", instead="a profile or the scheduler chooses"),
    "nodeSelector": Checked(placement.check_node_selector),
    "os": _part("PodOS"),
    "overhead": _SCHEDULING,
    "preemptionPolicy": Closed("priorities", "preemptionPolicy"),
    "priority": Closed("priorities"),
    "priorityClassName": OneOf("priorities", allowed_in="priority_classes"),
    "readinessGates": Closed("fields that nobody needs here", "readinessGates"),
    "resourceClaims": Closed("devices", "resourceClaims"),
    "resources": _part("ResourceRequirements"),
    "runtimeClassName": OneOf("runtimes", allowed_in="runtime_classes"),
    "schedulerName": OneOf("schedulers", "default-scheduler", allowed_in="schedulers"),
    "schedulingGates": Closed("scheduling that is the operator's", "schedulingGates"),
    "schedulingGroup": _SCHEDULING,
    "securityContext": Checked(_pod_context),
    "serviceAccount": _ACCOUNT,
    "serviceAccountName": _ACCOUNT,
    "setHostnameAsFQDN": Closed("name resolution", "setHostnameAsFQDN"),
    "shareProcessNamespace": Closed("processes of other containers", "shareProcessNamespace"),
    "terminationGracePeriodSeconds": Limited("time to end", "grace_seconds"),
    "tolerations": Checked(placement.check_tolerations),
    "topologySpreadConstraints": _parts("TopologySpreadConstraint"),
    "volumes": _parts("Volume"),
}
_TABLE["PodOS"] = {"name": OneOf("operating systems", "linux")}
_TABLE["LocalObjectReference"] = _free("name")
_TABLE["TopologySpreadConstraint"] = {
    **_free(
        "matchLabelKeys maxSkew minDomains nodeAffinityPolicy nodeTaintsPolicy topologyKey whenUnsatisfiable"
    ),
    "labelSelector": _part("LabelSelector"),
}
_TABLE["LabelSelector"] = _free("matchLabels") | {"matchExpressions": _parts("LabelSelectorRequirement")}
_TABLE["LabelSelectorRequirement"] = _free("key operator values")
_TABLE["Affinity"] = {
    "nodeAffinity": Checked(placement.check_node_affinity),
    "podAffinity": _part("PodAffinity"),
    "podAntiAffinity": _part("PodAffinity"),
}
_TABLE["PodAffinity"] = {
    "preferredDuringSchedulingIgnoredDuringExecution": _parts("WeightedPodAffinityTerm"),
    "requiredDuringSchedulingIgnoredDuringExecution": _parts("PodAffinityTerm"),
}
_TABLE["WeightedPodAffinityTerm"] = _free("weight") | {"podAffinityTerm": _part("PodAffinityTerm")}
_TABLE["PodAffinityTerm"] = {
    **_free("matchLabelKeys mismatchLabelKeys topologyKey"),
    "labelSelector": _part("LabelSelector"),
    "namespaceSelector": Checked(checks.check_namespace_selector),
    "namespaces": Checked(checks.check_namespaces),
}

# -- containers --------------------------------------------------------------------------------------------

_TABLE["Container"] = {
    **_free(
        "args command image imagePullPolicy name restartPolicy stdin stdinOnce terminationMessagePath "
        "terminationMessagePolicy tty workingDir"
    ),
    "env": _parts("EnvVar"),
    "envFrom": _parts("EnvFromSource"),
    "lifecycle": _part("Lifecycle"),
    "livenessProbe": _part("Probe"),
    "ports": _parts("ContainerPort"),
    "readinessProbe": _part("Probe"),
    "resizePolicy": _parts("ContainerResizePolicy"),
    "resources": _part("ResourceRequirements"),
    "restartPolicyRules": _parts("ContainerRestartRule"),
    "securityContext": Checked(_context),
    "startupProbe": _part("Probe"),
    "volumeDevices": Closed("block devices", "volumeDevices"),
    "volumeMounts": _parts("VolumeMount"),
}
_TABLE["EnvVar"] = _free("name value") | {"valueFrom": _part("EnvVarSource")}
_TABLE["EnvVarSource"] = {
    "configMapKeyRef": _part("ConfigMapKeySelector"),
    "fieldRef": _part("ObjectFieldSelector"),
    "fileKeyRef": _part("FileKeySelector"),
    "resourceFieldRef": _part("ResourceFieldSelector"),
    "secretKeyRef": _part("SecretKeySelector"),
}
_TABLE["ConfigMapKeySelector"] = _free("key name optional")
_TABLE["SecretKeySelector"] = _free("key name optional")
_TABLE["FileKeySelector"] = _free("key optional path") | {"volumeName": Checked(checks.check_mounted_volume)}
_TABLE["ObjectFieldSelector"] = _free("apiVersion fieldPath")
_TABLE["ResourceFieldSelector"] = _free("containerName divisor resource")
_TABLE["EnvFromSource"] = {
    **_free("prefix"),
    "configMapRef": _part("ConfigMapEnvSource"),
    "secretRef": _part("SecretEnvSource"),
}
_TABLE["ConfigMapEnvSource"] = _free("name optional")
_TABLE["SecretEnvSource"] = _free("name optional")
_TABLE["Lifecycle"] = {
    **_free("stopSignal"),
    "postStart": _part("LifecycleHandler"),
    "preStop": _part("LifecycleHandler"),
}
_TABLE["LifecycleHandler"] = {
    "exec": _part("ExecAction"),
    "httpGet": _part("HTTPGetAction"),
    "sleep": _part("SleepAction"),
    "tcpSocket": _part("TCPSocketAction"),
}
_TABLE["Probe"] = {
    **_free(
        "failureThreshold initialDelaySeconds periodSeconds successThreshold terminationGracePeriodSeconds "
        "timeoutSeconds"
    ),
    "exec": _part("ExecAction"),
    "grpc": _part("GRPCAction"),
    "httpGet": _part("HTTPGetAction"),
    "tcpSocket": _part("TCPSocketAction"),
}
_TABLE["ExecAction"] = _free("command")
_TABLE["SleepAction"] = _free("seconds")
_TABLE["GRPCAction"] = _free("port service") | {"mode": _NEW}
_TABLE["HTTPGetAction"] = {
    **_free("path port scheme"),
    **_standard("host"),
    "httpHeaders": _parts("HTTPHeader"),
    "protocol": _NEW,
}
_TABLE["HTTPHeader"] = _free("name value")
_TABLE["TCPSocketAction"] = _free("port") | _standard("host")
_TABLE["ContainerPort"] = {
    **_free("containerPort name protocol"),
    **_standard("hostPort"),
    "hostIP": Closed("ports of the node"),
}
_TABLE["ContainerResizePolicy"] = _free("resourceName restartPolicy")
_TABLE["ContainerRestartRule"] = {
    **_free("action"),
    "exitCodes": _part("ContainerRestartRuleOnExitCodes"),
}
_TABLE["ContainerRestartRuleOnExitCodes"] = _free("operator values")
_TABLE["ResourceRequirements"] = _free("limits requests") | {"claims": Closed("devices", "resourceClaims")}
_TABLE["VolumeMount"] = {
    **_free("mountPath readOnly recursiveReadOnly subPath subPathExpr"),
    "bindMountOptions": _NEW,
    "mountPropagation": OneOf("mounts of the node", "None"),
    "name": Checked(checks.check_mounted_volume),
}

# -- security contexts: the Pod Security Standards say what may stand there ---------------------------------

_TABLE["SecurityContext"] = {
    **_free("readOnlyRootFilesystem runAsGroup"),
    **_standard("allowPrivilegeEscalation privileged procMount runAsNonRoot runAsUser"),
    "appArmorProfile": _part("AppArmorProfile"),
    "capabilities": _part("Capabilities"),
    "seLinuxOptions": _part("SELinuxOptions"),
    "seccompProfile": _part("SeccompProfile"),
    "windowsOptions": _part("WindowsSecurityContextOptions"),
}
_TABLE["PodSecurityContext"] = {
    **_free(
        "fsGroup fsGroupChangePolicy runAsGroup seLinuxChangePolicy supplementalGroups "
        "supplementalGroupsPolicy"
    ),
    **_standard("runAsNonRoot runAsUser"),
    "appArmorProfile": _part("AppArmorProfile"),
    "seLinuxOptions": _part("SELinuxOptions"),
    "seccompProfile": _part("SeccompProfile"),
    "sysctls": _parts("Sysctl"),
    "windowsOptions": _part("WindowsSecurityContextOptions"),
}
_TABLE["AppArmorProfile"] = _free("localhostProfile") | _standard("type")
_TABLE["SeccompProfile"] = _free("localhostProfile") | _standard("type")
_TABLE["Capabilities"] = _standard("add drop")
_TABLE["SELinuxOptions"] = _free("level") | _standard("role type user")
_TABLE["Sysctl"] = _free("value") | _standard("name")
_TABLE["WindowsSecurityContextOptions"] = {
    **_standard("hostProcess"),
    **_all("gmsaCredentialSpec gmsaCredentialSpecName runAsUserName", _UNNEEDED),
}

# -- volumes -----------------------------------------------------------------------------------------------

_KIND = Checked(checks.check_volume_kind)

_TABLE["Volume"] = {
    **_free("name"),
    **_standard("hostPath"),
    "configMap": _part("ConfigMapVolumeSource"),
    "csi": Checked(checks.check_csi),
    "downwardAPI": _part("DownwardAPIVolumeSource"),
    "emptyDir": _part("EmptyDirVolumeSource"),
    "ephemeral": _part("EphemeralVolumeSource"),
    "persistentVolumeClaim": _part("PersistentVolumeClaimVolumeSource"),
    "projected": _part("ProjectedVolumeSource"),
    "secret": _part("SecretVolumeSource"),
    **_all("awsElasticBlockStore azureDisk azureFile cephfs cinder fc flexVolume flocker", _KIND),
    **_all("gcePersistentDisk gitRepo glusterfs image iscsi nfs photonPersistentDisk portworxVolume", _KIND),
    **_all("quobyte rbd scaleIO storageos vsphereVolume", _KIND),
}
_TABLE["ConfigMapVolumeSource"] = {
    **_free("defaultMode name optional"),
    "items": _parts("KeyToPath"),
    "defaultUser": _NEW,
}
_TABLE["SecretVolumeSource"] = {
    **_free("defaultMode optional secretName"),
    "items": _parts("KeyToPath"),
    "defaultUser": _NEW,
}
_TABLE["KeyToPath"] = _free("key mode path") | {"user": _NEW}
_TABLE["DownwardAPIVolumeSource"] = {
    **_free("defaultMode"),
    "items": _parts("DownwardAPIVolumeFile"),
    "defaultUser": _NEW,
}
_TABLE["DownwardAPIVolumeFile"] = {
    **_free("mode path"),
    "fieldRef": _part("ObjectFieldSelector"),
    "resourceFieldRef": _part("ResourceFieldSelector"),
    "user": _NEW,
}
_TABLE["EmptyDirVolumeSource"] = {
    "medium": OneOf("what an emptyDir is made of", "Memory"),
    "sizeLimit": Checked(checks.check_size_limit),
    "mode": _NEW,
}
_TABLE["PersistentVolumeClaimVolumeSource"] = _free("claimName readOnly")
_TABLE["EphemeralVolumeSource"] = {"volumeClaimTemplate": _part("PersistentVolumeClaimTemplate")}
_TABLE["PersistentVolumeClaimTemplate"] = {
    "metadata": _part("ObjectMeta"),
    "spec": _part("PersistentVolumeClaimSpec"),
}
_TABLE["PersistentVolumeClaimSpec"] = {
    **_free("accessModes storageClassName volumeAttributesClassName"),
    "dataSource": _OTHERS,
    "dataSourceRef": _OTHERS,
    "resources": _part("VolumeResourceRequirements"),
    "selector": _OTHERS,
    "volumeMode": OneOf("block devices", "Filesystem"),
    "volumeName": _OTHERS,
}
_TABLE["VolumeResourceRequirements"] = _free("limits requests")
_TABLE["ProjectedVolumeSource"] = {
    **_free("defaultMode"),
    "sources": _parts("VolumeProjection"),
    "defaultUser": _NEW,
}
_TABLE["VolumeProjection"] = {
    "clusterTrustBundle": Closed("objects that are not the user's own", "clusterTrustBundle"),
    "configMap": _part("ConfigMapProjection"),
    "downwardAPI": _part("DownwardAPIProjection"),
    "podCertificate": Closed("certificates of pods", "podCertificate"),
    "secret": _part("SecretProjection"),
    "serviceAccountToken": Checked(checks.check_token_projection),
}
_TABLE["ConfigMapProjection"] = _free("name optional") | {"items": _parts("KeyToPath")}
_TABLE["SecretProjection"] = _free("name optional") | {"items": _parts("KeyToPath")}
_TABLE["DownwardAPIProjection"] = {"items": _parts("DownwardAPIVolumeFile")}
