"""One frozen tree of settings, from a YAML file and the environment; nothing else reads either.

Unknown keys are refused with their path. The environment variables of kbatch-proxy are accepted as they are,
so that an existing deployment runs with only its image changed.
"""

from typing import Any

import msgspec


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings are values: no key that we do not know, no change after the start."""


class ClusterSettings(Base):
    """One Kubernetes cluster: a kubeconfig context, or the account of the pod that we run in."""

    name: str
    context: str = ""  # the context of the kubeconfig files; "" is the current one
    kubeconfig: str = ""  # a path, or several joined by os.pathsep; "" takes $KUBECONFIG, then ~/.kube/config
    in_cluster: bool = False
    budget: float = 10.0  # seconds for one request to this cluster, unless the operation has less left
    max_connections: int = 64


class HubSettings(Base):
    """The JupyterHub whose users we serve."""

    api_url: str = "http://127.0.0.1:8081/hub/api"
    api_token: str = ""  # of this service; checks that the Hub is there, never used to look at users' servers
    public_url: str = ""
    access_scopes: tuple[str, ...] = ()  # a token needs one of these; () derives it from `service_name`
    service_name: str = ""
    cache_seconds: float = 60.0  # as HubAuth's cache_max_age in JupyterHub
    budget: float = 5.0  # seconds for one request to the Hub


class TenancySettings(Base):
    """How a user's namespace is named and made."""

    create_namespaces: bool = True
    manifests: tuple[dict[str, Any], ...] = ()  # applied to every user's namespace (KBATCH_NAMESPACE_MANIFESTS_FILE)


class BatchSettings(Base):
    """Jobs, cron jobs and logs: the kbatch contract."""

    prefix: str = ""  # KBATCH_PREFIX; where the API lives below the server's root
    job_template: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}
    profiles_enforced: bool = True  # a profile that a job names by label is applied by us, not only offered
    extra_env: dict[str, str] = {}
    job_ttl_seconds: int = 3600
    labels: dict[str, str] = msgspec.field(
        default_factory=lambda: {"app.kubernetes.io/managed-by": "kbatch"}  # KBATCH_LABELS
    )
    code_limit: int = 20 * 2**20  # bytes of the zip file
    body_limit: int = 32 * 2**20  # bytes of a request's body
    unpack_image: str = ""  # "" unpacks with the job's own image
    queue_name: str = ""  # Kueue's LocalQueue; "" submits at once
    part_expiry: float = 600.0  # seconds until a part whose Job never came is collected


class Settings(Base):
    """Everything that an operator can say."""

    listen: str = "127.0.0.1:8050"
    hub: HubSettings = HubSettings()
    clusters: tuple[ClusterSettings, ...] = (ClusterSettings(name="default"),)  # the first one is the default
    tenancy: TenancySettings = TenancySettings()
    batch: BatchSettings = BatchSettings()
    log_level: str = "info"
