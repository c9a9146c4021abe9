"""What a hostile user sends to the server itself: paths, headers, and bytes that are hardly HTTP."""

import asyncio
import json
import secrets
from collections.abc import Iterator

import pytest
from tests.hubfleet.account import Account
from tests.hubfleet.attacks.conftest import SECRET, Server, StartServer, World, harmless, sent
from tests.hubfleet.attacks.recorder import Recorder
from tests.hubfleet.batch.conftest import PREFIX

QUIET_SECONDS = 0.3
"""After which an answer is taken to be over: a server that has more to say says it at once."""

PATHS = {
    "the-others-job": "GET jobs/precious",
    "the-others-cron-job": "GET cronjobs/nightly",
    "the-others-pod": "GET pods/precious",
    "the-others-log": "GET jobs/logs/precious/",
    "the-others-log-followed": "GET jobs/logs/precious/?stream=true",
    "the-others-log-of-a-pod": "GET pods/logs/precious/",
    "the-others-pods-of-a-job": "GET pods/?job_name=precious",
    "deleting-the-others-job": "DELETE jobs/precious",
    "deleting-the-others-cron-job": "DELETE cronjobs/nightly",
    "upwards": "GET jobs/../../namespaces/NS/jobs/precious",
    "upwards-encoded": "GET jobs/..%2f..%2fnamespaces%2fNS%2fjobs%2fprecious",
    "upwards-encoded-in-capitals": "GET jobs/%2E%2E%2F%2E%2E%2Fnamespaces%2FNS%2Fjobs%2Fprecious",
    "upwards-encoded-twice": "GET jobs/%252e%252e%252f%252e%252e%252fNS%252fjobs%252fprecious",
    "upwards-in-too-many-bytes": "GET jobs/%c0%ae%c0%ae%c0%afNS%c0%afprecious",
    "upwards-with-backslashes": "GET jobs/..%5c..%5cNS%5cprecious",
    "upwards-with-parameters": "GET jobs/..;/..;/NS/precious",
    "upwards-deleting": "DELETE jobs/..%2f..%2f..%2fNS%2fjobs%2fprecious",
    "a-log-upwards": "GET jobs/logs/..%2f..%2fNS%2fpods%2fprecious/",
    "a-log-of-a-pod-upwards": "GET pods/logs/..%2f..%2f..%2fNS%2fpods%2fprecious%2flog%3f/",
    "a-log-with-a-query": "GET pods/logs/precious%3fcontainer=main/",
    "a-whole-list": "GET jobs/%2e",
    "a-whole-list-above": "GET jobs/%2e%2e",
    "deleting-a-whole-list": "DELETE jobs/%2e",
    "deleting-everything": "DELETE jobs/",
    "another-namespace-by-query": "GET jobs/precious?namespace=NS",
    "another-user-by-query": "GET jobs/?user=VICTIM&username=VICTIM&impersonate=VICTIM",
    "another-namespace-in-the-path": "GET namespaces/NS/jobs/precious",
    "another-selector": "GET pods/?job_name=precious,kbatch.jupyter.org/username=VICTIM",
    "another-selector-encoded": "GET pods/?job_name=x%29%26labelSelector%3Da",
    "a-cluster-upwards": "GET clusters/..%2f..%2fNS/jobs/precious",
    "a-cluster-that-is-an-address": "GET clusters/169.254.169.254/jobs/",
    "a-name-with-a-line-break": "GET jobs/x%0d%0aImpersonate-User:%20system:admin%0d%0a",
    "a-name-with-a-nul": "GET jobs/precious%00",
    "a-name-with-a-fragment": "GET jobs/precious%23",
    "a-subresource": "GET jobs/precious%2fstatus",
    "patching": "PATCH jobs/precious",
    "replacing": "PUT jobs/precious",
    "a-shell": "POST pods/precious/exec?command=sh",
    "the-api-server-itself": "GET /api/v1/namespaces/NS/secrets",
    "the-api-server-by-a-whole-address": "GET http://127.0.0.1:6443/api/v1/namespaces/NS/secrets",
    "another-host-by-a-whole-address": "GET http://169.254.169.254/latest/meta-data/",
    "a-double-slash": "GET //jobs//precious",
    "connect": "CONNECT 127.0.0.1:6443",
    "trace": "TRACE jobs/",
}


async def talk(server: Server, data: bytes) -> bytes:
    """What the server answers to these bytes, until it falls silent or ends."""
    host, _, port = server.origin.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        writer.write(data)
        await writer.drain()
        patience = 10.0
        while True:
            async with asyncio.timeout(patience):
                chunk = await reader.read(65536)
            if not chunk:
                break
            answer += chunk
            patience = QUIET_SECONDS
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


def request(method: str, path: str, token: str, body: bytes = b"", headers: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    # The last one on its connection, so that nobody waits for more.
    fixed = f"Host: a\r\nConnection: close\r\nAuthorization: token {token}\r\n{length}"
    head = f"{method} {path} HTTP/1.1\r\n{fixed}{headers}\r\n"
    return head.encode("latin-1") + body


def statuses(answer: bytes) -> list[int]:
    """Of all answers on the connection."""
    return [int(part[1:4]) for part in answer.split(b"HTTP/1.1")[1:]]


def check_innocent(answer: bytes, world: World) -> None:
    """Nothing of the victim's is in it."""
    for word in (SECRET, world.precious_uid, world.victim.token):
        assert word.encode() not in answer, answer


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_leads_nowhere(path: str, server: Server, world: World, untouched: None) -> None:
    method, _, where = PATHS[path].partition(" ")
    where = where.replace("NS", world.victim.namespace).replace("VICTIM", world.victim.name)
    if "://" not in where and not where.startswith("/") and method != "CONNECT":
        where = f"{PREFIX}/{where}"
    answer = await talk(server, request(method, where, world.attacker.token))
    check_innocent(answer, world)
    assert answer, "it says what is wrong"
    (status,) = statuses(answer)
    assert status < 500, answer
    if status == 200:  # a list of one's own, whatever else stood in the query
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["items"] == [] or b'"mine"' in answer


HEADERS = {
    "impersonate-user": "Impersonate-User: system:admin",
    "impersonate-user-in-small-letters": "impersonate-user: system:admin",
    "impersonate-user-in-capitals": "IMPERSONATE-USER: system:admin",
    "impersonate-user-with-underscores": "Impersonate_User: system:admin",
    "impersonate-user-twice": "Impersonate-User: a\r\nImpersonate-User: system:admin",
    "impersonate-the-victim": "Impersonate-User: system:serviceaccount:NS:hubfleet-user",
    "impersonate-group": "Impersonate-User: x\r\nImpersonate-Group: system:masters",
    "impersonate-uid": "Impersonate-Uid: 0",
    "impersonate-extra": "Impersonate-Extra-Scopes: everything",
    "impersonate-extra-in-capitals": "IMPERSONATE-EXTRA-scopes: everything",
    "remote-user": "X-Remote-User: system:admin\r\nX-Remote-Group: system:masters",
    "forwarded-user": "X-Forwarded-User: VICTIM\r\nX-Forwarded-Email: VICTIM\r\nRemote-User: VICTIM",
    "another-authorization": "Authorization: Bearer of-the-api-server",
    "authorization-by-a-proxy": "Proxy-Authorization: Bearer x\r\nX-Forwarded-Access-Token: x",
    "another-method": "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE",
    "another-path": f"X-Original-URL: {PREFIX}/clusters/other/\r\nX-Rewrite-URL: /api/v1/secrets",
    "another-host": "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example;for=127.0.0.1",
    "connection-drops-headers": "Connection: close, Authorization, Impersonate-User",
    "cookie-of-the-hub": "Cookie: jupyterhub-session-id=VICTIM; jupyterhub-hub-login=VICTIM",
    "a-request-id-with-a-line-break": "X-Request-ID: a\tImpersonate-User: system:admin",
}


@pytest.fixture(scope="module")
def recorder(own_account: Account) -> Iterator[Recorder]:
    recorder = Recorder(own_account.kubeconfig)
    yield recorder
    recorder.stop()


@pytest.fixture(scope="module")
def recorded_server(
    recorder: Recorder, start_server: StartServer, server: Server, world: World
) -> Iterator[Server]:
    """One that reaches the API server through the recorder, of the same hub."""
    status, _, answer = server.call("GET", "jobs/mine", world.attacker.token)
    assert status == 200
    hub = json.loads(answer)["metadata"]["labels"]["hubfleet.dev/hub"]
    started = start_server(
        clusters=[{"name": "test", "kubeconfig": str(recorder.kubeconfig)}], hub={"name": hub}
    )
    yield started
    started.stop()


@pytest.mark.parametrize("header", HEADERS)
async def test_a_header_is_never_handed_on(
    header: str, recorded_server: Server, recorder: Recorder, world: World, untouched: None
) -> None:
    lines = HEADERS[header].replace("NS", world.victim.namespace).replace("VICTIM", world.victim.name)
    seen = len(recorder.requests)
    for method, path, body in (
        ("GET", "jobs/precious", b""),
        ("POST", "jobs/", sent(harmless(f"by-{header}", "x"))),
        ("DELETE", "jobs/precious", b""),
    ):
        answer = await talk(
            recorded_server,
            request(method, f"{PREFIX}/{path}", world.attacker.token, body, headers=f"{lines}\r\n"),
        )
        check_innocent(answer, world)
        (status,) = statuses(answer)
        assert status in (200, 400, 401, 404) if method == "POST" else status in (400, 401, 404), answer
    for method, path, headers in recorder.requests[seen:]:
        said = {}
        for key, value in headers:
            assert key.lower() not in said, headers
            said[key.lower()] = value
        assert said.pop("authorization").startswith("Bearer ey"), "our own account's token"
        whom = said.pop("impersonate-user", None)
        known = {"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}
        assert said.keys() <= known, (method, path, said)
        assert whom in (None, world.identity.user)
        if "/jobs" in path and "watch=true" not in path:
            assert whom == world.identity.user or path.startswith("/apis/batch/v1/jobs?")


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
POST = f"POST {PREFIX}/jobs/ HTTP/1.1"  # its body is read
LENGTH = "Content-Length: ALL"
CHUNKS = "Transfer-Encoding: chunked"
OVER = "0\r\n\r\n"  # the end of a body in chunks

SHAPES: dict[str, tuple[str, list[str], str]] = {
    "length-and-chunks": (POST, [LENGTH, CHUNKS], OVER),
    "chunks-and-length": (POST, [CHUNKS, LENGTH], OVER),
    "chunks-by-another-name": (POST, [LENGTH, "Transfer-Encoding: xchunked"], OVER),
    "chunks-after-a-tab": (POST, [LENGTH, "Transfer-Encoding:\tchunked"], OVER),
    "chunks-after-a-vertical-tab": (POST, [LENGTH, "Transfer-Encoding: \x0bchunked"], OVER),
    "chunks-with-a-space-before-the-colon": (POST, [LENGTH, "Transfer-Encoding : chunked"], OVER),
    "chunks-among-others": (POST, [LENGTH, "Transfer-Encoding: identity, chunked"], OVER),
    "chunks-and-then-others": (POST, [LENGTH, "Transfer-Encoding: chunked, identity"], OVER),
    "chunks-in-quotes": (POST, [LENGTH, 'Transfer-Encoding: "chunked"'], OVER),
    "chunks-twice": (POST, [LENGTH, "Transfer-Encoding: x", CHUNKS], OVER),
    "chunks-in-capitals": (POST, [LENGTH, CHUNKS.upper()], OVER),
    "chunks-behind-a-bare-line-feed": (POST, [LENGTH, f"X: a\n{CHUNKS}"], OVER),
    "chunks-behind-a-bare-carriage-return": (POST, [LENGTH, f"X: a\r{CHUNKS}"], OVER),
    "chunks-on-a-folded-line": (POST, [LENGTH, "Transfer-Encoding:\r\n chunked"], OVER),
    "chunks-in-an-old-http": (POST[:-1] + "0", ["Connection: keep-alive", LENGTH, CHUNKS], OVER),
    "two-lengths": (POST, ["Content-Length: 0", LENGTH], ""),
    "two-lengths-the-other-way": (POST, [LENGTH, "Content-Length: 0"], ""),
    "two-lengths-in-one": (POST, ["Content-Length: 0, ALL"], ""),
    "a-length-with-a-sign": (POST, ["Content-Length: +ALL"], ""),
    "a-negative-length": (POST, ["Content-Length: -1"], ""),
    "a-length-in-hex": (POST, ["Content-Length: 0xALL"], ""),
    "a-length-in-another-script": (POST, ["Content-Length: \xb2"], ""),
    "a-length-with-a-space-before-the-colon": (POST, ["Content-Length : ALL"], ""),
    "a-length-beyond-64-bits": (POST, ["Content-Length: 18446744073709551616"], ""),
    "a-length-on-a-folded-line": (POST, ["X: a\r\n Content-Length: 0", LENGTH], ""),
    "a-body-of-a-get": ("GET / HTTP/1.1", [LENGTH], ""),
    "a-body-of-a-list": (f"GET {PREFIX}/jobs/ HTTP/1.1", [LENGTH], ""),
    "a-body-of-a-delete": (f"DELETE {PREFIX}/jobs/nope HTTP/1.1", [LENGTH], ""),
    "a-body-of-a-head": ("HEAD / HTTP/1.1", [LENGTH], ""),
    "a-body-that-is-refused-unread": (f"POST {PREFIX}/nowhere HTTP/1.1", [LENGTH], ""),
    "a-chunk-of-a-size-with-a-prefix": (POST, [CHUNKS], "0x0\r\n\r\n"),
    "a-chunk-of-an-overflowing-size": (POST, [CHUNKS], "10000000000000000\r\n\r\n"),
    "a-chunk-of-a-negative-size": (POST, [CHUNKS], "-0\r\n\r\n"),
    "a-chunk-that-ends-with-line-feeds": (POST, [CHUNKS], "0\n\n"),
    "a-line-break-in-a-header": ("GET / HTTP/1.1", ["X: a\r\r\n"], ""),
    "a-nul-in-a-header": (POST, ["Content-Length\x00: 0", LENGTH], ""),
    "a-line-break-in-the-path": ("GET /\rx HTTP/1.1", [LENGTH], ""),
    "another-protocol": (
        "GET / HTTP/1.1",
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", LENGTH],
        "",
    ),
    "a-web-socket": (
        "GET / HTTP/1.1",
        [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {KEY}",
            LENGTH,
        ],
        "",
    ),
    "no-http-at-all": ("\x16\x03\x01\x02\x00\x01", [], ""),
}
"""A request line, headers, and what its body begins with; then comes a request of its own, for one reader in
the body and for another after it. ALL is the bytes of both. Where readers differ, whoever stands in front is
deceived."""


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_request_hides_in_another(shape: str, server: Server, world: World, untouched: None) -> None:
    name = f"smuggled-{secrets.token_hex(4)}"
    body = sent(harmless(name, "x"))
    inner = request("POST", f"{PREFIX}/jobs/", world.attacker.token, body).decode()
    line, headers, begin = SHAPES[shape]
    authorization = f"Authorization: token {world.attacker.token}"
    head = "\r\n".join([line, "Host: a", authorization, *headers]).replace("ALL", str(len(begin + inner)))
    data = f"{head}\r\n\r\n{begin}{inner}".encode("latin-1")
    answer = await talk(server, data)
    assert b"101 " not in answer[:20]
    found = server.call("GET", f"jobs/{name}", world.attacker.token)
    assert found[0] == 404, (answer, found)
    assert len(statuses(answer)) <= 1, answer


async def test_the_hidden_request_would_have_worked(server: Server, world: World) -> None:
    """Else the above would prove nothing."""
    name = f"smuggled-{secrets.token_hex(4)}"
    body = sent(harmless(name, "x"))
    answer = await talk(server, request("POST", f"{PREFIX}/jobs/", world.attacker.token, body))
    assert statuses(answer) == [200]
    assert server.call("GET", f"jobs/{name}", world.attacker.token)[0] == 200
