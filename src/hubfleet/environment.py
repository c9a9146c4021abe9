"""What each environment variable means: those of kbatch-proxy, its image and JupyterHub's HubAuth, unchanged.

A table, so that the documentation and the tests can walk it. Values that kbatch-proxy would have refused at
its start are refused here, too, in the name of their variable. An empty value is as good as none.
"""

import re
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any, Literal, get_args

import msgspec
from dotenv import dotenv_values

from hubfleet.errors import SettingsError
from hubfleet.strict import decode_yaml, decode_yaml_documents

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
LogFormat = Literal["auto", "json", "console"]
ImpersonationMode = Literal["required", "preferred", "off"]
RoutingBackend = Literal["gateway-api", "istio", "ingress", "traefik"]
AcknowledgeMode = Literal["required", "preferred", "off"]

DEFAULT_HUB_API_URL = "http://127.0.0.1:8081/hub/api"
"""As jupyterhub.services.auth.HubAuth.api_url."""

SECTIONS = ("hub", "tenancy", "batch", "hubproxy", "limits", "log")
"""The parts of the settings tree that are maps of settings, and not one setting that is a map."""

ReadFile = Callable[[str], str]
Parser = Callable[[str, ReadFile], Any]


class Variable(msgspec.Struct, frozen=True):
    """One environment variable: `parse(value, read_file)` gives the value of the setting at `path`.

    Where several variables lead to one setting, the first in the table that is set wins.
    """

    name: str
    path: str  # section.setting
    parse: Parser
    meaning: str = ""


def _text(value: str, _: ReadFile) -> str:
    return value


def _integer(value: str, _: ReadFile) -> int:
    return int(value)


def _number(value: str, _: ReadFile) -> float:
    return float(value)


def _boolean(value: str, _: ReadFile) -> bool:
    # The words that pydantic accepts, for kbatch-proxy's settings are pydantic's.
    word = value.strip().lower()
    if word in ("1", "on", "t", "true", "y", "yes"):
        return True
    if word in ("0", "off", "f", "false", "n", "no"):
        return False
    raise ValueError(f"expected true or false, got {value!r}")


def _strings(value: str, _: ReadFile) -> dict[str, str]:
    return msgspec.json.decode(value, type=dict[str, str])


def _list(value: str, _: ReadFile) -> list[str]:
    return msgspec.json.decode(value, type=list[str])


def _document(path: str, read_file: ReadFile) -> Any:
    document = decode_yaml(path, read_file(path))
    return {} if document is None else document


def _yaml_map(value: str, read_file: ReadFile) -> dict[str, Any]:
    return msgspec.convert(_document(value, read_file), dict[str, Any])


def _profiles(value: str, read_file: ReadFile) -> dict[str, Any]:
    return msgspec.convert(_document(value, read_file), dict[str, dict[str, Any]])


def _manifests(value: str, read_file: ReadFile) -> list[dict[str, Any]]:
    return msgspec.convert(decode_yaml_documents(value, read_file(value)), list[dict[str, Any]])


def _warmup(value: str, _: ReadFile) -> str:
    return "off" if value == "false" else "preferred"  # jupyterhub-istio-proxy: whatever else is true


def _hostnames(value: str, _: ReadFile) -> list[str]:
    return [value]


def _base_url(value: str, _: ReadFile) -> str:
    return f"http://127.0.0.1:8081/{value.strip('/')}".rstrip("/") + "/hub/api"


def _initialised(value: str, read_file: ReadFile) -> str:
    return "info" if _boolean(value, read_file) else "warning"


def _level(value: str, _: ReadFile) -> str:
    level = {"trace": "debug", "warn": "warning", "fatal": "critical"}.get(value.lower(), value.lower())
    if level not in get_args(LogLevel):
        raise ValueError(f"expected one of {', '.join(get_args(LogLevel))}, got {value!r}")
    return level


VARIABLES = (
    Variable("KBATCH_PREFIX", "batch.prefix", _text),
    Variable("KBATCH_JOB_TEMPLATE_FILE", "batch.job_template", _yaml_map, "path of a YAML file"),
    Variable("KBATCH_PROFILE_FILE", "batch.profiles", _profiles, "path of a YAML file"),
    Variable("KBATCH_JOB_TTL_SECONDS_AFTER_FINISHED", "batch.job_ttl_seconds", _integer),
    Variable("KBATCH_JOB_EXTRA_ENV", "batch.extra_env", _strings, "JSON"),
    Variable("KBATCH_LABELS", "batch.labels", _strings, "JSON"),
    Variable("KBATCH_CREATE_USER_NAMESPACE", "tenancy.create_namespaces", _boolean),
    Variable("KBATCH_NAMESPACE_MANIFESTS_FILE", "tenancy.manifests", _manifests, "path of YAML documents"),
    Variable("JUPYTERHUB_API_TOKEN", "hub.api_token", _text),
    Variable("JUPYTERHUB_API_URL", "hub.api_url", _text),
    Variable("JUPYTERHUB_BASE_URL", "hub.api_url", _base_url, "only where JUPYTERHUB_API_URL is not set"),
    Variable("JUPYTERHUB_HOST", "hub.public_url", _text),
    Variable("JUPYTERHUB_SERVICE_NAME", "hub.service_name", _text),
    Variable("JUPYTERHUB_OAUTH_ACCESS_SCOPES", "hub.access_scopes", _list, "JSON"),
    Variable("JUPYTERHUB_OAUTH_SCOPES", "hub.access_scopes", _list, "JSON; JupyterHub's older name"),
    Variable("JUPYTERHUB_SSL_KEYFILE", "hub.tls_key", _text),
    Variable("JUPYTERHUB_SSL_CERTFILE", "hub.tls_cert", _text),
    Variable("JUPYTERHUB_SSL_CLIENT_CA", "hub.tls_ca", _text),
    Variable("CONFIGPROXY_AUTH_TOKEN", "hubproxy.auth_token", _text),
    Variable("ISTIO_GATEWAY", "hubproxy.gateway", _text),
    Variable("K8S_NAMESPACE", "hubproxy.namespace", _text),
    Variable("SUB_DOMAIN_HOST", "hubproxy.hostnames", _hostnames),
    Variable("WAIT_FOR_WARMUP", "hubproxy.acknowledge", _warmup, "`false` is off"),
    Variable("VIRTUAL_SERVICE_PREFIX", "hubproxy.inherit_prefix", _text),
    Variable("CLUSTER_DOMAIN", "hubproxy.cluster_domain", _text),
    Variable("LOG_LEVEL", "log.level", _level, "`trace` is debug"),
    Variable("KBATCH_INIT_LOGGING", "log.level", _initialised, "false leaves warnings and errors only"),
    Variable("GRACEFUL_TIMEOUT", "shutdown_seconds", _number),
)

IGNORED = {
    "JUPYTERHUB_SERVICE_PREFIX": "kbatch-proxy read it and did not use it; the prefix is KBATCH_PREFIX",
    "WEB_CONCURRENCY": "one process serves; more of it is more replicas",
    "WORKERS_PER_CORE": "as WEB_CONCURRENCY",
    "MAX_WORKERS": "as WEB_CONCURRENCY",
    "USE_ALL_CORES": "had no effect in kbatch-proxy's image either",
    "HOST": "kbatch-proxy's image overrode it; use APP_HOST",
    "PORT": "kbatch-proxy's image overrode it; use APP_PORT",
    "BIND": "kbatch-proxy's image overrode it; use APP_HOST and APP_PORT",
    "ERROR_LOG": "logs go to standard error",
    "TIMEOUT": "nothing blocks the process; each operation has a time budget of its own",
    "KEEP_ALIVE": "left to the server",
}
"""Variables that deployments of kbatch-proxy set and that mean nothing here, with the reason."""

OTHERS = {
    "APP_HOST": "host of `listen`",
    "APP_PORT": "port of `listen`; 80 where only APP_HOST is set, as in kbatch-proxy's image",
    "ACCESS_LOG": "`log.access`; set and empty, requests are not logged",
    "KBATCH_SETTINGS_PATH": "a file of `NAME=value` lines, `.env` by default; may be missing",
    "KUBECONFIG": "`clusters[].kubeconfig` of every cluster that names none",
    "HOME": "`~/.kube/config` is the kubeconfig where nothing names another one",
    "KUBERNETES_SERVICE_HOST": "set in every pod; without clusters and kubeconfig, its account is used",
}
"""Variables that mean more than one value for one setting; handled by name."""


AS_KBATCH_PROXY: dict[str, Any] = {
    "tenancy.namespace": "kbatch",
    "tenancy.adopt_unmarked": True,
    "tenancy.impersonation": "preferred",
    "tenancy.network_policy": {"enabled": False},
}
"""Defaults where one of kbatch-proxy's own variables is set: its users find their namespaces, its account's
rights do, and its users' jobs reach what they reached. What that leaves open is said at every start."""

AS_ISTIO_PROXY: dict[str, Any] = {
    "hubproxy.backend": "istio",
    "hubproxy.listen": "0.0.0.0:8000",
    "hubproxy.inherit_prefix": "jupyter",
}
"""Defaults where ISTIO_GATEWAY is set: jupyterhub-istio-proxy's own."""


def settings_tree(environ: Mapping[str, str], read_file: ReadFile) -> dict[str, Any]:
    """The part of the settings tree that the environment says; raises SettingsError naming the variables."""
    values = {**_dotenv(environ, read_file), **environ}
    tree: dict[str, Any] = {}
    problems = []
    for variable in VARIABLES:
        if not (value := values.get(variable.name, "")):
            continue
        try:
            _put(tree, variable.path, variable.parse(value, read_file))
        except SettingsError as e:
            problems += [f"{variable.name}: {problem}" for problem in e.problems]
        except OSError as e:
            problems.append(f"{variable.name}: cannot read {value}: {e.strerror or e}")
        except (ValueError, msgspec.MsgspecError) as e:
            problems.append(f"{variable.name}: {e}")
    if host_port := _listen(values):
        tree["listen"] = host_port
    if "ACCESS_LOG" in values:
        _put(tree, "log.access", bool(values["ACCESS_LOG"]))
    if problems:
        raise SettingsError(problems)
    if any(values.get(variable.name) for variable in VARIABLES if variable.name.startswith("KBATCH_")):
        for path, value in AS_KBATCH_PROXY.items():
            _put(tree, path, value)
        if values.get("KBATCH_LABELS"):
            _put(tree, "tenancy.kbatch_labels", tree["batch"]["labels"])
    if values.get("ISTIO_GATEWAY"):
        host = values.get("SUB_DOMAIN_HOST", "")
        named = re.fullmatch(r"[A-Za-z0-9.-]+", host)
        warmed = {"hubproxy.gateway_address": f"https://{host}"} if named else {}
        for path, value in {**AS_ISTIO_PROXY, **warmed}.items():
            _put(tree, path, value)
    return tree


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    section, _, name = path.rpartition(".")
    (tree.setdefault(section, {}) if section else tree).setdefault(name, value)


def _listen(values: Mapping[str, str]) -> str:
    host, port = values.get("APP_HOST", ""), values.get("APP_PORT", "")
    if not host and not port:
        return ""
    host = host or "0.0.0.0"  # noqa: S104  (the image's own default: a container is reached from outside)
    return (
        f"[{host}]:{port or '80'}" if ":" in host and not host.startswith("[") else f"{host}:{port or '80'}"
    )


def _dotenv(environ: Mapping[str, str], read_file: ReadFile) -> dict[str, str]:
    try:
        text = read_file(environ.get("KBATCH_SETTINGS_PATH") or ".env")
    except OSError:
        return {}  # as in kbatch-proxy, where the file is there for those who want it
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    # pydantic reads names in any case, and kbatch-proxy's settings with it.
    return {name.upper(): value for name, value in values.items() if value is not None}
