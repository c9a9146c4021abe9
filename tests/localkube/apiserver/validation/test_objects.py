# ruff: noqa: E501 (the messages are the API's: whole, so that they can be searched for)
"""One broken field at a time: the cause that the API gives for it."""

import copy
from typing import Any

import pytest

from localkube.apiserver import defaults, schema, strategy
from localkube.apiserver.resources import Resources
from localkube.apiserver.status import FieldError
from localkube.apiserver.validation import objects as validation

RESOURCES = Resources()
UID = "11111111-2222-3333-4444-555555555555"


def lookup(key: str, namespace: str, name: str) -> dict[str, Any] | None:
    return {} if key == "serviceaccounts" else None


def prepared(key: str, obj: dict[str, Any]) -> dict[str, Any]:
    resource = RESOURCES[key]
    decoded, unknown = schema.decode(resource, copy.deepcopy(obj))
    assert unknown == []
    defaults.apply(resource, decoded)
    decoded["metadata"] = {"name": "a", "uid": UID, **decoded["metadata"]}
    if resource.namespaced:
        decoded["metadata"]["namespace"] = "ns"
    strategy.prepare_create(resource, decoded, lookup)
    return decoded


def said(errors: list[FieldError]) -> list[str]:
    return [str(error) for error in errors]


def causes(key: str, obj: dict[str, Any]) -> list[str]:
    return said(validation.validate(RESOURCES[key], prepared(key, obj)))


def changed(key: str, old: dict[str, Any], new: dict[str, Any], subresource: str = "") -> list[str]:
    """The causes against changing the stored `old` into `new`, said once each."""
    resource = RESOURCES[key]
    decoded, _ = schema.decode(resource, copy.deepcopy(new))
    defaults.apply(resource, decoded)
    strategy.prepare_update(resource, decoded, old, subresource)
    return list(dict.fromkeys(said(validation.validate_update(resource, decoded, old, subresource))))


def pod(spec: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "busybox", **container}]
    return {"spec": {"automountServiceAccountToken": False, "containers": containers, **(spec or {})}}


def job(spec: dict[str, Any] | None = None, template: dict[str, Any] | None = None) -> dict[str, Any]:
    containers = [{"name": "c", "image": "busybox"}]
    pod_spec = {"restartPolicy": "Never", "containers": containers, **(template or {})}
    return {"spec": {"template": {"spec": pod_spec}, **(spec or {})}}


def cron_job(**spec: Any) -> dict[str, Any]:
    return {"spec": {"schedule": "* * * * *", "jobTemplate": job(), **spec}}


LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
C = "spec.containers[0]"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod(), []),
        ({"spec": {"containers": []}}, ["spec.containers: Required value"]),
        (pod(name="A"), [f'{C}.name: Invalid value: "A": {LABEL}']),
        (pod(image=""), [f"{C}.image: Required value"]),
        (pod(image=" a"), [f'{C}.image: Invalid value: " a": must not have leading or trailing whitespace']),
        (
            pod({"restartPolicy": "Sometimes"}),
            ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'],
        ),
        (
            pod(imagePullPolicy="Maybe"),
            [
                f'{C}.imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", '
                '"IfNotPresent", "Never"'
            ],
        ),
        (pod({"activeDeadlineSeconds": 0}), ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"]),
        (pod({"initContainers": [{"name": "c", "image": "x"}]}), ['spec.initContainers[0].name: Duplicate value: "c"']),
        (pod({"nodeSelector": {"a": "b c"}}), None),
        (pod(ports=[{"containerPort": 1, "name": "A"}]), None),
        (
            pod(ports=[{"containerPort": 1, "hostPort": 2}, {"containerPort": 3, "hostPort": 2}]),
            [f'{C}.ports[1].hostPort: Duplicate value: "TCP//2"'],
        ),
        (pod(env=[{"name": "A=B"}]), None),
        (
            pod(env=[{"name": "A", "valueFrom": {}}]),
            [
                f'{C}.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, '
                "`configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            ],
        ),
        (
            pod(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]),
            [f"{C}.env[0].valueFrom.secretKeyRef.key: Required value"],
        ),
        (
            pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]),
            [
                f'{C}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported '
                'values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", '
                '"spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"'
            ],
        ),
        (
            pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}}]),
            [],
        ),
        (pod(envFrom=[{}]), [f'{C}.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`']),
        (pod(volumeMounts=[{"name": "v", "mountPath": "/v"}]), [f'{C}.volumeMounts[0].name: Not found: "v"']),
        (
            pod({"volumes": [{"name": "v"}]}, volumeMounts=[{"name": "v", "mountPath": p} for p in ("/v", "/v")]),
            [f'{C}.volumeMounts[1].mountPath: Invalid value: "/v": must be unique'],
        ),
        (
            pod({"volumes": [{"name": "v"}]}, volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "../x"}]),
            [f'{C}.volumeMounts.subPath: Invalid value: "../x": must not contain \'..\''],
        ),
        (
            pod({"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]}),
            ["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            pod({"volumes": [{"name": "v", "secret": {"defaultMode": 512}}]}),
            [
                "spec.volumes[0].secret.secretName: Required value",
                "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            ],
        ),
        (
            pod({"volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "/a"}]}}]}),
            ['spec.volumes[0].configMap.items[0].path: Invalid value: "/a": must be a relative path'],
        ),
        (pod({"volumes": [{"name": "v"}, {"name": "v"}]}), ['spec.volumes[1].name: Duplicate value: "v"']),
        (pod(resources={"limits": {"cpu": "-1"}}), None),
        (
            pod(resources={"requests": {"foo": "1"}}),
            [
                f'{C}.resources.requests[foo]: Invalid value: "foo": must be a standard resource type or fully qualified',
                f'{C}.resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers',
            ],
        ),
        (
            pod(resources={"requests": {"a.b/gpu": "1"}}),
            [f"{C}.resources.limits: Required value: Limit must be set for non overcommitable resources"],
        ),
        (
            pod(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}),
            [f'{C}.resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi'],
        ),
        (pod(livenessProbe={}), [f"{C}.livenessProbe: Required value: must specify a handler type"]),
        (
            pod(livenessProbe={"exec": {"command": ["x"]}, "successThreshold": 2}),
            [f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            pod({"initContainers": [{"name": "i", "image": "x", "lifecycle": {}}]}),
            ["spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always"],
        ),
        (pod(securityContext={"runAsUser": -1}), [f"{C}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive"]),
        (
            pod({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
            [
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp "
                "type is Localhost"
            ],
        ),
        (
            pod({"tolerations": [{"operator": "Equal", "value": "x"}]}),
            [
                'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is '
                'empty, which means "match all values and all keys"'
            ],
        ),
        (pod({"hostAliases": [{"ip": "x"}]}), ['spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        (pod({"dnsPolicy": "None"}), ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
        (pod({"hostname": "A.b"}), None),
        (pod({"schedulingGates": [{"name": "g"}, {"name": "g"}]}), ['spec.schedulingGates[1]: Duplicate value: "g"']),
        (
            pod({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            [
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: "
                "Required value: must have at least one node selector term"
            ],
        ),
    ],
)  # fmt: skip
def test_pods(obj: dict[str, Any], expected: list[str] | None) -> None:
    found = causes("pods", obj)
    # None stands for messages that test_names.py is about.
    assert found if expected is None else found == expected


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (job(), []),
        (job({"managedBy": "x"}), ['spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")']),
        (job({"completionMode": "Odd"}), ['spec.completionMode: Unsupported value: "Odd": supported values: "NonIndexed", "Indexed"']),
        (job({"completionMode": "Indexed", "parallelism": 2}), ["spec.completions: Required value: when completion mode is Indexed"]),
        (job({"backoffLimitPerIndex": 1}), ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]),
        (
            job({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}),
            ['spec.podFailurePolicy.rules[0]: Invalid value: "<excluded>": specifying one of OnExitCodes and OnPodConditions is required'],
        ),
        (
            job({"podFailurePolicy": {"rules": []}}, {"restartPolicy": "OnFailure"}),
            ['spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified'],
        ),
        (job({"selector": {"matchLabels": {"a": "b"}}, "manualSelector": True}), ["spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"]),
        (job({"manualSelector": True}), ["spec.selector: Required value"]),
    ],
)  # fmt: skip
def test_jobs(obj: dict[str, Any], expected: list[str]) -> None:
    assert causes("jobs.batch", obj) == expected


def test_nobody_may_choose_the_generated_labels() -> None:
    template = {"metadata": {"labels": {"job-name": "other"}}, "spec": job()["spec"]["template"]["spec"]}
    labels = (
        f'{{"batch.kubernetes.io/controller-uid":"{UID}","batch.kubernetes.io/job-name":"a",'
        f'"controller-uid":"{UID}","job-name":"other"}}'
    )
    expected = f"spec.template.metadata.labels[job-name]: Invalid value: {labels}: must be 'a'"
    assert causes("jobs.batch", job({"template": template})) == [expected]


def test_a_selector_of_one_s_own_needs_manual_selector() -> None:
    chosen = f'{{"matchLabels":{{"batch.kubernetes.io/controller-uid":"{UID}","z":"y"}}}}'
    labels = (
        f'{{"batch.kubernetes.io/controller-uid":"{UID}","batch.kubernetes.io/job-name":"a",'
        f'"controller-uid":"{UID}","job-name":"a"}}'
    )
    assert causes("jobs.batch", job({"selector": {"matchLabels": {"z": "y"}}})) == [
        f"spec.selector: Invalid value: {chosen}: `selector` not auto-generated",
        f"spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`",
    ]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (cron_job(), []),
        (cron_job(schedule=""), ["spec.schedule: Required value"]),
        (cron_job(schedule="@every 1h"), []),
        (cron_job(schedule="* *"), ['spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]']),
        (cron_job(schedule="61 * * * *"), ['spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61']),
        (cron_job(timeZone="Europe/Berlin"), []),
        (cron_job(timeZone="Mars/Base"), ['spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base']),
        (cron_job(timeZone=""), ['spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string']),
        (cron_job(timeZone="../../etc/passwd"), ['spec.timeZone: Invalid value: "../../etc/passwd": unknown time zone ../../etc/passwd']),
        (cron_job(timeZone="local"), ['spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones']),
        (cron_job(startingDeadlineSeconds=-1), ["spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"]),
        (cron_job(jobTemplate=job({"manualSelector": True})), ['spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"']),
    ],
)  # fmt: skip
def test_cron_jobs(obj: dict[str, Any], expected: list[str]) -> None:
    assert causes("cronjobs.batch", obj) == expected


@pytest.mark.parametrize(
    ("key", "obj", "expected"),
    [
        ("secrets", {"type": "kubernetes.io/tls", "data": {}}, ["data[tls.crt]: Required value", "data[tls.key]: Required value"]),
        ("secrets", {"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "eA=="}}, None),
        ("configmaps", {"data": {"k": "x" * 1048577}}, ["[]: Too long: may not be more than 1048576 bytes"]),
        ("configmaps", {"metadata": {"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}}, None),
        ("configmaps", {"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}}, ['metadata.ownerReferences.uid: Invalid value: "": must not be empty']),
        ("leases.coordination.k8s.io", {"spec": {"leaseDurationSeconds": 0}}, ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
        ("nodes", {"spec": {"taints": [{"key": "k", "effect": "Often"}]}}, ['metadata.taints[0].effect: Unsupported value: "Often": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"']),
        ("events", {"metadata": {"name": "a/b"}, "involvedObject": {"namespace": "ns"}}, ['metadata.name: Invalid value: "a/b": may not contain \'/\'']),
        ("namespaces", {"metadata": {"name": "a"}, "spec": {"finalizers": ["x"]}}, ['spec.finalizers: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified']),
    ],
)  # fmt: skip
def test_small_kinds(key: str, obj: dict[str, Any], expected: list[str] | None) -> None:
    found = causes(key, obj)
    assert found if expected is None else found == expected


def test_a_pod_s_spec_is_fixed_except_for_a_few_fields() -> None:
    old = prepared("pods", pod({"activeDeadlineSeconds": 10}))
    allowed = copy.deepcopy(old)
    allowed["spec"]["containers"][0]["image"] = "other"
    allowed["spec"]["activeDeadlineSeconds"] = 5
    allowed["spec"]["tolerations"].append({"key": "k", "operator": "Exists"})
    assert changed("pods", old, allowed) == []
    refused = copy.deepcopy(old)
    refused["spec"]["containers"][0]["command"] = ["x"]
    [cause] = changed("pods", old, refused)
    assert cause.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    )
    longer = copy.deepcopy(old)
    longer["spec"]["activeDeadlineSeconds"] = 11
    assert changed("pods", old, longer) == [
        "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value"
    ]
    more = copy.deepcopy(old)
    more["spec"]["containers"].append({"name": "d", "image": "x"})
    assert changed("pods", old, more) == [
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    ]


def test_a_job_s_template_is_fixed_until_it_starts() -> None:
    change: dict[str, Any] = {"nodeSelector": {"zone": "a"}}
    running = prepared("jobs.batch", job())
    suspended = prepared("jobs.batch", job({"suspend": True}))
    for old, count in ((running, 1), (suspended, 0)):
        new = copy.deepcopy(old)
        new["spec"]["template"]["spec"] |= change
        assert len(changed("jobs.batch", old, new)) == count
    new = copy.deepcopy(suspended)
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    [cause] = changed("jobs.batch", suspended, new)
    assert cause.startswith('spec.template: Invalid value: {"labels":{')
    assert '"Image":"other"' in cause
    assert cause.endswith("field is immutable")


def test_completions_change_only_together_with_parallelism() -> None:
    old = prepared("jobs.batch", job({"completionMode": "Indexed", "completions": 2, "parallelism": 2}))
    alone, both = copy.deepcopy(old), copy.deepcopy(old)
    alone["spec"]["completions"] = 3
    both["spec"] |= {"completions": 3, "parallelism": 3}
    assert changed("jobs.batch", old, both) == []
    assert changed("jobs.batch", old, alone) == [
        "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"
    ]


def test_immutable_data_and_types_stay() -> None:
    old = prepared("configmaps", {"data": {"k": "v"}, "immutable": True})
    new = {**old, "data": {"k": "w"}, "immutable": False}
    assert changed("configmaps", old, new) == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]
    secret = prepared("secrets", {"type": "Opaque"})
    assert changed("secrets", secret, {**secret, "type": "x/y"}) == [
        'type: Invalid value: "x/y": field is immutable'
    ]


def test_an_error_in_metadata_comes_twice_as_the_real_server_gives_it() -> None:
    old = prepared("configmaps", {})
    old["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}
    new = {**old, "metadata": {**old["metadata"], "finalizers": ["a.b/c", "a.b/d"]}}
    errors = said(validation.validate_update(RESOURCES["configmaps"], new, old))
    text = (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found "
        'new finalizers []string{"a.b/d"}'
    )
    assert errors == [text, text]


def test_a_namespace_s_phase_follows_its_deletion() -> None:
    old = prepared("namespaces", {})
    new = {**old, "status": {"phase": "Terminating"}}
    assert changed("namespaces", old, new, "status") == [
        "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
    ]
