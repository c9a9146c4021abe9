"""A pod that talks to the API as its service account, by what is mounted into every pod and nothing else."""

import base64
import json
import shutil
import ssl
import textwrap
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.localkube.conftest import Localkube

pytestmark = [
    pytest.mark.kubelet,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap"),
]

ASK = textwrap.dedent("""
    import os, ssl, sys, urllib.error, urllib.request
    mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
    trust = ssl.create_default_context(cafile=f"{mounted}/ca.crt")
    token, namespace = (open(f"{mounted}/{name}").read() for name in ("token", "namespace"))
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    for what in ("configmaps", "secrets"):
        request = urllib.request.Request(f"https://{host}:{port}/api/v1/namespaces/{namespace}/{what}")
        request.add_header("Authorization", f"Bearer {token}")
        try:
            print(what, urllib.request.urlopen(request, context=trust, timeout=10).status)
        except urllib.error.HTTPError as error:
            print(what, error.code)
""")


class Admin:
    """Requests over TLS with the token of the kubeconfig."""

    def __init__(self, server: Localkube) -> None:
        self._server = server
        self._context = ssl.create_default_context()
        config = yaml.safe_load(server.kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context.load_verify_locations(cadata=authority)

    def call(self, method: str, path: str, body: Any = None) -> bytes:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._server.url + path, data, method=method)
        request.add_header("Authorization", f"Bearer {self._server.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, context=self._context, timeout=20) as response:
            return bytes(response.read())


def test_a_pod_does_what_its_account_may(localkube_starter: Callable[..., Localkube]) -> None:
    admin = Admin(localkube_starter("--tls"))
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]
    admin.call("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules})
    admin.call(
        "POST",
        f"{rbac}/rolebindings",
        {
            "metadata": {"name": "b"},
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "default"}],
        },
    )
    pods = "/api/v1/namespaces/default/pods"
    container = {"name": "c", "image": "busybox", "command": ["python3", "-c", ASK]}
    body = {"metadata": {"name": "p"}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    admin.call("POST", pods, body)
    deadline = time.monotonic() + 30
    while json.loads(admin.call("GET", f"{pods}/p"))["status"]["phase"] not in ("Succeeded", "Failed"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert admin.call("GET", f"{pods}/p/log").decode().splitlines() == ["configmaps 200", "secrets 403"]
