"""Credential plugins: the programs of cloud providers that print an ExecCredential.

The official client's runner does not do what gcloud's, aws', az' and doctl's need in a service: it logs a
failing plugin and goes on without credentials, knows neither provideClusterInfo nor installHint, writes the
keys of client certificates to files that stay, and lets a plugin wait for a terminal.
"""

import asyncio
import os
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from hubfleet.kube.kubeconfig import Entry, KubeconfigError

TIMEOUT = 60.0
"""Seconds for one run; gcloud on a cold machine needs several."""

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class ExecCredential(msgspec.Struct, frozen=True):
    """What a plugin printed: a token, or a certificate and key (PEM); `expires` is in seconds since 1970."""

    token: str = ""
    certificate: bytes | None = None
    key: bytes | None = None
    expires: float | None = None


class ExecPlugin(msgspec.Struct, frozen=True):
    """The `exec` section of a kubeconfig's user, ready to run."""

    argv: tuple[str, ...]
    api_version: str
    env: dict[str, str]
    install_hint: str

    async def run(self, environ: Mapping[str, str]) -> ExecCredential:
        """Runs the plugin; raises KubeconfigError with its own words, and the hint how to install it."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.argv,
                env={**environ, **self.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as e:
            raise self._error(f"cannot be started: {e.strerror or e}") from e
        try:
            async with asyncio.timeout(TIMEOUT):
                out, err = await process.communicate()
        except TimeoutError as e:
            raise self._error(f"did not finish within {TIMEOUT:.0f} s") from e
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            words = self._without_secrets(err.decode("utf-8", "replace")).strip()[-500:]
            raise self._error(f"failed with exit code {process.returncode}: {words}")
        try:
            return parse(out, self.api_version)
        except ValueError as e:
            raise self._error(str(e)) from e

    def _without_secrets(self, words: str) -> str:
        """Without what the kubeconfig gives the plugin in variables: passwords, as often as not."""
        given = {
            value for name, value in self.env.items() if name != "KUBERNETES_EXEC_INFO" and len(value) > 3
        }
        for value in sorted(given, key=len, reverse=True):
            words = words.replace(value, "***")
        return words

    def _error(self, what: str) -> KubeconfigError:
        hint = f"\n{self.install_hint.strip()}" if self.install_hint else ""
        return KubeconfigError(f"credential plugin {self.argv[0]!r} {what}{hint}")


def plugin(user: Entry, cluster: Entry) -> ExecPlugin:
    """The plugin of a kubeconfig's user; raises KubeconfigError for what kubectl refuses, too."""
    spec = user.value["exec"]
    if not isinstance(spec, dict) or not spec.get("command"):
        raise KubeconfigError("exec: a command is missing")
    command, version = str(spec["command"]), str(spec.get("apiVersion") or "")
    if version not in VERSIONS:
        raise KubeconfigError(f"exec: {command}: apiVersion {version!r} is none of {', '.join(VERSIONS)}")
    if spec.get("interactiveMode") == "Always":
        raise KubeconfigError(f"exec: {command}: wants a terminal (interactiveMode: Always)")
    if os.sep in command:  # else it is looked up on PATH
        command = str(user.file(command))
    info: dict[str, Any] = {"interactive": False}
    if spec.get("provideClusterInfo"):
        info["cluster"] = _cluster_info(cluster)
    exec_info = {"apiVersion": version, "kind": "ExecCredential", "spec": info}
    env = {str(pair["name"]): str(pair.get("value") or "") for pair in spec.get("env") or ()}
    return ExecPlugin(
        argv=(command, *map(str, spec.get("args") or ())),
        api_version=version,
        env={**env, "KUBERNETES_EXEC_INFO": msgspec.json.encode(exec_info).decode()},
        install_hint=str(spec.get("installHint") or ""),
    )


def _cluster_info(cluster: Entry) -> dict[str, Any]:
    info: dict[str, Any] = {
        key: cluster.value[key]
        for key in (
            "server",
            "tls-server-name",
            "insecure-skip-tls-verify",
            "proxy-url",
            "disable-compression",
        )
        if key in cluster.value
    }
    if ca := cluster.data("certificate-authority"):
        info["certificate-authority-data"] = b64encode(ca).decode()
    for extension in cluster.value.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info


def parse(output: bytes, api_version: str) -> ExecCredential:
    """What a plugin printed, checked; raises ValueError that says what is missing."""
    try:
        document = msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ValueError("printed something that is not JSON") from e
    if not isinstance(document, dict) or document.get("kind") != "ExecCredential":
        raise ValueError("printed something that is not an ExecCredential")
    if document.get("apiVersion") != api_version:
        raise ValueError(f"answered as {document.get('apiVersion')!r}, the kubeconfig says {api_version!r}")
    status = document.get("status")
    status = status if isinstance(status, dict) else {}
    token, certificate, key = (
        str(status.get(name) or "") for name in ("token", "clientCertificateData", "clientKeyData")
    )
    if not token and not certificate:
        raise ValueError("printed neither status.token nor status.clientCertificateData")
    if bool(certificate) != bool(key):
        raise ValueError("printed only one of status.clientCertificateData and status.clientKeyData")
    expires = None
    if stamp := status.get("expirationTimestamp"):
        try:
            when = datetime.fromisoformat(str(stamp))
        except ValueError as e:
            raise ValueError(f"printed an expirationTimestamp that is no time: {stamp!r}") from e
        expires = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return ExecCredential(token, certificate.encode() or None, key.encode() or None, expires)
