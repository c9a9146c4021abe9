"""What an operator says about the pods of users: `tenancy.policy` of the settings; docs/tenancy-policy.md.

A leaf: `settings` has it in its tree, `tenancy.policy` makes a policy of it. Nothing here can open what the
Pod Security Standards close: who needs a hostPath volume gets it from the operator's job template.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Level = Literal["baseline", "restricted"]
Enforced = Literal["auto", "privileged", "baseline", "restricted"]
Limit = Annotated[int, Meta(ge=0)]

VolumeKind = Literal[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
]
"""Volumes that may hold other people's data. At the level `restricted`, only `image` can be allowed."""

Field = Literal[
    "clusterTrustBundle",
    "dnsConfig",
    "hostAliases",
    "hostnameOverride",
    "podCertificate",
    "preemptionPolicy",
    "readinessGates",
    "resourceClaims",
    "schedulingGates",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "volumeDevices",
]
"""Fields of a pod that are closed for other reasons, and that an operator may open as they are."""

OURS = ("hubfleet.dev/", "kbatch.jupyter.org/")
"""Prefixes of labels and annotations that say whose an object is. Nobody opens them."""

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?")
_METADATA_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


class _Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class PolicyAllow(_Base, frozen=True):
    """What users may say beside what is harmless. Of several (everybody's, each group's), all is allowed."""

    service_accounts: tuple[str, ...] = ()  # of the user's namespace; "default" is always allowed
    priority_classes: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()  # "default-scheduler" is always allowed
    tolerations: tuple[dict[str, Any], ...] = ()  # exactly these, beside the profiles'
    node_labels: tuple[str, ...] = ()  # that nodeSelector and node affinity may name, beside the profiles'
    labels: tuple[str, ...] = ()  # names of labels, or prefixes that end in "/"
    annotations: tuple[str, ...] = ()  # as `labels`
    volumes: tuple[VolumeKind, ...] = ()
    csi_drivers: tuple[str, ...] = ()  # of volumes that are written in the pod itself
    template_volumes: tuple[str, ...] = ()  # names of volumes of the job template that users may mount
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        for what in ("labels", "annotations"):
            for key in getattr(self, what):
                if not key or not _METADATA_KEY.fullmatch(key):
                    raise ValueError(f"{what}: {key!r} is neither a name nor a prefix that ends in '/'")
                if key.startswith(OURS):
                    raise ValueError(f"{what}: {key!r} is hubfleet's own")
        if unknown := {k for t in self.tolerations for k in t} - _TOLERATION:
            raise ValueError(f"tolerations: unknown key {min(unknown)!r}")


_TOLERATION = {"key", "operator", "value", "effect", "tolerationSeconds"}


class PolicyLimits(_Base, frozen=True):
    """The most that a job may ask for; null is no limit. What Kubernetes counts is `tenancy.quota`'s."""

    parallelism: Limit | None = 100  # pods of one job at once
    completions: Limit | None = 10_000  # pods of one job
    backoff_limit: Limit | None = 100  # failures of one job, and of one index
    history: Limit | None = 100  # finished jobs that a cron job keeps, of each sort
    containers: Limit | None = 20  # of one pod, init containers included
    grace_seconds: Limit | None = 600  # terminationGracePeriodSeconds: how long a pod holds up its end
    deadline_seconds: Limit | None = None  # activeDeadlineSeconds; filled in where a job has none
    empty_dir: str | None = None  # sizeLimit of each emptyDir; filled in where it has none

    def __post_init__(self) -> None:
        if self.empty_dir is not None and not _QUANTITY.fullmatch(self.empty_dir):
            raise ValueError(f"empty_dir: {self.empty_dir!r} is not a quantity such as 10Gi")
        if self.deadline_seconds == 0:
            raise ValueError("deadline_seconds: a job of 0 seconds cannot run")


class GroupLimits(_Base, frozen=True):
    """What is another limit for a group; null is as for everybody. The largest that a user's groups say."""

    parallelism: Limit | None = None
    completions: Limit | None = None
    backoff_limit: Limit | None = None
    history: Limit | None = None
    containers: Limit | None = None
    grace_seconds: Limit | None = None
    deadline_seconds: Limit | None = None
    empty_dir: str | None = None

    def __post_init__(self) -> None:
        PolicyLimits(empty_dir=self.empty_dir, deadline_seconds=self.deadline_seconds)


class GroupPolicy(_Base, frozen=True):
    """What a group of the Hub may do beyond everybody."""

    level: Level | None = None  # null is as for everybody; the weakest that a user's groups say
    allow: PolicyAllow = PolicyAllow()
    limits: GroupLimits = GroupLimits()


class PolicySettings(_Base, frozen=True):
    """What users may put into their pods."""

    level: Level = "baseline"  # of the Pod Security Standards
    enforce: Enforced = "auto"  # by the API server: the label of the namespaces; auto is the level
    run_as_user: Annotated[int, Meta(ge=1, lt=2**31)] | None = 1000  # filled in at `restricted`
    allow: PolicyAllow = PolicyAllow()
    limits: PolicyLimits = PolicyLimits()
    groups: dict[str, GroupPolicy] = {}

    def __post_init__(self) -> None:
        levels = {self.level, *(group.level for group in self.groups.values())}
        if self.enforce == "restricted" and "baseline" in levels:
            raise ValueError("enforce: restricted refuses the pods that the level baseline allows")
