"""hubfleet's batch API against kbatch-proxy: same API server, same Hub, same machine, same run.

Lists, submissions and logs, as the real client asks for them; and how near we are to the limit that the API
server itself sets. Every figure is printed; the last line is JSON with `ratio` (higher is better) and `goal`.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import click

from bench._load import one_by_one, resident, wrk
from bench._stage import NAMESPACE_SCHEME, Stage, batch, client_payload
from hubfleet.tenancy.naming import namespace_for

JOBS = 1000
FOLLOWERS = 500
GOAL = {
    "list_p50": 40,
    "list_throughput_8": 100,
    "submit_throughput_16": 8,
    "list_against_raw_list": 1,
    "submit_against_raw_writes": 1,
    "followed_log_memory": 1,
    "authorized_p99_while_following": 1,
}


async def timed_in_turn(times: int, *calls: Callable[[], Awaitable[None]]) -> list[float]:
    """The median seconds of each call, all of them in turn, so that what else goes on is the same for all."""
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        await call()  # to warm up
    for _ in range(times):
        for call, seconds in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - begun)
    return [statistics.median(seconds) for seconds in taken]


async def read(session: aiohttp.ClientSession, url: str, **arguments) -> None:
    async with session.get(url, **arguments) as response:
        response.raise_for_status()
        async for _ in response.content.iter_any():
            pass


async def write(session: aiohttp.ClientSession, method: str, url: str, body: dict, **arguments) -> dict:
    async with session.request(method, url, json=body, **arguments) as response:
        content = await response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {url}: {response.status} {content[:300]!r}")
        return json.loads(content)


class Bench:
    """The measurements, one method each; they fill `ratio`."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.ratio: dict[str, float] = {}
        self.namespaces: list[str] = []

    def say(self, text: str) -> None:
        click.echo(text)

    async def raw(self, method: str, path: str, body: dict, content_type: str = "application/json") -> dict:
        headers = {**self.stage.api.headers, "Content-Type": content_type}
        return await write(self.session, method, self.stage.api.url + path, body, headers=headers)

    async def runs_pods(self) -> bool:
        url = self.stage.api.url + "/api/v1/nodes"
        async with self.session.get(url, headers=self.stage.api.headers) as response:
            nodes = (await response.json())["items"]
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in nodes
            for condition in node["status"].get("conditions", [])
        )

    async def user(self, name: str) -> tuple[str, str]:
        """A user with a namespace of their own: their Authorization header and the namespace."""
        token = await asyncio.to_thread(self.stage.token_for, name)
        namespace = namespace_for(name, scheme=NAMESPACE_SCHEME)
        self.namespaces.append(namespace)
        return f"token {token}", namespace

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=self.stage.api.tls if self.stage.api.tls else True)
        async with aiohttp.ClientSession(connector=connector) as self.session:
            try:
                if self.stage.kubelet and not await self.runs_pods():
                    self.say("this cluster has no node: what needs running pods is left out")
                elif self.stage.kubelet:
                    await self.logs()
                else:
                    await self.lists()
                    await self.submissions()
                    await self.submission_against_its_writes()
            finally:
                for namespace in self.namespaces:
                    await self.raw("DELETE", f"/api/v1/namespaces/{namespace}", {})

    async def lists(self) -> None:
        token, namespace = await self.user("bench-list")
        await self.raw("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        template = json.loads(client_payload("listed", code=False))["job"]["spec"]["template"]["spec"]
        container = {k: v for k, v in template["containers"][0].items() if v is not None and k != "resources"}
        job = {
            "metadata": {"labels": {"kbatch.jupyter.org/username": "bench-2dlist"}},
            # Suspended: there is something to list, and nothing to run.
            "spec": {
                "suspend": True,
                "backoffLimit": 0,
                "template": {"spec": {"restartPolicy": "Never", "containers": [{**container, "env": []}]}},
            },
        }
        gate = asyncio.Semaphore(16)

        async def create(number: int) -> None:
            async with gate:
                body = {**job, "metadata": {**job["metadata"], "name": f"listed-{number}"}}
                await self.raw("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)

        await asyncio.gather(*(create(n) for n in range(JOBS)))
        url, peer_url = self.stage.ours + "jobs/", self.stage.peer + "jobs/"
        raw_url = f"{self.stage.api.url}/apis/batch/v1/namespaces/{namespace}/jobs"
        head = {"Authorization": token}
        await self.until_listed(url, head)

        api = self.stage.api
        ours = one_by_one(url, head, times=40)
        raw = one_by_one(raw_url, api.headers, times=40, certificate=api.certificate)
        peer = one_by_one(peer_url, head, times=5)
        self.say(
            f"list of {JOBS} jobs, p50: ours {ours * 1e3:.1f} ms, "
            f"the API server's raw LIST {raw * 1e3:.1f} ms, peer {peer * 1e3:.0f} ms"
        )
        self.ratio["list_p50"] = peer / ours
        self.ratio["list_against_raw_list"] = raw / ours

        ours_load = await asyncio.to_thread(wrk, url, token, connections=8, seconds=6)
        peer_load = await asyncio.to_thread(wrk, peer_url, token, connections=8, seconds=20)
        self.say(
            f"lists/s at 8 concurrent: ours {ours_load.per_second:.0f} ({ours_load.failures} failed), "
            f"peer {peer_load.per_second:.2f} ({peer_load.failures} failed)"
        )
        self.ratio["list_throughput_8"] = ours_load.per_second / max(peer_load.per_second, 1 / 20)

    async def until_listed(self, url: str, headers: dict[str, str]) -> None:
        """Until all jobs are there, and the Job controller has written what it has to say of them."""
        deadline = time.monotonic() + 120
        seen = b""
        while time.monotonic() < deadline:
            async with self.session.get(url, headers=headers) as response:
                body = await response.read()
            if body == seen and len(json.loads(body)["items"]) >= JOBS:
                return
            seen = body
            await asyncio.sleep(1)
        raise RuntimeError("hubfleet does not list the jobs, or they do not come to rest")

    async def until_at_rest(self, namespace: str) -> None:
        """Until the controllers have no more to say of the jobs in a namespace."""
        url = f"{self.stage.api.url}/apis/batch/v1/namespaces/{namespace}/jobs"
        deadline = time.monotonic() + 120
        seen = b""
        while time.monotonic() < deadline:
            async with self.session.get(url, headers=self.stage.api.headers) as response:
                versions = sorted(
                    each["metadata"]["resourceVersion"] for each in (await response.json())["items"]
                )
            now = json.dumps(versions).encode()
            if now == seen:
                return
            seen = now
            await asyncio.sleep(1)
        raise RuntimeError(f"the jobs in {namespace} do not come to rest")

    async def submissions(self) -> None:
        body = client_payload("submitted", code=True)
        seen = {}
        for name, base in (("peer", self.stage.peer), ("ours", self.stage.ours)):
            for each in self.namespaces:
                await self.until_at_rest(each)
            token, _ = await self.user(f"bench-submit-{name}")
            # The first one makes the namespace; it is not what is measured.
            await write(
                self.session, "POST", base + "jobs/", json.loads(body), headers={"Authorization": token}
            )
            seen[name] = await asyncio.to_thread(
                wrk, base + "jobs/", token, connections=16, seconds=8, method="POST", body=body
            )
            self.say(
                f"submissions/s at 16 concurrent: {name} {seen[name].per_second:.1f}, "
                f"p50 {seen[name].p50 * 1e3:.0f} ms ({seen[name].failures} failed)"
            )
        self.ratio["submit_throughput_16"] = seen["ours"].per_second / seen["peer"].per_second

    async def submission_against_its_writes(self) -> None:
        """Our submission against the five writes that it makes, done raw and one after the other."""
        token, namespace = await self.user("bench-limit")
        payload = json.loads(client_payload("limit", code=True))
        head = {"Authorization": token}
        url = self.stage.ours + "jobs/"
        first = await write(self.session, "POST", url, payload, headers=head)
        name = first["metadata"]["name"]
        core, jobs = f"/api/v1/namespaces/{namespace}", f"/apis/batch/v1/namespaces/{namespace}/jobs"
        parts = {}
        for kind in ("secrets", "configmaps"):
            async with self.session.get(
                self.stage.api.url + f"{core}/{kind}", headers=self.stage.api.headers
            ) as r:
                items = (await r.json())["items"]
            owned = [
                i for i in items if any(o["name"] == name for o in i["metadata"].get("ownerReferences", []))
            ]
            parts[kind] = {
                k: v for k, v in owned[0].items() if k in ("data", "binaryData", "type", "immutable")
            }
        async with self.session.get(
            self.stage.api.url + f"{jobs}/{name}", headers=self.stage.api.headers
        ) as r:
            spec = (await r.json())["spec"]
        spec.pop("selector", None)
        spec["template"]["metadata"].pop("labels", None)

        async def raw_writes() -> None:
            made = [
                (
                    kind,
                    await self.raw("POST", f"{core}/{kind}", {"metadata": {"generateName": "raw-"}, **part}),
                )
                for kind, part in parts.items()
            ]
            job = await self.raw("POST", jobs, {"metadata": {"generateName": "raw-"}, "spec": spec})
            owner = {"apiVersion": "batch/v1", "kind": "Job"}
            owner |= {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
            for kind, part in made:
                patch = {"metadata": {"ownerReferences": [owner]}}
                path = f"{core}/{kind}/{part['metadata']['name']}"
                await self.raw("PATCH", path, patch, "application/merge-patch+json")

        async def submit() -> None:
            await write(self.session, "POST", url, payload, headers=head)

        for each in self.namespaces:
            await self.until_at_rest(each)
        ours, raw = await timed_in_turn(60, submit, raw_writes)
        self.say(
            f"one submission, p50: ours {ours * 1e3:.1f} ms, "
            f"its writes done raw {raw * 1e3:.1f} ms (limit 1.5 times that)"
        )
        self.ratio["submit_against_raw_writes"] = 1.5 * raw / ours

    async def logs(self) -> None:
        token, _ = await self.user("bench-logs")
        head = {"Authorization": token}
        payload = json.loads(client_payload("talker", code=False))
        container = payload["job"]["spec"]["template"]["spec"]["containers"][0]
        container["command"] = ["sh", "-c", "while true; do echo the time is $(date +%s); sleep 1; done"]
        job = await write(self.session, "POST", self.stage.ours + "jobs/", payload, headers=head)
        url = f"{self.stage.ours}jobs/logs/{job['metadata']['name']}?stream=true"
        authorized = self.stage.ours + "authorized"
        no_limit = aiohttp.ClientTimeout(total=None)

        async def first_line(response: aiohttp.ClientResponse) -> None:
            response.raise_for_status()
            await response.content.readany()

        async with AsyncExitStack() as stack:

            def follow() -> Awaitable[aiohttp.ClientResponse]:
                return stack.enter_async_context(self.session.get(url, headers=head, timeout=no_limit))

            await asyncio.wait_for(first_line(await follow()), 60)
            await read(self.session, authorized, headers=head)
            before = resident(self.stage.our_pid)
            responses = await asyncio.gather(*(follow() for _ in range(FOLLOWERS)))
            await asyncio.wait_for(asyncio.gather(*map(first_line, responses)), 120)
            load = await asyncio.to_thread(wrk, authorized, token, connections=2, seconds=8)
            each = (resident(self.stage.our_pid) - before) / FOLLOWERS
        self.say(
            f"{FOLLOWERS} followed logs: {each / 1024:.1f} KiB each; `authorized` meanwhile "
            f"p99 {load.p99 * 1e3:.1f} ms at {load.per_second:.0f}/s ({load.failures} failed)"
        )
        self.ratio["followed_log_memory"] = 100 * 1024 / max(each, 1)
        self.ratio["authorized_p99_while_following"] = 0.050 / load.p99


@click.command()
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True), help="Use this API server.")
@click.option("--kube-context", default="", help="The context in it; the current one if not given.")
def main(kubeconfig: Path | None, kube_context: str) -> None:
    ratio: dict[str, float] = {}
    for kubelet in (False, True):
        with batch(kubeconfig, kube_context, kubelet=kubelet) as stage:
            bench = Bench(stage)
            asyncio.run(bench.run())
            ratio |= bench.ratio
    for name, value in ratio.items():
        click.echo(
            f"  {name:32} {value:8.2f}  goal {GOAL[name]}  {'ok' if value >= GOAL[name] else 'MISSED'}"
        )
    goal = {name: GOAL[name] for name in ratio}
    click.echo(json.dumps({"ratio": {k: round(v, 3) for k, v in ratio.items()}, "goal": goal}))


if __name__ == "__main__":
    main()
