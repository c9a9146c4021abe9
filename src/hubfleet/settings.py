"""One frozen tree of settings, from a YAML file and the environment; nothing else reads either.

Three sources, the first that says something wins: the file, the process's environment, the `.env` file of
kbatch-proxy (KBATCH_SETTINGS_PATH). The file is what an operator wrote down; the environment is partly
ambient (JupyterHub sets JUPYTERHUB_* for every service that it starts), so it only fills in what the file
leaves open.
A setting is taken whole from one source: maps and lists are replaced, never merged.

Unknown keys are refused with their path. The environment variables of kbatch-proxy are accepted as they are,
so that an existing deployment runs with only its image changed; `environment` says what each one means.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from hubfleet import environment
from hubfleet.errors import SettingsError
from hubfleet.policysettings import PolicySettings
from hubfleet.strict import convert, decode_yaml, problems

Seconds = Annotated[float, Meta(gt=0)]
Bytes = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=1)]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="at most 63 lower-case letters, digits and '-', the first and the last no '-'",
    ),
]  # a DNS label: it is part of URLs
Url = Annotated[str, Meta(pattern=r"^https?://[^/\s]+", description="a URL, http://... or https://...")]
Listen = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]]*):[0-9]{1,5}$",
        description="host:port, such as 127.0.0.1:8050, [::1]:8050 or, for every interface, :8050",
    ),
]
Quantity = Annotated[
    str,
    Meta(
        pattern=r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([KMGTPE]i|[kMGTPE]|[num]|[eE][-+]?[0-9]{1,2})?$",
        description="a quantity of Kubernetes that is not negative, such as 4, 500m or 16Gi",
    ),
]
Quantities = dict[str, Quantity | Annotated[int, Meta(ge=0)]]

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


def check_label(where: str, value: str) -> None:
    """Raises ValueError for what Kubernetes would refuse as the value of a label."""
    if not _LABEL_VALUE.fullmatch(value):
        raise ValueError(
            f"{where}: {value!r} is not a label's value: at most 63 letters, digits, '-', '_' and '.', "
            "the first and the last one a letter or digit"
        )


NAMESPACE_SCHEMES = ("hubfleet", "kbatch", "multicluster-kubespawner")

_TEMPLATE = re.compile(r"([a-z0-9][-a-z0-9]*)?\{user\}([-a-z0-9]*[a-z0-9])?")
_TEMPLATE_LIMIT = 24
"""Characters beside {user}. A namespace has 51, a hash takes 18 of them: nine at least are for the name."""


def _check_namespace(scheme: str) -> None:
    if scheme in NAMESPACE_SCHEMES:
        return
    if not _TEMPLATE.fullmatch(scheme):
        raise ValueError(
            f"namespace: {scheme!r} is neither one of {', '.join(NAMESPACE_SCHEMES)} nor a template with "
            "{user}, lower-case letters, digits and '-', such as jupyter-{user}"
        )
    if len(scheme) - len("{user}") > _TEMPLATE_LIMIT:
        raise ValueError(f"namespace: {scheme!r} has more than {_TEMPLATE_LIMIT} characters beside {{user}}")
    if scheme.startswith(("kube-", "openshift-")):
        raise ValueError(f"namespace: {scheme!r} leads to namespaces that are reserved for the cluster")


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings are values: no key that we do not know, no change after the start."""

    secret: ClassVar[frozenset[str]] = frozenset()  # fields that repr, and so logs, never show

    def __repr__(self) -> str:
        shown = {f: "***" if f in self.secret else repr(getattr(self, f)) for f in self.__struct_fields__}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in shown.items())})"


class ClusterSettings(Base, frozen=True):
    """One Kubernetes cluster: a kubeconfig context, or the account of the pod that we run in."""

    name: Name
    context: str = ""  # the context of the kubeconfig files; "" is the current one
    kubeconfig: str = ""  # a path, or several joined by os.pathsep; "" takes $KUBECONFIG, then ~/.kube/config
    in_cluster: bool = False
    budget: Seconds = 10.0  # seconds for one request to this cluster, unless the operation has less left
    max_connections: Annotated[int, Meta(ge=1)] = 64


class HubSettings(Base, frozen=True):
    """The JupyterHub whose users we serve."""

    secret = frozenset({"api_token"})

    name: str = "jupyterhub"  # told apart by this in the label hubfleet.dev/hub, where hubs share a cluster
    api_url: Url = environment.DEFAULT_HUB_API_URL
    api_token: str = ""  # of this service: for cron jobs' tokens; users are checked with their own
    public_url: str = ""  # used for nothing; JUPYTERHUB_HOST of an existing deployment lands here
    access_scopes: tuple[str, ...] = ()  # a token needs one of these; () derives it from `service_name`
    service_name: str = ""
    cache_seconds: Annotated[float, Meta(ge=0)] = 60.0  # how long an answer is trusted; as kbatch-proxy
    budget: Seconds = 5.0  # seconds for one request to the Hub
    tls_ca: str = ""  # path; the Hub's internal TLS (`c.JupyterHub.internal_ssl`) needs all three
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: a hub needs one, or another hub's namespaces cannot be told from its own")
        check_label("name", self.name)


class QuotaSettings(Base, frozen=True):
    """How much a user may have at once: the `hard` of a ResourceQuota, by resource."""

    hard: Quantities = {}  # for everybody; {} is no quota
    groups: dict[
        str, Quantities
    ] = {}  # in the place of that, resource by resource; the largest, where several


class NetworkPolicySettings(Base, frozen=True):
    """Who may speak with a user's pods, and with whom they may: nobody but each other, DNS and the world."""

    enabled: bool = True
    gateways: tuple[dict[str, Any], ...] = ()  # NetworkPolicyPeers that may come in
    egress: tuple[dict[str, Any], ...] = ()  # NetworkPolicyEgressRules beside ours: the Hub, a database


class LocalQueueSettings(Base, frozen=True):
    """Kueue's LocalQueue in each user's namespace; `batch.queue_name` sends jobs to it."""

    cluster_queue: str = ""  # "" makes none
    name: Name = "hubfleet"


class TenancySettings(Base, frozen=True):
    """How a user's namespace is named, what is in it, and as whom we act there."""

    namespace: str = "hubfleet"  # a scheme's name, or a template with {user}
    create_namespaces: bool = True
    adopt_unmarked: bool = False  # give namespaces that nobody marked to the users of their names
    kbatch_labels: dict[str, str] = {}  # a namespace with all of them is kbatch-proxy's: KBATCH_LABELS
    impersonation: environment.ImpersonationMode = "required"
    quota: QuotaSettings = QuotaSettings()
    limits: tuple[dict[str, Any], ...] = ()  # the items of a LimitRange
    network_policy: NetworkPolicySettings = NetworkPolicySettings()
    local_queue: LocalQueueSettings = LocalQueueSettings()
    policy: PolicySettings = PolicySettings()
    manifests: tuple[dict[str, Any], ...] = ()  # applied to every user's namespace, once per process

    @property
    def labels_of_kbatch(self) -> dict[str, str]:
        """`kbatch_labels`, where users' namespaces are named as kbatch-proxy's are: it made no others."""
        return self.kbatch_labels if self.namespace == "kbatch" else {}

    def __post_init__(self) -> None:
        _check_namespace(self.namespace)
        for index, item in enumerate(self.limits):
            if not isinstance(item.get("type"), str):
                raise ValueError(f"limits: item {index + 1} needs a type: Container, Pod, ...")
        for index, manifest in enumerate(self.manifests):
            metadata = manifest.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            strings = (manifest.get("apiVersion"), manifest.get("kind"), name)
            if not all(isinstance(s, str) and s for s in strings):
                raise ValueError(f"manifest {index + 1} needs an apiVersion, a kind and a metadata.name")


class BatchSettings(Base, frozen=True):
    """Jobs, cron jobs and logs: the kbatch contract."""

    secret = frozenset({"extra_env"})

    prefix: str = ""  # where the API lives below the server's root
    job_template: dict[str, Any] = {}  # merged over every user's job
    profiles: dict[str, dict[str, Any]] = {}
    profiles_required: bool = False  # every job must name a profile, or be what a client makes of one
    extra_env: dict[str, str] = {}  # for the first container of every job
    job_ttl_seconds: Annotated[int, Meta(ge=0)] = 3600  # how long Kubernetes keeps a finished job
    labels: dict[str, str] = msgspec.field(
        default_factory=lambda: {"app.kubernetes.io/managed-by": "kbatch"}
    )  # of everything that we create
    code_limit: Bytes = 20 * 2**20  # bytes of the zip file
    code_unpacked_limit: Bytes = 512 * 2**20  # bytes that the zip file's members may be together
    body_limit: Bytes = 32 * 2**20  # bytes of a request's body
    job_limit: Bytes = 128 * 1024  # bytes of a body without its code: what the informers hold of each job
    user_limit: Bytes = 64 * 2**20  # bytes of a user's jobs, cron jobs and pods, beyond which no more go in
    unpack_image: str = ""  # "" unpacks with the job's own image
    queue_name: str = ""  # Kueue's LocalQueue; "" submits at once
    cron_token_seconds: Annotated[int, Meta(ge=0)] = 0  # until a cron job's own token expires; 0 is never
    budget: Seconds = 30.0  # seconds for everything that one request does
    log_wait: Seconds = 600.0  # how long a followed log waits for its pod to start
    part_expiry: Seconds = 600.0  # seconds until a part whose Job never came is collected

    def __post_init__(self) -> None:
        # "/" and a trailing slash are what people write; the routes are put together from the normal form.
        prefix = self.prefix.rstrip("/")
        if prefix and not prefix.startswith("/"):
            raise ValueError(f"prefix must start with '/', got {self.prefix!r}")
        msgspec.structs.force_setattr(self, "prefix", prefix)
        if self.part_expiry < 2 * self.budget:
            # Else the parts of a submission that is still under way could be collected.
            raise ValueError(f"part_expiry must be at least twice the budget, {2 * self.budget:g} s")
        for key, value in self.labels.items():
            if not _LABEL_KEY.fullmatch(key):
                raise ValueError(f"labels: {key!r} is not a label's name")
            check_label(f"labels: {key}", value)


class HubProxySettings(Base, frozen=True):
    """JupyterHub's proxy API, which programs a gateway: `hubfleet hubproxy`."""

    secret = frozenset({"auth_token"})

    listen: Listen = "127.0.0.1:8000"
    auth_token: str = ""  # the Hub's `ConfigurableHTTPProxy.auth_token`
    backend: environment.RoutingBackend = "gateway-api"
    gateway: str = ""  # [namespace/]name[:listener]; an IngressClass; Traefik's entry points, with commas
    cluster: str = ""  # one of `clusters`, whose gateway it is; "" is the first
    namespace: str = ""  # where the objects go; "" is that of the context
    hostnames: tuple[str, ...] = ()  # of routes that name no host; () is every one
    host_routing: bool = False  # the first segment of a path is a host: `JupyterHub.subdomain_host`
    name_prefix: Name = "route"  # of the objects' names
    inherit_prefix: str = (
        ""  # VIRTUAL_SERVICE_PREFIX of a jupyterhub-istio-proxy to take over from; "" is none
    )
    cluster_domain: str = "cluster.local"
    acknowledge: environment.AcknowledgeMode = "preferred"
    gateway_address: str = ""  # URL where the gateway is asked whether it serves a route
    budget: Seconds = 10.0  # seconds for everything that one request does
    retry_field: bool = False  # write HTTPRoute's `retry`: the CRDs must be of the experimental channel
    tls: bool = False  # Traefik ends TLS on its entry points
    tls_secret: str = ""  # a Secret with the certificate, for an Ingress
    tls_ca: str = ""  # a ConfigMap with the authority of https targets; "" is the gateway's own list
    tls_hostname: str = ""  # the name in the certificates of https targets; "" is each target's own
    servers_transport: str = ""  # Traefik's, for https targets
    ingress_annotations: dict[str, str] = {}  # {} is those of ingress-nginx; see docs/routing.md

    def __post_init__(self) -> None:
        if self.gateway_address and not re.match(r"https?://[^/\s]+/?$", self.gateway_address):
            raise ValueError(f"gateway_address: {self.gateway_address!r} is not http(s)://host[:port]")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        return host_and_port(self.listen)


class LimitSettings(Base, frozen=True):
    """What one user may ask of one process, so that the others do not notice; ordinary clients neither."""

    requests_per_second: Annotated[float, Meta(gt=0)] = 100.0
    request_burst: Count = 1000  # that many at once, after a rest
    concurrent_requests: Count = 16  # of one user under way; the others of theirs wait in line
    waiting_requests: Annotated[int, Meta(ge=0)] = 500  # of one user in line; further ones are refused
    submissions_per_second: Annotated[float, Meta(gt=0)] = 20.0  # of one user, in the long run
    submission_burst: Count = 200  # that many at once, after a rest
    concurrent_submissions: Count = 8  # of one user, of the requests under way
    body_bytes_per_second: Bytes = 8 * 2**20  # of one user's submissions, in the long run
    body_burst: Bytes = 64 * 2**20  # bytes at once, after a rest
    body_seconds: Seconds = 60.0  # for a body to arrive
    slowest_body: Bytes = 16 * 1024  # bytes a second that a body arrives with, after 5 s
    arriving_bodies: Count = 16  # bodies of more than 256 KiB that arrive, of all users; one of each
    large_bodies: Count = 4  # bodies of more than 256 KiB in work, of all users; one of each
    followed_logs_per_user: Count = 1000
    followed_logs: Count = 5000  # of all users; about 100 KiB of memory each
    log_lines_per_second: Annotated[float, Meta(gt=0)] = 5000.0  # of all followed logs of one user
    log_line_burst: Count = 20_000
    unknown_tokens_per_second: Annotated[float, Meta(gt=0)] = 50.0  # that the Hub is asked about
    trusted_proxies: Annotated[int, Meta(ge=0)] = 1  # before us, each of which adds to X-Forwarded-For


class LogSettings(Base, frozen=True):
    """What the process writes to its standard error."""

    level: environment.LogLevel = "info"
    format: environment.LogFormat = "auto"  # auto: for people on a terminal, else JSON
    access: bool = True  # one line per request


class Settings(Base, frozen=True):
    """Everything that an operator can say."""

    listen: Listen = "127.0.0.1:8050"
    shutdown_seconds: Seconds = 10.0  # for requests under way when the process is told to stop
    hub: HubSettings = HubSettings()
    clusters: tuple[ClusterSettings, ...] = (ClusterSettings(name="default"),)  # the first one is the default
    tenancy: TenancySettings = TenancySettings()
    batch: BatchSettings = BatchSettings()
    hubproxy: HubProxySettings = HubProxySettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()

    def __post_init__(self) -> None:
        names = [cluster.name for cluster in self.clusters]
        if not names:
            raise ValueError("clusters: name at least one, or leave the key out")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"clusters: {', '.join(twice)} is there twice")
        for name, listen in (("listen", self.listen), ("hubproxy.listen", self.hubproxy.listen)):
            if not 0 <= host_and_port(listen)[1] <= 65535:
                raise ValueError(f"{name}: there is no port {host_and_port(listen)[1]}")
        if self.hubproxy.cluster not in ("", *names):
            raise ValueError(f"hubproxy.cluster: {self.hubproxy.cluster!r} is not one of {', '.join(names)}")

    @property
    def address(self) -> tuple[str, int]:
        """Host ("" is every interface, as is 0.0.0.0) and port of `listen`."""
        return host_and_port(self.listen)


def host_and_port(listen: str) -> tuple[str, int]:
    """Of `host:port` or `[IPv6]:port`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def load(
    text: str | None,
    environ: Mapping[str, str],
    read_file: Callable[[str], str],
    *,
    file: str = "settings",
) -> Settings:
    """The settings that the YAML document `text`, the environment and the files that they name amount to.

    `read_file(path)` returns a file's text or raises OSError; `file` is what the text itself is called.
    Raises SettingsError with every problem found.
    """
    written = decode_yaml(file, text or "")
    if written is None:
        written = {}
    if not isinstance(written, dict):
        raise SettingsError([f"{file}: expected a map of settings at the top of the file"])
    try:
        merged = _merge(environment.settings_tree(environ, read_file), written)
    except SettingsError as e:
        raise SettingsError([*e.problems, *problems(written, Settings)]) from e
    if written.get("clusters") is None:
        merged["clusters"] = [_only_cluster(environ, read_file)]
    settings = convert(merged, Settings)
    clusters = tuple(_with_kubeconfig(cluster, environ) for cluster in settings.clusters)
    return msgspec.structs.replace(settings, clusters=clusters)


def read(path: str | None) -> Settings:
    """`load` from this process's environment and the file at `path`, if one is given."""
    try:
        text = None if path is None else _read_file(path)
    except OSError as e:
        raise SettingsError([f"{path}: {e.strerror or e}"]) from e
    except UnicodeDecodeError as e:
        raise SettingsError([f"{path}: not UTF-8: {e}"]) from e
    return load(text, os.environ, _read_file, file=path or "settings")


def _read_file(path: str) -> str:
    return Path(path).expanduser().read_text(encoding="utf-8")


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` wins, setting by setting; only the tree's own sections are descended into."""
    merged = dict(under)
    for key, value in over.items():
        section = merged.get(key)
        if key in environment.SECTIONS and isinstance(section, dict) and isinstance(value, dict):
            merged[key] = {**section, **value}
        elif value is not None:
            merged[key] = value
    return merged


def _kubeconfig(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    return environ.get("KUBECONFIG", "") or (f"{home}/.kube/config" if home else "")


def _only_cluster(environ: Mapping[str, str], read_file: Callable[[str], str]) -> dict[str, Any]:
    # As kbatch-proxy (kubernetes.config.load_config): a kubeconfig if there is one, else our pod's account.
    if not environ.get("KUBECONFIG") and environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            read_file(_kubeconfig(environ))
        except OSError:
            return {"name": "default", "in_cluster": True}
    return {"name": "default"}


def _with_kubeconfig(cluster: ClusterSettings, environ: Mapping[str, str]) -> ClusterSettings:
    if cluster.in_cluster:
        if cluster.context or cluster.kubeconfig:
            raise SettingsError([f"clusters[{cluster.name}]: in_cluster excludes context and kubeconfig"])
        return cluster
    return msgspec.structs.replace(cluster, kubeconfig=cluster.kubeconfig or _kubeconfig(environ))
