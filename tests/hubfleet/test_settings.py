"""What an operator can write, what an old environment means, and what they are told when it is wrong."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.environment import IGNORED, OTHERS, VARIABLES
from hubfleet.errors import SettingsError
from hubfleet.settings import (
    BatchSettings,
    ClusterSettings,
    HubSettings,
    NetworkPolicySettings,
    Settings,
    TenancySettings,
    load,
    read,
)

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()


def files(contents: Mapping[str, str]) -> Callable[[str], str]:
    def read_file(path: str) -> str:
        if path not in contents:
            raise FileNotFoundError(2, "No such file or directory", path)
        return contents[path]

    return read_file


def loaded(text: str | None = None, environ: Mapping[str, str] | None = None, **contents: str) -> Settings:
    return load(text, environ or {}, files(contents))


def problems(text: str | None = None, environ: Mapping[str, str] | None = None, **contents: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(text, environ, **contents)
    return list(caught.value.problems)


# The file


def test_nothing_said_is_the_defaults() -> None:
    assert loaded() == Settings()
    assert loaded("") == Settings()
    assert loaded("# nothing yet\n") == Settings()
    assert loaded("hub:\nbatch:\nclusters:\n") == Settings()


def test_a_file_says_everything() -> None:
    settings = loaded(
        """
        listen: "[::1]:8050"
        hub: {api_url: "https://hub.example.org/hub/api", service_name: kbatch, access_scopes: [a, b]}
        clusters:
          - {name: west, context: gke}
          - {name: east, kubeconfig: /etc/east.yaml, budget: 3}
          - {name: here, in_cluster: true}
        tenancy: {manifests: [{apiVersion: v1, kind: LimitRange, metadata: {name: limits}}]}
        batch: {prefix: /services/kbatch/, labels: {team: a}, job_ttl_seconds: 60}
        log: {level: debug, format: json, access: false}
        """
    )
    assert settings.address == ("::1", 8050)
    assert settings.hub.access_scopes == ("a", "b")
    assert [cluster.name for cluster in settings.clusters] == ["west", "east", "here"]
    assert settings.clusters[1].budget == 3.0
    assert settings.batch.prefix == "/services/kbatch"
    assert settings.batch.labels == {"team": "a"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hub: {api_urll: x}", "hub.api_urll: unknown key; did you mean api_url?"),
        (
            "clusters: [{name: a}, {name: b, contxt: c}]",
            "clusters[1].contxt: unknown key; did you mean context?",
        ),
        ("Batch: {}", "Batch: unknown key; did you mean batch?"),
        ("hub: {api_token: 12}", "hub.api_token: Expected `str`, got `int`"),
        ("hub: 3", "hub: Expected a map, got `int`"),
        ("hub: {service_name: }", "hub.service_name: Expected `str`, got `null`"),
        ("batch: {job_ttl_seconds: -1}", "batch.job_ttl_seconds: Expected `int` >= 0"),
        ("batch: {prefix: services}", "batch: prefix must start with '/', got 'services'"),
        ("batch: {labels: {'a b': c}}", "batch: labels: 'a b' is not a label's name"),
        ("clusters: []", "clusters: name at least one, or leave the key out"),
        ("clusters: [{name: a}, {name: a}]", "clusters: a is there twice"),
        ("clusters: [{context: a}]", "clusters[0]: Object missing required field `name`"),
        ("clusters: {name: a}", "clusters: Expected a list, got a map"),
        ("listen: here", "listen: Expected host:port, such as 127.0.0.1:8050"),
        ("hub: {api_url: hub}", "hub.api_url: Expected a URL, http://... or https://..."),
        ("clusters: [{name: A}]", "clusters[0].name: Expected at most 63 lower-case letters"),
        (
            "tenancy: {quota: {hard: {pods: many}}}",
            "tenancy.quota.hard.pods: Expected a quantity of Kubernetes",
        ),
        (
            "tenancy: {quota: {groups: {staff: {memory: -1Gi}}}}",
            "tenancy.quota.groups.staff.memory: Expected a quantity of Kubernetes",
        ),
        (
            "tenancy: {policy: {level: strict}}",
            "tenancy.policy.level: 'strict' is none of: baseline, restricted",
        ),
        (
            "tenancy: {policy: {groups: {staff: {level: strict}}}}",
            "tenancy.policy.groups.staff.level: 'strict' is none of: baseline, restricted",
        ),
        (
            "tenancy: {policy: {allow: {volumes: [nfs, hostPath]}}}",
            "tenancy.policy.allow.volumes[1]: 'hostPath' is none of: awsElasticBlockStore, azureDisk",
        ),
        ("log: {level: loud}", "log.level: 'loud' is none of: "),
        ("listen: a:70000", "listen: there is no port 70000"),
        ("tenancy: {manifests: [{kind: Role}]}", "tenancy: manifest 1 needs an apiVersion"),
        ("clusters: [{name: a, in_cluster: true, context: b}]", "clusters[a]: in_cluster excludes context"),
        ("- a", "settings: expected a map of settings"),
        ("a: [", "settings: line 1, column 5: "),
        ("a: 1\n---\nb: 2", "settings: expected one YAML document, found 2"),
        ("a: !!python/object:os.system 1", "settings: line 1"),
    ],
)
def test_a_mistake_is_named_with_its_path(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


def test_all_unknown_keys_are_named_at_once() -> None:
    found = problems("hub: {a: 1}\nbatch: {b: 1}\nclusters: [{name: x, c: 1}]\nd: 1")
    assert [problem.split(":")[0] for problem in found] == ["hub.a", "batch.b", "clusters[0].c", "d"]


def test_everything_that_is_wrong_is_named_at_once() -> None:
    """Unknown keys, wrong values, parts that are wrong as a whole; of the file and of the environment."""
    found = problems(
        """
        listen: here
        hub: {api_url: ftp://x, nme: y}
        clusters: [{name: UPPER, budget: soon}, {context: a}]
        tenancy: {quota: {hard: {cpu: "1", pods: -1}, groups: {staff: {memory: many}}}}
        batch: {prefix: services}
        """,
        {"LOG_LEVEL": "loud"},
    )
    assert [problem.split(":")[0] for problem in found] == [
        "LOG_LEVEL",
        "listen",
        "hub.api_url",
        "hub.nme",
        "clusters[0].name",
        "clusters[0].budget",
        "clusters[1]",
        "tenancy.quota.hard.pods",
        "tenancy.quota.groups.staff.memory",
        "batch",
    ]


def outcome(text: str) -> Settings | str:
    """The settings, or the words of the error."""
    try:
        return loaded(text)
    except SettingsError as e:
        return "\n".join(e.problems)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
sections = st.sampled_from([field.name for field in msgspec.structs.fields(Settings)])


@given(st.dictionaries(sections, values, max_size=3))
def test_whatever_a_file_says_is_settings_or_an_error_with_words(tree: dict[str, Any]) -> None:
    assert outcome(msgspec.yaml.encode(tree).decode())


@given(st.text(max_size=60))
def test_whatever_bytes_a_file_holds(text: str) -> None:
    assert outcome(text)


# The environment of kbatch-proxy


def test_every_variable_of_kbatch_proxy() -> None:
    settings = loaded(
        None,
        {
            "KBATCH_PREFIX": "/services/kbatch",
            "KBATCH_JOB_TEMPLATE_FILE": "template",
            "KBATCH_PROFILE_FILE": "profiles",
            "KBATCH_JOB_TTL_SECONDS_AFTER_FINISHED": "60",
            "KBATCH_JOB_EXTRA_ENV": '{"A": "b"}',
            "KBATCH_CREATE_USER_NAMESPACE": "false",
            "KBATCH_NAMESPACE_MANIFESTS_FILE": "manifests",
            "KBATCH_LABELS": '{"team": "a"}',
            "KBATCH_INIT_LOGGING": "0",
            "JUPYTERHUB_API_TOKEN": "s3cret",
            "JUPYTERHUB_API_URL": "http://hub:8081/hub/api",
            "JUPYTERHUB_HOST": "https://hub.example.org",
            "JUPYTERHUB_SERVICE_NAME": "kbatch",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:services!service=kbatch", "access:services"]',
            "JUPYTERHUB_SERVICE_PREFIX": "/services/other/",
            "APP_HOST": "127.0.0.1",
            "APP_PORT": "8000",
            "GRACEFUL_TIMEOUT": "120",
            "ACCESS_LOG": "",
        },
        template="spec: {parallelism: 2}",
        profiles="small: {image: a}\n",
        manifests="apiVersion: v1\nkind: LimitRange\nmetadata: {name: a}\n---\n",
    )
    assert settings.batch == BatchSettings(
        prefix="/services/kbatch",
        job_template={"spec": {"parallelism": 2}},
        profiles={"small": {"image": "a"}},
        job_ttl_seconds=60,
        extra_env={"A": "b"},
        labels={"team": "a"},
    )
    assert settings.tenancy == TenancySettings(
        namespace="kbatch",
        create_namespaces=False,
        adopt_unmarked=True,
        kbatch_labels={"team": "a"},
        impersonation="preferred",
        network_policy=NetworkPolicySettings(enabled=False),
        manifests=({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "a"}},),
    )
    assert settings.hub == HubSettings(
        api_token="s3cret",
        api_url="http://hub:8081/hub/api",
        public_url="https://hub.example.org",
        service_name="kbatch",
        access_scopes=("access:services!service=kbatch", "access:services"),
    )
    assert (settings.listen, settings.shutdown_seconds) == ("127.0.0.1:8000", 120.0)
    assert (settings.log.level, settings.log.access) == ("warning", False)


@pytest.mark.parametrize(
    ("environ", "setting", "value"),
    [
        ({"APP_PORT": "8000"}, "listen", "0.0.0.0:8000"),
        ({"APP_HOST": "::1"}, "listen", "[::1]:80"),
        ({"PORT": "9", "HOST": "x", "BIND": "x:9"}, "listen", "127.0.0.1:8050"),
        ({"JUPYTERHUB_BASE_URL": "/base/"}, "hub.api_url", "http://127.0.0.1:8081/base/hub/api"),
        ({"JUPYTERHUB_BASE_URL": "/"}, "hub.api_url", "http://127.0.0.1:8081/hub/api"),
        ({"JUPYTERHUB_BASE_URL": "/x/", "JUPYTERHUB_API_URL": "http://h"}, "hub.api_url", "http://h"),
        ({"JUPYTERHUB_OAUTH_SCOPES": '["old"]'}, "hub.access_scopes", ("old",)),
        ({"LOG_LEVEL": "trace", "KBATCH_INIT_LOGGING": "no"}, "log.level", "debug"),
        ({"LOG_LEVEL": "WARNING"}, "log.level", "warning"),
        ({"KBATCH_PREFIX": "/"}, "batch.prefix", ""),
        ({"KBATCH_CREATE_USER_NAMESPACE": ""}, "tenancy.create_namespaces", True),
        ({"ACCESS_LOG": "-"}, "log.access", True),
    ],
)
def test_what_a_variable_means(environ: dict[str, str], setting: str, value: object) -> None:
    found: Any = loaded(None, environ)
    for name in setting.split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"KBATCH_PROFILE_FILE": "/nowhere"}, "KBATCH_PROFILE_FILE: cannot read /nowhere: No such file"),
        ({"KBATCH_PROFILE_FILE": "broken"}, "KBATCH_PROFILE_FILE: broken: line 1"),
        ({"KBATCH_PROFILE_FILE": "list"}, "KBATCH_PROFILE_FILE: Expected `object`, got `array`"),
        ({"KBATCH_LABELS": "{"}, "KBATCH_LABELS: Input data was truncated"),
        ({"KBATCH_LABELS": '{"a": 1}'}, "KBATCH_LABELS: Expected `str`, got `int`"),
        ({"KBATCH_CREATE_USER_NAMESPACE": "maybe"}, "KBATCH_CREATE_USER_NAMESPACE: expected true or false"),
        ({"KBATCH_JOB_TTL_SECONDS_AFTER_FINISHED": "1h"}, "KBATCH_JOB_TTL_SECONDS_AFTER_FINISHED: invalid"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL: expected one of debug"),
        ({"APP_PORT": "http"}, "listen: "),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(environ: dict[str, str], problem: str) -> None:
    (found,) = problems(None, environ, broken="a: [", list="[]")
    assert found.startswith(problem)


def test_all_wrong_variables_are_named_at_once() -> None:
    assert len(problems(None, {"KBATCH_LABELS": "{", "LOG_LEVEL": "x", "GRACEFUL_TIMEOUT": "x"})) == 3


def test_the_file_goes_before_the_environment_and_that_before_the_dotenv_file() -> None:
    dotenv = 'KBATCH_PREFIX=/dotenv\nexport JUPYTERHUB_API_TOKEN="from dotenv"\nkbatch_labels={"d": "e"}\n'
    environ = {"KBATCH_PREFIX": "/environment", "KBATCH_LABELS": '{"a": "b"}', "KBATCH_SETTINGS_PATH": "env"}
    settings = loaded("batch: {labels: {f: g}}", environ, env=dotenv)
    assert settings.batch.labels == {"f": "g"}  # taken whole, not merged
    assert settings.batch.prefix == "/environment"
    assert settings.hub.api_token == "from dotenv"


def test_where_kbatch_proxys_variables_are_set_its_users_find_what_they_have() -> None:
    for environ, contents in (
        ({"KBATCH_PREFIX": "/x"}, {}),
        ({"KBATCH_LABELS": '{"a": "b"}'}, {}),
        ({}, {".env": "KBATCH_PREFIX=/x"}),
    ):
        tenancy = loaded(None, environ, **contents).tenancy
        assert (tenancy.namespace, tenancy.adopt_unmarked) == ("kbatch", True)
        assert (tenancy.impersonation, tenancy.network_policy.enabled) == ("preferred", False)
    for environ in ({"JUPYTERHUB_SERVICE_NAME": "kbatch"}, {"KBATCH_PREFIX": ""}):
        assert loaded(None, environ).tenancy == TenancySettings()
    # What somebody wrote down goes before it, setting by setting.
    text = "tenancy: {namespace: hubfleet, network_policy: {gateways: [{podSelector: {}}]}}"
    tenancy = loaded(text, {"KBATCH_PREFIX": "/x"}).tenancy
    assert (tenancy.namespace, tenancy.impersonation) == ("hubfleet", "preferred")
    assert tenancy.network_policy.enabled


def test_the_dotenv_file_is_found_where_kbatch_proxy_looks_and_may_be_missing() -> None:
    assert loaded(None, {}, **{".env": "KBATCH_PREFIX=/x"}).batch.prefix == "/x"
    assert loaded(None, {"KBATCH_SETTINGS_PATH": "/nowhere"}) == Settings()


def test_a_variable_leads_to_a_setting_that_exists() -> None:
    for variable in VARIABLES:
        at: Any = Settings()
        for name in variable.path.split("."):
            assert name in at.__struct_fields__, variable.path
            at = getattr(at, name)
    assert not {v.name for v in VARIABLES} & {*IGNORED, *OTHERS}


def test_labels_that_kbatch_proxy_wrote_are_known_only_where_it_named_the_namespaces() -> None:
    environ = {"KBATCH_LABELS": '{"team": "a"}'}
    assert loaded(None, environ).tenancy.labels_of_kbatch == {"team": "a"}
    # What the file says of labels is what we write, not what kbatch-proxy wrote.
    settings = loaded("batch: {labels: {team: b}}", environ)
    assert (settings.batch.labels, settings.tenancy.labels_of_kbatch) == ({"team": "b"}, {"team": "a"})
    assert loaded("tenancy: {namespace: hubfleet}", environ).tenancy.labels_of_kbatch == {}
    assert loaded("batch: {labels: {team: b}}", {"KBATCH_PREFIX": "/x"}).tenancy.labels_of_kbatch == {}


def test_a_hub_has_a_name() -> None:
    assert problems("hub: {name: ''}", {}) == [
        "hub: name: a hub needs one, or another hub's namespaces cannot be told from its own"
    ]


# Clusters


def only_cluster(environ: Mapping[str, str], **contents: str) -> ClusterSettings:
    (cluster,) = loaded(None, environ, **contents).clusters
    return cluster


POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOME": "/home/ada"}


def test_without_clusters_the_kubeconfig_if_there_is_one() -> None:
    assert only_cluster({"HOME": "/home/ada"}).kubeconfig == "/home/ada/.kube/config"
    assert only_cluster({**POD, "KUBECONFIG": "/a:/b"}).kubeconfig == "/a:/b"
    here = only_cluster(POD, **{"/home/ada/.kube/config": "{}"})
    assert (here.kubeconfig, here.in_cluster) == ("/home/ada/.kube/config", False)


def test_without_clusters_and_kubeconfig_the_account_of_the_pod() -> None:
    assert only_cluster(POD) == ClusterSettings(name="default", in_cluster=True)


def test_a_cluster_takes_the_kubeconfig_of_the_environment_unless_it_names_one() -> None:
    text = "clusters: [{name: a}, {name: b, kubeconfig: /own}, {name: c, in_cluster: true}]"
    clusters = loaded(text, {"KUBECONFIG": "/theirs"}).clusters
    assert [cluster.kubeconfig for cluster in clusters] == ["/theirs", "/own", ""]


# The documentation


def every_setting(struct: type[msgspec.Struct] = Settings, path: str = "") -> Iterator[tuple[str, str]]:
    """The path and the default, as JSON, of each setting."""
    for field in msgspec.structs.fields(struct):
        at = path + field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from every_setting(field.type, f"{at}.")
        elif at == "clusters":
            yield from every_setting(ClusterSettings, "clusters[].")
        elif field.required:
            yield at, "required"
        else:
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            yield at, msgspec.json.encode(default).decode()


def test_every_setting_is_documented_with_its_default() -> None:
    rows = [line for line in DOCUMENTATION.splitlines() if line.startswith("| `")]
    documented = {tuple(cell.strip().strip("`") for cell in row.split("|")[1:3]) for row in rows}
    settings = set(every_setting())
    assert settings <= documented
    stale = {path for path, _ in documented if "." in path} - {path for path, _ in settings}
    assert not {path for path in stale if not path.isupper()}


def test_every_variable_is_documented_with_its_setting() -> None:
    for variable in VARIABLES:
        assert f"| `{variable.name}` | `{variable.path}` |" in DOCUMENTATION
    for name in (*IGNORED, *OTHERS):
        assert f"`{name}`" in DOCUMENTATION


# The process


def test_a_file_that_is_not_there_or_not_text(tmp_path: Any) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read(str(tmp_path / "nothing.yaml"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not UTF-8"):
        read(str(tmp_path / "binary"))


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hubfleet.yaml"
    for text, problem in (("hub: [", "line 1, column 7: "), ("- a", "expected a map of settings")):
        path.write_text(text)
        with pytest.raises(SettingsError) as caught:
            read(str(path))
        (found,) = caught.value.problems
        assert found.startswith(f"{path}: {problem}")


def test_secrets_are_not_printed() -> None:
    settings = loaded("hub: {api_token: s3cret}\nbatch: {extra_env: {KEY: s3cret}}")
    assert "s3cret" not in repr(settings) + str(settings)
    assert "api_url" in repr(settings)


def test_jupyterhub_istio_proxys_variables_mean_what_they_meant() -> None:
    hubproxy = loaded(
        environ={
            "CONFIGPROXY_AUTH_TOKEN": "t",
            "ISTIO_GATEWAY": "istio-system/edge",
            "K8S_NAMESPACE": "jhub",
            "SUB_DOMAIN_HOST": "hub.example.org",
        }
    ).hubproxy
    assert (hubproxy.backend, hubproxy.gateway, hubproxy.namespace) == ("istio", "istio-system/edge", "jhub")
    assert (hubproxy.address, hubproxy.inherit_prefix) == (("0.0.0.0", 8000), "jupyter")
    assert (hubproxy.hostnames, hubproxy.gateway_address) == (("hub.example.org",), "https://hub.example.org")
    assert (hubproxy.acknowledge, hubproxy.auth_token) == ("preferred", "t")


def test_a_warm_up_that_cannot_succeed_is_not_tried() -> None:
    environ = {"ISTIO_GATEWAY": "edge", "SUB_DOMAIN_HOST": "*", "WAIT_FOR_WARMUP": "false"}
    hubproxy = loaded(environ={**environ, "VIRTUAL_SERVICE_PREFIX": "x", "CLUSTER_DOMAIN": "c.d"}).hubproxy
    assert (hubproxy.gateway_address, hubproxy.acknowledge) == ("", "off")
    assert (hubproxy.inherit_prefix, hubproxy.cluster_domain) == ("x", "c.d")


def test_the_proxys_settings_are_checked() -> None:
    assert problems("hubproxy: {gateway_address: 'edge:80'}") == [
        "hubproxy: gateway_address: 'edge:80' is not http(s)://host[:port]"
    ]
    assert problems("hubproxy: {cluster: west}") == ["hubproxy.cluster: 'west' is not one of default"]
    assert problems("hubproxy: {listen: 'a:70000'}") == ["hubproxy.listen: there is no port 70000"]
