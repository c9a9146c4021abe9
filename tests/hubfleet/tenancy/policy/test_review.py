"""What the policy refuses beyond the Pod Security Standards, where, and what opens it."""

import time
from typing import Any

import pytest

from hubfleet.policysettings import GroupPolicy, PolicyAllow, PolicyLimits, PolicySettings
from hubfleet.tenancy.policy.placement import REQUIRED
from hubfleet.tenancy.policy.policies import DEFAULT, Policies, everybodys
from hubfleet.tenancy.policy.review import NOTHING, violations
from hubfleet.tenancy.policy.rules import Operator, Placement, Policy

GPU_TERMS = [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}]}]
GPU_TOLERATIONS = [{"key": "gpu", "operator": "Exists"}]
BIG_TOLERATIONS = [{"key": "big", "operator": "Exists"}]
OPERATOR = Operator(
    placements=(
        Placement("gpu", tuple(GPU_TOLERATIONS), tuple(GPU_TERMS)),
        Placement("big", tuple(BIG_TOLERATIONS)),
    ),
    volumes=frozenset({"data", "tools"}),
    context={"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
)


def job(**pod: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i"}]} | pod
    return {"metadata": {"generateName": "a-"}, "spec": {"template": {"metadata": {}, "spec": spec}}}


def container(**said: Any) -> dict[str, Any]:
    return job(containers=[{"name": "c", "image": "i"} | said])


def allowing(**allow: Any) -> Policy:
    return everybodys(PolicySettings(allow=PolicyAllow(**allow)))


def refused(
    obj: dict[str, Any], policy: Policy = DEFAULT, operator: Operator = NOTHING, **how: str
) -> list[str]:
    found = violations(obj, "Job", policy, operator=operator, **how)
    assert all(each.rule and each.allowed for each in found)
    return [".".join(map(str, each.path)).removeprefix("spec.template.spec.") for each in found]


POD: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"nodeName": "a"}, "nodeName", {}),
    ({"nodeSelector": {"pool": "gpu"}}, "nodeSelector.pool", {"node_labels": ("pool",)}),
    ({"priorityClassName": "high"}, "priorityClassName", {"priority_classes": ("high",)}),
    ({"priority": 1000}, "priority", {}),
    ({"preemptionPolicy": "Never"}, "preemptionPolicy", {"priority_classes": ("high",)}),
    ({"schedulerName": "mine"}, "schedulerName", {"schedulers": ("mine",)}),
    ({"runtimeClassName": "gvisor"}, "runtimeClassName", {"runtime_classes": ("gvisor",)}),
    ({"serviceAccountName": "admin"}, "serviceAccountName", {"service_accounts": ("admin",)}),
    ({"serviceAccount": "admin"}, "serviceAccount", {"service_accounts": ("admin",)}),
    ({"automountServiceAccountToken": True}, "automountServiceAccountToken", {}),
    ({"hostAliases": [{"ip": "10.0.0.1"}]}, "hostAliases", {"fields": ("hostAliases",)}),
    ({"dnsConfig": {"nameservers": ["10.0.0.1"]}}, "dnsConfig", {"fields": ("dnsConfig",)}),
    ({"dnsPolicy": "Default"}, "dnsPolicy", {}),
    ({"hostnameOverride": "a"}, "hostnameOverride", {"fields": ("hostnameOverride",)}),
    ({"setHostnameAsFQDN": True}, "setHostnameAsFQDN", {"fields": ("setHostnameAsFQDN",)}),
    ({"shareProcessNamespace": True}, "shareProcessNamespace", {"fields": ("shareProcessNamespace",)}),
    ({"overhead": {"cpu": "1"}}, "overhead", {}),
    ({"schedulingGates": [{"name": "a"}]}, "schedulingGates", {"fields": ("schedulingGates",)}),
    ({"resourceClaims": [{"name": "a"}]}, "resourceClaims", {"fields": ("resourceClaims",)}),
    ({"readinessGates": [{"conditionType": "a"}]}, "readinessGates", {"fields": ("readinessGates",)}),
    ({"os": {"name": "windows"}}, "os.name", {}),
    ({"ephemeralContainers": [{"name": "a"}]}, "ephemeralContainers", {}),
    ({"terminationGracePeriodSeconds": 601}, "terminationGracePeriodSeconds", {}),
    ({"brandNew": 1}, "brandNew", {}),
    ({"tolerations": GPU_TOLERATIONS}, "tolerations.0", {"tolerations": tuple(GPU_TOLERATIONS)}),
    ({"volumes": [{"name": "a", "nfs": {}}]}, "volumes.0.nfs", {"volumes": ("nfs",)}),
    ({"volumes": [{"name": "a", "image": {}}]}, "volumes.0.image", {"volumes": ("image",)}),
    ({"volumes": [{"name": "a", "csi": {"driver": "d"}}]}, "volumes.0.csi.driver", {"csi_drivers": ("d",)}),
    ({"volumes": [{"name": "a", "brandNew": {}}]}, "volumes.0.brandNew", {}),
    ({"volumes": [{"name": "a", "emptyDir": {"medium": "HugePages"}}]}, "volumes.0.emptyDir.medium", {}),
    (
        {"volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "a"}}]}}]},
        "volumes.0.projected.sources.0.serviceAccountToken",
        {},
    ),
    (
        {"volumes": [{"name": "a", "projected": {"sources": [{"podCertificate": {"keyType": "a"}}]}}]},
        "volumes.0.projected.sources.0.podCertificate",
        {"fields": ("podCertificate",)},
    ),
    (
        {"volumes": [{"name": "a", "ephemeral": {"volumeClaimTemplate": {"spec": {"volumeName": "pv"}}}}]},
        "volumes.0.ephemeral.volumeClaimTemplate.spec.volumeName",
        {},
    ),
    (
        {
            "volumes": [
                {"name": "a", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a.b/c": "d"}}}}}
            ]
        },
        "volumes.0.ephemeral.volumeClaimTemplate.metadata.labels.a.b/c",
        {"labels": ("a.b/",)},
    ),
    (
        {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "a", "namespaces": ["kube-system"]}]}}},
        f"affinity.podAffinity.{REQUIRED}.0.namespaces.0",
        {},
    ),
    (
        {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "a", "namespaces": [""]}]}}},
        f"affinity.podAffinity.{REQUIRED}.0.namespaces.0",
        {},
    ),
    (
        {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "a", "namespaceSelector": {}}]}}},
        f"affinity.podAntiAffinity.{REQUIRED}.0.namespaceSelector",
        {},
    ),
    (
        {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": GPU_TERMS}}}},
        f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms.0.matchExpressions.0.key",
        {"node_labels": ("pool",)},
    ),
    (
        {
            "affinity": {
                "nodeAffinity": {
                    REQUIRED: {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name"}]}]}
                }
            }
        },
        f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms.0.matchFields.0",
        {},
    ),
]


@pytest.mark.parametrize(("pod", "where", "opened_by"), POD, ids=[where for _, where, _ in POD])
def test_pods(pod: dict[str, Any], where: str, opened_by: dict[str, Any]) -> None:
    assert refused(job(**pod)) == [where]
    if opened_by:
        assert refused(job(**pod), allowing(**opened_by)) == []
        closed = allowing(labels=("other/",), fields=("clusterTrustBundle",), volumes=("rbd",))
        assert refused(job(**pod), closed) == [where]


@pytest.mark.parametrize(
    "pod",
    [
        {"hostname": "a", "subdomain": "b", "hostUsers": False, "enableServiceLinks": False},
        {"serviceAccountName": "default", "automountServiceAccountToken": False},
        {"schedulerName": "default-scheduler", "dnsPolicy": "ClusterFirst", "os": {"name": "linux"}},
        {"nodeName": "", "priority": 0, "tolerations": [], "affinity": {}, "shareProcessNamespace": False},
        {"topologySpreadConstraints": [{"topologyKey": "a", "labelSelector": {"matchLabels": {"a": "b"}}}]},
        {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "a"}]}}},
        {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "home"}}]},
        {"volumes": [{"name": "a", "emptyDir": {"medium": "Memory", "sizeLimit": "1Ti"}}, {"name": "b"}]},
        {"volumes": [{"name": "a", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": []}}}}]},
        {"imagePullSecrets": [{"name": "a"}], "terminationGracePeriodSeconds": 600},
    ],
)
def test_what_is_harmless_is_allowed(pod: dict[str, Any]) -> None:
    assert refused(job(**pod)) == []


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"ports": [{"hostIP": "1.2.3.4"}]}, "ports.0.hostIP"),
        ({"volumeDevices": [{"name": "a"}]}, "volumeDevices"),
        (
            {"volumeMounts": [{"name": "a", "mountPropagation": "HostToContainer"}]},
            "volumeMounts.0.mountPropagation",
        ),
        ({"resources": {"claims": [{"name": "a"}]}}, "resources.claims"),
        ({"securityContext": {"brandNew": True}}, "securityContext.brandNew"),
        (
            {"securityContext": {"windowsOptions": {"runAsUserName": "a"}}},
            "securityContext.windowsOptions.runAsUserName",
        ),
        ({"env": [{"name": "a", "valueFrom": {"brandNew": {}}}]}, "env.0.valueFrom.brandNew"),
    ],
)
def test_containers(said: dict[str, Any], where: str) -> None:
    assert refused(container(**said)) == [f"containers.0.{where}"]
    assert refused(job(initContainers=[said])) == [f"initContainers.0.{where}"]


def test_a_token_is_for_those_whose_account_the_operator_named() -> None:
    policy = allowing(service_accounts=("dask",))
    projected = [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "a"}}]}}]
    mine = {"automountServiceAccountToken": True, "volumes": projected}
    assert refused(job(serviceAccountName="dask", **mine), policy) == []
    assert len(refused(job(**mine), policy)) == 2
    assert len(refused(job(serviceAccountName="default", **mine), policy)) == 2
    assert len(refused(job(serviceAccountName="dask", serviceAccount="default", **mine), policy)) == 2


def placed(tolerations: Any, terms: Any) -> dict[str, Any]:
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}} if terms else {}
    return job(tolerations=tolerations, affinity=affinity)


def test_a_profiles_placement_passes_as_a_whole() -> None:
    assert refused(placed(GPU_TOLERATIONS, GPU_TERMS), operator=OPERATOR) == []
    assert refused(placed([], GPU_TERMS), operator=OPERATOR) == []
    assert refused(placed(BIG_TOLERATIONS, []), operator=OPERATOR) == []
    with_empties = [term | {"matchFields": []} for term in GPU_TERMS]
    assert refused(placed(GPU_TOLERATIONS, with_empties), operator=OPERATOR) == []


def test_parts_of_several_profiles_do_not_make_one() -> None:
    assert refused(placed(GPU_TOLERATIONS, []), operator=OPERATOR) == ["tolerations.0"]
    assert refused(placed(BIG_TOLERATIONS, GPU_TERMS), operator=OPERATOR) == ["tolerations.0"]
    assert len(refused(placed(GPU_TOLERATIONS + BIG_TOLERATIONS, GPU_TERMS), operator=OPERATOR)) == 2
    assert refused(placed([{"operator": "Exists"}], GPU_TERMS), operator=OPERATOR) == ["tolerations.0"]
    two_terms = [*GPU_TERMS, {"matchExpressions": [{"key": "os", "operator": "Exists"}]}]
    assert len(refused(placed([], two_terms), operator=OPERATOR)) == 2


def test_what_a_named_profile_fills_in_may_be_left_out() -> None:
    assert refused(placed(GPU_TOLERATIONS, []), operator=OPERATOR, profile="gpu") == []
    assert refused(placed(GPU_TOLERATIONS, []), operator=OPERATOR, profile="big") == ["tolerations.0"]


def test_preferred_nodes_are_the_operators_to_allow_too() -> None:
    preferred = [{"weight": 1, "preference": GPU_TERMS[0]}]
    wish = job(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})
    assert len(refused(wish, operator=OPERATOR)) == 1
    assert refused(wish, allowing(node_labels=("pool",))) == []


def test_the_operators_volumes_are_not_the_users_to_mount() -> None:
    mounts = {"volumeMounts": [{"name": "data", "mountPath": "/a"}, {"name": "mine", "mountPath": "/b"}]}
    assert refused(container(**mounts), operator=OPERATOR) == ["containers.0.volumeMounts.0.name"]
    assert refused(container(**mounts), allowing(template_volumes=("data",)), OPERATOR) == []
    from_file = {"env": [{"name": "a", "valueFrom": {"fileKeyRef": {"volumeName": "data", "path": "x"}}}]}
    assert refused(container(**from_file), operator=OPERATOR) == [
        "containers.0.env.0.valueFrom.fileKeyRef.volumeName"
    ]


def test_a_container_does_not_overrule_the_operators_pod() -> None:
    assert refused(container(securityContext={"runAsUser": 0}), operator=OPERATOR) == [
        "containers.0.securityContext.runAsUser"
    ]
    same = {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}, "runAsGroup": 0}
    assert refused(container(securityContext=same), operator=OPERATOR) == []
    assert refused(container(securityContext={"runAsUser": 0})) == []


@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        ({"labels": {"a.b/c": "d"}}, "labels.a.b/c"),
        ({"labels": {"hubfleet.dev/user": "eve"}}, "labels.hubfleet.dev/user"),
        ({"annotations": {"hubfleet.dev/profile": "eve"}}, "annotations.hubfleet.dev/profile"),
        ({"annotations": {"iam.amazonaws.com/role": "x"}}, "annotations.iam.amazonaws.com/role"),
        ({"finalizers": ["a/b"]}, "finalizers"),
        ({"ownerReferences": [{"uid": "a"}]}, "ownerReferences"),
        ({"namespace": "kube-system"}, "namespace"),
        ({"uid": "a"}, "uid"),
        ({"brandNew": "a"}, "brandNew"),
    ],
)
def test_metadata(metadata: dict[str, Any], where: str) -> None:
    in_job = job() | {"metadata": metadata}
    assert refused(in_job, namespace="mine") == [f"metadata.{where}"]
    in_template = job()
    in_template["spec"]["template"]["metadata"] = metadata
    assert refused(in_template, namespace="mine") == [f"spec.template.metadata.{where}"]
    cron = {"spec": {"jobTemplate": {"metadata": metadata, "spec": job()["spec"]}}}
    (only,) = violations(cron, "CronJob", DEFAULT, namespace="mine")
    assert ".".join(map(str, only.path)) == f"spec.jobTemplate.metadata.{where}"


def test_metadata_of_ones_own() -> None:
    mine = {"labels": {"hubfleet.dev/profile": "gpu", "team": "a"}, "annotations": {"note": "b"}}
    assert refused(job() | {"metadata": mine | {"namespace": "mine", "name": "a"}}, namespace="mine") == []
    below = job()
    below["spec"]["template"]["metadata"] = {"labels": {"hubfleet.dev/profile": "gpu"}}
    assert len(refused(below)) == 1


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"parallelism": 101}, "parallelism"),
        ({"completions": 10_001}, "completions"),
        ({"backoffLimit": 101}, "backoffLimit"),
        ({"backoffLimitPerIndex": 101}, "backoffLimitPerIndex"),
        ({"managedBy": "a/b"}, "managedBy"),
        ({"manualSelector": True}, "manualSelector"),
        ({"selector": {"matchLabels": {}}}, "selector"),
        ({"scheduling": {"schedulingPolicy": {}}}, "scheduling"),
        ({"brandNew": 1}, "brandNew"),
    ],
)
def test_jobs(spec: dict[str, Any], where: str) -> None:
    found = job()
    found["spec"] |= spec
    assert refused(found) == [f"spec.{where}"]
    cron = {"spec": {"jobTemplate": {"spec": found["spec"]}}}
    (only,) = violations(cron, "CronJob", DEFAULT)
    assert only.path == ("spec", "jobTemplate", "spec", where)


def test_limits_are_the_operators() -> None:
    found = job(containers=[{"name": str(i)} for i in range(5)], initContainers=[{"name": "i"}])
    found["spec"] |= {"parallelism": 1000, "activeDeadlineSeconds": 90}
    assert refused(found) == ["spec.parallelism"]
    tight = everybodys(
        PolicySettings(limits=PolicyLimits(parallelism=None, containers=5, deadline_seconds=60))
    )
    assert refused(found, tight) == ["containers", "spec.activeDeadlineSeconds"]
    sized = everybodys(PolicySettings(limits=PolicyLimits(empty_dir="1Gi")))
    for size, fits in (
        ("1Gi", True),
        ("1073741825", False),
        ("2G", False),
        ("500M", True),
        ("0", False),
        ("x", False),
    ):
        volumes = [{"name": "a", "emptyDir": {"sizeLimit": size}}]
        assert (refused(job(volumes=volumes), sized) == []) is fits, size


def test_cron_jobs_keep_so_many_jobs() -> None:
    cron = {"spec": {"successfulJobsHistoryLimit": 101, "jobTemplate": {"spec": job()["spec"]}}}
    assert len(violations(cron, "CronJob", DEFAULT)) == 1


def test_every_violation_is_told_at_once() -> None:
    whole = job(
        hostNetwork=True,
        nodeName="a",
        volumes=[{"name": "a", "hostPath": {"path": "/"}}],
        containers=[{"name": "c", "securityContext": {"privileged": True}}],
        initContainers=[{"name": "i", "ports": [{"hostPort": 1}]}],
    )
    whole["metadata"]["labels"] = {"a.b/c": "d"}
    assert len(refused(whole)) == 6


def test_restricted_refuses_what_contradicts_it_and_nothing_that_can_be_filled_in() -> None:
    policy = everybodys(PolicySettings(level="restricted"))
    before = job(initContainers=[{"name": "i"}])
    assert refused(before, policy) == []
    assert before == job(initContainers=[{"name": "i"}])
    assert refused(container(securityContext={"allowPrivilegeEscalation": True}), policy)
    assert refused(container(securityContext={"runAsUser": 0}), policy)
    assert refused(container(securityContext={"capabilities": {"drop": ["NET_RAW"]}}), policy) == []
    assert refused(job(securityContext={"runAsNonRoot": False}), policy)


def test_groups_add_to_what_everybody_may() -> None:
    settings = PolicySettings(
        level="restricted",
        allow=PolicyAllow(labels=("a.b/",)),
        groups={
            "gpu": GroupPolicy(allow=PolicyAllow(priority_classes=("high",))),
            "old": GroupPolicy(level="baseline"),
        },
    )
    policies = Policies(settings)
    high = job(priorityClassName="high")
    assert refused(high, policies.of(["other"])) == ["priorityClassName"]
    assert refused(high, policies.of(["other", "gpu"])) == []
    root = job(priorityClassName="high", securityContext={"runAsUser": 0})
    assert refused(root, policies.of(["gpu"])) == ["securityContext.runAsUser"]
    assert refused(root, policies.of(["gpu", "old"])) == []
    assert policies.of(["x", "gpu"]) is policies.of(["gpu", "y"])


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"spec": None},
        {"spec": []},
        {"spec": {"template": 1}},
        {"spec": {"template": {"spec": []}}},
        {"spec": {"template": {"spec": {"containers": {}}}}},
        {"spec": {"template": {"spec": {"containers": [1], "volumes": ["a"]}}}},
        {"metadata": "a"},
    ],
)
def test_what_is_no_job_is_no_accident(odd: dict[str, Any]) -> None:
    for level in ("baseline", "restricted"):
        assert isinstance(violations(odd, "Job", everybodys(PolicySettings(level=level))), list)  # type: ignore[arg-type]


def test_a_usual_job_is_looked_at_in_no_time() -> None:
    usual = container(
        env=[{"name": f"A{i}", "value": "b"} for i in range(10)],
        resources={"limits": {"cpu": "1"}},
        volumeMounts=[{"name": "home", "mountPath": "/home"}],
    )
    best = 1.0
    for _ in range(50):
        started = time.perf_counter()
        violations(usual, "Job", DEFAULT)
        best = min(best, time.perf_counter() - started)
    assert best < 200e-6


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            job(volumes=[{"name": "a", "hostPath": {"path": "/"}}]),
            "files of the node; allowed: nothing (files go into a persistentVolumeClaim or an emptyDir)",
        ),
        (
            container(securityContext={"privileged": True}),
            "privileged containers; allowed: false (a GPU is asked for in resources.limits)",
        ),
        (
            container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
            "SYS_CHROOT (most programs need none)",
        ),
        (
            job(serviceAccountName="admin"),
            "service accounts; allowed: default (the operator can allow others in "
            "tenancy.policy.allow.service_accounts)",
        ),
        (
            job(priorityClassName="high"),
            "allowed: nothing (the operator can allow others in tenancy.policy.allow.priority_classes)",
        ),
        (
            job(automountServiceAccountToken=True),
            "allowed: false (they are for accounts that the operator allows in "
            "tenancy.policy.allow.service_accounts)",
        ),
        (job(nodeName="a"), "nodes to run on; allowed: nothing (a profile or the scheduler chooses)"),
        (
            job(shareProcessNamespace=True),
            "allowed: nothing (the operator can open shareProcessNamespace in tenancy.policy.allow.fields)",
        ),
    ],
)
def test_a_refusal_says_what_to_do_instead(obj: dict[str, Any], message: str) -> None:
    (found,) = violations(obj, "Job", DEFAULT)
    assert found.message.endswith(message)
