"""Credential plugins, run as gcloud, aws, az and doctl have them run."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hubfleet.kube.execplugin import parse, plugin
from hubfleet.kube.kubeconfig import Entry, KubeconfigError

V1 = "client.authentication.k8s.io/v1"
BETA = "client.authentication.k8s.io/v1beta1"
CLUSTER = Entry({"server": "https://s"}, Path())

# The users that the providers' own commands write into a kubeconfig, word for word but for the names.
GCLOUD = {
    "apiVersion": BETA,
    "command": "gke-gcloud-auth-plugin",
    "installHint": "Install gke-gcloud-auth-plugin for use with kubectl by following https://cloud.google.com/...",
    "provideClusterInfo": True,
}
AWS = {
    "apiVersion": BETA,
    "command": "aws",
    "args": ["--region", "eu-west-1", "eks", "get-token", "--cluster-name", "c", "--output", "json"],
    "env": [{"name": "AWS_PROFILE", "value": "prod"}],
}
AZ = {
    "apiVersion": BETA,
    "command": "kubelogin",
    "args": ["get-token", "--login", "azurecli", "--server-id", "6dae42f8-4368-4678-94ff-3960e28e3630"],
    "env": None,
    "provideClusterInfo": False,
}
DOCTL = {
    "apiVersion": BETA,
    "command": "doctl",
    "args": ["kubernetes", "cluster", "kubeconfig", "exec-credential", "--version=v1beta1", "id"],
    "env": None,
}


def user(directory: Path, **spec: Any) -> Entry:
    return Entry(
        {"exec": {"apiVersion": V1, "command": "plugin", "interactiveMode": "Never", **spec}}, directory
    )


def script(directory: Path, text: str, name: str = "plugin") -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def credential(version: str = V1, **status: Any) -> str:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


@pytest.mark.parametrize("spec", [GCLOUD, AWS, AZ, DOCTL])
async def test_the_providers_plugins_run(tmp_path: Path, spec: dict[str, Any]) -> None:
    answer = credential(BETA, token="t-$AWS_PROFILE", expirationTimestamp="2099-01-01T00:00:00Z")
    record = tmp_path / "args"
    script(tmp_path, f'echo "$@" > {record}\ncat <<EOF\n{answer}\nEOF', spec["command"])
    made = plugin(Entry({"exec": spec}, tmp_path), CLUSTER)
    got = await made.run({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    assert got.token == ("t-prod" if spec is AWS else "t-")
    assert got.expires == 4070908800
    assert record.read_text().split() == list(spec.get("args") or [])


async def test_the_plugin_learns_of_the_cluster(tmp_path: Path) -> None:
    ca = base64.b64encode(b"CA").decode()
    cluster = Entry(
        {
            "server": "https://s",
            "tls-server-name": "name",
            "certificate-authority-data": ca,
            "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}],
        },
        tmp_path,
    )
    token = 'printf \'{"apiVersion":"%s","kind":"ExecCredential","status":{"token":"%s"}}\''
    script(tmp_path, f'{token} {V1} "$(printf %s "$KUBERNETES_EXEC_INFO" | base64 -w0)"')
    made = plugin(user(tmp_path, command="./plugin", provideClusterInfo=True), cluster)
    info = json.loads(base64.b64decode((await made.run(os.environ)).token))
    assert info == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://s",
                "tls-server-name": "name",
                "certificate-authority-data": ca,
                "config": {"audience": "x"},
            },
        },
    }


async def test_a_missing_plugin_names_the_hint() -> None:
    made = plugin(user(Path(), command="no-such-plugin", installHint="get it at example.org"), CLUSTER)
    with pytest.raises(
        KubeconfigError, match=r"'no-such-plugin' cannot be started: No such file.*\n.*example\.org"
    ):
        await made.run(os.environ)


async def test_a_failing_plugin_is_quoted(tmp_path: Path) -> None:
    script(tmp_path, "echo 'please run: gcloud auth login' >&2; exit 3")
    with pytest.raises(KubeconfigError, match="exit code 3: please run: gcloud auth login"):
        await plugin(user(tmp_path, command="./plugin"), CLUSTER).run(os.environ)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1' is none of"),
        ({"command": ""}, "a command is missing"),
        ({"interactiveMode": "Always"}, "wants a terminal"),
    ],
)
def test_what_cannot_work_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(KubeconfigError, match=words):
        plugin(user(Path(), **spec), CLUSTER)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("Sign in at https://...", "not JSON"),
        ("{}", "not an ExecCredential"),
        (credential(BETA, token="t"), "answered as"),
        (credential(), "neither"),
        (credential(clientCertificateData="c"), "only one of"),
        (credential(token="t", expirationTimestamp="soon"), "no time"),
    ],
)
def test_a_bad_answer_says_what_is_missing(output: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(output.encode(), V1)


@pytest.mark.parametrize(
    "stamp",
    [
        "2030-01-01T00:00:00Z",
        "2030-01-01T01:00:00+01:00",
        "2030-01-01T00:00:00.123456789Z",
        "2030-01-01T00:00:00",
    ],
)
def test_times_as_go_writes_them(stamp: str) -> None:
    expires = parse(credential(token="t", expirationTimestamp=stamp).encode(), V1).expires
    assert expires is not None and int(expires) == 1893456000
