"""The Pod Security Standards, control by control, and what admission makes of them over HTTP."""

from typing import Any

import pytest
from tests.localkube.conftest import Localkube

from localkube.apiserver.podsecurity import policy
from localkube.apiserver.podsecurity.policy import LATEST, Policy, Standard
from localkube.apiserver.podsecurity.standards import violations

Object = dict[str, Any]

BASELINE, RESTRICTED = Standard("baseline"), Standard("restricted")
GOOD_CONTEXT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
GOOD_POD_CONTEXT = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def container(name: str = "c", **more: Any) -> Object:
    return {"name": name, "image": "busybox", **more}


def found(standard: Standard, spec: Object, annotations: Object | None = None) -> str:
    spec = {"containers": [container()], **spec}
    return ", ".join(str(v) for v in violations(standard, {"name": "p", "annotations": annotations}, spec))


def with_context(**context: Any) -> Object:
    return {"containers": [container(securityContext=context)]}


def with_pod_context(**context: Any) -> Object:
    return {"securityContext": context}


APPARMOR = "container.apparmor.security.beta.kubernetes.io/"

REFUSED: list[tuple[str, Object, str]] = [
    # appArmorProfile
    (
        "apparmor of the pod",
        with_pod_context(appArmorProfile={"type": "Unconfined"}),
        'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
    ),
    (
        "apparmor of a container",
        with_context(appArmorProfile={"type": "Unconfined"}),
        'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
    ),
    # capabilities_baseline
    (
        "capabilities of two",
        {
            "containers": [
                container("a", securityContext={"capabilities": {"add": ["NET_RAW", "CHOWN"]}}),
                container("b", securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
            ]
        },
        'non-default capabilities (containers "a", "b" must not include "NET_RAW", "SYS_ADMIN" in '
        "securityContext.capabilities.add)",
    ),
    (
        "capability ALL",
        with_context(capabilities={"add": ["ALL"]}),
        'non-default capabilities (container "c" must not include "ALL" in securityContext.capabilities.add)',
    ),
    (
        "capability with its prefix",
        with_context(capabilities={"add": ["CAP_CHOWN"]}),
        'non-default capabilities (container "c" must not include "CAP_CHOWN" in '
        "securityContext.capabilities.add)",
    ),
    # hostNamespaces
    ("host network", {"hostNetwork": True}, "host namespaces (hostNetwork=true)"),
    ("host pid", {"hostPID": True}, "host namespaces (hostPID=true)"),
    ("host ipc", {"hostIPC": True}, "host namespaces (hostIPC=true)"),
    # hostPathVolumes
    (
        "host path",
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]},
        'hostPath volumes (volume "v")',
    ),
    (
        "host path without a path",
        {"volumes": [{"name": "v", "hostPath": {}}]},
        'hostPath volumes (volume "v")',
    ),
    # hostPorts
    (
        "host ports",
        {
            "initContainers": [container("i", ports=[{"containerPort": 1, "hostPort": 9000}])],
            "containers": [container(ports=[{"containerPort": 1, "hostPort": 80}, {"containerPort": 2}])],
        },
        'hostPort (containers "i", "c" use hostPorts 80, 9000)',
    ),
    (
        "a host port",
        {"containers": [container(ports=[{"containerPort": 1, "hostPort": 80}])]},
        'hostPort (container "c" uses hostPort 80)',
    ),
    # hostProbesAndHostLifecycle
    *(
        (
            f"host of a {probe} by {handler}",
            {"containers": [container(**{probe: {handler: {"port": 80, "host": "169.254.169.254"}}})]},
            'probe or lifecycle host (container "c" uses probe or lifecycle host "169.254.169.254")',
        )
        for probe in ("livenessProbe", "readinessProbe", "startupProbe")
        for handler in ("httpGet", "tcpSocket")
    ),
    *(
        (
            f"host of {hook} by {handler}",
            {"containers": [container(lifecycle={hook: {handler: {"port": 80, "host": "10.0.0.1"}}})]},
            'probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")',
        )
        for hook in ("postStart", "preStop")
        for handler in ("httpGet", "tcpSocket")
    ),
    # privileged
    (
        "privileged",
        with_context(privileged=True),
        'privileged (container "c" must not set securityContext.privileged=true)',
    ),
    (
        "privileged init container",
        {"initContainers": [container("i", securityContext={"privileged": True})]},
        'privileged (container "i" must not set securityContext.privileged=true)',
    ),
    (
        "privileged ephemeral container",
        {"ephemeralContainers": [container("e", securityContext={"privileged": True})]},
        'privileged (container "e" must not set securityContext.privileged=true)',
    ),
    # procMount
    (
        "proc mount",
        with_context(procMount="Unmasked"),
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    # seLinuxOptions
    (
        "selinux type",
        with_context(seLinuxOptions={"type": "spc_t"}),
        'seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "spc_t")',
    ),
    (
        "selinux user and role",
        with_pod_context(seLinuxOptions={"user": "system_u", "role": "r", "level": "s0"}),
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: user may not be set; role may not "
        "be set)",
    ),
    # seccompProfile_baseline
    (
        "seccomp of pod and container",
        {
            **with_pod_context(seccompProfile={"type": "Unconfined"}),
            **with_context(seccompProfile={"type": "Unconfined"}),
        },
        'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to '
        '"Unconfined")',
    ),
    # sysctls
    (
        "sysctls",
        with_pod_context(
            sysctls=[{"name": "kernel.msgmax", "value": "1"}, {"name": "net.core.x", "value": "1"}]
        ),
        "forbidden sysctls (kernel.msgmax, net.core.x)",
    ),
    # windowsHostProcess
    (
        "host process",
        {
            **with_pod_context(windowsOptions={"hostProcess": True}),
            **with_context(windowsOptions={"hostProcess": True}),
        },
        'hostProcess (pod and container "c" must not set securityContext.windowsOptions.hostProcess=true)',
    ),
]


@pytest.mark.parametrize(("spec", "said"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_baseline_refuses(spec: Object, said: str) -> None:
    assert found(BASELINE, spec) == said
    assert found(Standard("privileged"), spec) == ""
    assert found(RESTRICTED, spec), "restricted refuses whatever baseline refuses"


ALLOWED: list[tuple[str, Object]] = [
    ("nothing special", {}),
    ("apparmor", with_context(appArmorProfile={"type": "Localhost", "localhostProfile": "p"})),
    ("default capabilities", with_context(capabilities={"add": ["CHOWN", "SYS_CHROOT"], "drop": ["KILL"]})),
    ("namespaces of its own", {"hostNetwork": False, "hostPID": False, "hostIPC": False}),
    ("a port of its own", {"containers": [container(ports=[{"containerPort": 1, "hostPort": 0}])]}),
    ("a probe of itself", {"containers": [container(livenessProbe={"httpGet": {"port": 80, "host": ""}})]}),
    ("not privileged", with_context(privileged=False)),
    ("masked proc", with_context(procMount="Default")),
    ("proc without being root", {**with_context(procMount="Unmasked"), "hostUsers": False}),
    ("selinux level", with_pod_context(seLinuxOptions={"level": "s0:c1"})),
    ("selinux types", with_context(seLinuxOptions={"type": "container_engine_t"})),
    ("seccomp", with_pod_context(seccompProfile={"type": "Localhost", "localhostProfile": "p"})),
    ("no host process", with_pod_context(windowsOptions={"hostProcess": False})),
    (
        "safe sysctls",
        with_pod_context(
            sysctls=[
                {"name": name, "value": "1"}
                for name in (
                    "kernel.shm_rmid_forced",
                    "net.ipv4.ip_local_port_range",
                    "net.ipv4.ip_local_reserved_ports",
                    "net.ipv4.ip_unprivileged_port_start",
                    "net.ipv4.ping_group_range",
                    "net.ipv4.tcp_fin_timeout",
                    "net.ipv4.tcp_keepalive_intvl",
                    "net.ipv4.tcp_keepalive_probes",
                    "net.ipv4.tcp_keepalive_time",
                    "net.ipv4.tcp_rmem",
                    "net.ipv4.tcp_syncookies",
                    "net.ipv4.tcp_wmem",
                )
            ]
        ),
    ),
]


@pytest.mark.parametrize("spec", [a[1] for a in ALLOWED], ids=[a[0] for a in ALLOWED])
def test_baseline_allows(spec: Object) -> None:
    assert found(BASELINE, spec) == ""


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("", False),
        ("runtime/default", False),
        ("localhost/p", False),
        ("unconfined", True),
        ("localhost", True),
    ],
)
def test_apparmor_by_annotation(value: str, refused: bool) -> None:
    said = (
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to "
        f'"{APPARMOR}c="{value}"")'
    )
    assert found(BASELINE, {}, {f"{APPARMOR}c": value}) == (said if refused else "")


def test_apparmor_in_all_places_is_one_violation() -> None:
    spec = {
        **with_pod_context(appArmorProfile={"type": "Unconfined"}),
        **with_context(appArmorProfile={"type": "Unconfined"}),
    }
    assert found(BASELINE, spec, {f"{APPARMOR}c": "unconfined"}) == (
        'forbidden AppArmor profiles (pod and container "c" and annotation must not set AppArmor profile '
        f'type to "Unconfined", "{APPARMOR}c="unconfined"")'
    )


def test_several_are_told_in_the_real_servers_order() -> None:
    spec = {
        "hostPID": True,
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        **with_context(privileged=True),
    }
    assert found(BASELINE, spec) == (
        'host namespaces (hostPID=true), hostPath volumes (volume "v"), privileged (container "c" must not '
        "set securityContext.privileged=true)"
    )


def good(**spec: Any) -> Object:
    """A pod spec that restricted allows, but for `spec`."""
    return {
        "securityContext": GOOD_POD_CONTEXT,
        "containers": [container(securityContext=GOOD_CONTEXT)],
        **spec,
    }


def good_with(**context: Any) -> Object:
    return good(containers=[container(securityContext={**GOOD_CONTEXT, **context})])


def good_with_pod(**context: Any) -> Object:
    return good(securityContext={**GOOD_POD_CONTEXT, **context})


NO_ESCALATION = (
    'allowPrivilegeEscalation != false (container "c" must set '
    "securityContext.allowPrivilegeEscalation=false)"
)
DROP_ALL = 'container "c" must set securityContext.capabilities.drop=["ALL"]'
SECCOMP = 'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'

RESTRICTED_REFUSES: list[tuple[str, Object, str]] = [
    ("escalation left open", good_with(allowPrivilegeEscalation=None), NO_ESCALATION),
    ("escalation asked for", good_with(allowPrivilegeEscalation=True), NO_ESCALATION),
    ("nothing dropped", good_with(capabilities={}), f"unrestricted capabilities ({DROP_ALL})"),
    (
        "not all dropped",
        good_with(capabilities={"drop": ["KILL"]}),
        f"unrestricted capabilities ({DROP_ALL})",
    ),
    (
        "nothing dropped, much added",
        good_with(capabilities={"add": ["NET_BIND_SERVICE", "CHOWN"]}),
        f'unrestricted capabilities ({DROP_ALL}; container "c" must not include "CHOWN" in '
        "securityContext.capabilities.add)",
    ),
    (
        "proc mount, even without being root",
        {**good_with(procMount="Unmasked"), "hostUsers": False},
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
    ),
    (
        "volumes",
        good(
            volumes=[
                {"name": "h", "hostPath": {"path": "/"}},
                {"name": "n", "nfs": {"server": "s", "path": "/"}},
                {"name": "e", "emptyDir": {}},
            ]
        ),
        'restricted volume types (volumes "h", "n" use restricted volume types "hostPath", "nfs")',
    ),
    (
        "a volume",
        good(volumes=[{"name": "g", "gitRepo": {"repository": "r"}}]),
        'restricted volume types (volume "g" uses restricted volume type "gitRepo")',
    ),
    (
        "root left open",
        good(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
    ),
    (
        "root asked for",
        {**good_with(runAsNonRoot=False), "securityContext": {**GOOD_POD_CONTEXT, "runAsNonRoot": False}},
        'runAsNonRoot != true (pod and container "c" must not set securityContext.runAsNonRoot=false)',
    ),
    (
        "a container that wants root",
        good_with(runAsNonRoot=False),
        'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
    ),
    ("user 0", good_with_pod(runAsUser=0), "runAsUser=0 (pod must not set runAsUser=0)"),
    ("user 0 of a container", good_with(runAsUser=0), 'runAsUser=0 (container "c" must not set runAsUser=0)'),
    (
        "no seccomp profile",
        good(securityContext={"runAsNonRoot": True}),
        f'seccompProfile (pod or container "c" must set {SECCOMP})',
    ),
    (
        "unconfined",
        good_with(seccompProfile={"type": "Unconfined"}),
        'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        "a second container without anything",
        good(containers=[container("a", securityContext=GOOD_CONTEXT), container("b")]),
        'allowPrivilegeEscalation != false (container "b" must set '
        'securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "b" must set '
        'securityContext.capabilities.drop=["ALL"])',
    ),
]


@pytest.mark.parametrize(
    ("spec", "said"), [r[1:] for r in RESTRICTED_REFUSES], ids=[r[0] for r in RESTRICTED_REFUSES]
)
def test_restricted_refuses(spec: Object, said: str) -> None:
    # a field that is None was not given
    for part in spec["containers"]:
        context = part.get("securityContext")
        if context:
            part["securityContext"] = {k: v for k, v in context.items() if v is not None}
    assert found(RESTRICTED, spec) == said


VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
)  # fmt: skip
RESTRICTED_ALLOWS: list[tuple[str, Object]] = [
    ("as it should be", good()),
    ("a port below 1024", good_with(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    ("volumes", good(volumes=[{"name": kind.lower(), kind: {}} for kind in VOLUMES])),
    ("a user", good_with(runAsUser=1000)),
    ("root in a user namespace", good_with(runAsNonRoot=False, runAsUser=0) | {"hostUsers": False}),
    (
        "all by the containers",
        {"containers": [container(securityContext={**GOOD_CONTEXT, **GOOD_POD_CONTEXT})]},
    ),
    (
        "windows",
        {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": True}, "containers": [container()]},
    ),
]


@pytest.mark.parametrize("spec", [a[1] for a in RESTRICTED_ALLOWS], ids=[a[0] for a in RESTRICTED_ALLOWS])
def test_restricted_allows(spec: Object) -> None:
    assert found(RESTRICTED, spec) == ""


def test_only_windows_is_excused() -> None:
    assert "allowPrivilegeEscalation" in found(RESTRICTED, {"os": {"name": "linux"}})
    assert "runAsNonRoot" in found(RESTRICTED, {"os": {"name": "windows"}})


SYSCTL = with_pod_context(sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1"}])
PROBE = {"containers": [container(livenessProbe={"httpGet": {"port": 1, "host": "h"}})]}
ENGINE = with_context(seLinuxOptions={"type": "container_engine_t"})
UNMASKED = {**with_context(procMount="Unmasked"), "hostUsers": False}


@pytest.mark.parametrize(
    ("level", "spec", "minor", "refused"),
    [
        ("baseline", SYSCTL, 31, True),
        ("baseline", SYSCTL, 32, False),
        ("baseline", PROBE, 33, False),
        ("baseline", PROBE, 34, True),
        ("baseline", PROBE, 99, True),
        ("baseline", ENGINE, 30, True),
        ("baseline", ENGINE, 31, False),
        ("baseline", UNMASKED, 34, True),
        ("baseline", UNMASKED, 35, False),
        ("restricted", good_with(runAsUser=0), 22, False),
        ("restricted", good_with(runAsUser=0), 23, True),
        ("restricted", good_with(runAsUser=0) | {"hostUsers": False}, 34, True),
        ("restricted", good_with(capabilities={}), 21, False),
        ("restricted", good_with(capabilities={}), 22, True),
        ("restricted", good_with(capabilities={"add": ["SYS_ADMIN"]}), 21, True),
        ("restricted", good_with(allowPrivilegeEscalation=True) | {"os": {"name": "windows"}}, 24, True),
        ("restricted", good_with(allowPrivilegeEscalation=True) | {"os": {"name": "windows"}}, 25, False),
    ],
)
def test_a_version_is_what_it_was(level: str, spec: Object, minor: int, refused: bool) -> None:
    assert bool(found(Standard(level, minor), spec)) is refused


def test_seccomp_was_an_annotation() -> None:
    key = "seccomp.security.alpha.kubernetes.io/pod"
    assert found(Standard("baseline", 18), {}, {key: "unconfined"}) == (
        f'seccompProfile (forbidden annotation {key}="unconfined")'
    )
    assert found(Standard("baseline", 19), {}, {key: "unconfined"}) == ""
    assert found(Standard("baseline", 18), {}, {key: "localhost/p"}) == ""


def labels(**modes: str) -> dict[str, str]:
    return {f"pod-security.kubernetes.io/{mode.replace('_', '-')}": value for mode, value in modes.items()}


def test_the_labels_of_a_namespace() -> None:
    assert policy.of_labels(None) == policy.of_labels({"a": "b"}) == Policy()
    both = policy.of_labels(labels(enforce="baseline", enforce_version="v1.30", warn="restricted"))
    assert both == Policy(Standard("baseline", 30), Standard("restricted", LATEST))
    assert (str(both.enforce), str(both.warn)) == ("baseline:v1.30", "restricted:latest")


def test_a_mistake_in_a_label_opens_nothing() -> None:
    assert policy.of_labels(labels(enforce="basline")).enforce == RESTRICTED
    assert policy.of_labels(labels(warn="basline")).warn == Standard("privileged")
    assert policy.of_labels(labels(enforce="baseline", enforce_version="1.30")).enforce == BASELINE


# over HTTP


def make(server: Localkube, name: str, wanted: dict[str, str]) -> str:
    answer = server.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": wanted}})
    assert answer.code == 201, answer.body
    return f"/api/v1/namespaces/{name}"


def pod(name: str = "p", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [container()], **spec}}


def warnings(answer: Any) -> list[str]:
    said: list[str] = answer.headers.get_all("warning") or []
    return said


def relabel(server: Localkube, path: str, **modes: str) -> Any:
    body = {"metadata": {"labels": labels(**modes)}}
    return server.call("PATCH", path, body, content_type="application/merge-patch+json")


@pytest.fixture
def secured(localkube_process: Localkube, namespace: str) -> str:
    """The path of a namespace that enforces baseline and warns of what is not restricted."""
    path = f"/api/v1/namespaces/{namespace}"
    assert relabel(localkube_process, path, enforce="baseline", warn="restricted").code == 200
    return path


def test_a_pod_is_refused_or_warned_of(localkube_process: Localkube, secured: str) -> None:
    refused = localkube_process.call("POST", f"{secured}/pods", pod(hostNetwork=True))
    assert refused.code == 403
    assert refused.body["message"] == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    assert warnings(refused) == []
    made = localkube_process.call("POST", f"{secured}/pods", pod())
    assert made.code == 201
    (said,) = warnings(made)
    assert said.startswith(
        '299 - "would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation != false'
    )


def test_a_generated_name_is_told(localkube_process: Localkube, secured: str) -> None:
    body = {**pod(hostPID=True), "metadata": {"generateName": "gen-"}}
    refused = localkube_process.call("POST", f"{secured}/pods", body)
    assert refused.body["details"]["name"].startswith("gen-")
    assert len(refused.body["details"]["name"]) == 9


def test_a_dry_run_and_an_apply_are_held_to_it_too(localkube_process: Localkube, secured: str) -> None:
    assert localkube_process.call("POST", f"{secured}/pods?dryRun=All", pod(hostIPC=True)).code == 403
    body = {"apiVersion": "v1", "kind": "Pod", **pod(hostIPC=True)}
    applied = localkube_process.call(
        "PATCH", f"{secured}/pods/p?fieldManager=m", body, content_type="application/apply-patch+yaml"
    )
    assert applied.code == 403


@pytest.mark.parametrize("kind", ["jobs", "cronjobs"])
def test_a_workload_is_only_warned_of(localkube_process: Localkube, secured: str, kind: str) -> None:
    template = {"spec": {"restartPolicy": "Never", "hostPID": True, "containers": [container()]}}
    job: Object = {"suspend": True, "template": template}
    spec = job if kind == "jobs" else {"schedule": "@yearly", "jobTemplate": {"spec": job}}
    path = secured.replace("/api/v1", "/apis/batch/v1") + f"/{kind}"
    made = localkube_process.call("POST", path, {"metadata": {"name": "j"}, "spec": spec})
    assert made.code == 201
    (said,) = warnings(made)
    assert 'would violate PodSecurity \\"restricted:latest\\": host namespaces (hostPID=true), ' in said
    patch = {"metadata": {"labels": {"a": "b"}}}
    patched = localkube_process.call("PATCH", f"{path}/j", patch, content_type="application/merge-patch+json")
    assert warnings(patched) == [said]


def test_an_update_is_held_to_what_is_enforced_now(localkube_process: Localkube, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    assert localkube_process.call("POST", f"{path}/pods", pod(hostNetwork=True)).code == 201
    said = warnings(relabel(localkube_process, path, enforce="baseline"))
    assert said == [
        f'299 - "existing pods in namespace \\"{namespace}\\" violate the new PodSecurity enforce level '
        '\\"baseline:latest\\""',
        '299 - "p: host namespaces"',
    ]

    def patch(body: Object) -> int:
        answer = localkube_process.call(
            "PATCH", f"{path}/pods/p", body, content_type="application/strategic-merge-patch+json"
        )
        return answer.code

    assert patch({"metadata": {"labels": {"a": "b"}}}) == 200
    assert patch({"spec": {"containers": [{"name": "c", "image": "other"}]}}) == 403


def test_existing_pods_are_told_once_for_all_that_are_alike(
    localkube_process: Localkube, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    for name in ("b", "a", "c"):
        localkube_process.call("POST", f"{path}/pods", pod(name, hostPID=True))
    localkube_process.call("POST", f"{path}/pods", pod("d", hostPID=True, **with_context(privileged=True)))
    said = warnings(relabel(localkube_process, path, enforce="baseline"))
    assert said[1:] == [
        '299 - "a (and 2 other pods): host namespaces"',
        '299 - "d: host namespaces, privileged"',
    ]
    assert warnings(relabel(localkube_process, path, enforce="privileged")) == []
    assert warnings(relabel(localkube_process, path, warn="restricted")) == []


def test_labels_that_mean_nothing_are_refused(localkube_process: Localkube, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    refused = relabel(localkube_process, path, enforce="basline", warn_version="1.30")
    assert refused.code == 422
    assert refused.body["message"] == (
        f'Namespace "{namespace}" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid '
        'value: "basline": must be one of privileged, baseline, restricted, '
        "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "
        '"1.30": must be "latest" or "v1.x"]'
    )
    made = localkube_process.call(
        "POST", "/api/v1/namespaces", {"metadata": {"name": f"{namespace}-x", "labels": labels(audit="all")}}
    )
    assert made.code == 422


def test_a_job_tells_that_its_pods_are_refused(localkube_process: Localkube, secured: str) -> None:
    template = {
        "spec": {"restartPolicy": "Never", "containers": [container(securityContext={"privileged": True})]}
    }
    path = secured.replace("/api/v1", "/apis/batch/v1") + "/jobs"
    body = {"metadata": {"name": "j"}, "spec": {"template": template}}
    assert localkube_process.call("POST", path, body).code == 201
    query = f"{secured}/events?fieldSelector=involvedObject.name%3Dj&watch=true&timeoutSeconds=10"
    line = next(iter(localkube_process.stream(query)))
    assert b"FailedCreate" in line
    assert b'violates PodSecurity \\"baseline:latest\\": privileged' in line
